"""What only asyncio has: cancelled calls, loops that end, and a loop that must not block."""

import asyncio
import gc
import os
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from types import coroutine
from typing import TYPE_CHECKING, Any

import pytest

from jam_core import BaseSession, JamStoreUnavailable
from jam_testing.awaiting import facade_of
from jam_testing.fixtures import DATA, KEY, BreakBackend, StoreContract
from jam_testing.processes import fork_unseen
from jam_testing.promises import promise

if TYPE_CHECKING:
    from jam_core import aio

_LONGEST_STANDSTILL = 0.05  # seconds in which the loop serves nobody
_LONGEST_WAIT = 0.5  # seconds on a busy machine; who blocks a thread does so for a whole timeout


class AsyncioContract(StoreContract):
    """Through `jam.aio`, the store stays intact whatever happens to its callers.

    Attributes:
        calls_at_once: How many calls are made at the same time.
    """

    calls_at_once = 1_000

    @pytest.fixture
    def jam(self, store: BaseSession) -> "aio.Jam":
        """Return `jam.aio.Jam` on the store, made where no event loop runs."""
        return facade_of(store)

    @promise(
        "asyncio",
        "a call cancelled at any await leaves its session intact and the store usable",
    )
    def test_a_call_may_be_cancelled_at_every_await(
        self, jam: "aio.Jam", store: BaseSession
    ) -> None:
        asyncio.run(_cancel_at_every_await(jam, store))

    @promise("asyncio", "a cancelled caller leaves no answer behind for somebody else")
    def test_cancelled_callers_take_nobodys_answer(self, jam: "aio.Jam") -> None:
        async def use(n: int, session_id: str) -> None:
            for _ in range(3):
                assert await jam.session_get(session_id) == {"n": n}, "each gets its own session"
            await jam.session_update(session_id, {"n": n})

        async def main() -> None:
            ids = [await jam.session_create(f"{KEY} {n}", {"n": n}) for n in range(20)]
            await cancel_some(use, ids, rounds=5, longest=6)
            found = await asyncio.gather(*map(jam.session_get, ids))
            assert found == [{"n": n} for n in range(len(ids))], "each gets its own session"

        asyncio.run(main())

    @promise("asyncio", "any number of concurrent calls succeed over a limited number of places")
    def test_many_calls_at_once(self, jam: "aio.Jam") -> None:
        async def main() -> None:
            ids = [await jam.session_create(f"{KEY} {n}", {"n": n}) for n in range(10)]
            asked = [n % len(ids) for n in range(self.calls_at_once)]
            found = await asyncio.gather(*(jam.session_get(ids[n]) for n in asked))
            assert found == [{"n": n} for n in asked], "each gets its own session"
            changes = (jam.session_update(one, {"n": -n}) for n, one in enumerate(ids))
            await asyncio.gather(*changes)
            found = await asyncio.gather(*map(jam.session_get, ids))
            assert found == [{"n": -n} for n in range(len(ids))], "each is updated"

        asyncio.run(main())

    @promise("asyncio", "one store serves several event loops, one after another and at once")
    def test_one_event_loop_after_the_other_and_two_at_once(self, jam: "aio.Jam") -> None:
        session_id = asyncio.run(jam.session_create(KEY, DATA))
        assert asyncio.run(jam.session_get(session_id)) == DATA, "the second loop is served"
        found: list[object] = []

        async def read() -> None:
            for _ in range(20):
                found.extend(await asyncio.gather(*(jam.session_get(session_id) for _ in "ab")))

        def loop() -> None:
            try:
                asyncio.run(read())
            except Exception as error:
                found.append(error)

        threads = [threading.Thread(target=loop, daemon=True) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [DATA] * 80, "two loops at once are served"

    @promise(
        "asyncio",
        "a process forked while an event loop has connections opens its own",
        needs=["shared"],
    )
    def test_a_child_is_served_in_an_event_loop_of_its_own(self, jam: "aio.Jam") -> None:
        with asyncio.Runner() as parent:
            ids = [parent.run(jam.session_create(KEY, {"n": n})) for n in range(2)]
            assert parent.run(jam.session_get(ids[0])) == {"n": 0}

            def child() -> list[object]:
                return [asyncio.run(jam.session_get(ids[0])) for _ in range(3)]

            assert fork_unseen(child).result(30) == [{"n": 0}] * 3, "the child is served"
            for n, session_id in enumerate(ids):
                assert parent.run(jam.session_get(session_id)) == {"n": n}, "the parent carries on"

    @promise(
        "asyncio",
        "while the backend hangs, the event loop and its default threads serve everybody else",
        needs=["hang_backend"],
    )
    def test_a_silent_backend_holds_up_no_event_loop(
        self, jam: "aio.Jam", hang_backend: BreakBackend
    ) -> None:
        async def main() -> None:
            session_id = await jam.session_create(KEY, DATA)
            with hang_backend():
                async with no_standstill():
                    calls = [asyncio.create_task(jam.session_get(session_id)) for _ in range(50)]
                    await asyncio.sleep(0)
                    began = time.monotonic()
                    await asyncio.to_thread(int)  # as a name is looked up
                    looked_up = time.monotonic() - began
                    outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert looked_up < _LONGEST_WAIT, "its default threads are free"
            for outcome in outcomes:
                assert isinstance(outcome, JamStoreUnavailable), "the silence is an outage"
            assert await jam.session_get(session_id) == DATA, "afterwards all is well again"

        asyncio.run(main())


async def cancel_some(
    use: Callable[[int, str], Coroutine[Any, Any, None]],
    ids: Sequence[str],
    *,
    rounds: int,
    longest: int,
) -> int:
    """Use all sessions at once, and cancel a quarter of the users, round after round.

    Args:
        use: Gets the number of a session and its id; what it raises is raised.
        ids: The sessions.
        rounds: How often.
        longest: How many turns of the loop pass at most between two cancellations.

    Returns:
        How many were cancelled before they had finished.
    """
    chance = random.Random(7)  # noqa: S311  (no secret)
    cancelled = 0
    for _ in range(rounds):
        tasks = [asyncio.create_task(use(n, one)) for n, one in enumerate(ids)]
        for doomed in chance.sample(tasks, len(tasks) // 4):
            for _ in range(chance.randrange(longest)):
                await asyncio.sleep(0)
            doomed.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, asyncio.CancelledError):
                cancelled += 1
            elif outcome is not None:
                raise outcome
    return cancelled


@asynccontextmanager
async def no_standstill() -> AsyncIterator[None]:
    """Make sure that the event loop serves others the whole time.

    What the loop's thread waited for a processor that others were using does not count, where the
    system tells it, as Linux does; nor does Python's garbage collection, which looks at whatever
    the tests have in memory. Where the system does not tell, only half a second is too long.

    Raises:
        AssertionError: It stood still for 50 ms.
    """
    with _processor_waits() as waited, _collections() as collected:
        limit = _LONGEST_WAIT if waited is None else _LONGEST_STANDSTILL

        def ours() -> float:
            return time.monotonic() - collected() - (waited() if waited else 0.0)

        worst, last = 0.0, ours()

        async def beat() -> None:
            nonlocal worst, last
            while True:
                await asyncio.sleep(0.001)
                worst, last = max(worst, ours() - last), ours()

        beating = asyncio.create_task(beat())
        try:
            yield
        finally:
            worst = max(worst, ours() - last)
            beating.cancel()
    assert worst < limit, f"the loop stopped for {worst * 1000:.0f} ms"


@contextmanager
def _processor_waits() -> Iterator[Callable[[], float] | None]:
    """Give what tells how many seconds this thread has been ready to run, and was not running."""
    file = Path("/proc/thread-self/schedstat")
    if not file.exists():
        yield None
        return
    with file.open("rb", buffering=0) as told:
        yield lambda: int(os.pread(told.fileno(), 100, 0).split()[1]) / 1e9


@contextmanager
def _collections() -> Iterator[Callable[[], float]]:
    """Give what tells how many seconds Python has been collecting garbage."""
    began = total = 0.0

    def note(phase: str, _: object) -> None:
        nonlocal began, total
        if phase == "start":
            began = time.monotonic()
        else:
            total += time.monotonic() - began

    gc.callbacks.append(note)
    try:
        yield lambda: total
    finally:
        gc.callbacks.remove(note)


async def _cancel_at_every_await(jam: "aio.Jam", store: BaseSession) -> None:
    bystander = await jam.session_create("bystander", DATA)
    can_list = "list_sessions" in store.capabilities

    def change(data: dict[str, Any]) -> dict[str, Any]:
        return {"n": data["n"] + 1}

    calls: dict[str, Callable[[str, str], Coroutine[Any, Any, Any]]] = {
        "get": lambda _, one: jam.session_get(one),
        "create": lambda key, _: jam.session_create(key, {"n": 1}),
        "update": lambda _, one: jam.session_update(one, {"n": 2}),
        "rework": lambda _, one: jam.session_rework(one),
        "delete": lambda _, one: jam.session_delete(one),
        "clear": lambda key, _: jam.session_clear(key),
    }
    if "mutate" in store.capabilities:
        calls["mutate"] = lambda _, one: jam.session_mutate(one, change)
    for name, call in calls.items():
        for awaits in count():
            key = f"{name} {awaits}"
            session_id = await jam.session_create(key, {"n": 1})
            was_cancelled = await _cancelled_at(awaits, call(key, session_id))
            what = f"{name} cancelled at await {awaits}"
            found = await jam.session_get(session_id)
            assert found in _MAY_BE_LEFT[name], f"{what} left {found!r}"
            if can_list:
                left = [info.data for info in await jam.session_list(key)]
                most = 2 if name == "create" else 1
                assert len(left) <= most, f"{what} left {len(left)} sessions"
                is_there = name in ("delete", "clear") or left
                assert is_there, f"{what} left no session"
            if found is not None:
                await jam.session_update(session_id, {"n": 3})
                assert await jam.session_get(session_id) == {"n": 3}, f"after {what}"
            await jam.session_clear(key)
            assert await jam.session_get(bystander) == DATA, f"{what} hurt a bystander"
            if not was_cancelled:
                break


_BEFORE, _AFTER = {"n": 1}, {"n": 2}
_MAY_BE_LEFT: dict[str, tuple[object, ...]] = {
    "get": (_BEFORE,),
    "create": (_BEFORE,),
    "update": (_BEFORE, _AFTER),
    "mutate": (_BEFORE, _AFTER),
    "rework": (_BEFORE, None),
    "delete": (_BEFORE, None),
    "clear": (_BEFORE, None),
}


async def _cancelled_at(awaits: int, call: Coroutine[Any, Any, Any]) -> bool:
    """Cancel a call at its next await after this many; return whether it got that far."""

    async def cancelled() -> Any:  # from Python 3.12 on, a task takes nothing else
        return await _until(awaits, call)

    task = asyncio.create_task(cancelled())
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
    return task.cancelled()


@coroutine
def _until(awaits: int, call: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
    step: Callable[[Any], Any] = call.send
    outcome: Any = None
    for number in count():
        try:
            future = step(outcome)
        except StopIteration as end:
            return end.value
        if number == awaits:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        try:
            step, outcome = call.send, (yield future)
        except BaseException as error:
            step, outcome = call.throw, error
    raise AssertionError
