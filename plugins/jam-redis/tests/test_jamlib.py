"""Sessions of jamlib 4.2.1, in an environment of its own: we read theirs, they read ours."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jam_redis import RedisSessions

from jam_core import JamSessionNotFound, generate_aes_key

from .servers import RedisServer

pytestmark = pytest.mark.exhaustive
SECRET = generate_aes_key().decode()
# jamlib calls HEXPIRE after it has written, also where there is no such command: no ttl there.
PROGRAM = """
import json, sys
from redis import Redis
from jam.exceptions import JamSessionNotFound
from jam.sessions.redis import RedisSessions

uri, path, ttl, secret, calls = json.loads(sys.argv[1])
crypt = {"is_session_crypt": True, "session_aes_secret": secret.encode()} if secret else {}
client = Redis.from_url(uri, decode_responses=True, protocol=2)
store = RedisSessions(redis_uri=client, redis_sessions_key=path, ttl=ttl, **crypt)
answers = []
for name, *arguments in calls:
    try:
        answers.append(getattr(store, name)(*arguments))
    except JamSessionNotFound:
        answers.append("not found")
print(json.dumps(answers))
"""

Theirs = Callable[..., list[Any]]
DATA = {"name": "Ænn ☃", "roles": ["admin", None, 1.5], "empty": {}}


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has jamlib."""
    directory = tmp_path_factory.mktemp("jamlib") / "venv"
    subprocess.run([sys.executable, "-m", "venv", directory], check=True, capture_output=True)
    found = directory / "bin" / "python"
    install = [str(found), "-m", "pip", "install", "--quiet", "jamlib[json,redis]==4.2.1"]
    done = subprocess.run(install, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("jamlib 4.2.1 cannot be installed here: no package index answers")
    return found


@pytest.fixture(params=["plain", "encrypted"])
def secret(request: pytest.FixtureRequest) -> str:
    return SECRET if request.param == "encrypted" else ""


@pytest.fixture
def theirs(python: Path, server: RedisServer, path: str, secret: str, ttl: int | None) -> Theirs:
    """Calls jamlib's store: each call is a name and its arguments."""

    def theirs(*calls: list[Any]) -> list[Any]:
        arguments = json.dumps([server.uri, path, ttl, secret, calls])
        done = subprocess.run(
            [python, "-I", "-c", PROGRAM, arguments], check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        answers: list[Any] = json.loads(done.stdout)
        return answers

    return theirs


@pytest.fixture
def ttl(server: RedisServer) -> int | None:
    """What jamlib can do on the server."""
    with server.client() as client:
        return 3600 if "hexpire" in client.command() else None


@pytest.fixture
def ours(server: RedisServer, path: str, secret: str) -> RedisSessions:
    return RedisSessions(
        server.uri, path, is_session_crypt=bool(secret), session_aes_secret=secret or None
    )


@pytest.mark.parametrize("key", ["ann", "ann@example.org", "é☃ {x}"])
def test_what_they_write_is_ours_too(theirs: Theirs, ours: RedisSessions, key: str) -> None:
    first, second, third, fourth = theirs(*[["create", key, DATA]] * 4)
    assert ours.get(first) == DATA
    ours.update(first, {"by": "us"})
    assert theirs(["get", first]) == [{"by": "us"}]
    ours.touch(first)
    assert ours.mutate(first, lambda data: {**data, "m": 1}) == {"by": "us", "m": 1}
    new = ours.rework(second)
    assert theirs(["get", second], ["get", new]) == [None, DATA]
    ours.delete(third)
    assert theirs(["get", third], ["get", fourth]) == [None, DATA]
    ours.clear(key)
    assert theirs(["get", first], ["get", fourth]) == [None, None]


def test_what_we_write_is_theirs_too(theirs: Theirs, ours: RedisSessions) -> None:
    first, second, third, fourth = (ours.create("ann", DATA) for _ in range(4))
    (_, _, new, *answers) = theirs(
        ["update", first, {"by": "them"}],
        ["delete", second],
        ["rework", third],
        ["get", first],
        ["get", second],
        ["get", third],
        ["get", fourth],
    )
    assert answers == [{"by": "them"}, None, None, DATA]
    assert ours.get(first) == {"by": "them"}
    assert ours.get(second) is None
    assert ours.get(third) is None
    assert ours.get(new) == DATA
    with pytest.raises(JamSessionNotFound):
        ours.update(second, {})
    assert theirs(["clear", "ann"]) == [None]
    assert ours.get(fourth) is None
    assert ours.get(new) is None


def test_their_sessions_with_a_colon_in_the_key_are_read_by_us(
    theirs: Theirs, ours: RedisSessions
) -> None:
    """They cannot read these themselves: they look for the key at the first colon."""
    (session_id,) = theirs(["create", "tenant:ann", DATA])
    assert theirs(["get", session_id]) == [None]
    assert ours.get(session_id) == DATA
    ours.update(session_id, {})
    new = ours.rework(session_id)
    assert ours.get(new) == {}
    ours.clear("tenant:ann")
    assert ours.get(new) is None


def test_their_sessions_without_end_stay_until_we_write_them(
    theirs: Theirs, ours: RedisSessions, server: RedisServer, path: str, ttl: int | None
) -> None:
    (session_id,) = theirs(["create", "ann", DATA])
    ours.create("ann", {})
    with server.client() as client:
        if ttl is None:
            assert client.pttl(f"{path}:ann") > 10**13, "ours does not take theirs away"
        ours.update(session_id, DATA)
        if ttl is None:
            assert 0 < client.pttl(f"{path}:ann") <= 3_600_000
    assert ours.get(session_id) == DATA
