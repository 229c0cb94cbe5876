from pathlib import Path
from typing import Any

import pytest
from jam_json import JSONSessions

from jam_core.testing import SessionContract, StoreFactory


class TestDocument(SessionContract):
    @pytest.fixture
    def store_factory(self, tmp_path: Path) -> StoreFactory:
        def open_store(**options: Any) -> JSONSessions:
            return JSONSessions(tmp_path / "sessions.json", **options)

        return open_store


class TestDirectory(SessionContract):
    @pytest.fixture
    def store_factory(self, tmp_path: Path) -> StoreFactory:
        def open_store(**options: Any) -> JSONSessions:
            return JSONSessions(tmp_path / "sessions", **options)

        return open_store
