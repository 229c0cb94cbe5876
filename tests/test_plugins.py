import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
from jam_testing.memory import MemorySessions

from jam_core import (
    BaseSession,
    Jam,
    JamConfigurationError,
    JamError,
    JamPluginConflict,
    JamPluginLoadError,
    JamPluginNotFound,
    JamSessionEmptyAESKey,
    JamStoreUnavailable,
)
from jam_core.hosting import damaged_distributions, installed_stores, installed_wrappers
from tests.distributions import Site

HEALTHY = """
    from jam_testing.memory import MemorySessions

    class Store(MemorySessions):
        pass
"""
RAISES = 'raise RuntimeError("the toy is broken")'
EXITS = "import sys; sys.exit(3)"
NEEDS_A_DRIVER = "import toy_driver"
NO_STORE = "class Store: pass"
NO_CLASS = "Store = 5"
NOT_THERE = ""
INCOMPLETE = """
    from jam_core import BaseSession

    class Store(BaseSession):
        def create(self, session_key, data): ...
        def get(self, session_id): ...
        def delete(self, session_id): ...
"""
WRONG_PARAMETER = """
    from jam_testing.memory import MemorySessions

    class Store(MemorySessions):
        def get(self, sid):
            return {}
"""
FAILS_TO_START = """
    from jam_testing.memory import MemorySessions

    class Store(MemorySessions):
        def __init__(self):
            raise ValueError("redis://:password@host is wrong")
"""
BROKEN = {
    "raises": RAISES,
    "exits": EXITS,
    "needy": NEEDS_A_DRIVER,
    "nostore": NO_STORE,
    "noclass": NO_CLASS,
    "notthere": NOT_THERE,
    "incomplete": INCOMPLETE,
    "misnamed": WRONG_PARAMETER,
    "unstartable": FAILS_TO_START,
}


def opened(session_type: object, **options: object) -> Jam:
    return Jam({"session": {"session_type": session_type, **options}})


def refused(
    session_type: object, kind: type[JamError] = JamPluginLoadError, **options: object
) -> JamError:
    with pytest.raises(JamError) as caught:
        opened(session_type, **options)
    assert type(caught.value) is kind
    return caught.value


def works(jam: Jam) -> bool:
    session_id = jam.session_create("user1", {"a": 1})
    return jam.session_get(session_id) == {"a": 1}


# --- installed stores ------------------------------------------------------------------------


def test_an_installed_store_is_chosen_by_its_name(site: Site) -> None:
    site.install_store("toy", HEALTHY)
    jam = opened("toy", ttl="60")
    assert works(jam)
    assert isinstance(jam.store, MemorySessions)
    assert (type(jam.store).__name__, jam.store.ttl) == ("Store", 60)


def test_a_distribution_may_provide_several_stores(site: Site) -> None:
    site.install(
        "toys",
        {"toy_several": HEALTHY + "\n    class Other(Store): pass\n"},
        {"jam.session_types": {"one": "toy_several:Store", "other": "toy_several:Other"}},
    )
    assert works(opened("one"))
    assert type(opened("other").store).__name__ == "Other"


def test_a_healthy_store_works_beside_broken_ones_none_of_which_is_imported(site: Site) -> None:
    for session_type, source in BROKEN.items():
        site.install_store(session_type, source)
    site.install_store("toy", HEALTHY)
    assert works(opened("toy"))
    assert [name for name in sys.modules if name.startswith("toy_")] == ["toy_toy"]


@pytest.mark.parametrize("session_type", BROKEN)
def test_a_broken_store_is_refused_by_name_and_leaves_the_healthy_one_alone(
    site: Site, session_type: str
) -> None:
    site.install_store(session_type, BROKEN[session_type])
    site.install_store("toy", HEALTHY)
    assert session_type in refused(session_type).message
    assert works(opened("toy"))


@pytest.mark.parametrize("session_type", BROKEN)
def test_a_broken_store_is_refused_in_the_same_words_again(site: Site, session_type: str) -> None:
    site.install_store(session_type, BROKEN[session_type])
    assert refused(session_type).message == refused(session_type).message


PLUGIN = "Plugin 'bad' (jam-bad 1.0, toy_bad:Store)"


@pytest.mark.parametrize(
    ("source", "words", "cause"),
    [
        (RAISES, "fails to import: RuntimeError: the toy is broken.", RuntimeError),
        (EXITS, "fails to import: SystemExit: 3.", SystemExit),
        ("Store = (", "fails to import: SyntaxError", SyntaxError),
        (
            NEEDS_A_DRIVER,
            "fails to import: it needs the package 'toy_driver', which is not installed.",
            ModuleNotFoundError,
        ),
        ("from json import Sotre", "fails to import: ImportError", ImportError),
        (NOT_THERE, "fails to import: AttributeError", AttributeError),
        ("Stores = 1", "fails to import: AttributeError", AttributeError),
    ],
)
def test_a_store_that_fails_to_import_is_named_with_its_distribution_and_the_cause(
    site: Site, source: str, words: str, cause: type[BaseException]
) -> None:
    site.install_store("bad", source)
    error = refused("bad")
    assert f"{PLUGIN} {words}" in error.message
    assert type(error.__cause__) is cause
    lacks_driver = cause is ModuleNotFoundError
    assert ("Install it: pip install toy_driver." in error.message) is lacks_driver
    assert ("Reinstall or update jam-bad" in error.message) is not lacks_driver


def test_a_driver_that_is_too_old_is_not_called_missing(site: Site) -> None:
    site.install_store("bad", "import json.newer")
    message = refused("bad").message
    assert "No module named 'json.newer'" in message
    assert "pip install" not in message


def test_a_distribution_whose_module_is_missing_is_named(site: Site) -> None:
    site.install("jam-bad", {}, {"jam.session_types": {"bad": "toy_bad:Store"}})
    message = refused("bad").message
    assert PLUGIN in message
    assert "'toy_bad', which is not installed" in message
    assert "Reinstall or update jam-bad" in message


@pytest.mark.parametrize("source", [NO_STORE, NO_CLASS, "def Store(): ...", "Store = str"])
def test_what_is_no_store_is_refused(site: Site, source: str) -> None:
    site.install_store("bad", source)
    assert f"{PLUGIN} is not a subclass of jam_core.BaseSession." in refused("bad").message


def test_a_store_that_lacks_operations_is_refused_with_their_names(site: Site) -> None:
    site.install_store("bad", INCOMPLETE)
    message = refused("bad").message
    assert f"{PLUGIN} is not a complete store: it lacks clear, rework, update." in message


@pytest.mark.parametrize("other", ["sid", "session_id, extra"])
def test_a_store_whose_parameters_are_named_otherwise_is_refused_when_opened(
    site: Site, other: str
) -> None:
    site.install_store("bad", WRONG_PARAMETER.replace("sid", other))
    message = refused("bad").message
    assert f"{PLUGIN} cannot be called: get(self, {other}) must take session_id" in message


@pytest.mark.parametrize("operation", ["create", "get", "rework", "touch", "list_sessions"])
@pytest.mark.parametrize("body", ["return None", "yield None"])
def test_a_store_with_asynchronous_operations_is_refused_by_name(
    site: Site, operation: str, body: str
) -> None:
    source = f"""
        from jam_testing.memory import MemorySessions

        class Store(MemorySessions):
            async def {operation}(self, *arguments, **named):
                {body}
    """
    site.install_store("bad", source)
    assert f"{PLUGIN} has `async def {operation}`" in refused("bad").message


def test_a_ready_store_with_asynchronous_operations_is_refused() -> None:
    class Asynchronous(MemorySessions):
        async def get(self, session_id: str) -> dict[str, Any] | None:  # type: ignore[override]
            return None

    assert "has `async def get`" in refused(Asynchronous()).message
    assert "has `async def get`" in refused(Asynchronous).message


def test_a_store_may_have_methods_and_parameters_of_its_own(site: Site) -> None:
    source = """
        from jam_testing.memory import MemorySessions

        class Store(MemorySessions):
            def get(self, session_id, *, fresh=False):
                return super().get(session_id)

            def count(self):
                return 0
    """
    site.install_store("toy", source)
    assert works(opened("toy"))


def test_that_the_memory_is_used_up_is_no_fault_of_a_store(site: Site) -> None:
    site.install_store("bad", FAILS_TO_START.replace("ValueError", "MemoryError"))
    with pytest.raises(MemoryError):
        opened("bad")


def test_a_store_that_fails_to_start_is_named_without_the_words_of_its_error(site: Site) -> None:
    site.install_store("bad", FAILS_TO_START)
    error = refused("bad")
    assert "toy_bad.Store failed to start: ValueError" in error.message
    assert "password" not in error.message
    assert isinstance(error.__cause__, ValueError)


@pytest.mark.parametrize("kind", [JamStoreUnavailable, JamSessionEmptyAESKey])
def test_an_error_of_ours_that_a_store_raises_when_it_starts_stays_what_it_is(
    site: Site, kind: type[JamError]
) -> None:
    source = f"""
        import jam_core
        from jam_testing.memory import MemorySessions

        class Store(MemorySessions):
            def __init__(self):
                raise jam_core.{kind.__name__}("The toy is out.")
    """
    site.install_store("toy", source)
    assert "The toy is out." in refused("toy", kind).message


def test_two_distributions_that_provide_one_name_are_both_named(site: Site) -> None:
    site.install_store("toy", HEALTHY, module="toy_one", name="jam-one")
    site.install_store("toy", HEALTHY, module="toy_two", name="jam-two")
    site.install_store("fine", HEALTHY)
    message = refused("toy", JamPluginConflict).message
    assert "'toy' (jam-one 1.0, toy_one:Store)" in message
    assert "'toy' (jam-two 1.0, toy_two:Store)" in message
    assert "Uninstall all but one" in message
    assert not any(name in sys.modules for name in ("toy_one", "toy_two"))
    assert works(opened("fine"))


def test_the_advice_for_two_distributions_works(site: Site) -> None:
    site.install_store("toy", HEALTHY, module="toy_one", name="jam-one")
    site.install_store("toy", HEALTHY, module="toy_two", name="jam-two")
    assert "session_type = 'toy_one:Store'" in refused("toy", JamPluginConflict).message
    assert works(opened("toy_one:Store"))


def test_a_distribution_seen_twice_on_the_path_is_one(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = tmp_path / "second"
    second.mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path, str(second)])
    for place in (site, Site(second)):
        place.install_store("toy", HEALTHY)
    assert works(opened("toy"))


def test_a_store_that_is_not_installed_is_answered_with_what_is(site: Site) -> None:
    site.install_store("mongo", HEALTHY)
    site.install_store("file", HEALTHY)
    message = refused("mogno", JamPluginNotFound).message
    assert "session_type 'mogno' is not installed." in message
    assert "Did you mean 'mongo'?" in message
    assert "Installed: 'file', 'mongo'." in message
    assert "toy_mongo" not in sys.modules


@pytest.mark.parametrize(
    ("session_type", "package"),
    [("rethink", "jam-rethink"), ("Dynamo_DB", "jam-dynamo-db"), ("my store", "jam-my-store")],
)
def test_the_package_that_by_convention_provides_a_store_is_named(
    site: Site, session_type: str, package: str
) -> None:
    assert f"pip install {package}" in refused(session_type, JamPluginNotFound).message


def test_a_package_without_its_metadata_is_told_from_one_that_is_not_installed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = refused("json", JamPluginNotFound).message  # which is there, but not in this site
    assert "that of jam-json is missing" in message
    assert "--copy-metadata jam-json" in message
    assert '"jam_json:Class"' in message
    assert "pip install" not in message
    monkeypatch.setattr(sys, "frozen", True, raising=False)  # as PyInstaller does
    message = refused("rethink", JamPluginNotFound).message
    assert "--copy-metadata jam-rethink" in message
    assert "pip install" not in message


@pytest.mark.parametrize("session_type", ["redis", None, ""])
def test_with_nothing_installed_that_is_said(site: Site, session_type: object) -> None:
    kind = JamPluginNotFound if session_type else JamConfigurationError
    assert "No plugin of this kind is installed." in refused(session_type, kind).message


def test_without_a_session_type_nothing_is_chosen_even_if_only_one_is_installed(
    site: Site,
) -> None:
    site.install_store("toy", HEALTHY)
    with pytest.raises(JamConfigurationError) as caught:
        Jam({"session": {}})
    assert caught.value.message.endswith(
        "Write this in the session's table: session_type = \"toy\". Installed: 'toy'."
    )
    assert "toy_toy" not in sys.modules


@pytest.mark.parametrize("wrong", [5, ["redis"], {"name": "redis"}, True, MemorySessions.get])
def test_a_session_type_of_another_kind_is_refused(wrong: object) -> None:
    message = refused(wrong, JamConfigurationError).message
    assert "session_type must be the name of an installed store" in message


def test_installed_stores_are_described_without_being_imported(site: Site) -> None:
    for session_type, source in BROKEN.items():
        site.install_store(session_type, source)
    described = installed_stores()
    assert [one.name for one in described] == sorted(BROKEN)
    one = next(one for one in described if one.name == "raises")
    assert one == ("raises", "toy_raises:Store", "jam-raises", "1.0")
    assert str(one) == "'raises' (jam-raises 1.0, toy_raises:Store)"
    assert not any(name.startswith("toy_") for name in sys.modules)


def test_installed_wrapping_plugins_are_described_without_being_imported(site: Site) -> None:
    site.install_wrapper("audit", RAISES, "Audit")
    assert installed_wrappers() == [("audit", "toy_audit:Audit", "jam-audit", "1.0")]
    assert "toy_audit" not in sys.modules


def test_a_described_store_can_be_imported(site: Site) -> None:
    site.install_store("toy", HEALTHY)
    (described,) = installed_stores()
    assert issubclass(described.load(), MemorySessions)


def test_opening_a_store_in_a_fresh_process_imports_only_the_one_that_is_chosen(
    site: Site,
) -> None:
    for session_type, source in BROKEN.items():
        site.install_store(session_type, source)
    site.install_store("toy", HEALTHY)
    root = Path(__file__).parent.parent
    script = f"""
import sys
sys.path[:0] = [{str(site.path)!r}, {str(root)!r}]
from jam import Jam
jam = Jam({{"session": {{"session_type": "toy"}}}})
print(jam.session_get(jam.session_create("user1", {{"a": 1}})))
print([name for name in sys.modules if name.startswith(("toy_", "jam_json", "jam_redis"))])
"""
    ran = subprocess.run(
        [sys.executable, "-B", "-c", script], capture_output=True, text=True, check=False
    )
    assert ran.stderr == ""
    assert ran.stdout == "{'a': 1}\n['toy_toy']\n"


@pytest.mark.parametrize(
    ("damage", "reason"), [(b"[console_scripts]\nno equals sign\n", "Type"), (b"\xff\n", "Unicode")]
)
def test_another_distribution_whose_metadata_is_damaged_is_named_and_passed_over(
    site: Site, caplog: pytest.LogCaptureFixture, damage: bytes, reason: str
) -> None:
    site.install_store("toy", HEALTHY)
    site.install("foreign", {}, {})
    (site.path / "foreign-1.0.dist-info" / "entry_points.txt").write_bytes(damage)
    assert works(opened("toy"))
    assert "foreign 1.0 has an entry_points.txt that cannot be read" in caplog.text
    assert [plugin.name for plugin in installed_stores()] == ["toy"]
    (found,) = damaged_distributions()
    assert (found.name, found.version) == ("foreign", "1.0")
    assert reason in found.reason
    message = refused("tyo", JamPluginNotFound).message
    assert "Skipped: foreign 1.0" in message
    assert "pip install" not in message


# --- stores by path, class and instance ------------------------------------------------------


@pytest.mark.parametrize("path", ["toy_mine:Store", "toy_mine.Store"])
def test_a_store_may_be_named_by_its_path(site: Site, path: str) -> None:
    site.install("mine", {"toy_mine": HEALTHY}, {})
    assert works(opened(path))
    assert works(opened("custom", custom_module=path))


def test_a_store_inside_of_a_class_is_reached_by_its_path(site: Site) -> None:
    source = """
        from jam_testing.memory import MemorySessions

        class Outer:
            class Store(MemorySessions): pass
    """
    site.install("mine", {"toy_mine": source}, {})
    assert works(opened("toy_mine:Outer.Store"))


@pytest.mark.parametrize("module", [None, "", 5])
def test_custom_without_a_module_says_what_is_missing(module: object) -> None:
    options = {} if module is None else {"custom_module": module}
    message = refused("custom", JamConfigurationError, **options).message
    assert 'custom_module = "package.module.Class"' in message


@pytest.mark.parametrize("session_type", ["toy", MemorySessions])
def test_a_custom_module_without_custom_is_refused(site: Site, session_type: object) -> None:
    site.install_store("toy", HEALTHY)
    message = refused(session_type, JamConfigurationError, custom_module="a.B").message
    assert 'jam.session.custom_module is only read with session_type = "custom"' in message


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("toy_absent:Store", "there is no module 'toy_absent'"),
        ("toy_absent.module.Store", "there is no module 'toy_absent'"),
        ("toy_mine:Stoer", "toy_mine has no 'Stoer'. Did you mean 'Store'?"),
        ("toy_mine:MemorySessions.no", "MemorySessions has no 'no'"),
        ("toy_mine:Thing", "is not a subclass of jam_core.BaseSession"),
        ("toy_mine:", "does not name an object: write package.module:name"),
        ("toy_raises:Store", "fails to import: RuntimeError: the toy is broken"),
        ("toy_needy:Store", "it needs the package 'toy_driver', which is not installed"),
        ("toy_incomplete:Store", "it lacks clear, rework, update"),
    ],
)
@pytest.mark.parametrize("custom", [False, True])
def test_a_path_that_leads_to_no_store_is_refused_with_the_reason(
    site: Site, path: str, words: str, custom: bool
) -> None:
    modules = {
        "toy_mine": HEALTHY + "\n    class Thing: pass\n",
        "toy_raises": RAISES,
        "toy_needy": NEEDS_A_DRIVER,
        "toy_incomplete": INCOMPLETE,
    }
    site.install("mine", modules, {})
    message = (refused("custom", custom_module=path) if custom else refused(path)).message
    assert repr(path) in message
    assert words in message


def test_a_store_may_be_a_class() -> None:
    assert works(opened(MemorySessions, ttl="60"))


@pytest.mark.parametrize("wrong", [dict, BaseSession])
def test_a_class_that_is_no_store_is_refused(wrong: type) -> None:
    assert wrong.__name__ in refused(wrong).message


def test_a_store_may_be_ready() -> None:
    store = MemorySessions(ttl=60)
    jam = opened(store)
    assert jam.store is store
    assert works(jam)


def test_two_applications_may_share_a_ready_store() -> None:
    store = MemorySessions()
    session_id = opened(store).session_create("user1", {"a": 1})
    assert opened(store).session_get(session_id) == {"a": 1}


def test_options_beside_a_ready_store_are_refused_by_name() -> None:
    message = refused(MemorySessions(), JamConfigurationError, ttl=60, max_age=5).message
    assert "jam.session" in message
    assert "ready store" in message
    assert "ttl, max_age" in message


def test_a_chosen_store_that_fails_and_other_faults_are_reported_together(site: Site) -> None:
    site.install_store("bad", RAISES)
    with pytest.raises(JamConfigurationError) as caught:
        Jam({"session": {"session_type": "bad"}, "colour": 1})
    assert len(caught.value.problems) == 2
    assert "the toy is broken" in caught.value.message
    assert "RuntimeError" in "".join(traceback.format_exception(caught.value))
