"""Many at once: threads, processes, forks, and races that must have one outcome."""

import multiprocessing
import random
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest

from jam_core.exceptions import JamSessionNotFound
from jam_core.session import BaseSession
from jam_core.testing.fixtures import DATA, KEY, StoreContract, StoreFactory
from jam_core.testing.processes import run_in_processes
from jam_core.testing.promises import promise


class Late:
    """What `in_threads` says of a task that did not end in time."""


def in_threads(tasks: list[Callable[[], object]], limit: float | None = None) -> list[object]:
    """Run tasks at once in threads and return what they return, or what they raise.

    Args:
        tasks: What to run.
        limit: Seconds to wait for them; whoever takes longer is `Late`. None: any time.
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
    # Who comes to the barrier last goes on first: on one core nobody shall always be that.
    for thread in random.sample(threads, len(threads)):
        thread.start()
    for thread in threads:
        thread.join(limit)
    return results.copy()


def in_turn(store: BaseSession, name: str, rounds: int) -> list[str]:
    """Use every operation on sessions of one's own, and return the ids that are left."""
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
    """Nothing is lost, nothing comes back, and of two at once one wins.

    Attributes:
        race_rounds: How often each race is run.
    """

    race_rounds = 25

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

    @staticmethod
    def check_what_is_left(store: BaseSession, left: dict[str, Any]) -> None:
        """Look for what each of several wrote by `in_turn`: its ids, by its name."""
        for name, ids in left.items():
            found = [store.get(session_id) for session_id in ids]
            assert found == [{"of": name, "n": n} for n in range(len(ids))], (
                f"what {name} wrote is there, and nobody else's in its place"
            )

    @promise("concurrency", "in threads, what ended stays ended, and of two reworks one wins")
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
            assert len(new) == 1, "of two reworks at once one wins"
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

    @promise("rework", "a reader never finds the session under neither id, nor under both")
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
            assert store.get(new) in (None, DATA), "a session is there whole, or not at all"
            store.clear(key)
            assert store.get(new) is None, "the next clear finds what the last one did not"

    def race(
        self, open_store: StoreFactory, prepare: Callable[[], str], *actions: Callable[..., Any]
    ) -> list[tuple[str, list[Any]]]:
        """Let actions meet on one session, again and again, each in a process of its own.

        Returns:
            For each round, the id, and what each action returned, or NotFound.
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
        """Return a task that counts to `rounds` in a session, under a name of its own."""
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

    @promise("rework", "of two at once one wins, the other is JamSessionNotFound", needs=["shared"])
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
                # The clear came after the rework, and took the new id; or before the session's
                # new id lived, and then the rework had nothing to move.
                assert store.get(new) is None, "a session escaped clear by rework"

    @promise("clear", "between processes, too, create cannot hide from it", needs=["shared"])
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
            assert store.get(new) in (None, DATA), "a session is there whole, or not at all"
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
    """Create a session of a new key, remember the key by the id, and return the id."""
    key = f"{KEY} {len(keys)}"
    session_id = store.create(key, DATA)
    keys[session_id] = key
    return session_id


def torn_moments(store: BaseSession, old: str, new: str, done: threading.Event) -> Iterator[str]:
    """Look at both ids until a rework is done; yield what no single step can show.

    The id that is looked at first decides: once the old one is dead the new one lives, and
    once the new one lives the old one is dead.
    """
    last_look = False
    while not last_look:
        last_look = done.wait(0.0001)  # a reader that never rests can keep a writer out
        if store.get(old) is None and store.get(new) is None:
            yield "a reader found the session under neither id"
        if store.get(new) is not None and store.get(old) is not None:
            yield "a reader found the session under both ids"
