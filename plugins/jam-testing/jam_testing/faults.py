"""What goes wrong, and what must not be seen: outages, damage, restarts, talkative stores."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from jam_core import (
    BaseEncoder,
    BaseSession,
    JamError,
    JamSessionCorrupt,
    JamSessionDataError,
    JamSessionNotFound,
    JamStoreUnavailable,
    JsonEncoder,
    SessionRecord,
    generate_aes_key,
    hash_id,
    session_handle,
)
from jam_core.hosting import OPTIONAL_OPERATIONS, RECORDS
from jam_testing.concurrency import Late, in_threads
from jam_testing.fixtures import (
    DATA,
    KEY,
    PRIVATE,
    BreakBackend,
    Damage,
    Snapshot,
    StoreContract,
    StoreFactory,
    Watch,
)
from jam_testing.operations import HOSTILE
from jam_testing.processes import run_in_a_process_that_dies
from jam_testing.promises import promise
from jam_testing.timekeeping import ManualClock

OTHER_KEY = "bob@example.org"


class Odd(BaseEncoder):
    """Writes what no other serializer reads."""

    @classmethod
    def dumps(cls, var: dict[str, Any]) -> bytes:
        """Write JSON after a word that is not JSON."""
        return b"odd" + JsonEncoder.dumps(var)

    @classmethod
    def loads(cls, var: str | bytes) -> dict[str, Any]:
        """Read what `dumps` wrote."""
        return JsonEncoder.loads(var[3:])


class FaultsContract(StoreContract):
    """An outage logs nobody out, damage stays where it is, and nothing private is said.

    Attributes:
        outage_limit: Seconds within which every operation must give up on a backend that does
            not answer.
    """

    outage_limit = 30.0

    @promise("durability", "what was written outlives the store", needs=["durable"])
    def test_what_was_written_outlives_the_store(self, open_store: StoreFactory) -> None:
        store = open_store()
        kept, ended = store.create(KEY, DATA), store.create(KEY, DATA)
        store.delete(ended)
        store.close()
        again = open_store()
        assert again.get(kept) == DATA, "the session is there after a restart"
        assert again.get(ended) is None, "an ended session is gone after a restart"
        again.clear(KEY)
        assert again.get(kept) is None, "clear finds it after a restart"

    @promise(
        "durability",
        "a write that has returned outlives its process, even one that is killed",
        needs=["durable", "shared"],
    )
    def test_what_was_written_outlives_its_process(self, open_store: StoreFactory) -> None:
        def write() -> tuple[str, str]:
            store = open_store()
            created, reworked = store.create(KEY, DATA), store.create(KEY, {})
            store.update(reworked, DATA)
            return created, store.rework(reworked)

        ids = run_in_a_process_that_dies(write)
        store = open_store()
        assert [store.get(session_id) for session_id in ids] == [DATA, DATA], "nothing is lost"

    @promise("durability", "a store sees at once what another one wrote", needs=["shared"])
    def test_one_store_sees_at_once_what_another_wrote(self, open_store: StoreFactory) -> None:
        here, there = open_store(), open_store()
        session_id = here.create(KEY, {"n": 1})
        assert there.get(session_id) == {"n": 1}, "the other store sees create"
        there.update(session_id, {"n": 2})
        assert here.get(session_id) == {"n": 2}, "the other store sees update"
        reworked = here.rework(session_id)
        assert there.get(session_id) is None, "the other store sees the old id dead"
        assert there.get(reworked) == {"n": 2}, "the other store sees the new id"
        there.clear(KEY)
        assert here.get(reworked) is None, "the other store sees clear"

    @promise(
        "outages",
        "while the backend does not respond, every operation raises JamStoreUnavailable in time",
        needs=["break_backend"],
    )
    def test_an_outage_is_one_error_and_no_logout(
        self, open_store: StoreFactory, break_backend: BreakBackend
    ) -> None:
        store = open_store()
        session_id = store.create(KEY, DATA)
        self._all_operations_say_so(store, session_id, break_backend)
        self._works_as_before(store, session_id)

    @promise(
        "outages",
        'a silent backend is JamStoreUnavailable in time, too, and never "no session"',
        needs=["hang_backend"],
    )
    def test_a_silent_backend_is_an_outage(
        self, open_store: StoreFactory, hang_backend: BreakBackend
    ) -> None:
        store = open_store()
        session_id = store.create(KEY, DATA)
        self._all_operations_say_so(store, session_id, hang_backend)
        self._works_as_before(store, session_id)

    def _all_operations_say_so(
        self, store: BaseSession, session_id: str, outage: BreakBackend
    ) -> None:
        # Writes in an outage may or may not be carried out, so they go to other sessions.
        calls = every_operation(store, [store.create(OTHER_KEY, DATA) for _ in range(8)])
        calls["get"] = lambda: store.get(session_id)
        with outage():
            outcomes = in_threads(list(calls.values()), self.outage_limit)
        for name, outcome in zip(calls, outcomes, strict=True):
            assert not isinstance(outcome, Late), f"{name} did not give up in time"
            assert isinstance(outcome, JamStoreUnavailable), (
                f"{name} in an outage gave {type(outcome).__name__}, not JamStoreUnavailable"
            )

    @staticmethod
    def _works_as_before(store: BaseSession, session_id: str) -> None:
        """Check that an outage is over; what the backend had only in memory may be lost."""
        found = store.get(session_id)
        lost = found is None and "durable" not in store.capabilities
        assert lost or found == DATA, "when the outage is over, the session is there"
        session_id = store.create(KEY, DATA)
        store.update(session_id, {"n": 1})
        assert store.get(session_id) == {"n": 1}, "when the outage is over, the store works"

    @promise(
        "outages",
        "an operation that was refused in an outage is not carried out later",
        needs=["break_backend"],
    )
    def test_what_an_outage_refused_is_not_carried_out_later(
        self, open_store: StoreFactory, break_backend: BreakBackend
    ) -> None:
        store = open_store()
        ids = [store.create(OTHER_KEY, DATA) for _ in range(8)]
        calls = every_operation(store, ids)
        calls["clear"] = lambda: store.clear(OTHER_KEY)
        calls["update"] = lambda: store.update(ids[0], {"refused": True})
        with break_backend():
            in_threads(list(calls.values()), self.outage_limit)
        expected = [store.get(one) for one in ids]
        if "durable" in store.capabilities:
            assert expected == [DATA] * len(ids), "nothing reached the backend"
        for _ in range(3):
            session_id = store.create(KEY, {})
            store.update(session_id, DATA)
            store.delete(session_id)
        assert [store.get(one) for one in ids] == expected, "what was refused stays refused"
        store.close()
        if "durable" in store.capabilities:
            again = open_store()
            assert [again.get(one) for one in ids] == expected, "what was refused stays refused"

    @promise(
        "outages",
        "a store opened while the backend does not respond says so then, or when it is used",
        needs=["break_backend"],
    )
    def test_a_store_opened_in_an_outage_says_so(
        self, open_store: StoreFactory, break_backend: BreakBackend
    ) -> None:
        session_id = open_store().create(KEY, DATA)
        with break_backend(), pytest.raises(JamStoreUnavailable):
            open_store().get(session_id)

    @promise("damage", "a record from another serializer is JamSessionCorrupt", needs=["shared"])
    def test_a_record_of_another_serializer_is_corrupt_and_left_alone(
        self, open_store: StoreFactory
    ) -> None:
        odd, normal = open_store(serializer=Odd), open_store()
        session_id, other = odd.create(KEY, DATA), normal.create(KEY, {"n": 1})
        with pytest.raises(JamSessionCorrupt):
            normal.get(session_id)
        assert normal.get(other) == {"n": 1}, "other sessions are not affected"
        assert odd.get(session_id) == DATA, "the record was left as it is"
        normal.delete(session_id)
        assert odd.get(session_id) is None, "a damaged session can be ended"

    @promise(
        "damage",
        "a damaged record is JamSessionCorrupt, is left as it is, and can be ended",
        needs=["damage"],
    )
    def test_a_damaged_record_is_corrupt_and_left_alone(
        self, open_store: StoreFactory, damage: Damage
    ) -> None:
        store = open_store()
        deleted, cleared, other = (store.create(key, DATA) for key in (KEY, KEY, OTHER_KEY))
        damage(deleted)
        damage(cleared)
        readers = [store]
        if "durable" in store.capabilities:
            readers.append(open_store())
        for reader in readers * 2:
            for session_id in (deleted, cleared):
                with pytest.raises(JamSessionCorrupt):
                    reader.get(session_id)
            assert reader.get(other) == DATA, "other sessions are not affected"
        store.delete(deleted)
        assert store.get(deleted) is None, "delete ends a damaged session"
        store.clear(KEY)
        assert store.get(cleared) is None, "clear ends a damaged session"

    @promise("get", "reading writes nothing", needs=["snapshot"])
    def test_reads_write_nothing(
        self, open_store: StoreFactory, snapshot: Snapshot, clock: ManualClock
    ) -> None:
        store = open_store(ttl=60)
        expired, live, ended = (store.create(KEY, DATA) for _ in range(3))
        clock.advance(40)
        store.update(live, DATA)
        store.delete(ended)
        clock.advance(40)
        before = snapshot()
        for session_id in (live, expired, ended, "never issued", "", *HOSTILE.values()):
            store.get(session_id)
        if "ping" in store.capabilities:
            store.ping()
        assert snapshot() == before, "get and ping leave the backend as it was"

    @promise("update", "an operation that is refused writes nothing", needs=["snapshot"])
    def test_what_is_refused_writes_nothing(
        self, open_store: StoreFactory, snapshot: Snapshot
    ) -> None:
        store = open_store()
        session_id = store.create(KEY, DATA)
        before = snapshot()
        bad = {"bad": object()}
        refused: list[Callable[[], object]] = [
            lambda: store.create("", DATA),
            lambda: store.create(KEY, bad),
            lambda: store.update(session_id, bad),
            lambda: store.update("never issued", DATA),
            lambda: store.rework("never issued"),
        ]
        for call in refused:
            with pytest.raises((JamSessionDataError, JamSessionNotFound)):
                call()
        assert snapshot() == before, "a refused operation leaves the backend as it was"

    @promise("privacy", "no id, session key, secret or data is in an error, a log or a repr")
    @pytest.mark.parametrize("is_session_crypt", [False, True], ids=["plain", "encrypted"])
    def test_nothing_private_is_said(
        self,
        open_store: StoreFactory,
        watch: Watch,
        caplog: pytest.LogCaptureFixture,
        is_session_crypt: bool,
    ) -> None:
        key = watch.keep_secret(generate_aes_key().decode())
        store = open_store(is_session_crypt=is_session_crypt, session_aes_secret=key)
        presented = watch.keep_secret("presented-but-never-issued")
        gone = store.create(KEY, DATA)
        live = store.rework(gone)
        refused: dict[str, Any] = {"note": PRIVATE, "bad": object()}
        for call in (
            *every_operation(store, [gone] * 8).values(),
            *every_operation(store, [presented] * 8).values(),
            lambda: store.get(live),
            lambda: store.update(live, refused),
            lambda: store.create(KEY, refused),
            *every_operation(store, [live] * 8).values(),
        ):
            with suppress(JamError):
                call()
        watch.hear_text(f"{store!r} {store}")
        watch.hear_text(caplog.text)
        assert not watch.indiscretions(), "something private was said"


def every_operation(store: BaseSession, ids: list[str]) -> dict[str, Callable[[], object]]:
    """Return a call for every operation of a store, by its name; each write has its own id."""
    updated, deleted, reworked, touched, mutated, kept, revoked, moved = ids
    calls: dict[str, Callable[[], object]] = {
        "get": lambda: store.get(updated),
        "update": lambda: store.update(updated, DATA),
        "touch": lambda: store.touch(touched),
        "mutate": lambda: store.mutate(mutated, lambda data: data),
        "rework": lambda: store.rework(reworked),
        "delete": lambda: store.delete(deleted),
        "clear": lambda: store.clear(f"{OTHER_KEY} nobody"),
        "create": lambda: store.create(KEY, DATA),
        "purge": store.purge,
        "ping": store.ping,
        "list_sessions": lambda: store.list_sessions(OTHER_KEY),
        "revoke": lambda: store.revoke(OTHER_KEY, session_handle(revoked)),
        "clear_others": lambda: store.clear_others(kept),
    }
    if RECORDS in store.capabilities:
        unknown = SessionRecord(
            session_key=OTHER_KEY,
            id_hash=hash_id(moved),
            session_id=moved if store.keeps_ids else None,
            data=store.codec.encode(DATA),
        )
        own = (one for one in store.records() if one.id_hash == unknown.id_hash)
        record = next(own, unknown)
        calls["records"] = lambda: list(store.records())
        calls["restore"] = lambda: store.restore([record])
        calls["replace"] = lambda: store.replace(record, store.codec.encode({}))
    lacking = set(OPTIONAL_OPERATIONS) - store.capabilities
    return {name: call for name, call in calls.items() if name not in lacking}
