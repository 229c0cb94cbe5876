"""Runs the operations of stores that cannot wait in an event loop, in Jam's own threads.

The event loop's default threads are left to the application: in an outage, waiting operations would
take them all, and name look-ups would have to wait, too.
"""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from threading import Lock
from typing import Any

from jam_core.forking import PerProcess
from jam_core.greenlets import run as run_in_loop
from jam_core.waiting import awaited, running_loop, wait

_Call = Callable[..., Any]

_MOST = 32  # threads

_pool = PerProcess(lambda: ThreadPoolExecutor(_MOST, thread_name_prefix="jam"))
# What a `change` calls must not wait for a place: the thread that waits for the `change` holds one.
_beyond = PerProcess(lambda: ThreadPoolExecutor(10_000, thread_name_prefix="jam-in-change"))
_in_change: contextvars.ContextVar[bool] = contextvars.ContextVar("in_change", default=False)


def in_thread(call: _Call) -> _Call:
    """Return a function that makes a call in a thread, and waits for it in the event loop."""

    def run(**arguments: Any) -> Any:
        if not awaited():
            return call(**arguments)
        if "change" not in arguments:
            return _wait_for_thread(call, arguments)
        change = _CalledInLoop(arguments["change"])
        return _wait_for_thread(call, {**arguments, "change": change}, change.end)

    return run


def _wait_for_thread(
    call: _Call, arguments: dict[str, Any], give_up: Callable[[], None] = lambda: None
) -> Any:
    in_context = partial(contextvars.copy_context().run, partial(call, **arguments))
    running = (_beyond if _in_change.get() else _pool)().submit(in_context)
    ended = asyncio.wrap_future(running, loop=running_loop())
    try:
        return wait(asyncio.shield(ended))
    except BaseException:
        give_up()
        # A thread cannot be stopped, and must finish before its caller goes on: however often that
        # is cancelled, as anyio does at each turn of the loop.
        while not (running.cancel() or ended.done()):
            with suppress(asyncio.CancelledError):
                wait(asyncio.wait([ended]))
        raise


class _CalledInLoop:
    """The caller's function, to be called from a thread: it runs where its caller is waiting."""

    def __init__(self, function: _Call) -> None:
        self._function = function
        self._loop = running_loop()
        self._lock = Lock()
        self._asked: Future[Any] | None = None
        self._has_ended = False

    def __call__(self, argument: Any) -> Any:
        """Return what the function returns.

        Raises:
            concurrent.futures.CancelledError: Nobody is waiting for it any more.
        """
        with self._lock:
            if self._has_ended:
                raise CancelledError
            _in_change.set(True)  # in the context of this call, which the function runs in
            self._asked = asked = asyncio.run_coroutine_threadsafe(
                run_in_loop(self._function, argument), self._loop
            )
        return asked.result()

    def end(self) -> None:
        """Release the thread: its caller no longer waits, and the loop may end before it asks."""
        with self._lock:
            self._has_ended = True
            if self._asked is not None:
                self._asked.cancel()
