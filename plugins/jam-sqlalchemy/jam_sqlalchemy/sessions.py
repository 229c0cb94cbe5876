"""SQLAlchemySessions: sessions in a table of an SQL database.

The example of a store: this file and `statements.py` are all that a store needs. `database.py` and
what is behind it deal with outages, forks and interrupts.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

from sqlalchemy import URL, Engine, Executable, Row

from jam_core import (
    Change,
    Gathered,
    JamSessionCorrupt,
    JamStoreUnavailable,
    Move,
    SessionOptions,
    SessionRecord,
    StorageSessions,
    pack_ttl,
    pause,
)
from jam_sqlalchemy.database import open_database
from jam_sqlalchemy.statements import PAGE, PURGE_BATCH, Statements
from jam_sqlalchemy.table import hash_key, readable_key, record_of, row_of, session_table

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

# How often there may be rows after a DELETE that found none: others are writing, too.
_TIMES_IN_VAIN = 100


class SQLAlchemySessions(StorageSessions[str]):
    """Sessions in a table of PostgreSQL, MariaDB, MySQL or SQLite.

    Args:
        database_uri: The database's URL; or an engine of your own, which stays yours: its
            settings are left alone, and `close` does not dispose of it.
        table_name: The table.
        schema: The table's schema.
        create_table: Create the table, and SQLite's file, if it is missing, and the column that a
            table of an earlier version lacks. False: it must exist.
        pool_size: How many connections to keep open. This and the next five are SQLAlchemy's,
            with its defaults; they are for a URL, not for an engine.
        max_overflow: How many more connections to open when all are in use.
        pool_timeout: Seconds to wait for a connection when all are in use.
        pool_recycle: Seconds after which a connection is replaced; default: 180, SQLite's never.
        pool_pre_ping: Test a connection before each use; costs a round trip.
        connect_args: Arguments for the driver's connect function.
        clock: Returns the time, in seconds since the epoch.
        **options: The options of every store, see `BaseSession`.

    Raises:
        JamConfigurationError: An option cannot be used, or the driver is not installed.
        JamStoreMissing: The table, or SQLite's file, is missing, or the table lacks a column.
        JamStoreUnavailable: The database cannot be reached, or does not allow it.
    """

    guarantees = frozenset({"asyncio", "durable", "shared"})

    def __init__(
        self,
        database_uri: "str | URL | Engine | AsyncEngine",
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
        self.clock = clock
        table = session_table(table_name, schema)
        self._database = open_database(
            database_uri,
            table,
            create_table=create_table,
            pool_size=pool_size,
            max_overflow=max_overflow,
            pool_timeout=pool_timeout,
            pool_recycle=pool_recycle,
            pool_pre_ping=pool_pre_ping,
            connect_args=connect_args,
        )
        self._sql = Statements(
            table, self._database.dialect, ttl=self.ttl, by_real_clock=clock is time.time
        )
        self.in_force = self._database.in_force
        if self._database.is_in_memory:
            self.guarantees -= {"durable", "shared"}
        if not self._database.is_awaited:
            self.guarantees -= {"asyncio"}
        self._row = Gathered(partial(self._rows, self._sql.read, self._sql.read_many))
        self._row_with_data = Gathered(
            partial(self._rows, self._sql.read_data, self._sql.read_data_of_many)
        )

    def insert(self, place: str, record: SessionRecord) -> bool:
        """Insert a row, unless the id is taken."""
        row = row_of(place, record)
        # Nulls need not be passed: each parameter has a cost.
        values = {name: value for name, value in row.items() if value is not None}
        # Not `== 1`: not every driver counts what it inserts.
        return self._database.run(self._sql.insert, values) != 0

    def read(self, place: str, now: float) -> SessionRecord | None:
        """Select a row."""
        row = self._row((place, now))
        return self._record_of(row) if row else None

    def read_data(self, place: str, now: float) -> str | None:
        """Select a row's data and nothing else: it is what `get` waits for."""
        row = self._row_with_data((place, now))
        return row.data if row else None

    def _rows(
        self, one: Executable, many: Executable, asked: Sequence[tuple[str, float]]
    ) -> list[Row[Any] | None]:
        """Select the rows that are live at a moment; concurrent requests get one statement."""
        if len(asked) == 1:
            ((place, now),) = asked
            rows = self._database.rows(one, {"the_id": place, "now": now})
            return [rows[0] if rows else None]
        places = sorted({place for place, _ in asked})
        found = {row.id_hash: row for row in self._database.rows(many, {"the_ids": places})}
        return [_living(found.get(place), now) for place, now in asked]

    def write(self, place: str, change: Change) -> bool:
        """Update a row."""
        values: dict[str, Any] = {"the_id": place}
        if change.data is not None:
            values["data"] = change.data
        if change.former is not None:
            values["former"] = change.former
        statement = self._sql.write[change.restart, change.former is not None]
        # Data written a second time could overwrite newer data.
        harmless_twice = change.data is None
        return self._database.run(statement, self._now(values), harmless_twice=harmless_twice) == 1

    def move(self, place: str, new_place: str, move: Move) -> bool:
        """Update a row's id, and at log-in its key and times, unless the new id is taken."""
        values: dict[str, Any] = {"the_id": place, "id_hash": new_place, "id_key": move.id_key}
        is_sealed_again = move.data is not None
        if is_sealed_again:
            values |= {"data": move.data, "former": move.former}
        if move.login is None:
            statement = self._sql.write[True, is_sealed_again]
            return self._database.run(statement, self._now(values)) == 1
        values |= {
            "key_hash": hash_key(move.login.session_key),
            "session_key": readable_key(move.login.session_key),
            "ttl": pack_ttl(move.login.ttl),
        }
        began = move.login.at

        def with_times() -> dict[str, Any]:
            login = began(now := self.clock())
            times = {"now": now, "created_at": now, "deadline": login.deadline}
            return values | times | {"expires_at": self.expiry(now, login.deadline, login.ttl)}

        return self._database.run(self._sql.write[False, is_sealed_again], with_times) == 1

    def remove(self, place: str) -> None:
        """Delete a row, if there is one."""
        self._database.run(self._sql.remove, {"the_id": place}, harmless_twice=True)

    def remove_key(self, session_key: str) -> None:
        """Delete the rows of a key, until there are none."""
        values = {"the_key": hash_key(session_key)}
        in_vain = 0
        while in_vain < _TIMES_IN_VAIN:
            ended = self._database.run(self._sql.remove_key, values, harmless_twice=True)
            if not self._database.may_miss_rows:
                return
            if not self._database.rows(self._sql.any_of_key, values):
                return
            in_vain = 0 if ended else in_vain + 1
        raise self._keeps_its_rows()

    # The rest is optional.

    def remove_one(self, session_key: str, handle: str, now: float) -> bool:  # noqa: ARG002
        """Delete the row of a key whose id's hash begins with the handle."""
        values = self._now({"the_key": hash_key(session_key), "handle": handle})
        return self._database.run(self._sql.remove_one, values) > 0

    def remove_others(self, place: str, now: float) -> int | None:  # noqa: ARG002
        """Delete the other rows of a row's key, until there are none."""
        values = self._now({"the_id": place})
        ended = in_vain = 0
        while in_vain < _TIMES_IN_VAIN:
            more = self._database.run(self._sql.remove_others, values)
            ended += more
            if more and not self._database.may_miss_rows:
                return ended
            mates = len(self._database.rows(self._sql.mates, values))
            if mates < 2:  # noqa: PLR2004  (nobody, or the session alone)
                return ended if ended or mates else None
            in_vain = 0 if more else in_vain + 1
        raise self._keeps_its_rows()

    def of_key(self, session_key: str, now: float) -> Iterator[SessionRecord]:
        """Select the rows of a key."""
        values = {"the_key": hash_key(session_key), "now": now}
        rows = self._database.rows(self._sql.of_key, values)
        # The key is not read: a damaged one must not keep the user from ending the sessions.
        return (record_of(row, session_key) for row in rows)

    def remove_ended(self, now: float) -> int:
        """Delete the rows that have ended, in small batches."""
        removed = 0
        while True:
            began = time.monotonic()
            batch = self._database.run(self._sql.remove_ended, {"now": now}, harmless_twice=True)
            removed += batch
            if batch < PURGE_BATCH:
                return removed
            pause(time.monotonic() - began)  # leaves half of the time to the others

    def look(self) -> None:
        """Check that the database answers, and could write."""
        self._database.run(self._sql.look, {}, harmless_twice=True)

    def records(self) -> Iterator[SessionRecord]:
        """Yield the live sessions of every key, a page at a time."""
        page: Sequence[Row[Any]] | None = None
        while page is None or len(page) == PAGE:
            values = {"the_id": page[-1].id_hash if page else "", "now": self.clock()}
            page = self._database.rows(self._sql.page, values)
            for row in page:
                with self.leave_out_damaged():
                    yield self._record_of(row)

    def restore(self, records: Sequence[SessionRecord]) -> int:
        """Insert rows, as many in a statement as the database takes."""
        now = self.clock()
        live = [record for record in records if not record.ended(now)]
        rows = [row_of(self.place_of(record), record) for record in live]
        return self._database.run(self._sql.restore, rows) if rows else 0

    def diagnose(self) -> Iterator[tuple[str, str, str]]:
        """Report which server it is, and whether others can listen."""
        return self._database.diagnose()

    def close(self) -> None:
        """Close the connections, unless the engine is the caller's."""
        self._database.close()

    def _keeps_its_rows(self) -> JamStoreUnavailable:
        return JamStoreUnavailable(
            f"The session store ({self._database}) keeps rows that were deleted, so the sessions "
            "do not end. Remove the trigger or rule on the table that forbids DELETE."
        )

    def _record_of(self, row: Row[Any]) -> SessionRecord:
        try:
            return record_of(row)
        except UnicodeDecodeError:
            fault = "has a session_key that cannot be read. It was left as it is."
        # Not chained: the cause contains the key.
        raise JamSessionCorrupt(f"{self.where(row.id_hash)} {fault}")

    def _now(self, values: dict[str, Any]) -> Callable[[], dict[str, Any]]:
        """Return a function that adds the time to parameters, once there is a connection.

        Otherwise, a session that ended while waiting for one would live again.
        """
        return lambda: {**values, "now": self.clock()}

    def __repr__(self) -> str:
        return f"<SQLAlchemySessions in {self._database}>"


def _living(row: Row[Any] | None, now: float) -> Row[Any] | None:
    return row if row and (row.expires_at is None or row.expires_at > now) else None
