"""Random histories of operations, compared with a model that is too simple to be wrong."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from jam_core import BaseSession, JamSessionNotFound
from jam_testing.fixtures import StoreContract, StoreFactory
from jam_testing.promises import promise
from jam_testing.timekeeping import ManualClock

TTL = 10
MAX_AGE = 14

_KEYS = st.sampled_from(["ann", "ann:1"])
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)
_WHICH = st.sampled_from(["newest", "newest", "oldest", "oldest", "ended"])
_DATA = st.dictionaries(st.sampled_from("abc"), _VALUES, max_size=3)


@dataclass
class ModelSession:
    """A session as the model knows it."""

    key: str
    data: dict[str, Any]
    expires_at: float
    deadline: float


class History(RuleBasedStateMachine):
    """One history: the store must return what the model returns.

    Args:
        open_store: Opens the store.
        clock: The store's clock, or None if its server keeps the time.
        number: Keeps the session keys of one history from those of another.
    """

    def __init__(self, open_store: StoreFactory, clock: ManualClock | None, number: int) -> None:
        super().__init__()
        options = {} if clock is None else {"ttl": TTL, "max_age": MAX_AGE}
        self._open: Callable[[], BaseSession] = lambda: open_store(**options)
        self._clock = clock
        self._name = f"history {number} "
        self._store = self._open()
        self._model: dict[str, ModelSession] = {}
        self._issued: list[str] = []
        self._writes = count(1)
        if clock is not None and "purge" in self._store.capabilities:
            clock.advance(MAX_AGE)  # what the previous history left must not count here
            self._store.purge()

    @initialize(keys=st.lists(_KEYS, min_size=2, max_size=2), data=_DATA)
    def begin(self, keys: list[str], data: dict[str, Any]) -> None:
        for key in keys:
            self.create(key, data)

    @rule(key=_KEYS, data=_DATA)
    def create(self, key: str, data: dict[str, Any]) -> None:
        data = self._unlike_any_other(data)
        session_id = self._store.create(self._name + key, data)
        deadline = self._now() + MAX_AGE
        self._model[session_id] = ModelSession(key, data, self._now() + TTL, deadline)
        self._issue(session_id)

    @rule(which=_WHICH)
    def get(self, which: str) -> None:
        self._check(self._session(which))

    @rule(which=_WHICH, data=_DATA)
    def update(self, which: str, data: dict[str, Any]) -> None:
        session_id, data = self._session(which), self._unlike_any_other(data)
        with self._renewing(session_id) as live:
            self._store.update(session_id, data)
            live.data = data

    @rule(which=_WHICH, data=_DATA)
    def mutate(self, which: str, data: dict[str, Any]) -> None:
        if "mutate" in self._store.capabilities:
            session_id, data = self._session(which), self._unlike_any_other(data)
            with self._renewing(session_id) as live:
                new = {**live.data, **data}
                stored = self._store.mutate(session_id, lambda former: {**former, **data})
                assert stored == new, "mutate returns the data as stored"
                live.data = new

    @rule(which=_WHICH)
    def touch(self, which: str) -> None:
        if "touch" in self._store.capabilities:
            session_id = self._session(which)
            with self._renewing(session_id):
                self._store.touch(session_id)

    @rule(which=_WHICH)
    def rework(self, which: str) -> None:
        session_id = self._session(which)
        with self._renewing(session_id):
            new = self._store.rework(session_id)
            self._model[new] = self._model.pop(session_id)
            self._issue(new)

    @precondition(lambda self: self._model)
    @rule(which=_WHICH, by=st.sampled_from(["delete", "clear"]))
    def end(self, which: str, by: str) -> None:
        session_id = self._session(which)
        session = self._model.pop(session_id, None)
        if by == "delete":
            self._store.delete(session_id)
        elif session is not None:
            self._store.clear(self._name + session.key)
            self._model = {
                other_id: other
                for other_id, other in self._model.items()
                if other.key != session.key
            }

    @precondition(lambda self: self._model)
    @rule(
        seconds=st.sampled_from([0.0, 0.5, 1.0, 2.5, 4.0, 10.0]),
        then=st.sampled_from(["go on", "purge", "restart"]),
    )
    def let_time_pass(self, seconds: float, then: str) -> None:
        if self._clock is not None:
            self._clock.advance(seconds)
        if then == "purge" and "purge" in self._store.capabilities:
            expired = [session_id for session_id in self._model if not self._live(session_id)]
            removed = self._store.purge()
            if self._clock is not None:
                assert removed <= len(expired), "purge removed, or counted, too many"
            for session_id in expired:
                del self._model[session_id]
        if then == "restart" and "durable" in self._store.capabilities:
            self._store.close()
            self._store = self._open()

    def teardown(self) -> None:
        for session_id in self._issued:
            self._check(session_id)
        for session in self._model.values():
            self._store.clear(self._name + session.key)
        self._store.close()

    def _check(self, session_id: str) -> None:
        live = self._live(session_id)
        expected = None if live is None else live.data
        assert self._store.get(session_id) == expected, "get returns what was written last"

    def _session(self, which: str) -> str:
        """Return an id by its place among the live ones, or the one that ended last."""
        living = [session_id for session_id in self._issued if self._live(session_id)]
        ended = [session_id for session_id in self._issued if not self._live(session_id)]
        choice = ended if which == "ended" or not living else living
        session_id = (choice or living)[0 if which == "oldest" else -1]
        note(f"  # the id that was issued as number {self._issued.index(session_id) + 1}")
        return session_id

    def _unlike_any_other(self, data: dict[str, Any]) -> dict[str, Any]:
        """Change data so that no two writes look the same."""
        return {**data, "write": next(self._writes)}

    def _issue(self, session_id: str) -> None:
        assert session_id not in self._issued, "no id is issued twice"
        self._issued.append(session_id)

    def _now(self) -> float:
        return 0.0 if self._clock is None else self._clock.now

    def _live(self, session_id: str) -> ModelSession | None:
        session = self._model.get(session_id)
        if session is None or self._now() >= min(session.expires_at, session.deadline):
            return None
        return session

    @contextmanager
    def _renewing(self, session_id: str) -> Iterator[ModelSession]:
        """Run a write, which restarts the ttl of a live session, and fails on any other."""
        live = self._live(session_id)
        if live is None:
            with pytest.raises(JamSessionNotFound):
                yield ModelSession("", {}, 0.0, 0.0)
        else:
            yield live
            live.expires_at = self._now() + TTL


class HistoriesContract(StoreContract):
    """Any operations, in any order.

    Attributes:
        histories: How many histories are tried.
        history_length: How many operations each has, at most.
    """

    histories = 50
    history_length = 30

    @promise(
        "concurrency", "after any history of operations, the store returns what a model returns"
    )
    def test_any_history_agrees_with_the_model(
        self, open_store: StoreFactory, clock: ManualClock, store: BaseSession
    ) -> None:
        its_clock = clock if self.takes_clock(store) else None
        numbers = count()
        run_state_machine_as_test(
            lambda: History(open_store, its_clock, next(numbers)),  # type: ignore[arg-type]
            settings=settings(
                max_examples=self.histories,
                stateful_step_count=self.history_length,
                suppress_health_check=list(HealthCheck),
                report_multiple_bugs=False,
                deadline=None,
                derandomize=True,
                database=None,
            ),
        )
