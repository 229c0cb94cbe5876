"""Sessions that Jam before limits of their own, and jamlib 4.2.1, have stored.

`stored_before.json` has what they left on Redis 6.2 and on Valkey 9, moments as milliseconds from
when it was written: ends and deadlines, the last millisecond of fields, and the expiry of keys.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from jam_redis import RedisSessions

from jam_core import STORE_DEFAULT, JamSessionNotFound

from .servers import RedisServer

BEFORE = json.loads(Path(__file__).with_name("stored_before.json").read_text())
DATA = {
    "plain": {"n": 1},
    "brace": {"n": 2},
    "max_age": {"n": 3},
    "endless": {"n": 4},
    "jamlib": {"by": "jamlib", "n": 0},
    "jamlib 2": {"by": "jamlib", "n": 1},
}


@pytest.fixture(params=BEFORE["stores"])
def before(request: pytest.FixtureRequest, server: RedisServer) -> dict[str, Any]:
    """What a store was, on a server that has it as if it had been written there just now."""
    before: dict[str, Any] = BEFORE["stores"][request.param]
    with server.client() as client:
        if "ends of fields" in request.param and "hpexpireat" not in client.command():
            pytest.skip("a server does not go back to what knows no expiry of fields")
        now = int(client.time()[0]) * 1000
        for name, kept in before["keys"].items():
            client.delete(name)
            if "ends" in kept:
                client.zadd(name, {field: now + end for field, end in kept["ends"].items()})
            elif name.endswith(":deadlines"):
                client.hset(name, mapping={f: now + end for f, end in kept["fields"].items()})
            else:
                client.hset(name, mapping=kept["fields"])
            for field, last in kept.get("lasts", {}).items():
                client.execute_command("HPEXPIREAT", name, now + last, "FIELDS", 1, field)
            if "expires" in kept:
                client.pexpireat(name, now + kept["expires"])
    return before


@pytest.fixture
def store(before: dict[str, Any], server: RedisServer) -> RedisSessions:
    crypt = before["path"] == "encrypted"
    return RedisSessions(
        server.uri,
        before["path"],
        ttl=1800,
        is_session_crypt=crypt,
        session_aes_secret=BEFORE["secret"] if crypt else None,
    )


def test_they_are_read_as_they_are(before: dict[str, Any], store: RedisSessions) -> None:
    for name, session_id in before["ids"].items():
        assert store.get(session_id) == DATA[name]
        info = store.info(session_id)
        assert info is not None
        assert info.data == DATA[name]
        assert info.ttl == 1800, "they have the store's"
        assert (info.deadline is not None) == (name == "max_age")
        assert name != "endless" or info.expires_at is None
    found = {record.session_id: record for record in store.records()}
    assert set(found) == set(before["ids"].values())
    assert {record.ttl for record in found.values()} == {STORE_DEFAULT}
    assert len(store.list_sessions("ann")) == 2


def test_they_go_on_as_any_session_does(before: dict[str, Any], store: RedisSessions) -> None:
    with store:
        for name, session_id in before["ids"].items():
            was = store.info(session_id)
            store.update(session_id, {"new": name}, seen=was)
            new = store.rework(session_id)
            info = store.info(new)
            assert was is not None
            assert info is not None
            assert info.data == {"new": name}
            assert info.deadline == was.deadline, "max_age goes on"
            assert info.expires_at is not None
            user = store.rework(new, "user", ttl=60)
            assert [store.get(dead) for dead in (session_id, new)] == [None, None]
            remembered = store.info(user)
            assert remembered is not None
            assert (remembered.ttl, remembered.deadline) == (60, None)
            store.delete(user)
            with pytest.raises(JamSessionNotFound):
                store.touch(user)
        assert list(store.records()) == []
