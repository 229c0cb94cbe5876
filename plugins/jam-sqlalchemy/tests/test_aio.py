"""Under asyncio: what becomes of connections, whatever becomes of those who call."""

import asyncio
import gc
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from jam_sqlalchemy import SQLAlchemySessions
from jam_testing import TCPProxy
from jam_testing.eventloops import cancel_some, no_standstill
from sqlalchemy import NullPool, create_engine, event, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

import jam
from jam.aio import Jam
from jam_core import JamConfigurationError, JamStoreUnavailable

WITH_SERVER = ["asyncpg", "psycopg", "asyncmy", "aiomysql"]
POOL = {"pool_size": 3, "max_overflow": 2, "pool_timeout": 30.0}


def jam_on(database_uri: Any, table: str, **options: Any) -> Jam:
    session = {"session_type": "sqlalchemy", "database_uri": database_uri, "table_name": table}
    return Jam({"session": {**session, **options}})


@pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=pytest.mark.exhaustive)])
def test_cancelled_callers_take_nobodys_answer_and_no_place(
    awaited_uri: str, awaited_table: str, rounds: int
) -> None:
    async def use(jam: Jam, n: int, session_id: str) -> None:
        for _ in range(3):
            assert await jam.session_get(session_id) == {"n": n}
        await jam.session_update(session_id, {"n": n})
        (info,) = await jam.session_list(f"user {n}")
        assert info.data == {"n": n}

    async def main() -> None:
        async with jam_on(awaited_uri, awaited_table, **POOL) as jam:
            ids = [await jam.session_create(f"user {n}", {"n": n}) for n in range(40)]
            cancelled = await cancel_some(partial(use, jam), ids, rounds=rounds, longest=20)
            assert cancelled > rounds * len(ids) // 20, "while they waited"
            gets = await asyncio.gather(*map(jam.session_get, ids))
            assert gets == [{"n": n} for n in range(len(ids))]
            async with asyncio.timeout(60):  # every place of the pool is free again
                await asyncio.gather(*(jam.session_update(one, {}) for one in ids))

    asyncio.run(main())


def test_a_write_that_is_cancelled_again_and_again_does_not_overtake_the_next(
    tmp_path: Path,
) -> None:
    """anyio's scopes cancel so, and aiosqlite's thread goes on waiting for the lock."""
    pytest.importorskip("aiosqlite")
    file = tmp_path / "sessions.db"

    async def main() -> None:
        async with jam_on(f"sqlite+aiosqlite:///{file}", "sessions") as jam:
            session_id = await jam.session_create("ann", {"role": "user"})
            with closing(sqlite3.connect(file, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                write = asyncio.create_task(jam.session_update(session_id, {"role": "admin"}))
                await asyncio.sleep(0.1)
                had_ended = []
                for _ in range(3):
                    write.cancel()
                    await asyncio.sleep(0.01)
                    had_ended.append(write.done())
                other.execute("COMMIT")
            assert not any(had_ended), "its thread still worked"
            with pytest.raises(asyncio.CancelledError):
                await write
            await jam.session_update(session_id, {"role": "banned"})
            assert await jam.session_get(session_id) == {"role": "banned"}

    with closing(asyncio.new_event_loop()) as loop:  # asyncio.run waits for what hangs
        loop.run_until_complete(main())


@contextmanager
def through_a_proxy(uri: str) -> Iterator[tuple[TCPProxy, str]]:
    url = make_url(uri)
    where = (url.host, url.port) if url.host else (f"{url.query['host']}/.s.PGSQL.5432", None)
    with TCPProxy(*where) as proxy:
        url = url.set(host=proxy.host, port=proxy.port).difference_update_query(["host"])
        yield proxy, url.render_as_string(hide_password=False)


@pytest.mark.parametrize("awaited_uri", WITH_SERVER, indirect=True)
def test_a_server_that_is_silent_holds_nobody_up(awaited_uri: str, awaited_table: str) -> None:
    async def main(proxy: TCPProxy, uri: str) -> None:
        limits = {"connect_args": {"read_timeout": 1.0}}
        async with jam_on(uri, awaited_table, **limits) as jam:
            session_id = await jam.session_create("ann", {"n": 1})
            proxy.hang()
            try:
                async with no_standstill():
                    began = time.monotonic()
                    calls = (jam.session_get(session_id) for _ in range(200))
                    outcomes = await asyncio.gather(*calls, return_exceptions=True)
                    took = time.monotonic() - began
            finally:
                proxy.resume()
            assert all(isinstance(one, JamStoreUnavailable) for one in outcomes)
            assert len({id(one) for one in outcomes}) == 200, "each has an error of its own"
            assert took < 15
            assert await jam.session_get(session_id) == {"n": 1}

    with through_a_proxy(awaited_uri) as (proxy, uri):
        asyncio.run(main(proxy, uri))


@pytest.mark.parametrize("awaited_uri", WITH_SERVER, indirect=True)
def test_who_gives_up_on_a_silent_server_is_let_go(awaited_uri: str, awaited_table: str) -> None:
    """The drivers ask the server to drop the statement, and would wait for its answer."""

    async def main(proxy: TCPProxy, uri: str) -> None:
        async with jam_on(uri, awaited_table) as jam:
            ids = [await jam.session_create("ann", {"n": n}) for n in range(5)]
            await asyncio.gather(*(jam.session_update(one, {}) for one in ids))
            proxy.hang()
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await jam.session_update(ids[0], {"n": 2})
            await jam.close()
            took = time.monotonic() - began
            proxy.resume()
        assert took < 5, "a second to take leave, twice, and the rest is for the machine"

    with through_a_proxy(awaited_uri) as (proxy, uri):
        asyncio.run(main(proxy, uri))


class PostgreSQL:
    """A server of these tests' own, that can be stopped in the middle of its work."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._psutil = pytest.importorskip("psutil")

    def uri(self, driver: str) -> str:
        url = make_url(self._server.get_uri()).set(drivername=f"postgresql+{driver}")
        return url.render_as_string(hide_password=False)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        processes = [self._psutil.Process(self._server.get_pid())]
        try:
            processes[0].suspend()  # first, so that it starts no more
            for child in processes[0].children(recursive=True):
                processes.append(child)
                child.suspend()
            yield
        finally:
            for process in reversed(processes):
                process.resume()

    @contextmanager
    def locked(self, table: str) -> Iterator[None]:
        """Let every write to a table wait."""
        engine = create_engine(self.uri("psycopg"), poolclass=NullPool)
        with engine.begin() as connection:
            connection.execute(text(f"LOCK TABLE {table} IN EXCLUSIVE MODE"))
            yield

    async def waiting(self, number: int) -> None:
        """Return once so many statements wait for a lock."""
        engine = create_engine(self.uri("psycopg"), poolclass=NullPool)
        ask = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        with engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT")
            async with asyncio.timeout(60):
                while connection.execute(ask).scalar_one() != number:
                    await asyncio.sleep(0.01)


@pytest.fixture(scope="module")
def own_postgresql(start_postgresql: Callable[[], Any]) -> Iterator[PostgreSQL]:
    server = start_postgresql()
    yield PostgreSQL(server)
    server.cleanup()


CONNECT_TIMEOUT = {"asyncpg": {"timeout": 2}, "psycopg": {"connect_timeout": 2}}
DRIVERS = ["asyncpg", pytest.param("psycopg", marks=pytest.mark.exhaustive)]


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_server_that_is_stopped_holds_nobody_up(own_postgresql: PostgreSQL, driver: str) -> None:
    pytest.importorskip(driver)
    table = f"stopped_{driver}"
    limits = {
        "pool_size": 5,
        "max_overflow": 5,
        "pool_timeout": 1.0,
        "connect_args": {**CONNECT_TIMEOUT[driver], "read_timeout": 3.0},
    }

    async def main() -> None:
        async with jam_on(own_postgresql.uri(driver), table, **limits) as jam:
            creations = (jam.session_create("ann", {"n": n}) for n in range(20))
            ids = await asyncio.gather(*creations)
            kinds: list[Callable[[int], Coroutine[Any, Any, object]]] = [
                lambda n: jam.session_update(ids[n % 20], {"n": n}),
                lambda n: jam.session_get(ids[n % 20]),
                lambda n: jam.session_create("ben", {"n": n}),
            ]
            with own_postgresql.locked(table):
                calls = [asyncio.create_task(kinds[0](n)) for n in range(3)]
                await own_postgresql.waiting(3)
                with own_postgresql.stopped():
                    async with no_standstill():
                        began = time.monotonic()
                        for n in range(3, 200):
                            calls.append(asyncio.create_task(kinds[n % 3](n)))
                            if not n % 20:  # as requests come: not all in one turn
                                await asyncio.sleep(0)
                        outcomes = await asyncio.gather(*calls, return_exceptions=True)
                        took = time.monotonic() - began
            assert all(isinstance(one, JamStoreUnavailable) for one in outcomes), outcomes
            assert len({id(one) for one in outcomes}) == 200, "each has an error of its own"
            said = Counter(
                str(one).partition("postgres) ")[2].partition(":")[0] for one in outcomes
            )
            assert said == {
                "did not answer within read_timeout": 5,  # whose connections were open
                "cannot be reached": 5,
                "has no free connection": 190,
            }
            assert took < 8, "3 s, 1 s to take leave of the server, and the rest is for the machine"

            # There is room again for as many as before.
            with own_postgresql.locked(table):
                updates = [asyncio.create_task(kinds[0](n)) for n in range(10)]
                await own_postgresql.waiting(10)
            await asyncio.gather(*updates)
            for n in range(0, 60, 10):  # as many at once as there are connections
                await asyncio.gather(*(kinds[each % 3](each) for each in range(n, n + 10)))
            found = await asyncio.gather(*map(jam.session_get, ids))
            assert None not in found

    asyncio.run(main())


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_write_that_was_not_sent_is_said_not_to_be(
    own_postgresql: PostgreSQL, driver: str
) -> None:
    pytest.importorskip(driver)
    table = f"unsent_{driver}"
    limits = {"pool_size": 1, "max_overflow": 0, "connect_args": {"read_timeout": 0.5}}

    async def main() -> None:
        async with jam_on(own_postgresql.uri(driver), table, **limits) as jam:
            session_id = await jam.session_create("ann", {"n": 1})
            with own_postgresql.stopped():
                updates = (jam.session_update(session_id, {"n": n}) for n in range(2))
                outcomes = await asyncio.gather(*updates, return_exceptions=True)
            assert {type(one) for one in outcomes} == {JamStoreUnavailable}
            doubtful, unsent = sorted(map(str, outcomes))
            assert "did not answer within read_timeout: a write may or may not" in doubtful
            assert "was not asked: within read_timeout no connection" in unsent

    asyncio.run(main())


@pytest.mark.parametrize("loop_runs", [True, False])
def test_a_connection_that_the_server_closed_meanwhile_is_replaced(
    awaited_uri: str, awaited_table: str, loop_runs: bool
) -> None:
    if awaited_uri.startswith("sqlite"):
        pytest.skip("there is no server")

    async def main(proxy: TCPProxy, uri: str) -> None:
        async with jam_on(uri, awaited_table) as jam:
            session_id = await jam.session_create("ann", {"n": 1})
            for n in range(5):
                proxy.cut()
                if loop_runs:
                    await asyncio.sleep(0.05)
                await jam.session_update(session_id, {"n": n})  # is not repeated when in doubt

    with through_a_proxy(awaited_uri) as (proxy, uri):
        asyncio.run(main(proxy, uri))


@pytest.mark.parametrize("is_closed", [True, False])
def test_connections_end_with_their_loop(
    awaited_uri: str, awaited_table: str, is_closed: bool
) -> None:
    if awaited_uri.startswith("sqlite"):
        pytest.skip("there is no server")

    async def main(uri: str) -> None:
        jam = jam_on(uri, awaited_table)
        ids = await asyncio.gather(*(jam.session_create("ann", {"n": n}) for n in range(5)))
        calls = [asyncio.create_task(jam.session_update(one, {"n": 7})) for one in ids]
        await asyncio.sleep(0)
        if is_closed:
            await jam.close()
        await asyncio.gather(*calls)

    with through_a_proxy(awaited_uri) as (proxy, uri):
        asyncio.run(main(uri))
        gc.collect()  # what is not closed would warn
        give_up_at = time.monotonic() + 10
        while proxy.connections and time.monotonic() < give_up_at:
            time.sleep(0.01)
        assert proxy.connections == 0


def test_the_reads_of_a_turn_are_one_statement(awaited_uri: str, awaited_table: str) -> None:
    statements: list[str] = []

    def note(*arguments: Any) -> None:
        statements.append(arguments[2])

    async def main() -> None:
        engine = create_async_engine(awaited_uri, hide_parameters=True)
        event.listen(engine.sync_engine, "before_cursor_execute", note)
        jam = jam_on(engine, awaited_table)
        ids = [await jam.session_create("ann", {"n": n}) for n in range(50)]
        gone = await jam.session_create("ann", {}, ttl=1)
        await jam.session_delete(gone)
        statements.clear()
        found = await asyncio.gather(*map(jam.session_get, [*ids, gone, "unknown", ids[0]]))
        assert found == [*({"n": n} for n in range(50)), None, None, {"n": 0}]
        assert len(statements) == 1
        infos = await asyncio.gather(*map(jam.session_info, ids))
        assert [info and info.data for info in infos] == [{"n": n} for n in range(50)]
        assert len(statements) == 2
        await engine.dispose()

    asyncio.run(main())


def test_each_who_reads_at_once_is_told_by_its_own_moment(
    awaited_uri: str, awaited_table: str
) -> None:
    moments: Iterator[float] = iter(())

    def clock() -> float:
        return next(moments, 1000.0)

    async def main() -> None:
        nonlocal moments
        async with jam_on(awaited_uri, awaited_table, clock=clock, ttl=10) as jam:
            session_id = await jam.session_create("ann", {"n": 1})
            moments = iter((1009.9, 1010.0, 1009.0))
            found = await asyncio.gather(*(jam.session_get(session_id) for _ in range(3)))
            assert found == [{"n": 1}, None, {"n": 1}]

    asyncio.run(main())


def test_a_callers_engine_stays_the_callers(awaited_uri: str, awaited_table: str) -> None:
    async def main() -> None:
        engine = create_async_engine(awaited_uri, hide_parameters=True)
        async with jam_on(engine, awaited_table) as jam:
            session_id = await jam.session_create("ann", {"n": 1})
            await jam.session_update(session_id, {"n": 2})
            assert await jam.session_get(session_id) == {"n": 2}
        async with engine.connect() as connection:
            assert (await connection.exec_driver_sql("SELECT 1")).scalar() == 1
        await engine.dispose()

    asyncio.run(main())


def test_an_engine_of_an_event_loop_is_refused_elsewhere(tmp_path: Any) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/s.db")
    with pytest.raises(JamConfigurationError, match="AsyncEngine"):
        SQLAlchemySessions(engine)


def test_a_driver_that_is_only_awaited_serves_the_plain_jam(
    awaited_uri: str, awaited_table: str
) -> None:
    session = {
        "session_type": "sqlalchemy",
        "database_uri": awaited_uri,
        "table_name": awaited_table,
    }
    with jam.Jam({"session": session}) as plain_jam:
        session_id = plain_jam.session_create("ann", {"n": 1})

        async def main() -> None:
            async with jam_on(awaited_uri, awaited_table) as awaited:
                assert await awaited.session_get(session_id) == {"n": 1}
                await awaited.session_update(session_id, {"n": 2})

        asyncio.run(main())
        assert plain_jam.session_get(session_id) == {"n": 2}


@pytest.mark.parametrize(
    ("scheme", "is_awaited"),
    [("sqlite", False), ("sqlite+aiosqlite", True), ("sqlite+pysqlite", False)],
)
def test_capabilities_say_which_way_it_waits(tmp_path: Any, scheme: str, is_awaited: bool) -> None:
    with SQLAlchemySessions(f"{scheme}:///{tmp_path}/s.db") as store:
        assert ("asyncio" in store.capabilities) == is_awaited


def test_a_psycopg_url_is_awaited_in_an_event_loop_alone(postgresql_url: str) -> None:
    with SQLAlchemySessions(postgresql_url, table_name="jam_two_ways") as store:
        assert "asyncio" in store.capabilities
        assert store.get("unknown") is None


@pytest.mark.parametrize(
    ("awaited_uri", "says"),
    [("asyncpg", "nothing listens there"), ("psycopg", "nothing listens there")],
    indirect=["awaited_uri"],
)
def test_a_server_that_is_not_there_is_said_to_be(
    awaited_uri: str, awaited_table: str, says: str
) -> None:
    url = make_url(awaited_uri).set(host="127.0.0.1", port=1).difference_update_query(["host"])
    with pytest.raises(JamStoreUnavailable, match=says):
        asyncio.run(jam_on(url, awaited_table).session_get("id"))
