"""When sessions end: ttl, max_age, and nothing else."""

import time as real_time

import pytest

from jam_core.exceptions import JamConfigurationError, JamSessionNotFound
from jam_core.session import BaseSession
from jam_core.testing.fixtures import DATA, KEY, StoreContract, StoreFactory
from jam_core.testing.promises import promise
from jam_core.testing.timekeeping import Timekeeper, wait_until

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

    @promise("time", "a session ends when its ttl is over, for every operation")
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
        if "touch" in store.capabilities:
            with pytest.raises(JamSessionNotFound):
                store.touch(session_id)
        if "mutate" in store.capabilities:
            with pytest.raises(JamSessionNotFound):
                store.mutate(session_id, lambda data: data)
        store.delete(session_id)
        assert store.get(session_id) is None, "what is gone stays gone"

    @promise("time", "the end is exact: at that moment the session is gone", needs=["clock"])
    @pytest.mark.parametrize("option", ["ttl", "max_age"])
    def test_the_end_is_exact(
        self, open_store: StoreFactory, time: Timekeeper, option: str
    ) -> None:
        store = open_store(**{"ttl": None, option: 1})
        for fraction in (0.0, 0.125, 0.5, 0.875):
            time.let_pass(fraction)
            session_id = store.create(KEY, DATA)
            time.let_pass(0.875)
            assert store.get(session_id) == DATA, "alive an eighth of a second before its end"
            time.let_pass(0.125)
            assert store.get(session_id) is None, "gone at the very moment of its end"

    @promise("time", "a ttl of one second is one second, and not rounded to none")
    def test_a_ttl_of_one_second_is_not_rounded_away(
        self, open_store: StoreFactory, time: Timekeeper
    ) -> None:
        store = open_store(ttl=1)
        if time.exact:
            time.let_pass(0.75)
        else:
            wait_until(lambda: 0.7 < real_time.time() % 1 < 0.8, "a second is almost over")
        session_id = store.create(KEY, DATA)
        time.let_pass(0.5)
        assert store.get(session_id) == DATA, "alive after half of its ttl"

    @promise("time", "update, rework, touch and mutate restart the ttl")
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

    @promise("time", "reading does not restart the ttl")
    def test_reading_does_not_restart_the_ttl(
        self, open_store: StoreFactory, time: Timekeeper
    ) -> None:
        store = open_store(ttl=2)
        session_id = store.create(KEY, DATA)
        time.let_pass(1.4)
        assert store.get(session_id) == DATA, "the session lives until its ttl is over"
        time.let_pass(1.4)
        assert store.get(session_id) is None, "the ttl counts from create, not from get"

    @promise("time", "nothing pushes max_age out: it counts from create, rework carries it over")
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
        assert store.get(session_id) is not None, "the session lives until its max_age is over"
        time.let_pass(1.2)
        assert store.get(session_id) is None, f"{operation} does not prolong max_age"

    @promise("time", "max_age counts without a ttl, too")
    def test_max_age_counts_without_a_ttl(self, open_store: StoreFactory, time: Timekeeper) -> None:
        store = open_store(ttl=None, max_age=2)
        session_id = store.create(KEY, DATA)
        store.update(session_id, {"n": 1})
        time.let_pass(1)
        assert store.get(session_id) == {"n": 1}, "the session lives until its max_age is over"
        time.let_pass(1.2)
        assert store.get(session_id) is None, "the session is gone when its max_age is over"

    @promise("time", "a session without ttl and max_age does not end")
    def test_a_session_without_ttl_does_not_end(
        self, open_store: StoreFactory, time: Timekeeper
    ) -> None:
        store = open_store(ttl=None)
        session_id = store.create(KEY, DATA)
        time.let_pass(10 * 365 * 86400.0 if time.exact else 1.2)
        assert store.get(session_id) == DATA, "ttl = None is no limit"

    @promise("time", "a ttl is the session's own, not its key's")
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

    @promise("purge", "what has expired is removed and counted", needs=["purge", "clock"])
    def test_purge_removes_what_has_expired_and_counts_it(
        self, open_store: StoreFactory, time: Timekeeper
    ) -> None:
        store = open_store(ttl=10)
        for n in range(3):
            store.create(KEY, {"n": n})
        time.let_pass(6)
        kept = store.create(KEY, DATA)
        time.let_pass(6)
        assert store.purge() == 3, "purge counts what it removed"
        assert store.purge() == 0, "purge removed what it counted"
        assert store.get(kept) == DATA, "a session that lives is left alone"

    @promise(
        "durability",
        "sessions outlive a change of ttl, which counts from their next write",
        needs=["durable"],
    )
    def test_sessions_outlive_a_change_of_ttl(
        self, open_store: StoreFactory, time: Timekeeper
    ) -> None:
        before = open_store(ttl=100, max_age=1000)
        lasting, brief = before.create(KEY, DATA), before.create(KEY, DATA)
        before.close()
        after = open_store(ttl=1, max_age=None)
        assert after.get(lasting) == DATA, "nobody is logged out by a new ttl"
        after.update(brief, {"n": 1})
        time.let_pass(1.2)
        assert after.get(brief) is None, "the new ttl counts from the next write"
        assert after.get(lasting) == DATA, "the old ttl counts until the next write"

    @promise("options", "a ttl or max_age that is no positive whole number is refused")
    @pytest.mark.parametrize("option", ["ttl", "max_age"])
    @pytest.mark.parametrize("value", [0, -1, True, 1.5, "60"])
    def test_a_time_that_is_no_positive_number_is_refused(
        self, open_store: StoreFactory, option: str, value: object
    ) -> None:
        with pytest.raises(JamConfigurationError, match=option):
            open_store(**{option: value})
