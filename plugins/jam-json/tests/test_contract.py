import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from jam_json import JSONSessions
from jam_testing import BreakBackend, Damage, SessionContract, Snapshot, StoreFactory

from jam_core import hash_id


class Contract(SessionContract):
    """The contract, and what it asks of either layout."""

    name: str

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "volume" / self.name

    @pytest.fixture
    def store_factory(self, path: Path) -> StoreFactory:
        def open_store(**options: Any) -> JSONSessions:
            return JSONSessions(path, **options)

        return open_store

    @pytest.fixture
    def break_backend(self, path: Path) -> BreakBackend:
        @contextmanager
        def unreachable() -> Iterator[None]:
            elsewhere = path.parent.rename(path.parent.with_name("elsewhere"))
            path.parent.touch()  # what was a directory is none
            try:
                yield
            finally:
                path.parent.unlink()
                elsewhere.rename(path.parent)

        return unreachable

    @pytest.fixture
    def snapshot(self, path: Path) -> Snapshot:
        def snapshot() -> dict[str, bytes]:
            files = (file for file in path.parent.rglob("*") if file.is_file())
            return {str(file): file.read_bytes() for file in files}

        return snapshot


class TestDocument(Contract):
    name = "sessions.json"

    @pytest.fixture
    def damage(self, path: Path) -> Damage:
        def damage(session_id: str) -> None:
            with path.with_name(f"{path.name}.journal").open("r+") as journal:
                lines = journal.read().splitlines(keepends=True)
                (created,) = (line for line in lines if hash_id(session_id) in line)
                entry = json.loads(created)
                entry["put"][hash_id(session_id)]["data"] = "damaged"
                journal.write(json.dumps(entry) + "\n")

        return damage


@pytest.mark.exhaustive
class TestDirectory(Contract):
    name = "sessions"
    in_steps = ("clear", "clear_others", "list_sessions")  # a file after the other: see the README

    @pytest.fixture
    def damage(self, path: Path) -> Damage:
        def damage(session_id: str) -> None:
            (file,) = path.rglob(f"{hash_id(session_id)}.json")
            file.write_text("damaged")

        return damage
