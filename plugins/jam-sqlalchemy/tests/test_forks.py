"""A fork that Python does not see, as uWSGI's: no connection is used by two processes."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from jam_sqlalchemy import SQLAlchemySessions
from jam_testing import fork_unseen, survive_forks
from sqlalchemy import Engine, StaticPool, create_engine, text

Opener = Callable[..., SQLAlchemySessions]

SHARED = ["sqlite-file", "postgresql-machine", "mariadb-machine"]
WHO = {
    "postgresql": "SELECT pg_backend_pid()",
    "mariadb": "SELECT CONNECTION_ID()",
}


@pytest.mark.parametrize("database_uri", [*SHARED, "sqlite-memory"], indirect=True)
def test_children_forked_unseen_get_their_own_sessions(open_store: Opener) -> None:
    survive_forks(open_store(), operations=100)


@pytest.mark.exhaustive
@pytest.mark.parametrize("database_uri", [*SHARED, "sqlite-memory"], indirect=True)
def test_children_forked_unseen_for_long(open_store: Opener) -> None:
    survive_forks(open_store(), operations=2000, timeout=600)


@pytest.mark.parametrize("database_uri", SHARED, indirect=True)
def test_an_engine_of_the_callers_is_safe_in_a_child_forked_unseen(
    open_store: Opener, engine: Engine
) -> None:
    survive_forks(open_store(engine), operations=50)


@pytest.mark.parametrize("database_uri", ["postgresql-machine", "mariadb-machine"], indirect=True)
def test_a_child_that_ends_orderly_leaves_the_parents_connections(
    database_uri: str, table_name: str
) -> None:
    """What ends in the child, destructors and all, says no goodbye to the parent's server."""
    script = f"""
import ctypes, os, sys
from jam_sqlalchemy import SQLAlchemySessions
store = SQLAlchemySessions({database_uri!r}, table_name={table_name!r}, pool_size=1, max_overflow=0)
session_id = store.create("ann", {{"n": 1}})
child = ctypes.PyDLL(None).fork()
if child == 0:
    assert store.get(session_id) == {{"n": 1}}
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
store.update(session_id, {{"n": 2}})
assert store.get(session_id) == {{"n": 2}}
store.close()
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_a_child_of_sqlites_loses_nothing_when_the_parent_closes(tmp_path: Path) -> None:
    """The last connection to close removes the -wal file: the child's locks must be its own."""
    path = tmp_path / "sessions.db"
    store = SQLAlchemySessions(f"sqlite:///{path}")
    inherited = store.create("ann", {"n": 0})
    ready, go = os.pipe(), os.pipe()

    def work() -> list[str]:
        session_ids = [store.create("ann", {"n": 1})]
        os.write(ready[1], b".")
        os.read(go[0], 1)  # the parent closes meanwhile
        session_ids += [store.create("ann", {"n": n}) for n in range(20)]
        store.close()
        return session_ids

    child = fork_unseen(work)
    os.read(ready[0], 1)
    store.close()
    os.write(go[1], b".")
    session_ids = child.result(30)
    with SQLAlchemySessions(f"sqlite:///{path}") as again:
        assert all(again.get(session_id) is not None for session_id in [inherited, *session_ids])
    (health,) = sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone()
    assert health == "ok"


def test_an_engine_of_one_connection_is_safe_in_a_child_forked_unseen(tmp_path: Path) -> None:
    engine = create_engine(
        f"sqlite:///{tmp_path}/s.db",
        poolclass=StaticPool,
        connect_args={"check_same_thread": False},
    )
    store = SQLAlchemySessions(engine)
    session_id = store.create("ann", {"n": 1})
    assert fork_unseen(lambda: store.get(session_id)).result() == {"n": 1}
    assert store.get(session_id) == {"n": 1}
    engine.dispose()


@pytest.mark.parametrize("database_uri", ["postgresql-machine", "mariadb-machine"], indirect=True)
def test_a_child_has_a_connection_of_its_own(database_uri: str, open_store: Opener) -> None:
    engine = create_engine(database_uri, pool_size=1, max_overflow=0)
    store = open_store(engine)
    session_id = store.create("ann", {"n": 1})

    def server_process() -> int:
        assert store.get(session_id) == {"n": 1}
        with engine.connect() as connection:
            return int(connection.execute(text(WHO[engine.dialect.name])).scalar_one())

    mine = server_process()
    assert fork_unseen(server_process).result() != mine
    assert server_process() == mine
    engine.dispose()
