"""The races of the contract, a thousand rounds each."""

from pathlib import Path
from typing import Any

import pytest
from jam_json import JSONSessions

from jam_core.testing import ConcurrencyContract, StoreFactory


class TestRaces(ConcurrencyContract):
    race_rounds = 1000

    @pytest.fixture
    def store_factory(self, path: Path) -> StoreFactory:
        def open_store(**options: Any) -> JSONSessions:
            return JSONSessions(path, **options)

        return open_store
