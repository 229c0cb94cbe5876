"""A correct store in a file, and the contract with everything switched on."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, ClassVar

import pytest
from jam_testing import BreakBackend, Damage, SessionContract, Snapshot, StoreFactory
from jam_testing.memory import MemorySessions

from jam_core import JamStoreUnavailable, SessionRecord, hash_id, pack_record, unpack_record


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
        self._own_lock: AbstractContextManager[object] | None = None
        self.look()

    # A new one each time: when an exception strikes anywhere, it goes with its frame, and the
    # lock with it.
    @property
    def _lock(self) -> AbstractContextManager[object]:
        return Transaction(self) if self._own_lock is None else self._own_lock

    @_lock.setter
    def _lock(self, lock: AbstractContextManager[object]) -> None:
        self._own_lock = lock

    def look(self) -> None:
        with self._lock:
            pass

    def live(self, place: str | None) -> SessionRecord | None:
        """Return a live session; call it under the lock."""
        record = self.kept.get(place or "")
        return None if record is None or record.ended(self.clock()) else record

    def load(self) -> None:
        """Read the sessions from the file."""
        found = json.loads(self.path.read_text() or "{}")
        self.kept = {place: unpack_record(text, self.where(place)) for place, text in found.items()}

    def text(self) -> str:
        """Return what the file is to hold."""
        return json.dumps({place: pack_record(record) for place, record in self.kept.items()})


class Transaction:
    """Reads the records of a store from its file, and writes them back if they changed."""

    def __init__(self, store: FileSessions) -> None:
        self._store = store
        self._file: IO[str]

    def __enter__(self) -> None:
        path = self._store.path
        if path.with_name("silent").exists():
            raise JamStoreUnavailable("The file did not answer in time.")
        try:
            lock = path.with_suffix(".lock").open("w")
            fcntl.flock(lock, fcntl.LOCK_EX)
            path.touch()
            self._store.load()
        except OSError as error:
            raise JamStoreUnavailable("The file cannot be opened.") from error
        self._file = lock
        self._before = dict(self._store.kept)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._file:
            if self._store.kept != self._before:
                # Killed in the middle, the process leaves the file as it was.
                new = self._store.path.with_suffix(".new")
                new.write_text(self._store.text())
                new.replace(self._store.path)


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
    def hang_backend(self, file: Path) -> BreakBackend:
        """Let the store give up at once, as if it had waited: what it says is what matters."""

        @contextmanager
        def silent() -> Iterator[None]:
            file.with_name("silent").touch()
            try:
                yield
            finally:
                file.with_name("silent").unlink()

        return silent

    @pytest.fixture
    def snapshot(self, file: Path) -> Snapshot:
        return file.read_text

    @pytest.fixture
    def damage(self, file: Path) -> Damage:
        def damage(session_id: str) -> None:
            records = json.loads(file.read_text())
            place = hash_id(session_id)
            record = unpack_record(records[place], "A session")
            records[place] = pack_record(record._replace(data="damaged"))
            file.write_text(json.dumps(records))

        return damage
