"""The races of the contract, a thousand rounds each."""

from pathlib import Path
from typing import Any

import pytest
from jam_json import JSONSessions
from jam_testing import ConcurrencyContract, StoreFactory


@pytest.mark.lengthy  # test_contract.py runs a few rounds
class TestRaces(ConcurrencyContract):
    race_rounds = 1000
    clause_limit = 600.0

    @pytest.fixture
    def store_factory(self, path: Path) -> StoreFactory:
        def open_store(**options: Any) -> JSONSessions:
            return JSONSessions(path, **options)

        return open_store
