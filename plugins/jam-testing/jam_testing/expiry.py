"""When sessions end: ttl, max_age, and nothing else."""

import time as real_time
from collections.abc import Callable
from typing import NamedTuple

import pytest

from jam_core import (
    BaseSession,
    JamConfigurationError,
    JamSessionNotFound,
    SessionRecord,
    hash_id,
    session_handle,
)
from jam_core.hosting import RECORDS
from jam_testing.fixtures import DATA, KEY, Damage, StoreContract, StoreFactory
from jam_testing.promises import promise
from jam_testing.timekeeping import Timekeeper, wait_until

RENEWALS = ["update", "update with the same data", "rework", "touch", "mutate"]


def renew(store: BaseSession, operation: str, session_id: str) -> str:
    """Restart a session's ttl with one of the operations that do; return its id."""
    if operation == "update":
        store.update(session_id, {"renewed": True})
    elif operation == "update with the same data":
        store.update(session_id, DATA)
    elif operation == "rework":
        return store.rework(session_id)
    elif operation == "touch":
        store.touch(session_id)
    else:
        store.mutate(session_id, lambda data: data)
    return session_id


class ASession(NamedTuple):
    """A session whose key has no others.

    Attributes:
        key: The key.
        session_id: Its id.
        record: Its record, if the store has records.
    """

    key: str
    session_id: str
    record: SessionRecord | None


def a_session(store: BaseSession, key: str) -> ASession:
    """Create a session."""
    session_id = store.create(key, DATA)
    if RECORDS not in store.capabilities:
        return ASession(key, session_id, None)
    (record,) = (one for one in store.records() if one.id_hash == hash_id(session_id))
    return ASession(key, session_id, record)


def _is_found(operation: Callable[[], object]) -> bool:
    try:
        operation()
    except JamSessionNotFound:
        return False
    return True


def _is_cleared(store: BaseSession, session: ASession) -> bool:
    return store.clear_others(store.create(session.key, DATA)) == 1


def _is_restored(store: BaseSession, session: ASession) -> bool:
    assert session.record is not None
    store.delete(session.session_id)
    return store.restore([session.record]) == 1


def _is_replaced(store: BaseSession, session: ASession) -> bool:
    assert session.record is not None
    return store.replace(session.record, store.codec.encode({}))


def _has_a_record(store: BaseSession, session: ASession) -> bool:
    return hash_id(session.session_id) in {record.id_hash for record in store.records()}


# What finds a live session: the capability that it needs, and whether it found the session.
AT_THE_END: dict[str, tuple[str, Callable[[BaseSession, ASession], bool]]] = {
    "get": ("", lambda store, one: store.get(one.session_id) is not None),
    "update": ("", lambda store, one: _is_found(lambda: store.update(one.session_id, DATA))),
    "rework": ("", lambda store, one: _is_found(lambda: store.rework(one.session_id))),
    "touch": ("touch", lambda store, one: _is_found(lambda: store.touch(one.session_id))),
    "mutate": ("mutate", lambda store, one: _is_found(lambda: store.mutate(one.session_id, dict))),
    "list_sessions": ("list_sessions", lambda store, one: bool(store.list_sessions(one.key))),
    "revoke": (
        "revoke",
        lambda store, one: store.revoke(one.key, session_handle(one.session_id)),
    ),
    "clear_others": (
        "clear_others",
        lambda store, one: _is_found(lambda: store.clear_others(one.session_id)),
    ),
    "clear_others, as another": ("clear_others", _is_cleared),
    "purge": ("purge", lambda store, _: store.purge() == 0),
    "records": (RECORDS, _has_a_record),
    "restore": (RECORDS, _is_restored),
    "replace": (RECORDS, _is_replaced),
}


class ExpiryContract(StoreContract):
    """Sessions end on time, and not before."""

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

    @promise(
        "time",
        "at that moment it is gone for every operation, and not a moment before",
        needs=["clock"],
    )
    @pytest.mark.parametrize("operation", AT_THE_END, ids=list(AT_THE_END))
    def test_the_end_is_exact_for_every_operation(
        self, open_store: StoreFactory, time: Timekeeper, operation: str
    ) -> None:
        store = open_store(ttl=1)
        capability, finds = AT_THE_END[operation]
        self.need(store, *([capability] if capability else []))
        for fraction in (0.0, 0.375):
            time.let_pass(fraction)
            before, after = (a_session(store, f"{KEY} {n}") for n in range(2))
            time.let_pass(0.875)
            assert finds(store, before), "it is there an eighth of a second before its end"
            time.let_pass(0.125)
            assert not finds(store, after), "it is gone at the very moment of its end"
            for session in (before, after):
                store.clear(session.key)

    @promise("time", "a ttl of one second is one second, and not rounded to zero")
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
        assert store.get(session_id) == DATA, "alive after half its ttl"

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
        reads: dict[str, Callable[[], object]] = {
            "list_sessions": lambda: store.list_sessions(KEY),
            RECORDS: lambda: list(store.records()),
            "ping": store.ping,
            "purge": store.purge,
        }
        time.let_pass(1.4)
        for name in reads.keys() & store.capabilities:
            reads[name]()
        assert store.get(session_id) == DATA, "the session lives until its ttl is over"
        time.let_pass(1.4)
        assert store.get(session_id) is None, "the ttl counts from create, not from the last read"

    @promise(
        "time", "nothing extends max_age: it counts from create, and rework does not restart it"
    )
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
        assert store.get(session_id) is None, f"{operation} does not extend max_age"

    @promise("time", "max_age counts even without a ttl")
    def test_max_age_counts_without_a_ttl(self, open_store: StoreFactory, time: Timekeeper) -> None:
        store = open_store(ttl=None, max_age=2)
        session_id = store.create(KEY, DATA)
        store.update(session_id, {"n": 1})
        time.let_pass(1)
        assert store.get(session_id) == {"n": 1}, "the session lives until its max_age is over"
        time.let_pass(1.2)
        assert store.get(session_id) is None, "the session is gone when its max_age is over"

    @promise("time", "a session with neither ttl nor max_age does not end")
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
        assert store.get(first) is None, "a newer session of the key does not extend this one"
        assert store.get(second) == {"n": 2}, "an older session of the key does not end this one"

    @promise("purge", "expired sessions are removed and counted", needs=["purge", "clock"])
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
        assert store.get(kept) == DATA, "a live session is left alone"

    @promise("purge", "a damaged record does not affect others", needs=["purge", "clock", "damage"])
    def test_purge_passes_a_damaged_record(
        self, open_store: StoreFactory, time: Timekeeper, damage: Damage
    ) -> None:
        store = open_store(ttl=10)
        ids = [store.create(KEY, {"n": n}) for n in range(5)]
        damage(ids[2])
        time.let_pass(6)
        kept = store.create(KEY, DATA)
        time.let_pass(6)
        assert store.purge() >= len(ids) - 1, "the other expired sessions are removed"
        assert store.purge() == 0, "nothing else is left to be removed"
        assert store.get(kept) == DATA, "a live session is left alone"

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

    @promise("options", "ttl and max_age are fixed when the store is built")
    @pytest.mark.parametrize("option", ["ttl", "max_age"])
    def test_ttl_and_max_age_are_fixed(
        self, open_store: StoreFactory, time: Timekeeper, option: str
    ) -> None:
        store = open_store(**{"ttl": None, option: 100})
        with pytest.raises(JamConfigurationError):
            setattr(store, option, 1)
        session_id = store.create(KEY, DATA)
        time.let_pass(1.2)
        assert store.get(session_id) == DATA, "a refused change changes nothing"

    @promise("options", "a ttl or max_age that is not a positive whole number is refused")
    @pytest.mark.parametrize("option", ["ttl", "max_age"])
    @pytest.mark.parametrize("value", [0, -1, True, 1.5, "60"])
    def test_a_time_that_is_no_positive_number_is_refused(
        self, open_store: StoreFactory, option: str, value: object
    ) -> None:
        with pytest.raises(JamConfigurationError, match=option):
            open_store(**{option: value})
