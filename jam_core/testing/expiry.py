"""When sessions end: ttl, max_age, and nothing else."""

import pytest

from jam_core.exceptions import JamConfigurationError, JamSessionNotFound
from jam_core.session import BaseSession
from jam_core.testing.fixtures import DATA, KEY, StoreContract, StoreFactory
from jam_core.testing.timekeeping import Timekeeper

RENEWALS = ["update", "rework", "touch", "mutate"]


def renew(store: BaseSession, operation: str, session_id: str) -> str:
    """Restart a session's ttl by one of the operations that do; return its id."""
    if operation == "update":
        store.update(session_id, {"renewed": True})
    elif operation == "rework":
        return store.rework(session_id)
    elif operation == "touch":
        store.touch(session_id)
    else:
        store.mutate(session_id, lambda data: data)
    return session_id


class ExpiryContract(StoreContract):
    """Sessions end in time, and not before."""

    def test_a_session_ends_when_its_ttl_is_over(
        self, open_store: StoreFactory, time: Timekeeper
    ) -> None:
        store = open_store(ttl=2)
        session_id = store.create(KEY, DATA)
        time.let_pass(1)
        assert store.get(session_id) == DATA, "the session lives until its ttl is over"
        time.let_pass(1.2)
        assert store.get(session_id) is None, "the session is gone when its ttl is over"
        with pytest.raises(JamSessionNotFound):
            store.update(session_id, {"resurrected": True})
        with pytest.raises(JamSessionNotFound):
            store.rework(session_id)
        store.delete(session_id)
        assert store.get(session_id) is None

    def test_the_end_is_exact(self, open_store: StoreFactory, time: Timekeeper) -> None:
        store = open_store(ttl=1)
        if not time.exact:
            pytest.skip(f"{type(store).__name__} takes no clock: its server keeps the time")
        session_id = store.create(KEY, DATA)
        time.let_pass(0.999)
        assert store.get(session_id) == DATA, "alive a millisecond before its end"
        time.let_pass(0.002)
        assert store.get(session_id) is None, "gone a millisecond after"
        boundary = store.create(KEY, DATA)
        time.let_pass(1)
        assert store.get(boundary) is None, "gone at the very moment of its end"

    @pytest.mark.parametrize("operation", RENEWALS)
    def test_the_ttl_restarts(
        self, open_store: StoreFactory, time: Timekeeper, operation: str
    ) -> None:
        store = open_store(ttl=2)
        if operation in ("touch", "mutate"):
            self.need(store, operation)
        session_id = store.create(KEY, DATA)
        time.let_pass(1.4)
        session_id = renew(store, operation, session_id)
        time.let_pass(1.4)
        assert store.get(session_id) is not None, f"{operation} restarts the ttl"
        time.let_pass(1.4)
        assert store.get(session_id) is None, f"the ttl counts from {operation}"

    def test_reading_does_not_restart_the_ttl(
        self, open_store: StoreFactory, time: Timekeeper
    ) -> None:
        store = open_store(ttl=2)
        session_id = store.create(KEY, DATA)
        time.let_pass(1.4)
        assert store.get(session_id) == DATA
        time.let_pass(1.4)
        assert store.get(session_id) is None

    @pytest.mark.parametrize("operation", RENEWALS)
    def test_nothing_pushes_max_age_out(
        self, open_store: StoreFactory, time: Timekeeper, operation: str
    ) -> None:
        store = open_store(ttl=2, max_age=3)
        if operation in ("touch", "mutate"):
            self.need(store, operation)
        session_id = store.create(KEY, DATA)
        for _ in range(2):
            time.let_pass(1.2)
            session_id = renew(store, operation, session_id)
        assert store.get(session_id) is not None
        time.let_pass(1.2)
        assert store.get(session_id) is None, f"{operation} does not prolong max_age"

    def test_max_age_counts_without_a_ttl(self, open_store: StoreFactory, time: Timekeeper) -> None:
        store = open_store(ttl=None, max_age=2)
        session_id = store.create(KEY, DATA)
        store.update(session_id, {"n": 1})
        time.let_pass(1)
        assert store.get(session_id) == {"n": 1}
        time.let_pass(1.2)
        assert store.get(session_id) is None

    def test_a_session_without_ttl_does_not_end(
        self, open_store: StoreFactory, time: Timekeeper
    ) -> None:
        store = open_store(ttl=None)
        session_id = store.create(KEY, DATA)
        time.let_pass(10 * 365 * 86400.0 if time.exact else 1.2)
        assert store.get(session_id) == DATA

    def test_ttls_belong_to_sessions_not_to_keys(
        self, open_store: StoreFactory, time: Timekeeper
    ) -> None:
        store = open_store(ttl=2)
        first = store.create(KEY, {"n": 1})
        time.let_pass(1.4)
        second = store.create(KEY, {"n": 2})
        time.let_pass(1)
        assert store.get(first) is None, "a newer session of the key does not prolong this one"
        assert store.get(second) == {"n": 2}, "an older session of the key does not end this one"

    def test_purge_removes_what_has_expired_and_counts_it(
        self, open_store: StoreFactory, time: Timekeeper
    ) -> None:
        brief, lasting = open_store(ttl=1), open_store(ttl=None)
        self.need(brief, "purge", "shared")
        if not time.exact:
            pytest.skip(f"the server of {type(brief).__name__} removes what has expired by itself")
        for n in range(3):
            brief.create(KEY, {"n": n})
        kept = lasting.create(KEY, DATA)
        time.let_pass(2)
        assert lasting.purge() == 3
        assert lasting.purge() == 0
        assert lasting.get(kept) == DATA

    @pytest.mark.parametrize("option", ["ttl", "max_age"])
    @pytest.mark.parametrize("value", [0, -1, True, 1.5, "60"])
    def test_a_time_that_is_no_positive_number_is_refused(
        self, open_store: StoreFactory, option: str, value: object
    ) -> None:
        with pytest.raises(JamConfigurationError, match=option):
            open_store(**{option: value})
