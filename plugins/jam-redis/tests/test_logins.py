"""Log-ins that meet other requests, and that are killed: one id of a session lives, at most."""

import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from jam_redis import RedisSessions
from redis.connection import AbstractConnection

from jam_core import JamSessionNotFound

from .conftest import client_of
from .servers import REDIS_62, RedisServer, cluster
from .test_races import race

ROUNDS = pytest.mark.parametrize(
    "rounds",
    [
        60,
        pytest.param(300, marks=pytest.mark.exhaustive),
        pytest.param(5000, marks=pytest.mark.lengthy),
    ],
)


@pytest.fixture(params=["redis62", "valkey", "redis8", "cluster"])
def uri(request: pytest.FixtureRequest) -> str:
    """One server of each kind; and a cluster, where visitor and user are on different nodes."""
    if request.param == "cluster":
        nodes: list[RedisServer] = request.getfixturevalue("cluster_nodes")
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)
    server: RedisServer = request.getfixturevalue(request.param)
    return server.uri


@pytest.fixture
def store(uri: str, path: str) -> Iterator[RedisSessions]:
    with RedisSessions(uri, path) as store:
        yield store


def visitors(store: RedisSessions, rounds: int) -> list[str]:
    return [store.create(f"visitor {n}", {"n": n}) for n in range(rounds)]


def user_of(session_id: str) -> str:
    return session_id.rpartition(":")[0].replace("visitor", "user")


def log_in(store: RedisSessions, session_id: str) -> str:
    return store.rework(session_id, user_of(session_id), ttl=1000)


def now_or_later(there: RedisSessions, session_id: str) -> None:
    """Use the session some times: across the nodes of a cluster a log-in takes four steps."""
    digit = int(session_id[-1], 16)
    for _ in range(digit // 2 if digit % 2 else 0):
        there.get(session_id)


def living(store: RedisSessions, key: str) -> int:
    return len(store.list_sessions(key))


@ROUNDS
def test_two_log_ins(store: RedisSessions, uri: str, path: str, rounds: int) -> None:
    ids = visitors(store, rounds)
    outcomes = race(
        uri, path, ids, log_in, lambda there, session_id: there.rework(session_id, "other")
    )
    for n, (session_id, *pair) in enumerate(zip(ids, *outcomes, strict=True)):
        assert pair.count("not found") == 1, "one wins, the other is told"
        (new,) = (outcome for outcome in pair if outcome != "not found")
        assert store.get(new) == {"n": n}
        assert store.get(session_id) is None
        assert living(store, user_of(session_id)) == (pair[0] == new), "the other leaves no copy"
    won = sum(outcome != "not found" for outcome in outcomes[1])
    assert living(store, "other") == won


@ROUNDS
def test_a_log_in_against_a_log_out(store: RedisSessions, uri: str, path: str, rounds: int) -> None:
    ids = visitors(store, rounds)

    def delete(there: RedisSessions, session_id: str) -> None:
        now_or_later(there, session_id)
        there.delete(session_id)

    logged_in, _ = race(uri, path, ids, log_in, delete)
    check_that_one_was_first(store, ids, logged_in)


@ROUNDS
def test_a_log_in_against_a_clear_of_the_visitor_s_key(
    store: RedisSessions, uri: str, path: str, rounds: int
) -> None:
    ids = visitors(store, rounds)

    def clear(there: RedisSessions, session_id: str) -> None:
        now_or_later(there, session_id)
        there.clear(session_id.rpartition(":")[0])

    logged_in, _ = race(uri, path, ids, log_in, clear)
    check_that_one_was_first(store, ids, logged_in)


def check_that_one_was_first(store: RedisSessions, ids: list[str], logged_in: list[str]) -> None:
    for n, (session_id, user) in enumerate(zip(ids, logged_in, strict=True)):
        assert store.get(session_id) is None
        if user == "not found":
            assert living(store, user_of(session_id)) == 0, "whoever was logged out stays out"
        else:
            assert store.get(user) == {"n": n}
    assert len({user == "not found" for user in logged_in}) == 2, "each was first some of the time"


@ROUNDS
def test_a_log_in_against_a_clear_of_the_user_s_key(
    store: RedisSessions, uri: str, path: str, rounds: int
) -> None:
    ids = visitors(store, rounds)

    def clear(there: RedisSessions, session_id: str) -> None:
        now_or_later(there, session_id)
        there.clear(user_of(session_id))

    logged_in, _ = race(uri, path, ids, log_in, clear)
    ended = 0
    for session_id, user in zip(ids, logged_in, strict=True):
        assert store.get(session_id) is None, "the visitor's id is dead either way"
        lives = user != "not found" and store.get(user) is not None
        assert living(store, user_of(session_id)) == lives, "no session that nobody knows of"
        ended += not lives
    assert 0 < ended < rounds, "each was first some of the time"


@ROUNDS
def test_a_log_in_against_a_change_of_the_data(
    store: RedisSessions, uri: str, path: str, rounds: int
) -> None:
    ids = visitors(store, rounds)

    def change(there: RedisSessions, session_id: str) -> None:
        now_or_later(there, session_id)
        there.mutate(session_id, lambda data: {**data, "changed": True})

    logged_in, changed = race(uri, path, ids, log_in, change)
    for n, (user, outcome) in enumerate(zip(logged_in, changed, strict=True)):
        expected = {"n": n} if outcome == "not found" else {"n": n, "changed": True}
        assert store.get(user) == expected, "no change is lost that was stored"


@pytest.mark.parametrize("visitor", ["visitor", "visitor who is nobody yet"])
def test_a_log_in_that_is_killed_at_any_step(
    store: RedisSessions, uri: str, path: str, visitor: str
) -> None:
    step, outcome = 0, 1
    while outcome:
        session_id = store.create(visitor, {"n": 1}, ttl=500)
        outcome = in_a_process_that_dies_at(step, uri, path, session_id)
        infos = store.list_sessions("user")
        if outcome and store.get(session_id) is not None:
            before = store.info(session_id)
            assert before is not None
            assert (before.data, before.ttl) == ({"n": 1}, 500), "the session is as it was"
            assert before.expires_at is not None
            for copy in infos:  # nobody knows its id
                assert copy.expires_at is not None
                assert copy.expires_at <= before.expires_at - 500 + 60 + 5, "it ends in a minute"
            user = store.rework(session_id, "user")
            assert store.get(user) == {"n": 1}, "the log-in can be repeated"
        assert store.get(session_id) is None
        store.clear("user")
        step += 1
    assert len(infos) == 1, "the log-in that nothing befell"
    assert infos[0].ttl == 1000
    assert step > (8 if "cluster" in uri else 2), "it was killed before and after each"


def in_a_process_that_dies_at(step: int, uri: str, path: str, session_id: str) -> int:
    """Log in, and be killed at the n-th thing that goes over a connection; return the status."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    with suppress(BaseException):
        store = RedisSessions(uri, path)
        for key in ("visitor", "visitor who is nobody yet", "user"):
            store.list_sessions(key)  # connects
        AbstractConnection.send_packed_command = dying(  # type: ignore[method-assign]
            AbstractConnection.send_packed_command, iter(range(step, -1, -1))
        )
        store.rework(session_id, "user", ttl=1000)
        os._exit(0)
    os._exit(1)


def dying(send: Callable[..., Any], steps_left: Iterator[int]) -> Callable[..., Any]:
    def step() -> None:
        if next(steps_left, None) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def send_and_die(*arguments: Any, **options: Any) -> Any:
        step()
        answer = send(*arguments, **options)
        step()
        return answer

    return send_and_die


AHEAD = 120  # seconds
CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
int gettimeofday(struct timeval *time, void *zone) {
    int (*real)(struct timeval *, void *) = dlsym(RTLD_NEXT, "gettimeofday");
    int failed = real(time, zone);
    time->tv_sec += atoi(getenv("AHEAD"));
    return failed;
}
"""


@pytest.fixture
def nodes_that_disagree(tmp_path: Path) -> Iterator[list[RedisServer]]:
    """A cluster whose second node is ahead of the first, and the third of the second."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler to make a clock with")
    (tmp_path / "clock.c").write_text(CLOCK)
    shim = tmp_path / "clock.so"
    command = [compiler, "-shared", "-fPIC", "-o", str(shim), str(tmp_path / "clock.c"), "-ldl"]
    subprocess.run(command, check=True)
    server = tmp_path / "server"
    server.write_text(
        "#!/bin/sh\nfor directory; do :; done\n"
        f"export AHEAD=$(({AHEAD} * ${{directory##*/}})) LD_PRELOAD={shim}\n"
        f'exec {REDIS_62} "$@"\n'
    )
    server.chmod(0o700)
    with cluster(tmp_path / "nodes", binary=str(server)) as nodes:
        yield nodes


def test_a_log_in_on_nodes_whose_clocks_disagree(
    nodes_that_disagree: list[RedisServer], path: str
) -> None:
    uri = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes_that_disagree)
    with RedisSessions(uri, path, max_age=50) as store, client_of(uri) as client:

        def key_on(node: RedisServer) -> str:
            keys = (f"somebody {n}" for n in range(10_000))
            return next(
                key for key in keys if client.get_node_from_key(f"{path}:{key}").port == node.port
            )

        keys = {node: key_on(node) for node in nodes_that_disagree}
        for here, there in itertools.permutations(keys, 2):
            new = store.rework(store.create(keys[here], {"n": 1}), keys[there], ttl=1000)
            info = store.info(new)
            assert info is not None
            assert (info.data, info.ttl) == ({"n": 1}, 1000)
            with there.client() as node:
                now = node.time()[0]
            assert info.deadline is not None
            assert 45 < info.deadline - now <= 51
            assert info.expires_at == info.deadline


def test_an_id_that_is_dead_cannot_log_in(store: RedisSessions) -> None:
    session_id = store.create("visitor", {})
    store.delete(session_id)
    with pytest.raises(JamSessionNotFound):
        store.rework(session_id, "user")
    assert store.list_sessions("user") == []
