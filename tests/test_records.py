"""Records: as one text, for stores that have no columns, and sealed to their sessions."""

import json
from enum import Enum
from typing import Any

import pytest
from jam_testing.memory import MemorySessions

from jam_core import (
    STORE_DEFAULT,
    JamSessionConflict,
    JamSessionCorrupt,
    JamSessionNotFound,
    Seconds,
    SessionRecord,
    generate_aes_key,
    hash_id,
    pack_record,
    unpack_record,
)

WHOLE = ["ann", "0" * 64, "{}", "an id", 1, 2.5, 3, 60, "a mark"]


@pytest.mark.parametrize("ttl", [STORE_DEFAULT, None, 60])
@pytest.mark.parametrize("key", ["ann", "🦀\n:", "\ud800"])
@pytest.mark.parametrize("rest", [{}, {"session_id": "é", "expires_at": 61.5, "id_key": "01"}])
def test_a_record_comes_back_as_it_was(ttl: Seconds, key: str, rest: dict[str, Any]) -> None:
    record = SessionRecord(key, "0" * 64, '{"a": "\ud800"}', created_at=1.5, ttl=ttl, **rest)
    text = pack_record(record)
    assert text.isascii()
    assert unpack_record(text, "here") == unpack_record(text.encode(), "here") == record


def with_part(position: int, part: object) -> str:
    return json.dumps([*WHOLE[:position], part, *WHOLE[position + 1 :]])


NO_STRING: list[object] = [None, 1, []]
NO_TIME: list[object] = ["1", True, [], 10**400, -(10**16), float("nan"), float("inf")]


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "{}", "7", "[]", "[" * 100_000, b"\xff", json.dumps(WHOLE[:8])),
        json.dumps([*WHOLE, 1]),
        *(with_part(n, part) for n in range(3) for part in NO_STRING),
        *(with_part(n, part) for n in (3, 8) for part in NO_STRING[1:]),
        *(with_part(n, part) for n in range(4, 8) for part in NO_TIME),
        *(with_part(7, 60.5), with_part(7, -1)),
    ],
    ids=lambda text: repr(text[:90]),
)
def test_anything_else_is_damaged(text: str | bytes) -> None:
    unpack_record(json.dumps(WHOLE), "here")
    with pytest.raises(JamSessionCorrupt) as caught:
        unpack_record(text, lambda: "here")
    assert caught.value.message == "here is damaged. It was left as it is."


def test_what_was_sealed_to_nobody_opens_until_it_is_sealed_to_its_session() -> None:
    """As data is that was encrypted before there were owners."""
    old, new = generate_aes_key(), generate_aes_key()
    before = MemorySessions(is_session_crypt=True, session_aes_secret=old)
    session_id, copied = before.create("ann", {"n": 1}), before.create("ann", {})
    store = MemorySessions(is_session_crypt=True, session_aes_secret=[new, old])
    store.restore([one._replace(data=before.codec.encode({"n": 1})) for one in before.records()])
    assert store.get(session_id) == store.get(copied) == {"n": 1}
    for record in list(store.records()):
        sealed = store.rekeyed(record)
        assert sealed is not None
        assert store.replace(record, sealed)
    assert store.get(session_id) == {"n": 1}
    its_own, another = (
        next(one for one in store.records() if one.id_hash == hash_id(an_id))
        for an_id in (session_id, copied)
    )
    assert store.replace(its_own, another.data)
    assert store.get(session_id) is None


@pytest.fixture
def store() -> MemorySessions:
    return MemorySessions(is_session_crypt=True, session_aes_secret=generate_aes_key())


@pytest.mark.parametrize("is_seen", [False, True], ids=["", "seen"])
def test_a_session_that_was_given_another_key_in_the_storage_is_none(
    store: MemorySessions, is_seen: bool
) -> None:
    session_id = store.create("thief", {"n": 1})
    seen = store.info(session_id) if is_seen else None
    place = hash_id(session_id)
    store.kept[place] = store.kept[place]._replace(session_key="admin")
    assert store.info(session_id) is None
    for change in (
        lambda: store.update(session_id, {"n": 2}, seen=seen),
        lambda: store.mutate(session_id, lambda data: data),
        lambda: store.rework(session_id),
        lambda: store.rework(session_id, "thief"),
    ):
        with pytest.raises(JamSessionNotFound):
            change()
    assert store.info(session_id) is None


def test_a_copy_of_a_whole_record_opens_nothing(store: MemorySessions) -> None:
    thief, admin = store.create("thief", {}), store.create("admin", {"admin": True})
    store.kept[hash_id(thief)] = store.kept[hash_id(admin)]
    assert store.get(thief) is None
    assert store.info(thief) is None
    with pytest.raises(JamSessionNotFound):
        store.rework(thief)
    assert store.get(admin) == {"admin": True}


class Role(str, Enum):  # noqa: UP042  (a StrEnum is formatted as its value)
    """A string that is formatted as something else."""

    ADMIN = "admin"


def test_a_key_that_is_formatted_as_something_else_is_the_string_that_it_is() -> None:
    secret = generate_aes_key()
    with MemorySessions(is_session_crypt=True, session_aes_secret=secret) as store:
        ids = [store.create(Role.ADMIN, {"n": 1}), store.rework(store.create("v", {}), Role.ADMIN)]
        for place, record in store.kept.items():
            store.kept[place] = unpack_record(pack_record(record), "here")
        assert [store.get(one) for one in ids] == [{"n": 1}, {}]
        assert len(store.list_sessions("admin")) == 2


def test_whoever_loses_every_race_is_told_so(
    store: MemorySessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = store.create("ann", {})
    monkeypatch.setattr(store, "move", lambda *_: False)
    monkeypatch.setattr("jam_core.operations.pause_before", lambda _: None)
    with pytest.raises(JamSessionConflict):
        store.rework(session_id)
    assert store.get(session_id) == {}
