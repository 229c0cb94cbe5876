"""Stores that are right as long as nobody awaits them."""

import asyncio
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from jam_core import Change, JamStoreUnavailable, PerLoop, SessionRecord, awaited, pause, wait
from tests.wrong_stores.catalogue import caught_by
from tests.wrong_stores.file_store import FileSessions

MOMENT = 0.001  # seconds in which somebody else comes


class Awaited(FileSessions):
    """Claims that event loops need no threads for it."""

    guarantees = FileSessions.guarantees | {"asyncio"}
    clause_limit = 5.0


@caught_by("test_a_call_may_be_cancelled_at_every_await")
class KeepsItsLockWhenCancelled(Awaited):
    """Does not release its lock if the caller is cancelled."""

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(path, **options)
        self._turns = PerLoop(asyncio.Lock)

    def write(self, place: str, change: Change) -> bool:
        if not awaited():
            return super().write(place, change)
        wait(self._turns().acquire())
        pause(MOMENT)
        done = super().write(place, change)
        self._turns().release()
        return done


@caught_by("test_cancelled_callers_take_nobodys_answer")
class AnswersInTurn(Awaited):
    """Gives each answer to the first caller that still waits, and forgets the cancelled ones."""

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(path, **options)
        self._waiting: PerLoop[deque[asyncio.Future[Any]]] = PerLoop(deque)

    def read(self, place: str, now: float) -> SessionRecord | None:
        if not awaited():
            return super().read(place, now)
        waiting, loop = self._waiting(), asyncio.get_running_loop()
        mine: asyncio.Future[Any] = loop.create_future()
        waiting.append(mine)
        found = super().read(place, now)
        loop.call_later(MOMENT, _answer_first, waiting, found)
        try:
            record: SessionRecord | None = wait(mine)
        except asyncio.CancelledError:
            waiting.remove(mine)
            raise
        return record


def _answer_first(waiting: "deque[asyncio.Future[Any]]", found: SessionRecord | None) -> None:
    if waiting:
        waiting.popleft().set_result(found)


@caught_by("test_many_calls_at_once")
class HasAPlaceForEachCall(Awaited):
    """Opens a connection for each call; the server accepts only a hundred."""

    open_now = 0

    def read(self, place: str, now: float) -> SessionRecord | None:
        if self.open_now == 100:
            raise JamStoreUnavailable("The server takes no more connections.")
        self.open_now += 1
        try:
            pause(MOMENT)
            return super().read(place, now)
        finally:
            self.open_now -= 1


@caught_by("test_one_event_loop_after_the_other_and_two_at_once")
class BelongsToOneLoop(Awaited):
    """Keeps using the event loop that came first."""

    loop: asyncio.AbstractEventLoop | None = None

    def read(self, place: str, now: float) -> SessionRecord | None:
        if awaited():
            self.loop = self.loop or asyncio.get_running_loop()
            answer = self.loop.create_future()
            self.loop.call_soon(answer.set_result, None)
            wait(answer)
        return super().read(place, now)


@caught_by("test_a_child_is_served_in_an_event_loop_of_its_own")
class HasAThreadThatReads(Awaited):
    """Reads in a thread that it starts once; a forked child does not have it."""

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(path, **options)
        self._asked: deque[tuple[asyncio.Future[None], asyncio.AbstractEventLoop]] = deque()
        self._reader: threading.Thread | None = None

    def read(self, place: str, now: float) -> SessionRecord | None:
        if awaited():
            if self._reader is None:
                self._reader = threading.Thread(target=self._answer, daemon=True)
                self._reader.start()
            loop = asyncio.get_running_loop()
            answer = loop.create_future()
            self._asked.append((answer, loop))
            wait(asyncio.wait_for(answer, 2))
        return super().read(place, now)

    def _answer(self) -> None:
        while True:
            if self._asked:
                answer, loop = self._asked.popleft()
                loop.call_soon_threadsafe(answer.set_result, None)
            time.sleep(MOMENT)


@caught_by("test_a_silent_backend_holds_up_no_event_loop")
class BlocksTheLoop(Awaited):
    """Waits for a silent backend in the event loop's thread."""

    def read(self, place: str, now: float) -> SessionRecord | None:
        if self.path.with_name("silent").exists():
            time.sleep(0.06)
        return super().read(place, now)
