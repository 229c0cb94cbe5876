"""Sentinel: the store follows the primary, whatever happens to the former one."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
from jam_redis import RedisSessions
from redis.exceptions import RedisError
from redis.sentinel import Sentinel

from jam.aio import Jam
from jam_core import JamSessionNotFound, JamStoreUnavailable

from .servers import RedisServer, SentinelSetup, Writers, sentinel_setup, wait_until


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[SentinelSetup]:
    with sentinel_setup(tmp_path / "sentinel") as setup:
        yield setup


def crash(setup: SentinelSetup) -> None:
    setup.primary().kill()


def demote(setup: SentinelSetup) -> None:
    """The former primary stays up: connections to it have to be left."""
    with setup.sentinel.client() as client:
        # Refused, with an error, while the Sentinel does not yet know of a replica that is fit.
        wait_until(
            lambda: bool(client.execute_command("SENTINEL", "FAILOVER", setup.service)),
            "the Sentinel begins the failover",
        )


@pytest.mark.parametrize(
    ("end", "callers"),
    [
        pytest.param(crash, False, id="crash, own client"),
        pytest.param(crash, True, id="crash, caller's client", marks=pytest.mark.exhaustive),
        pytest.param(demote, False, id="demotion, own client", marks=pytest.mark.exhaustive),
    ],
)
def test_a_failover_while_sessions_are_written(
    setup: SentinelSetup, path: str, end: Callable[[SentinelSetup], None], callers: bool
) -> None:
    finder = Sentinel([("127.0.0.1", setup.sentinel.port)], socket_timeout=2)
    client = finder.master_for(setup.service, socket_timeout=2)
    with RedisSessions(client if callers else setup.uri, path) as store:
        former = setup.primary()
        kept = store.create("ann", {"kept": True})
        with former.client() as primary:
            assert primary.wait(1, 5000) == 1, "the replica has it"
        with Writers(store, threads=4) as writers:
            writers.wait_until_all_write()
            end(setup)
            wait_until(lambda: setup.primary() is not former, "there is a new primary")
            wait_until(lambda: has_ended(former), "the former one is down, or a replica")
            writers.wait_until_all_write()
        assert not writers.surprises
        assert store.get(kept) == {"kept": True}
        new = store.create("ann", {"new": True})
        assert server_has(setup.primary(), path, new)
    client.close()


@pytest.mark.exhaustive
@pytest.mark.parametrize("end", [crash, demote], ids=["crash", "demotion"])
def test_a_failover_under_load_in_an_event_loop(
    setup: SentinelSetup, path: str, end: Callable[[SentinelSetup], None]
) -> None:
    written = [0] * 20
    is_over = False

    async def write(jam: Jam, n: int) -> None:
        while not is_over:
            try:
                session_id = await jam.session_create(f"user {n}", {"n": n})
                await jam.session_update(session_id, {"n": n + 1})
                written[n] += 1
            except (JamStoreUnavailable, JamSessionNotFound):
                continue

    async def all_write() -> None:
        before = list(written)
        async with asyncio.timeout(60):
            while not all(now > then for now, then in zip(written, before, strict=True)):
                await asyncio.sleep(0.01)

    async def main() -> None:
        nonlocal is_over
        session = {"session_type": "redis", "redis_uri": setup.uri, "session_path": path}
        async with Jam({"session": session}) as jam:
            former = setup.primary()
            kept = await jam.session_create("ann", {"kept": True})
            with former.client() as primary:
                assert primary.wait(1, 5000) == 1, "the replica has it"
            async with asyncio.TaskGroup() as tasks:
                for n in range(len(written)):
                    tasks.create_task(write(jam, n))
                await all_write()
                await asyncio.to_thread(end, setup)
                is_new = partial(wait_until, lambda: setup.primary() is not former, "it is new")
                await asyncio.to_thread(is_new)
                left = partial(wait_until, lambda: has_ended(former), "the former one has ended")
                await asyncio.to_thread(left)
                await all_write()
                is_over = True
            assert await jam.session_get(kept) == {"kept": True}
            new = await jam.session_create("ann", {"new": True})
            assert server_has(setup.primary(), path, new)

    asyncio.run(main())


def test_the_first_calls_of_an_event_loop_share_one_connection(
    sentinels: SentinelSetup, path: str
) -> None:
    def connections() -> int:
        with sentinels.primary().client() as client:
            return sum(one["name"] == path for one in client.client_list())

    async def main() -> None:
        uri = f"{sentinels.uri}?client_name={path}"
        jam = Jam({"session": {"session_type": "redis", "redis_uri": uri, "session_path": path}})
        await asyncio.gather(*(jam.session_get("ann:id") for _ in range(20)))
        assert connections() == 1
        await jam.close()
        await asyncio.to_thread(wait_until, lambda: connections() == 0, "it is closed")

    asyncio.run(main())


def has_ended(former: RedisServer) -> bool:
    """Tell whether nobody can write to it any more: Sentinel tells it a moment later."""
    try:
        with former.client() as client:
            return bool(client.info("replication")["role"] == "slave")
    except RedisError:
        return True


def server_has(server: RedisServer, path: str, session_id: str) -> bool:
    with server.client() as client:
        return bool(client.hexists(f"{path}:ann", session_id))


def test_a_primary_that_became_a_replica_is_left(
    redis_on: Callable[..., RedisServer], path: str
) -> None:
    """As behind a name that points to another server now: only a new connection gets there."""
    server = redis_on()
    with RedisSessions(server.uri, path) as store, server.client() as client:
        store.ping()
        (own,) = [one["id"] for one in client.client_list() if one["cmd"] == "setrange"]
        client.replicaof("127.0.0.1", 1)

        def promote_as_soon_as_it_connects_anew() -> None:
            wait_until(
                lambda: own not in [one["id"] for one in client.client_list()],
                "the connection is given up",
            )
            client.replicaof("NO", "ONE")

        helper = threading.Thread(target=promote_as_soon_as_it_connects_anew)
        helper.start()
        session_id = store.create("ann", {"n": 1})
        helper.join()
        assert store.get(session_id) == {"n": 1}


WINDOW = 2.5  # seconds: what the README says, and half a second for a busy machine


class Acknowledged(NamedTuple):
    """What a store acknowledged.

    Attributes:
        when: When.
        session_id: Which session.
        alive: Whether it is there from now on.
    """

    when: float
    session_id: str
    alive: bool


@pytest.mark.exhaustive
@pytest.mark.parametrize("callers", [False, True], ids=["own client", "caller's client"])
@pytest.mark.parametrize("guarded", [False, True], ids=["", "min-replicas-to-write"])
def test_what_a_planned_failover_undoes(
    setup: SentinelSetup, path: str, guarded: bool, callers: bool
) -> None:
    """The former primary goes on acknowledging for ten seconds, until Sentinel demotes it."""
    former = setup.primary()
    if guarded:
        with former.client() as client:
            client.config_set("min-replicas-to-write", 1)
    finder = Sentinel([("127.0.0.1", setup.sentinel.port)], socket_timeout=2)
    client = finder.master_for(setup.service, socket_timeout=2)
    acknowledged: list[list[Acknowledged]] = [[] for _ in range(8)]
    stop = threading.Event()
    with RedisSessions(client if callers else setup.uri, path) as store:
        kept = store.create("ann", {"kept": True})

        def log_in_and_out(n: int) -> None:
            told = acknowledged[n]
            while not stop.is_set():
                with suppress(JamStoreUnavailable):
                    session_id = store.create(f"user {n}", {})
                    told.append(Acknowledged(time.monotonic(), session_id, True))
                    if len(told) % 3 == 0:
                        store.delete(session_id)
                        told.append(Acknowledged(time.monotonic(), session_id, False))

        threads = [threading.Thread(target=log_in_and_out, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        try:
            wait_until(lambda: all(len(told) > 50 for told in acknowledged), "all work")
            demote(setup)
            wait_until(lambda: setup.primary() is not former, "there is a new primary")
            named_at = time.monotonic()
            wait_until(
                lambda: all(told[-1].when > named_at + 1.5 for told in acknowledged), "all work"
            )
            assert not has_ended(former), "it would still acknowledge"
            wait_until(lambda: has_ended(former), "the former one is a replica")
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert store.get(kept) == {"kept": True}, "reads go on"
        final = {one.session_id: one for told in acknowledged for one in told}
        lives = {session_id: store.get(session_id) is not None for session_id in final}
    client.close()
    wrong = [one.when for one in final.values() if lives[one.session_id] != one.alive]
    if wrong:  # guarded, what was on its way to the replica in that moment
        assert max(wrong) - min(wrong) < (0.3 if guarded else WINDOW)
        assert max(wrong) < named_at + WINDOW - 1
