"""Calls that are made in one turn of an event loop, carried out together."""

import contextvars
import copy
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

from jam_core.exceptions import JamError
from jam_core.waiting import PerLoop, awaited, running_loop, wait

if TYPE_CHECKING:
    import asyncio

_Asked = TypeVar("_Asked")
_Answer = TypeVar("_Answer")

_MOST_AT_ONCE = 128  # calls: their answers are all in memory together
_UNDER_WAY = 2  # so that nobody waits for somebody else's slow answer
_SLOW = 0.5  # seconds; longer, on a dead connection say, does not count as under way


class Gathered(Generic[_Asked, _Answer]):
    """A function of one item, built on one that handles many at once: one statement, many reads.

    Under `jam.aio`, the calls of one turn of the event loop are handled together. While two such
    batches are under way, further calls wait until one has ended, or has taken long. If a caller
    is cancelled, the others still get their answers. Without `jam.aio`, each call is handled by
    itself.

    Args:
        do: Gets a list of items, and returns the answers in the same order.
    """

    def __init__(self, do: Callable[[Sequence[_Asked]], Sequence[_Answer]]) -> None:
        self._do = do
        self._turns: PerLoop[_Turns[_Asked, _Answer]] = PerLoop(lambda: _Turns(do))

    def __call__(self, asked: _Asked) -> _Answer:
        """Return the answer."""
        if awaited():
            return wait(self._turns().ask(asked))
        (answer,) = self._do([asked])
        return answer


class _Turns(Generic[_Asked, _Answer]):
    """Gathers the calls of the running event loop."""

    def __init__(self, do: Callable[[Sequence[_Asked]], Sequence[_Answer]]) -> None:
        self._do = do
        self._loop = running_loop()
        self._waiting: list[tuple[_Asked, asyncio.Future[_Answer]]] = []
        self._timers: dict[asyncio.Task[None], asyncio.TimerHandle] = {}  # of each batch
        self._under_way: set[asyncio.Task[None]] = set()
        self._will_begin = False
        self._context = contextvars.Context()  # keeps no caller's context alive

    def ask(self, asked: _Asked) -> "asyncio.Future[_Answer]":
        """Return the future answer."""
        future: asyncio.Future[_Answer] = self._loop.create_future()
        self._waiting.append((asked, future))
        if not self._will_begin and len(self._under_way) < _UNDER_WAY:
            self._loop.call_soon(self._begin, context=self._context)
            self._will_begin = True  # last: after an interrupt, it must not keep others waiting
        return future

    def _begin(self) -> None:
        self._will_begin = False
        waiting = [one for one in self._waiting if not one[1].done()]
        batch, self._waiting = waiting[:_MOST_AT_ONCE], waiting[_MOST_AT_ONCE:]
        if batch:
            # Not in the current context: a task that starts eagerly would enter it a second time.
            context = contextvars.Context()
            task = self._loop.create_task(self._answer(batch), context=context)
            self._under_way.add(task)
            timer = self._loop.call_later(_SLOW, self._go_on, task, context=self._context)
            self._timers[task] = timer
            task.add_done_callback(self._end, context=self._context)

    def _end(self, task: "asyncio.Task[None]") -> None:
        self._timers.pop(task).cancel()  # it would wake the loop for nothing
        self._go_on(task)

    def _go_on(self, task: "asyncio.Task[None]") -> None:
        self._under_way.discard(task)
        if not self._will_begin and len(self._under_way) < _UNDER_WAY:
            self._begin()

    async def _answer(self, batch: list[tuple[_Asked, "asyncio.Future[_Answer]"]]) -> None:
        run = sys.modules["jam_core.greenlets"].run
        try:
            answers = await run(self._do, [asked for asked, _ in batch])
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)
        except Exception as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(_of_its_own(error))
        except BaseException:  # the event loop ends
            for _, future in batch:
                future.cancel()
            raise


def _of_its_own(error: Exception) -> Exception:
    """Return an error for one caller: each has its own traceback."""
    if not isinstance(error, JamError):
        return error
    own = copy.copy(error)
    own.__cause__ = error.__cause__
    return own
