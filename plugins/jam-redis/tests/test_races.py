"""Two processes on one session, up to five thousand times: one outcome, and nothing lost."""

import multiprocessing
import time
from collections.abc import Callable
from typing import Any

import pytest
from jam_redis import RedisSessions
from jam_testing import run_in_processes

from jam_core import JamSessionNotFound

from .servers import RedisServer

pytestmark = pytest.mark.parametrize("rounds", [500, pytest.param(5000, marks=pytest.mark.lengthy)])

Action = Callable[[RedisSessions, str], Any]


def race(uri: str, path: str, ids: list[str], *actions: Action) -> list[list[Any]]:
    """Let actions meet on each session, each in a process of its own; return their outcomes.

    Each is late once, so that on a busy machine, too, each is first some of the time.
    """
    barrier = multiprocessing.get_context("fork").Barrier(len(actions))

    def task(number: int, action: Action) -> Callable[[], list[Any]]:
        def run() -> list[Any]:
            outcomes = []
            with RedisSessions(uri, path) as store:
                store.get(ids[0])
                for n, session_id in enumerate(ids):
                    if n % 10 == 0:  # side by side, without waiting for each other all the time
                        barrier.wait(60)
                        if number == n // 10:
                            time.sleep(0.02)
                    try:
                        outcomes.append(action(store, session_id))
                    except JamSessionNotFound:
                        outcomes.append("not found")
            return outcomes

        return run

    return run_in_processes([task(number, action) for number, action in enumerate(actions)])


def test_update_against_delete(server: RedisServer, path: str, rounds: int) -> None:
    with RedisSessions(server.uri, path) as store:
        ids = [store.create(f"user {n % 50}", {"n": n}) for n in range(rounds)]
        updated, _ = race(
            server.uri,
            path,
            ids,
            lambda there, session_id: there.update(session_id, {"resurrected": True}),
            lambda there, session_id: there.delete(session_id),
        )
        assert {None, "not found"} == set(updated), "each was first some of the time"
        assert not [session_id for session_id in ids if store.get(session_id) is not None]
        with server.client() as client:
            assert not list(client.scan_iter(match=f"*{path}*", count=1000))


def test_rework_against_rework(server: RedisServer, path: str, rounds: int) -> None:
    with RedisSessions(server.uri, path) as store:
        ids = [store.create(f"user {n % 50}", {"n": n}) for n in range(rounds)]
        first, second = race(
            server.uri, path, ids, *[lambda there, session_id: there.rework(session_id)] * 2
        )
        for n, session_id in enumerate(ids):
            outcomes = [first[n], second[n]]
            assert outcomes.count("not found") == 1, "one wins, the other is told"
            (new,) = (outcome for outcome in outcomes if outcome != "not found")
            assert store.get(new) == {"n": n}
            assert store.get(session_id) is None


def test_mutate_against_mutate(server: RedisServer, path: str, rounds: int) -> None:
    with RedisSessions(server.uri, path) as store:
        ids = [store.create(f"user {n % 50}", {}) for n in range(rounds // 10)]

        def count(name: str) -> Action:
            def change(data: dict[str, Any]) -> dict[str, Any]:
                return {**data, name: data.get(name, 0) + 1, "all": data.get("all", 0) + 1}

            def action(there: RedisSessions, session_id: str) -> None:
                for _ in range(5):
                    there.mutate(session_id, change)

            return action

        race(server.uri, path, ids, count("one"), count("two"))
        for session_id in ids:
            assert store.get(session_id) == {"one": 5, "two": 5, "all": 10}
