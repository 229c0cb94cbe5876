"""list_sessions, revoke, clear_others: "my devices" and "log out everywhere else"."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from jam_core import (
    BaseSession,
    JamSessionDataError,
    JamSessionNotFound,
    generate_aes_key,
    session_handle,
)
from jam_testing.concurrency import in_threads
from jam_testing.expiry import RENEWALS, renew
from jam_testing.fixtures import DATA, KEY, Damage, Snapshot, StoreContract, StoreFactory
from jam_testing.operations import HOSTILE, NO_STRINGS
from jam_testing.optional import ended_sessions
from jam_testing.promises import promise
from jam_testing.timekeeping import Timekeeper

OTHER = "bob@example.org"
RELATED = (KEY, KEY.upper(), f"{KEY} ", f" {KEY}", f"{KEY}%", f"{KEY}:x", f"x:{KEY}", "_", "*")
_ROUNDS = 20


class DevicesContract(StoreContract):
    """A key's sessions: listed, and ended one by one or all but one."""

    @promise(
        "list_sessions",
        "every live session of the key is listed with its handle and data, and no other key's are",
        needs=["list_sessions"],
    )
    def test_the_sessions_of_a_key_are_listed(self, store: BaseSession) -> None:
        store.create(OTHER, {"n": "other"})
        expected = {session_handle(store.create(KEY, {"n": n})): {"n": n} for n in range(3)}
        listed = store.list_sessions(KEY)
        assert {one.handle: one.data for one in listed} == expected, "these and no others"
        assert len(listed) == len(expected), "each is listed once"

    @promise("list_sessions", "similar keys are kept apart", needs=["list_sessions"])
    def test_sessions_of_keys_that_resemble_each_other_are_told_apart(
        self, store: BaseSession
    ) -> None:
        expected = {key: [session_handle(store.create(key, DATA))] for key in RELATED}
        listed = {key: [one.handle for one in store.list_sessions(key)] for key in RELATED}
        assert listed == expected, "each key has its own session and no other"

    @promise("list_sessions", "ended sessions are not listed", needs=["list_sessions"])
    def test_what_has_ended_is_not_listed(self, store: BaseSession) -> None:
        ended_sessions(store)
        assert store.list_sessions(KEY) == [], "all were deleted, cleared, or given another id"
        new = store.rework(store.create(KEY, DATA))
        listed = [one.handle for one in store.list_sessions(KEY)]
        assert listed == [session_handle(new)], "a reworked session is listed under its new id"

    @promise("list_sessions", "expired sessions are not listed", needs=["list_sessions", "shared"])
    def test_what_has_expired_is_not_listed(
        self, open_store: StoreFactory, time: Timekeeper
    ) -> None:
        lasting = open_store(ttl=None).create(KEY, DATA)
        store = open_store(ttl=1)
        store.create(KEY, DATA)
        time.let_pass(1.2)
        listed = [one.handle for one in store.list_sessions(KEY)]
        assert listed == [session_handle(lasting)], "only live sessions are listed"

    @promise(
        "list_sessions",
        "the list is a snapshot: a session that gets a new id meanwhile is listed once",
        needs=["list_sessions"],
    )
    def test_a_session_that_gets_a_new_id_is_listed_once(self, store: BaseSession) -> None:
        session_id = store.create(KEY, DATA)
        done = threading.Event()

        def move() -> None:
            nonlocal session_id
            while not done.is_set():
                session_id = store.rework(session_id)

        def look() -> list[int]:
            try:
                return [len(store.list_sessions(KEY)) for _ in range(100)]
            finally:
                done.set()

        moved, seen = in_threads([move, look])
        assert moved is None, f"rework failed with {moved!r}"
        assert seen == [1] * 100, "it is never listed under both ids, or under neither"

    @promise(
        "list_sessions",
        "an unknown key has no sessions; an empty one is JamSessionDataError",
        needs=["list_sessions"],
    )
    def test_unknown_and_empty_keys_have_no_sessions(self, store: BaseSession) -> None:
        assert store.list_sessions("nobody") == [], "an unknown key has no sessions"
        for call in (lambda: store.list_sessions(""), lambda: store.revoke("", "0" * 16)):
            with pytest.raises(JamSessionDataError):
                call()

    @promise("list_sessions", "the data is the caller's own", needs=["list_sessions"])
    def test_listed_data_is_the_callers_own(self, store: BaseSession) -> None:
        session_id = store.create(KEY, {"list": [1]})
        for one in store.list_sessions(KEY):
            assert one.data == {"list": [1]}, "the data is as it was stored"
            one.data["list"].append("changed outside")
        assert store.get(session_id) == {"list": [1]}, "a change outside changes nothing stored"

    @promise(
        "list_sessions",
        "expires_at and deadline say when ttl and max_age end it",
        needs=["list_sessions"],
    )
    def test_the_list_tells_when_sessions_end(
        self, open_store: StoreFactory, time: Timekeeper
    ) -> None:
        lasting = open_store(ttl=None)
        lasting.create("endless", DATA)
        (endless,) = lasting.list_sessions("endless")
        assert (endless.expires_at, endless.deadline) == (None, None), "None means never"
        store = open_store(ttl=100, max_age=300)
        session_id = store.create(KEY, DATA)
        (first,) = store.list_sessions(KEY)
        assert first.expires_at is not None, "with a ttl it ends"
        assert first.deadline is not None, "with max_age it has a deadline"
        assert first.deadline - first.expires_at == pytest.approx(200, abs=0.01)
        time.let_pass(1)
        store.update(session_id, {})
        (later,) = store.list_sessions(KEY)
        assert later.expires_at is not None, "with a ttl it ends"
        assert later.expires_at >= first.expires_at + 1, "update restarts the ttl"
        assert later.deadline == first.deadline, "nothing puts the deadline off"

    @promise(
        "list_sessions",
        "every session of the key is listed, however many there are, and can be ended",
        needs=["list_sessions", "revoke", "clear_others"],
    )
    def test_however_many_sessions_are_listed(self, store: BaseSession) -> None:
        kept, revoked, *others = (store.create(KEY, {"n": n}) for n in range(self.many_sessions))
        handles = {session_handle(one) for one in (kept, revoked, *others)}
        listed = [one.handle for one in store.list_sessions(KEY)]
        assert set(listed) == handles, "all of them are listed"
        assert len(listed) == len(handles), "each is listed once"
        assert all(store.revoke(KEY, handle) for handle in listed[-1:]), "the last one can be ended"
        left = [one for one in (revoked, *others) if session_handle(one) != listed[-1]]
        if session_handle(kept) == listed[-1]:
            kept = left.pop()
        assert store.clear_others(kept) == len(left), "clear_others ends and counts all of them"
        assert not any(store.get(one) for one in left), "clear_others ends all of them"
        assert [one.handle for one in store.list_sessions(KEY)] == [session_handle(kept)], "one"

    @promise(
        "list_sessions",
        "created_at is when create was called, whatever has happened since, or None",
        needs=["list_sessions"],
    )
    def test_nothing_moves_created_at(self, open_store: StoreFactory, time: Timekeeper) -> None:
        store = open_store()
        session_id = store.create(KEY, DATA)
        (first,) = store.list_sessions(KEY)
        for operation in RENEWALS:
            if operation in {"touch", "mutate"} - store.capabilities:
                continue
            time.let_pass(0.3)
            session_id = renew(store, operation, session_id)
            (later,) = store.list_sessions(KEY)
            assert later.created_at == first.created_at, f"{operation} does not move it"

    @promise("list_sessions", "it writes nothing", needs=["list_sessions", "snapshot"])
    def test_listing_writes_nothing(self, store: BaseSession, snapshot: Snapshot) -> None:
        store.create(KEY, DATA)
        before = snapshot()
        store.list_sessions(KEY)
        store.list_sessions("nobody")
        assert snapshot() == before, "the backend holds what it held before"

    @promise(
        "list_sessions",
        "a damaged session is listed without data, hides no others, and can be revoked",
        needs=["list_sessions", "revoke", "damage"],
    )
    def test_a_damaged_session_is_listed_and_can_be_revoked(
        self, store: BaseSession, damage: Damage
    ) -> None:
        damaged, sound = store.create(KEY, DATA), store.create(KEY, DATA)
        damage(damaged)
        expected = {session_handle(damaged): None, session_handle(sound): DATA}
        assert {one.handle: one.data for one in store.list_sessions(KEY)} == expected, "both"
        assert store.revoke(KEY, session_handle(damaged)), "a listed session can be revoked"
        assert [one.handle for one in store.list_sessions(KEY)] == [session_handle(sound)], "gone"

    @promise("list_sessions", "it works encrypted", needs=["list_sessions", "revoke"])
    def test_devices_work_encrypted(self, open_store: StoreFactory) -> None:
        key = generate_aes_key().decode()
        store = open_store(is_session_crypt=True, session_aes_secret=key)
        kept, ended = store.create(KEY, DATA), store.create(KEY, DATA)
        expected = {session_handle(kept): DATA, session_handle(ended): DATA}
        assert {one.handle: one.data for one in store.list_sessions(KEY)} == expected, "decrypted"
        assert store.revoke(KEY, session_handle(ended)), "handles work"
        if "clear_others" in store.capabilities:
            store.create(KEY, DATA)
            assert store.clear_others(kept) == 1, "the other session ended"
        assert [one.handle for one in store.list_sessions(KEY)] == [session_handle(kept)], (
            "one left"
        )

    @promise("revoke", "it ends that session and no other, and returns True", needs=["revoke"])
    def test_revoke_ends_that_session(self, store: BaseSession) -> None:
        first, second, others = (store.create(key, DATA) for key in (KEY, KEY, OTHER))
        assert store.revoke(KEY, session_handle(first)) is True, "there was one"
        assert store.get(first) is None, "it has ended"
        assert store.get(second) == store.get(others) == DATA, "no other session has"
        assert store.revoke(KEY, session_handle(first)) is False, "it was gone already"

    @promise("revoke", "any other string identifies no session", needs=["revoke"])
    def test_revoke_takes_any_text(self, store: BaseSession) -> None:
        session_id, others = store.create(KEY, DATA), store.create(OTHER, DATA)
        handle = session_handle(session_id)
        texts = ["", "%", "*", "_" * 16, handle[:-1], handle + "0", f"{handle} ", session_id]
        for text in (*texts, session_handle(others), session_handle("unknown"), *HOSTILE.values()):
            assert store.revoke(KEY, text) is False, "no session of the key has this handle"
        assert store.get(session_id) == store.get(others) == DATA, "nobody was logged out"

    @promise("revoke", "a handle that is not a string is JamSessionDataError", needs=["revoke"])
    @pytest.mark.parametrize("handle", NO_STRINGS.values(), ids=list(NO_STRINGS))
    def test_revoke_refuses_a_handle_that_is_no_string(
        self, store: BaseSession, handle: Callable[[str], Any]
    ) -> None:
        session_id = store.create(KEY, DATA)
        with pytest.raises(JamSessionDataError):
            store.revoke(KEY, handle(session_handle(session_id)))
        assert store.get(session_id) == DATA, "what is refused changes nothing"

    @promise("revoke", "an expired session is no longer there to be revoked", needs=["revoke"])
    def test_revoke_of_what_has_expired(self, open_store: StoreFactory, time: Timekeeper) -> None:
        store = open_store(ttl=1)
        handle = session_handle(store.create(KEY, DATA))
        time.let_pass(1.2)
        assert store.revoke(KEY, handle) is False, "the session had ended on its own"

    @promise("revoke", "if revoke and rework race, exactly one succeeds", needs=["revoke"])
    def test_of_revoke_and_rework_one_wins(self, store: BaseSession) -> None:
        for _ in range(_ROUNDS):
            old = store.create(KEY, DATA)
            handle = session_handle(old)
            revoked, new = in_threads(
                [
                    lambda handle=handle: store.revoke(KEY, handle),  # type: ignore[misc]
                    lambda old=old: store.rework(old),  # type: ignore[misc]
                ]
            )
            assert store.get(old) is None, "the old id is dead, whichever won"
            if isinstance(new, str):
                assert revoked is False, "by then the session had another handle"
                assert store.get(new) == DATA, "the session lives under its new id"
            else:
                assert isinstance(new, JamSessionNotFound), f"rework failed with {new!r}"
                assert revoked is True, "the session was ended by revoke"

    @promise(
        "clear_others",
        "every other session of the key ends, and no other key's; their number is returned",
        needs=["clear_others"],
    )
    def test_clear_others_ends_the_others(self, store: BaseSession) -> None:
        others = [store.create(KEY, DATA) for _ in range(3)]
        kept = store.create(KEY, DATA)
        related = [store.create(key, DATA) for key in RELATED if key != KEY]
        assert store.clear_others(kept) == len(others), "that many sessions ended"
        assert [store.get(one) for one in others] == [None] * len(others), "the others have ended"
        assert store.get(kept) == DATA, "the session itself stays as it is"
        assert all(store.get(one) == DATA for one in related), "keys do not collide"
        assert store.clear_others(kept) == 0, "there are no others left"

    @promise(
        "clear_others",
        "a session that is gone is JamSessionNotFound, and nobody is logged out",
        needs=["clear_others"],
    )
    def test_clear_others_of_a_session_that_is_gone(self, store: BaseSession) -> None:
        gone = (*ended_sessions(store), "never issued", "", *HOSTILE.values())
        living = store.create(KEY, DATA)
        for session_id in gone:
            with pytest.raises(JamSessionNotFound):
                store.clear_others(session_id)
        assert store.get(living) == DATA, "nobody was logged out"

    @promise(
        "clear_others",
        "an expired session ends nobody's session, and is not counted",
        needs=["clear_others", "shared"],
    )
    def test_clear_others_and_what_has_expired(
        self, open_store: StoreFactory, time: Timekeeper
    ) -> None:
        kept = open_store(ttl=None).create(KEY, DATA)
        store = open_store(ttl=1)
        expired = store.create(KEY, DATA)
        time.let_pass(1.2)
        with pytest.raises(JamSessionNotFound):
            store.clear_others(expired)
        assert store.clear_others(kept) == 0, "the expired session had already ended"
        assert store.get(kept) == DATA, "the session itself stays as it is"

    @promise("clear_others", "it does not restart the ttl", needs=["clear_others"])
    def test_clear_others_does_not_restart_the_ttl(
        self, open_store: StoreFactory, time: Timekeeper
    ) -> None:
        store = open_store(ttl=2)
        kept = store.create(KEY, DATA)
        time.let_pass(1.2)
        store.create(KEY, DATA)
        assert store.clear_others(kept) == 1, "the other session ended"
        time.let_pass(1)
        assert store.get(kept) is None, "the ttl ran on"

    @promise(
        "clear_others",
        "a rework of the session at the same time does not end it",
        needs=["clear_others"],
    )
    def test_clear_others_does_not_end_what_is_reworked(self, store: BaseSession) -> None:
        for _ in range(_ROUNDS):
            store.clear(KEY)
            kept, other = store.create(KEY, DATA), store.create(KEY, DATA)
            ended, new = in_threads(
                [
                    lambda kept=kept: store.clear_others(kept),  # type: ignore[misc]
                    lambda kept=kept: store.rework(kept),  # type: ignore[misc]
                ]
            )
            assert isinstance(new, str), f"rework failed with {new!r}"
            assert store.get(new) == DATA, "the session lives on under its new id"
            if isinstance(ended, JamSessionNotFound):
                assert store.get(other) == DATA, "clear_others came too late and ended nothing"
            else:
                assert ended == 1, "the one other session has ended"
                assert store.get(other) is None, "the one other session has ended"

    @promise(
        "clear_others",
        "another session that gets a new id at the same time still ends",
        needs=["clear_others"],
    )
    def test_clear_others_ends_what_is_reworked(self, store: BaseSession) -> None:
        for _ in range(_ROUNDS):
            store.clear(KEY)
            kept, other = store.create(KEY, DATA), store.create(KEY, DATA)
            ended, new = in_threads(
                [
                    lambda kept=kept: store.clear_others(kept),  # type: ignore[misc]
                    lambda other=other: store.rework(other),  # type: ignore[misc]
                ]
            )
            assert ended == 1, "the other session has ended, under whichever id"
            assert store.get(other) is None, "the old id is dead"
            assert not isinstance(new, str) or store.get(new) is None, "the new id is dead"
            assert store.get(kept) == DATA, "the session itself stays as it is"

    @promise(
        "clear_others",
        "if two sessions end each other at once, one is left",
        needs=["clear_others"],
    )
    def test_of_two_that_clear_the_others_one_is_left(self, store: BaseSession) -> None:
        for _ in range(_ROUNDS):
            store.clear(KEY)
            pair = [store.create(KEY, DATA) for _ in range(2)]
            in_threads([lambda one=one: store.clear_others(one) for one in pair])  # type: ignore[misc]
            left = [one for one in pair if store.get(one) is not None]
            assert len(left) == 1, "one ends the other, which is then no longer a session"
