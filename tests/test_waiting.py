"""Plain code that waits: in an event loop it is suspended, elsewhere its thread waits."""

import asyncio
import contextvars
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

import pytest
from jam_testing import fork_unseen, time_limit

from jam_core import Gathered, JamStoreUnavailable, PerLoop, in_thread, pause, wait
from jam_core.greenlets import run

USER: contextvars.ContextVar[object] = contextvars.ContextVar("user")


async def answer(value: object) -> object:
    await asyncio.sleep(0)
    return value


def test_plain_code_waits_for_a_coroutine_in_the_background() -> None:
    assert wait(answer(7)) == 7


def test_what_the_coroutine_raises_is_raised() -> None:
    async def fails() -> None:
        raise ValueError("of the driver")

    async def awaited() -> None:
        with pytest.raises(ValueError, match="of the driver"):
            await run(wait, fails())

    with pytest.raises(ValueError, match="of the driver"):
        wait(fails())
    asyncio.run(awaited())


def test_the_background_goes_on_in_a_child_that_was_forked_unseen() -> None:
    assert wait(answer(1)) == 1
    assert fork_unseen(lambda: wait(answer(2))).result() == 2
    assert wait(answer(3)) == 3


class TimeLimit(Exception):
    pass


@pytest.fixture
def alarm() -> Iterator[Callable[[float], None]]:
    """Sets an alarm, which raises TimeLimit wherever this thread is then."""

    def strike(*_: object) -> None:
        raise TimeLimit

    def set_alarm(seconds: float) -> None:
        signal.setitimer(signal.ITIMER_REAL, seconds)

    former = signal.signal(signal.SIGALRM, strike)
    yield set_alarm
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, former)


async def answer_late(value: object) -> object:
    await asyncio.sleep(0.005)
    return value


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("strikes", [1, 2])
def test_the_background_goes_on_whenever_an_interrupt_strikes(strikes: int) -> None:
    step = steps = struck = 0
    was_struck = True

    def strike(frame: FrameType, event: str, _: Any) -> None:
        nonlocal steps, struck
        if event in ("call", "c_return") and frame.f_globals["__name__"] in (
            "jam_core.waiting",
            "threading",
        ):
            steps += 1
            if steps >= step and struck < strikes:  # the second strikes at once
                struck += 1
                raise TimeLimit

    while was_struck:
        step += 1
        steps = struck = 0
        try:
            sys.setprofile(strike)
            assert wait(answer_late(1)) == 1
        except TimeLimit:
            pass
        finally:
            sys.setprofile(None)
        was_struck = struck > 0
        with time_limit(30, f"after an interrupt at step {step}"):
            assert wait(answer_late(2)) == 2
    assert step > 5


def test_who_is_interrupted_goes_on_when_what_it_waited_for_has_ended(
    alarm: Callable[[float], None],
) -> None:
    has_ended = threading.Event()

    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)  # a driver that gives up
            has_ended.set()

    alarm(0.05)
    with pytest.raises(TimeLimit):
        wait(slow())
    assert has_ended.is_set()


def test_what_an_interrupt_was_faster_than_never_begins(alarm: Callable[[float], None]) -> None:
    is_held, may_go_on, begun = threading.Event(), threading.Event(), []

    async def hold_the_loop() -> None:
        is_held.set()
        may_go_on.wait(10)

    async def begin() -> None:
        begun.append(1)

    holding = threading.Thread(target=wait, args=(hold_the_loop(),))
    holding.start()
    is_held.wait(10)
    threading.Timer(0.2, may_go_on.set).start()
    alarm(0.05)
    with pytest.raises(TimeLimit):
        wait(begin())
    holding.join()
    assert begun == []
    assert wait(asyncio.sleep(0, "well")) == "well"


def test_in_an_event_loop_others_go_on_while_one_waits() -> None:
    async def main() -> None:
        opened = asyncio.Event()
        waiting = asyncio.create_task(run(wait, opened.wait()))
        await asyncio.sleep(0)
        assert not waiting.done()
        opened.set()
        assert await waiting is True

    asyncio.run(main())


def test_each_caller_has_its_own_context() -> None:
    def work(user: int) -> object:
        for n in range(10):
            assert USER.get() == (user, n)
            pause(0.0001 * (user % 3))
            USER.set((user, n + 1))
        return USER.get()

    async def caller(user: int) -> None:
        USER.set((user, 0))
        assert await run(work, user) == (user, 10)
        assert USER.get() == (user, 10), "as if the code had been called plainly"

    async def main() -> None:
        await asyncio.gather(*map(caller, range(100)))

    asyncio.run(main())


def test_a_cancelled_caller_cleans_up_and_is_cancelled() -> None:
    steps: list[str] = []

    def work() -> None:
        try:
            wait(asyncio.Event().wait())
        except asyncio.CancelledError:
            pause(0.001)
            steps.append("cleaned up")
            raise

    async def main() -> None:
        task = asyncio.create_task(run(work))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await run(lambda: "the next one works") == "the next one works"

    asyncio.run(main())
    assert steps == ["cleaned up"]


def test_a_coroutine_that_is_closed_ends_the_code_that_waits() -> None:
    steps: list[str] = []

    def work() -> None:
        try:
            pause(100)
        finally:
            steps.append("ended")
            pause(100)  # nothing can be awaited any more

    async def main() -> None:
        coroutine = run(work)
        coroutine.send(None)
        coroutine.close()
        assert steps == ["ended"]
        assert await run(lambda: 7) == 7

    asyncio.run(main())


def test_any_number_of_loops_one_after_the_other() -> None:
    def work() -> Iterator[object]:
        yield wait(answer(1))
        pause(0)
        yield wait(answer(2))

    for _ in range(3):
        assert asyncio.run(run(lambda: list(work()))) == [1, 2]


@pytest.mark.parametrize("is_discarded", [False, True])
def test_what_belongs_to_a_loop_is_closed_when_that_ends(is_discarded: bool) -> None:
    closed: list[object] = []

    def close(resource: object) -> None:
        pause(0)  # it may wait
        closed.append(resource)

    here = PerLoop(object, close=close)

    def use() -> object:
        resource = here()
        assert here() is resource
        if is_discarded:
            assert here.discard() is resource
        return resource

    seen = [asyncio.run(run(use)) for _ in range(2)]
    assert seen[0] is not seen[1]
    assert closed == ([] if is_discarded else seen)


def test_what_is_asked_in_one_turn_is_done_in_one_go() -> None:
    done: list[list[int]] = []

    def double(numbers: Sequence[int]) -> list[int]:
        done.append(list(numbers))
        pause(0.001)
        return [2 * number for number in numbers]

    gathered = Gathered(double)
    assert gathered(4) == 8

    async def main() -> None:
        done.clear()
        calls = [asyncio.create_task(run(gathered, n)) for n in range(300)]
        await asyncio.sleep(0)
        calls[7].cancel()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(answers.pop(7), asyncio.CancelledError)
        assert answers == [2 * n for n in range(300) if n != 7]
        assert len(done) == 3, "not all in one go: the answers are in memory together"
        assert await run(gathered, 5) == 10

    asyncio.run(main())


def test_what_waits_in_vain_holds_nobody_up() -> None:
    async def main() -> None:
        never = asyncio.Event()

        def double(numbers: Sequence[int]) -> list[int]:
            if 0 in numbers:  # as on a dead connection
                wait(never.wait())
            return [2 * number for number in numbers]

        gathered = Gathered(double)
        in_vain = []
        for _ in range(2):
            in_vain.append(asyncio.create_task(run(gathered, 0)))
            await asyncio.sleep(0.01)
        async with asyncio.timeout(60):
            assert await run(gathered, 5) == 10
        never.set()
        assert await asyncio.gather(*in_vain) == [0, 0]

    asyncio.run(main())


def entering(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
    """Make a task, and enter its context at once, as one that starts eagerly does."""
    if (context := options.get("context")) is not None:
        context.run(int)
    return asyncio.Task(coroutine, loop=loop, **options)


@pytest.mark.parametrize(
    "factory", [entering, *filter(None, [getattr(asyncio, "eager_task_factory", None)])]
)
def test_tasks_may_start_eagerly(factory: Any) -> None:
    gathered: Gathered[int, int] = Gathered(lambda numbers: [2 * number for number in numbers])

    async def main() -> Sequence[int]:
        asyncio.get_running_loop().set_task_factory(factory)
        async with asyncio.timeout(60):
            return await asyncio.gather(*(run(gathered, number) for number in range(300)))

    assert asyncio.run(main()) == [2 * number for number in range(300)]


class Down(JamStoreUnavailable):
    """An error of a store's own, which is made of other arguments."""

    def __init__(self, what: str, *, how: str) -> None:
        super().__init__(f"{what} is {how}.")


@pytest.mark.parametrize("error", [JamStoreUnavailable("It is down."), Down("It", how="down")])
def test_each_who_asked_gets_an_error_of_their_own(error: JamStoreUnavailable) -> None:
    def fail(asked: Sequence[int]) -> list[int]:
        raise error from OSError("refused")

    async def main() -> None:
        gathered = Gathered(fail)
        calls = (run(gathered, n) for n in range(20))
        async with asyncio.timeout(60):
            errors = await asyncio.gather(*calls, return_exceptions=True)
        assert {(type(one), str(one)) for one in errors} == {(type(error), "It is down.")}
        assert len({id(error) for error in errors}) == 20
        assert all(isinstance(e, JamStoreUnavailable) and e.__cause__ for e in errors)

    asyncio.run(main())


def test_nobody_waits_for_ever_for_an_answer_that_is_missing() -> None:
    async def main() -> list[int | BaseException]:
        gathered: Gathered[int, int] = Gathered(lambda numbers: numbers[:2])
        async with asyncio.timeout(60):
            calls = (run(gathered, n) for n in range(4))
            return await asyncio.gather(*calls, return_exceptions=True)

    one, other, *missing = asyncio.run(main())
    assert (one, other) == (0, 1)
    assert [type(error) for error in missing] == [ValueError, ValueError]


def test_what_blocks_is_called_in_a_thread_only_in_an_event_loop() -> None:
    here = threading.current_thread()
    assert in_thread(threading.current_thread) is here
    assert asyncio.run(run(in_thread, threading.current_thread)) is not here


def test_the_traceback_of_what_was_awaited_reaches_whoever_waits() -> None:
    """Drivers' errors are told from others by where they were raised."""

    async def driver() -> None:
        raise ValueError

    with pytest.raises(ValueError) as caught:  # noqa: PT011
        asyncio.run(run(wait, driver()))
    assert caught.traceback[-1].name == "driver"
