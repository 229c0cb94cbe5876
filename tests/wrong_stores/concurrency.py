"""Stores that are right as long as nobody else is there."""

import fcntl
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from jam_testing.memory import MemorySessions

from jam_core import (
    BaseSession,
    Change,
    JamStoreUnavailable,
    Move,
    SessionRecord,
)
from tests.wrong_stores.catalogue import caught_by
from tests.wrong_stores.file_store import FileSessions
from tests.wrong_stores.optional import Changing

MOMENT = 0.002  # seconds in which somebody else comes


@caught_by("test_threads")
class KeepsWhatItDoesInItself(FileSessions):
    """Keeps the state of an operation in an attribute, which threads share."""

    session_key = ""

    def create(self, session_key: str, data: dict[str, Any]) -> str:
        self.data = data
        time.sleep(MOMENT)
        return super().create(session_key, self.data)


@caught_by(
    "test_races_of_threads",
    "test_update_does_not_undo_delete_or_clear",
    "test_of_two_updates_of_what_was_seen_one_wins",
)
class UpdateReadsThenWrites(FileSessions):
    """Checks whether there is a session, and then writes it."""

    def write(self, place: str, change: Change) -> bool:
        changed = change.of(self.read(place, change.now))
        time.sleep(MOMENT)
        with self._lock:
            if changed is not None:
                self.kept[place] = changed
        return changed is not None


@caught_by(
    "test_races_of_threads",
    "test_of_two_reworks_one_wins",
    "test_of_two_log_ins_one_wins",
    "test_rework_does_not_escape_delete_or_clear",
)
class ReworkReadsThenWrites(FileSessions):
    """Reads the session, and then writes it under a new id."""

    def move(self, place: str, new_place: str, move: Move) -> bool:
        moved = move.of(self.read(place, move.now))
        time.sleep(MOMENT)
        with self._lock:
            self.kept.pop(place, None)
            if moved is not None:
                self.kept[new_place] = moved
        return moved is not None


@caught_by("test_a_reader_sees_one_step")
class ReworkDeletesThenCreates(FileSessions):
    """Ends the session under the old id before it exists under the new one."""

    def move(self, place: str, new_place: str, move: Move) -> bool:
        moved = move.of(self.read(place, move.now))
        self.remove(place)
        time.sleep(MOMENT)
        return moved is not None and self.insert(new_place, moved)


@caught_by("test_a_reader_sees_one_step")
class ReworkCreatesThenDeletes(FileSessions):
    """Leaves the session under both ids for a moment."""

    def move(self, place: str, new_place: str, move: Move) -> bool:
        moved = move.of(self.read(place, move.now))
        if moved is None or not self.insert(new_place, moved):
            return False
        time.sleep(MOMENT)
        self.remove(place)
        return True


@caught_by(
    "test_threads_cannot_hide_a_session_from_clear",
    "test_create_does_not_hide_a_session_from_clear",
)
class KeepsAnIndexBeside(FileSessions):
    """Keeps the list of a key's sessions separately, and changes it in a second step."""

    def insert(self, place: str, record: SessionRecord) -> bool:
        index = f"index {record.session_key}"
        with self._lock:
            listed = json.loads(self.kept[index].data) if index in self.kept else []
            self.kept[index] = SessionRecord("index", "", json.dumps([*listed, place]))
        time.sleep(MOMENT)
        return super().insert(place, record)

    def remove_key(self, session_key: str) -> None:
        with self._lock:
            index = self.kept.pop(f"index {session_key}", None)
            for place in json.loads(index.data) if index else []:
                self.kept.pop(place, None)


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
        try:
            self._store.load()
        except ValueError:
            self._store.kept = {}

    def __exit__(self, *_: object) -> None:
        self._store.path.write_text(self._store.text())
        self._lock.release()


@caught_by("test_a_store_made_before_fork_works_in_every_process")
class DoesNotSurviveFork(FileSessions):
    """Hides what is done in a forked process from all others."""

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
    """Returns from memory what it has read once."""

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(path, **options)
        self.known: dict[str, SessionRecord | None] = {}

    def read(self, place: str, now: float) -> SessionRecord | None:
        if place not in self.known:
            self.known[place] = super().read(place, now)
        return self.known[place]


@caught_by("test_a_store_works_after_a_fork_that_python_does_not_see")
class TrustsForkHooks(FileSessions):
    """Keeps its lock file open, and opens it again in a fork hook, which not every fork calls."""

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(path, **options)
        self._lock = lock = _KeptOpen(self)
        os.register_at_fork(after_in_child=lock.open)


class _KeptOpen:
    def __init__(self, store: FileSessions) -> None:
        self._store = store
        self._threads = threading.RLock()
        self.open()

    def open(self) -> None:
        self._file = self._store.path.with_suffix(".kept").open("w")

    def __enter__(self) -> None:
        self._threads.acquire()
        fcntl.flock(self._file, fcntl.LOCK_EX)  # a lock of the open file, which a fork shares
        self._store.load()
        self._before = dict(self._store.kept)
        time.sleep(MOMENT)

    def __exit__(self, *_: object) -> None:
        if self._store.kept != self._before:
            new = self._store.path.with_suffix(f".{os.getpid()}")
            new.write_text(self._store.text())
            new.replace(self._store.path)
        fcntl.flock(self._file, fcntl.LOCK_UN)
        self._threads.release()


@caught_by("test_an_exception_may_strike_at_any_moment")
class IsOneAnswerBehind(FileSessions):
    """Leaves an answer behind when it is interrupted, as a connection does, for the next caller."""

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(path, **options)
        self.unread: list[dict[str, Any] | None] = []

    def get(self, session_id: str) -> dict[str, Any] | None:
        self.unread.append(super().get(session_id))
        time.sleep(MOMENT)
        return self.unread.pop(0)


@caught_by("test_an_exception_may_strike_at_any_moment")
class LeavesItsLockHeld(FileSessions):
    """Takes a lock by hand and releases it by hand, which an exception in between prevents."""

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(path, **options)
        self.by_hand = threading.Lock()

    def get(self, session_id: str) -> dict[str, Any] | None:
        if not self.by_hand.acquire(timeout=0.01):
            raise JamStoreUnavailable("The lock is held.")
        data = super().get(session_id)
        self.by_hand.release()
        return data


@caught_by("test_there_is_an_order_that_explains_everything")
class ClearsOneAfterTheOther(FileSessions):
    """Ends the sessions of a key one after the other, so that others see some of them ended."""

    def remove_key(self, session_key: str) -> None:
        for record in self.of_key(session_key, self.clock()):
            time.sleep(MOMENT)
            self.remove(record.id_hash)


@caught_by("test_mutate_sees_what_came_in_between")
class HoldsItsLockWhileItChanges(FileSessions):
    """Holds a lock around the function of mutate, which therefore cannot use the store."""

    clause_limit = 2.0

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(path, **options)
        self.changing = threading.Lock()

    def mutate(self, session_id: str, change: Changing) -> dict[str, Any]:
        with self.changing:
            return super().mutate(session_id, change)

    def update(self, session_id: str, data: dict[str, Any]) -> None:
        with self.changing:
            super().update(session_id, data)


@caught_by("test_a_reader_sees_one_step", "test_there_is_an_order_that_explains_everything")
class ReworksInTwoWrites(FileSessions):
    """Writes the session under its new id, and removes the old one in a second write."""

    list_sessions = BaseSession.list_sessions

    def move(self, place: str, new_place: str, move: Move) -> bool:
        with self._lock:
            moved = move.of(self.kept.get(place))
            if moved is None:
                return False
            self.kept[new_place] = moved
        self.remove(place)
        return True
