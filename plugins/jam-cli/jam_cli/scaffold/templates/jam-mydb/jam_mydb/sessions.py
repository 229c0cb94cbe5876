"""A complete store, on SQLite until your own backend takes its place.

Only the SQL and `_transaction` know the backend. Replace them, and let the tests tell you what is
still missing. The docstrings of `jam_core.StorageSessions` say what each method promises.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Unpack

from jam_core import (
    Change,
    JamStoreMissing,
    Move,
    SessionOptions,
    SessionRecord,
    StorageSessions,
    hash_id,
    pack_ttl,
    unpack_ttl,
)

# Ids are kept as hashes: a stolen file opens no session. Keys are looked up by a hash, too: they
# may hold any characters, which is also why they are escaped.
TABLE = """CREATE TABLE IF NOT EXISTS sessions (
    id_hash TEXT PRIMARY KEY, key_hash TEXT, session_key TEXT, data TEXT,
    created_at REAL, expires_at REAL, deadline REAL, ttl INTEGER, id_key TEXT)"""
INDEX = "CREATE INDEX IF NOT EXISTS sessions_of_key ON sessions (key_hash)"
LIVE = "(expires_at IS NULL OR expires_at > :now)"


class MydbSessions(StorageSessions[str]):
    """Sessions in an SQLite file.

    Args:
        path: The file; its directory must exist.
        create: Whether to create the file if it is missing; `jam check` turns that off.
        timeout: Seconds to wait for another writer.
        clock: Returns the time, in seconds since the epoch. A backend that keeps the time itself
            needs no such option.
        **options: The options of every store, see `BaseSession`.

    Raises:
        JamStoreMissing: There is no file, and `create` is off.
        JamStoreUnavailable: The file cannot be used.
    """

    # What your backend guarantees: delete what it does not.
    guarantees = frozenset({"durable", "shared"})

    def __init__(
        self,
        path: str | Path = "sessions.db",
        *,
        create: bool = True,
        timeout: float = 10.0,
        clock: Callable[[], float] = time.time,
        **options: Unpack[SessionOptions],
    ) -> None:
        super().__init__(**options)
        self.clock = clock
        self._path = Path(path)
        self._timeout = timeout
        if not create and not self._path.exists():
            raise JamStoreMissing(f"There is no file {self._path}; create = true would create it.")
        with self.unavailable(OSError):
            self._path.touch(0o600)  # nobody else may read it
        with self._transaction() as database:
            database.execute(TABLE)
            database.execute(INDEX)

    def insert(self, place: str, record: SessionRecord) -> bool:
        """Insert a row if the id is free."""
        with self._transaction() as database:
            return _found(database, place) is None and _put(database, record)

    def read(self, place: str, now: float) -> SessionRecord | None:
        """Select a row."""
        with self._transaction("DEFERRED") as database:
            record = _found(database, place)
        return None if record is None or record.ended(now) else record

    def write(self, place: str, change: Change) -> bool:
        """Replace a row with its new state; nobody else writes in the meantime."""
        with self._transaction() as database:
            # By now: it may have waited for another writer, and the session may have ended.
            changed = change.of(_found(database, place), self.clock())
            return changed is not None and _put(database, changed)

    def move(self, place: str, new_place: str, move: Move) -> bool:
        """Put a row under another id: one transaction, one winner."""
        with self._transaction() as database:
            moved = move.of(_found(database, place), self.clock())
            if moved is None or _found(database, new_place) is not None:
                return False
            database.execute("DELETE FROM sessions WHERE id_hash = ?", (place,))
            return _put(database, moved)

    def remove(self, place: str) -> None:
        """Delete a row, if there is one."""
        self._delete("id_hash = :place", place=place)

    def remove_key(self, session_key: str) -> None:
        """Delete the rows of a key."""
        self._delete("key_hash = :key", key=hash_id(session_key))

    # The rest is optional: if you delete a method, the store no longer claims to support it.

    def remove_one(self, session_key: str, handle: str, now: float) -> bool:  # noqa: ARG002
        """Delete the row whose id's hash begins with the handle."""
        where = f"key_hash = :key AND substr(id_hash, 1, :length) = :handle AND {LIVE}"
        key = hash_id(session_key)
        return self._delete(where, key=key, handle=handle, length=len(handle)) > 0

    def remove_others(self, place: str, now: float) -> int | None:
        """Delete the other rows of a row's key; the transaction keeps that row from going away."""
        with self._transaction() as database:
            record = _found(database, place)
            now = self.clock()
            if record is None or record.ended(now):
                return None
            others = f"key_hash = ? AND id_hash <> ? AND {LIVE.replace(':now', '?')}"
            values = (hash_id(record.session_key), place, now)
            return database.execute(f"DELETE FROM sessions WHERE {others}", values).rowcount

    def of_key(self, session_key: str, now: float) -> list[SessionRecord]:
        """Select the rows of a key."""
        return self._select(f"key_hash = :key AND {LIVE}", key=hash_id(session_key), now=now)

    def remove_ended(self, now: float) -> int:
        """Delete the rows that have ended, in batches: others can write in between."""
        ended = "SELECT rowid FROM sessions WHERE expires_at <= :end LIMIT 1000"
        removed = 0
        while batch := self._delete(f"rowid IN ({ended})", end=now):
            removed += batch
        return removed

    def look(self) -> None:
        """Check that the table exists, and that this process may write."""
        self._delete("0")

    def records(self) -> Iterator[SessionRecord]:
        """Select every live row, for `jam migrate` and `jam rekey`."""
        yield from self._select(LIVE, now=self.clock())

    def __repr__(self) -> str:
        """Name the store and its place, as messages do."""
        return f"<MydbSessions in {self._path}>"

    def _select(self, where: str, **values: object) -> list[SessionRecord]:
        with self._transaction("DEFERRED") as database:
            rows = database.execute(f"SELECT * FROM sessions WHERE {where}", values)
            return [_record(row) for row in rows]

    def _delete(self, where: str, **values: object) -> int:
        with self._transaction() as database:
            values["now"] = self.clock()
            return database.execute(f"DELETE FROM sessions WHERE {where}", values).rowcount

    @contextmanager
    def _transaction(self, kind: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """Run a transaction: either everything that the block does is done, or nothing.

        On a connection of its own: that is safe in every thread and after every fork, and nothing
        that goes wrong in the block outlives it.
        """
        with (
            self.unavailable(OSError, sqlite3.Error),
            closing(sqlite3.connect(self._path, self._timeout, isolation_level=None)) as database,
        ):
            database.execute(f"BEGIN {kind}")
            yield database
            database.execute("COMMIT")


def _found(database: sqlite3.Connection, place: str) -> SessionRecord | None:
    row = database.execute("SELECT * FROM sessions WHERE id_hash = ?", (place,)).fetchone()
    return None if row is None else _record(row)


def _put(database: sqlite3.Connection, record: SessionRecord) -> bool:
    values = (
        record.id_hash,
        hash_id(record.session_key),
        record.session_key.encode("unicode_escape").decode(),
        record.data,
        record.created_at,
        record.expires_at,
        record.deadline,
        pack_ttl(record.ttl),
        record.id_key,
    )
    database.execute("REPLACE INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
    return True


def _record(row: tuple[Any, ...]) -> SessionRecord:
    id_hash, _, session_key, data, created_at, expires_at, deadline, ttl, id_key = row
    return SessionRecord(
        session_key=session_key.encode().decode("unicode_escape"),
        id_hash=id_hash,
        data=data,
        created_at=created_at,
        expires_at=expires_at,
        deadline=deadline,
        ttl=unpack_ttl(ttl),
        id_key=id_key,
    )
