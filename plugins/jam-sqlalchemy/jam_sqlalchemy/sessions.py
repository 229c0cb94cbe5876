"""SQLAlchemySessions: sessions in a table of an SQL database."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from itertools import count
from typing import Any, TypeVar, Unpack

from sqlalchemy import URL, CursorResult, Engine, Executable, Row

from jam_core import (
    BaseSession,
    JamConfigurationError,
    JamSessionNotFound,
    JamStoreUnavailable,
    SessionInfo,
    SessionOptions,
    SessionRecord,
    check_session_key,
    hash_id,
    is_handle,
)
from jam_sqlalchemy.engine import (
    autocommitting,
    check_row_counts,
    describe,
    is_in_memory,
    may_be_plaintext,
    open_engine,
    sqlite_operations,
)
from jam_sqlalchemy.errors import IdTakenError, explained, explained_at_start, may_repeat
from jam_sqlalchemy.statements import PAGE, PURGE_BATCH, Statements
from jam_sqlalchemy.table import (
    check_names,
    check_table,
    create_table,
    hash_key,
    original_key,
    readable_key,
    session_table,
)

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

    guarantees = frozenset({"durable", "shared"})

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
        check_names(table_name, schema)
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
        in_memory = is_in_memory(url)
        if in_memory:
            self.guarantees = frozenset()
        must_end_before_fork = url.get_backend_name() == "sqlite" and not in_memory
        self._gate = sqlite_operations if must_end_before_fork else nullcontext()
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
            "id_key": self.codec.id_key,
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
            values = {
                "the_id": id_hash,
                "new_id": new_hash,
                "new_id_key": self.codec.id_key,
                **self._moment(),
            }
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
            batch = self._run(self._statements.purge, {"now": self._clock()}, harmless_twice=True)
            removed += batch
            if batch < PURGE_BATCH:
                return removed
            time.sleep(time.monotonic() - began)  # half of the time belongs to the others

    def ping(self) -> None:
        """Ask the database for an answer."""
        self._execute(self._statements.ping, {}, CursorResult.scalar, harmless_twice=True)

    def list_sessions(self, session_key: str) -> list[SessionInfo]:
        """Return the live sessions of the key."""
        check_session_key(session_key)
        values = {"the_key": hash_key(session_key), "now": self._clock()}
        infos = map(self.info_of, self._records(self._statements.of_key, values))
        return [info for info in infos if info is not None]

    def revoke(self, session_key: str, handle: str) -> bool:
        """End the key's session with this handle."""
        check_session_key(session_key)
        if not is_handle(handle):
            return False
        values = {"the_key": hash_key(session_key), "handle": handle, "now": self._clock()}
        return bool(self._run(self._statements.revoke, values))

    def clear_others(self, session_id: str) -> int:
        """End every other session of this session's key."""
        id_hash = self._known_hash(session_id)
        values = {"the_id": id_hash, "now": self._clock()}
        ended = self._run(self._statements.clear_others, values)
        # Nothing ended: there were no others, or there is no such session; which, tells a look.
        if not ended and self._read(id_hash) is None:
            raise JamSessionNotFound
        return ended

    def records(self) -> Iterator[SessionRecord]:
        """Yield the live sessions of every key, a page at a time."""
        page: list[SessionRecord] | None = None
        while page is None or len(page) == PAGE:
            values = {"the_id": page[-1].id_hash if page else "", "now": self._clock()}
            page = self._records(self._statements.page, values)
            yield from page

    def restore(self, records: Sequence[SessionRecord]) -> int:
        """Store sessions as they are, as many in a statement as the database takes."""
        now = self._clock()
        rows = [
            {
                "id_hash": record.id_hash,
                "key_hash": hash_key(record.session_key),
                "session_key": readable_key(record.session_key),
                "data": record.data,
                "created_at": record.created_at,
                "expires_at": record.expires_at,
                "deadline": record.deadline,
                "id_key": record.id_key,
            }
            for record in records
            if record.expires_at is None or now < record.expires_at
        ]
        return self._execute(self._statements.restore, rows, _inserted, False) if rows else 0

    def replace(self, record: SessionRecord, data: str) -> bool:
        """Replace a session's stored text by compare-and-set."""
        values = {
            "the_id": record.id_hash,
            "old_data": record.data,
            "new_data": data,
            "now": self._clock(),
        }
        return bool(self._run(self._statements.replace, values))

    def diagnose(self) -> Iterator[tuple[str, str, str]]:
        """Tell which server it is, and whether others can listen."""
        url = self._engine.url
        if may_be_plaintext(url):
            yield (
                "plaintext",
                f"Nothing says that the connection to {url.host} has to be encrypted.",
                "Use TLS: sslmode=verify-full in the URL of PostgreSQL, ssl_ca=... for MariaDB.",
            )
        version = ".".join(map(str, self._engine.dialect.server_version_info or ()))
        yield "server", f"{self._engine.dialect.name} {version}".strip(), ""

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
            with self._gate:
                if not self._is_ours:
                    self._engine = autocommitting(self._engine)
                check_row_counts(self._engine)
                if create:
                    create_table(self._engine, self._table)
                check_table(self._engine, self._table)
        except JamConfigurationError as error:
            failure = error
        except Exception as error:
            failure = explained_at_start(error, self._name)
        else:
            return
        self.close()
        # Raised here, so that it does not carry SQLAlchemy's error as its context.
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

    def _records(self, statement: Executable, values: dict[str, Any]) -> list[SessionRecord]:
        rows = self._execute(statement, values, CursorResult.all, harmless_twice=True)
        return [_record(row) for row in rows]

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
        values: dict[str, Any] | list[dict[str, Any]],
        outcome: Callable[[CursorResult[Any]], _Outcome],
        harmless_twice: bool,
    ) -> _Outcome:
        if self._closed:
            raise JamStoreUnavailable(f"{self._name} is closed.")
        for attempt in count(1):
            try:
                with self._gate, self._engine.connect() as connection:
                    result = outcome(connection.execute(statement, values))
                    if self._engine.dispatch.begin:  # the caller's, who may begin a transaction
                        connection.commit()
                    return result
            except Exception as error:
                if not may_repeat(error, attempt, harmless=harmless_twice):
                    failure = explained(error, self._name)
                    break
            # A moment of random length, so that those in conflict do not meet again.
            time.sleep(random.uniform(0, 0.001 * attempt))  # noqa: S311
        # Raised here, so that it does not carry SQLAlchemy's error as its context.
        raise failure


def _record(row: Row[Any]) -> SessionRecord:
    return SessionRecord(
        session_key=original_key(row.session_key),
        id_hash=row.id_hash,
        data=row.data,
        created_at=row.created_at,
        expires_at=row.expires_at,
        deadline=row.deadline,
        id_key=row.id_key,
    )


def _inserted(result: CursorResult[Any]) -> int:
    return len(result.all()) if result.returns_rows else result.rowcount


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
