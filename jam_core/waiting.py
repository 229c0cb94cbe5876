"""Code that is written once, with two ways of waiting: plainly, or in an event loop.

A store is written once, in plain methods. Where it needs an answer from a driver that must be
awaited, it calls `wait`; where it would sleep, `pause`. Under `jam.aio` the operation is suspended
in the caller's event loop until then; under the plain `Jam` the thread waits, and the driver runs
in a background loop of the process.
"""

import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from threading import Lock, Thread
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from jam_core.exceptions import JamConfigurationError
from jam_core.forking import PerProcess

if TYPE_CHECKING:
    import asyncio

_Result = TypeVar("_Result")
_Resource = TypeVar("_Resource")


def _never() -> bool:
    return False


# Provided by jam_core.greenlets once that is imported; without it there is no jam.aio.
_in_operation: Callable[[], bool] = _never
_suspend: Callable[[Awaitable[Any]], Any]


def provide(in_operation: Callable[[], bool], suspend: Callable[[Awaitable[Any]], Any]) -> None:
    """Take what tells whether code can be suspended, and what suspends it."""
    global _in_operation, _suspend
    _in_operation, _suspend = in_operation, suspend


def awaited() -> bool:
    """Tell whether this runs under `jam.aio`, where nothing may block the thread."""
    return _in_operation()


def wait(awaitable: Awaitable[_Result]) -> _Result:
    """Wait for an awaitable; return what it returns, or raise what it raises.

    Under `jam.aio` it is awaited in the caller's own event loop, and the caller may be cancelled:
    then `asyncio.CancelledError` is raised here. Otherwise it runs in this process's background
    loop. Keep one connection for each loop that `asyncio.get_running_loop()` returns.
    """
    if _in_operation():
        result: _Result = _suspend(awaitable)
        return result
    return _background().run(awaitable)


def pause(seconds: float) -> None:
    """Sleep without blocking an event loop."""
    if awaited():
        import asyncio  # takes as long to import as all of Jam

        wait(asyncio.sleep(seconds))
    else:
        time.sleep(seconds)


def in_thread(call: Callable[..., _Result], *args: Any, **kwargs: Any) -> _Result:
    """Make a blocking call: under `jam.aio` in one of Jam's own threads, otherwise here.

    It is for the rare blocking call in a store that otherwise uses `wait`, such as importing a
    large package. Inside, nothing can be awaited in the caller's event loop.
    """
    if not awaited():
        return call(*args, **kwargs)
    from jam_core.threads import in_thread  # asyncio takes as long to import as all of Jam

    result: _Result = in_thread(lambda: call(*args, **kwargs))()
    return result


def running_loop() -> "asyncio.AbstractEventLoop":
    """Return the event loop that the caller runs in.

    Raises:
        JamConfigurationError: No asyncio event loop is running.
    """
    import asyncio

    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise JamConfigurationError(
            "jam.aio needs a running event loop of asyncio (or uvloop). Under trio use jam.Jam in "
            "a thread: trio.to_thread.run_sync(jam.session_get, session_id)."
        ) from None


class _BackgroundLoop:
    """An event loop in a thread, for asyncio-only drivers under the plain `Jam`."""

    def __init__(self) -> None:
        import asyncio

        # Not the policy's: a loop of libuv may hang in a child whose fork it did not see.
        self._loop = asyncio.SelectorEventLoop()
        Thread(target=self._loop.run_forever, name="jam-event-loop", daemon=True).start()

    def run(self, awaitable: Awaitable[_Result]) -> _Result:
        call = _Call(self._loop, awaitable)
        try:
            self._loop.call_soon_threadsafe(call.begin)
            call.wait()
        except BaseException:
            # The caller was interrupted: what it was waiting for must not go on behind its back.
            self._loop.call_soon_threadsafe(call.cancel)
            call.wait()
            raise
        try:
            return call.task.result()
        finally:
            del call  # the traceback of what it raised leads here: a cycle


class _Call(Generic[_Result]):
    """What one thread waits for in an event loop of another's."""

    task: "asyncio.Task[_Result]"

    def __init__(self, loop: "asyncio.AbstractEventLoop", awaitable: Awaitable[_Result]) -> None:
        self._loop = loop
        self._awaitable = awaitable
        self._has_ended = False
        self._running = Lock()
        self._running.acquire()

    def wait(self) -> None:
        """Wait until it has ended."""
        # Not an Event: that is written in Python, and an exception that strikes in its `wait` can
        # leave its lock held. Then the loop would block in `set`, for everybody and for ever.
        if not self._has_ended:
            self._running.acquire()

    def begin(self) -> None:
        self.task = self._loop.create_task(self._awaited())
        self.task.add_done_callback(self._end)

    def cancel(self) -> None:
        if hasattr(self, "task"):
            self.task.cancel()
        else:  # the interrupt came before anything had begun
            self._end()

    async def _awaited(self) -> _Result:
        return await self._awaitable

    def _end(self, _: object = None) -> None:
        if isinstance(self._awaitable, CoroutineType):  # which may not have begun
            self._awaitable.close()
        if not self._has_ended:  # `cancel` and the task may both say so
            self._has_ended = True
            self._running.release()


# After a fork, the thread does not exist: a child makes its own.
_background = PerProcess(_BackgroundLoop)


class PerLoop(Generic[_Resource]):
    """Connections that each event loop and each process needs for itself: see `PerProcess`.

    Under the plain `Jam` there is one for the process. Call it before each use.

    Args:
        make: Makes the resource; under `jam.aio` it is called in the event loop, and must not wait.
        let_go: Gets what a child inherited, as `PerProcess` gives it.
        close: Gets what belongs to an event loop that ends, in that loop; it may wait. It is
            called if the loop is ended as by `asyncio.run`, with `shutdown_asyncgens`.
    """

    def __init__(
        self,
        make: Callable[[], _Resource],
        let_go: Callable[[_Resource], object] | None = None,
        close: Callable[[_Resource], object] | None = None,
    ) -> None:
        self._make = make
        self._close = close
        self._plain = PerProcess(make, let_go)
        self._of_loops: PerProcess[dict[asyncio.AbstractEventLoop, _Kept[_Resource]]] = PerProcess(
            dict,
            None
            if let_go is None
            else lambda inherited: [let_go(one.resource) for one in inherited.values()],
        )

    def __call__(self) -> _Resource:
        """Return what belongs to the running loop, or to the process."""
        if not _in_operation():
            return self._plain()
        loop, of_loops = running_loop(), self._of_loops()
        kept = of_loops.get(loop)
        if kept is None:
            for ended in [one for one in list(of_loops) if one.is_closed()]:
                of_loops.pop(ended, None)
            kept = of_loops[loop] = _Kept(self._make(), self._close)
        return kept.resource

    def discard(self) -> _Resource | None:
        """Forget what belongs to the running loop, or to the process; return what it was."""
        if not awaited():
            return self._plain.discard()
        kept = self._of_loops().pop(running_loop(), None)
        if kept is None:
            return None
        kept.close = None
        return kept.resource


class _Kept(Generic[_Resource]):
    """What belongs to the running loop, until that ends."""

    def __init__(
        self, resource: _Resource, close: Callable[[_Resource], object] | None = None
    ) -> None:
        self.resource = resource
        self.close = close
        if close is not None:
            # Event loops tell only asynchronous generators that they are ending.
            self._end = self._at_the_end()
            with suppress(StopIteration):
                self._end.__anext__().send(None)  # type: ignore[attr-defined]

    async def _at_the_end(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            close, self.close = self.close, None
            if close is not None:
                await sys.modules["jam_core.greenlets"].run(close, self.resource)
