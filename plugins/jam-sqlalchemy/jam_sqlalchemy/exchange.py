"""The only way from the store to its database, and what happens to the connection.

An exception may strike at any line: a time limit's signal handler raises, somebody presses
Ctrl-C, a greenlet is killed. An answer may still be on its way to the connection that was in use.
The next caller would take that for its own: somebody else's session. So the connection is closed
and not used again. Each way out of `Exchange.run` gives the connection back at most once, since
another thread may be using it afterwards.
"""

import ctypes
from collections.abc import Callable
from functools import partial
from threading import RLock
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import (
    Connection,
    CursorResult,
    Dialect,
    Engine,
    Executable,
    QueuePool,
    StaticPool,
    event,
)
from sqlalchemy.pool import ConnectionPoolEntry, Pool

from jam_core import PerLoop, PerProcess
from jam_sqlalchemy.awaiting import call_on
from jam_sqlalchemy.engine import is_in_memory
from jam_sqlalchemy.errors import HangingError, UnsentError, foreign, leaves_no_doubt
from jam_sqlalchemy.pool import USE, SessionPool, Use, close_if_unfinished, replace_what_was_closed
from jam_sqlalchemy.source import Source
from jam_sqlalchemy.sqlite import close_idle, end_memory
from jam_sqlalchemy.texts import Parameters, Texts

_Outcome = TypeVar("_Outcome")
# The parameters of a statement; a list: those of each execution; or a function that returns them.
Values = Parameters | list[Parameters] | Callable[[], Parameters]


class Exchange:
    """Executes statements, in any process, thread and event loop.

    Args:
        source: Where the engines come from.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        # The only connection to a database in memory is the database; and it cannot have an answer
        # still on its way.
        self._must_keep = source.is_in_memory
        if not source.is_ours:
            alone: Callable[[], Engine] = partial(committing_alone, source.plain)
            source.plain = call_on(source.plain, alone, source.limit)
        self._here = PerLoop(self._open, _let_go, self._close)
        self._here()
        shares_connection = not source.is_awaited and isinstance(source.plain.pool, StaticPool)
        self._turns = _turns_of(source.plain) if shares_connection else None

    def prepare(self, work: Callable[[Engine], _Outcome]) -> _Outcome:
        """Return what `work` makes of the engine, which may connect."""
        engine = self._here().engine
        return call_on(engine, partial(work, engine), self._source.limit)

    def run(
        self,
        statement: Executable,
        values: Values,
        outcome: Callable[[CursorResult[Any]], _Outcome],
    ) -> _Outcome:
        """Execute a statement and return what `outcome` makes of its result.

        Args:
            statement: The statement.
            values: Its parameters, or a function that returns them, which is called once there is a
                connection: the wait for one may be long.
            outcome: Reads the result.
        """
        here, use = self._here(), Use()
        if here.engine.dialect.is_async:
            work: Callable[[], _Outcome] = partial(
                here.use, self._run, use, statement, values, outcome
            )
            try:
                return call_on(here.engine, work, self._source.limit)
            except HangingError:
                if use.has_begun:
                    raise
            raise UnsentError
        if self._turns is None:
            return self._run(here, use, statement, values, outcome)
        with self._turns():
            return self._run(here, use, statement, values, outcome)

    def forget(self) -> None:
        """Close the idle connections: their server can no longer be used."""
        if not self._must_keep:
            engine = self._here().engine
            call_on(engine, engine.dispose)

    def close(self) -> None:
        """Close the connections, unless the engine is the caller's."""
        here = self._here.discard()
        if here is not None:
            self._close(here)
        if self._source.is_ours:
            end_memory(self._source.plain)

    def _close(self, here: "_Open") -> None:
        if self._source.is_ours:
            call_on(here.engine, here.close)

    def _open(self) -> "_Open":
        engine = self._source.engine()
        if not (self._must_keep or isinstance(engine.pool, StaticPool)):
            _watch(engine)
            if not self._source.is_ours:
                replace_what_was_closed(engine)
        return _Open(engine)

    def _run(
        self,
        here: "_Open",
        use: Use,
        statement: Executable,
        values: Values,
        outcome: Callable[[CursorResult[Any]], _Outcome],
    ) -> _Outcome:
        engine = here.engine
        connection: Connection | None = None
        is_returned = False
        try:
            connection = engine.connect()
            connection.info[USE] = use
            use.has_begun = True
            parameters = values() if callable(values) else values
            if self._source.is_ours and isinstance(parameters, dict):
                answer = here.texts.execute(connection, statement, parameters)
            else:  # many rows; or a caller's engine, which may translate schemas, or be listened to
                answer = connection.execute(statement, parameters)
            result = outcome(answer)
            if not self._source.is_ours and engine.dispatch.begin:  # it may begin a transaction
                connection.commit()
            use.is_over = is_returned = True
            connection.close()
        except BaseException as error:
            if connection is not None and not is_returned:
                is_returned = True
                if self._must_keep or leaves_no_doubt(error):
                    use.is_over = True
                    connection.close()
                else:
                    connection.invalidate(error)
            elif foreign(error) and type(engine.pool) is QueuePool:
                # It struck inside SQLAlchemy's pool, whose count may now be wrong for good. (Not in
                # the pool for event loops: a cancellation strikes only where it waits.)
                engine.dispose()
            raise
        struck_by = use.struck_by and foreign(use.struck_by)
        if struck_by:
            raise struck_by
        return result


class _Open:
    """An engine with what has been compiled for it, which is closed once nobody uses it.

    Uses are counted for awaited drivers: with them, nothing else tells what is still under way, and
    everything runs in one thread.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.texts = Texts()
        self._uses = 0
        self._is_closed = False

    def use(self, call: Callable[..., _Outcome], *args: Any) -> _Outcome:
        """Call something that uses the engine, with this as the first argument."""
        self._uses += 1
        try:
            return call(self, *args)
        finally:
            self._uses -= 1
            if self._is_closed:
                self.close()

    def close(self) -> None:
        """Close the connections, once all of them are idle."""
        self._is_closed = True
        if not self._uses:
            self.engine.dispose()


def committing_alone(engine: Engine) -> Engine:
    """Return a view of a caller's engine that commits each statement on its own.

    The view shares the pool. It sets each connection to autocommit and back again, which costs
    round trips with some drivers, unless the engine is set to autocommit already.
    """
    with engine.connect() as connection:
        driver_connection = connection.connection.dbapi_connection
        commits = driver_connection and engine.dialect.detect_autocommit_setting(driver_connection)
    if commits:
        return engine
    view = engine.execution_options(isolation_level="AUTOCOMMIT")
    # Before the connection is set to autocommit: an exception may strike there, too.
    event.listen(view, "engine_connect", _begin_use, insert=True)
    return view


def _begin_use(connection: Connection) -> None:
    connection.info[USE] = Use()


def _watch(engine: Engine) -> None:
    if not isinstance(engine.pool, SessionPool):  # which looks itself
        event.listen(engine, "checkin", close_if_unfinished)
    event.listen(engine, "invalidate", _remember_what_struck)


def _remember_what_struck(
    _: object, record: ConnectionPoolEntry, error: BaseException | None
) -> None:
    use = record.info.get(USE)
    if use is not None:
        use.struck_by = error


_locks: WeakKeyDictionary[Dialect, PerProcess[Any]] = WeakKeyDictionary()


def _turns_of(engine: Engine) -> PerProcess[Any]:
    """Return the lock of an engine, and of its views, whose threads share one connection."""
    return _locks.setdefault(engine.dialect, PerProcess(RLock))


_inherited: list[Pool] = []


def _let_go(inherited: _Open) -> None:
    """Drop the connections of the process that forked this one, without telling the server."""
    engine = inherited.engine
    if is_in_memory(engine.url):
        return  # a copy, which is this process's own
    pool = engine.pool
    _inherited.append(pool)
    # Kept for good: the destructor of mysqlclient's connections tells the server to end them.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(pool))
    # SQLite takes inherited locks for its own until it has closed its connections; closing them
    # leaves the parent's locks alone (https://www.sqlite.org/howtocorrupt.html, 2.6).
    close_idle(engine)
    engine.dispose(close=engine.dialect.name == "sqlite" and not engine.dialect.is_async)
