"""The contract that every store keeps, and choosing the store in a configuration."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jam_core import Jam, hash_id
from jam_testing import SessionContract, StoreFactory

from jam_lmdb import LmdbSessions

# LMDB must not be opened twice in a process: what looks behind the store has one of its own.
LOOK = """
import json, lmdb, sys
with lmdb.open(sys.argv[1], max_readers=1024) as database, database.begin(write=True) as found:
    if len(sys.argv) > 2:
        found.put(sys.argv[2].encode(), b"{")
    print(json.dumps([[str(name), str(value)] for name, value in found.cursor()]))
"""


def look(path: Path, *damage: str) -> Any:
    ran = subprocess.run(
        [sys.executable, "-c", LOOK, path, *damage], check=True, capture_output=True
    )
    return json.loads(ran.stdout)


class TestLmdbSessions(SessionContract):
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "sessions.lmdb"

    @pytest.fixture
    def store_factory(self, path: Path) -> StoreFactory:
        """Open the store; called again, on the same backend."""

        def open_store(**options: Any) -> LmdbSessions:
            return LmdbSessions(path, **options)

        return open_store

    @pytest.fixture
    def snapshot(self, path: Path) -> Callable[[], object]:
        """Return all that the backend holds."""
        return lambda: look(path)

    @pytest.fixture
    def damage(self, path: Path) -> Callable[[str], object]:
        """Make the record of a session undecodable."""
        return lambda session_id: look(path, f"session:{hash_id(session_id)}")


def test_the_configuration_finds_the_store(tmp_path: Path) -> None:
    settings = {
        "session_type": "lmdb",
        "path": str(tmp_path / "sessions.lmdb"),
        "ttl": 60,
    }
    with Jam({"session": settings}) as jam:
        session_id = jam.session_create("user1", {"role": "admin"})
        assert jam.session_get(session_id) == {"role": "admin"}
        assert isinstance(jam.store, LmdbSessions)
