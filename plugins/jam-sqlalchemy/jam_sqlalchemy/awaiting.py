"""Drivers that must be awaited: SQLAlchemy's plain code on top of them, in any event loop.

SQLAlchemy itself suspends a greenlet when such a driver waits. This module provides one: in the
caller's event loop under `jam.aio`, otherwise in the background loop of the process.
"""

from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from sqlalchemy import Engine, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from jam_core import wait
from jam_sqlalchemy.errors import HangingError
from jam_sqlalchemy.pool import has_spoken

_Result = TypeVar("_Result")


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
    called = _called(call, limit)
    return wait(_to_the_end(called) if engine.dialect.driver == "aiosqlite" else called)


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


async def _called(call: Callable[[], _Result], limit: float | None) -> _Result:
    import asyncio

    from sqlalchemy.util import greenlet_spawn  # needs greenlet, as only asyncio drivers do

    timeout = asyncio.timeout(limit)
    try:
        async with timeout:
            result: _Result = await greenlet_spawn(call)
            return result
    except TimeoutError:
        if not timeout.expired():
            raise
    raise HangingError  # out here, so that the cancellation is not its context


def replace_what_was_closed(engine: Engine) -> None:
    """Let an engine of an awaited driver connect again if the server closed a connection."""
    event.listen(engine, "checkout", _refuse_what_was_closed)


def _refuse_what_was_closed(
    connection: Any, _: ConnectionPoolEntry, __: PoolProxiedConnection
) -> None:
    if has_spoken(connection.driver_connection):
        raise DisconnectionError


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
