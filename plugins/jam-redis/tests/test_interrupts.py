"""Exceptions that strike at any line, and forks that Python does not see."""

import gc
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import FrameType
from typing import Any

import pytest
from jam_redis import RedisSessions
from jam_testing import SoftTimeLimit, TCPProxy, survive_forks, survive_interrupts

from .conftest import client_of
from .servers import RedisServer, SentinelSetup, wait_until

FAR = 0.004  # seconds

# A socket that nobody has a name for yet when the exception strikes is closed by being forgotten.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
KINDS = [SoftTimeLimit, pytest.param(KeyboardInterrupt, marks=pytest.mark.exhaustive)]


@pytest.fixture(autouse=True)
def forgotten_here() -> Iterator[None]:
    """Close what an exception left without a name; in some later test, it would be an error."""
    yield
    gc.collect()


MANY = pytest.mark.parametrize("operations", [500, pytest.param(20_000, marks=pytest.mark.lengthy)])


@pytest.fixture
def far_server(server: RedisServer) -> Iterator[TCPProxy]:
    with TCPProxy("127.0.0.1", server.port, delay=FAR) as proxy:
        yield proxy


@pytest.fixture
def far_cluster(cluster_nodes: list[RedisServer]) -> Iterator[Any]:
    """The cluster, each node behind a proxy of its own; a client is told so."""
    proxies = {node.port: TCPProxy("127.0.0.1", node.port, delay=FAR) for node in cluster_nodes}
    first = next(iter(proxies.values()))
    with client_of(
        f"redis+cluster://127.0.0.1:{first.port}/",
        address_remap=lambda address: ("127.0.0.1", proxies[address[1]].port),
    ) as client:
        yield client
    for proxy in proxies.values():
        proxy.close()


def connections_to(server: RedisServer) -> int:
    with server.client() as client:
        return len(client.client_list()) - 1


def survive(
    store: RedisSessions, servers: list[RedisServer], path: str, operations: int, **options: Any
) -> None:
    """Use the store, and look that no connection is lost for ever."""
    threads = options.get("threads", 1)
    before = sum(map(connections_to, servers))
    survived = survive_interrupts(store, operations, name=path, **options)
    assert survived.interrupted > operations / 50, survived
    assert survived.unavailable == 0, survived
    wait_until(
        lambda: sum(map(connections_to, servers)) <= before + threads * len(servers),
        "every connection that an exception flew by is closed",
    )


@pytest.mark.parametrize("kind", KINDS)
def test_interrupts(
    far_server: TCPProxy, server: RedisServer, path: str, kind: type[BaseException]
) -> None:
    with RedisSessions(f"redis://127.0.0.1:{far_server.port}", path) as store:
        survive(store, [server], path, 300, kind=kind)


@pytest.mark.exhaustive
def test_interrupts_in_a_cluster(
    far_cluster: Any, cluster_nodes: list[RedisServer], path: str
) -> None:
    with RedisSessions(far_cluster, path) as store:
        survive(store, cluster_nodes, path, 300, kind=SoftTimeLimit)


@pytest.mark.exhaustive
@MANY
@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_many_interrupts(
    far_server: TCPProxy,
    server: RedisServer,
    path: str,
    kind: type[BaseException],
    *,
    threads: int,
    operations: int,
) -> None:
    # A busy machine is no outage: that is not what this is about.
    with RedisSessions(f"redis://127.0.0.1:{far_server.port}", path, socket_timeout=20) as store:
        survive(store, [server], path, operations, kind=kind, threads=threads)


@pytest.mark.exhaustive
@MANY
@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_many_interrupts_in_a_cluster(
    far_cluster: Any,
    cluster_nodes: list[RedisServer],
    path: str,
    kind: type[BaseException],
    *,
    threads: int,
    operations: int,
) -> None:
    with RedisSessions(far_cluster, path) as store:
        survive(store, cluster_nodes, path, operations, kind=kind, threads=threads)


@pytest.mark.parametrize("options", [{}, {"max_age": 500}], ids=["", "max_age"])
def test_a_fork_that_python_does_not_see(
    server: RedisServer, path: str, options: dict[str, Any]
) -> None:
    with RedisSessions(server.uri, path, **options) as store:
        survive_forks(store, children=4, operations=100, name=path)


@pytest.mark.exhaustive
def test_a_fork_that_python_does_not_see_in_a_cluster(
    cluster_nodes: list[RedisServer], path: str
) -> None:
    with RedisSessions(f"redis+cluster://127.0.0.1:{cluster_nodes[0].port}/", path) as store:
        survive_forks(store, children=4, operations=100, name=path)


def test_a_fork_that_python_does_not_see_with_sentinel(sentinels: SentinelSetup, path: str) -> None:
    with RedisSessions(sentinels.uri, path) as store:
        survive_forks(store, children=4, operations=100, name=path)


@pytest.mark.parametrize("single", [False, True])
def test_a_fork_that_python_does_not_see_with_a_caller_s_client(
    server: RedisServer, path: str, single: bool
) -> None:
    with server.client(single_connection_client=single) as client:
        survive_forks(RedisSessions(client, path), children=4, operations=100, name=path)


@pytest.mark.exhaustive
def test_2000_operations_after_a_fork_that_python_does_not_see(
    server: RedisServer, path: str
) -> None:
    with RedisSessions(server.uri, path) as store:
        survive_forks(store, children=4, operations=2000, name=path)


def reconnect(store: RedisSessions, session_id: str) -> None:
    store.close()
    store.get(session_id)


OPERATIONS: dict[str, Callable[[RedisSessions, str], object]] = {
    "ping": lambda store, _: store.ping(),
    "purge": lambda store, _: store.purge(),
    "get": lambda store, session_id: store.get(session_id),
    "connecting": reconnect,
}


@pytest.mark.parametrize(
    "operation",
    [
        "ping",
        *(
            pytest.param(name, marks=pytest.mark.exhaustive)
            for name in OPERATIONS
            if name != "ping"
        ),
    ],
)
def test_an_exception_at_each_line_leaves_no_answer_behind(
    redis62: RedisServer, path: str, operation: str
) -> None:
    """The next `get` on that connection would read it as a session."""
    with (
        TCPProxy("127.0.0.1", redis62.port, delay=FAR) as proxy,
        # SELECT is answered while it connects.
        RedisSessions(f"redis://127.0.0.1:{proxy.port}/1", path) as store,
    ):
        session_id = store.create("ann", {"n": 1})
        line, step = 0, 97 if operation == "connecting" else 1  # redis-py takes many to connect
        while struck_at_line(line, partial(OPERATIONS[operation], store, session_id)):
            for _ in range(2):
                assert store.get(session_id) == {"n": 1}, line
            line += step
        assert line > 20
        store.clear("ann")


def struck_at_line(line: int, action: Callable[[], object]) -> bool:
    """Raise at a line, counted over all that is run; return whether there are as many."""
    left = line

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal left
        if event == "line":
            left -= 1
            if left < 0:
                sys.settrace(None)
                raise SoftTimeLimit
        return trace

    def act() -> None:
        try:
            sys.settrace(trace)
            action()
        except SoftTimeLimit:  # redis-py swallows it in places
            pass
        finally:
            sys.settrace(None)

    # To CPython, what was handled at that line may be so for as long as the thread lives.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(act).result()
    return left < 0
