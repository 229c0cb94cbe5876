"""Under asyncio: one connection for all calls of a loop, whatever becomes of the callers."""

import asyncio
import contextvars
import gc
import tempfile
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import redis
import redis.asyncio
from jam_testing import fork_unseen, run_in_processes
from jam_testing.eventloops import cancel_some, no_standstill

from jam.aio import Jam
from jam_core import Jam as PlainJam
from jam_core import JamConfigurationError, JamStoreUnavailable

from .servers import REDIS_62, RedisServer

EAGER: Any = getattr(asyncio, "eager_task_factory", None)
CALLER = contextvars.ContextVar[object]("caller")


def jam_on(server: RedisServer, path: str, **options: Any) -> Jam:
    name = f"client_name={path}"
    session = {"session_type": "redis", "redis_uri": f"{server.uri}?{name}", "session_path": path}
    return Jam({"jam": {"session": {**session, **options}}})


def connections(server: RedisServer, path: str) -> set[str]:
    """Return the ids of the connections that a Jam on this path has."""
    with server.client() as client:
        return {one["id"] for one in client.client_list() if one["name"] == path}


async def none_is_left(server: RedisServer, path: str) -> None:
    async with asyncio.timeout(60):
        while connections(server, path):
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("rounds", [2, pytest.param(16, marks=pytest.mark.exhaustive)])
def test_cancelled_callers_take_nobodys_answer(valkey: RedisServer, path: str, rounds: int) -> None:
    async def use(jam: Jam, n: int, session_id: str) -> None:
        for _ in range(3):
            assert await jam.session_get(session_id) == {"n": n}
        await jam.session_update(session_id, {"n": n})
        (info,) = await jam.session_list(f"user {n}")
        assert info.data == {"n": n}

    async def main() -> None:
        async with jam_on(valkey, path) as jam:
            creations = (jam.session_create(f"user {n}", {"n": n}) for n in range(50))
            ids = await asyncio.gather(*creations)
            before = connections(valkey, path)
            cancelled = await cancel_some(partial(use, jam), ids, rounds=rounds, longest=6)
            assert cancelled > rounds * len(ids) // 20, "while they waited"
            assert connections(valkey, path) == before, "no connection was lost"
            gets = await asyncio.gather(*(jam.session_get(one) for one in ids))
            assert gets == [{"n": n} for n in range(50)]

    asyncio.run(main())


def test_a_server_that_is_stopped_holds_nobody_up(
    redis_on: Callable[..., RedisServer], path: str
) -> None:
    server = redis_on()

    async def main() -> None:
        async with jam_on(server, path, socket_timeout=1.0, connect_timeout=1.0) as jam:
            session_id = await jam.session_create("ann", {"n": 1})
            server.pause()
            try:
                async with no_standstill():
                    began = time.monotonic()
                    calls = []
                    for n in range(500):
                        calls.append(asyncio.create_task(jam.session_get(session_id)))
                        if not n % 20:  # as requests come: not all in one turn
                            await asyncio.sleep(0)
                    outcomes = await asyncio.gather(*calls, return_exceptions=True)
                    took = time.monotonic() - began
            finally:
                server.resume()
            assert all(isinstance(one, JamStoreUnavailable) for one in outcomes)
            assert len({id(one) for one in outcomes}) == 500, "each has an error of its own"
            assert took < 3, "within the timeout"
            assert await jam.session_get(session_id) == {"n": 1}

    asyncio.run(main())


def test_a_loop_that_was_held_up_still_reads_its_answers(valkey: RedisServer, path: str) -> None:
    async def main() -> None:
        async with jam_on(valkey, path, socket_timeout=0.2) as jam:
            session_id = await jam.session_create("ann", {"n": 1})
            before = connections(valkey, path)
            call = asyncio.create_task(jam.session_get(session_id))
            while True:
                await asyncio.sleep(0)
                with valkey.client() as client:
                    (one,) = [c for c in client.client_list() if c["id"] in before]
                if one["cmd"] in ("hget", "evalsha", "zscore") or call.done():
                    break
            time.sleep(0.5)
            assert await call == {"n": 1}
            assert connections(valkey, path) == before

    asyncio.run(main())


@pytest.mark.parametrize("calls", [1_000, pytest.param(10_000, marks=pytest.mark.exhaustive)])
def test_many_calls_share_one_connection(valkey: RedisServer, path: str, calls: int) -> None:
    async def main() -> None:
        async with jam_on(valkey, path, socket_timeout=30.0) as jam:
            creations = (jam.session_create(f"{n}", {"n": n}) for n in range(calls))
            ids = await asyncio.gather(*creations)
            seen = connections(valkey, path)
            found = await asyncio.gather(*map(jam.session_get, ids))
            assert found == [{"n": n} for n in range(calls)]
            assert len(seen | connections(valkey, path)) == 1
        await none_is_left(valkey, path)

    asyncio.run(main())


def test_one_loop_after_the_other_and_two_at_once(valkey: RedisServer, path: str) -> None:
    jam = jam_on(valkey, path)
    session_id = asyncio.run(jam.session_create("ann", {"n": 1}))
    wrong: list[object] = []

    async def read() -> None:
        for _ in range(50):
            found = await jam.session_get(session_id)
            if found != {"n": 1}:
                wrong.append(found)

    threads = [threading.Thread(target=lambda: asyncio.run(read())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asyncio.run(read())
    assert not wrong
    asyncio.run(none_is_left(valkey, path))  # each loop's ended with it


def forked_by_python(work: Callable[[], bool]) -> bool:
    return bool(run_in_processes([work])[0])


def forked_unseen(work: Callable[[], bool]) -> bool:
    return bool(fork_unseen(work).result(30))


@pytest.mark.parametrize("fork", [forked_by_python, forked_unseen])
def test_a_child_has_a_connection_of_its_own(
    valkey: RedisServer, path: str, fork: Callable[[Callable[[], bool]], bool]
) -> None:
    jam = jam_on(valkey, path)

    with asyncio.Runner() as parent:
        session_id = parent.run(jam.session_create("ann", {"n": 1}))
        before = connections(valkey, path)

        def child() -> bool:
            found = asyncio.run(jam.session_get(session_id))
            gc.collect()
            return found == {"n": 1} and connections(valkey, path) == before

        assert fork(child)
        assert parent.run(jam.session_get(session_id)) == {"n": 1}
        assert connections(valkey, path) == before
        parent.run(jam.close())


def test_closed_after_all_its_callers_were_cancelled(valkey: RedisServer, path: str) -> None:
    async def main() -> None:
        async with jam_on(valkey, path) as jam:
            call = asyncio.create_task(jam.session_get("ann:id"))
            await asyncio.sleep(0)
            call.cancel()
        async with asyncio.timeout(60):
            while len(asyncio.all_tasks()) > 1:
                await asyncio.sleep(0.005)
        assert not connections(valkey, path)

    asyncio.run(main())


def test_closed_while_calls_are_under_way_and_used_again(valkey: RedisServer, path: str) -> None:
    async def main() -> None:
        jam = jam_on(valkey, path)
        ids = [await jam.session_create("ann", {"n": n}) for n in range(20)]
        calls = [asyncio.create_task(jam.session_get(one)) for one in ids]
        await asyncio.sleep(0)
        await jam.close()
        assert await asyncio.gather(*calls) == [{"n": n} for n in range(20)]
        await none_is_left(valkey, path)
        assert await jam.session_get(ids[0]) == {"n": 0}
        await jam.close()
        await none_is_left(valkey, path)

    asyncio.run(main())


def test_a_loop_that_stood_still_sees_that_its_connection_was_closed(
    valkey: RedisServer, path: str
) -> None:
    """Some loops run only while there is a request, as on AWS Lambda."""
    jam = jam_on(valkey, path)
    with asyncio.Runner() as runner:
        session_id = runner.run(jam.session_create("ann", {"n": 0}))
        for n in range(5):
            with valkey.client() as client:
                for one in connections(valkey, path):
                    client.client_kill_filter(_id=one)
            time.sleep(0.1)
            runner.run(jam.session_update(session_id, {"n": n}))  # is not repeated when in doubt
        assert runner.run(jam.session_get(session_id)) == {"n": 4}
        runner.run(jam.close())


def test_a_server_that_was_restarted_is_found_again(
    redis_on: Callable[..., RedisServer], path: str
) -> None:
    server = redis_on()

    async def main() -> None:
        async with jam_on(server, path) as jam:
            await jam.session_create("ann", {"n": 1})
            server.kill()
            with pytest.raises(JamStoreUnavailable, match="closed the connection"):
                await jam.session_create("ann", {"n": 2})
            with pytest.raises(JamStoreUnavailable, match="refused the connection"):
                await jam.session_create("ann", {"n": 2})
            server.start()
            calls = (jam.session_create("ann", {"n": n}) for n in range(10))
            assert len(set(await asyncio.gather(*calls))) == 10

    asyncio.run(main())


def test_no_connection_keeps_what_its_first_caller_had_in_its_context(
    valkey: RedisServer, path: str
) -> None:
    class Request:
        """What a framework keeps in a context variable."""

    async def handler(jam: Jam) -> "weakref.ref[Request]":
        request = Request()
        CALLER.set(request)
        await jam.session_get("ann:id")
        return weakref.ref(request)

    async def main() -> None:
        async with jam_on(valkey, path) as jam:
            await jam.session_get("ann:id")  # opens it, without a request
            await jam.close()
            request = await asyncio.create_task(handler(jam))
            await asyncio.sleep(0)  # this is still told that the handler has ended
            gc.collect()
            assert request() is None

    asyncio.run(main())


def test_a_client_that_asyncio_cannot_follow_is_refused() -> None:
    """Another program would be asked, on the port that Redis mostly has."""
    fakeredis = pytest.importorskip("fakeredis")
    jam = Jam({"jam": {"session": {"session_type": "redis", "redis_uri": fakeredis.FakeRedis()}}})
    with pytest.raises(JamConfigurationError, match=r"FakeRedisConnection.*URI"):
        asyncio.run(jam.session_get("ann:id"))


def test_a_client_of_the_application_serves(valkey: RedisServer, path: str) -> None:
    with redis.Redis(port=valkey.port) as client:
        session = {"session_type": "redis", "redis_uri": client, "session_path": path}

        async def main() -> None:
            async with Jam({"jam": {"session": session}}) as jam:
                session_id = await jam.session_create("ann", {"n": 1})
                assert await jam.session_get(session_id) == {"n": 1}

        asyncio.run(main())


def test_an_asyncio_client_of_the_application_serves_both(valkey: RedisServer, path: str) -> None:
    client = redis.asyncio.Redis(port=valkey.port, client_name=path)
    session = {"session_type": "redis", "redis_uri": client, "session_path": path}

    async def main() -> str:
        async with Jam({"jam": {"session": session}}) as jam:
            session_id = await jam.session_create("ann", {"n": 1})
            assert await jam.session_get(session_id) == {"n": 1}
        assert await client.ping()
        await client.aclose()
        return session_id

    session_id = asyncio.run(main())
    with PlainJam({"session": session}) as plain:
        assert plain.session_get(session_id) == {"n": 1}


def test_an_asyncio_client_of_sentinels_is_refused_by_name() -> None:
    client = redis.asyncio.Sentinel([("127.0.0.1", 1)]).master_for("service")
    with pytest.raises(JamConfigurationError, match=r"SentinelManagedConnection.*redis\+sentinel"):
        PlainJam({"session": {"session_type": "redis", "redis_uri": client}})


def test_a_unix_socket(redis_on: Callable[..., RedisServer], path: str) -> None:
    with tempfile.TemporaryDirectory(prefix="jam") as directory:  # its path has to be short
        redis_on(REDIS_62, None, "--unixsocket", f"{directory}/socket")
        session = {
            "session_type": "redis",
            "redis_uri": f"unix://{directory}/socket",
            "session_path": path,
        }

        async def main() -> None:
            async with Jam({"session": session}) as jam:
                ids = await asyncio.gather(*(jam.session_create("a", {"n": n}) for n in range(20)))
                found = await asyncio.gather(*map(jam.session_get, ids))
                assert found == [{"n": n} for n in range(20)]

        asyncio.run(main())


@pytest.mark.skipif(EAGER is None, reason="since Python 3.12")
def test_a_connection_that_fails_at_once_is_an_outage_where_tasks_start_eagerly() -> None:
    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(EAGER)
        session = {"session_type": "redis", "redis_uri": "unix:///there/is/none"}
        async with asyncio.timeout(60), Jam({"session": session}) as jam:
            with pytest.raises(JamStoreUnavailable, match="no such file"):
                await jam.session_get("ann:id")

    asyncio.run(main())
