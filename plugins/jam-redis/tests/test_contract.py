"""The contract suite on every kind of server."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from jam_redis import RedisSessions
from jam_testing import BreakBackend, Damage, SessionContract, Snapshot, StoreFactory, TCPProxy
from jam_testing.faults import FaultsContract

from .conftest import BACKENDS, OpenerOf, client_of, uri_of
from .servers import RedisServer

WAITING = [
    name
    for name, clause in inspect.getmembers(SessionContract, inspect.isfunction)
    if name.startswith("test_") and "time" in inspect.signature(clause).parameters
]


class TestContract(SessionContract):
    histories = 15

    @pytest.fixture(params=BACKENDS)
    def backend(self, request: pytest.FixtureRequest) -> str:
        name: str = request.param
        return name

    @pytest.fixture
    def store_factory(self, backend: str, opener: OpenerOf) -> StoreFactory:
        return opener(backend)

    @pytest.fixture
    def client(self, backend: str, request: pytest.FixtureRequest) -> Iterator[Any]:
        """A client of the test's own."""
        if backend == "fakeredis":
            import fakeredis

            yield fakeredis.FakeRedis(server=request.getfixturevalue("fake_server"))
        else:
            with client_of(uri_of(request, backend)) as client:
                yield client

    @pytest.fixture(autouse=True)
    def no_exception_inside_of_a_server(self, request: pytest.FixtureRequest) -> None:
        strikes = request.node.originalname == "test_an_exception_may_strike_at_any_moment"
        if strikes and request.getfixturevalue("backend") == "fakeredis":
            pytest.skip("fakeredis runs in this process, and would be torn in mid-script")

    @pytest.fixture
    def hang_backend(self, backend: str, request: pytest.FixtureRequest) -> BreakBackend:
        if backend not in ("redis62", "valkey"):
            pytest.skip(f"{backend} is not stopped here: test_outages.py has faults of its own")
        return no_answer(request.getfixturevalue(backend))

    @pytest.fixture
    def snapshot(self, client: Any, path: str) -> Snapshot:
        def content(name: bytes) -> object:
            if client.type(name) == b"zset":
                return client.zrange(name, 0, -1, withscores=True)
            return client.hgetall(name)

        return lambda: {name: content(name) for name in client.scan_iter(match=f"*{path}*")}

    @pytest.fixture
    def damage(self, client: Any, path: str) -> Damage:
        def damage(session_id: str) -> None:
            (name,) = client.scan_iter(match=f"{path}:{session_id.rpartition(':')[0]}")
            client.hset(name, session_id, "damaged")

        return damage


def no_answer(server: RedisServer) -> BreakBackend:
    @contextmanager
    def unreachable() -> Iterator[None]:
        server.pause()
        try:
            yield
        finally:
            server.resume()

    return unreachable


class TestRefused(FaultsContract):
    """A server that refuses connections; one that is stopped would carry out what it has read."""

    @pytest.fixture
    def proxy(self, redis62: RedisServer) -> Iterator[TCPProxy]:
        with TCPProxy("127.0.0.1", redis62.port) as proxy:
            yield proxy

    @pytest.fixture
    def store_factory(self, proxy: TCPProxy, path: str) -> StoreFactory:
        host, port = proxy.address

        def open_store(**options: Any) -> RedisSessions:
            return RedisSessions(f"redis://{host}:{port}/0", path, **options)

        return open_store

    @pytest.fixture
    def break_backend(self, proxy: TCPProxy) -> BreakBackend:
        @contextmanager
        def refused() -> Iterator[None]:
            proxy.refuse()
            proxy.cut()
            try:
                yield
            finally:
                proxy.resume()

        return refused


# What waits in real time runs on all servers side by side, in test_contract_in_time.py.
for _name in WAITING:
    setattr(TestContract, _name, None)
