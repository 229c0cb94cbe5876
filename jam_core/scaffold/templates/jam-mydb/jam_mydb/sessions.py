"""A complete store, on SQLite until your own backend takes its place.

What knows the backend is the SQL, `_run` and `_one_error`. Exchange these, and let the tests say
what is still missing. The docstrings of `jam_core.BaseSession` are the contract.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Unpack

from jam_core import (
    BaseSession,
    JamSessionNotFound,
    JamStoreUnavailable,
    SessionOptions,
    check_session_key,
    hash_id,
)

# Ids and keys are kept as hashes: a stolen file opens no session, and keys hold any characters.
TABLE = """CREATE TABLE IF NOT EXISTS sessions (
    id TEXT PRIMARY KEY, session_key TEXT, data TEXT, deadline REAL, expires_at REAL)"""
INDEX = "CREATE INDEX IF NOT EXISTS sessions_of_key ON sessions (session_key)"
# A forged id has no hash: NULL equals nothing.
LIVE = "id = :id AND (expires_at IS NULL OR expires_at > :now)"
# The ttl restarts, but max_age stays: of the two, where there are two, the earlier.
RESTART = "expires_at = coalesce(min(:expiry, deadline), :expiry, deadline)"


class MydbSessions(BaseSession):
    """Sessions in an SQLite file.

    Args:
        path: The file; its directory must exist.
        timeout: Seconds to wait for another writer.
        clock: Returns the time, in seconds since the epoch. A backend that keeps the time itself
            needs no such option.
        **options: The options of every store, see `BaseSession`.

    Raises:
        JamStoreUnavailable: The file cannot be used.
    """

    # What your backend gives: delete what it does not.
    guarantees = frozenset({"durable", "shared"})

    def __init__(
        self,
        path: str | Path = "sessions.db",
        *,
        timeout: float = 10.0,
        clock: Callable[[], float] = time.time,
        **options: Unpack[SessionOptions],
    ) -> None:
        super().__init__(**options)
        self._path = Path(path)
        self._timeout = timeout
        self._clock = clock
        with self._one_error():
            self._path.touch(0o600)  # nobody else's to read
        self._run(TABLE)
        self._run(INDEX)

    def create(self, session_key: str, data: dict[str, Any]) -> str:
        """Insert a row under an id that is free."""
        check_session_key(session_key)
        text = self.codec.encode(data)
        now = self._clock()
        deadline = self.deadline(now)
        record = {"key": hash_id(session_key), "text": text, "deadline": deadline}
        record["expires_at"] = self.expiry(now, deadline)
        insert = "INSERT OR IGNORE INTO sessions VALUES (:id, :key, :text, :deadline, :expires_at)"
        return self.codec.mint(lambda new: self._run(insert, id=hash_id(new), **record)[0] == 1)

    def get(self, session_id: str) -> dict[str, Any] | None:
        """Select the row, if it is live."""
        text = self._text(session_id)
        return None if text is None else self.codec.decode(text, f"A session in {self._path}")

    def update(self, session_id: str, data: dict[str, Any]) -> None:
        """Update the row only while it is live: what is gone does not come back."""
        self._change(session_id, f"data = :text, {RESTART}", text=self.codec.encode(data))

    def delete(self, session_id: str) -> None:
        """Delete the row, if there is one."""
        self._run("DELETE FROM sessions WHERE id = :id", id=self.codec.lookup_hash(session_id))

    def clear(self, session_key: str) -> None:
        """Delete the rows of the key."""
        check_session_key(session_key)
        self._run("DELETE FROM sessions WHERE session_key = :key", key=hash_id(session_key))

    def rework(self, session_id: str) -> str:
        """Put the new id in the old one's place: one statement, one winner."""
        move = f"UPDATE OR IGNORE sessions SET id = :new, {RESTART} WHERE {LIVE} AND id <> :new"
        old = self.codec.lookup_hash(session_id)

        def take(new_id: str) -> bool:
            moved = self._run(move, id=old, new=hash_id(new_id))[0] == 1
            if not moved and self._text(session_id) is None:
                raise JamSessionNotFound
            return moved

        return self.codec.mint(take)

    # The four below are optional: what you delete, the store no longer claims to support.

    def touch(self, session_id: str) -> None:
        """Write the expiry only."""
        self._change(session_id, RESTART)

    def mutate(
        self, session_id: str, change: Callable[[dict[str, Any]], dict[str, Any] | None]
    ) -> dict[str, Any]:
        """Update the row only while it holds the data that the change was made of."""
        swap = f"UPDATE sessions SET data = :new, {RESTART} WHERE {LIVE} AND data = :old"
        hashed = self.codec.lookup_hash(session_id)
        return self.change_data(
            change,
            lambda: self._text(session_id),
            lambda old, new: self._run(swap, id=hashed, old=old, new=new)[0] == 1,
            f"A session in {self._path}",
        )

    def purge(self) -> int:
        """Delete the rows that have expired."""
        return self._run("DELETE FROM sessions WHERE expires_at <= :now")[0]

    def ping(self) -> None:
        """Look whether the table is there."""
        self._run("SELECT id FROM sessions LIMIT 1")

    def _text(self, session_id: str) -> str | None:
        select = f"SELECT data FROM sessions WHERE {LIVE}"
        row = self._run(select, id=self.codec.lookup_hash(session_id))[1]
        return None if row is None else row[0]

    def _change(self, session_id: str, assignments: str, **values: object) -> None:
        update = f"UPDATE sessions SET {assignments} WHERE {LIVE}"
        if self._run(update, id=self.codec.lookup_hash(session_id), **values)[0] == 0:
            raise JamSessionNotFound

    def _run(self, statement: str, **values: object) -> tuple[int, Any]:
        """Run one statement, whole or not at all; return the number of changes and the first row.

        On a connection of its own: that is safe in every thread and after every fork.
        """
        now = self._clock()
        values |= {"now": now, "expiry": self.expiry(now, None)}
        with (
            self._one_error(),
            closing(sqlite3.connect(self._path, self._timeout, isolation_level=None)) as database,
        ):
            cursor = database.execute(statement, values)
            row = cursor.fetchone()
            return cursor.rowcount, row

    @contextmanager
    def _one_error(self) -> Iterator[None]:
        """Give every failure of the backend its one name; the driver's own is the cause."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise JamStoreUnavailable(f"{self._path} cannot be used: {error}.") from error
