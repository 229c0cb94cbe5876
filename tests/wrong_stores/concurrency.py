"""Stores that are right as long as nobody else is there."""

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from jam_core import JamSessionNotFound, check_session_key, hash_id
from tests.memory_store import MemorySessions, Record
from tests.wrong_stores.catalogue import caught_by
from tests.wrong_stores.file_store import FileSessions

MOMENT = 0.002  # seconds in which somebody else comes


@caught_by("test_threads")
class KeepsWhatItDoesInItself(FileSessions):
    """Keeps what it is just doing in an attribute, which threads share."""

    session_key = ""

    def create(self, session_key: str, data: dict[str, Any]) -> str:
        self.data = data
        time.sleep(MOMENT)
        return super().create(session_key, self.data)


@caught_by("test_races_of_threads", "test_update_does_not_undo_delete_or_clear")
class UpdateReadsThenWrites(FileSessions):
    """Looks whether there is a session, and then writes it."""

    def update(self, session_id: str, data: dict[str, Any]) -> None:
        with self._lock:
            record = self._live(hash_id(session_id))
        if record is None:
            raise JamSessionNotFound
        time.sleep(MOMENT)
        with self._lock:
            changed = record._replace(text=self.codec.encode(data))
            self.kept[hash_id(session_id)] = changed


@caught_by(
    "test_races_of_threads",
    "test_of_two_reworks_one_wins",
    "test_rework_does_not_escape_delete_or_clear",
)
class ReworkReadsThenWrites(FileSessions):
    """Reads the session, and then writes it under a new id."""

    def rework(self, session_id: str) -> str:
        with self._lock:
            record = self._live(hash_id(session_id))
        if record is None:
            raise JamSessionNotFound
        time.sleep(MOMENT)

        def take(new: str) -> bool:
            with self._lock:
                self.kept.pop(hash_id(session_id), None)
                self.kept[hash_id(new)] = record
            return True

        return self.codec.mint(take)


@caught_by("test_a_reader_sees_one_step")
class ReworkDeletesThenCreates(FileSessions):
    """Ends the session under the old id before it is there under the new one."""

    def rework(self, session_id: str) -> str:
        with self._lock:
            record = self.kept.pop(hash_id(session_id))
        time.sleep(MOMENT)

        def take(new: str) -> bool:
            with self._lock:
                self.kept[hash_id(new)] = record
            return True

        return self.codec.mint(take)


@caught_by("test_a_reader_sees_one_step")
class ReworkCreatesThenDeletes(FileSessions):
    """Leaves the session under both ids for a moment."""

    def rework(self, session_id: str) -> str:
        def take(new: str) -> bool:
            with self._lock:
                self.kept[hash_id(new)] = self.kept[hash_id(session_id)]
            time.sleep(MOMENT)
            self.delete(session_id)
            return True

        return self.codec.mint(take)


@caught_by(
    "test_threads_cannot_hide_a_session_from_clear",
    "test_create_does_not_hide_a_session_from_clear",
)
class KeepsAnIndexBeside(FileSessions):
    """Lists a key's sessions beside them, in a step of its own."""

    def create(self, session_key: str, data: dict[str, Any]) -> str:
        check_session_key(session_key)
        record = Record(session_key, self.codec.encode(data), None, None)

        def take(session_id: str) -> bool:
            hashed = hash_id(session_id)
            index = f"index {session_key}"
            with self._lock:
                listed = json.loads(self.kept[index].text) if index in self.kept else []
                text = json.dumps([*listed, hashed])
                self.kept[index] = Record("index", text, None, None)
            time.sleep(MOMENT)
            with self._lock:
                self.kept[hashed] = record
            return True

        return self.codec.mint(take)

    def clear(self, session_key: str) -> None:
        with self._lock:
            index = self.kept.pop(f"index {session_key}", None)
            for hashed in json.loads(index.text) if index else []:
                self.kept.pop(hashed, None)


@caught_by("test_processes")
class LocksThreadsOnly(FileSessions):
    """Reads and writes the file under a lock that other processes do not see."""

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(path, **options)
        self._lock = _ThreadsOnly(self)


class _ThreadsOnly:
    def __init__(self, store: FileSessions) -> None:
        self._store = store
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()
        text = self._store.path.read_text() or "{}"
        try:
            found = json.loads(text)
        except ValueError:
            found = {}
        self._store.kept = {hashed: Record(*fields) for hashed, fields in found.items()}

    def __exit__(self, *_: object) -> None:
        self._store.path.write_text(json.dumps(self._store.kept))
        self._lock.release()


@caught_by("test_a_store_made_before_fork_works_in_every_process")
class DoesNotSurviveFork(FileSessions):
    """Keeps to itself what is done in a process that was forked from its own."""

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(path, **options)
        self.pid = os.getpid()

    def create(self, session_key: str, data: dict[str, Any]) -> str:
        if os.getpid() != self.pid:
            self._lock = threading.Lock()
        return super().create(session_key, data)


@caught_by(
    "test_what_was_written_outlives_the_store",
    "test_one_store_sees_at_once_what_another_wrote",
    "test_processes",
)
class DeclaresMoreThanItGives(FileSessions):
    """Declares itself durable and shared, and keeps everything in its memory."""

    def __init__(self, path: Path, **options: Any) -> None:
        MemorySessions.__init__(self, **options)


@caught_by("test_what_was_written_outlives_its_process")
class WritesWhenItIsClosed(FileSessions):
    """Writes to the file when it is closed."""

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(path, **options)
        self.transaction, self._lock = self._lock, threading.Lock()

    def close(self) -> None:
        mine = dict(self.kept)
        with self.transaction:
            self.kept |= mine


@caught_by("test_one_store_sees_at_once_what_another_wrote")
class RemembersWhatItRead(FileSessions):
    """Answers from memory what it has read once."""

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(path, **options)
        self.read: dict[str, dict[str, Any] | None] = {}

    def get(self, session_id: str) -> dict[str, Any] | None:
        if session_id not in self.read:
            self.read[session_id] = super().get(session_id)
        return self.read[session_id]
