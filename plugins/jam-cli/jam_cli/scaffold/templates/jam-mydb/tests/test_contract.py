"""The contract that every store keeps, and choosing the store in a configuration."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from jam_core import Jam, hash_id
from jam_testing import SessionContract, StoreFactory

from jam_mydb import MydbSessions


def run(path: Path, statement: str, *values: str) -> list[Any]:
    """Do something to the file behind the store's back."""
    with closing(sqlite3.connect(path)) as database, database:
        return database.execute(statement, values).fetchall()


class TestMydbSessions(SessionContract):
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "sessions.db"

    @pytest.fixture
    def store_factory(self, path: Path) -> StoreFactory:
        """Open the store; called again, on the same backend."""

        def open_store(**options: Any) -> MydbSessions:
            return MydbSessions(path, **options)

        return open_store

    # The three below are optional: each switches on clauses that need to look behind the store.

    @pytest.fixture
    def break_backend(self, path: Path) -> Callable[[], AbstractContextManager[None]]:
        """Make the backend unreachable for a while."""

        @contextmanager
        def broken() -> Iterator[None]:
            away = path.rename(path.with_suffix(".away"))
            path.mkdir()
            try:
                yield
            finally:
                path.rmdir()
                away.rename(path)

        return broken

    @pytest.fixture
    def snapshot(self, path: Path) -> Callable[[], object]:
        """Return all that the backend holds."""
        return lambda: run(path, "SELECT * FROM sessions ORDER BY id_hash")

    @pytest.fixture
    def damage(self, path: Path) -> Callable[[str], object]:
        """Make the record of a session undecodable."""
        spoil = "UPDATE sessions SET data = '{' WHERE id_hash = ?"
        return lambda session_id: run(path, spoil, hash_id(session_id))


def test_the_configuration_finds_the_store(tmp_path: Path) -> None:
    settings = {
        "session_type": "mydb",
        "path": str(tmp_path / "sessions.db"),
        "ttl": 60,
    }
    with Jam({"session": settings}) as jam:
        session_id = jam.session_create("user1", {"role": "admin"})
        assert jam.session_get(session_id) == {"role": "admin"}
        assert isinstance(jam.store, MydbSessions)
