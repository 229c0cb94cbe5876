"""The contract suite through `jam.aio`, on a store that runs in threads."""

import pytest
from jam_testing import StoreFactory, awaited_factory
from jam_testing.memory import MemorySessions

from tests.test_contract_suite import TestMemorySessions as Contract


class TestInThreads(Contract):
    histories = 5

    @pytest.fixture
    def store_factory(self, opened: list[MemorySessions]) -> StoreFactory:
        def open_store(**options: object) -> MemorySessions:
            opened.append(MemorySessions(**options))  # type: ignore[arg-type]
            return opened[-1]

        return awaited_factory(open_store)
