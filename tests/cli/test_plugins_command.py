"""`jam plugins` beside plugins that behave badly."""

import re
import sys
import zipapp
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import ROOT, Ran, jam, jam_process
from tests.distributions import Site

HEALTHY = """
    from jam_testing.memory import MemorySessions

    class Store(MemorySessions):
        '''A toy.

        Args:
            password: What opens it;
                nobody sees it.
            retries: How often to try.
            **options: The options of every store.
        '''

        aliases = {"attempts": "retries"}

        def __init__(self, password: str = "hunter2", *, retries: int = 3, **options):
            super().__init__(**options)
"""
BADLY = {
    "raises": 'raise RuntimeError("the toy is broken")',
    "exits": "import sys; sys.exit(3)",
    "vanishes": "import os; os._exit(7)",
    "crashes": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "interrupts": "raise KeyboardInterrupt",
    "needy": "import toy_driver",
    "nostore": "class Store: pass",
    "incomplete": "from jam_core import BaseSession\nclass Store(BaseSession): pass",
    "misnamed": HEALTHY + "\n        def get(self, sid): return {}\n",
}
REASONS = {
    "raises": "fails to import: RuntimeError: the toy is broken.",
    "exits": "fails to import: SystemExit: 3.",
    "vanishes": "ends the process that imports it (exit code 7).",
    "crashes": "ends the process that imports it (signal 9).",
    "interrupts": "ends the process that imports it",
    "needy": "it needs the package 'toy_driver', which is not installed.",
    "nostore": "is not a subclass of jam_core.BaseSession.",
    "incomplete": "is not a complete store: it lacks clear, create, delete, get, rework, update.",
    "misnamed": "cannot be called: get(self, sid) must take session_id",
}
PRINTS = 'import os\nprint("}{ noise")\nos.system("echo }{ noise")\n'
STARTS_A_THREAD = "import threading\nthreading.Thread(target=threading.Event().wait).start()\n"
AUDIT = """
    from jam_core import hookimpl

    class Audit:
        '''Writes down who comes and goes.'''

        @hookimpl(wrapper=True)
        def create(self, session_key):
            return (yield)

        @hookimpl(wrapper=True)
        def delete(self):
            return (yield)
"""


@pytest.fixture
def toys(tmp_path: Path) -> Site:
    """A directory in which more distributions are installed."""
    path = tmp_path / "site"
    path.mkdir()
    return Site(path)


def listing(toys: Site, *arguments: str) -> Ran:
    path = f"{toys.path}:{ROOT}"
    return jam("plugins", *arguments, cwd=toys.path.parent, PYTHONPATH=path, COLUMNS="200")


def rows(toys: Site) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in listing(toys, "--json").document["plugins"]}


def test_what_is_installed_is_listed_and_healthy(tmp_path: Path) -> None:
    ran = jam("plugins", "--json", cwd=tmp_path)
    found = {row["name"]: row for row in ran.document["plugins"]}
    assert {"json", "redis", "sqlalchemy"} <= set(found)
    assert ran.code == 0
    assert found["json"]["distribution"] == "jam-json"
    assert found["json"]["location"] == "jam_json:JSONSessions"
    assert {"touch", "mutate", "durable", "shared"} <= set(found["json"]["capabilities"])


@pytest.mark.parametrize("damage", [b"[console_scripts]\nno equals sign\n", b"\xff\n"])
@pytest.mark.exhaustive
def test_a_distribution_whose_metadata_is_damaged_is_named_and_passed_over(
    toys: Site, damage: bytes
) -> None:
    toys.install_store("toy", HEALTHY)
    toys.install("foreign", {}, {})
    (toys.path / "foreign-1.0.dist-info" / "entry_points.txt").write_bytes(damage)
    found = listing(toys, "--json").document
    assert all(row["healthy"] for row in found["plugins"]), found["plugins"]
    assert "toy" in {row["name"] for row in found["plugins"]}
    assert [row["name"] for row in found["passed_over"]] == ["foreign"]
    ran = listing(toys)
    assert ran.code == 0
    assert "foreign 1.0 has an entry_points.txt that cannot be read" in ran.out


@pytest.mark.exhaustive
def test_plugins_inside_of_a_zipapp_are_looked_into(toys: Site) -> None:
    toys.install_store("toy", HEALTHY)
    (toys.path / "__main__.py").write_text("import jam_cli, sys\nsys.exit(jam_cli.main())\n")
    archive = toys.path.parent / "tool.pyz"
    zipapp.create_archive(toys.path, archive)
    command = [sys.executable, str(archive)]
    ran = jam_process(
        "plugins", "--json", cwd=archive.parent, command=command, PYTHONPATH=str(ROOT)
    )
    (toy,) = (row for row in ran.document["plugins"] if row["name"] == "toy")
    assert toy["reason"] is None


@pytest.mark.exhaustive
def test_plugins_that_behave_badly_are_listed_beside_the_others(toys: Site) -> None:
    for name, source in BADLY.items():
        toys.install_store(name, source)
    toys.install_store("toy", HEALTHY)
    ran = listing(toys, "--json")
    found = {row["name"]: row for row in ran.document["plugins"]}
    assert ran.code == 1
    assert set(BADLY) | {"toy", "json", "redis", "sqlalchemy"} <= set(found)
    for name, reason in REASONS.items():
        assert reason in found[name]["reason"]
        assert not found[name]["healthy"]
        assert (found[name]["distribution"], found[name]["version"]) == (f"jam-{name}", "1.0")
    for name in ("toy", "json", "redis", "sqlalchemy"):
        assert found[name]["healthy"], found[name]["reason"]


@pytest.mark.exhaustive
def test_people_read_the_same(toys: Site) -> None:
    toys.install_store("raises", BADLY["raises"])
    ran = listing(toys)
    assert ran.code == 1
    assert "✗ raises" in ran.out
    assert REASONS["raises"] in ran.out
    assert "✓ json" in ran.out
    assert "1 broken" in ran.out


@pytest.mark.parametrize("habit", [PRINTS, STARTS_A_THREAD])
@pytest.mark.exhaustive
def test_a_plugin_that_prints_or_leaves_a_thread_behind_is_healthy(toys: Site, habit: str) -> None:
    toys.install("jam-toy", {"toy_toy": habit + "from toy_store import Store"}, {})
    toys.install_store("toy", HEALTHY, module="toy_store", name="jam-other")
    toys.install("jam-odd", {}, {"jam.session_types": {"odd": "toy_toy:Store"}})
    assert rows(toys)["odd"]["healthy"]


def test_a_plugin_that_does_not_return_is_given_up(toys: Site) -> None:
    toys.install_store("hangs", "import threading; threading.Event().wait()")
    ran = listing(toys, "show", "hangs", "--timeout", "0.5")
    assert ran.code == 3
    assert "jam-hangs 1.0" in ran.err
    assert "did not load within 0.5 seconds" in ran.err


@pytest.mark.exhaustive
def test_two_that_claim_one_name_are_both_listed_and_broken(toys: Site) -> None:
    for side in ("left", "right"):
        toys.install_store("twin", HEALTHY, module=f"toy_{side}", name=f"jam-{side}")
    ran = listing(toys, "--json")
    twins = [row for row in ran.document["plugins"] if row["name"] == "twin"]
    assert ran.code == 1
    assert [row["distribution"] for row in twins] == ["jam-left", "jam-right"]
    for row in twins:
        assert not row["healthy"]
        assert "jam-left" in row["reason"]
        assert "jam-right" in row["reason"]
        assert "import path" in row["reason"]
    shown = " ".join(listing(toys).out.split())
    assert shown.count("is provided by 2 distributions") == 1
    assert "as above" in shown


@pytest.mark.exhaustive
def test_what_a_store_can_do_is_told_by_what_it_lacks(toys: Site) -> None:
    less = """
        from jam_core import BaseSession
        from jam_testing.memory import MemorySessions

        class Store(MemorySessions):
            mutate = BaseSession.mutate
    """
    toys.install_store("toy", less)
    shown = " ".join(listing(toys).out.split())
    assert re.search(r"✓ toy jam-toy \S+ every operation but .*mutate", shown)
    assert re.search(r"✓ json jam-json \S+ every operation, durable, shared ✓", shown)


@pytest.mark.exhaustive
def test_a_wrapping_plugin_is_listed_with_what_it_wraps(toys: Site) -> None:
    toys.install_wrapper("audit", AUDIT, attribute="Audit")
    toys.install_wrapper("idle", "class Idle: pass", attribute="Idle")
    found = rows(toys)
    assert found["audit"]["kind"] == "wrapper"
    assert found["audit"]["capabilities"] == ["create", "delete"]
    assert found["audit"]["healthy"]
    assert "wraps no operation" in found["idle"]["reason"]


def test_a_wrapping_plugin_can_be_shown(toys: Site) -> None:
    toys.install_wrapper("audit", AUDIT, attribute="Audit")
    shown = listing(toys, "show", "audit", "--json").document["plugin"]
    assert shown["summary"] == "Writes down who comes and goes."
    assert shown["options"] == []


# --- jam plugins show ------------------------------------------------------------------------


def test_a_store_is_shown_with_its_options(toys: Site) -> None:
    toys.install_store("toy", HEALTHY)
    shown = listing(toys, "show", "toy", "--json").document["plugin"]
    options = {option["name"]: option for option in shown["options"]}
    assert shown["summary"] == "A toy."
    assert options["retries"] == {
        "name": "retries",
        "type": "a whole number",
        "required": False,
        "default": 3,
        "aliases": ["attempts"],
        "documentation": "How often to try.",
    }
    assert options["password"]["documentation"] == "What opens it; nobody sees it."
    assert options["password"]["default"] == "***"
    assert options["ttl"]["aliases"] == ["default_ttl"]
    assert options["ttl"]["documentation"].startswith("Seconds until an idle session ends")
    assert options["id_factory"]["default"] == "jam_core.codec:uuid4_id"


@pytest.mark.parametrize("store", ["json", "redis", "sqlalchemy"])
def test_every_option_of_our_stores_is_documented(tmp_path: Path, store: str) -> None:
    shown = jam("plugins", "show", store, "--json", cwd=tmp_path).document["plugin"]
    assert shown["options"]
    for option in shown["options"]:
        assert option["documentation"], option["name"]


def test_people_read_an_options_default_and_meaning(tmp_path: Path) -> None:
    ran = jam("plugins", "show", "redis", cwd=tmp_path, COLUMNS="200")
    assert ran.code == 0
    assert "default: sessions" in ran.out
    assert "The prefix of the Redis keys." in ran.out


def test_what_is_not_installed_is_answered_with_the_nearest_name(tmp_path: Path) -> None:
    ran = jam("plugins", "show", "reddis", cwd=tmp_path)
    assert ran.code == 3
    assert "There is no plugin 'reddis'. Did you mean 'redis'?" in ran.err


def test_a_broken_plugin_cannot_be_shown(toys: Site) -> None:
    toys.install_store("raises", BADLY["raises"])
    ran = listing(toys, "show", "raises", "--json")
    assert ran.code == 3
    assert ran.document["error"]["code"] == "plugins.load"
    assert (
        "Plugin 'raises' (jam-raises 1.0, toy_raises:Store) fails"
        in (ran.document["error"]["message"])
    )
