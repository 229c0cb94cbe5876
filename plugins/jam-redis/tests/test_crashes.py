"""Writers that are killed, and a server that is."""

import os
import random
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from jam_redis import RedisSessions
from redis.backoff import NoBackoff
from redis.retry import Retry

from jam_core import JamSessionNotFound, JamStoreUnavailable

from .servers import REDIS_62, RedisServer, Writers, wait_until


def write_for_ever(uri: str, path: str) -> None:
    """Use every operation that writes, on the sessions of a few keys, and never stop."""
    store = RedisSessions(uri, path, ttl=2, max_age=3)
    ids = [store.create(f"user {n}", {}) for n in range(3)]
    while True:
        n = random.randrange(len(ids))
        try:
            store.update(ids[n], {"n": n})
            ids[n] = store.rework(ids[n])
            store.touch(ids[n])
            store.mutate(ids[n], lambda data: {**data, "m": 1})
            store.delete(ids[n])
        except JamSessionNotFound:
            pass
        ids[n] = store.create(f"user {n}", {"n": n})


def kill_a_writer(uri: str, path: str) -> None:
    child = os.fork()
    if child == 0:
        try:
            write_for_ever(uri, path)
        finally:
            os._exit(1)
    time.sleep(random.uniform(0.002, 0.015))  # the moment to die
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def unlimited_sessions(server: RedisServer, path: str) -> list[str]:
    """Return what is wrong with the sessions as they are now: each needs its end."""
    wrong = []
    with server.client(db=8) as client:
        for key in client.scan_iter(match=f"{path}:*", count=1000):
            fields = client.hkeys(key)
            if client.exists(b"{%b}:expires" % key):
                ends = client.zmscore(b"{%b}:expires" % key, fields)
                wrong += [
                    f"{field!r} has no end"
                    for field, end in zip(fields, ends, strict=True)
                    if not end
                ]
            elif "hpexpireat" in client.command():
                ttls = client.execute_command("HPTTL", key, "FIELDS", len(fields), *fields)
                wrong += [
                    f"{field!r} has no end"
                    for field, ttl in zip(fields, ttls, strict=True)
                    if ttl == -1
                ]
            else:
                wrong += [f"{key!r} has no ends" for _ in fields]
    return wrong


@pytest.mark.parametrize("kills", [20, pytest.param(200, marks=pytest.mark.exhaustive)])
def test_a_writer_that_is_killed_leaves_nothing_half_done(
    server: RedisServer, path: str, kills: int
) -> None:
    for _ in range(kills):
        kill_a_writer(server.uri_of(8), path)
    assert unlimited_sessions(server, path) == []
    with server.client(db=8) as client:
        wait_until(
            lambda: not list(client.scan_iter(match=f"*{path}*", count=1000)),
            "sessions and companions have expired",
        )


class Load(Writers):
    """Uses the store in other ways, too, remembers what it was told, and bears no loss."""

    bears = (JamStoreUnavailable,)

    def __init__(self, store: RedisSessions, threads: int) -> None:
        super().__init__(store, threads)
        self.last: dict[int, tuple[str, dict[str, Any]]] = {}

    def one_round(self, n: int) -> None:
        data = {"round": self.rounds[n]}
        session_id = self.store.create(f"user {n}", data)
        assert self.store.get(session_id) == data
        self.store.update(session_id, {**data, "updated": True})
        self.store.touch(session_id)
        self.last[n] = session_id, {**data, "updated": True}


@pytest.mark.parametrize("callers", [False, True], ids=["own client", "caller's client"])
def test_a_server_that_is_killed_and_restarted_under_load(
    redis_on: Callable[..., RedisServer], path: str, callers: bool
) -> None:
    keep = ("--appendonly", "yes", "--appendfsync", "always")
    server = redis_on(REDIS_62, None, *keep)
    client = server.client(retry=Retry(NoBackoff(), 2)) if callers else None
    store = RedisSessions(client or server.uri, path)
    with Load(store, threads=8) as load:
        for _ in range(3):
            load.wait_until_all_write()
            server.kill()
            outages = load.refused
            wait_until(lambda outages=outages: load.refused > outages + 8, "the outage is noticed")  # type: ignore[misc]
            server = redis_on(REDIS_62, server, *keep)
        load.wait_until_all_write()
    assert not load.surprises
    assert len(load.last) == 8
    for session_id, data in load.last.values():
        assert store.get(session_id) == data
    with server.client() as other:
        connections = [one for one in other.client_list() if one["cmd"] != "client|list"]
        assert len(connections) <= 8 + 2, "no more connections than threads"
    store.close()
    if client:
        client.close()
    else:
        with server.client() as other:
            wait_until(lambda: len(other.client_list()) == 1, "the store's connections are closed")
