"""The contract suite through `jam.aio`, with each driver that is awaited, and in threads."""

from pathlib import Path
from typing import Any

import pytest
from jam_sqlalchemy import SQLAlchemySessions
from jam_testing import StoreFactory, awaited_factory

from .conftest import plain
from .test_contract import TestEveryDatabase as Contract


class _Awaited(Contract):
    """The clauses need a URL that is not awaited to look behind the store."""

    @pytest.fixture
    def database_uri(self, awaited_uri: str) -> str:
        return plain(awaited_uri)

    @pytest.fixture
    def table_name(self, awaited_table: str) -> str:
        return awaited_table


# aiomysql is asyncmy's twin: test_aio.py has both.
@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "awaited_uri", ["aiosqlite", "asyncpg", "psycopg", "asyncmy"], indirect=True
)
class TestAwaited(_Awaited):
    @pytest.fixture
    def store_factory(self, awaited_uri: str, table_name: str) -> StoreFactory:
        def open_store(**options: Any) -> SQLAlchemySessions:
            return SQLAlchemySessions(awaited_uri, table_name=table_name, **options)

        return awaited_factory(open_store)


@pytest.mark.exhaustive
@pytest.mark.parametrize("awaited_uri", ["asyncpg"], indirect=True)
class TestAwaitedInTheBackground(_Awaited):
    """A driver that can only be awaited serves the plain Jam as well."""

    @pytest.fixture
    def store_factory(self, awaited_uri: str, table_name: str) -> StoreFactory:
        def open_store(**options: Any) -> SQLAlchemySessions:
            return SQLAlchemySessions(awaited_uri, table_name=table_name, **options)

        return open_store


@pytest.mark.exhaustive
class TestInThreads(Contract):
    @pytest.fixture
    def database_uri(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/sessions.db"

    @pytest.fixture
    def store_factory(self, database_uri: str, table_name: str) -> StoreFactory:
        def open_store(**options: Any) -> SQLAlchemySessions:
            return SQLAlchemySessions(database_uri, table_name=table_name, **options)

        return awaited_factory(open_store)
