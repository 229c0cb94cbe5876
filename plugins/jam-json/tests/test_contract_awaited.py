"""The contract suite through `jam.aio`, where a document is worked on in threads."""

from pathlib import Path
from typing import Any

import pytest
from jam_json import JSONSessions
from jam_testing import StoreFactory, awaited_factory

from .test_contract import TestDocument as Document


@pytest.mark.exhaustive
class TestAwaitedDocument(Document):
    @pytest.fixture
    def store_factory(self, path: Path) -> StoreFactory:
        def open_store(**options: Any) -> JSONSessions:
            return JSONSessions(path, **options)

        return awaited_factory(open_store)
