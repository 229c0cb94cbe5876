"""Behind a real PgBouncer, whose connections to the database are shared by many clients."""

import asyncio
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from jam_sqlalchemy import SQLAlchemySessions, metadata
from jam_testing import TCPProxy
from jam_testing.concurrency import in_threads
from jam_testing.timekeeping import wait_until
from sqlalchemy import Engine, NullPool, create_engine, event, make_url
from sqlalchemy.pool import Pool

import jam
from jam.aio import Jam
from jam_core import JamStoreUnavailable

pytestmark = pytest.mark.exhaustive  # a program of its own

PAGE = Path(__file__).parents[3] / "docs/deployment/pgbouncer.md"
# What the page says that a driver needs.
NEEDED: dict[str, dict[str, Any]] = {
    "psycopg": {"options": ""},
    "asyncpg": {"server_settings": {}},
}
READ_TIMEOUT = 1.0


class Pooler:
    """A PgBouncer, and the way from there to the database, which can be blocked.

    Attributes:
        database: The way.
    """

    def __init__(self, program: str, home: Path, database: TCPProxy, settings: Any) -> None:
        self.database = database
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port: int = probe.getsockname()[1]
        lines = {"listen_addr": "127.0.0.1", "listen_port": self._port, "unix_socket_dir": ""}
        lines |= {"auth_type": "trust", "auth_file": home / "users"}
        lines |= {"server_login_retry": 0.1}  # by default, it tries again after 15 seconds
        (home / "users").write_text('"postgres" ""\n"jam" ""\n')
        (home / "ini").write_text(
            f"[databases]\npostgres = host={database.host} port={database.port}\n[pgbouncer]\n"
            + "".join(f"{name} = {value}\n" for name, value in {**lines, **settings}.items())
        )
        self._log = home / "log"
        as_user = ["-u", "nobody"] if os.geteuid() == 0 else []  # it refuses to be root
        self._command = [program, *as_user, str(home / "ini")]
        self._start()

    def _start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)

        def listens() -> bool:
            assert self._process.poll() is None, self._log.read_text()
            with socket.socket() as client:
                return client.connect_ex(("127.0.0.1", self._port)) == 0

        wait_until(listens, "PgBouncer listens")

    def start_again_if_it_crashed(self) -> None:
        """Do what an init system does.

        Before 1.19.1, PgBouncer may end if a client hangs up before its request to cancel a
        statement has reached the database.
        """
        if self._process.poll() is not None:
            self._start()

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def url(self, driver: str, user: str = "postgres", name: str = "postgres") -> str:
        return f"postgresql+{driver}://{user}@127.0.0.1:{self._port}/{name}"


@pytest.fixture
def start_pgbouncer(postgresql_url: str) -> Iterator[Callable[..., Pooler]]:
    """Starts PgBouncers, with settings of the test's own."""
    program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
    if not Path(program).exists():
        pytest.skip("there is no pgbouncer on this machine")
    socket_path = f"{make_url(postgresql_url).query['host']}/.s.PGSQL.5432"
    with (
        tempfile.TemporaryDirectory() as home,
        TCPProxy(socket_path) as database,
        ExitStack() as stack,
    ):
        Path(home).chmod(0o755)  # for the other user

        def start(**settings: object) -> Pooler:
            pooler = Pooler(program, Path(home), database, settings)
            stack.callback(pooler.stop)
            return pooler

        yield start


@pytest.fixture
def database(postgresql_url: str) -> Iterator[Engine]:
    """The way to the database past the pooler."""
    engine = create_engine(postgresql_url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    yield engine
    engine.dispose()


@pytest.fixture
def tables(database: Engine) -> Iterator[list[str]]:
    """The names of two tables of the test's own."""
    names = [f"jam_{uuid4().hex[:12]}" for _ in range(2)]
    yield names
    for name in names:
        metadata(name).drop_all(database)


async def use(jam: Jam, key: str) -> None:
    """Use every kind of statement, several times: psycopg prepares one at the sixth time."""
    for n in range(8):
        session_id = await jam.session_create(key, {"n": n})
        await jam.session_update(session_id, {"n": n, "m": 0})
        await jam.session_mutate(session_id, lambda data: {**data, "m": 1})
        session_id = await jam.session_rework(session_id)
        assert await jam.session_get(session_id) == {"n": n, "m": 1}
        (info,) = await jam.session_list(key)
        assert info.data == {"n": n, "m": 1}
        await jam.session_touch(session_id)
        await jam.session_clear(key)
        assert await jam.session_get(session_id) is None


@pytest.mark.parametrize("mode", ["session", "transaction"])
@pytest.mark.parametrize("driver", list(NEEDED))
def test_clients_of_a_pooler_do_not_get_each_other_s_statements(
    start_pgbouncer: Callable[..., Pooler], tables: list[str], driver: str, mode: str
) -> None:
    """Two applications, four users each, as many connections to the database as a mode takes."""
    pooler = start_pgbouncer(pool_mode=mode, default_pool_size=20 if mode == "session" else 3)

    def application(table: str) -> Jam:
        session = {"session_type": "sqlalchemy", "table_name": table}
        session["database_uri"] = pooler.url(driver)
        return Jam({"session": {**session, "connect_args": NEEDED[driver]}})

    async def main() -> None:
        async with application(tables[0]) as shop, application(tables[1]) as admin:
            users = [use(jam, f"user {n}") for jam in (shop, admin) for n in range(4)]
            await asyncio.gather(*users)

    asyncio.run(main())


def test_the_page_s_settings_are_what_works(
    start_pgbouncer: Callable[..., Pooler],
    database: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not PAGE.exists():
        pytest.skip("the documentation is not part of this distribution")
    page = PAGE.read_text()
    (tmp_path / "config.toml").write_text(_block(page, "toml"))
    pooler = start_pgbouncer(pool_mode="transaction", default_pool_size=3)
    monkeypatch.setenv("DATABASE_URL", pooler.url("psycopg", user="jam"))
    with database.connect() as connection:
        for statement in ("CREATE ROLE jam LOGIN", "CREATE SCHEMA AUTHORIZATION jam"):
            connection.exec_driver_sql(statement)
        for statement in filter(None, _block(page, "sql").strip().split(";")):
            connection.exec_driver_sql(statement)
    try:
        with jam.Jam(config=str(tmp_path / "config.toml")) as plain_jam:

            def use(key: str) -> None:
                for n in range(20):
                    session_id = plain_jam.session_create(key, {"n": n})
                    assert plain_jam.session_get(session_id) == {"n": n}
                    plain_jam.session_delete(session_id)
                    assert plain_jam.session_get(session_id) is None

            outcomes = in_threads([partial(use, f"user {n}") for n in range(5)])
            assert outcomes == [None] * 5
        through = create_engine(pooler.url("psycopg", user="jam"), poolclass=NullPool)
        with through.connect() as connection:
            for name, limit in (("statement_timeout", "30s"), ("lock_timeout", "15s")):
                assert connection.exec_driver_sql(f"SHOW {name}").scalar() == limit
    finally:
        with database.connect() as connection:
            for statement in ("DROP OWNED BY jam CASCADE", "DROP ROLE jam"):
                connection.exec_driver_sql(statement)


def _block(page: str, language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", page, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("how", ["refuses", "is silent"])
@pytest.mark.parametrize(
    "driver",
    ["plain psycopg", "asyncpg", pytest.param("psycopg", marks=pytest.mark.exhaustive)],
)
def test_a_pooler_whose_database_is_away_holds_nobody_up(
    start_pgbouncer: Callable[..., Pooler], tables: list[str], driver: str, how: str
) -> None:
    """PgBouncer itself would hold back a statement for 120 seconds."""
    pooler = start_pgbouncer(pool_mode="transaction")
    name = driver.removeprefix("plain ")
    session = {
        "session_type": "sqlalchemy",
        "database_uri": pooler.url(name),
        "table_name": tables[0],
        "connect_args": {**NEEDED[name], "read_timeout": READ_TIMEOUT},
    }

    async def plain() -> None:
        with jam.Jam({"session": session}) as plain_jam:
            session_id = plain_jam.session_create("ann", {"n": 1})

            async def get() -> object:
                return plain_jam.session_get(session_id)

            await check(get)

    async def awaited() -> None:
        async with Jam({"session": session}) as jam:
            session_id = await jam.session_create("ann", {"n": 1})
            await check(partial(jam.session_get, session_id))

    async def check(get: Callable[[], Awaitable[object]]) -> None:
        if how == "refuses":
            pooler.database.refuse()
            pooler.database.cut()
        else:
            pooler.database.hang()
        assert "did not answer within read_timeout" in await refusal(get)
        if how == "refuses":  # from now on PgBouncer answers at once
            said = await refusal(get)
            assert "is behind a pooler that cannot reach it" in said
            assert "server login has been failing" in said
        pooler.database.resume()
        await until_it_works(get)

    async def until_it_works(get: Callable[[], Awaitable[object]]) -> None:
        give_up_at = time.monotonic() + 30
        while time.monotonic() < give_up_at:
            pooler.start_again_if_it_crashed()
            with suppress(JamStoreUnavailable):
                assert await get() == {"n": 1}
                return
            await asyncio.sleep(0.05)
        pytest.fail("it does not work again")

    asyncio.run(plain() if name != driver else awaited())


async def refusal(get: Callable[[], Awaitable[object]]) -> str:
    """Return what is said, which has to be soon."""
    began = time.monotonic()
    with pytest.raises(JamStoreUnavailable) as caught:
        await get()
    assert time.monotonic() - began < READ_TIMEOUT + 5
    return str(caught.value)


REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "startup options": ({"needed": {}}, r"options = '' \(asyncpg: server_settings = \{\}\)"),
    "no such database": ({"name": "nowhere"}, "has no such database"),
    "too many clients": ({"max_client_conn": 0}, "accepts no more connections"),
    "database is silent": ({"query_wait_timeout": 1}, "is behind a pooler that cannot reach it"),
}


@pytest.mark.parametrize("refusal", list(REFUSALS))
@pytest.mark.parametrize("driver", list(NEEDED))
def test_each_refusal_of_pgbouncer_s_has_its_words(
    start_pgbouncer: Callable[..., Pooler], driver: str, refusal: str
) -> None:
    settings, says = REFUSALS[refusal]
    settings = {**settings, "pool_mode": "transaction"}
    options = settings.pop("needed", NEEDED[driver])
    name = settings.pop("name", "postgres")
    pooler = start_pgbouncer(**settings)
    if refusal == "database is silent":
        pooler.database.hang()
    with pytest.raises(JamStoreUnavailable, match=says) as caught:
        SQLAlchemySessions(pooler.url(driver, name=name), connect_args=options)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    ("driver", "kept"),
    [("psycopg", {"prepare_threshold": 0}), ("asyncpg", {"statement_cache_size": 10})],
    ids=["psycopg", "asyncpg"],
)
def test_who_wants_prepared_statements_all_the_same_is_told_what_is_wrong(
    start_pgbouncer: Callable[..., Pooler], tables: list[str], driver: str, kept: dict[str, int]
) -> None:
    pooler = start_pgbouncer(pool_mode="transaction")

    def store(**options: int) -> SQLAlchemySessions:
        return SQLAlchemySessions(
            pooler.url(driver), table_name=tables[0], connect_args={**NEEDED[driver], **options}
        )

    with store(**kept) as wrong, store() as right:
        for one in (wrong, right):
            assert one.get("unknown") is None
        pooler.database.cut()  # the statements are gone, and the clients do not hear about it
        with pytest.raises(JamStoreUnavailable, match=f"prepared statements.*{next(iter(kept))}"):
            wrong.get("unknown")
        assert right.get("unknown") is None


def test_without_a_pooler_statements_are_prepared(postgresql_url: str, tables: list[str]) -> None:
    connections: list[Any] = []

    def note(connection: Any, _: object) -> None:
        connections.append(connection)

    event.listen(Pool, "connect", note)
    try:
        with SQLAlchemySessions(postgresql_url, table_name=tables[0]) as store:
            for _ in range(10):
                store.get("unknown")
            cursor = connections[-1].execute("SELECT count(*) FROM pg_prepared_statements")
            assert cursor.fetchone()[0] > 0
    finally:
        event.remove(Pool, "connect", note)
