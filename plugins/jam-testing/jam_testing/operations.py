"""The six operations, one caller at a time."""

import json
from collections.abc import Callable
from contextlib import suppress
from itertools import chain, repeat
from typing import Any

import pytest

from jam_core import (
    BaseSession,
    JamConfigurationError,
    JamSessionDataError,
    JamSessionNotFound,
    generate_aes_key,
    session_handle,
)
from jam_core.hosting import OPTIONAL_OPERATIONS
from jam_testing.fixtures import DATA, KEY, StoreContract, StoreFactory
from jam_testing.promises import promise

HOSTILE = {
    "10 kB": "k" * 10_000,
    "NUL": "a\0b",
    "path": "../../etc/passwd",
    "absolute path": "/etc/passwd",
    "colon": ":",
    "colons": "a:b:c",
    "star": "*",
    "newline": "a\nb",
    "lone surrogate": "\ud800",
    "right to left": "\u202eאבג",
    "emoji": "👩‍👩‍👧",
    "device": "CON",
    "dot": ".",
    "space": " ",
    "percent": "%s%n%00",
    "quotes": "'\";--",
    "hash tag": "{a}",
    "encrypted-like": "J$_gAAAAA",
}

LONG = "ann@a-very-long-name" * 20
KEYS_THAT_LOOK_ALIKE = [
    *("ann", "Ann", "ANN", "ann ", " ann", "ann:", "ann:1", "ann1", "an", "ann*"),
    *("a_n", "a%", "änn", "a\u0308nn", "ann\0", LONG, LONG + "!"),
]

DATA_OF_EVERY_KIND: dict[str, dict[str, Any]] = {
    "empty": {},
    "whole numbers": {"above a double": 2**53 + 1, "below": -(2**53) - 1, "long": 10**4299},
    "kinds of numbers": {"true": True, "false": False, "one": 1, "zero": 0, "two": 2.0},
    "nested": {"a": {"b": [{"c": [[]]}]}},
    "numbers": {"int": 2**70, "negative": -1, "float": 0.1, "small": 5e-324, "zero": 0},
    "falsy": {"none": None, "false": False, "empty": "", "list": []},
    "odd keys": {"": 1, "a b": 2, "a.b": 3, "$set": 4, "\n": 5},
    "text": {"text": '\0\t\n\r"\\ é ☃ 👍 \u2028 \u202e'},
    "all of Unicode": {"text": "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000, 97)]))},
    "lone surrogate": {"text": "\ud800"},
    "1 MB": {"text": "x" * 1_000_000},
    "deep": json.loads('{"a":' * 250 + "1" + "}" * 250),
}

NO_STRINGS: dict[str, Callable[[str], Any]] = {
    "None": lambda _: None,
    "number": lambda _: 7,
    "list": lambda live: [live],
    "bytes": lambda _: b"bytes",
    "a live id as bytes": lambda live: live.encode(),
}

HALVES = "\ud83d\ude00"  # two code points that UTF-16, and so JSON, writes as one emoji

SAME_IN_JSON: dict[str, dict[Any, Any]] = {
    "1": {1: "a", "1": "b"},
    "true": {True: 1, "true": 2},
    "null": {None: 1, "null": 2},
}


class OperationsContract(StoreContract):
    """Create, get, update, delete, clear, rework."""

    @promise("create", "the session is stored before create returns its id, a string")
    def test_get_returns_what_create_stored(self, store: BaseSession) -> None:
        session_id = store.create(KEY, DATA)
        assert isinstance(session_id, str), "create returns the id, a string"
        assert store.get(session_id) == DATA, "get returns the data that create was given"
        assert store.get(session_id) == DATA, "a session can be read again"

    @promise("options", "parameters have the names that they have in BaseSession")
    def test_operations_take_the_keywords_of_the_hookspec(self, store: BaseSession) -> None:
        session_id = store.create(session_key=KEY, data=DATA)
        store.update(session_id=session_id, data={})
        session_id = store.rework(session_id=session_id)
        assert store.get(session_id=session_id) == {}
        store.delete(session_id=session_id)
        store.clear(session_key=KEY)

    @promise("update", "update, delete and clear return None")
    def test_update_delete_and_clear_return_none(self, store: BaseSession) -> None:
        session_id = store.create(KEY, DATA)
        answers: list[object] = [
            operation(*arguments)
            for operation, arguments in (
                (store.update, (session_id, {})),
                (store.delete, (session_id,)),
                (store.clear, (KEY,)),
            )
        ]
        assert answers == [None, None, None], "update, delete and clear return None"

    @promise("create", "any JSON object comes back unchanged: empty, 1 MB, all of Unicode")
    @pytest.mark.parametrize("data", DATA_OF_EVERY_KIND.values(), ids=list(DATA_OF_EVERY_KIND))
    def test_any_json_object_comes_back_unchanged(
        self, store: BaseSession, data: dict[str, Any]
    ) -> None:
        def is_kept(session_id: str) -> bool:
            # Compared as written: 1 == True == 1.0, but not in JSON.
            found = json.dumps(store.get(session_id), sort_keys=True)
            return found == json.dumps(data, sort_keys=True)

        session_id = store.create(KEY, data)
        assert is_kept(session_id), "create keeps data as it is"
        store.update(session_id, {"other": 1})
        store.update(session_id, data)
        assert is_kept(session_id), "update keeps data as it is"
        session_id = store.rework(session_id)
        assert is_kept(session_id), "rework keeps data as it is"
        if "mutate" in store.capabilities:
            store.mutate(session_id, lambda found: found)
            assert is_kept(session_id), "mutate keeps data as it is"

    @promise("create", "a session key can hold any characters")
    @pytest.mark.parametrize("key", HOSTILE.values(), ids=list(HOSTILE))
    def test_a_session_key_holds_any_characters(self, store: BaseSession, key: str) -> None:
        other = store.create(KEY, {"of": "another key"})
        session_id = store.create(key, DATA)
        assert store.get(session_id) == DATA, "the key's session is there"
        store.update(session_id, {"n": 1})
        session_id = store.rework(session_id)
        assert store.get(session_id) == {"n": 1}, "the key's session can be changed"
        store.clear(key)
        assert store.get(session_id) is None, "clear ends the key's sessions"
        assert store.get(other) is not None, "clear leaves the sessions of other keys"

    @promise("create", "an empty session key, or one that is not a string, is refused")
    @pytest.mark.parametrize("key", ["", None, 7], ids=["empty", "None", "number"])
    def test_create_refuses_a_key_that_is_no_name(self, store: BaseSession, key: Any) -> None:
        with pytest.raises(JamSessionDataError, match="session_key"):
            store.create(key, DATA)

    @promise("create", "data that is not a dict is refused, and nothing is changed")
    @pytest.mark.parametrize("data", [None, [], "text", 7], ids=["None", "list", "text", "number"])
    def test_data_that_is_no_dict_is_refused(self, store: BaseSession, data: Any) -> None:
        session_id = store.create(KEY, DATA)
        with pytest.raises(JamSessionDataError):
            store.create(KEY, data)
        with pytest.raises(JamSessionDataError):
            store.update(session_id, data)
        assert store.get(session_id) == DATA, "a refused operation changes nothing"

    @promise("create", "what JSON cannot write is refused with its path, and nothing is changed")
    @pytest.mark.parametrize(
        "value",
        [object(), {1, 2}, b"bytes", float("nan"), float("inf")],
        ids=["object", "set", "bytes", "nan", "inf"],
    )
    def test_what_json_cannot_write_is_refused_with_its_path(
        self, store: BaseSession, value: object
    ) -> None:
        session_id = store.create(KEY, DATA)
        for write in (
            lambda data: store.create(KEY, data),
            lambda data: store.update(session_id, data),
        ):
            with pytest.raises(JamSessionDataError) as caught:
                write({"fine": 1, "user": {"tags": ["ok", value]}})
            assert "['user']['tags'][1]" in str(caught.value), "the message names the path"
        assert store.get(session_id) == DATA, "a refused operation changes nothing"

    @promise("create", "data that would lose an entry in JSON is refused, and nothing is changed")
    @pytest.mark.parametrize("cart", SAME_IN_JSON.values(), ids=list(SAME_IN_JSON))
    def test_keys_that_are_one_in_json_are_refused(
        self, store: BaseSession, cart: dict[Any, Any]
    ) -> None:
        session_id = store.create(KEY, DATA)
        writes: list[Callable[[dict[str, Any]], object]] = [
            lambda data: store.create(KEY, data),
            lambda data: store.update(session_id, data),
        ]
        if "mutate" in store.capabilities:
            writes.append(lambda data: store.mutate(session_id, lambda _: data))
        for write in writes:
            with pytest.raises(JamSessionDataError, match="cart"):
                write({"cart": cart})
        assert store.get(session_id) == DATA, "a refused operation changes nothing"

    @promise("create", "a character split in two is refused: JSON would make it another string")
    def test_a_character_in_two_halves_is_refused(self, store: BaseSession) -> None:
        session_id = store.create(KEY, DATA)
        for data in ({"name": HALVES}, {HALVES: 1}, {"a": [{"b": f"x{HALVES}x"}]}):
            for write in (
                lambda data: store.create(KEY, data),
                lambda data: store.update(session_id, data),
            ):
                with pytest.raises(JamSessionDataError):
                    write(data)
        calls: dict[str, Callable[[str], object]] = {
            "create": lambda key: store.create(key, DATA),
            "clear": store.clear,
            "list_sessions": store.list_sessions,
            "revoke": lambda key: store.revoke(key, "0" * 16),
        }
        for lacking in set(OPTIONAL_OPERATIONS) - store.capabilities:
            calls.pop(lacking, None)
        for call in calls.values():
            with pytest.raises(JamSessionDataError):
                call(f"{KEY} {HALVES}")
        assert store.get(session_id) == DATA, "a refused operation changes nothing"

    @promise("create", "an id that is taken is replaced by another; no session is overwritten")
    def test_create_and_rework_never_overwrite_a_session(self, open_store: StoreFactory) -> None:
        ids = chain(["id-1", "id-1", "id-2", "id-1", "id-2", "id-3"], repeat("id-4"))
        store = open_store(is_session_crypt=False, id_factory=lambda: next(ids))
        first = store.create(KEY, {"n": 1})
        second = store.create(KEY, {"n": 2})
        third = store.rework(second)
        assert len({first, second, third}) == 3, "every session has an id of its own"
        assert store.get(first) == {"n": 1}, "create and rework leave other sessions alone"
        assert store.get(third) == {"n": 2}, "rework keeps the data"
        ids = chain(["id-1"], repeat("id-5"))
        other = store.create("bob", {"n": 3})
        store.clear("bob")
        assert store.get(other) is None, "clear ends the key's session"
        assert store.get(first) == {"n": 1}, "a taken id does not become one of the key's"

    @promise("create", "an id that is issued again, for another key, is that key's alone")
    @pytest.mark.parametrize("ended_by", ["delete", "rework", "log-in", "revoke"])
    def test_an_id_that_is_issued_again_is_its_new_keys_alone(
        self, open_store: StoreFactory, ended_by: str
    ) -> None:
        next_id = "id-1"
        store = open_store(is_session_crypt=False, id_factory=lambda: next_id)
        needed = {"log-in": "login", "revoke": "revoke"}
        if ended_by in needed:
            self.need(store, needed[ended_by])
        ends: dict[str, Callable[[str], object]] = {
            "delete": store.delete,
            "rework": store.rework,
            "log-in": lambda session_id: store.rework(session_id, "eve"),
            "revoke": lambda session_id: store.revoke(KEY, session_handle(session_id)),
        }
        former = store.create(KEY, DATA)
        next_id = "id-2"
        ends[ended_by](former)
        next_id = "id-1"
        again = store.create("bob", {"n": 2})
        next_id = "id-3"
        mine = store.create(KEY, DATA)
        if "list_sessions" in store.capabilities:
            listed = [info.handle for info in store.list_sessions(KEY)]
            assert session_handle(again) not in listed, "its former key does not list it"
        if "revoke" in store.capabilities:
            assert store.revoke(KEY, session_handle(again)) is False, "or revoke it"
        if "clear_others" in store.capabilities:
            store.clear_others(mine)
        store.clear(KEY)
        assert store.get(again) == {"n": 2}, "what ends the sessions of its former key spares it"
        store.clear("bob")
        assert store.get(again) is None, "clear of its new key ends it"

    @promise("create", "an id_factory that only repeats itself is a configuration error")
    def test_an_id_factory_that_repeats_itself_is_an_error(self, open_store: StoreFactory) -> None:
        store = open_store(is_session_crypt=False, id_factory=lambda: "id-that-repeats")
        session_id = store.create(KEY, DATA)
        with pytest.raises(JamConfigurationError, match="id_factory"):
            store.create(KEY, {"n": 2})
        assert store.get(session_id) == DATA, "the session that has the id is left alone"

    @promise(
        "get",
        "data is the caller's own: changing what was given or returned changes nothing stored",
    )
    def test_the_callers_data_stays_the_callers(self, store: BaseSession) -> None:
        given: dict[str, Any] = {"list": [1]}
        session_id = store.create(KEY, given)
        given["list"].append(2)
        assert store.get(session_id) == {"list": [1]}, "create keeps a copy"
        store.update(session_id, given)
        given["list"].append(3)
        first = store.get(session_id)
        assert first == {"list": [1, 2]}, "update keeps a copy"
        first["list"].append(4)
        assert store.get(session_id) == {"list": [1, 2]}, "get gives a copy"

    @promise("get", "an id that was never issued opens no session, whatever the string")
    @pytest.mark.parametrize("session_id", ["", *HOSTILE.values()], ids=["empty", *HOSTILE])
    def test_an_id_that_was_never_issued_is_no_session(
        self, store: BaseSession, session_id: str
    ) -> None:
        kept = store.create(KEY, DATA)
        assert store.get(session_id) is None, "get returns None, whatever the string"
        store.delete(session_id)
        with pytest.raises(JamSessionNotFound):
            store.update(session_id, {"n": 1})
        with pytest.raises(JamSessionNotFound):
            store.rework(session_id)
        assert store.get(session_id) is None, "an id that was presented is never adopted"
        assert store.get(kept) == DATA, "existing sessions live on"

    @promise(
        "get",
        "an id that is not a string opens no session, and is an error in operations that end or "
        "change one",
    )
    @pytest.mark.parametrize("spelling", NO_STRINGS.values(), ids=list(NO_STRINGS))
    def test_an_id_that_is_no_string_is_an_error(
        self, store: BaseSession, spelling: Callable[[str], Any]
    ) -> None:
        live = store.create(KEY, DATA)
        session_id = spelling(live)
        with suppress(JamSessionDataError):
            assert store.get(session_id) is None, "get returns None, or raises"
        operations: dict[str, tuple[Any, ...]] = {
            "delete": (),
            "update": ({"n": 1},),
            "rework": (),
            "touch": (),
            "mutate": (dict,),
            "clear_others": (),
        }
        for lacking in set(OPTIONAL_OPERATIONS) - store.capabilities:
            operations.pop(lacking, None)
        for name, arguments in operations.items():
            with pytest.raises(JamSessionDataError, match="string"):
                getattr(store, name)(session_id, *arguments)
        assert store.get(live) == DATA, "a refused operation changes nothing"

    @promise("get", "an id of any length opens no session unless it was issued")
    def test_an_id_of_any_length_is_no_session(self, store: BaseSession) -> None:
        live = store.create(KEY, DATA)
        for session_id in ("x" * 20_000_000, live + "x" * 20_000_000):
            assert store.get(session_id) is None, "get returns None"
            store.delete(session_id)
            with pytest.raises(JamSessionNotFound):
                store.update(session_id, {"n": 1})
        assert store.get(live) == DATA, "existing sessions live on"

    @promise("get", "a string that only resembles an id opens no session")
    def test_what_resembles_an_id_is_none(self, store: BaseSession) -> None:
        session_id = store.create(KEY, DATA)
        for similar in (
            session_id[:-1],
            session_id + "x",
            session_id + "\n",
            " " + session_id,
            session_id + "\0",
            session_id.swapcase(),
            session_id.upper(),
            session_id.replace("-", ""),
            session_id.partition(":")[2] or "x" + session_id,
        ):
            if similar != session_id:
                assert store.get(similar) is None, "only the whole id, as it was issued, counts"
                with pytest.raises(JamSessionNotFound):
                    store.update(similar, {"n": 1})
                with pytest.raises(JamSessionNotFound):
                    store.rework(similar)
                store.delete(similar)
        assert store.get(session_id) == DATA, "the id itself opens the session"

    @promise("get", "the session key opens no session")
    def test_the_key_is_no_id(self, store: BaseSession) -> None:
        store.create(KEY, DATA)
        assert store.get(KEY) is None, "a session key is public, an id is not"

    @promise("update", "the data is replaced whole")
    def test_update_replaces_the_data_whole(self, store: BaseSession) -> None:
        session_id = store.create(KEY, {"a": 1, "b": 2})
        store.update(session_id, {"b": 3})
        assert store.get(session_id) == {"b": 3}, "nothing of the old data is left"

    @promise("update", "a session that is gone is never brought back: that is JamSessionNotFound")
    @pytest.mark.parametrize("operation", ["delete", "clear", "rework"])
    def test_a_session_that_is_gone_stays_gone(self, store: BaseSession, operation: str) -> None:
        ends: dict[str, Callable[[str], object]] = {
            "delete": store.delete,
            "clear": lambda _: store.clear(KEY),
            "rework": store.rework,
        }
        session_id = store.create(KEY, DATA)
        ends[operation](session_id)
        with pytest.raises(JamSessionNotFound):
            store.update(session_id, {"resurrected": True})
        with pytest.raises(JamSessionNotFound):
            store.rework(session_id)
        assert store.get(session_id) is None, "what is gone stays gone"

    @promise("delete", "it ends one session, and is silent if that was already gone")
    def test_delete_ends_one_session_and_is_silent_the_second_time(
        self, store: BaseSession
    ) -> None:
        first, second = store.create(KEY, {"n": 1}), store.create(KEY, {"n": 2})
        store.delete(first)
        assert store.get(first) is None, "it is gone when delete returns"
        assert store.get(second) == {"n": 2}, "other sessions of the key live on"
        store.delete(first)

    @promise("clear", "every session of the key ends, and no other key's")
    @pytest.mark.parametrize("cleared", KEYS_THAT_LOOK_ALIKE, ids=lambda key: ascii(key)[:20])
    def test_clear_ends_every_session_of_the_key_and_no_other(
        self, store: BaseSession, cleared: str
    ) -> None:
        ids = {key: [store.create(key, {"n": n}) for n in range(2)] for key in KEYS_THAT_LOOK_ALIKE}
        store.clear(cleared)
        for key, its_ids in ids.items():
            left = [store.get(session_id) is not None for session_id in its_ids]
            assert left == [key != cleared] * 2, f"after clear({cleared!r}), key {key!r}"

    @promise("clear", "every session of the key ends, however many there are")
    def test_clear_ends_however_many_there_are(self, store: BaseSession) -> None:
        ids = [store.create(KEY, {"n": n}) for n in range(self.many_sessions)]
        other = store.create("bob@example.org", DATA)
        assert [store.get(one) for one in ids] == [{"n": n} for n in range(len(ids))], "all live"
        store.clear(KEY)
        assert not any(store.get(one) for one in ids), "clear ends all of them"
        assert store.get(other) == DATA, "clear leaves the sessions of other keys"

    @promise("clear", "a key without sessions is not an error")
    def test_clear_of_a_key_without_sessions_is_silent(self, store: BaseSession) -> None:
        store.clear("nobody@example.org")

    @promise("clear", "sessions whose id was replaced by rework still belong to their key")
    def test_clear_ends_reworked_sessions_too(self, store: BaseSession) -> None:
        session_id = store.rework(store.create(KEY, DATA))
        store.clear(KEY)
        assert store.get(session_id) is None, "under a new id, a session still belongs to its key"

    @promise("rework", "the session has a new id, and the old one is dead")
    def test_rework_gives_a_new_id_and_the_old_one_is_dead(self, store: BaseSession) -> None:
        old, other = store.create(KEY, DATA), store.create(KEY, {"other": 1})
        new = store.rework(old)
        assert new != old, "rework returns a new id"
        assert store.get(new) == DATA, "the data stays"
        assert store.get(old) is None, "the old id is dead"
        assert store.get(other) == {"other": 1}, "other sessions of the key live on"
        store.delete(old)
        assert store.get(new) == DATA, "the old id no longer reaches the session"

    @promise("close", "close can be called again")
    def test_close_may_be_called_again(self, store: BaseSession) -> None:
        store.close()
        store.close()

    @promise(
        "close", "closing a store does not affect another on the same backend", needs=["shared"]
    )
    def test_close_ends_no_other_store(self, open_store: StoreFactory) -> None:
        stays, leaves = open_store(), open_store()
        session_id, theirs = stays.create(KEY, DATA), leaves.create(KEY, DATA)
        leaves.close()
        assert stays.get(session_id) == stays.get(theirs) == DATA, "every session is there"
        stays.update(session_id, {"n": 1})
        assert stays.get(stays.rework(session_id)) == {"n": 1}, "the other store works"
        stays.clear(KEY)
        assert stays.get(theirs) is None, "the other store works"

    @promise("options", "what the caller passed as an option is not changed")
    def test_the_callers_options_stay_the_callers(self, open_store: StoreFactory) -> None:
        keys = [generate_aes_key() for _ in range(3)]
        given = list(keys)
        store = open_store(is_session_crypt=True, session_aes_secret=given)
        store.delete(store.create(KEY, DATA))
        assert given == keys, "a list that the caller gave stays as it was"
