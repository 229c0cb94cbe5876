"""Log-in, sessions with their own ttl or max_age, and what info and seen show about a session."""

from functools import partial
from typing import Any

import pytest

from jam_core import (
    BaseSession,
    JamSessionConflict,
    JamSessionDataError,
    JamSessionNotFound,
    generate_aes_key,
    session_handle,
)
from jam_core.hosting import LIFETIMES, LOGIN, RECORDS, SEEN
from jam_testing.concurrency import in_threads
from jam_testing.expiry import RENEWALS, renew
from jam_testing.fixtures import DATA, KEY, PRIVATE, Snapshot, StoreContract, StoreFactory
from jam_testing.promises import promise
from jam_testing.timekeeping import Timekeeper

USER = "user-who-logs-in@example.org"
REFUSED = "user-whose-sessions-are-all-refused@example.org"
NO_TIMES = [0, -1, True, 1.5, "60"]


class LifetimesContract(StoreContract):
    """Log-in, lifetimes, info and seen; each only if the store supports it."""

    @promise("create", "a session's own ttl counts instead of the store's", needs=[LIFETIMES])
    def test_a_ttl_of_its_own_counts_instead_of_the_stores(
        self, open_store: StoreFactory, time: Timekeeper
    ) -> None:
        store = open_store(ttl=2)
        usual = store.create(KEY, DATA)
        longer = store.create(KEY, DATA, ttl=100)
        endless = store.create(KEY, DATA, ttl=None)
        shorter = store.create(KEY, DATA, ttl=1)
        time.let_pass(1.2)
        assert store.get(shorter) is None, "a shorter ttl than the store's counts"
        assert store.get(usual) == DATA, "a session without its own ttl has the store's"
        time.let_pass(1.2)
        assert store.get(usual) is None, "the session with the store's ttl has ended"
        assert store.get(longer) == DATA, "a longer ttl than the store's counts"
        assert store.get(endless) == DATA, "a ttl of None is no limit"

    @promise("create", "a session keeps its own ttl until it ends or logs in", needs=[LIFETIMES])
    @pytest.mark.parametrize("operation", RENEWALS)
    def test_a_session_keeps_its_own_ttl_for_life(
        self, open_store: StoreFactory, time: Timekeeper, operation: str
    ) -> None:
        store = open_store(ttl=100)
        if operation in ("touch", "mutate"):
            self.need(store, operation)
        brief, endless = store.create(KEY, DATA, ttl=2), store.create(KEY, DATA, ttl=None)
        time.let_pass(1.4)
        brief, endless = renew(store, operation, brief), renew(store, operation, endless)
        time.let_pass(1.4)
        assert store.get(brief) is not None, f"{operation} restarts a session's own ttl"
        time.let_pass(1.4)
        assert store.get(brief) is None, f"the ttl is as long as before after {operation}"
        if time.exact:
            time.let_pass(1000)
        assert store.get(endless) is not None, f"no limit stays no limit after {operation}"

    @promise("create", "a session's own max_age counts instead of the store's", needs=[LIFETIMES])
    def test_a_max_age_of_its_own_counts_instead_of_the_stores(
        self, open_store: StoreFactory, time: Timekeeper
    ) -> None:
        store = open_store(ttl=None, max_age=2)
        usual = store.create(KEY, DATA)
        longer = store.create(KEY, DATA, max_age=100)
        endless = store.create(KEY, DATA, max_age=None)
        shorter = store.create(KEY, DATA, max_age=1)
        time.let_pass(1.2)
        store.update(usual, DATA)
        with pytest.raises(JamSessionNotFound):
            store.update(shorter, DATA)
        time.let_pass(1.2)
        assert store.get(usual) is None, "a session without its own max_age has the store's"
        assert store.get(longer) == DATA, "a longer max_age than the store's counts"
        assert store.get(endless) == DATA, "a max_age of None is no limit"

    @promise(
        "create", "a session's own ttl or max_age is refused if it is not a time", needs=[LIFETIMES]
    )
    @pytest.mark.parametrize("option", ["ttl", "max_age"])
    @pytest.mark.parametrize("value", NO_TIMES)
    def test_an_invalid_ttl_or_max_age_of_its_own_is_refused(
        self, store: BaseSession, option: str, value: Any
    ) -> None:
        with pytest.raises(JamSessionDataError, match=option):
            store.create(REFUSED, DATA, **{option: value})
        if "list_sessions" in store.capabilities:
            assert store.list_sessions(REFUSED) == [], "nothing is stored if it is refused"

    @promise("rework", "with a session_key the session becomes that key's", needs=[LOGIN])
    @pytest.mark.parametrize("crypt", [False, True], ids=["plain", "encrypted"])
    def test_a_log_in_gives_the_session_to_the_user(
        self, open_store: StoreFactory, crypt: bool
    ) -> None:
        store = open_store(is_session_crypt=crypt, session_aes_secret=_key(crypt))
        visitor, other = store.create(KEY, DATA), store.create(KEY, {"n": 1})
        user = store.rework(visitor, USER)
        assert user != visitor, "the user has a new id"
        assert store.get(user) == DATA, "the visitor's data comes along"
        assert store.get(visitor) is None, "the visitor's id is dead"
        store.clear(KEY)
        assert store.get(other) is None, "the visitor's other sessions end with the visitor's key"
        assert store.get(user) == DATA, "the session is no longer the visitor's"
        store.update(user, {"n": 2})
        user = store.rework(user)
        assert store.get(user) == {"n": 2}, "it can be changed like any session"
        store.clear(USER)
        assert store.get(user) is None, "the session is the user's, and ends with the others"

    @promise("rework", "a log-in begins the session now, with the store's limits", needs=[LOGIN])
    def test_a_log_in_begins_the_session_now(
        self, open_store: StoreFactory, time: Timekeeper
    ) -> None:
        store = open_store(ttl=None, max_age=3)
        user = store.create(KEY, DATA)
        time.let_pass(2)
        user = store.rework(user, USER)
        time.let_pass(2)
        assert store.get(user) == DATA, "max_age counts from the log-in"
        time.let_pass(1.2)
        assert store.get(user) is None, "max_age ends the session that began at the log-in"

    @promise("rework", "a log-in can have its own ttl and max_age", needs=[LOGIN, LIFETIMES])
    def test_a_log_in_has_limits_of_its_own(
        self, open_store: StoreFactory, time: Timekeeper
    ) -> None:
        store = open_store(ttl=2, max_age=None)
        visitors = [store.create(KEY, DATA, ttl=100) for _ in range(3)]
        usual = store.rework(visitors[0], USER)
        remembered = store.rework(visitors[1], USER, ttl=100)
        limited = store.rework(visitors[2], USER, ttl=None, max_age=1)
        time.let_pass(1.2)
        assert store.get(limited) is None, "the max_age given at log-in counts"
        assert store.get(usual) == DATA
        time.let_pass(1.2)
        assert store.get(usual) is None, "the visitor's own ttl does not outlive the log-in"
        store.update(remembered, DATA)
        time.let_pass(2.4)
        assert store.get(remembered) == DATA, "the ttl given at log-in counts for life"

    @promise("rework", "a log-in that is refused changes nothing", needs=[LOGIN])
    def test_a_log_in_that_is_refused_changes_nothing(self, store: BaseSession) -> None:
        visitor = store.create(KEY, DATA)
        refused: list[dict[str, Any]] = [
            {"session_key": ""},
            {"session_key": 7},
            {"ttl": 60},
            {"max_age": 60},
            {"session_key": USER, "ttl": 0},
        ]
        for arguments in refused:
            with pytest.raises(JamSessionDataError):
                store.rework(visitor, **arguments)
        assert store.get(visitor) == DATA, "the session is as it was"
        store.delete(visitor)
        with pytest.raises(JamSessionNotFound):
            store.rework(visitor, USER)

    @promise("rework", "if two requests log one visitor in, exactly one succeeds", needs=[LOGIN])
    def test_of_two_log_ins_one_wins(self, store: BaseSession) -> None:
        for _ in range(self.race_rounds):
            visitor = store.create(KEY, DATA)
            ids = in_threads([partial(store.rework, visitor, user) for user in (USER, "bob")])
            live = [one for one in ids if isinstance(one, str) and store.get(one) is not None]
            assert len(live) == 1, "one is logged in"
            lost = [one for one in ids if not isinstance(one, str)]
            assert [type(one) for one in lost] == [JamSessionNotFound], "the other gets an error"
            store.clear(USER)
            store.clear("bob")
            assert store.get(live[0]) is None, "the session is the winner's"

    @promise("rework", "a log-out that races a log-in wins, or ends the visitor", needs=[LOGIN])
    def test_a_log_out_that_races_a_log_in_leaves_nobody_logged_in_twice(
        self, store: BaseSession
    ) -> None:
        for _ in range(self.race_rounds):
            visitor = store.create(KEY, DATA)
            user, _ = in_threads(
                [partial(store.rework, visitor, USER), partial(store.delete, visitor)]
            )
            assert store.get(visitor) is None, "the visitor's id is dead either way"
            if isinstance(user, str):
                assert store.get(user) == DATA, "a log-in that succeeded came before the log-out"
            else:
                assert isinstance(user, JamSessionNotFound), "a log-in that came late gets an error"
            store.clear(USER)

    @promise(
        "info", "info shows the session that get reads, and None where get does", needs=["info"]
    )
    @pytest.mark.parametrize("crypt", [False, True], ids=["plain", "encrypted"])
    def test_info_shows_what_get_reads(self, open_store: StoreFactory, crypt: bool) -> None:
        store = open_store(is_session_crypt=crypt, session_aes_secret=_key(crypt), ttl=60)
        session_id = store.create(KEY, DATA)
        info = store.info(session_id)
        assert info is not None, "info finds the session"
        assert info.data == DATA, "info shows the data"
        assert info.session_key == KEY, "info tells whose session it is"
        assert info.handle == session_handle(session_id), "info tells the session's handle"
        assert info.ttl == 60, "info tells the ttl"
        assert PRIVATE not in repr(info), "repr does not show data"
        store.delete(session_id)
        unknown: list[Any] = [session_id, "", "no id", "../..", None, 7]
        assert [store.info(one) for one in unknown] == [None] * len(unknown)

    @promise(
        "info", "info tells when the session ends, exactly", needs=["info", LIFETIMES, "clock"]
    )
    def test_info_tells_when_the_session_ends(
        self, open_store: StoreFactory, time: Timekeeper
    ) -> None:
        assert time.clock is not None
        store = open_store(ttl=60, max_age=100)
        began = time.clock.now
        session_id = store.create(KEY, DATA)
        own = store.create(KEY, DATA, ttl=20, max_age=None)
        time.let_pass(50)
        session_id = renew(store, "rework", session_id)
        info = store.info(session_id)
        assert info is not None
        assert info.created_at in (None, began), "rework does not change created_at"
        assert (info.expires_at, info.deadline) == (began + 100, began + 100)
        assert store.info(own) is None, "info does not show ended sessions"
        own = store.create(KEY, DATA, ttl=20, max_age=None)
        info = store.info(own)
        assert info is not None
        assert (info.ttl, info.expires_at, info.deadline) == (20, time.clock.now + 20, None)
        time.let_pass(15)
        before = store.info(own)
        assert before == info, "reading changes nothing"

    @promise("info", "info writes nothing", needs=["info", "snapshot"])
    def test_info_writes_nothing(self, store: BaseSession, snapshot: Snapshot) -> None:
        session_id = store.create(KEY, DATA)
        before = snapshot()
        store.info(session_id)
        store.info("no id")
        assert snapshot() == before, "the backend holds what it held before"

    @promise("update", "with `seen`, only the data that was seen is replaced", needs=[SEEN, "info"])
    @pytest.mark.parametrize("crypt", [False, True], ids=["plain", "encrypted"])
    def test_update_replaces_only_what_was_seen(
        self, open_store: StoreFactory, crypt: bool
    ) -> None:
        store = open_store(is_session_crypt=crypt, session_aes_secret=_key(crypt))
        session_id = store.create(KEY, {"n": 0})
        seen = store.info(session_id)
        assert seen is not None
        store.update(session_id, {"n": 1}, seen=seen)
        assert store.get(session_id) == {"n": 1}, "nobody came in between: the data is updated"
        with pytest.raises(JamSessionConflict):
            store.update(session_id, {"n": 2}, seen=seen)
        assert store.get(session_id) == {"n": 1}, "somebody else's change stays"
        seen = store.info(session_id)
        session_id = store.rework(session_id)
        store.update(session_id, {"n": 3}, seen=seen)
        assert store.get(session_id) == {"n": 3}, "a new id does not change the data"
        store.delete(session_id)
        with pytest.raises(JamSessionNotFound):
            store.update(session_id, {"n": 4}, seen=seen)
        assert store.get(session_id) is None, "what is gone stays gone"

    @promise(
        "update",
        "if two requests update what they saw at once, exactly one succeeds",
        needs=[SEEN, "info"],
    )
    def test_of_two_updates_of_what_was_seen_one_wins(self, store: BaseSession) -> None:
        session_id = store.create(KEY, {"n": 0})
        for n in range(self.race_rounds):
            store.update(session_id, {"round": n})
            seen = store.info(session_id)
            outcomes = in_threads(
                [partial(store.update, session_id, {"by": by}, seen=seen) for by in range(2)]
            )
            won = [by for by, outcome in enumerate(outcomes) if outcome is None]
            assert len(won) == 1, "one update is carried out"
            assert isinstance(outcomes[1 - won[0]], JamSessionConflict), "the other gets an error"
            assert store.get(session_id) == {"by": won[0]}, "the data is the winner's"

    @promise(
        "records",
        "a session moved to another store keeps its own ttl and deadline",
        needs=[RECORDS, LIFETIMES, "clock"],
    )
    def test_a_moved_session_keeps_its_own_ttl(
        self, open_store: StoreFactory, time: Timekeeper
    ) -> None:
        store = open_store(ttl=10, max_age=None)
        own, endless = store.create(KEY, DATA, ttl=50), store.create(KEY, DATA, ttl=None)
        records = list(store.records())
        store.clear(KEY)
        assert store.restore(records) == 2
        for session_id in (own, endless):
            store.update(session_id, DATA)
        time.let_pass(49)
        assert store.get(own) == DATA, "the session keeps its own ttl there"
        time.let_pass(2)
        assert store.get(own) is None, "the session keeps its own ttl there"
        assert store.get(endless) == DATA, "no limit stays no limit there"


def _key(crypt: bool) -> bytes | None:
    return generate_aes_key() if crypt else None
