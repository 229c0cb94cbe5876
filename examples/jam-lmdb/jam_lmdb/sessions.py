"""Sessions in LMDB, a key-value store in a file: no server, many processes of one host."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from threading import Lock
from typing import Unpack
from weakref import WeakValueDictionary

import lmdb
from jam_core import (
    Change,
    JamSessionCorrupt,
    JamStoreMissing,
    Move,
    PerProcess,
    SessionOptions,
    SessionRecord,
    StorageSessions,
    hash_id,
    pack_record,
    unpack_record,
)

_BATCH = 1000  # sessions


class _Opened:
    """What a process has open: LMDB wants a file to be opened once in it."""

    def __init__(self) -> None:
        self.lock = Lock()  # held during every transaction
        self.databases: WeakValueDictionary[Path, lmdb.Environment] = WeakValueDictionary()


def _let_go(inherited: _Opened) -> None:
    # lmdb takes them for opened by this process, which was forked. Where a thread that is not here
    # is in a transaction, closing would wait for it for ever: then this process cannot use them.
    if not inherited.lock.locked():
        for database in list(inherited.databases.values()):
            database.close()


_opened = PerProcess(_Opened, _let_go)

# The fork that Python sees waits for the end of a transaction; uWSGI's does not.
_forking: list[Lock] = []


def _before_fork() -> None:
    lock = _opened().lock
    lock.acquire()
    _forking.append(lock)


def _after_fork() -> None:
    _forking.pop().release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)


class LmdbSessions(StorageSessions[str]):
    """Sessions in LMDB.

    In the database `session:<SHA-256 of the id>` is a record, as `pack_record` makes it. An entry
    `key:<SHA-256 of the session key>:<SHA-256 of the id>` leads from a key to a session; one that
    leads nowhere, or to a session of another key that has got the same id, means nothing.

    Args:
        path: The database's directory.
        create: Whether to make the database if it is missing; `jam check` turns that off.
        clock: Returns the time, in seconds since the epoch.
        **options: The options of every store, see `BaseSession`.

    Raises:
        JamStoreMissing: There is no database, and `create` is off.
        JamStoreUnavailable: The database cannot be used.
    """

    guarantees = frozenset({"durable", "shared"})

    def __init__(
        self,
        path: str | Path,
        *,
        create: bool = True,
        clock: Callable[[], float] = time.time,
        **options: Unpack[SessionOptions],
    ) -> None:
        super().__init__(**options)
        self.clock = clock
        self._path = Path(path).absolute()
        if not create and not (self._path / "data.mdb").exists():
            raise JamStoreMissing(f"There is no database in {self._path}; create = true makes it.")
        self.look()

    def insert(self, place: str, record: SessionRecord) -> bool:
        """Put a record, if its id is free."""
        with self._transaction(write=True) as found:
            return found.get(_name(place)) is None and _put(found, record)

    def read(self, place: str, now: float) -> SessionRecord | None:
        """Get a record."""
        with self._transaction() as found:
            record = self._get(found, place)
        return None if record is None or record.ended(now) else record

    def write(self, place: str, change: Change) -> bool:
        """Put what becomes of a record; there is one writer at a time."""
        with self._transaction(write=True) as found:
            changed = change.of(self._get(found, place), self.clock())
            return changed is not None and _put(found, changed)

    def move(self, place: str, new_place: str, move: Move) -> bool:
        """Put a record under another id; the second of two callers finds nothing to move."""
        with self._transaction(write=True) as found:
            moved = move.of(self._get(found, place), self.clock())
            if moved is None or found.get(_name(new_place)) is not None:
                return False
            return found.delete(_name(place)) and _put(found, moved)

    def remove(self, place: str) -> None:
        """Delete a record."""
        with self._transaction(write=True) as found:
            found.delete(_name(place))

    def remove_key(self, session_key: str) -> None:
        """Delete the records that the key leads to."""
        with self._transaction(write=True) as found:
            for record in self._of_key(found, session_key, now=0):  # those that have ended, too
                found.delete(_name(record.id_hash))
            for name in _names(found, f"key:{hash_id(session_key)}:"):
                found.delete(name.encode())

    def remove_one(self, session_key: str, handle: str, now: float) -> bool:  # noqa: ARG002
        """Delete the record with this handle."""
        with self._transaction(write=True) as found:
            mine = self._of_key(found, session_key, self.clock())
            return any([found.delete(_name(r.id_hash)) for r in mine if r.handle == handle])

    def remove_others(self, place: str, now: float) -> int | None:
        """Delete the other records of a record's key."""
        with self._transaction(write=True) as found:
            record, now = self._get(found, place), self.clock()
            if record is None or record.ended(now):
                return None
            mine = self._of_key(found, record.session_key, now)
            return sum(found.delete(_name(r.id_hash)) for r in mine if r.id_hash != place)

    def of_key(self, session_key: str, now: float) -> list[SessionRecord]:
        """Get the records that the key leads to."""
        with self._transaction() as found:
            return self._of_key(found, session_key, now)

    def remove_ended(self, now: float) -> int:
        """Delete records that have ended, and what leads nowhere; damaged ones stay."""
        with self._transaction() as found:
            names = _names(found, "key:")
        removed = 0
        for start in range(0, len(names), _BATCH):  # in between, others can write
            with self._transaction(write=True) as found:
                for name in names[start : start + _BATCH]:
                    with suppress(JamSessionCorrupt):
                        record = self._get(found, name[-64:])
                        if record is None or record.ended(now):
                            removed += found.delete(_name(name[-64:]))
                            found.delete(name.encode())
        return removed

    def look(self) -> None:
        """Check that the database can be read and written."""
        with self._transaction(write=True) as found:
            found.stat()

    def records(self) -> Iterator[SessionRecord]:
        """Get one record after the other, for `jam migrate` and `jam rekey`."""
        with self._transaction() as found:
            names = _names(found, "session:")
        for name in names:
            with self.leave_out_damaged():
                record = self.read(name[-64:], self.clock())
                if record is not None:
                    yield record

    def __repr__(self) -> str:
        """Name the store and its place, as messages do."""
        return f"<LmdbSessions in {self._path}>"

    def _get(self, found: lmdb.Transaction, place: str) -> SessionRecord | None:
        stored = found.get(_name(place))
        return None if stored is None else unpack_record(bytes(stored), self.where(place))

    def _of_key(self, found: lmdb.Transaction, session_key: str, now: float) -> list[SessionRecord]:
        records = []
        for name in _names(found, f"key:{hash_id(session_key)}:"):
            try:
                record = self._get(found, name[-64:])
            except JamSessionCorrupt:
                record = SessionRecord(session_key, name[-64:], data="")  # listed without data
            if record and record.session_key == session_key and not record.ended(now):
                records.append(record)
        return records

    @contextmanager
    def _transaction(self, *, write: bool = False) -> Iterator[lmdb.Transaction]:
        """Open a transaction: all that the block does is done, or nothing."""
        with self.unavailable(OSError, lmdb.Error):
            opened = _opened()
            with opened.lock, self._open(opened).begin(write=write) as found:
                yield found

    def _open(self, opened: _Opened) -> lmdb.Environment:
        database = opened.databases.get(self._path)
        if database is None:
            for directory in (*reversed(self._path.parents), self._path):
                directory.mkdir(0o700, exist_ok=True)  # with `parents` some would be everybody's
            # A TiB of address space, not of disk.
            database = lmdb.open(str(self._path), 1 << 40, mode=0o600, max_readers=1024)
        # It stays open as long as one of its stores is there.
        self._database = opened.databases[self._path] = database
        return database


def _name(place: str) -> bytes:
    return f"session:{place}".encode()


def _put(found: lmdb.Transaction, record: SessionRecord) -> bool:
    found.put(f"key:{hash_id(record.session_key)}:{record.id_hash}".encode(), b"-")
    return bool(found.put(_name(record.id_hash), pack_record(record).encode()))


def _names(found: lmdb.Transaction, prefix: str) -> list[str]:
    """Return the names that begin like this."""
    cursor = found.cursor()
    cursor.set_range(prefix.encode())
    names = (bytes(name).decode() for name in cursor.iternext(values=False))
    return list(takewhile(lambda name: name.startswith(prefix), names))
