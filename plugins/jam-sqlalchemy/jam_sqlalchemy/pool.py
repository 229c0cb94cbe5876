"""A pool of connections that stays intact after an exception at any line."""

import select
import time
import weakref
from queue import Empty, SimpleQueue
from threading import Lock
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlalchemy.pool import ConnectionPoolEntry, Pool

USE = "jam's use"
_PLACE = "jam's place"
_RETURNED = "when jam returned it"
_LOOK_AFTER = 0.05  # seconds; each look costs a system call
_LOOK_AGAIN = 0.005  # seconds; a waiting thread then looks for places that were lost


class Use:
    """One use of a connection, whose `info` has it under `USE`.

    Attributes:
        has_begun: Whether there was a connection for it.
        is_over: Whether the whole answer has been read.
        struck_by: An exception that struck while SQLAlchemy took the connection back, and that it
            did not pass on.
    """

    has_begun = False
    is_over = False
    struck_by: BaseException | None = None


class _Place:
    """One of the pool's places: taken for as long as this object lives."""

    __slots__ = ("__weakref__",)


class SessionPool(Pool):
    """Keeps connections in a queue, and counts the places that exist.

    SQLAlchemy's QueuePool keeps a number and a lock in Python. A signal handler that raises
    between two of its lines leaves a place taken for ever, or the lock held. Here every step that
    matters is one call into C; a connection that gets lost on the way is garbage: it is closed and
    no longer counted. The options and the errors are the same.
    """

    def __init__(
        self,
        creator: Any,
        pool_size: int = 5,
        max_overflow: int = 10,
        timeout: float = 30.0,
        **options: Any,
    ) -> None:
        super().__init__(creator, **options)
        self._size = pool_size
        self._limit = pool_size + max_overflow if pool_size and max_overflow >= 0 else None
        self._overflow = max_overflow
        self._timeout = timeout
        self._idle: SimpleQueue[ConnectionPoolEntry] = SimpleQueue()
        self._places: list[weakref.ref[_Place]] = []
        self._counting = Lock()
        self._is_halted = False

    def in_force(self) -> dict[str, Any]:
        """Return the options in force."""
        return {
            "pool_size": self._size,
            "max_overflow": self._overflow,
            "pool_timeout": self._timeout,
            "pool_recycle": None if self._recycle < 0 else self._recycle,
            "pool_pre_ping": self._pre_ping,
        }

    def _do_get(self) -> ConnectionPoolEntry:
        give_up_at: float | None = None
        while True:
            record = None if self._is_halted else self._idle_one(wait=give_up_at) or self._new_one()
            if record is not None:
                if not self._is_halted:
                    return record
                self._do_return_conn(record)
            now = time.monotonic()
            if give_up_at is None:
                give_up_at = now + self._timeout
            elif now >= give_up_at:
                raise NoConnectionFree(f"None of {self._limit} connections became free.")
            # Lets the others work even if gevent patched the process after our import.
            time.sleep(_LOOK_AGAIN if self._is_halted else 0)

    def _idle_one(self, *, wait: object) -> ConnectionPoolEntry | None:
        try:
            record = self._idle.get(timeout=_LOOK_AGAIN) if wait else self._idle.get_nowait()
        except Empty:
            return None
        info = record.record_info
        was_idle = info is not None and time.monotonic() - info[_RETURNED] > _LOOK_AFTER
        if was_idle and has_spoken(record.dbapi_connection):
            record.close()  # it will connect again
        return record

    def _new_one(self) -> ConnectionPoolEntry | None:
        place = self._free_place()
        if place is None:
            return None
        try:
            record = self._create_connection()
        except BaseException:
            place = None  # a traceback must not keep this one alive
            raise
        if record.record_info is not None:  # it exists as long as the record
            record.record_info[_PLACE] = place
        return record

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        close_if_unfinished(None, record)
        if self._size and self._idle.qsize() >= self._size:
            record.close()
        info = record.record_info
        if info is None:
            return  # it never is, but the type says it may be
        if record.dbapi_connection is not None:
            info[_RETURNED] = time.monotonic()
            self._idle.put(record)
        else:
            info.pop(_PLACE, None)  # a traceback may keep the record alive, but not its place

    def _free_place(self) -> _Place | None:
        with self._counting:
            places = [place for place in self._places if place() is not None]
            if self._limit is not None and len(places) >= self._limit:
                return None
            place = _Place()
            self._places = [*places, weakref.ref(place)]
            return place

    def dispose(self) -> None:
        """Close the idle connections."""
        while True:
            try:
                record = self._idle.get_nowait()
            except Empty:
                return
            record.close()

    def halt(self, patience: float) -> None:
        """Stop giving out connections, wait until those in use are returned, and close them all.

        Args:
            patience: How many seconds to wait at most.
        """
        self._is_halted = True
        give_up_at = time.monotonic() + patience
        while self.checkedout() and time.monotonic() < give_up_at:
            time.sleep(0.001)
        self.dispose()

    def resume(self) -> None:
        """Give connections out again."""
        self._is_halted = False

    def recreate(self) -> "SessionPool":
        """Return an empty pool like this one."""
        overflow = -1 if self._limit is None else self._limit - self._size
        return SessionPool(
            self._creator,
            pool_size=self._size,
            max_overflow=overflow,
            timeout=self._timeout,
            recycle=self._recycle,
            echo=self.echo,
            pre_ping=self._pre_ping,
            logging_name=self._orig_logging_name,
            reset_on_return=self._reset_on_return,
            _dispatch=self.dispatch,
            dialect=self._dialect,
        )

    def checkedout(self) -> int:
        """Return how many connections are in use."""
        return sum(place() is not None for place in self._places) - self._idle.qsize()

    def status(self) -> str:
        """Describe the pool in a line, for logs."""
        return f"{self._idle.qsize()} connections idle, {self.checkedout()} in use"


def close_if_unfinished(_: object, record: ConnectionPoolEntry) -> None:
    """Keep a connection that was left in the middle of a use out of its pool."""
    use = record.info.get(USE)
    if use is not None and not use.is_over:
        record.invalidate()


def replace_what_was_closed(engine: Engine) -> None:
    """Let an engine with another pool connect again if the server closed a connection."""
    event.listen(engine, "checkout", _refuse_what_was_closed)


def _refuse_what_was_closed(_: object, record: ConnectionPoolEntry, __: object) -> None:
    if has_spoken(record.driver_connection):
        raise DisconnectionError  # the pool takes another


def has_spoken(connection: Any) -> bool:
    """Tell whether the server has sent something unasked, as it does when it closes.

    So a restart, or a limit on idle connections, does not fail an operation, not even a write. Nor
    is a connection used that, for whatever reason, still has an answer to come.
    """
    # The first three are always reading, but not while their event loop does not run.
    if hasattr(connection, "is_closed"):  # asyncpg
        descriptor = -1 if connection.is_closed() else _descriptor(connection._transport)
    elif hasattr(connection, "_transport"):  # asyncmy
        descriptor = _descriptor(connection._transport)
    elif hasattr(connection, "_reader"):  # aiomysql
        is_over = connection._reader is None or connection._reader.at_eof()
        descriptor = -1 if is_over else _descriptor(connection._writer.transport)
    elif hasattr(connection, "_sock"):  # PyMySQL
        descriptor = -1 if connection._sock is None else connection._sock.fileno()
    elif hasattr(connection, "fileno"):  # psycopg, psycopg2, mysqlclient
        descriptor = -1 if getattr(connection, "closed", False) else connection.fileno()
    else:
        return False
    if descriptor < 0:
        return True
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def _descriptor(transport: Any) -> int:
    """Return the descriptor of a transport of asyncio, -1 if it is closed."""
    if transport is None or transport.is_closing():
        return -1
    return int(transport.get_extra_info("socket").fileno())
