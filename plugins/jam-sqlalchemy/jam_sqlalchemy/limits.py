"""A time limit on the client's side for psycopg, whose connections have none.

The server's own limits do not help if a pooler waits for a server that is down.
"""

import time
from collections.abc import Callable, Coroutine, Generator
from functools import cache
from inspect import signature
from typing import Any, TypeVar

from sqlalchemy import Dialect

from jam_sqlalchemy.errors import HangingError

READ_TIMEOUT = "read_timeout"  # seconds; the name that PyMySQL uses for its own
_PATIENCE = 2.0  # seconds that a server has to cancel a statement

_Value = TypeVar("_Value")


def connect_with_limit(dialect: Dialect, arguments: list[Any], options: dict[str, Any]) -> Any:
    """Connect with psycopg as SQLAlchemy would.

    `read_timeout` among the options limits the wait for every answer. An awaited connection has its
    limit from who awaits; here, it obeys soon.
    """
    if dialect.is_async:
        from psycopg import AsyncConnection

        creator = {"async_creator_fn": _obeying(AsyncConnection).connect}
        return dialect.connect(*arguments, **{**creator, **options})
    # A copy: SQLAlchemy passes the same dict again for the next connection.
    given = {name: value for name, value in options.items() if name != READ_TIMEOUT}
    connection = _limited(dialect.loaded_dbapi.Connection).connect(*arguments, **given)
    connection.read_timeout = float(options[READ_TIMEOUT])
    return connection


@cache
def _limited(kind: Any) -> Any:
    has_limit = "timeout" in signature(kind.wait).parameters  # from psycopg 3.3 on

    class LimitedConnection(kind):  # type: ignore[misc]
        read_timeout = float("inf")

        def wait(
            self, answer: Generator[Any, Any, _Value], *args: Any, timeout: Any = None, **more: Any
        ) -> Any:
            if not has_limit:
                return super().wait(_within(self.read_timeout, answer), *args, **more)
            limit = self.read_timeout if timeout is None else timeout
            try:
                return super().wait(answer, *args, timeout=limit, **more)
            except Exception as error:
                if type(error).__name__ == "_WaitTimeout" and timeout is None:
                    raise HangingError from error
                raise

        def __del__(self) -> None:
            """Let libpq close what an interrupt left behind; psycopg would warn about it."""

    return LimitedConnection


@cache
def _obeying(kind: Any) -> Any:
    """Return a kind of awaited connection that gives up soon if it is cancelled.

    psycopg waits ten seconds for the server to cancel the statement; some versions, for ever.
    """
    import asyncio

    from psycopg.pq import TransactionStatus
    from psycopg.waiting import wait_async

    wait: Callable[..., Coroutine[Any, Any, Any]] = wait_async
    defaults = {
        name: parameter.default
        for name, parameter in [*signature(kind.wait).parameters.items()][2:]
    }

    class ObeyingConnection(kind):  # type: ignore[misc]
        async def wait(self, answer: Generator[Any, Any, _Value], **options: Any) -> Any:
            options = {**defaults, **options}
            try:
                return await wait(answer, self.pgconn.socket, **options)
            except (asyncio.CancelledError, KeyboardInterrupt):
                try:
                    if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                        async with asyncio.timeout(_PATIENCE):
                            # Else it could be carried out after what its caller does next.
                            await self.cancel_safe(timeout=_PATIENCE)
                            await wait(answer, self.pgconn.socket, **options)
                except Exception:  # noqa: S110  (the server is silent, or says that it cancelled)
                    pass
                finally:
                    self.pgconn.finish()
                raise

    return ObeyingConnection


def _within(limit: float, answer: Generator[Any, Any, _Value]) -> Generator[Any, Any, _Value]:
    """Pass on what psycopg's generator waits for, until it is done or the time is up."""
    give_up_at = time.monotonic() + limit
    ready = None  # psycopg asks ten times a second
    while True:
        try:
            awaited = answer.send(ready)
        except StopIteration as end:
            value: _Value = end.value
            return value
        ready = yield awaited
        if not ready and time.monotonic() >= give_up_at:
            raise HangingError
