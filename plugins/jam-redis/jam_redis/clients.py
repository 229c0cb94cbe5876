"""Clients of redis-py, made from a URI."""

from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

from redis import Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.connection import Connection, SSLConnection, parse_url
from redis.retry import Retry
from redis.sentinel import Sentinel

from jam_core import JamConfigurationError, is_loopback

Client = Redis | RedisCluster

_SCHEMES = (
    "redis",
    "rediss",
    "unix",
    "redis+cluster",
    "rediss+cluster",
    "redis+sentinel",
    "rediss+sentinel",
)
_FORMS = (
    "redis://[user:password@]host:port/db, rediss:// for TLS, unix:///path?db=0, "
    "redis+cluster://host:port,host:port/, redis+sentinel://host:port,host:port/service/db "
    "(percent-encode special characters in user and password)"
)
_REDIS_PORT, _SENTINEL_PORT = 6379, 26379
# A thread holds one connection while it waits for an answer: the threads are the limit. The URI
# can set another.
_MANY = 2**31


class Server(NamedTuple):
    """What a URI says.

    Attributes:
        connect: Makes a client of it.
        address: The server's address, for messages; nothing secret.
    """

    connect: Callable[[], Client]
    address: str


class _MalformedError(Exception):
    """What is wrong with a URI; the text never quotes it."""


def read_uri(uri: str, connect_timeout: float, socket_timeout: float) -> Server:
    """Return the server that a URI names; nothing is connected yet.

    Args:
        uri: The URI. Its query takes redis-py's connection options, which come first.
        connect_timeout: Seconds to wait for a connection.
        socket_timeout: Seconds to wait for an answer.

    Raises:
        JamConfigurationError: The URI is malformed; the message does not show it.
    """
    # One command is sent once: the store knows which may be repeated, redis-py does not.
    defaults: dict[str, Any] = {
        "socket_connect_timeout": connect_timeout,
        "socket_timeout": socket_timeout,
        "retry": Retry(NoBackoff(), 0),
        "max_connections": _MANY,
        "protocol": 2,
    }
    fault = "it cannot be read"
    try:
        server = _read(uri, defaults)
    except _MalformedError as malformed:
        fault = str(malformed)
    except Exception:  # noqa: S110  (whatever it is, its text may quote the password)
        pass
    else:
        return server
    raise JamConfigurationError(f"redis_uri is no URI of a Redis server: {fault}. Use {_FORMS}.")


def plaintext_hosts(uri: str) -> list[str]:
    """Return the hosts, other than this one, to which a URI leads without encryption."""
    parts = urlsplit(uri.strip())
    if parts.scheme not in ("redis", "redis+cluster", "redis+sentinel"):
        return []
    hosts = [host for host, _ in _hosts(parts, _REDIS_PORT)]
    return [host for host in hosts if not is_loopback(host)]


def address_of(client: Client) -> str:
    """Return the address of a client's server, for messages."""
    if isinstance(client, RedisCluster):
        return f"{_join([(node.host, node.port) for node in client.get_nodes()])} (cluster)"
    options = client.connection_pool.connection_kwargs
    service = getattr(client.connection_pool, "service_name", None)
    if service:
        return f"Sentinel service {service}"
    return str(options.get("path") or f"{options.get('host')}:{options.get('port')}")


def close_client(client: Client) -> None:
    """Close a client, and those by which it finds its master."""
    client.close()
    pool = getattr(client, "connection_pool", None)
    for sentinel in getattr(getattr(pool, "sentinel_manager", None), "sentinels", ()):
        sentinel.close()


def _read(uri: str, defaults: dict[str, Any]) -> Server:
    uri = uri.strip()
    parts = urlsplit(uri)
    if parts.scheme not in _SCHEMES:
        raise _MalformedError(f"its scheme is none of {', '.join(_SCHEMES)}")
    scheme, _, kind = parts.scheme.partition("+")
    if scheme == "rediss":
        defaults |= {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
    if kind == "cluster":
        return _read_cluster(parts, scheme, defaults)
    if kind == "sentinel":
        return _read_sentinel(parts, scheme, defaults)
    return _read_single(uri, parts, defaults)


def _read_single(uri: str, parts: SplitResult, defaults: dict[str, Any]) -> Server:
    if parts.scheme == "unix":
        if not parts.path:
            raise _MalformedError("the path of the socket is missing")
    else:
        _check_database(parts.path.strip("/"))
    # Read to find faults here, without the text of redis-py's own errors.
    options = defaults | parse_url(uri)
    _try_options(options)
    address = options.get("path") or _join(
        [(options.get("host", "localhost"), options.get("port", _REDIS_PORT))]
    )

    def connect() -> Client:
        return Redis.from_url(uri, **defaults)

    return Server(connect, str(address))


def _read_cluster(parts: SplitResult, scheme: str, defaults: dict[str, Any]) -> Server:
    nodes = _hosts(parts, _REDIS_PORT)
    if parts.path.strip("/") not in ("", "0"):
        raise _MalformedError("a cluster has only database 0")
    options = defaults | _options(parts, scheme)
    options.pop("db", None)
    _try_options(options)
    tls = options.pop("connection_class", None) is SSLConnection

    def connect() -> Client:
        startup_nodes = [ClusterNode(host, port) for host, port in nodes]
        return RedisCluster(startup_nodes=startup_nodes, ssl=tls, **options)

    return Server(connect, f"{_join(nodes)} (cluster)")


def _read_sentinel(parts: SplitResult, scheme: str, defaults: dict[str, Any]) -> Server:
    sentinels = _hosts(parts, _SENTINEL_PORT)
    service, _, database = parts.path.strip("/").partition("/")
    if not service:
        raise _MalformedError("the service is missing: /service/db after the hosts")
    _check_database(database)
    options = defaults | _options(parts, scheme) | {"db": int(database or 0)}
    own = {name: options[name] for name in defaults if name != "max_connections"}
    for name in ("username", "password"):
        if f"sentinel_{name}" in options:
            own[name] = options.pop(f"sentinel_{name}")
    _try_options(options)
    tls = options.pop("connection_class", None) is SSLConnection

    def connect() -> Client:
        found = Sentinel(sentinels, sentinel_kwargs={**own, "ssl": tls}, ssl=tls, **options)
        client: Client = found.master_for(service)
        return client

    return Server(connect, f"{_join(sentinels)} (Sentinel, service {service})")


def _hosts(parts: SplitResult, default_port: int) -> list[tuple[str, int]]:
    """Return the hosts and ports that stand between commas."""
    hosts = []
    for one in parts.netloc.rpartition("@")[2].split(","):
        host = urlsplit(f"//{one}")
        if not host.hostname:
            raise _MalformedError("a host is missing")
        host.hostname.encode("idna")
        hosts.append((host.hostname, host.port or default_port))
    return hosts


def _options(parts: SplitResult, scheme: str) -> dict[str, Any]:
    """Return user, password and query as redis-py reads them."""
    user, at, _ = parts.netloc.rpartition("@")
    plain = parts._replace(scheme=scheme, netloc=f"{user}{at}host", path="")
    options: dict[str, Any] = dict(parse_url(plain.geturl()))
    options.pop("host")
    return options


def _try_options(options: dict[str, Any]) -> None:
    """Make sure that a connection can be made with these options; none is opened."""
    options = {**options}
    options.pop("max_connections")
    str(options.get("host", "")).encode("idna")
    options.pop("connection_class", Connection)(**options)


def _check_database(text: str) -> None:
    if text and not (text.isascii() and text.isdigit()):
        raise _MalformedError("its database is no number")


def _join(hosts: list[tuple[str, int]]) -> str:
    return ", ".join(
        f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in hosts
    )
