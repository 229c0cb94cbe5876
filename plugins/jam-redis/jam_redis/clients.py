"""Where the server is and how to reach it, according to a URI or the caller's client."""

import math
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

from redis import Redis, RedisCluster, asyncio
from redis.backoff import NoBackoff
from redis.connection import (
    AbstractConnection,
    BlockingConnectionPool,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
    parse_url,
)
from redis.retry import Retry
from redis.sentinel import SentinelConnectionPool, SentinelManagedConnection

from jam_core import JamConfigurationError, is_loopback
from jam_redis.connections import Recipe, join_address
from jam_redis.topology import Address, Cluster, OneServer, SentinelPrimary, Topology

Client = Redis | RedisCluster | asyncio.Redis

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
# A thread holds one connection while it waits for an answer, so the number of threads is the
# limit. The URI can set another.
_MANY = 2**31


# What a client's connections have and ours do not: push messages, the application's cache, the
# Sentinels' own bookkeeping. Ours speak RESP 2.
_NOT_OURS = (
    "maint_notifications_config",
    "maint_notifications_pool_handler",
    "oss_cluster_maint_notifications_handler",
    "orig_host_address",
    "orig_socket_timeout",
    "orig_socket_connect_timeout",
    "connection_pool",
)
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_ca_path")


class Server(NamedTuple):
    """Where the server is, according to a URI or a client.

    Attributes:
        address: The server's address, for messages; nothing secret.
        recipe: How connections to it are made; for Sentinels or a cluster, without the address.
        sentinels: How connections to the Sentinels are made.
        service: What the Sentinels call the server.
        nodes: Nodes of the cluster.
        remap: Replaces an address that the cluster names with the one to use.
    """

    address: str
    recipe: Recipe
    sentinels: tuple[Recipe, ...] = ()
    service: str = ""
    nodes: tuple[Address, ...] = ()
    remap: Callable[[Address], Address] | None = None

    def open(self) -> Topology:
        """Return the topology for one process; nothing is connected yet."""
        if self.sentinels:
            return SentinelPrimary(self.sentinels, self.service, self.recipe)
        if self.nodes:
            return Cluster(self.nodes, self.recipe, self.remap)
        return OneServer(self.recipe)


class _MalformedError(Exception):
    """What is wrong with a URI; the message never quotes it."""


def read_uri(uri: str, connect_timeout: float, socket_timeout: float) -> Server:
    """Return the server that a URI names; nothing is connected yet.

    Args:
        uri: The URI. Its query may set redis-py's connection options, which take precedence.
        connect_timeout: Seconds to wait for a connection.
        socket_timeout: Seconds to wait for an answer.

    Raises:
        JamConfigurationError: The URI is malformed; the message does not show it.
    """
    # redis-py sends each command once: the store knows which may be repeated, redis-py does not.
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
    raise JamConfigurationError(f"redis_uri is not a URI of a Redis server: {fault}. Use {_FORMS}.")


def plaintext_hosts(uri: str) -> list[str]:
    """Return the hosts, other than this one, to which a URI leads without encryption."""
    parts = urlsplit(uri.strip())
    if parts.scheme not in ("redis", "redis+cluster", "redis+sentinel"):
        return []
    hosts = [host for host, _ in _hosts(parts, _REDIS_PORT)]
    return [host for host in hosts if not is_loopback(host)]


def read_client(client: Client) -> Server:
    """Return the server that a redis-py client connects to.

    Raises:
        JamConfigurationError: It is a client of replicas.
    """
    if isinstance(client, RedisCluster):
        found = client.get_nodes()
        nodes = tuple((node.host, node.port) for node in found)
        manager = client.nodes_manager
        return Server(
            f"{_join(nodes)} (cluster)",
            _recipe_of(client.get_redis_connection(found[0]).connection_pool),
            nodes=nodes,
            remap=lambda address: manager.remap_host_port(*address),
        )
    pool: Any = client.connection_pool
    recipe = _recipe_of(pool)
    if not isinstance(pool, SentinelConnectionPool):
        return Server(recipe.address, recipe)
    if not pool.is_master:
        raise JamConfigurationError(
            "redis_uri is a client of replicas, which refuse to write: use Sentinel.master_for."
        )
    service = pool.service_name
    return _sentinel_server(
        [_recipe_of(sentinel.connection_pool) for sentinel in pool.sentinel_manager.sentinels],
        service,
        recipe,
    )


def check_seconds(name: str, seconds: object) -> None:
    """Refuse anything that is not a time to wait.

    Raises:
        JamConfigurationError: It is not a number of seconds above 0 that a socket can count.
    """
    if (
        not isinstance(seconds, int | float)
        or isinstance(seconds, bool)
        or not math.isfinite(seconds)
        or not 0 < seconds <= threading.TIMEOUT_MAX
    ):
        raise JamConfigurationError(
            f"{name} must be a finite number of seconds above 0: in an outage, callers must not "
            "wait for ever."
        )


def _read(uri: str, defaults: dict[str, Any]) -> Server:
    uri = uri.strip()
    parts = urlsplit(uri)
    if parts.scheme not in _SCHEMES:
        raise _MalformedError(f"its scheme is not one of {', '.join(_SCHEMES)}")
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
    recipe = _recipe(defaults | parse_url(uri))
    return Server(recipe.address, recipe)


def _read_cluster(parts: SplitResult, scheme: str, defaults: dict[str, Any]) -> Server:
    nodes = _hosts(parts, _REDIS_PORT)
    if parts.path.strip("/") not in ("", "0"):
        raise _MalformedError("a cluster has only database 0")
    options = defaults | _options(parts, scheme)
    options.pop("db", None)
    return Server(f"{_join(nodes)} (cluster)", _recipe(options), nodes=tuple(nodes))


def _read_sentinel(parts: SplitResult, scheme: str, defaults: dict[str, Any]) -> Server:
    hosts = _hosts(parts, _SENTINEL_PORT)
    service, _, database = parts.path.strip("/").partition("/")
    if not service:
        raise _MalformedError("the service is missing: /service/db after the hosts")
    _check_database(database)
    options = defaults | _options(parts, scheme) | {"db": int(database or 0)}
    # The options for the Sentinels: those they share with the server, and their own credentials.
    own = {name: options[name] for name in (*defaults, *_FILES) if name in options}
    if "connection_class" in options:
        own["connection_class"] = options["connection_class"]
    for name in ("username", "password"):
        if f"sentinel_{name}" in options:
            own[name] = options.pop(f"sentinel_{name}")
    recipe, sentinel = _recipe(options), _recipe(own)
    return _sentinel_server([sentinel.at(*host) for host in hosts], service, recipe)


def _sentinel_server(sentinels: list[Recipe], service: str, recipe: Recipe) -> Server:
    addresses = ", ".join(sentinel.address for sentinel in sentinels)
    address = f"{addresses} (Sentinel, service {service})"
    return Server(address, recipe, sentinels=tuple(sentinels), service=service)


def _hosts(parts: SplitResult, default_port: int) -> list[tuple[str, int]]:
    """Return the hosts and ports, which are separated by commas."""
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


def _recipe(options: dict[str, Any]) -> Recipe:
    """Return how a connection with these options is made; makes one to check, but opens none."""
    options = {**options}
    kind, limit = options.pop("connection_class", Connection), options.pop("max_connections")
    for name in ("socket_connect_timeout", "socket_timeout"):
        try:
            check_seconds(name, options[name])
        except JamConfigurationError as error:
            raise _MalformedError(str(error).rstrip(".")) from None
    for name in _FILES:
        if options.get(name) and not os.path.exists(options[name]):  # noqa: PTH110
            raise _MalformedError(f"the file that {name} names does not exist")
    str(options.get("host", "")).encode("idna")
    kind(**options)
    return Recipe(kind, options, int(limit))


def _recipe_of(pool: Any) -> Recipe:
    """Return how a client's pool makes its connections: ours are made alike, outside the pool."""
    options = {k: v for k, v in pool.connection_kwargs.items() if k not in _NOT_OURS}
    kind = pool.connection_class
    if issubclass(kind, asyncio.connection.AbstractConnection):
        kind = _plain(kind)
        options["retry"] = Retry(NoBackoff(), 0)  # its own must be awaited
    if issubclass(kind, SentinelManagedConnection):
        kind = SSLConnection if issubclass(kind, SSLConnection) else Connection
    if not issubclass(kind, UnixDomainSocketConnection):
        options.setdefault("host", "localhost")
        options.setdefault("port", _REDIS_PORT)
    patience = 0.0
    if isinstance(pool, BlockingConnectionPool | asyncio.BlockingConnectionPool):
        patience = math.inf if pool.timeout is None else pool.timeout
    options |= {"protocol": 2, "decode_responses": False}
    return Recipe(kind, options, pool.max_connections, patience)


def _plain(awaited: type) -> type[AbstractConnection]:
    """Return redis-py's blocking counterpart of a connection class of redis.asyncio."""
    plain = {
        asyncio.connection.Connection: Connection,
        asyncio.connection.SSLConnection: SSLConnection,
        asyncio.connection.UnixDomainSocketConnection: UnixDomainSocketConnection,
    }
    if awaited not in plain:
        raise JamConfigurationError(
            f"redis_uri is a client of redis.asyncio with connections of {awaited.__module__}."
            f"{awaited.__qualname__}, which Jam cannot copy. Give its URI: there are "
            "redis+sentinel:// and redis+cluster://, too."
        )
    return plain[awaited]


def _check_database(text: str) -> None:
    if text and not (text.isascii() and text.isdigit()):
        raise _MalformedError("its database is not a number")


def _join(hosts: Sequence[Address]) -> str:
    return ", ".join(join_address(*host) for host in hosts)
