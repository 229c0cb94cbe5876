"""Drivers that must be awaited: SQLAlchemy's plain code on top of them, in any event loop.

SQLAlchemy itself suspends a greenlet when such a driver waits. This module provides one: in the
caller's event loop under `jam.aio`, otherwise in the background loop of the process.
"""

import time
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from math import inf
from types import coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Engine, event
from sqlalchemy.pool import ConnectionPoolEntry

from jam_core import wait
from jam_sqlalchemy.errors import HangingError

if TYPE_CHECKING:
    import asyncio

_Result = TypeVar("_Result")

_PATIENCE = 1.0  # seconds; for taking leave of a server that may hang


def call_on(engine: Engine, call: Callable[[], _Result], limit: float | None = None) -> _Result:
    """Call something that uses an engine, where the engine's driver can be awaited.

    Args:
        engine: The engine.
        call: Called without arguments.
        limit: How many seconds it may take, if the driver is awaited; None: no limit.

    Raises:
        HangingError: It took longer, and was cancelled.
    """
    if not engine.dialect.is_async:
        return call()
    if engine.dialect.driver == "aiosqlite":
        return wait(_to_the_end(_called(call, limit)))
    return wait(_called(call, limit, _PATIENCE))


async def _to_the_end(called: Coroutine[Any, Any, _Result]) -> _Result:
    """Await what works in a thread, which goes on if this is cancelled a second time.

    A late write would be carried out over what its caller, let go, has written since.
    """
    import asyncio

    task = asyncio.ensure_future(called)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.cancel()
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        raise


async def _called(
    call: Callable[[], _Result], limit: float | None, patience: float | None = None
) -> _Result:
    import asyncio

    from sqlalchemy.util import greenlet_spawn  # needs greenlet, as only asyncio drivers do

    timeout = asyncio.timeout(limit)
    try:
        async with timeout, asyncio.timeout(None) as leave:
            work = greenlet_spawn(call)
            return await (work if patience is None else _without_long_leave(work, leave, patience))
    except TimeoutError:
        if not timeout.expired():
            raise
    raise HangingError  # out here, so that the cancellation is not its context


@coroutine
def _without_long_leave(
    work: Coroutine[Any, Any, _Result], leave: "asyncio.Timeout", patience: float
) -> Generator[Any, Any, _Result]:
    """Await something; if it is cancelled, let it last a moment longer, and no more.

    Drivers first ask the server to drop the statement. If that hangs, psycopg waits 10 seconds for
    it, asyncpg 2; when they are cancelled once more, they close the connection at once.

    Args:
        work: What to await.
        leave: Cancels the task when its time has come; until then, it has none.
        patience: How many seconds it may last once it is cancelled.
    """
    from asyncio import CancelledError, get_running_loop

    step: Callable[[Any], Any] = work.send
    outcome: Any = None
    try:
        while True:
            try:
                awaited = step(outcome)
            except StopIteration as end:
                result: _Result = end.value
                return result
            try:
                step, outcome = work.send, (yield awaited)
            except BaseException as error:
                if isinstance(error, CancelledError) and leave.when() is None:
                    leave.reschedule(get_running_loop().time() + patience)
                step, outcome = work.throw, error
    finally:
        del outcome  # its traceback leads here: a cycle


def close_in_time(engine: Engine) -> None:
    """Do not let asyncpg wait for ever until a server that hangs has closed a connection."""
    if engine.dialect.driver == "asyncpg":
        event.listen(engine, "close", _Leave())


class _Leave:
    """Takes leave of the server before a connection to it is closed."""

    def __init__(self) -> None:
        self._hung_at = -inf

    def __call__(self, connection: Any, _: ConnectionPoolEntry) -> None:
        from sqlalchemy.util import await_only

        # Connections that are closed one after another share the time.
        patience = 0.0 if time.monotonic() - self._hung_at < _PATIENCE else _PATIENCE
        with suppress(Exception):  # whatever it meets, asyncpg closes it
            try:
                await_only(connection.driver_connection.close(timeout=patience))
            except TimeoutError:
                self._hung_at = time.monotonic()


class HiddenParameters(tuple[Any, ...]):
    """The parameters of a statement, which aiosqlite would write to its debug log."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "(...)"


def hide_parameters(engine: Engine) -> None:
    """Keep the parameters of an engine's statements out of its driver's log."""
    event.listen(engine, "before_cursor_execute", _hidden, retval=True)


def _hidden(
    _: object, __: object, statement: str, parameters: Any, ___: object, ____: object
) -> tuple[str, Any]:
    # Several rows for one statement come as a list of tuples, or as one tuple for all of them.
    if isinstance(parameters, list):
        return statement, [HiddenParameters(one) for one in parameters]
    return statement, HiddenParameters(parameters)
