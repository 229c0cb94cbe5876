"""One session key with very many sessions: nobody else waits for it."""

from collections.abc import Iterator

import pytest
from jam_redis import RedisSessions

from jam_core import JamSessionNotFound, session_handle

from .servers import RedisServer

LONGEST_LIST = 10_000
LONGEST = 50_000  # microseconds that the server may spend on one command


def fill(server: RedisServer, path: str, count: int) -> None:
    """Store sessions as a store does that gives them an hour."""
    with server.client() as client:
        expires_fields = "hpexpire" in client.command()
        ends = (int(client.time()[0]) + 3600) * 1000
        for first in range(0, count, 1000):
            ids = [f"ann:{n}" for n in range(first, first + 1000)]
            client.hset(f"{path}:ann", mapping=dict.fromkeys(ids, '{"n": 1}'))
            if expires_fields:
                client.execute_command("HPEXPIRE", f"{path}:ann", 3_600_000, "FIELDS", 1000, *ids)
            else:
                client.zadd(f"{{{path}:ann}}:expires", dict.fromkeys(ids, ends))


@pytest.fixture
def patient(server: RedisServer) -> Iterator[RedisServer]:
    """A server that takes note of what took it long."""
    with server.client() as client:
        former = client.config_get("slowlog-log-slower-than")
        client.config_set("slowlog-log-slower-than", LONGEST)
        client.slowlog_reset()
        yield server
        client.config_set("slowlog-log-slower-than", former["slowlog-log-slower-than"])


def test_they_are_listed_revoked_and_ended(server: RedisServer, path: str) -> None:
    with RedisSessions(server.uri, path, max_age=5000) as store:
        fill(server, path, 3000)
        kept = store.create("ann", {"kept": True})
        listed = store.list_sessions("ann")
        assert len(listed) == len({info.handle for info in listed}) == 3001
        assert store.revoke("ann", session_handle("ann:2999"))
        assert not store.revoke("ann", session_handle("ann:2999"))
        assert store.get("ann:2999") is None
        assert len(list(store.records())) == 3000
        assert store.clear_others(kept) == 2999
        (info,) = store.list_sessions("ann")
        assert info.handle == session_handle(kept)
        assert info.deadline is not None
        assert store.get(kept) == {"kept": True}
        assert store.get("ann:0") is None
        with pytest.raises(JamSessionNotFound):
            store.clear_others("ann:0")
        fill(server, path, 2000)
        store.clear("ann")
        assert store.list_sessions("ann") == []


@pytest.mark.exhaustive
def test_100_000_sessions_hold_nobody_up(patient: RedisServer, path: str) -> None:
    fill(patient, path, 100_000)
    with RedisSessions(patient.uri, path) as store, patient.client() as client:
        kept = store.create("ann", {})
        client.slowlog_reset()
        assert len(store.list_sessions("ann")) == LONGEST_LIST
        assert store.revoke("ann", session_handle("ann:99999"))
        assert not store.revoke("ann", "0" * 16)
        assert sum(1 for _ in store.records()) == 100_000
        assert store.clear_others(kept) == 99_999
        fill(patient, path, 100_000)
        client.slowlog_reset()
        store.clear("ann")
        assert client.slowlog_get() == []
