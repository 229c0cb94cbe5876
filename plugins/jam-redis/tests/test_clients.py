"""URIs and clients: what they mean, what is refused, and who closes what."""

import asyncio
import math
import shutil
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from jam_redis import RedisSessions
from jam_redis.clients import read_uri
from jam_redis.connections import Recipe
from jam_testing import run_in_processes
from redis.cache import CacheConfig
from redis.cluster import ClusterNode
from redis.connection import SSLConnection
from redis.sentinel import Sentinel

from jam import aio
from jam_core import Jam, JamConfigurationError, JamSessionNotFound, JamStoreUnavailable

from .servers import REDIS_62, RedisServer, SentinelSetup, free_port, wait_until

DATA = {"name": "Ænn ☃", "n": 1}


def use(store: RedisSessions, name: str = "") -> None:
    for kind in ("ann", "a:b", "\ud800\0{x}", "k" * 10_000):
        key = kind + name
        session_id = store.create(key, DATA)
        assert store.get(session_id) == DATA
        store.update(session_id, {})
        assert store.get(session_id) == {}
        store.touch(session_id)
        assert store.mutate(session_id, lambda _: DATA) == DATA
        new_id = store.rework(session_id)
        assert store.get(session_id) is None
        assert store.get(new_id) == DATA
        with pytest.raises(JamSessionNotFound):
            store.update(session_id, {})
        store.delete(new_id)
        assert store.get(new_id) is None
        last = store.create(key, {})
        store.clear(key)
        assert store.get(last) is None
    assert store.purge() == 0
    store.ping()


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("decode_responses", [False, True])
@pytest.mark.parametrize("single", [False, True])
def test_a_client_of_the_caller_s(
    server: RedisServer, path: str, protocol: int, decode_responses: bool, single: bool
) -> None:
    client = server.client(
        protocol=protocol,
        decode_responses=decode_responses,
        single_connection_client=single,
        encoding="latin-1",
    )
    with client, RedisSessions(client, path, max_age=100) as store:
        use(store)
        store.close()
        assert client.ping(), "it is not ours to close"
        use(store)


@pytest.mark.parametrize("decode_responses", [False, True])
def test_a_cluster_client_of_the_caller_s(
    cluster_nodes: list[RedisServer], path: str, decode_responses: bool
) -> None:
    nodes = [ClusterNode("127.0.0.1", cluster_nodes[0].port)]
    client = redis.RedisCluster(startup_nodes=nodes, decode_responses=decode_responses)
    with RedisSessions(client, path) as store:
        use(store)
    assert client.ping()
    client.close()


@pytest.mark.parametrize("decode_responses", [False, True])
def test_a_sentinel_client_of_the_caller_s(
    sentinels: SentinelSetup, path: str, decode_responses: bool
) -> None:
    finder = Sentinel([("127.0.0.1", sentinels.sentinel.port)])
    client = finder.master_for(sentinels.service, decode_responses=decode_responses)
    with RedisSessions(client, path) as store:
        use(store)
    assert client.ping()
    client.close()


def test_a_unix_socket(
    redis_on: Callable[..., RedisServer], tmp_path_factory: pytest.TempPathFactory, path: str
) -> None:
    socket = str(tmp_path_factory.mktemp("socket") / "s")
    server = redis_on(REDIS_62, None, "--unixsocket", socket)
    with RedisSessions(f"unix://{socket}?db=3", path) as store:
        use(store)
        store.create("ann", {})
    with server.client(db=3) as client:
        assert client.exists(f"{path}:ann")


def test_the_database_of_the_uri(redis62: RedisServer, path: str) -> None:
    with RedisSessions(redis62.uri.removesuffix("/0") + "/5", path) as store:
        store.create("ann", {})
        with redis62.client(db=5) as client:
            assert client.exists(f"{path}:ann")


def test_sessions_are_spread_over_the_cluster(cluster_nodes: list[RedisServer], path: str) -> None:
    uri = f"redis+cluster://127.0.0.1:{cluster_nodes[0].port}/"
    with RedisSessions(uri, path) as store:
        for n in range(30):
            store.create(f"user {n}", {})
    for node in cluster_nodes:
        with node.client() as client:
            assert list(client.scan_iter(match=f"{path}:*", count=1000))


def connection_of(uri: str, connect_timeout: float = 2, socket_timeout: float = 2) -> Any:
    """Return a connection as the store would make it; none is opened."""
    return made(read_uri(uri, connect_timeout, socket_timeout).recipe)


def made(recipe: Recipe) -> Any:
    return recipe.kind(**recipe.options)


@pytest.mark.parametrize(
    "uri",
    [
        "rediss://ann:sesame@host:6380/2",
        "rediss+sentinel://ann:sesame@s1,s2/service/2",
        "rediss+cluster://ann:sesame@n1,n2/",
    ],
)
def test_tls_is_verified(uri: str) -> None:
    server = read_uri(uri, 2, 2)
    for recipe in (server.recipe, *server.sentinels):
        connection = made(recipe)
        assert isinstance(connection, SSLConnection)
        assert connection.cert_reqs == ssl.CERT_REQUIRED
        assert connection.check_hostname is True
    connection = made(server.recipe)
    assert connection.db == (0 if "cluster" in uri else 2)
    assert connection.password == "sesame"


async def use_awaited(store: RedisSessions) -> None:
    jam = aio.Jam({"session": {"session_type": store}})
    session_id = await jam.session_create("ann", {"n": 1})
    assert await jam.session_get(session_id) == {"n": 1}


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for localhost that nobody knows, and its key beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    path.write_bytes(signed.public_bytes(Encoding.PEM))
    path.with_suffix(".key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return path


def test_a_server_with_tls(
    redis_on: Callable[..., RedisServer], certificate: Path, path: str
) -> None:
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("no redis-server with TLS on the path")
    port = free_port()
    redis_on(
        *(binary, None, "--tls-port", str(port), "--tls-auth-clients", "no"),
        *("--tls-cert-file", str(certificate)),
        *("--tls-key-file", str(certificate.with_suffix(".key"))),
    )
    with RedisSessions(f"rediss://localhost:{port}/0?ssl_ca_certs={certificate}", path) as store:
        use(store)
        asyncio.run(use_awaited(store))
    for uri in (
        f"rediss://localhost:{port}/0",
        f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}",
    ):
        store = RedisSessions(uri, path)
        with store, pytest.raises(JamStoreUnavailable, match="certificate that cannot be trusted"):
            store.ping()
    store = RedisSessions(f"redis://localhost:{port}/0", path)
    with store, pytest.raises(JamStoreUnavailable, match="wants TLS"):
        store.ping()


def test_tls_without_verification_has_to_be_asked_for() -> None:
    connection = connection_of("rediss://host/0?ssl_cert_reqs=none")
    assert connection.cert_reqs == ssl.CERT_NONE


def test_timeouts_are_finite_and_can_be_set() -> None:
    connection = connection_of("redis://host")
    assert (connection.socket_connect_timeout, connection.socket_timeout) == (2, 2)
    connection = connection_of("redis://host", 0.5, 7)
    assert (connection.socket_connect_timeout, connection.socket_timeout) == (0.5, 7)
    connection = connection_of("redis://host?socket_timeout=9")
    assert connection.socket_timeout == 9, "the URI comes first"
    for name in ("connect_timeout", "socket_timeout"):
        for value in (0, -1, True, None, "1", math.inf, math.nan, 1e300):
            with pytest.raises(JamConfigurationError, match=name):
                RedisSessions("redis://host", **{name: value})  # type: ignore[arg-type]
    for value in ("inf", "nan", "0", "1e300"):
        with pytest.raises(JamConfigurationError, match="socket_timeout must be"):
            RedisSessions(f"redis://host?socket_timeout={value}")


@pytest.mark.parametrize("option", ["ssl_ca_certs", "ssl_certfile", "ssl_keyfile"])
@pytest.mark.parametrize("scheme", ["rediss://h/0", "rediss+cluster://h/", "rediss+sentinel://h/s"])
def test_a_file_that_does_not_exist_is_a_fault_of_the_uri(scheme: str, option: str) -> None:
    with pytest.raises(JamConfigurationError, match=f"the file that {option} names"):
        RedisSessions(f"{scheme}?{option}=/nowhere/sesame.pem")


def test_sentinel_passwords() -> None:
    uri = "redis+sentinel://ann:sesame@s1,s2:99/service/1?sentinel_password=other"
    server = read_uri(uri, 2, 2)
    assert made(server.recipe).password == "sesame"
    sentinels = [made(recipe) for recipe in server.sentinels]
    assert [(one.host, one.port, one.password) for one in sentinels] == [
        ("s1", 26379, "other"),
        ("s2", 99, "other"),
    ]
    assert all(one.socket_timeout == 2 for one in sentinels)


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("redis://:sesame@localhost", "localhost:6379"),
        ("redis://[::1]:1/0", "[::1]:1"),
        ("redis+cluster://ann:sesame@h1:1,h2/", "h1:1, h2:6379 (cluster)"),
        ("redis+sentinel://:sesame@h1,h2:2/jam", "h1:26379, h2:2 (Sentinel, service jam)"),
        ("unix:///run/redis.sock?password=sesame", "/run/redis.sock"),
    ],
)
def test_what_a_store_says_of_itself(uri: str, address: str) -> None:
    store = RedisSessions(uri)
    assert repr(store) == f"<RedisSessions at {address}>"


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "sesame",
        "http://:sesame@host",
        "redis://:sesame@host:port",
        "redis://:sesame@host:99999",
        "redis://:sesame@a..b",
        "redis+cluster://:sesame@h1,a..b/",
        "redis://:ses/ame@host:1/0",
        "redis://:ses#ame@host/0",
        "redis://:sesame@host/database",
        "redis://:sesame@host/0?sesame=1",
        "redis://:sesame@host/0?socket_timeout=sesame",
        "redis://:sesame@[::1/0",
        "unix://",
        "redis+cluster://:sesame@/",
        "redis+cluster://:sesame@h1,,h2/",
        "redis+cluster://:sesame@h1/1",
        "redis+cluster://:sesame@h1:x/",
        "redis+sentinel://:sesame@h1,h2/",
        "redis+sentinel://:sesame@h1/service/sesame",
        "redis+sentinel://h1/service?sesame=1",
    ],
)
def test_a_malformed_uri_is_refused_and_not_shown(uri: str) -> None:
    with pytest.raises(JamConfigurationError, match="redis_uri") as caught:
        RedisSessions(uri)
    said = f"{caught.value} {caught.value.__cause__} {caught.value.__context__}"
    assert "sesame" not in said
    assert "redis+sentinel://" in said, "it says what would be right"


@pytest.mark.parametrize("client", [None, 7, redis.asyncio.Redis, object])
def test_what_is_no_client_is_refused(client: Any) -> None:
    with pytest.raises(JamConfigurationError, match=r"redis\.Redis"):
        RedisSessions(client)


@pytest.mark.parametrize("option", ["ttl", "max_age"])
def test_times_that_redis_can_count(server: RedisServer, path: str, option: str) -> None:
    options: dict[str, Any] = {option: 10**10}
    with RedisSessions(server.uri, path, **options) as store:
        use(store)
    options[option] += 1
    with pytest.raises(JamConfigurationError, match=option):
        RedisSessions(server.uri, path, **options)


def test_an_id_factory_with_colons_is_refused(redis62: RedisServer, path: str) -> None:
    store = RedisSessions(redis62.uri, path, id_factory=lambda: "a:b")
    with store, pytest.raises(JamConfigurationError, match="colon"):
        store.create("ann", {})


def test_close_closes_what_the_store_opened(redis62: RedisServer, path: str) -> None:
    with redis62.client() as client:
        before = len(client.client_list())
        store = RedisSessions(redis62.uri, path)
        store.ping()
        assert len(client.client_list()) == before + 1
        store.close()
        wait_until(lambda: len(client.client_list()) == before, "the connection is closed")


def test_a_cluster_store_works_after_fork(cluster_nodes: list[RedisServer], path: str) -> None:
    with RedisSessions(f"redis+cluster://127.0.0.1:{cluster_nodes[0].port}/", path) as store:
        use(store)
        run_in_processes([lambda name=name: use(store, name) for name in "abc"])  # type: ignore[misc]
        use(store)


def test_a_client_with_a_cache_is_told_nothing_of_the_application_s(
    redis8: RedisServer, path: str
) -> None:
    """Its connections serve cached answers, which were once returned as sessions."""
    client = redis8.client(protocol=3, cache_config=CacheConfig())
    store = RedisSessions(client, path)
    ids = [store.create("ann", {"n": n}) for n in range(3)]
    client.set("theirs", "value")
    for _ in range(3):
        assert client.get("theirs") == b"value"
        assert [store.get(session_id) for session_id in ids] == [{"n": n} for n in range(3)]
        client.hget(f"{path}:ann", ids[0])
    store.update(ids[0], {"n": 9})
    assert store.get(ids[0]) == {"n": 9}
    client.close()


def test_what_an_application_leaves_unread_is_no_session(server: RedisServer, path: str) -> None:
    """As `ping` interrupted between question and answer does, on the client that it shares."""
    client = server.client()
    store = RedisSessions(client, path)
    session_id = store.create("ann", {"n": 1})
    connection = client.connection_pool.get_connection()
    connection.send_command("ECHO", '{"n": "foreign"}')
    client.connection_pool.release(connection)
    assert store.get(session_id) == {"n": 1}
    client.close()


def test_a_client_of_replicas_is_refused(sentinels: SentinelSetup) -> None:
    finder = Sentinel([("127.0.0.1", sentinels.sentinel.port)])
    with pytest.raises(JamConfigurationError, match="refuse to write"):
        RedisSessions(finder.slave_for(sentinels.service))


def test_a_wrong_option_in_the_configuration_names_the_key() -> None:
    session = {"session_type": "redis", "redis_uri": "redis://:sesame@host:port/0"}
    with pytest.raises(JamConfigurationError, match="redis_uri") as caught:
        Jam({"session": session})
    assert "sesame" not in str(caught.value)
    with pytest.raises(JamConfigurationError, match="redis_uri"):
        Jam({"session": {"session_type": "redis"}})
