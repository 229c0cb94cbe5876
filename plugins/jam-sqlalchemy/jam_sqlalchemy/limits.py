"""A time limit on the client's side for psycopg, whose connections have none.

The server's own limits do not help if a pooler waits for a server that is down.
"""

import time
from collections.abc import Generator
from functools import cache
from inspect import signature
from typing import Any, TypeVar

from sqlalchemy import Dialect

from jam_sqlalchemy.errors import HangingError

READ_TIMEOUT = "read_timeout"  # seconds; the name that PyMySQL uses for its own

_Value = TypeVar("_Value")


def connect_with_limit(dialect: Dialect, arguments: list[Any], options: dict[str, Any]) -> Any:
    """Connect with psycopg as SQLAlchemy would; `read_timeout` limits every answer."""
    # A copy: SQLAlchemy passes the same dict again for the next connection.
    given = {name: value for name, value in options.items() if name != READ_TIMEOUT}
    connection = _limited(dialect.loaded_dbapi.Connection).connect(*arguments, **given)
    connection.read_timeout = float(options[READ_TIMEOUT])
    return connection


@cache
def _limited(kind: Any) -> Any:
    known = signature(kind.wait).parameters
    # From psycopg 3.3 on. The timeout of 3.1 alone is what later ones call interval.
    has_limit = "interval" in known and "timeout" in known

    class LimitedConnection(kind):  # type: ignore[misc]
        read_timeout = float("inf")

        def _wait_with_limit(
            self, answer: Generator[Any, Any, Any], interval: float = 0.1, timeout: Any = None
        ) -> Any:
            limit = self.read_timeout if timeout is None else timeout
            try:
                return super().wait(answer, interval, limit)
            except Exception as error:
                if type(error).__name__ == "_WaitTimeout" and timeout is None:
                    raise HangingError from error
                raise

        def _wait(self, answer: Generator[Any, Any, Any], *args: Any, **more: Any) -> Any:
            return super().wait(_within(self.read_timeout, answer), *args, **more)

        wait = _wait_with_limit if has_limit else _wait

        def __del__(self) -> None:
            """Let libpq close what an interrupt left behind; psycopg would warn about it."""

    return LimitedConnection


def _within(limit: float, answer: Generator[Any, Any, _Value]) -> Generator[Any, Any, _Value]:
    """Pass on what psycopg's generator waits for, until it is done or the time is up."""
    give_up_at = time.monotonic() + limit
    ready = None  # psycopg asks ten times a second, from 3.2.11 on
    while True:
        try:
            awaited = answer.send(ready)
        except StopIteration as end:
            value: _Value = end.value
            return value
        ready = yield awaited
        if not ready and time.monotonic() >= give_up_at:
            raise HangingError
