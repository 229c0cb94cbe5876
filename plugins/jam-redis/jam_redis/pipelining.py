"""Connections for asyncio: the calls of an event loop share one, with one write for each turn."""

import asyncio
import contextvars
import copy
from collections import deque
from contextlib import suppress
from typing import Any

from redis import exceptions as errors
from redis.asyncio import connection as awaited
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection

from jam_core import JamConfigurationError, wait
from jam_redis.connections import Connections, NotSentError, Recipe

_KINDS: dict[type, type[awaited.AbstractConnection]] = {
    Connection: awaited.Connection,
    SSLConnection: awaited.SSLConnection,
    UnixDomainSocketConnection: awaited.UnixDomainSocketConnection,
}
_LATE = 0.1  # seconds
_LOOK_AFTER = 0.05  # seconds without a call
_TOLD = 20  # callers
_TURNS = 3  # of the loop, from a connection's end to who reads it


class SharedConnection(Connections):
    """The connection of an event loop to one server; once it breaks, a new one."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._line: _Line | None = None

    def _exchanged(self, packed: bytes, count: int | None) -> Any:
        line = self._line
        if line is None or line.is_broken:
            line = self._line = _Line(self._recipe)
        return wait(line.answer_to(packed, count))

    def disconnect_idle(self) -> None:
        """Connect again for the next call; calls under way still get their answers."""
        line, self._line = self._line, None
        if line is not None:
            line.retire()

    def close(self) -> None:
        """Close the connection, as soon as those under way have their answers."""
        line, self._line = self._line, None
        if line is not None and line.retire():
            wait(line.end())


class _Line:
    """One connection, and who is waiting for what on it.

    Calls made in one turn of the loop are sent in one write; the answers come in the order of the
    commands. If a caller is cancelled, its answer is still read, and dropped. After any other
    exception the line is broken: all callers are told, and nobody uses it again.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.is_broken = False
        self._is_retired = False
        self._loop = asyncio.get_running_loop()
        self._patience = recipe.options.get("socket_timeout")
        self._unsent: list[_Request] = []
        self._sent: deque[_Request] = deque()
        self._awake = asyncio.Event()
        # One timer watches over all answers: redis-py would set one for each.
        self._timer: asyncio.TimerHandle | None = None
        self._overdue: _Request | None = None
        self._context = contextvars.Context()  # keeps no caller's context alive
        self._task = self._loop.create_task(
            self._work(_awaited(recipe)), name="jam-redis", context=self._context
        )

    def answer_to(self, packed: bytes, count: int | None) -> "asyncio.Future[Any]":
        """Send commands with the next write; return the future answer, or answers."""
        request = _Request(packed, count, self._loop)
        if self._patience is not None:
            request.give_up_at = self._loop.time() + self._patience
            if self._timer is None:
                self._set_timer(request.give_up_at)
        self._unsent.append(request)
        self._awake.set()
        return request.future

    def retire(self) -> bool:
        """Close the connection after the last answer; return whether that is now."""
        self._is_retired = True
        self._awake.set()
        if self._is_over():
            self._task.cancel()
        return self._is_over()

    async def end(self) -> None:
        """Wait until the connection is closed."""
        await asyncio.wait([self._task])

    def break_off(self, error: BaseException) -> None:
        """Tell all who are waiting, and close the connection."""
        if self.is_broken:
            return
        self.is_broken = True
        if self._timer is not None:
            self._timer.cancel()
        self._tell(error, list(self._sent), list(self._unsent))
        self._sent.clear()
        self._unsent.clear()
        self._task.cancel()

    def _tell(self, error: BaseException, sent: "list[_Request]", unsent: "list[_Request]") -> None:
        """Tell some in each turn: hundreds who fail in the same one would hold up all others."""
        for request in sent[:_TOLD]:
            cut = copy.copy(error)  # each has a traceback of its own
            cut.__cause__ = error
            request.fail(cut)
        for request in unsent[:_TOLD]:
            not_sent = NotSentError(len(request.packed))
            not_sent.__cause__ = error
            request.fail(not_sent)
        sent, unsent = sent[_TOLD:], unsent[_TOLD:]
        if sent or unsent:
            self._loop.call_soon(self._tell, error, sent, unsent, context=self._context)

    async def _work(self, connection: Any) -> None:
        reading: asyncio.Task[None] | None = None
        ended: BaseException = errors.ConnectionError("the event loop ended")
        try:
            await asyncio.sleep(0)  # a task that starts eagerly could fail before anybody asks
            await connection.connect()
            connection.socket_timeout = None
            reading = self._loop.create_task(self._read(connection))
            reading.add_done_callback(lambda _: self._awake.set())
            while not reading.done() and not self._is_over():
                self._awake.clear()
                requests = [one for one in self._unsent if not one.future.done()]
                self._unsent.clear()
                if requests:
                    self._expect(requests)
                    self._sent.extend(requests)
                    packed = [b"".join([one.packed for one in requests])]
                    await connection.send_packed_command(packed, check_health=False)
                elif not self._is_over():
                    await self._wait()
            if reading.done():
                ended = reading.exception() or ended
        except Exception as error:
            ended = error
        finally:
            if reading is not None:
                reading.cancel()
            self.break_off(ended)
            with suppress(Exception):
                await connection.disconnect(nowait=True)

    def _expect(self, requests: "list[_Request]") -> None:
        """Have the time for the answers begin now: a busy loop may have sent the commands late."""
        if self._patience is not None:
            give_up_at = self._loop.time() + self._patience
            for request in requests:
                request.give_up_at = give_up_at

    async def _wait(self) -> None:
        """Wait until there is something to do."""
        began = self._loop.time()
        await self._awake.wait()
        if self._loop.time() - began > _LOOK_AFTER:
            # The loop may not have run: that the server has closed meanwhile is read first.
            for _ in range(_TURNS):
                await asyncio.sleep(0)

    async def _read(self, connection: Any) -> None:
        """Give each answer to the caller it belongs to."""
        sent = self._sent
        while True:
            try:
                answer = await connection.read_response(disable_decoding=True)
            except errors.ResponseError as refusal:
                answer = refusal
            if not sent:
                raise errors.ConnectionError("the server sent an answer that nobody asked for")
            if sent[0].takes(answer):
                sent.popleft()
                if self._is_retired:
                    self._awake.set()

    def _is_over(self) -> bool:
        return self._is_retired and not self._sent and not self._unsent

    def _set_timer(self, moment: float) -> None:
        look = self._look_at_the_clock
        self._timer = self._loop.call_at(moment, look, moment, context=self._context)

    def _look_at_the_clock(self, due: float) -> None:
        """Break the line if the oldest request has waited too long."""
        self._timer = None
        now = self._loop.time()
        oldest = self._sent[0] if self._sent else self._unsent[0] if self._unsent else None
        if oldest is None:
            return
        if oldest.give_up_at > now:
            self._set_timer(oldest.give_up_at)
        elif now - due > _LATE or oldest is not self._overdue:
            # If the loop was held up, answers that arrived meanwhile have yet to be read.
            self._overdue = oldest
            self._set_timer(now + _LATE)
        else:
            self.break_off(errors.TimeoutError("Timeout reading from socket"))


class _Request:
    """Commands that go out together, and who is waiting for the answer."""

    __slots__ = ("_answers", "_count", "future", "give_up_at", "packed")

    def __init__(self, packed: bytes, count: int | None, loop: asyncio.AbstractEventLoop) -> None:
        self.packed = packed
        self._count = count
        self._answers: list[Any] = []
        self.future: asyncio.Future[Any] = loop.create_future()
        self.give_up_at = 0.0

    def takes(self, answer: Any) -> bool:
        """Take an answer; return whether it was the last."""
        if self._count is not None:
            self._answers.append(answer)
            if len(self._answers) < self._count:
                return False
            refusals = (one for one in self._answers if isinstance(one, errors.ResponseError))
            answer = next(refusals, self._answers)
        if isinstance(answer, errors.ResponseError):
            self.fail(answer)
        elif not self.future.done():
            self.future.set_result(answer)
        return True

    def fail(self, error: BaseException) -> None:
        """Tell the caller, if it is still waiting."""
        if not self.future.done():
            self.future.set_exception(error)


def _awaited(recipe: Recipe) -> Any:
    """Return a connection of redis-py's asyncio, made as the recipe says."""
    kind = _KINDS.get(recipe.kind)
    options = {**recipe.options, "retry": Retry(NoBackoff(), 0)}
    try:
        if kind is not None:
            return kind(**options)
        fault = f"connections of {recipe.kind.__module__}.{recipe.kind.__qualname__}"
    except TypeError as error:  # it names an argument, but no value
        fault = str(error).partition("() ")[2]
    raise JamConfigurationError(
        f"redis_uri cannot be used under jam.aio, which uses the connections of redis.asyncio: "
        f"{fault}. Give it as a URI."
    )
