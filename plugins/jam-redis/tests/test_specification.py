"""The specification's Redis examples, as they are written there, on a real server."""

from collections.abc import Callable
from pathlib import Path

import pytest

from jam_core import Jam

from .conftest import MACHINE, skip_unless_it_answers
from .servers import RedisServer

CONFIGURATION = """
[jam.session]
session_type = "redis"
redis_uri = "{uri}"
ttl = 3600
session_path = "sessions"
"""


def test_use_in_instance(
    redis_on: Callable[..., RedisServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = redis_on()
    monkeypatch.chdir(tmp_path)
    Path("config.toml").write_text(CONFIGURATION.format(uri=server.uri))

    jam = Jam(config="config.toml")

    session_id = jam.session_create(session_key="user1", data={"role": "admin"})
    data = jam.session_get(session_id=session_id)
    assert data == {"role": "admin"}

    with server.client() as client:
        assert client.type("sessions:user1") == b"hash"
        assert client.hgetall("sessions:user1") == {session_id.encode(): b'{"role": "admin"}'}

    jam.session_update(session_id=session_id, data={"role": "banned"})
    assert jam.session_get(session_id) == {"role": "banned"}

    jam.session_delete(session_id=session_id)
    assert jam.session_get(session_id) is None

    session_id = jam.session_create(session_key="user1", data={"role": "admin"})
    new_session_id = jam.session_rework(old_session_id=session_id)
    assert jam.session_get(session_id) is None
    assert jam.session_get(new_session_id) == {"role": "admin"}

    jam.session_clear(session_key="user1")
    assert jam.session_get(new_session_id) is None
    jam.close()


def test_use_out_of_instance() -> None:
    from jam.sessions.redis import Redis, RedisSessions

    skip_unless_it_answers(MACHINE)
    assert Redis is RedisSessions

    session = RedisSessions(
        redis_uri="redis://localhost:6379",
        redis_sessions_key="sessions",  # type: ignore[call-arg]  # an alias is data
        default_ttl=3600,
    )
    session_id = session.create(session_key="user1", data={"name": "John", "age": 30})
    session_data = session.get(session_id)
    assert session_data == {"name": "John", "age": 30}
    session.update(session_id=session_id, data={"name": "John", "age": 31})
    assert session.get(session_id) == {"name": "John", "age": 31}
    new_session_id = session.rework(session_id=session_id)
    session.delete(session_id)
    assert session.get(new_session_id) == {"name": "John", "age": 31}
    session.clear(session_key="user1")
    assert session.get(new_session_id) is None
    session.close()
