"""Many at once: threads, processes, forks, and races that must have one outcome."""

import multiprocessing
import threading
from collections.abc import Callable
from typing import Any

from jam_core.exceptions import JamSessionNotFound
from jam_core.session import BaseSession
from jam_core.testing.fixtures import DATA, KEY, StoreContract, StoreFactory
from jam_core.testing.processes import run_in_processes


def in_threads(tasks: list[Callable[[], object]]) -> list[object]:
    """Run tasks at once in threads and return what they return, or what they raise."""
    results: list[object] = [None] * len(tasks)
    barrier = threading.Barrier(len(tasks))

    def run(index: int) -> None:
        barrier.wait()
        try:
            results[index] = tasks[index]()
        except Exception as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(tasks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def in_turn(store: BaseSession, name: str, rounds: int) -> list[str]:
    """Use every operation on sessions of one's own, and return the ids that are left."""
    left = []
    for n in range(rounds):
        session_id = store.create(name, {"n": n})
        ended = store.create(name, {"n": n})
        store.update(session_id, {"n": n, "updated": True})
        session_id = store.rework(session_id)
        store.delete(ended)
        assert store.get(session_id) == {"n": n, "updated": True}
        assert store.get(ended) is None
        left.append(session_id)
    return left


class ConcurrencyContract(StoreContract):
    """Nothing is lost, nothing comes back, and of two at once one wins."""

    race_rounds = 25

    def test_threads(self, store: BaseSession) -> None:
        def task(name: str) -> Callable[[], object]:
            return lambda: in_turn(store, name, 20)

        results = in_threads([task(f"thread {n}") for n in range(8)])
        for left in results:
            assert isinstance(left, list), left
            assert [store.get(session_id) for session_id in left] == [
                {"n": n, "updated": True} for n in range(20)
            ]

    def test_processes(self, open_store: StoreFactory, store: BaseSession) -> None:
        self.need(store, "shared")

        def task(name: str) -> Callable[[], list[str]]:
            return lambda: in_turn(open_store(), name, 20)

        results = run_in_processes([task(f"process {n}") for n in range(4)])
        for left in results:
            for n, session_id in enumerate(left):
                assert store.get(session_id) == {"n": n, "updated": True}

    def test_a_store_made_before_fork_works_in_every_process(self, store: BaseSession) -> None:
        self.need(store, "shared")
        before = store.create(KEY, DATA)

        def task(name: str) -> Callable[[], list[str]]:
            def run() -> list[str]:
                assert store.get(before) == DATA
                return in_turn(store, name, 10)

            return run

        results = run_in_processes([task(f"child {n}") for n in range(4)])
        for left in (*results, in_turn(store, "parent", 10)):
            for n, session_id in enumerate(left):
                assert store.get(session_id) == {"n": n, "updated": True}

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
            assert store.get(new[0]) == DATA
            assert store.get(session_id) is None

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

    def test_update_does_not_undo_delete_or_clear(
        self, open_store: StoreFactory, store: BaseSession
    ) -> None:
        self.need(store, "shared")
        keys: dict[str, str] = {}

        def prepare() -> str:
            key = f"{KEY} {len(keys)}"
            session_id = store.create(key, DATA)
            keys[session_id] = key
            return session_id

        for end in (
            lambda there, session_id: there.delete(session_id),
            lambda there, session_id: there.clear(keys[session_id]),
        ):
            rounds = self.race(
                open_store,
                prepare,
                lambda there, session_id: there.update(session_id, {"resurrected": True}),
                end,
            )
            for session_id, _ in rounds:
                assert store.get(session_id) is None, "a session that was ended came back"

    def test_of_two_reworks_one_wins(self, open_store: StoreFactory, store: BaseSession) -> None:
        self.need(store, "shared")

        def rework(there: BaseSession, session_id: str) -> str:
            return there.rework(session_id)

        rounds = self.race(open_store, lambda: store.create(KEY, DATA), rework, rework)
        for session_id, outcomes in rounds:
            assert store.get(session_id) is None
            assert outcomes.count("not found") == 1, "exactly one rework wins"
            (new,) = (outcome for outcome in outcomes if outcome != "not found")
            assert store.get(new) == DATA

    def test_rework_does_not_escape_delete_or_clear(
        self, open_store: StoreFactory, store: BaseSession
    ) -> None:
        self.need(store, "shared")

        def rework(there: BaseSession, session_id: str) -> str:
            return there.rework(session_id)

        keys: dict[str, str] = {}

        def prepare() -> str:
            key = f"{KEY} {len(keys)}"
            session_id = store.create(key, DATA)
            keys[session_id] = key
            return session_id

        rounds = self.race(
            open_store, prepare, rework, lambda there, session_id: there.clear(keys[session_id])
        )
        for session_id, (new, _) in rounds:
            assert store.get(session_id) is None
            if new != "not found":
                # The clear came after the rework, and took the new id; or before the session's
                # new id lived, and then the rework had nothing to move.
                assert store.get(new) is None, "a session escaped clear by rework"

    def test_no_mutation_is_lost(self, open_store: StoreFactory, store: BaseSession) -> None:
        self.need(store, "shared", "mutate")
        session_id = store.create(KEY, {})

        def count(name: str) -> Callable[[], None]:
            def run() -> None:
                there = open_store()
                for _ in range(self.race_rounds):
                    there.mutate(session_id, lambda data: {**data, name: data.get(name, 0) + 1})

            return run

        names = [f"process {n}" for n in range(4)]
        run_in_processes([count(name) for name in names])
        assert store.get(session_id) == dict.fromkeys(names, self.race_rounds)
