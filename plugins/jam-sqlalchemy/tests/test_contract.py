from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from jam_sqlalchemy import SQLAlchemySessions, metadata
from jam_testing import Damage, SessionContract, Snapshot, StoreFactory
from sqlalchemy import Connection, Table, select, update

from jam_core import hash_id

from .conftest import engine_of


class TestEveryDatabase(SessionContract):
    @pytest.fixture
    def store_factory(self, database_uri: str, table_name: str) -> StoreFactory:
        def open_store(**options: Any) -> SQLAlchemySessions:
            return SQLAlchemySessions(database_uri, table_name=table_name, **options)

        return open_store

    @pytest.fixture
    def snapshot(self, database_uri: str, table_name: str) -> Snapshot:
        table = table_of(table_name)

        def snapshot() -> list[Any]:
            with behind_the_store(database_uri) as connection:
                return list(connection.execute(select(table).order_by(table.c.id_hash)))

        return snapshot

    @pytest.fixture
    def damage(self, database_uri: str, table_name: str) -> Damage:
        table = table_of(table_name)

        def damage(session_id: str) -> None:
            spoilt = update(table).values(data="damaged")
            with behind_the_store(database_uri) as connection:
                done = connection.execute(spoilt.where(table.c.id_hash == hash_id(session_id)))
                assert done.rowcount == 1

        return damage


def table_of(name: str) -> Table:
    (table,) = metadata(name).tables.values()
    return table


@contextmanager
def behind_the_store(database_uri: str) -> Iterator[Connection]:
    if database_uri == "sqlite://":
        pytest.skip("nobody else can look into the memory of a connection")
    with engine_of(database_uri).begin() as connection:
        yield connection
