"""A correct store in a file, and the contract with everything switched on."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, ClassVar

import pytest

from jam_core import JamStoreUnavailable, hash_id
from jam_core.testing import BreakBackend, Damage, SessionContract, Snapshot, StoreFactory
from tests.memory_store import MemorySessions, Record


class FileSessions(MemorySessions):
    """Keeps sessions in a JSON file, which every operation reads and writes whole.

    Args:
        path: The file; its directory is there.
        options: Those of `MemorySessions`.
    """

    guarantees = frozenset({"durable", "shared"})

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(**options)
        self.path = path
        self._lock = Transaction(self)
        self.ping()

    def ping(self) -> None:
        with self._lock:
            pass


class Transaction:
    """Reads the records of a store from its file, and writes them back if they changed."""

    def __init__(self, store: FileSessions) -> None:
        self._store = store
        self._file: IO[str]

    def __enter__(self) -> None:
        try:
            self._store.path.touch()
            file = self._store.path.open("r+")
        except OSError as error:
            raise JamStoreUnavailable("The file cannot be opened.") from error
        fcntl.flock(file, fcntl.LOCK_EX)
        self._file = file
        text = file.read()
        records = json.loads(text) if text else {}
        self._store.kept = {hashed: Record(*fields) for hashed, fields in records.items()}
        self._before = dict(self._store.kept)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._file as file:
            if self._store.kept != self._before:
                file.seek(0)
                file.truncate()
                json.dump(self._store.kept, file)


class FileContract(SessionContract):
    """The contract of a store in a file, with every fixture there is.

    Attributes:
        store_class: What opens the store, given the path of its file.
    """

    store_class: ClassVar[type[FileSessions]] = FileSessions

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        (tmp_path / "backend").mkdir()
        return tmp_path / "backend" / "sessions.json"

    @pytest.fixture
    def store_factory(self, file: Path) -> StoreFactory:
        return lambda **options: self.store_class(file, **options)

    @pytest.fixture
    def break_backend(self, file: Path) -> BreakBackend:
        @contextmanager
        def unreachable() -> Iterator[None]:
            elsewhere = file.parent.rename(file.parent.with_name("elsewhere"))
            try:
                yield
            finally:
                elsewhere.rename(file.parent)

        return unreachable

    @pytest.fixture
    def snapshot(self, file: Path) -> Snapshot:
        return file.read_text

    @pytest.fixture
    def damage(self, file: Path) -> Damage:
        def damage(session_id: str) -> None:
            records = json.loads(file.read_text())
            records[hash_id(session_id)][1] = "damaged"
            file.write_text(json.dumps(records))

        return damage
