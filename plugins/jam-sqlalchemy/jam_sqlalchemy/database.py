"""The database as the store sees it: statements go in, rows or their number come out."""

import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import CursorResult, Engine, Executable, Row, Table

from jam_core import JamConfigurationError, JamStoreUnavailable, awaited, in_thread, pause
from jam_sqlalchemy.engine import (
    check_mysql_connection,
    describe,
    may_be_plaintext,
    may_miss_rows,
    options_in_force,
)
from jam_sqlalchemy.errors import (
    IdTakenError,
    explained,
    explained_at_start,
    foreign,
    may_repeat,
    reads_only,
)
from jam_sqlalchemy.exchange import Exchange, Values
from jam_sqlalchemy.source import Source
from jam_sqlalchemy.table import prepare_table

_Outcome = TypeVar("_Outcome")


class Database:
    """A database with the table of sessions in it.

    Each statement is committed on its own, and executed again where that is safe and may help.
    Whatever goes wrong is a JamError.

    Args:
        source: Where the engines come from.
        table: The table.
        create_table: Whether to create it, or what it lacks.

    Attributes:
        dialect: The name of its dialect.
        is_in_memory: Whether it ends with its connection.
        is_awaited: Whether event loops need no threads for it.
        in_force: The options of its pool in force, no matter who set them.
        may_miss_rows: Whether a DELETE that waited may have missed rows.

    Raises:
        JamConfigurationError: It, or its table, cannot be used as it is.
        JamStoreUnavailable: It cannot be reached, or does not allow it.
    """

    def __init__(self, source: Source, table: Table, *, create_table: bool) -> None:
        self._table = table
        self._is_closed = False
        self._source = source
        self.dialect = source.dialect
        self.is_in_memory = source.is_in_memory
        self.is_awaited = source.is_awaited
        self.in_force = options_in_force(source.plain)
        self._name = f"The session store ({self})"
        source.check_place()
        self._prepare(create=create_table)

    def rows(self, statement: Executable, values: Values) -> Sequence[Row[Any]]:
        """Execute a statement that selects rows, and return them.

        Raises:
            JamStoreUnavailable: It could not be executed.
        """
        return self._execute(statement, values, CursorResult.all, harmless_twice=True)

    def run(self, statement: Executable, values: Values, *, harmless_twice: bool = False) -> int:
        """Execute a statement that changes rows, and return how many; 0 if an id is taken.

        Args:
            statement: The statement.
            values: Its parameters; a list: execute it with each; a function, for parameters that
                must be up to date: it is called at each attempt.
            harmless_twice: Whether executing it twice does no more than executing it once.

        Raises:
            JamSessionDataError: The database does not accept the data.
            JamStoreUnavailable: It could not be executed; or nobody knows whether it was.
        """
        outcome = _count_many if isinstance(values, list) else _count
        try:
            return self._execute(statement, values, outcome, harmless_twice)
        except IdTakenError:
            return 0

    def diagnose(self) -> Iterator[tuple[str, str, str]]:
        """Report which server it is, and whether others can listen."""
        url = self._source.url
        if may_be_plaintext(url):
            yield (
                "plaintext",
                f"No setting requires the connection to {url.host} to be encrypted.",
                "Use TLS: sslmode=verify-full in the URL of PostgreSQL, ssl_ca=... for MariaDB.",
            )
        version = ".".join(map(str, self._version or ()))
        yield "server", f"{self.dialect} {version}".strip(), ""

    def close(self) -> None:
        """Close the connections, unless the engine is the caller's."""
        # In an event loop this closes only what belongs to that loop; others may be at work.
        self._is_closed = not awaited()
        self._exchange.close()

    def __str__(self) -> str:
        return f"table {self._table.fullname}, {describe(self._source.url)}"

    def _prepare(self, *, create: bool) -> None:
        failure: BaseException
        try:
            self._exchange = Exchange(self._source)
            self._exchange.prepare(partial(self._prepare_table, create=create))
        except JamConfigurationError as error:
            failure = error
        except Exception as error:
            failure = foreign(error) or explained_at_start(error, self._name)
        else:
            return
        if hasattr(self, "_exchange"):
            self.close()
        # Raised here, so that it does not carry SQLAlchemy's error as its context.
        raise failure

    def _prepare_table(self, engine: Engine, *, create: bool) -> None:
        self._largest = check_mysql_connection(engine)
        prepare_table(engine, self._table, create=create)
        self.may_miss_rows = may_miss_rows(engine)
        self._version = engine.dialect.server_version_info

    def _execute(
        self,
        statement: Executable,
        values: Values,
        outcome: Callable[[CursorResult[Any]], _Outcome],
        harmless_twice: bool,
    ) -> _Outcome:
        if self._is_closed:
            raise JamStoreUnavailable(f"{self._name} is closed.")
        attempt = 0
        while True:
            attempt += 1
            try:
                return self._exchange.run(statement, values, outcome)
            except Exception as error:
                failure = self._verdict(error, attempt, harmless_twice=harmless_twice)
            if failure is not None:
                try:
                    raise failure  # out here, so that SQLAlchemy's is not its context
                finally:
                    del failure  # it refers to this frame, and would live until garbage collection
            # A random moment, so that those in conflict do not collide again.
            pause(random.uniform(0, 0.001 * attempt))  # noqa: S311

    def _verdict(
        self, error: Exception, attempt: int, *, harmless_twice: bool
    ) -> BaseException | None:
        """Return what to raise for a statement that failed; None: execute it again."""
        struck_by = foreign(error)
        if struck_by is not None:
            return struck_by
        if reads_only(error):
            self._exchange.forget()
        if may_repeat(error, attempt, harmless=harmless_twice):
            return None
        return explained(error, self._name, self._largest)


def open_database(
    database_uri: object, table: Table, *, create_table: bool, **engine_options: Any
) -> Database:
    """Open a database, without blocking the event loop under `jam.aio`.

    Args:
        database_uri: Its URL, or a ready engine.
        table: The table.
        create_table: Whether to create it, or what it lacks.
        **engine_options: Options of `create_engine`; None: not given.

    Raises:
        JamConfigurationError: It, or its table, cannot be used as it is.
        JamStoreUnavailable: It cannot be reached, or does not allow it.
    """
    # Importing a driver takes time.
    source = in_thread(Source, database_uri, engine_options, create=create_table)
    if source.is_awaited:
        return Database(source, table, create_table=create_table)
    return in_thread(Database, source, table, create_table=create_table)


def _count(result: CursorResult[Any]) -> int:
    return result.rowcount


def _count_many(result: CursorResult[Any]) -> int:
    return len(result.all()) if result.returns_rows else result.rowcount
