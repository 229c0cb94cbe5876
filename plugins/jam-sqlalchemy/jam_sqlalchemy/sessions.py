"""SQLAlchemySessions: sessions in a table of an SQL database."""

import random
import time
from collections.abc import Callable
from itertools import count
from typing import Any, TypeVar, Unpack

from sqlalchemy import URL, CursorResult, Engine, Executable
from sqlalchemy.exc import SQLAlchemyError

from jam_core import (
    BaseSession,
    JamConfigurationError,
    JamSessionNotFound,
    JamStoreUnavailable,
    SessionOptions,
    check_session_key,
    hash_id,
)
from jam_sqlalchemy.engine import autocommitting, describe, is_in_memory, open_engine
from jam_sqlalchemy.errors import IdTakenError, explained, may_repeat
from jam_sqlalchemy.statements import PURGE_BATCH, Statements
from jam_sqlalchemy.table import check_table, create_table, hash_key, readable_key, session_table

_Outcome = TypeVar("_Outcome")


class SQLAlchemySessions(BaseSession):
    """Sessions in a table of PostgreSQL, MariaDB, MySQL or SQLite.

    Args:
        database_uri: The database's URL; or an engine of your own, which stays yours: its
            settings are left alone, and `close` does not dispose of it.
        table_name: The table.
        schema: The table's schema.
        create_table: Create the table if it is missing.
        pool_size: How many connections to keep open. This and the next five are SQLAlchemy's,
            with its defaults; they are for a URL, not for an engine.
        max_overflow: How many more connections to open when all are in use.
        pool_timeout: Seconds to wait for a connection when all are in use.
        pool_recycle: Seconds after which a connection is replaced.
        pool_pre_ping: Test a connection before each use; costs a round trip.
        connect_args: Arguments for the driver's connect function.
        clock: Returns the time, in seconds since the epoch.
        **options: The options of every store, see `BaseSession`.

    Raises:
        JamConfigurationError: An option cannot be used, the driver is not installed, or the table
            is missing or lacks a column.
        JamStoreUnavailable: The database cannot be reached, or does not allow it.
    """

    def __init__(
        self,
        database_uri: str | URL | Engine,
        *,
        table_name: str = "jam_sessions",
        schema: str | None = None,
        create_table: bool = True,
        pool_size: int | None = None,
        max_overflow: int | None = None,
        pool_timeout: float | None = None,
        pool_recycle: int | None = None,
        pool_pre_ping: bool | None = None,
        connect_args: dict[str, Any] | None = None,
        clock: Callable[[], float] = time.time,
        **options: Unpack[SessionOptions],
    ) -> None:
        super().__init__(**options)
        self._clock = clock
        self._closed = False
        self._engine, self._is_ours = _engine(
            database_uri,
            pool_size=pool_size,
            max_overflow=max_overflow,
            pool_timeout=pool_timeout,
            pool_recycle=pool_recycle,
            pool_pre_ping=pool_pre_ping,
            connect_args=connect_args,
        )
        url = self._engine.url
        self.guarantees = frozenset() if is_in_memory(url) else frozenset({"durable", "shared"})
        self._table = session_table(table_name, schema)
        self._statements = Statements(self._table, self._engine.dialect.name)
        self._name = f"The session store (table {self._table.fullname}, {describe(url)})"
        self._prepare(create=create_table)

    def create(self, session_key: str, data: dict[str, Any]) -> str:
        """Store a new session and return its id."""
        check_session_key(session_key)
        now = self._clock()
        deadline = self.deadline(now)
        row = {
            "key_hash": hash_key(session_key),
            "session_key": readable_key(session_key),
            "data": self.codec.encode(data),
            "created_at": now,
            "expires_at": self.expiry(now, deadline),
            "deadline": deadline,
        }

        def insert(new_id: str) -> bool:
            return self._claim(self._statements.create, {"id_hash": hash_id(new_id), **row})

        return self.codec.mint(insert)

    def get(self, session_id: str) -> dict[str, Any] | None:
        """Return the session's data, or None if there is no such session."""
        id_hash = self.codec.lookup_hash(session_id)
        if id_hash is None:
            return None
        text = self._read(id_hash)
        return None if text is None else self.codec.decode(text, self._where(id_hash))

    def update(self, session_id: str, data: dict[str, Any]) -> None:
        """Replace the session's data and restart its ttl."""
        text = self.codec.encode(data)
        id_hash = self._known_hash(session_id)
        values = {"the_id": id_hash, "new_data": text, **self._moment()}
        if not self._run(self._statements.update, values):
            raise JamSessionNotFound

    def delete(self, session_id: str) -> None:
        """End the session."""
        id_hash = self.codec.lookup_hash(session_id)
        if id_hash is not None:
            self._run(self._statements.delete, {"the_id": id_hash}, harmless_twice=True)

    def clear(self, session_key: str) -> None:
        """End every session of the key."""
        check_session_key(session_key)
        self._run(self._statements.clear, {"the_key": hash_key(session_key)}, harmless_twice=True)

    def rework(self, session_id: str) -> str:
        """Give the session a new id and return it."""
        id_hash = self._known_hash(session_id)

        def move(new_id: str) -> bool:
            new_hash = hash_id(new_id)
            if new_hash == id_hash:
                return False
            values = {"the_id": id_hash, "new_id": new_hash, **self._moment()}
            return self._claim(self._statements.rework, values)

        return self.codec.mint(move)

    def touch(self, session_id: str) -> None:
        """Restart the session's ttl."""
        id_hash = self._known_hash(session_id)
        values = {"the_id": id_hash, **self._moment()}
        if not self._run(self._statements.touch, values, harmless_twice=True):
            raise JamSessionNotFound

    def mutate(
        self, session_id: str, change: Callable[[dict[str, Any]], dict[str, Any] | None]
    ) -> dict[str, Any]:
        """Apply a function to the session's data by compare-and-set."""
        id_hash = self._known_hash(session_id)

        def swap(old: str, new: str) -> bool:
            values = {"the_id": id_hash, "old_data": old, "new_data": new, **self._moment()}
            return bool(self._run(self._statements.swap, values))

        return self.change_data(change, lambda: self._read(id_hash), swap, self._where(id_hash))

    def purge(self) -> int:
        """Remove what has expired, in small batches, and return how many sessions."""
        removed = 0
        while True:
            began = time.monotonic()
            batch = self._run(self._statements.purge, {"now": self._clock()})
            removed += batch
            if batch < PURGE_BATCH:
                return removed
            time.sleep(time.monotonic() - began)  # half of the time belongs to the others

    def ping(self) -> None:
        """Ask the database for an answer."""
        self._execute(self._statements.ping, {}, CursorResult.scalar, harmless_twice=True)

    def close(self) -> None:
        """Close the connections, unless the engine is the caller's."""
        self._closed = True
        if self._is_ours:
            self._engine.dispose()

    def __repr__(self) -> str:
        return f"<SQLAlchemySessions in table {self._table.fullname}, {describe(self._engine.url)}>"

    def _prepare(self, *, create: bool) -> None:
        failure: Exception
        try:
            if not self._is_ours:
                self._engine = autocommitting(self._engine)
            if create:
                create_table(self._engine, self._table)
            check_table(self._engine, self._table)
        except SQLAlchemyError as error:
            failure = explained(error, self._name)
        except TypeError as error:
            failure = JamConfigurationError(f"connect_args do not suit the driver: {error}.")
            failure.__cause__ = error
        except JamConfigurationError as error:
            failure = error
        else:
            return
        self.close()
        raise failure

    def _known_hash(self, session_id: str) -> str:
        id_hash = self.codec.lookup_hash(session_id)
        if id_hash is None:
            raise JamSessionNotFound
        return id_hash

    def _moment(self) -> dict[str, float | None]:
        """Return the parameters that tell a statement the time."""
        now = self._clock()
        return {"now": now, "idle_end": self.expiry(now, deadline=None)}

    def _where(self, id_hash: str) -> str:
        return f"Table {self._table.fullname}, row {id_hash[:12]}..."

    def _read(self, id_hash: str) -> str | None:
        values = {"the_id": id_hash, "now": self._clock()}
        return self._execute(
            self._statements.read, values, CursorResult.scalar, harmless_twice=True
        )

    def _claim(self, statement: Executable, values: dict[str, Any]) -> bool:
        """Give a session an id; return False if another session has it."""
        try:
            rows = self._run(statement, values)
        except IdTakenError:
            return False
        if not rows:
            raise JamSessionNotFound
        return True

    def _run(
        self, statement: Executable, values: dict[str, Any], *, harmless_twice: bool = False
    ) -> int:
        """Execute a statement that changes rows; return how many."""
        return self._execute(statement, values, lambda result: result.rowcount, harmless_twice)

    def _execute(
        self,
        statement: Executable,
        values: dict[str, Any],
        outcome: Callable[[CursorResult[Any]], _Outcome],
        harmless_twice: bool,
    ) -> _Outcome:
        if self._closed:
            raise JamStoreUnavailable(f"{self._name} is closed.")
        for attempt in count(1):
            try:
                with self._engine.connect() as connection:
                    return outcome(connection.execute(statement, values))
            except SQLAlchemyError as error:
                if not may_repeat(error, attempt, harmless=harmless_twice):
                    failure = explained(error, self._name)
                    break
            # A moment of random length, so that those in conflict do not meet again.
            time.sleep(random.uniform(0, 0.001 * attempt))  # noqa: S311
        # Raised here, so that it does not carry SQLAlchemy's error as its context.
        raise failure


def _engine(database_uri: str | URL | Engine, **options: Any) -> tuple[Engine, bool]:
    """Return the engine to use, and whether it is ours to dispose of."""
    given = {name: value for name, value in options.items() if value is not None}
    if not isinstance(database_uri, Engine):
        return open_engine(database_uri, given), True
    if given:
        raise JamConfigurationError(
            f"database_uri is a ready engine: {', '.join(given)} cannot be set any more. Give "
            "them to create_engine."
        )
    return database_uri, False
