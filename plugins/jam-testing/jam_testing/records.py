"""records, restore, replace: what operators need to move, re-encrypt and count sessions."""

import pytest

from jam_core import (
    BaseSession,
    JamSessionUnsupported,
    SessionRecord,
    generate_aes_key,
    hash_id,
)
from jam_core.hosting import RECORDS
from jam_testing.fixtures import DATA, KEY, Snapshot, StoreContract, StoreFactory
from jam_testing.optional import ended_sessions
from jam_testing.promises import promise
from jam_testing.timekeeping import Timekeeper

KEYS = [KEY, "a:b", "ключ", "with\nnewline", "{braces}", " ", "back\\slash\\x41"]
MANY = 60


def records_of(store: BaseSession, *session_ids: str) -> list[SessionRecord]:
    """Return the records of these sessions, in that order: others may have sessions here."""
    found = {record.id_hash: record for record in store.records()}
    return [found[hash_id(one)] for one in session_ids if hash_id(one) in found]


class RecordsContract(StoreContract):
    """Every session can be seen, moved and re-encrypted without its owner noticing."""

    @promise(RECORDS, "every live session is seen, whatever its key", needs=[RECORDS])
    def test_records_are_the_live_sessions(self, store: BaseSession) -> None:
        ended = ended_sessions(store)
        ids = [store.create(key, {"key": key}) for key in KEYS]
        created = {record.session_key for record in records_of(store, *ids)}
        assert len(created) == len(KEYS), "each key has its session"
        for key, record in zip(KEYS, records_of(store, *ids), strict=True):
            assert record.session_key.endswith(key), "under the key that it was created under"
            assert store.codec.decode(record.data, "record") == {"key": key}, "with its data"
            session_id = ids[KEYS.index(key)] if store.keeps_ids else None
            assert record.session_id == session_id, "with its id if the store keeps ids, else None"
        assert records_of(store, *ended) == [], "what has ended has no record"

    @promise(RECORDS, "expired sessions are not among them", needs=[RECORDS])
    def test_what_has_expired_has_no_record(
        self, open_store: StoreFactory, time: Timekeeper
    ) -> None:
        store = open_store(ttl=1)
        expired = store.create(KEY, DATA)
        time.let_pass(1.2)
        assert records_of(store, expired) == [], "what has expired has no record"

    @promise(
        RECORDS,
        "while they are read everybody can write, and sessions that nobody changes are seen",
        needs=[RECORDS],
    )
    def test_reading_records_is_in_nobodys_way(self, store: BaseSession) -> None:
        untouched, moving = set(), []
        for n in range(MANY):
            untouched.add(hash_id(store.create(f"untouched {n}", DATA)))
            moving.append(store.create("moving", DATA))
        seen = set()
        for n, record in enumerate(store.records()):
            seen.add(record.id_hash)
            if moving:
                store.delete(moving.pop())
            if moving:
                store.update(store.rework(moving.pop()), {})
            if n < MANY:
                store.create("new", DATA)
            assert n < 100 * MANY, "reading comes to an end"
        assert untouched <= seen, "a session that lives the whole time is seen"

    @promise(RECORDS, "reading them writes nothing", needs=[RECORDS, "snapshot"])
    def test_reading_records_writes_nothing(self, store: BaseSession, snapshot: Snapshot) -> None:
        store.create(KEY, DATA)
        before = snapshot()
        list(store.records())
        assert snapshot() == before, "the backend holds what it held before"

    @promise(RECORDS, "a restored session is the same as before", needs=[RECORDS])
    def test_a_restored_session_is_the_one_it_was(self, open_store: StoreFactory) -> None:
        for options in ({"ttl": 100, "max_age": 1000}, {"ttl": None}):
            store = open_store(**options)
            ids = [store.create(key, {"key": key}) for key in KEYS]
            records = records_of(store, *ids)
            for key in KEYS:
                store.clear(key)
            assert store.restore(records) == len(records), "all were stored"
            assert [store.get(one) for one in ids] == [{"key": key} for key in KEYS], "ids work"
            restored = records_of(store, *ids)
            assert restored == records, "key, data, expiry and deadline are as before"
            for key in KEYS:
                store.clear(key)
            assert [store.get(one) for one in ids] == [None] * len(ids), "clear finds them"

    @promise(
        RECORDS,
        "an id that another store minted works once it is restored, or restore refuses it",
        needs=[RECORDS],
    )
    @pytest.mark.parametrize("is_session_crypt", [False, True], ids=["plain", "encrypted"])
    def test_an_id_of_another_store_works_once_restored(
        self, open_store: StoreFactory, is_session_crypt: bool
    ) -> None:
        key = generate_aes_key().decode()
        store = open_store(is_session_crypt=is_session_crypt, session_aes_secret=key)
        ids = [
            store.codec.mint(lambda _: True, prefix=prefix)
            for prefix in ("", f"{KEY}:", "elsewhere-")
        ]
        if store.keeps_ids:  # restore takes sessions only from a store that keeps them, too
            ids = [store.create(KEY, DATA)]
        store.clear(KEY)
        for session_id in ids:
            record = SessionRecord(
                session_key=KEY,
                id_hash=hash_id(session_id),
                session_id=session_id,
                data=store.codec.encode(DATA),
                id_key=store.codec.key_marks[0] if is_session_crypt else None,
            )
            try:
                stored = store.restore([record])
            except JamSessionUnsupported:
                continue  # a session could not be found by an id like this
            assert stored == 1, "it was stored"
            (restored,) = records_of(store, session_id)
            assert store.keeps_ids or restored.session_id is None, "without an id that opens it"
            assert store.get(session_id) == DATA, "its id works"
            store.update(session_id, {"n": 1})
            new = store.rework(session_id)
            assert store.get(new) == {"n": 1}, "it can be changed like any other"
            store.clear(KEY)
            assert store.get(new) is None, "clear finds it"

    @promise(RECORDS, "restore overwrites nothing, and can be repeated", needs=[RECORDS])
    def test_restore_overwrites_nothing(self, store: BaseSession) -> None:
        ids = [store.create(KEY, {"n": n}) for n in range(3)]
        records = records_of(store, *ids)
        assert store.restore(records) == 0, "all are there"
        store.update(ids[0], {"newer": True})
        store.delete(ids[1])
        assert store.restore(records) == 1, "one was missing"
        found = [store.get(one) for one in ids]
        assert found == [{"newer": True}, {"n": 1}, {"n": 2}], "nothing is overwritten"
        assert store.restore([]) == 0, "restoring nothing stores nothing"

    @promise(RECORDS, "a restored session ends when it would have", needs=[RECORDS, "shared"])
    def test_a_restored_session_ends_when_it_would_have(
        self, open_store: StoreFactory, time: Timekeeper
    ) -> None:
        idle = open_store(ttl=2)
        aging = open_store(ttl=100, max_age=2)
        idle_id, aging_id = idle.create(KEY, DATA), aging.create(KEY, DATA)
        records = records_of(idle, idle_id, aging_id)
        idle.clear(KEY)
        time.let_pass(1.2)
        assert idle.restore(records) == 2, "both live"
        if "touch" in aging.capabilities:
            aging.touch(aging_id)
        time.let_pass(1)
        assert idle.get(idle_id) is None, "its ttl was not restarted"
        assert aging.get(aging_id) is None, "its deadline was not put off"
        assert idle.restore(records) == 0, "what has ended is not brought back"
        assert idle.get(idle_id) is None, "what has ended is not brought back"

    @promise(RECORDS, "replace changes the stored text and nothing else", needs=[RECORDS])
    def test_replace_changes_the_text_alone(
        self, open_store: StoreFactory, time: Timekeeper
    ) -> None:
        store = open_store(ttl=100, max_age=1000)
        session_id = store.create(KEY, DATA)
        (before,) = records_of(store, session_id)
        text = store.codec.encode({"other": 1})
        time.let_pass(0.3)
        assert store.replace(before, text) is True, "the text was still the record's"
        assert store.get(session_id) == {"other": 1}, "the new text is stored"
        (after,) = records_of(store, session_id)
        assert (after.expires_at, after.deadline, after.created_at) == (
            before.expires_at,
            before.deadline,
            before.created_at,
        ), "the session ends when it would have"

    @promise(RECORDS, "replace refuses a session that has changed or is gone", needs=[RECORDS])
    def test_replace_refuses_what_has_changed(self, store: BaseSession) -> None:
        changed, ended, reworked = (store.create(KEY, DATA) for _ in range(3))
        records = records_of(store, changed, ended, reworked)
        store.update(changed, {"newer": True})
        store.delete(ended)
        new = store.rework(reworked)
        text = store.codec.encode({"stale": True})
        assert [store.replace(one, text) for one in records] == [False] * 3, "all refused"
        assert store.get(changed) == {"newer": True}, "the newer data stays"
        assert store.get(ended) is None, "what ended stays ended"
        assert store.get(new) == DATA, "the session under its new id stays as it is"

    @promise(
        RECORDS,
        "id_key is the mark of the key that the id is encrypted with",
        needs=[RECORDS, "shared"],
    )
    def test_records_tell_the_key_of_the_id(self, open_store: StoreFactory) -> None:
        old_key, new_key = (generate_aes_key().decode() for _ in range(2))
        old = open_store(is_session_crypt=True, session_aes_secret=old_key)
        first, second = old.create(KEY, DATA), old.create(KEY, DATA)
        store = open_store(is_session_crypt=True, session_aes_secret=[new_key, old_key])
        new_mark, old_mark = store.codec.key_marks
        second = store.rework(second)
        third = store.create(KEY, DATA)
        store.update(first, {"new": "data"})
        marks = [record.id_key for record in records_of(store, first, second, third)]
        assert marks == [old_mark, new_mark, new_mark], "the key that it was minted with"
        plain = open_store()
        unencrypted = plain.create(KEY, DATA)
        assert [one.id_key for one in records_of(plain, unencrypted)] == [None], "none"

    @promise(
        RECORDS, "replace can re-encrypt a session's data with a new key", needs=[RECORDS, "shared"]
    )
    def test_data_gets_under_a_new_key(self, open_store: StoreFactory) -> None:
        old_key, new_key = (generate_aes_key().decode() for _ in range(2))
        old = open_store(is_session_crypt=True, session_aes_secret=old_key)
        session_id = old.create(KEY, DATA)
        store = open_store(is_session_crypt=True, session_aes_secret=[new_key, old_key])
        (record,) = records_of(store, session_id)
        text = store.rekeyed(record)
        assert text is not None, "the old key is among the keys"
        assert store.replace(record, text), "nobody changed it meanwhile"
        (record,) = records_of(store, session_id)
        assert store.codec.mark_of(record.data) == store.codec.key_marks[0], "under the new key"
        assert store.get(session_id) == DATA, "the data is the same"
