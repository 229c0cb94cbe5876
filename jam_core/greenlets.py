"""Runs plain code in an event loop: where it waits, the coroutine that runs it is suspended.

The code runs in a greenlet. What it wants to wait for is handed to the coroutine, which awaits it
and hands back the outcome. SQLAlchemy's asyncio does the same, and its own waiting works in here,
too. Greenlets are kept for the next call, since making one costs as much as a read from Redis.
"""

import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

from greenlet import error as GreenletError  # noqa: N812
from greenlet import getcurrent, greenlet

from jam_core import waiting

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

_MOST_IDLE = 256  # greenlets kept by a thread


_DONE: Any = object()  # what an operation hands over in the end, instead of an awaitable


class _Operation(greenlet):
    """Runs one call after another, each until it is done.

    Attributes:
        result: What the call returned.
        failure: What it raised.
    """

    __sqlalchemy_greenlet_provider__ = True  # lets SQLAlchemy's await_only suspend it

    result: Any = None
    failure: BaseException | None = None

    def __init__(self) -> None:
        super().__init__(_run_calls)


def _run_calls(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    while True:
        operation: Any = getcurrent()
        try:
            operation.result = function(*args, **kwargs)
        except BaseException as error:
            operation.failure = error
        # While it is idle, nothing here may refer to the operation, or it could not be ended with
        # its thread. The rest holds ids and data.
        del operation, function, args, kwargs
        function, args, kwargs = getcurrent().parent.switch(_DONE)  # type: ignore[union-attr]


class _Idle(threading.local):
    """The idle greenlets of a thread: they cannot go to another thread."""

    def __init__(self) -> None:
        self.operations: list[_Operation] = []


_idle = _Idle()


def in_operation() -> bool:
    """Tell whether the running code can be suspended."""
    return isinstance(getcurrent(), _Operation)


def suspend(awaitable: Awaitable[Any]) -> Any:
    """Let the coroutine that runs this operation await something; return its result."""
    driver = getcurrent().parent
    assert driver is not None  # only the greenlet of a thread has none  # noqa: S101
    return driver.switch(awaitable)


async def run(
    function: Callable[_Arguments, _Result],
    *args: _Arguments.args,
    **kwargs: _Arguments.kwargs,
) -> _Result:
    """Run a plain function, awaiting whatever it waits for; context variables are the caller's."""
    operation = _idle.operations.pop() if _idle.operations else _Operation()
    operation.parent = driver = getcurrent()
    operation.gr_context = driver.gr_context
    step = operation.switch(function, args, kwargs)
    while step is not _DONE:
        try:
            outcome = await step
        except GeneratorExit:
            # The coroutine is closed: nothing can be awaited any more.
            _abandon(operation)
            raise
        except BaseException as error:
            operation.parent = getcurrent()
            step = operation.throw(type(error), error, error.__traceback__)
        else:
            # Not always the one that started it: a task may start eagerly, in another operation.
            operation.parent = getcurrent()
            step = operation.switch(outcome)
    result: _Result = operation.result
    failure = operation.failure
    operation.result = operation.failure = operation.gr_context = None
    if len(_idle.operations) < _MOST_IDLE:
        _idle.operations.append(operation)
    if failure is not None:
        try:
            raise failure
        finally:
            del failure  # its traceback leads here: a cycle
    return result


def _abandon(operation: _Operation) -> None:
    """End an operation that can no longer wait; anything it still waits for fails at once."""
    step: Any = None
    with suppress(GreenletError):  # its thread has ended: Python will end it later
        while step is not _DONE:
            if hasattr(step, "close"):
                step.close()
            operation.parent = getcurrent()
            step = operation.throw(GeneratorExit())


waiting.provide(in_operation, suspend)
