from typing import Any

import pytest
from jam_sqlalchemy import SQLAlchemySessions

from jam_core.testing import SessionContract, StoreFactory


class TestEveryDatabase(SessionContract):
    @pytest.fixture
    def store_factory(self, database_uri: str, table_name: str) -> StoreFactory:
        def open_store(**options: Any) -> SQLAlchemySessions:
            return SQLAlchemySessions(database_uri, table_name=table_name, **options)

        return open_store
