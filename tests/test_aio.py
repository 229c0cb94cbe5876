"""Jam for asyncio: what an application sees, whatever the store."""

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, assert_type

import pytest
from greenlet import greenlet
from jam_testing import fork_unseen, run_in_processes
from jam_testing.memory import MemorySessions

from jam.aio import Jam
from jam_core import Jam as PlainJam
from jam_core import (
    JamConfigurationError,
    JamSessionNotFound,
    JamStoreUnavailable,
    SessionInfo,
    SessionRecord,
    hookimpl,
    pause,
    wait,
)
from jam_core.greenlets import run


def jam_on(store: MemorySessions | type[MemorySessions], **options: Any) -> Jam:
    return Jam({"jam": {"session": {"session_type": store}}}, **options)


class Counted(MemorySessions):
    """Counts how often it was opened and closed."""

    opened: list["Counted"]
    closed: list["Counted"]

    def __init__(self) -> None:
        super().__init__()
        self.opened.append(self)

    def close(self) -> None:
        self.closed.append(self)


@pytest.fixture
def counted() -> type[Counted]:
    Counted.opened, Counted.closed = [], []
    return Counted


class Held(MemorySessions):
    """Waits in its thread until it is told to go on, before it changes anything."""

    def __init__(self) -> None:
        super().__init__()
        self.has_begun, self.may_go_on = threading.Event(), threading.Event()

    def _keep(self, place: str, record: SessionRecord) -> None:
        if "2" in record.data:
            self.has_begun.set()
            assert self.may_go_on.wait(30)
        super()._keep(place, record)


async def began(held: Held) -> None:
    async with asyncio.timeout(60):
        while not held.has_begun.is_set():
            await asyncio.sleep(0.001)


def test_every_operation_is_awaited() -> None:
    async def main() -> None:
        async with jam_on(MemorySessions) as jam:
            one = await jam.session_create("ann", {"n": 1}, ttl=60)
            assert await jam.session_get(one) == {"n": 1}
            info = await jam.session_info(one)
            assert info is not None
            await jam.session_update(one, {"n": 2}, seen=info)
            await jam.session_touch(one)
            assert await jam.session_mutate(one, lambda data: {**data, "m": 3}) == {"n": 2, "m": 3}
            two = await jam.session_rework(one)
            assert await jam.session_get(one) is None
            three = await jam.session_create("ann", {})
            assert await jam.session_clear_others(two) == 1
            assert await jam.session_get(three) is None
            (info,) = await jam.session_list("ann")
            assert await jam.session_revoke("ann", info.handle)
            with pytest.raises(JamSessionNotFound):
                await jam.session_update(two, {})
            await jam.session_delete(two)
            await jam.session_clear("ann")
            assert await jam.session_purge() == 0

    asyncio.run(main())


async def _typed(jam: Jam) -> None:
    """Never runs: mypy reads it, as it reads an application."""

    async def change(data: dict[str, Any]) -> dict[str, Any] | None:
        return data

    assert_type(await jam.session_create("ann", {}, ttl=None), str)
    assert_type(await jam.session_get("id"), dict[str, Any] | None)
    assert_type(await jam.session_info("id"), SessionInfo | None)
    assert_type(await jam.session_mutate("id", change), dict[str, Any])
    assert_type(await jam.session_mutate("id", lambda data: None), dict[str, Any])
    assert_type(await jam.session_list("ann"), list[SessionInfo])
    assert_type(await jam.session_revoke("ann", "handle"), bool)
    async with jam as same:
        assert_type(same, Jam)


def test_an_error_of_the_configuration_is_raised_where_it_is_made() -> None:
    with pytest.raises(JamConfigurationError, match="no_option"):
        Jam({"jam": {"session": {"session_type": MemorySessions, "no_option": 1}}})


def test_made_outside_a_loop_it_serves_one_after_the_other(counted: type[Counted]) -> None:
    jam = jam_on(counted)
    session_id = asyncio.run(jam.session_create("ann", {"n": 1}))
    assert asyncio.run(jam.session_get(session_id)) == {"n": 1}
    assert len(counted.opened) == 1


def test_the_store_is_opened_once_for_all_who_come_first(counted: type[Counted]) -> None:
    async def main() -> None:
        jam = jam_on(counted)
        calls = [asyncio.create_task(jam.session_create("ann", {})) for _ in range(100)]
        await asyncio.sleep(0)
        calls[0].cancel()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(one, str) for one in outcomes) == 99
        await jam.close()
        await jam.close()
        assert counted.closed == counted.opened

    asyncio.run(main())
    assert len(counted.opened) == 1


def test_who_come_first_each_get_an_error_of_their_own() -> None:
    class Down(MemorySessions):
        def __init__(self) -> None:
            raise JamStoreUnavailable("It is down.")

    async def main() -> None:
        jam = jam_on(Down)
        calls = (jam.session_get("id") for _ in range(20))
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert {str(error) for error in errors} == {"It is down."}
        assert all(isinstance(error, JamStoreUnavailable) for error in errors)
        assert len({id(error) for error in errors}) == 20

    asyncio.run(main())


def test_two_loops_at_once_share_one_store(counted: type[Counted]) -> None:
    jam = jam_on(counted)
    barrier = threading.Barrier(8)
    found: list[int] = []

    async def work(n: int) -> None:
        session_id = await jam.session_create(f"user {n}", {"n": n})
        for _ in range(20):
            assert await jam.session_get(session_id) == {"n": n}
        found.append(n)

    def loop(n: int) -> None:
        barrier.wait()
        asyncio.run(work(n))

    threads = [threading.Thread(target=loop, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(8))
    kept = [one for one in counted.opened if one not in counted.closed]
    assert len(kept) == 1


def greenlets() -> int:
    gc.collect()
    return sum(isinstance(each, greenlet) for each in gc.get_objects())


def test_a_thread_that_ends_leaves_nothing_of_its_event_loop_behind() -> None:
    async def main() -> None:
        await asyncio.gather(*(run(pause, 0) for _ in range(50)))

    def thread() -> None:
        in_it = threading.Thread(target=lambda: asyncio.run(main()))
        in_it.start()
        in_it.join()

    thread()
    before = greenlets()
    for _ in range(10):
        thread()
    assert greenlets() <= before + 10  # its own for each thread, which greenlet keeps for a while


def test_closed_and_used_again(counted: type[Counted]) -> None:
    async def main() -> None:
        jam = jam_on(counted)
        for _ in range(2):
            session_id = await jam.session_create("ann", {})
            assert await jam.session_get(session_id) == {}
            await jam.close()

    asyncio.run(main())
    assert len(counted.opened) == len(counted.closed) == 2


def test_a_change_may_be_a_coroutine_function_and_runs_in_the_callers_loop() -> None:
    async def main() -> None:
        jam = jam_on(MemorySessions)
        session_id = await jam.session_create("ann", {"n": 1})
        loop, thread = asyncio.get_running_loop(), threading.current_thread()

        async def change(data: dict[str, Any]) -> dict[str, Any]:
            await asyncio.sleep(0.001)
            assert asyncio.get_running_loop() is loop
            return {"n": data["n"] + 1}

        def plain(data: dict[str, Any]) -> None:
            assert threading.current_thread() is thread
            data["n"] += 1

        assert await jam.session_mutate(session_id, change) == {"n": 2}
        assert await jam.session_mutate(session_id, plain) == {"n": 3}

    asyncio.run(main())


def test_a_cancelled_change_stores_nothing_and_lets_its_thread_go() -> None:
    async def main() -> None:
        jam = jam_on(MemorySessions)
        session_id = await jam.session_create("ann", {"n": 1})
        began = asyncio.Event()

        async def change(data: dict[str, Any]) -> dict[str, Any]:
            began.set()
            await asyncio.Event().wait()
            return {"never": "stored"}

        task = asyncio.create_task(jam.session_mutate(session_id, change))
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 10)
        assert await jam.session_get(session_id) == {"n": 1}

    asyncio.run(main())


@pytest.mark.parametrize("times", [1, 3])  # anyio's scopes cancel again and again
def test_a_cancelled_call_in_a_thread_does_not_overtake_the_next(times: int) -> None:
    held = Held()

    async def main() -> None:
        jam = jam_on(held)
        session_id = await jam.session_create("ann", {"n": 1})
        task = asyncio.create_task(jam.session_update(session_id, {"n": 2}))
        await began(held)
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0.01)
            assert not task.done(), "its thread still works"
        held.may_go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        await jam.session_update(session_id, {"n": 3})
        assert await jam.session_get(session_id) == {"n": 3}

    asyncio.run(main())


def test_the_loop_goes_on_while_a_thread_works() -> None:
    held = Held()

    async def main() -> None:
        jam = jam_on(held)
        session_id = await jam.session_create("ann", {"n": 1})
        task = asyncio.create_task(jam.session_update(session_id, {"n": 2}))
        await began(held)
        held.may_go_on.set()  # had the loop to wait, nobody would do this
        await task

    asyncio.run(main())


class Audit:
    def __init__(self) -> None:
        self.seen: list[object] = []

    @hookimpl(wrapper=True)
    def get(self, session_id: str) -> Iterator[Any]:
        try:
            result = yield
        except Exception as error:
            self.seen.append(type(error))
            raise
        self.seen.append(result)
        return result


@pytest.mark.parametrize("fails", [False, True])
def test_a_plain_wrapper_sees_results_and_errors(fails: bool) -> None:
    class Failing(MemorySessions):
        def read(self, place: str, now: float) -> SessionRecord | None:
            if fails:
                raise JamStoreUnavailable
            return super().read(place, now)

    audit = Audit()

    async def main() -> None:
        jam = jam_on(Failing, wrappers=[audit])
        session_id = await jam.session_create("ann", {"n": 1})
        if fails:
            with pytest.raises(JamStoreUnavailable):
                await jam.session_get(session_id)
        else:
            assert await jam.session_get(session_id) == {"n": 1}

    asyncio.run(main())
    assert audit.seen == [JamStoreUnavailable if fails else {"n": 1}]


class Timing:
    """Notes what each operation did, and for how long."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, float]] = []

    @hookimpl(wrapper=True)
    def get(self) -> Iterator[Any]:
        begin, outcome = time.perf_counter(), "done"
        try:
            return (yield)
        except BaseException as error:
            outcome = type(error).__name__
            raise
        finally:
            self.seen.append(("get", outcome, time.perf_counter() - begin))


def test_a_plain_wrapper_sees_how_long_its_own_call_waited() -> None:
    class Slow(MemorySessions):
        guarantees = frozenset({"asyncio"})

        def read(self, place: str, now: float) -> SessionRecord | None:
            pause(0.05)
            return super().read(place, now)

    async def main() -> None:
        timing = Timing()
        jam = jam_on(Slow, wrappers=[timing])
        session_id = await jam.session_create("ann", {"n": 1})
        began = time.perf_counter()
        await asyncio.gather(*(jam.session_get(session_id) for _ in range(50)))
        took = time.perf_counter() - began
        doomed = asyncio.create_task(jam.session_get(session_id))
        await asyncio.sleep(0)
        doomed.cancel()
        await asyncio.wait([doomed])
        *done, last = timing.seen
        assert [outcome for _, outcome, _ in done] == ["done"] * 50
        assert all(0.05 <= seconds <= took for _, _, seconds in done)
        assert last[1] == "CancelledError"

    asyncio.run(main())


def test_the_same_work_is_seen_alike_by_a_wrapper_in_both_worlds() -> None:
    plain_audit, audit = Audit(), Audit()
    plain = PlainJam({"session": {"session_type": MemorySessions}}, wrappers=[plain_audit])
    for session_id in (plain.session_create("ann", {"n": 1}), "unknown"):
        plain.session_get(session_id)

    async def main() -> None:
        jam = jam_on(MemorySessions, wrappers=[audit])
        for session_id in (await jam.session_create("ann", {"n": 1}), "unknown"):
            await jam.session_get(session_id)

    asyncio.run(main())
    assert audit.seen == plain_audit.seen == [{"n": 1}, None]


def forked_by_python(work: Callable[[], Any]) -> Any:
    return run_in_processes([work])[0]


def forked_unseen(work: Callable[[], Any]) -> Any:
    return fork_unseen(work).result(30)


@pytest.mark.parametrize("fork", [forked_by_python, forked_unseen])
def test_it_serves_the_children_of_its_process(fork: Callable[[Callable[[], Any]], Any]) -> None:
    store = MemorySessions()
    session_id = store.create("ann", {"n": 1})
    jam = jam_on(store)

    def child() -> bool:
        return asyncio.run(jam.session_get(session_id)) == {"n": 1}

    if fork is forked_by_python:  # unseen, a thread that only just starts may hold Python's locks
        assert child()
    assert fork(child)
    assert child()


@pytest.mark.parametrize("opened", [False, True])
def test_trio_is_refused_by_name(opened: bool) -> None:
    trio = pytest.importorskip("trio")
    jam = jam_on(MemorySessions)
    if opened:
        asyncio.run(jam.session_get("id"))
    with pytest.raises(JamConfigurationError, match="trio"):
        trio.run(jam.session_get, "id")


def test_uvloop_serves_as_well() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        async with jam_on(MemorySessions) as jam:
            session_id = await jam.session_create("ann", {"n": 1})
            assert await jam.session_get(session_id) == {"n": 1}

    uvloop.run(main())


def test_an_operation_goes_back_to_whoever_drives_it() -> None:
    """A task may begin eagerly, inside another operation, and go on outside of it."""
    first: list[Any] = []

    async def main() -> None:
        gates = [asyncio.Event(), asyncio.Event()]

        def inner() -> str:
            wait(gates[0].wait())
            return "inner"

        def outer() -> str:
            coroutine = run(inner)
            first.append((coroutine, coroutine.send(None)))  # begins in here
            wait(gates[1].wait())
            return "outer"

        outside = asyncio.create_task(run(outer))
        await asyncio.sleep(0)
        coroutine, _ = first[0]
        gates[0].set()
        await asyncio.sleep(0)
        with pytest.raises(StopIteration) as ended:
            coroutine.send(None)
        assert ended.value.value == "inner"
        gates[1].set()
        assert await outside == "outer"

    asyncio.run(main())


def test_a_change_may_use_other_sessions_however_many_do(tmp_path: Path) -> None:
    """Each holds a thread until its change is over, which needs one, too."""

    async def main() -> None:
        settings = {"session_type": "json", "json_path": str(tmp_path / "sessions.json")}
        async with Jam({"session": settings}) as jam:
            other = await jam.session_create("other", {"n": 1})
            ids = [await jam.session_create("ann", {}) for _ in range(40)]

            async def change(data: dict[str, Any]) -> None:
                data["seen"] = await jam.session_get(other)

            changed = asyncio.gather(*(jam.session_mutate(one, change) for one in ids))
            assert await asyncio.wait_for(changed, 30) == [{"seen": {"n": 1}}] * 40

    asyncio.run(main())
