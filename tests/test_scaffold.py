"""The scaffold: what it writes works at once, anywhere, and it never harms what is there."""

import re
import sqlite3
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from importlib.metadata import version
from pathlib import Path
from runpy import run_path

import pytest
from jam_cli.scaffold import write_plugin

from jam_core import BaseSession, JamError, JamSessionNotFound, session_handle
from tests.cli.running import JAM
from tests.distributions import Site
from tests.isolated import ROOT, build_wheels, done, install, make_environment, run

LONGEST = "a23456789-123456789-123456789"


def scaffold(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run(JAM, "new-store", *arguments, cwd=cwd, COLUMNS="200")


def files_in(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


# --- what is written -------------------------------------------------------------------------


def test_the_command_writes_a_distribution_and_says_how_to_go_on(tmp_path: Path) -> None:
    ran = scaffold("mydb", cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    written = files_in(tmp_path / "jam-mydb")
    assert written == {
        ".github/workflows/tests.yml",
        ".gitignore",
        "CHANGELOG.md",
        "LICENSE",
        "README.md",
        "jam_mydb/__init__.py",
        "jam_mydb/py.typed",
        "jam_mydb/sessions.py",
        "pyproject.toml",
        "tests/test_contract.py",
    }
    assert all(f"  {file}\n" in ran.stdout for file in written)
    assert "cd jam-mydb" in ran.stdout


def test_the_files_are_returned(tmp_path: Path) -> None:
    files = write_plugin("mydb", tmp_path)
    assert {str(file.relative_to(tmp_path / "jam-mydb")) for file in files} == files_in(
        tmp_path / "jam-mydb"
    )


def test_the_name_is_everywhere(tmp_path: Path) -> None:
    write_plugin("my-other-db2", tmp_path)
    folder = tmp_path / "jam-my-other-db2"
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    assert project["project"]["name"] == "jam-my-other-db2"
    assert project["project"]["entry-points"] == {
        "jam.session_types": {"my-other-db2": "jam_my_other_db2:MyOtherDb2Sessions"}
    }
    for file in files_in(folder):
        assert "mydb" not in (file + (folder / file).read_text()).lower()


@pytest.mark.parametrize(
    ("installed", "range_of_versions"),
    [
        ("0.1.0", ">=0.1.0,<0.2"),
        ("0.12.3+local.1", ">=0.12.3,<0.13"),
        ("1.4.2", ">=1.4.2,<2"),
        ("2.0.0rc1", ">=2.0.0rc1,<3"),
    ],
)
def test_it_depends_on_the_releases_that_keep_the_promises_of_this_one(
    site: Site, tmp_path: Path, installed: str, range_of_versions: str
) -> None:
    site.install("jam-core", {}, {}, version=installed)
    write_plugin("mydb", tmp_path)
    project = tomllib.loads((tmp_path / "jam-mydb" / "pyproject.toml").read_text())["project"]
    assert project["dependencies"] == [f"jam-core{range_of_versions}"]


@pytest.mark.parametrize("name", ["x", "my-db", LONGEST])
def test_what_is_written_is_clean(tmp_path: Path, name: str) -> None:
    write_plugin(name, tmp_path)
    folder = tmp_path / f"jam-{name}"
    done(sys.executable, "-m", "ruff", "check", "--no-cache", ".", cwd=folder)
    done(sys.executable, "-m", "ruff", "format", "--no-cache", "--check", ".", cwd=folder)


@pytest.mark.exhaustive
def test_what_is_written_is_typed(tmp_path: Path) -> None:
    write_plugin("mydb", tmp_path)
    done(sys.executable, "-m", "mypy", cwd=tmp_path / "jam-mydb")


def test_the_readme_tells_the_truth(tmp_path: Path) -> None:
    write_plugin("mydb", tmp_path)
    readme = (tmp_path / "jam-mydb" / "README.md").read_text()
    blocks = re.findall(r"```(toml|python)\n(.*?)```", readme, re.S)
    install_scaffold(Site(tmp_path / "site"), tmp_path / "jam-mydb")
    for language, name in (("toml", "config.toml"), ("python", "example.py")):
        example = "".join(text for found, text in blocks if found == language)
        (tmp_path / name).write_text(example)
    done(sys.executable, "example.py", cwd=tmp_path, PYTHONPATH=str(tmp_path / "site"))
    assert [language for language, _ in blocks] == ["toml", "python", "python"]
    assert b"user1" in (tmp_path / "sessions.db").read_bytes()
    assert "Session keys are readable" in readme


def install_scaffold(site: Site, folder: Path) -> None:
    """Install a scaffold, as far as its modules and its entry point go."""
    site.path.mkdir()
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    sources = {
        str(path.relative_to(folder).with_suffix("")): path.read_text()
        for path in folder.glob("jam_*/*.py")
    }
    site.install(project["name"], sources, project["entry-points"])


OPERATIONS: dict[str, Callable[[BaseSession, str], object]] = {
    "update": lambda store, session_id: store.update(session_id, {"n": 2}),
    "touch": lambda store, session_id: store.touch(session_id),
    "rework": lambda store, session_id: store.rework(session_id),
    "log-in": lambda store, session_id: store.rework(session_id, "bob"),
    "clear_others": lambda store, session_id: store.clear_others(session_id),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_session_that_ended_while_its_store_waited_for_a_writer_stays_ended(
    tmp_path: Path, operation: str
) -> None:
    store, clock = store_of_the_scaffold(tmp_path)
    session_id, other = store.create("ann", {"n": 1}), store.create("ann", {}, ttl=100)
    with ThreadPoolExecutor(1) as waiting, closing(writer(tmp_path)) as database:
        clock.asked.clear()
        done_at_last = waiting.submit(OPERATIONS[operation], store, session_id)
        assert clock.asked.wait(10)
        clock.now += 1
        assert store.get(session_id) is None
        database.execute("COMMIT")
        with pytest.raises(JamSessionNotFound):
            done_at_last.result()
    assert store.get(session_id) is None
    assert [info.ttl for info in store.list_sessions("ann")] == [100]
    assert store.get(other) == {}


def test_a_session_that_ended_while_revoke_waited_is_not_there_to_be_revoked(
    tmp_path: Path,
) -> None:
    store, clock = store_of_the_scaffold(tmp_path)
    handle = session_handle(store.create("ann", {"n": 1}))
    with ThreadPoolExecutor(1) as waiting, closing(writer(tmp_path)) as database:
        clock.asked.clear()
        revoked = waiting.submit(store.revoke, "ann", handle)
        assert clock.asked.wait(10)
        clock.now += 1
        database.execute("COMMIT")
        assert revoked.result() is False


def test_jam_check_creates_no_store(tmp_path: Path) -> None:
    write_plugin("mydb", tmp_path)
    install_scaffold(Site(tmp_path / "site"), tmp_path / "jam-mydb")
    (tmp_path / "config.toml").write_text(
        '[jam.session]\nsession_type = "mydb"\nmax_age = 604800\n'
    )
    check = partial(run, JAM, "check", "--config", "config.toml")
    check = partial(check, cwd=tmp_path, COLUMNS="200", PYTHONPATH=str(tmp_path / "site"))
    assert "jam check --create" in check().stdout
    assert not (tmp_path / "sessions.db").exists()
    ran = check("--create")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (tmp_path / "sessions.db").exists()


class Clock:
    """A clock set by hand.

    Attributes:
        now: The time.
        asked: Set when somebody has been told the time.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked = threading.Event()

    def __call__(self) -> float:
        now = self.now
        self.asked.set()
        return now


def store_of_the_scaffold(directory: Path) -> tuple[BaseSession, Clock]:
    """Open the store of a new scaffold, with a ttl of one second."""
    write_plugin("mydb", directory)
    kind = run_path(str(directory / "jam-mydb" / "jam_mydb" / "sessions.py"))["MydbSessions"]
    clock = Clock()
    return kind(directory / "sessions.db", ttl=1, clock=clock), clock


def writer(directory: Path) -> sqlite3.Connection:
    """Begin what keeps other writers waiting."""
    database = sqlite3.connect(directory / "sessions.db", isolation_level=None)
    database.execute("BEGIN IMMEDIATE")
    return database


@pytest.mark.exhaustive
def test_its_tests_are_green_in_an_environment_of_wheels_alone(tmp_path: Path) -> None:
    python = make_environment(tmp_path / "venv")
    wheels = build_wheels(tmp_path, ["jam-core", "jam-cli", "jam-testing"])
    install(python, *wheels.values())
    done(python.parent / "jam", "new-store", "my-db", cwd=tmp_path)
    install(python, tmp_path / "jam-my-db")
    text = done(python, "-m", "pytest", cwd=tmp_path / "jam-my-db")
    assert re.search(r"^=+ \d+ passed(, \d+ skipped)? in ", text, re.M), text
    assert not re.findall(r"^SKIPPED .* does not declare .*$", text, re.M), "it has every power"
    assert "greenlet" not in text, "what is installed with the suite is enough for all of it"
    (tmp_path / "config.toml").write_text('[jam.session]\nsession_type = "my-db"\n')
    text = done(
        *(python.parent / "pytest", "--jam-store=my-db", "--jam-config=config.toml"),
        *("-k", "touch"),
        cwd=tmp_path,
    )
    assert "distribution   jam-my-db 0.1.0" in text
    assert f"jam-core       {version('jam-core')}, contract " in text


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "is not a name for a store"),
        ("MyDB", "is not a name for a store"),
        ("my_db", "is not a name for a store"),
        ("2db", "is not a name for a store"),
        ("my--db", "is not a name for a store"),
        ("-db", "is not a name for a store"),
        ("db-", "is not a name for a store"),
        ("db\n", "is not a name for a store"),
        ("dbé", "is not a name for a store"),
        ("../db", "is not a name for a store"),
        ("a.b:C", "is not a name for a store"),
        ("a" * 31, "at most 30 characters"),
        ("jam-mydb", "Leave out 'jam-'"),
        ("custom", "has a meaning already"),
        ("json", "There is a store of this name, 'json' (jam-json "),
        ("core", "There is a package jam_core already"),
    ],
)
def test_a_name_that_cannot_be_is_refused(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(JamError) as caught:
        write_plugin(name, tmp_path)
    assert words in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_the_command_refuses_with_a_sentence(tmp_path: Path) -> None:
    ran = scaffold("MyDB", cwd=tmp_path)
    assert ran.returncode == 1
    assert "'MyDB' is not a name for a store" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert list(tmp_path.iterdir()) == []


def in_the_way(path: Path, kind: str) -> None:
    if kind == "folder":
        path.mkdir()
    elif kind == "file":
        path.write_text("precious")
    elif kind == "link":
        path.symlink_to("nowhere")
    else:
        path.mkdir()
        (path / "pyproject.toml").write_text("precious")


@pytest.mark.parametrize("kind", ["folder", "full folder", "file", "link"])
def test_nothing_is_overwritten(tmp_path: Path, kind: str) -> None:
    in_the_way(tmp_path / "jam-mydb", kind)
    before = files_in(tmp_path)
    ran = scaffold("mydb", "--directory", str(tmp_path), cwd=ROOT)
    assert ran.returncode == 1
    assert f"{tmp_path / 'jam-mydb'} exists already" in ran.stderr
    assert files_in(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["jam-mydb"]
    assert all((tmp_path / file).read_text() == "precious" for file in before)


def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    ran = scaffold("mydb", "--directory", str(tmp_path / "missing"), cwd=ROOT)
    assert ran.returncode == 1
    assert "cannot be written: No such file or directory" in ran.stderr


def test_a_disk_that_fills_up_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_text

    def fail_at_the_readme(self: Path, text: str, **options: str) -> int:
        if self.name == "README.md":
            raise OSError(28, "No space left on device")
        return write(self, text, **options)

    monkeypatch.setattr(Path, "write_text", fail_at_the_readme)
    with pytest.raises(JamError, match=r"No space left on device\. Nothing was written"):
        write_plugin("mydb", tmp_path)
    assert list(tmp_path.iterdir()) == []
