"""SQLite: the file, who may read it, and threads."""

import multiprocessing
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jam_sqlalchemy import SQLAlchemySessions
from jam_testing import run_in_processes

from jam_core import JamStoreUnavailable


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


def test_the_file_and_its_companions_are_the_owners_only(path: Path) -> None:
    before = os.umask(0)
    try:
        store = SQLAlchemySessions(f"sqlite:///{path}")
        store.create("ann", {"n": 1})
    finally:
        os.umask(before)
    names = {file.name: mode(file) for file in path.parent.iterdir()}
    assert names == {"sessions.db": 0o600, "sessions.db-wal": 0o600, "sessions.db-shm": 0o600}
    store.close()
    assert [file.name for file in path.parent.iterdir()] == ["sessions.db"]


def test_a_file_given_as_a_uri_is_the_owners_only_too(path: Path) -> None:
    before = os.umask(0)
    try:
        with SQLAlchemySessions(f"sqlite:///file:{path}?uri=true") as store:
            store.create("ann", {"n": 1})
    finally:
        os.umask(before)
    assert mode(path) == 0o600


def test_a_file_that_is_there_keeps_its_mode(path: Path) -> None:
    path.touch()
    path.chmod(0o640)
    SQLAlchemySessions(f"sqlite:///{path}").close()
    assert mode(path) == 0o640


def test_missing_directories_are_made_the_owners_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "sessions.db"
    before = os.umask(0)
    try:
        SQLAlchemySessions(f"sqlite:///{path}").close()
    finally:
        os.umask(before)
    assert [mode(each) for each in (path.parent.parent, path.parent, path)] == [0o700, 0o700, 0o600]


def test_a_tilde_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("HOME", str(tmp_path))
    with SQLAlchemySessions("sqlite:///~/sessions.db") as store:
        assert store.get(store.create("ann", {"n": 1})) == {"n": 1}
    assert (tmp_path / "sessions.db").exists()
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_relative_path_holds_when_the_directory_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with SQLAlchemySessions("sqlite:///sessions.db") as store:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        session_ids = in_threads(8, lambda: store.create("ann", {"n": 1}))
        assert [store.get(session_id) for session_id in session_ids] == [{"n": 1}] * 8
    assert not list((tmp_path / "elsewhere").iterdir())


def test_readers_do_not_wait_for_a_writer(path: Path) -> None:
    with SQLAlchemySessions(f"sqlite:///{path}", connect_args={"timeout": 0}) as store:
        session_id = store.create("ann", {"n": 1})
        writer = sqlite3.connect(path, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        assert store.get(session_id) == {"n": 1}
        with pytest.raises(JamStoreUnavailable, match="lock"):
            store.update(session_id, {"n": 2})
        writer.execute("COMMIT")
        writer.close()
        store.update(session_id, {"n": 2})


def test_threads_share_a_database_in_memory() -> None:
    with SQLAlchemySessions("sqlite://", pool_size=20) as store:
        session_id = store.create("ann", {"n": 0})

        def work() -> str:
            for _ in range(50):
                store.mutate(session_id, lambda data: {"n": data["n"] + 1})
                mine = store.rework(store.create("ann", {"mine": True}))
            return mine

        ids = in_threads(8, work)
        assert store.get(session_id) == {"n": 400}
        assert [store.get(mine) for mine in ids] == [{"mine": True}] * 8


def test_a_database_in_memory_is_copied_by_fork() -> None:
    with SQLAlchemySessions("sqlite://") as store:
        session_id = store.create("ann", {"n": 1})

        def child() -> Any:
            store.update(session_id, {"n": 2})
            return store.get(session_id)

        assert run_in_processes([child]) == [{"n": 2}]
        assert store.get(session_id) == {"n": 1}


def test_two_databases_in_memory_are_two() -> None:
    with SQLAlchemySessions("sqlite://") as here, SQLAlchemySessions("sqlite://") as there:
        assert there.get(here.create("ann", {"n": 1})) is None


def test_parent_and_children_write_to_one_file(path: Path) -> None:
    """The parent has used its connections before the fork; the file's locks must not mix."""
    forked = multiprocessing.get_context("fork").Event()
    with SQLAlchemySessions(f"sqlite:///{path}") as store:
        session_id = store.create("ann", {})

        def count(name: str) -> Callable[[], None]:
            def run() -> None:
                forked.set()
                for _ in range(100):
                    store.mutate(session_id, lambda data: {**data, name: data.get(name, 0) + 1})

            return run

        def count_when_forked() -> None:
            assert forked.wait(60)
            count("parent")()

        parent = threading.Thread(target=count_when_forked)
        parent.start()
        run_in_processes([count(f"child {n}") for n in range(3)])
        parent.join()
        names = ["parent", *(f"child {n}" for n in range(3))]
        assert store.get(session_id) == dict.fromkeys(names, 100)
    (health,) = sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone()
    assert health == "ok"


HOLD_THE_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
"""


def test_a_fork_waits_for_what_is_under_way_and_for_nothing_that_comes(path: Path) -> None:
    """Two threads that never rest do not keep a process from forking."""
    stop = threading.Event()
    with SQLAlchemySessions(f"sqlite:///{path}") as store:
        session_id = store.create("ann", {"n": 1})

        def work() -> None:
            while not stop.is_set():
                store.touch(session_id)

        busy = [threading.Thread(target=work) for _ in range(2)]
        for thread in busy:
            thread.start()
        began = time.monotonic()
        try:
            for _ in range(5):
                assert run_in_processes([lambda: store.get(session_id)]) == [{"n": 1}]
            assert time.monotonic() - began < 10
        finally:
            stop.set()
            for thread in busy:
                thread.join()


def test_a_fork_waits_for_the_operations_of_other_threads(path: Path) -> None:
    """A child that inherits an open connection would take the file's locks for its own."""
    command = [sys.executable, "-c", HOLD_THE_LOCK, str(path)]
    with SQLAlchemySessions(f"sqlite:///{path}") as store:
        session_id = store.create("ann", {"n": 1})
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"locked\n"
            waiting = threading.Thread(target=store.update, args=(session_id, {"n": 2}))
            waiting.start()
            threading.Timer(0.5, holder.communicate, [b"\n"]).start()
            (seen,) = run_in_processes([lambda: store.get(session_id)])
            waiting.join()
        assert seen == {"n": 2}, "the child began when the update was over"


def in_threads(number: int, task: Callable[[], Any]) -> list[Any]:
    results: list[Any] = [None] * number

    def run(index: int) -> None:
        results[index] = task()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
