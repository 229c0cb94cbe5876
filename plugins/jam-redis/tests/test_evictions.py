"""A server that runs short of memory drops keys: no session may outlive its end by that."""

import time
from collections.abc import Callable

import pytest
from jam_redis import RedisSessions
from redis import Redis

from jam_core import JamSessionNotFound

from .servers import REDIS_62, RedisServer, find_binary, wait_until

Starter = Callable[..., RedisServer]


def companion(path: str, kind: str) -> str:
    return f"{{{path}:ann}}:{kind}"


def test_sessions_whose_ends_are_dropped_have_ended(redis62: RedisServer, path: str) -> None:
    with RedisSessions(redis62.uri, path, ttl=60) as store, redis62.client() as client:
        dropped = [store.create("ann", {"n": n}) for n in range(3)]
        client.delete(companion(path, "expires"))
        assert store.get(dropped[0]) is None
        assert store.list_sessions("ann") == []
        assert list(store.records()) == []
        with pytest.raises(JamSessionNotFound):
            store.touch(dropped[1])
        new = store.create("ann", {"new": True})
        assert [store.get(session_id) for session_id in dropped] == [None] * 3
        assert client.hkeys(f"{path}:ann") == [new.encode()], "they have left nothing"
        assert store.get(new) == {"new": True}


def test_sessions_that_never_end_do_not_hide_the_loss(redis62: RedisServer, path: str) -> None:
    with (
        RedisSessions(redis62.uri, path, ttl=60) as brief,
        RedisSessions(redis62.uri, path, ttl=None) as lasting,
        redis62.client() as client,
    ):
        lasting.create("ann", {})
        dropped = brief.create("ann", {})
        client.delete(companion(path, "expires"))
        assert brief.get(dropped) is None
        brief.create("ann", {})
        assert brief.get(dropped) is None


def test_sessions_that_never_end_outlive_those_that_do(redis62: RedisServer, path: str) -> None:
    """However the others go: nothing of this is a loss."""
    with (
        RedisSessions(redis62.uri, path, ttl=1) as brief,
        RedisSessions(redis62.uri, path, ttl=None) as lasting,
        redis62.client() as client,
    ):
        client.hset(f"{path}:ann", "ann:theirs", "{}")  # as jamlib stores it
        kept = lasting.create("ann", {"kept": True})

        def look() -> None:
            assert lasting.get(kept) == {"kept": True}
            assert lasting.get("ann:theirs") == {}
            assert len(lasting.list_sessions("ann")) == 2

        brief.delete(brief.create("ann", {}))
        look()
        (_, _, third) = [brief.create("ann", {"n": n}) for n in range(3)]
        lasting.clear_others(kept)
        client.hset(f"{path}:ann", "ann:theirs", "{}")
        look()
        third = brief.create("ann", {})
        lasting.touch(third)  # never ends now
        brief.delete(third)
        look()
        last = brief.create("ann", {})
        wait_until(lambda: brief.get(last) is None, "it has expired")
        look()
        brief.purge()
        look()
        assert client.pttl(f"{path}:ann") == -1


def test_a_session_whose_deadline_is_dropped_is_not_prolonged(
    redis62: RedisServer, path: str
) -> None:
    with (
        RedisSessions(redis62.uri, path, ttl=1, max_age=2) as strict,
        RedisSessions(redis62.uri, path, ttl=3600) as careless,
        redis62.client() as client,
    ):
        session_id, other = strict.create("ann", {}), careless.create("ann", {"other": True})
        client.delete(companion(path, "deadlines"))
        careless.touch(session_id)
        session_id = careless.rework(session_id)
        careless.update(session_id, {})
        begin = time.monotonic()
        wait_until(lambda: careless.get(session_id) is None, "it has ended", timeout=5)
        assert time.monotonic() - begin < 2.5
        assert careless.get(other) == {"other": True}, "it never had one"
        careless.touch(other)


def test_ends_of_an_earlier_version_are_read_and_ours_by_it(
    redis62: RedisServer, path: str
) -> None:
    """It kept whole milliseconds, also with max_age, and compares with whole ones."""
    with RedisSessions(redis62.uri, path, ttl=60, max_age=90) as store, redis62.client() as client:
        ours = store.create("ann", {})
        (record,) = store.records()
        score = client.zscore(companion(path, "expires"), ours)
        assert record.expires_at is not None
        assert score == record.expires_at * 1000 - 0.5
        now = int(client.time()[0]) * 1000
        client.hset(f"{path}:ann", "ann:theirs", "{}")
        client.zadd(companion(path, "expires"), {"ann:theirs": now + 60_000})
        client.hset(companion(path, "deadlines"), "ann:theirs", now + 90_000)
        store.touch("ann:theirs")
        assert sorted(info.deadline or 0 for info in store.list_sessions("ann"))[0] > now / 1000
        assert store.get("ann:theirs") == {}


@pytest.mark.exhaustive
@pytest.mark.parametrize("policy", ["allkeys-random", "volatile-lru"])
@pytest.mark.parametrize("users", [20, 1000])
def test_no_session_outlives_its_end_where_keys_are_dropped(
    redis_on: Starter, path: str, policy: str, users: int
) -> None:
    server = redis_on(find_binary("redis70"))
    ttl = 3
    with (
        RedisSessions(server.uri, path, ttl=ttl, max_age=2 * ttl) as store,
        RedisSessions(server.uri, path, ttl=None) as lasting,
        server.client() as client,
    ):
        for n in range(0, users, 3):
            lasting.create(f"user {n}", {})
        born = {
            store.create(f"user {n % users}", {"n": n}): time.monotonic() for n in range(3 * users)
        }
        squeeze(client, policy)
        assert client.info("stats")["evicted_keys"] > users / 4
        client.config_set("maxmemory", 0)
        begin = time.monotonic()
        while time.monotonic() < begin + 2.5 * ttl:
            for session_id, birth in born.items():
                try:
                    if birth > time.monotonic() - ttl:
                        store.touch(session_id)
                    alive = store.get(session_id) is not None
                except JamSessionNotFound:
                    alive = False
                assert not alive or time.monotonic() < birth + 2 * ttl + 0.1
            for n in range(min(users, 50)):  # one more log-in makes no session immortal
                store.create(f"user {n}", {})
        assert [session_id for session_id in born if store.get(session_id) is not None] == []


def squeeze(client: Redis, policy: str) -> None:
    """Have the server drop about half of the keys."""
    client.config_set("maxmemory-policy", policy)
    before = client.dbsize()
    limit = client.info("memory")["used_memory"]
    while client.dbsize() > before / 2:
        limit -= 2000
        client.config_set("maxmemory", limit)


def test_what_this_does_to_sessions_is_said(redis_on: Starter, path: str) -> None:
    server = redis_on(REDIS_62)
    with RedisSessions(server.uri, path) as store, server.client() as client:
        assert [kind for kind, *_ in store.diagnose()] == ["server"]
        client.config_set("maxmemory-policy", "volatile-lru")
        (_, (kind, said, remedy)) = store.diagnose()
        assert kind == "evicting"
        assert "volatile-lru" in said
        assert "All sessions of a session key end" in said
        assert "noeviction" in remedy
