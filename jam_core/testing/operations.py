"""The six operations, and the optional ones, one caller at a time."""

import json
from collections.abc import Callable
from itertools import chain, repeat
from typing import Any

import pytest

from jam_core.exceptions import (
    JamConfigurationError,
    JamSessionDataError,
    JamSessionNotFound,
    JamSessionUnsupported,
)
from jam_core.session import OPTIONAL_OPERATIONS, BaseSession
from jam_core.testing.fixtures import DATA, KEY, StoreContract, StoreFactory, Watch

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

KEYS_THAT_LOOK_ALIKE = ["ann", "Ann", "ANN", "ann ", " ann", "ann:", "ann:1", "an", "annn", "ann*"]

DATA_OF_EVERY_KIND: dict[str, dict[str, Any]] = {
    "empty": {},
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


class OperationsContract(StoreContract):
    """Create, get, update, delete, clear, rework."""

    def test_get_returns_what_create_stored(self, store: BaseSession) -> None:
        session_id = store.create(KEY, DATA)
        assert isinstance(session_id, str), "create returns the id, a string"
        assert store.get(session_id) == DATA, "get returns the data that create was given"

    def test_operations_take_the_keywords_of_the_hookspec(self, store: BaseSession) -> None:
        session_id = store.create(session_key=KEY, data=DATA)
        store.update(session_id=session_id, data={})
        session_id = store.rework(session_id=session_id)
        assert store.get(session_id=session_id) == {}
        store.delete(session_id=session_id)
        store.clear(session_key=KEY)

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
        assert answers == [None, None, None]

    @pytest.mark.parametrize("data", DATA_OF_EVERY_KIND.values(), ids=list(DATA_OF_EVERY_KIND))
    def test_any_json_object_comes_back_unchanged(
        self, store: BaseSession, data: dict[str, Any]
    ) -> None:
        session_id = store.create(KEY, data)
        assert store.get(session_id) == data, "create keeps data as it is"
        store.update(session_id, {"other": 1})
        store.update(session_id, data)
        assert store.get(session_id) == data, "update keeps data as it is"
        assert store.get(store.rework(session_id)) == data, "rework keeps data as it is"

    @pytest.mark.parametrize("key", HOSTILE.values(), ids=list(HOSTILE))
    def test_a_session_key_holds_any_characters(self, store: BaseSession, key: str) -> None:
        other = store.create(KEY, {"of": "another key"})
        session_id = store.create(key, DATA)
        assert store.get(session_id) == DATA
        store.update(session_id, {"n": 1})
        session_id = store.rework(session_id)
        assert store.get(session_id) == {"n": 1}
        store.clear(key)
        assert store.get(session_id) is None, "clear ends the key's sessions"
        assert store.get(other) is not None, "clear leaves the sessions of other keys"

    @pytest.mark.parametrize("cleared", KEYS_THAT_LOOK_ALIKE)
    def test_clear_ends_every_session_of_the_key_and_no_other(
        self, store: BaseSession, cleared: str
    ) -> None:
        ids = {key: [store.create(key, {"n": n}) for n in range(3)] for key in KEYS_THAT_LOOK_ALIKE}
        store.clear(cleared)
        for key, its_ids in ids.items():
            left = [store.get(session_id) is not None for session_id in its_ids]
            assert left == [key != cleared] * 3, f"after clear({cleared!r}), key {key!r}"

    def test_clear_of_a_key_without_sessions_is_silent(self, store: BaseSession) -> None:
        store.clear("nobody@example.org")

    def test_clear_ends_reworked_sessions_too(self, store: BaseSession) -> None:
        session_id = store.rework(store.create(KEY, DATA))
        store.clear(KEY)
        assert store.get(session_id) is None

    @pytest.mark.parametrize("session_id", ["", *HOSTILE.values()], ids=["empty", *HOSTILE])
    def test_an_id_that_was_never_issued_is_no_session(
        self, store: BaseSession, session_id: str
    ) -> None:
        kept = store.create(KEY, DATA)
        assert store.get(session_id) is None, "get answers None, whatever the string"
        store.delete(session_id)
        with pytest.raises(JamSessionNotFound):
            store.update(session_id, {"n": 1})
        with pytest.raises(JamSessionNotFound):
            store.rework(session_id)
        assert store.get(session_id) is None, "an id that was presented is never adopted"
        assert store.get(kept) == DATA

    def test_what_resembles_an_id_is_none(self, store: BaseSession) -> None:
        session_id = store.create(KEY, DATA)
        for similar in (
            session_id[:-1],
            session_id + "x",
            session_id + "\n",
            " " + session_id,
            session_id + "\0",
            session_id.swapcase(),
            session_id.partition(":")[2] or "x" + session_id,
        ):
            if similar != session_id:
                assert store.get(similar) is None
        assert store.get(session_id) == DATA

    def test_the_key_is_no_id(self, store: BaseSession) -> None:
        store.create(KEY, DATA)
        assert store.get(KEY) is None

    @pytest.mark.parametrize("key", ["", None, 7], ids=["empty", "None", "number"])
    def test_create_refuses_a_key_that_is_no_name(self, store: BaseSession, key: Any) -> None:
        with pytest.raises(JamSessionDataError, match="session_key"):
            store.create(key, DATA)

    @pytest.mark.parametrize("data", [None, [], "text", 7], ids=["None", "list", "text", "number"])
    def test_data_that_is_no_dict_is_refused(self, store: BaseSession, data: Any) -> None:
        session_id = store.create(KEY, DATA)
        with pytest.raises(JamSessionDataError):
            store.create(KEY, data)
        with pytest.raises(JamSessionDataError):
            store.update(session_id, data)
        assert store.get(session_id) == DATA, "what is refused changes nothing"

    @pytest.mark.parametrize(
        "value", [object(), {1, 2}, b"bytes", float("nan"), float("inf")], ids=str
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
        assert store.get(session_id) == DATA, "what is refused changes nothing"

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

    def test_the_callers_options_stay_the_callers(self, open_store: StoreFactory) -> None:
        secrets: list[str] = []
        options: dict[str, Any] = {"ttl": 60, "session_aes_secret": secrets}
        open_store(**options)
        assert options == {"ttl": 60, "session_aes_secret": secrets}
        assert secrets == []

    def test_update_replaces_the_data_whole(self, store: BaseSession) -> None:
        session_id = store.create(KEY, {"a": 1, "b": 2})
        store.update(session_id, {"b": 3})
        assert store.get(session_id) == {"b": 3}

    def test_a_session_that_is_gone_stays_gone(self, store: BaseSession) -> None:
        for end in (store.delete, lambda _: store.clear(KEY), store.rework):
            session_id = store.create(KEY, DATA)
            end(session_id)
            with pytest.raises(JamSessionNotFound):
                store.update(session_id, {"resurrected": True})
            with pytest.raises(JamSessionNotFound):
                store.rework(session_id)
            assert store.get(session_id) is None

    def test_delete_ends_one_session_and_is_silent_the_second_time(
        self, store: BaseSession
    ) -> None:
        first, second = store.create(KEY, {"n": 1}), store.create(KEY, {"n": 2})
        store.delete(first)
        assert store.get(first) is None
        assert store.get(second) == {"n": 2}, "other sessions of the key live on"
        store.delete(first)

    def test_rework_gives_a_new_id_and_the_old_one_is_dead(self, store: BaseSession) -> None:
        old, other = store.create(KEY, DATA), store.create(KEY, {"other": 1})
        new = store.rework(old)
        assert new != old
        assert store.get(new) == DATA
        assert store.get(old) is None
        assert store.get(other) == {"other": 1}
        store.delete(old)
        assert store.get(new) == DATA, "the old id reaches the session no more"

    def test_create_and_rework_never_overwrite_a_session(self, open_store: StoreFactory) -> None:
        ids = chain(["same", "same", "second", "same", "second", "third"], repeat("more"))
        store = open_store(id_factory=lambda: next(ids))
        first = store.create(KEY, {"n": 1})
        second = store.create(KEY, {"n": 2})
        third = store.rework(second)
        assert len({first, second, third}) == 3
        assert store.get(first) == {"n": 1}
        assert store.get(third) == {"n": 2}

    def test_an_id_factory_that_repeats_itself_is_an_error(self, open_store: StoreFactory) -> None:
        store = open_store(id_factory=lambda: "always")
        session_id = store.create(KEY, DATA)
        with pytest.raises(JamConfigurationError, match="id_factory"):
            store.create(KEY, {"n": 2})
        assert store.get(session_id) == DATA

    def test_what_was_written_outlives_the_store(self, open_store: StoreFactory) -> None:
        store = open_store()
        self.need(store, "durable")
        kept, ended = store.create(KEY, DATA), store.create(KEY, DATA)
        store.delete(ended)
        store.close()
        again = open_store()
        assert again.get(kept) == DATA
        assert again.get(ended) is None
        again.clear(KEY)
        assert again.get(kept) is None

    def test_one_store_sees_at_once_what_another_wrote(self, open_store: StoreFactory) -> None:
        here, there = open_store(), open_store()
        self.need(here, "shared")
        session_id = here.create(KEY, {"n": 1})
        assert there.get(session_id) == {"n": 1}
        there.update(session_id, {"n": 2})
        assert here.get(session_id) == {"n": 2}
        reworked = here.rework(session_id)
        assert there.get(session_id) is None
        assert there.get(reworked) == {"n": 2}
        there.clear(KEY)
        assert here.get(reworked) is None

    def test_close_may_be_called_again(self, store: BaseSession) -> None:
        store.close()
        store.close()


class OptionalOperationsContract(StoreContract):
    """Touch, mutate, purge, ping; each only if the store has it."""

    def test_a_power_that_the_store_lacks_says_so(self, store: BaseSession) -> None:
        calls: dict[str, Callable[[], object]] = {
            "touch": lambda: store.touch("id"),
            "mutate": lambda: store.mutate("id", dict),
            "purge": store.purge,
            "ping": store.ping,
        }
        for name in set(OPTIONAL_OPERATIONS) - store.capabilities:
            with pytest.raises(JamSessionUnsupported, match=name):
                calls[name]()

    def test_touch_leaves_the_data_alone(self, store: BaseSession) -> None:
        self.need(store, "touch")
        session_id = store.create(KEY, DATA)
        store.touch(session_id)
        assert store.get(session_id) == DATA

    def test_touch_and_mutate_do_not_bring_back_what_is_gone(self, store: BaseSession) -> None:
        self.need(store, "touch", "mutate")
        for end in (store.delete, lambda _: store.clear(KEY), store.rework):
            session_id = store.create(KEY, DATA)
            end(session_id)
            for gone in (session_id, "never issued", ""):
                with pytest.raises(JamSessionNotFound):
                    store.touch(gone)
                with pytest.raises(JamSessionNotFound):
                    store.mutate(gone, lambda data: data)
                assert store.get(gone) is None

    def test_mutate_stores_what_the_function_returns(self, store: BaseSession) -> None:
        self.need(store, "mutate")
        session_id = store.create(KEY, {"n": 1})
        assert store.mutate(session_id, lambda data: {**data, "m": 2}) == {"n": 1, "m": 2}
        assert store.get(session_id) == {"n": 1, "m": 2}
        assert store.mutate(session_id, lambda _: {}) == {}
        assert store.get(session_id) == {}

    def test_mutate_stores_what_the_function_changed_in_place(self, store: BaseSession) -> None:
        self.need(store, "mutate")
        session_id = store.create(KEY, {"n": 1})

        def change(data: dict[str, Any]) -> None:
            data["n"] += 1

        assert store.mutate(session_id, change) == {"n": 2}
        assert store.get(session_id) == {"n": 2}

    def test_a_mutate_that_fails_changes_nothing(self, store: BaseSession) -> None:
        self.need(store, "mutate")
        session_id = store.create(KEY, DATA)

        def fail(data: dict[str, Any]) -> None:
            data.clear()
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            store.mutate(session_id, fail)
        with pytest.raises(JamSessionDataError):
            store.mutate(session_id, lambda _: {"bad": object()})
        assert store.get(session_id) == DATA

    def test_mutate_sees_what_came_in_between(self, store: BaseSession) -> None:
        self.need(store, "mutate")
        session_id = store.create(KEY, {"n": 1})
        seen: list[int] = []

        def change(data: dict[str, Any]) -> dict[str, Any]:
            seen.append(data["n"])
            if len(seen) == 1:
                store.update(session_id, {"n": 10})
            return {"n": data["n"] + 1}

        assert store.mutate(session_id, change) == {"n": 11}
        assert seen == [1, 10], "the function is called again with the newer data"
        assert store.get(session_id) == {"n": 11}

    def test_mutate_does_not_bring_back_what_ends_in_between(self, store: BaseSession) -> None:
        self.need(store, "mutate")
        session_id = store.create(KEY, {"n": 1})

        def change(data: dict[str, Any]) -> dict[str, Any]:
            store.delete(session_id)
            return data

        with pytest.raises(JamSessionNotFound):
            store.mutate(session_id, change)
        assert store.get(session_id) is None

    def test_purge_leaves_what_lives(self, store: BaseSession) -> None:
        self.need(store, "purge")
        session_id = store.create(KEY, DATA)
        assert store.purge() == 0
        assert store.get(session_id) == DATA

    def test_ping_is_silent_when_all_is_well(self, store: BaseSession) -> None:
        self.need(store, "ping")
        store.ping()

    def test_the_watch_of_this_suite_is_awake(self, watch: Watch) -> None:
        watch.keep_secret("sesame")
        probe = Watch()
        probe.keep_secret("sesame")
        probe.hear(ValueError("open sesame"))
        assert probe.indiscretions()
