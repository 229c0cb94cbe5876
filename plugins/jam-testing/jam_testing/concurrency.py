"""Many callers at once: threads, processes, forks, and races that must have one outcome."""

import gc
import multiprocessing
import random
import threading
import time
import warnings
from collections.abc import Callable, Collection, Iterator
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest

from jam_core import BaseSession, JamSessionNotFound
from jam_testing.fixtures import DATA, KEY, StoreContract, StoreFactory
from jam_testing.interrupts import SoftTimeLimit, survive_interrupts
from jam_testing.linearizability import check_linearizable
from jam_testing.processes import run_in_processes, survive_forks
from jam_testing.promises import promise


class Late:
    """What `in_threads` returns for a task that did not end in time."""


def in_threads(tasks: list[Callable[[], object]], limit: float | None = None) -> list[object]:
    """Run tasks at once in threads and return what they return, or what they raise.

    Args:
        tasks: What to run.
        limit: Seconds to wait for them; a task that takes longer is `Late`. None: no limit.
    """
    results: list[object] = [Late()] * len(tasks)
    barrier = threading.Barrier(len(tasks))

    def run(index: int) -> None:
        barrier.wait()
        try:
            results[index] = tasks[index]()
        except Exception as error:
            results[index] = error

    threads = [
        threading.Thread(target=run, args=(index,), daemon=True) for index in range(len(tasks))
    ]
    # The last to reach the barrier goes on first: on one core, that must not always be the same.
    for thread in random.sample(threads, len(threads)):
        thread.start()
    for thread in threads:
        thread.join(limit)
    return results.copy()


def in_turn(store: BaseSession, name: str, rounds: int) -> list[str]:
    """Use every operation on sessions of its own, and return the ids that are left."""
    left = []
    for n in range(rounds):
        session_id = store.create(name, {"of": name})
        ended = store.create(name, {"of": name})
        assert store.get(session_id) == {"of": name}, "each sees what it created"
        store.update(session_id, {"of": name, "n": n})
        session_id = store.rework(session_id)
        store.delete(ended)
        assert store.get(session_id) == {"of": name, "n": n}, "each sees what it wrote"
        assert store.get(ended) is None, "what one ended is gone"
        left.append(session_id)
    return left


class ConcurrencyContract(StoreContract):
    """Nothing is lost, nothing comes back, and if two compete, exactly one succeeds.

    Attributes:
        interrupted_operations: How many operations are carried out under interrupts.
        histories_at_once: How many histories of several clients at once are recorded.
        in_steps: Operations on a key's sessions that the store, as its documentation says, carries
            out in several steps, so that others may see some ended and others not yet.
    """

    interrupted_operations = 200
    histories_at_once = 15
    in_steps: Collection[str] = ()

    @promise("concurrency", "every operation works from several threads")
    def test_threads(self, store: BaseSession) -> None:
        def task(name: str) -> Callable[[], object]:
            return lambda: in_turn(store, name, 20)

        names = [f"thread {n}" for n in range(8)]
        results = in_threads([task(name) for name in names])
        assert all(isinstance(left, list) for left in results), f"a thread failed: {results!r}"
        self.check_what_is_left(store, dict(zip(names, results, strict=True)))

    @promise("concurrency", "every operation works in several processes", needs=["shared"])
    def test_processes(self, open_store: StoreFactory, store: BaseSession) -> None:
        def task(name: str) -> Callable[[], list[str]]:
            return lambda: in_turn(open_store(), name, 20)

        names = [f"process {n}" for n in range(4)]
        results = run_in_processes([task(name) for name in names])
        self.check_what_is_left(store, dict(zip(names, results, strict=True)))

    @promise("concurrency", "a store made before fork works in every process", needs=["shared"])
    def test_a_store_made_before_fork_works_in_every_process(self, store: BaseSession) -> None:
        before = store.create(KEY, DATA)

        def task(name: str) -> Callable[[], list[str]]:
            def run() -> list[str]:
                assert store.get(before) == DATA, "a child sees what was there before"
                return in_turn(store, name, 10)

            return run

        names = [f"child {n}" for n in range(4)]
        results = run_in_processes([task(name) for name in names])
        self.check_what_is_left(store, dict(zip(names, results, strict=True)))
        self.check_what_is_left(store, {"parent": in_turn(store, "parent", 10)})

    @promise(
        "concurrency",
        "a store works in a process that was forked without Python's fork hooks, as uWSGI does",
        needs=["shared"],
    )
    def test_a_store_works_after_a_fork_that_python_does_not_see(self, store: BaseSession) -> None:
        survive_forks(store, children=4, operations=60, timeout=self.clause_limit)

    @promise(
        "concurrency",
        "after an exception at any moment, the store works, and never mixes sessions up",
    )
    @pytest.mark.parametrize("kind", [SoftTimeLimit, KeyboardInterrupt])
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_an_exception_may_strike_at_any_moment(
        self, store: BaseSession, kind: type[BaseException]
    ) -> None:
        # What an interrupt left open or unawaited is ended by its destructor, which warns about it,
        # and may itself be interrupted. That must happen here, not in some later test.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            warnings.simplefilter("ignore", RuntimeWarning)
            survive_interrupts(store, self.interrupted_operations, kind=kind)
            store.close()
            gc.collect()

    @promise("concurrency", "concurrent operations behave as if they had run one after the other")
    def test_there_is_an_order_that_explains_everything(self, open_store: StoreFactory) -> None:
        shared = "shared" in open_store().capabilities
        check_linearizable(
            open_store,
            histories=self.histories_at_once,
            in_steps=self.in_steps,
            processes=2 if shared else 0,
            threads=1 if shared else 3,
        )

    @staticmethod
    def check_what_is_left(store: BaseSession, left: dict[str, Any]) -> None:
        """Check what each of several clients wrote with `in_turn`: its ids, by its name."""
        for name, ids in left.items():
            found = [store.get(session_id) for session_id in ids]
            assert found == [{"of": name, "n": n} for n in range(len(ids))], (
                f"what {name} wrote is there, and nobody else's in its place"
            )

    @promise(
        "concurrency", "in threads, what ended stays ended, and exactly one of two reworks succeeds"
    )
    def test_races_of_threads(self, store: BaseSession) -> None:
        for _ in range(self.race_rounds):
            session_id = store.create(KEY, DATA)
            in_threads(
                [
                    lambda: store.update(session_id, {"resurrected": True}),  # noqa: B023
                    lambda: store.delete(session_id),  # noqa: B023
                ]
            )
            assert store.get(session_id) is None, "a session that was ended came back"
            session_id = store.create(KEY, DATA)
            outcomes = in_threads([lambda: store.rework(session_id)] * 2)  # noqa: B023
            new = [outcome for outcome in outcomes if isinstance(outcome, str)]
            assert len(new) == 1, "of two reworks at once, one wins"
            assert store.get(new[0]) == DATA, "the winner has the session"
            assert store.get(session_id) is None, "the old id is dead"

    @promise("mutate", "in threads, no change is lost", needs=["mutate"])
    def test_threads_lose_no_mutation(self, store: BaseSession) -> None:
        session_id = store.create(KEY, {})
        names = [f"thread {n}" for n in range(3)]
        outcomes = in_threads(
            [self.counting(lambda: store, session_id, name, self.race_rounds) for name in names]
        )
        assert outcomes == [None] * len(names), "every mutate succeeds"
        assert store.get(session_id) == dict.fromkeys(names, self.race_rounds), "each one counts"

    @promise("rework", "a reader always finds the session under exactly one of the two ids")
    def test_a_reader_sees_one_step(self, open_store: StoreFactory) -> None:
        parts = [str(uuid4()) for _ in range(self.race_rounds + 1)]
        planned = iter(parts)
        store = open_store(id_factory=lambda: next(planned))
        session_id = store.create(KEY, DATA)
        for part, next_part in pairwise(parts):
            foreseen = session_id.replace(part, next_part)
            done = threading.Event()

            def move(old: str = session_id, done: threading.Event = done) -> str:
                try:
                    return store.rework(old)
                finally:
                    done.set()

            def look(
                old: str = session_id, new: str = foreseen, done: threading.Event = done
            ) -> list[str]:
                return list(torn_moments(store, old, new, done))

            moved, seen = in_threads([move, look])
            assert isinstance(moved, str), f"rework failed with {moved!r}"
            if moved != foreseen:
                pytest.skip(f"the ids of {type(store).__name__} cannot be foreseen")
            session_id = moved
            assert seen == [], "the old id is dead the moment the new one lives"

    @promise("clear", "in a race with create, no session is left that clear cannot find")
    def test_threads_cannot_hide_a_session_from_clear(self, store: BaseSession) -> None:
        for n in range(self.race_rounds):
            key = f"{KEY} {n}"
            before = store.create(key, DATA)
            new, *_ = in_threads([lambda: store.create(key, DATA), lambda: store.clear(key)])  # noqa: B023
            assert store.get(before) is None, "clear ends what was there"
            assert isinstance(new, str), f"create failed: {new!r}"
            assert store.get(new) in (None, DATA), "a session is complete, or not there at all"
            store.clear(key)
            assert store.get(new) is None, "the next clear finds what the last one did not"

    def race(
        self, open_store: StoreFactory, prepare: Callable[[], str], *actions: Callable[..., Any]
    ) -> list[tuple[str, list[Any]]]:
        """Run actions on one session at once, repeatedly, each in its own process.

        Returns:
            For each round, the id, and what each action returned, or "not found".
        """
        ids = [prepare() for _ in range(self.race_rounds)]
        barrier = multiprocessing.get_context("fork").Barrier(len(actions))

        def task(action: Callable[..., Any]) -> Callable[[], list[Any]]:
            def run() -> list[Any]:
                store = open_store()
                outcomes = []
                for session_id in ids:
                    barrier.wait(60)
                    try:
                        outcomes.append(action(store, session_id))
                    except JamSessionNotFound:
                        outcomes.append("not found")
                return outcomes

            return run

        results = run_in_processes([task(action) for action in actions])
        return [(session_id, [result[n] for result in results]) for n, session_id in enumerate(ids)]

    @staticmethod
    def counting(
        open_store: Callable[[], BaseSession], session_id: str, name: str, rounds: int
    ) -> Callable[[], None]:
        """Return a task that counts to `rounds` in a session, under its own name."""
        pauses = [0.001]

        def change(data: dict[str, Any]) -> dict[str, Any]:
            if pauses:  # once, so that somebody else comes in between, even on one core
                time.sleep(pauses.pop())
            return {**data, name: data.get(name, 0) + 1}

        def run() -> None:
            store = open_store()
            for _ in range(rounds):
                store.mutate(session_id, change)

        return run

    @promise("update", "in a race, a session that ended stays ended", needs=["shared"])
    def test_update_does_not_undo_delete_or_clear(
        self, open_store: StoreFactory, store: BaseSession
    ) -> None:
        keys: dict[str, str] = {}
        for end in (
            lambda there, session_id: there.delete(session_id),
            lambda there, session_id: there.clear(keys[session_id]),
        ):
            rounds = self.race(
                open_store,
                lambda: session_of_its_own_key(store, keys),
                lambda there, session_id: there.update(session_id, {"resurrected": True}),
                end,
            )
            for session_id, _ in rounds:
                assert store.get(session_id) is None, "a session that was ended came back"

    @promise(
        "rework",
        "if two requests rework one id at once, exactly one succeeds; the other gets "
        "JamSessionNotFound",
        needs=["shared"],
    )
    def test_of_two_reworks_one_wins(self, open_store: StoreFactory, store: BaseSession) -> None:
        def rework(there: BaseSession, session_id: str) -> str:
            return there.rework(session_id)

        rounds = self.race(open_store, lambda: store.create(KEY, DATA), rework, rework)
        for session_id, outcomes in rounds:
            assert store.get(session_id) is None, "the old id is dead"
            assert outcomes.count("not found") == 1, "exactly one rework wins"
            (new,) = (outcome for outcome in outcomes if outcome != "not found")
            assert store.get(new) == DATA, "the winner has the session"

    @promise("rework", "in a race, no session escapes clear under a new id", needs=["shared"])
    def test_rework_does_not_escape_delete_or_clear(
        self, open_store: StoreFactory, store: BaseSession
    ) -> None:
        keys: dict[str, str] = {}
        rounds = self.race(
            open_store,
            lambda: session_of_its_own_key(store, keys),
            lambda there, session_id: there.rework(session_id),
            lambda there, session_id: there.clear(keys[session_id]),
        )
        for session_id, (new, _) in rounds:
            assert store.get(session_id) is None, "the old id is dead"
            if new != "not found":
                # Either clear came after the rework and ended the session under its new id, or it
                # came before, and the rework had nothing to move.
                assert store.get(new) is None, "a session escaped clear by rework"

    @promise("clear", "create cannot hide a session from it in another process", needs=["shared"])
    def test_create_does_not_hide_a_session_from_clear(
        self, open_store: StoreFactory, store: BaseSession
    ) -> None:
        keys: dict[str, str] = {}
        rounds = self.race(
            open_store,
            lambda: session_of_its_own_key(store, keys),
            lambda there, session_id: there.create(keys[session_id], DATA),
            lambda there, session_id: there.clear(keys[session_id]),
        )
        for session_id, (new, _) in rounds:
            assert store.get(session_id) is None, "clear ends what was there"
            assert store.get(new) in (None, DATA), "a session is complete, or not there at all"
            store.clear(keys[session_id])
            assert store.get(new) is None, "the next clear finds what the last one did not"

    @promise("mutate", "between processes no change is lost", needs=["shared", "mutate"])
    def test_no_mutation_is_lost(self, open_store: StoreFactory, store: BaseSession) -> None:
        session_id = store.create(KEY, {})
        names = [f"process {n}" for n in range(4)]
        barrier = multiprocessing.get_context("fork").Barrier(len(names))

        def open_together() -> BaseSession:
            opened = open_store()
            barrier.wait(60)
            return opened

        run_in_processes(
            [self.counting(open_together, session_id, name, self.race_rounds) for name in names]
        )
        assert store.get(session_id) == dict.fromkeys(names, self.race_rounds), "each one counts"


def session_of_its_own_key(store: BaseSession, keys: dict[str, str]) -> str:
    """Create a session with a new key, remember the key by the id, and return the id."""
    key = f"{KEY} {len(keys)}"
    session_id = store.create(key, DATA)
    keys[session_id] = key
    return session_id


def torn_moments(store: BaseSession, old: str, new: str, done: threading.Event) -> Iterator[str]:
    """Read both ids until a rework is done; yield what a single step can never show.

    The order of the two reads matters: once the old id is dead the new one lives, and once the new
    one lives the old one is dead.
    """
    last_look = False
    while not last_look:
        last_look = done.wait(0.0001)  # a reader that never rests can keep a writer out
        if store.get(old) is None and store.get(new) is None:
            yield "a reader found the session under neither id"
        if store.get(new) is not None and store.get(old) is not None:
            yield "a reader found the session under both ids"
