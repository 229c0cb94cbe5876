"""List_sessions, revoke, clear_others: "my devices" and "log out everywhere else"."""

import threading

import pytest

from jam_core.codec import generate_aes_key, session_handle
from jam_core.exceptions import JamSessionDataError, JamSessionNotFound
from jam_core.session import BaseSession
from jam_core.testing.concurrency import in_threads
from jam_core.testing.fixtures import DATA, KEY, Damage, Snapshot, StoreContract, StoreFactory
from jam_core.testing.operations import HOSTILE
from jam_core.testing.optional import ended_sessions
from jam_core.testing.promises import promise
from jam_core.testing.timekeeping import Timekeeper

OTHER = "bob@example.org"
RELATED = (KEY, KEY.upper(), f"{KEY} ", f" {KEY}", f"{KEY}%", f"{KEY}:x", f"x:{KEY}", "_", "*")
_ROUNDS = 20


class DevicesContract(StoreContract):
    """A key's sessions: seen, and ended one by one or all but one."""

    @promise(
        "list_sessions",
        "every live session of the key is listed, with its handle and data, and no other key's",
        needs=["list_sessions"],
    )
    def test_the_sessions_of_a_key_are_listed(self, store: BaseSession) -> None:
        store.create(OTHER, {"n": "other"})
        expected = {session_handle(store.create(KEY, {"n": n})): {"n": n} for n in range(3)}
        listed = store.list_sessions(KEY)
        assert {one.handle: one.data for one in listed} == expected, "these and no others"
        assert len(listed) == len(expected), "each is listed once"

    @promise(
        "list_sessions", "keys that resemble each other are told apart", needs=["list_sessions"]
    )
    def test_sessions_of_keys_that_resemble_each_other_are_told_apart(
        self, store: BaseSession
    ) -> None:
        expected = {key: [session_handle(store.create(key, DATA))] for key in RELATED}
        listed = {key: [one.handle for one in store.list_sessions(key)] for key in RELATED}
        assert listed == expected, "each key has its own session and no other"

    @promise("list_sessions", "what has ended is not listed", needs=["list_sessions"])
    def test_what_has_ended_is_not_listed(self, store: BaseSession) -> None:
        ended_sessions(store)
        assert store.list_sessions(KEY) == [], "deleted, cleared, or under another id by now"
        new = store.rework(store.create(KEY, DATA))
        listed = [one.handle for one in store.list_sessions(KEY)]
        assert listed == [session_handle(new)], "a reworked session is listed under its new id"

    @promise("list_sessions", "what has expired is not listed", needs=["list_sessions", "shared"])
    def test_what_has_expired_is_not_listed(
        self, open_store: StoreFactory, time: Timekeeper
    ) -> None:
        lasting = open_store(ttl=None).create(KEY, DATA)
        store = open_store(ttl=1)
        store.create(KEY, DATA)
        time.let_pass(1.2)
        listed = [one.handle for one in store.list_sessions(KEY)]
        assert listed == [session_handle(lasting)], "only what lives is listed"

    @promise(
        "list_sessions",
        "it is what there was at one moment: a session that gets a new id is listed once",
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
        assert seen == [1] * 100, "neither under both ids nor under none"

    @promise(
        "list_sessions",
        "an unknown key has no sessions; an empty one is JamSessionDataError",
        needs=["list_sessions"],
    )
    def test_unknown_and_empty_keys_have_no_sessions(self, store: BaseSession) -> None:
        assert store.list_sessions("nobody") == [], "nobody has none"
        for call in (lambda: store.list_sessions(""), lambda: store.revoke("", "0" * 16)):
            with pytest.raises(JamSessionDataError):
                call()

    @promise("list_sessions", "the data is the caller's own", needs=["list_sessions"])
    def test_listed_data_is_the_callers_own(self, store: BaseSession) -> None:
        session_id = store.create(KEY, {"list": [1]})
        for one in store.list_sessions(KEY):
            assert one.data == {"list": [1]}, "the data as it was stored"
            one.data["list"].append("changed outside")
        assert store.get(session_id) == {"list": [1]}, "a change outside changes nothing stored"

    @promise(
        "list_sessions",
        "expires_at and deadline tell when ttl and max_age end it",
        needs=["list_sessions"],
    )
    def test_the_list_tells_when_sessions_end(
        self, open_store: StoreFactory, time: Timekeeper
    ) -> None:
        lasting = open_store(ttl=None)
        lasting.create("endless", DATA)
        (endless,) = lasting.list_sessions("endless")
        assert (endless.expires_at, endless.deadline) == (None, None), "None is never"
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
        assert later.deadline == first.deadline, "nothing pushes the deadline out"

    @promise("list_sessions", "it writes nothing", needs=["list_sessions", "snapshot"])
    def test_listing_writes_nothing(self, store: BaseSession, snapshot: Snapshot) -> None:
        store.create(KEY, DATA)
        before = snapshot()
        store.list_sessions(KEY)
        store.list_sessions("nobody")
        assert snapshot() == before, "the backend holds what it held"

    @promise(
        "list_sessions",
        "a damaged session is listed without data, hides no other, and can be revoked",
        needs=["list_sessions", "revoke", "damage"],
    )
    def test_a_damaged_session_is_listed_and_can_be_revoked(
        self, store: BaseSession, damage: Damage
    ) -> None:
        damaged, sound = store.create(KEY, DATA), store.create(KEY, DATA)
        damage(damaged)
        expected = {session_handle(damaged): None, session_handle(sound): DATA}
        assert {one.handle: one.data for one in store.list_sessions(KEY)} == expected, "both"
        assert store.revoke(KEY, session_handle(damaged)), "what is listed can be revoked"
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

    @promise("revoke", "it ends that session and no other, and tells so", needs=["revoke"])
    def test_revoke_ends_that_session(self, store: BaseSession) -> None:
        first, second, others = (store.create(key, DATA) for key in (KEY, KEY, OTHER))
        assert store.revoke(KEY, session_handle(first)) is True, "there was one"
        assert store.get(first) is None, "it is ended"
        assert store.get(second) == store.get(others) == DATA, "no other is"
        assert store.revoke(KEY, session_handle(first)) is False, "it was gone already"

    @promise("revoke", "any other text names no session", needs=["revoke"])
    def test_revoke_takes_any_text(self, store: BaseSession) -> None:
        session_id, others = store.create(KEY, DATA), store.create(OTHER, DATA)
        handle = session_handle(session_id)
        texts = ["", "%", "*", "_" * 16, handle[:-1], handle + "0", f"{handle} ", session_id]
        for text in (*texts, session_handle(others), session_handle("unknown"), *HOSTILE.values()):
            assert store.revoke(KEY, text) is False, "no session of the key has this handle"
        assert store.get(session_id) == store.get(others) == DATA, "nobody was logged out"

    @promise("revoke", "what has expired is not there to be revoked", needs=["revoke"])
    def test_revoke_of_what_has_expired(self, open_store: StoreFactory, time: Timekeeper) -> None:
        store = open_store(ttl=1)
        handle = session_handle(store.create(KEY, DATA))
        time.let_pass(1.2)
        assert store.revoke(KEY, handle) is False, "the session had ended by itself"

    @promise("revoke", "of revoke and rework at once, one wins", needs=["revoke"])
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
            assert store.get(old) is None, "the old id is dead, whoever won"
            if isinstance(new, str):
                assert revoked is False, "the session had another handle by then"
                assert store.get(new) == DATA, "the session lives under its new id"
            else:
                assert isinstance(new, JamSessionNotFound), f"rework failed with {new!r}"
                assert revoked is True, "the session was ended by revoke"

    @promise(
        "clear_others",
        "every other session of the key ends, no other key's; how many is returned",
        needs=["clear_others"],
    )
    def test_clear_others_ends_the_others(self, store: BaseSession) -> None:
        others = [store.create(KEY, DATA) for _ in range(3)]
        kept = store.create(KEY, DATA)
        related = [store.create(key, DATA) for key in RELATED if key != KEY]
        assert store.clear_others(kept) == len(others), "so many ended"
        assert [store.get(one) for one in others] == [None] * len(others), "the others are ended"
        assert store.get(kept) == DATA, "the session itself stays as it is"
        assert all(store.get(one) == DATA for one in related), "keys do not collide"
        assert store.clear_others(kept) == 0, "there are no others any more"

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
        "what has expired ends nobody's session, and is not counted",
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
        assert store.clear_others(kept) == 0, "what has expired had ended already"
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
                assert store.get(other) == DATA, "who came too late ended nothing"
            else:
                assert ended == 1, "the one other session is ended"
                assert store.get(other) is None, "the one other session is ended"

    @promise(
        "clear_others",
        "another session that gets a new id at the same time ends all the same",
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
            assert ended == 1, "the other session is ended, under whichever id"
            assert store.get(other) is None, "the old id is dead"
            assert not isinstance(new, str) or store.get(new) is None, "the new id is dead"
            assert store.get(kept) == DATA, "the session itself stays as it is"

    @promise("clear_others", "of two that end each other, one is left", needs=["clear_others"])
    def test_of_two_that_clear_the_others_one_is_left(self, store: BaseSession) -> None:
        for _ in range(_ROUNDS):
            store.clear(KEY)
            pair = [store.create(KEY, DATA) for _ in range(2)]
            in_threads([lambda one=one: store.clear_others(one) for one in pair])  # type: ignore[misc]
            left = [one for one in pair if store.get(one) is not None]
            assert len(left) == 1, "one ends the other, who then is no session any more"
