"""The contract suite through `jam.aio`, in an event loop, on every kind of server."""

from typing import Any

import pytest
from jam_redis import RedisSessions
from jam_testing import StoreFactory, TCPProxy, awaited_factory

from .conftest import OpenerOf
from .test_contract import TestContract as Contract
from .test_contract import TestRefused as OutagesContract


@pytest.mark.exhaustive
class TestAwaited(Contract):
    @pytest.fixture
    def store_factory(self, backend: str, opener: OpenerOf) -> StoreFactory:
        return awaited_factory(opener(backend))


class TestAwaitedOutages(OutagesContract):
    @pytest.fixture
    def store_factory(self, proxy: TCPProxy, path: str) -> StoreFactory:
        host, port = proxy.address

        def open_store(**options: Any) -> RedisSessions:
            return RedisSessions(f"redis://{host}:{port}/0", path, **options)

        return awaited_factory(open_store)
