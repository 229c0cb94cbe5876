"""Sentinel: the store follows the primary, whatever happens to the former one."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from jam_redis import RedisSessions
from jam_redis.clients import close_client
from redis.exceptions import RedisError
from redis.sentinel import Sentinel

from jam_core import JamSessionNotFound, JamStoreUnavailable

from .servers import RedisServer, SentinelSetup, sentinel_setup, wait_until


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[SentinelSetup]:
    with sentinel_setup(tmp_path / "sentinel") as setup:
        yield setup


def crash(setup: SentinelSetup) -> None:
    setup.primary().kill()


def demote(setup: SentinelSetup) -> None:
    """The former primary stays up: connections to it have to be left."""
    with setup.sentinel.client() as client:
        client.execute_command("SENTINEL", "FAILOVER", setup.service)


class Writers:
    """Threads that write all the time, and bear outages only."""

    def __init__(self, store: RedisSessions, threads: int) -> None:
        self._store = store
        self._stop = threading.Event()
        self.surprises: list[BaseException] = []
        self.written = [0] * threads
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(threads)]

    def __enter__(self) -> "Writers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_until_all_write(self) -> None:
        before = list(self.written)
        wait_until(
            lambda: all(now > then for now, then in zip(self.written, before, strict=True)),
            "every thread writes",
        )

    def _run(self, n: int) -> None:
        while not self._stop.is_set():
            try:
                session_id = self._store.create(f"user {n}", {"n": n})
                self._store.update(session_id, {"n": n + 1})
                self.written[n] += 1
            except (JamStoreUnavailable, JamSessionNotFound):
                # What a primary acknowledges just before it dies, its replica may not have.
                continue
            except BaseException as error:
                self.surprises.append(error)
                return


@pytest.mark.parametrize(
    ("end", "callers"),
    [
        pytest.param(crash, False, id="crash, own client"),
        pytest.param(crash, True, id="crash, caller's client"),
        pytest.param(demote, False, id="demotion, own client"),
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
    close_client(client)


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
