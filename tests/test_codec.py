import base64
import json
import math
import subprocess
import sys
import traceback
from collections import OrderedDict
from collections.abc import Callable
from itertools import count, repeat
from pathlib import Path
from typing import Any, ClassVar

import pytest
from jam_testing.memory import MemorySessions

from jam_core import (
    BaseEncoder,
    JamConfigurationError,
    JamSessionCorrupt,
    JamSessionDataError,
    JamSessionEmptyAESKey,
    JamSessionInvalidAESKey,
    JsonEncoder,
    MsgspecJsonEncoder,
    SessionCodec,
    check_session_key,
    generate_aes_key,
    hash_id,
)
from tests.isolated import ROOT

# The same in every run: the ids of tests hold them, and pytest-xdist compares those.
KEY, OTHER_KEY, THIRD_KEY = (base64.urlsafe_b64encode(bytes([n]) * 32) for n in range(3))
WHERE = "record 7 of the toy store"
SERIALIZERS = [JsonEncoder, MsgspecJsonEncoder, JsonEncoder()]

DATA: list[dict[str, Any]] = [
    {},
    {"role": "admin"},
    {"a": None, "b": True, "c": -1, "d": 0.1, "e": 10**18},
    {"nested": {"list": [1, [2, {"three": []}]], "": {}}},
    {"text": 'quotes " \\ / and \u2028 newline \n tab \t nul \0'},
    {"grün": "🦀 ẞ 漢字 \u202e"},
    {"J$_": "J$_looks encrypted"},
    {"1": "text", "true": "\\ud83e\\udd80", "null": ["🦀", {"0": 1}], "long": "🦀" * 2_000},
]


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("serializer", SERIALIZERS)
@pytest.mark.parametrize("keys", [None, [KEY]])
def test_data_comes_back_as_it_was(
    data: dict[str, Any], serializer: BaseEncoder, keys: list[bytes] | None
) -> None:
    codec = SessionCodec(serializer=serializer, keys=keys)
    assert codec.decode(codec.encode(data), WHERE) == data


def test_plain_data_is_the_text_of_json_dumps() -> None:
    data = {"role": "admin", "tags": ["ü", 1]}
    assert SessionCodec().encode(data) == json.dumps(data)


def test_the_dict_that_comes_back_is_the_callers_own() -> None:
    codec = SessionCodec()
    text = codec.encode({"list": []})
    first = codec.decode(text, WHERE)
    assert first is not None
    first["list"].append(1)
    assert codec.decode(text, WHERE) == {"list": []}


@pytest.mark.parametrize("keys", [None, [KEY]])
def test_lone_surrogates_come_back_as_they_were(keys: list[bytes] | None) -> None:
    codec = SessionCodec(keys=keys)
    data = {"\ud800": ["\udfff"]}
    assert codec.decode(codec.encode(data), WHERE) == data


@pytest.mark.parametrize(
    ("serializer", "keys", "plain"),
    [
        (JsonEncoder, None, True),
        (JsonEncoder(), None, True),
        (MsgspecJsonEncoder, None, False),
        (JsonEncoder, [KEY], False),
    ],
)
def test_a_codec_tells_whether_it_writes_plain_json(
    serializer: BaseEncoder, keys: list[bytes] | None, plain: bool
) -> None:
    assert SessionCodec(serializer=serializer, keys=keys).writes_plain_json is plain


# --- data that cannot be written -------------------------------------------------------------


class Thing:
    """What no serializer can write."""

    def __repr__(self) -> str:
        return "hunter2"


def nested(depth: int) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for _ in range(depth):
        data = {"a": data}
    return data


def cyclic_dict() -> dict[str, Any]:
    data: dict[str, Any] = {"fine": 1}
    data["b"] = {"again": data}
    return data


def cyclic_list() -> dict[str, Any]:
    items: list[Any] = [1]
    items.append(items)
    return {"b": items}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"a": Thing()}, "data['a'] is of type Thing"),
        ({"a": 1, "b": {"c": [1, {"d": Thing()}]}}, "data['b']['c'][1]['d'] is of type Thing"),
        ({"a": (1, Thing())}, "data['a'][1] is of type Thing"),
        ({"a b": Thing()}, "data['a b'] is of type Thing"),
        ({"": Thing()}, "data[''] is of type Thing"),
        ({"fine": 1, "hunter2": Thing()}, "data[key number 2] is of type Thing"),
        ({"users": {"ann@example.org": Thing()}}, "data['users'][key number 1] is of type Thing"),
        ({"a": {1, 2}}, "data['a'] is of type set"),
        ({"a": b"bytes"}, "data['a'] is of type bytes"),
        ({"a": {(1, 2): 3}}, "data['a'] has a key that is of type tuple"),
        ({1: 1, (1, 2): 3}, "data has a key that is of type tuple"),
        ({"a": {1: Thing()}}, "data['a'][key number 1] is of type Thing"),
        ({b"a": 1}, "data has a key that is of type bytes"),
        ({"a": math.nan}, "data['a'] is not a finite number"),
        ({"a": [0.5, math.inf]}, "data['a'][1] is not a finite number"),
        ({"a": {"b": -math.inf}}, "data['a']['b'] is not a finite number"),
        (cyclic_dict(), "data['b']['again'] contains itself"),
        (cyclic_list(), "data['b'][1] contains itself"),
        ({"a" * 10_000: Thing()}, "data[key number 1] is of type Thing"),
        (nested(100_000), "is nested too deeply"),
        ({"fine": nested(10), "deep": nested(100_000)}, "data['deep']"),
    ],
)
def test_data_that_is_no_json_is_refused_with_the_place_of_the_fault(
    data: dict[str, Any], words: str
) -> None:
    with pytest.raises(JamSessionDataError) as caught:
        SessionCodec().encode(data)
    message = caught.value.message
    assert words in message
    assert "Nothing was stored." in message
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    assert len(message) < 500


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"a": [Thing()]}, "data['a'][0] is of type Thing"),
        ({"\ud800": 1}, "data has a key that is not valid Unicode text"),
        ({"a": "\ud800"}, "data['a'] is not valid Unicode text"),
        (cyclic_dict(), "data['b']['again'] contains itself"),
    ],
)
def test_what_another_serializer_refuses_is_named_too(data: dict[str, Any], words: str) -> None:
    with pytest.raises(JamSessionDataError) as caught:
        SessionCodec(serializer=MsgspecJsonEncoder).encode(data)
    assert words in caught.value.message


LOST: dict[str, tuple[dict[Any, Any], str]] = {
    "number": ({"cart": {1: "a", "1": "b"}}, "data['cart'] has two keys that are the same"),
    "bool": ({True: 1, "true": 2}, "data has two keys that are the same"),
    "False": (
        {"a": ({False: 1, "false": 2},)},
        "data['a'][0] has two keys that are the same",
    ),
    "None": (
        {"a": [1, {None: 1, "null": 2}]},
        "data['a'][1] has two keys that are the same",
    ),
    "fraction": ({0.5: 1, "0.5": 2}, "data has two keys that are the same"),
    "big fraction": ({1e22: 1, "1e+22": 2}, "data has two keys that are the same"),
    "long": (
        {"t": "x" * 9_000, "a": [{1: 1, "1": 2}]},
        "data['a'][0] has two keys that are the same",
    ),
    "subclass": (
        {"a": OrderedDict([(1, 1), ("1", 2)])},
        "data['a'] has two keys that are the same",
    ),
    "long half": (
        {"t": "🦀" * 9_000, "a": "\ud83e\udd80"},
        "data['a'] has a character split in two",
    ),
    "value": ({"a": ["\ud83e\udd80"]}, "data['a'][0] has a character split in two"),
    "key": ({"a": {"\ud83e\udd80": 1}}, "data['a'] has a key that has a character split in two"),
    "both": ({"\ud83e\udd80": 1, "🦀": 2}, "data has a key that has a character split in two"),
}


@pytest.mark.parametrize(("data", "words"), LOST.values(), ids=LOST)
@pytest.mark.parametrize("keys", [None, [KEY]], ids=["plain", "encrypted"])
def test_what_json_would_lose_is_refused_with_its_place(
    data: dict[str, Any], words: str, keys: list[bytes] | None
) -> None:
    with pytest.raises(JamSessionDataError) as caught:
        SessionCodec(keys=keys).encode(data)
    assert words in caught.value.message
    assert "Nothing was stored." in caught.value.message


@pytest.mark.parametrize(
    "data", [{"a": {1: "a", "1": "b"}}, {"a": {0.5: "a", "0.5": "b"}}], ids=["number", "fraction"]
)
def test_what_another_serializer_would_lose_is_refused_too(data: dict[str, Any]) -> None:
    with pytest.raises(JamSessionDataError, match=r"data\['a'\] has two keys that are the same"):
        SessionCodec(serializer=MsgspecJsonEncoder).encode(data)


class KeepsTypes(BaseEncoder):
    """A serializer to which 1 and "1" are two keys."""

    @classmethod
    def dumps(cls, var: dict[str, Any]) -> bytes:
        return repr(var).encode()

    @classmethod
    def loads(cls, var: str | bytes) -> dict[str, Any]:
        import ast

        data: dict[str, Any] = ast.literal_eval(var if isinstance(var, str) else var.decode())
        return data


def test_a_serializer_that_keeps_two_keys_apart_may() -> None:
    codec = SessionCodec(serializer=KeepsTypes)
    data: dict[Any, Any] = {1: "a", "1": "b"}
    assert codec.decode(codec.encode(data), WHERE) == data


def test_keys_that_are_no_strings_become_strings_where_they_stay_apart() -> None:
    codec = SessionCodec()
    data: dict[Any, Any] = {1: "a", "2": "b", None: {2.5: [], True: 1, "True": 2}, "true": 0}
    assert codec.decode(codec.encode(data), WHERE) == {
        "1": "a",
        "2": "b",
        "null": {"2.5": [], "true": 1, "True": 2},
        "true": 0,
    }


def test_whole_numbers_come_back_exactly_and_of_their_type() -> None:
    codec = SessionCodec()
    data = {"a": 2**53 + 1, "b": -(10**4299), "c": True, "d": 2.0, "digits": "7" * 10_000}
    assert repr(codec.decode(codec.encode(data), WHERE)) == repr(data)


@pytest.mark.parametrize("limit", [0, 100_000])
def test_a_number_that_other_processes_could_not_read_is_refused(limit: int) -> None:
    usual = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(limit)
    try:
        with pytest.raises(JamSessionDataError, match="has more than 4300 digits"):
            SessionCodec().encode({"n": [10**4300]})
        SessionCodec().encode({"n": [10**4299, "7" * 10_000]})
    finally:
        sys.set_int_max_str_digits(usual)


class TimeLimit(Exception):
    """What a worker's signal handler raises, in the middle of whatever is running."""


@pytest.mark.parametrize("kind", [TimeLimit, ValueError])
def test_a_time_limit_that_strikes_in_the_serializer_goes_through_as_it_is(
    kind: type[Exception],
) -> None:
    class Interrupted(JsonEncoder):
        limits: ClassVar[list[Exception]] = []

        @classmethod
        def dumps(cls, var: dict[str, Any]) -> bytes:
            if cls.limits:
                raise cls.limits.pop()
            return super().dumps(var)

        @classmethod
        def loads(cls, var: str | bytes) -> dict[str, Any]:
            if cls.limits:
                raise cls.limits.pop()
            return super().loads(var)

    codec = SessionCodec(serializer=Interrupted)
    works: list[Callable[[], object]] = [
        lambda: SessionCodec(serializer=Interrupted),
        lambda: codec.encode({"a": 1}),
        lambda: codec.decode('{"a": 1}', WHERE),
    ]
    for work in works:
        limit = kind("time is over")
        Interrupted.limits.append(limit)
        with pytest.raises(kind) as caught:
            work()
        assert caught.value is limit


@pytest.mark.parametrize("data", [None, [], "text", 5, [("a", 1)]])
def test_data_that_is_no_dict_is_refused(data: Any) -> None:
    with pytest.raises(JamSessionDataError, match=f"dict, not {type(data).__name__}"):
        SessionCodec().encode(data)


# --- serializers -----------------------------------------------------------------------------


class Reversed(BaseEncoder):
    """A serializer that nobody else would write."""

    @classmethod
    def dumps(cls, var: dict[str, Any]) -> bytes:
        return json.dumps(var)[::-1].encode()

    @classmethod
    def loads(cls, var: str | bytes) -> dict[str, Any]:
        text = var.decode() if isinstance(var, bytes) else var
        data: dict[str, Any] = json.loads(text[::-1])
        return data


class Untouchable(BaseEncoder):
    """A serializer that must not be asked."""

    @classmethod
    def dumps(cls, var: dict[str, Any]) -> bytes:
        return b"{}"

    @classmethod
    def loads(cls, var: str | bytes) -> dict[str, Any]:
        raise AssertionError("asked to read what was never verified")


class WritesLatin(JsonEncoder):
    """A serializer whose output is no UTF-8."""

    @classmethod
    def dumps(cls, var: dict[str, Any]) -> bytes:
        return b"\xff"


@pytest.mark.parametrize("serializer", [Reversed, Reversed()])
def test_any_serializer_can_be_used(serializer: BaseEncoder) -> None:
    codec = SessionCodec(serializer=serializer)
    assert codec.encode({"a": 1}) == '}1 :"a"{'
    assert codec.decode('}1 :"a"{', WHERE) == {"a": 1}


def test_data_that_no_reader_is_sure_to_read_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(255):
        deep = {"a": deep}
    text = SessionCodec().encode(deep)
    assert SessionCodec().decode(text, WHERE) == deep
    with pytest.raises(JamSessionDataError, match="256 levels"):
        SessionCodec().encode({"a": [deep]})
    SessionCodec().encode({"flat": [{} for _ in range(1000)]})


def test_a_serializer_that_writes_no_utf_8_is_refused() -> None:
    with pytest.raises(JamConfigurationError, match="serializer does not work"):
        SessionCodec(serializer=WritesLatin)


@pytest.mark.parametrize(
    "text", ["", "{", "hunter2", '{"a": hunter2}', "\0", "\udcff", "[" * 100_000]
)
@pytest.mark.parametrize("serializer", [JsonEncoder, MsgspecJsonEncoder])
def test_a_damaged_record_is_an_error_that_names_its_place_and_not_its_content(
    text: str, serializer: type[BaseEncoder]
) -> None:
    with pytest.raises(JamSessionCorrupt) as caught:
        SessionCodec(serializer=serializer).decode(text, WHERE)
    assert caught.value.message.startswith(f"{WHERE} cannot be decoded")
    assert "left as it" in caught.value.message
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("text", ["[]", "5", '"hunter2"', "null", "true"])
def test_a_record_that_is_no_object_is_an_error_that_names_its_place(text: str) -> None:
    with pytest.raises(JamSessionCorrupt) as caught:
        SessionCodec().decode(text, WHERE)
    assert caught.value.message.startswith(f"{WHERE} does not contain a JSON object")
    assert "hunter2" not in caught.value.message


def test_a_record_of_another_serializer_is_an_error() -> None:
    with pytest.raises(JamSessionCorrupt, match="another serializer"):
        SessionCodec().decode(SessionCodec(serializer=Reversed).encode({"a": 1}), WHERE)


def test_an_encrypted_record_without_encryption_is_an_error_that_says_so() -> None:
    text = SessionCodec(keys=[KEY]).encode({"a": 1})
    with pytest.raises(JamSessionCorrupt, match="is encrypted, but is_session_crypt is off"):
        SessionCodec().decode(text, WHERE)


# --- encryption ------------------------------------------------------------------------------


def sealed(codec: SessionCodec) -> tuple[str, str]:
    """Return a session id and encoded data of a codec."""
    return codec.mint(lambda _: True), codec.encode({"role": "admin"})


def test_a_key_is_32_url_safe_base64_encoded_bytes_and_never_the_same() -> None:
    assert len(base64.urlsafe_b64decode(generate_aes_key())) == 32
    assert len({generate_aes_key() for _ in range(100)}) == 100


def test_ids_and_data_are_encrypted_behind_a_mark() -> None:
    session_id, text = sealed(SessionCodec(lambda: "the-id", keys=[KEY]))
    for value in (session_id, text):
        assert value.startswith("J$_")
        assert "admin" not in value
        assert "the-id" not in value


def test_what_is_encrypted_is_a_fernet_token() -> None:
    from cryptography.fernet import Fernet

    session_id, text = sealed(SessionCodec(lambda: "the-id", keys=[KEY]))
    fernet = Fernet(KEY)
    assert fernet.decrypt(session_id.removeprefix("J$_")) == b"the-id"
    assert fernet.decrypt(text.removeprefix("J$_")) == b'{"role": "admin"}'


def test_the_prefix_of_an_id_is_encrypted_too() -> None:
    codec = SessionCodec(lambda: "random", keys=[KEY])
    session_id = codec.mint(lambda _: True, prefix="user1:")
    assert "user1" not in session_id
    assert codec.open_id(session_id) == "user1:random"


def test_the_same_data_never_looks_the_same() -> None:
    codec = SessionCodec(keys=[KEY])
    assert len({codec.encode({"a": 1}) for _ in range(10)}) == 10


def forgeries() -> dict[str, Callable[[str], str]]:
    foreign = SessionCodec(lambda: "the-id", keys=[OTHER_KEY])

    def of_another_key(value: str) -> str:
        return foreign.mint(lambda _: True)

    return {
        "no mark": lambda value: value.removeprefix("J$_"),
        "only the mark": lambda value: "J$_",
        "mark twice": lambda value: "J$_" + value,
        "mark in lower case": lambda value: value.replace("J$_", "j$_"),
        "truncated": lambda value: value[:-8],
        "first half": lambda value: value[: len(value) // 2],
        "one letter changed": lambda value: (
            value[:30] + ("A" if value[30] != "A" else "B") + value[31:]
        ),
        "something before the mark": lambda value: "A" + value,
        "another key": of_another_key,
        "plain json": lambda value: '{"role": "admin"}',
        "plain id": lambda value: "the-id",
        "nothing": lambda value: "",
        "blank": lambda value: " ",
        "not ascii": lambda value: value[:-1] + "é",
        "lone surrogate": lambda value: value + "\ud800",
        "nul": lambda value: "J$_\0",
        "very long": lambda value: "J$_" + "A" * 100_000,
    }


@pytest.mark.parametrize("forge", forgeries().values(), ids=forgeries())
def test_a_forged_record_is_none_and_no_serializer_is_asked(forge: Callable[[str], str]) -> None:
    codec = SessionCodec(serializer=Untouchable, keys=[KEY])
    assert codec.decode(forge(SessionCodec(keys=[KEY]).encode({"role": "admin"})), WHERE) is None


@pytest.mark.parametrize("forge", forgeries().values(), ids=forgeries())
def test_a_forged_id_is_none(forge: Callable[[str], str]) -> None:
    codec = SessionCodec(lambda: "the-id", keys=[KEY])
    forged = forge(codec.mint(lambda _: True))
    assert codec.open_id(forged) is None
    assert codec.lookup_hash(forged) is None


SPELLINGS: dict[str, Callable[[str], str]] = {
    "something appended": lambda value: value + "AAAA",
    "line break appended": lambda value: value + "\n",
    "line break within": lambda value: value[:30] + "\n" + value[30:],
    "foreign letter within": lambda value: value[:30] + "!" + value[30:],
    "unused bits set": lambda value: value[:-3] + chr(ord(value[-3]) + 1) + "==",
}


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
def test_an_id_opens_in_the_one_spelling_in_which_it_was_issued(
    spell: Callable[[str], str],
) -> None:
    codec = SessionCodec(lambda: "the-id", keys=[KEY])
    session_id = codec.mint(lambda _: True)
    assert session_id.endswith("==")
    assert codec.open_id(session_id) == "the-id"
    assert codec.open_id(spell(session_id)) is None
    assert codec.lookup_hash(spell(session_id)) is None


def test_a_verified_record_that_the_serializer_cannot_read_is_damaged_not_forged() -> None:
    text = SessionCodec(serializer=Reversed, keys=[KEY]).encode({"a": 1})
    with pytest.raises(JamSessionCorrupt, match=WHERE):
        SessionCodec(keys=[KEY]).decode(text, WHERE)


def test_the_first_of_several_keys_encrypts_and_all_decrypt() -> None:
    old, new = SessionCodec(keys=[OTHER_KEY]), SessionCodec(keys=[KEY])
    rotating = SessionCodec(keys=[KEY, OTHER_KEY])
    for codec in (old, new, rotating):
        session_id, text = sealed(codec)
        assert rotating.decode(text, WHERE) == {"role": "admin"}
        assert rotating.open_id(session_id) is not None
    session_id, text = sealed(rotating)
    assert new.decode(text, WHERE) == {"role": "admin"}
    assert new.open_id(session_id) is not None
    assert old.decode(text, WHERE) is None
    assert old.open_id(session_id) is None


def test_a_key_that_was_retired_opens_nothing_any_more() -> None:
    session_id, text = sealed(SessionCodec(keys=[OTHER_KEY]))
    after = SessionCodec(keys=[KEY])
    assert after.decode(text, WHERE) is None
    assert after.open_id(session_id) is None


# --- where the keys come from ----------------------------------------------------------------


def opens(store: MemorySessions, key: bytes) -> bool:
    """Tell whether a store reads what was encrypted with a key."""
    return store.codec.decode(SessionCodec(keys=[key]).encode({}), WHERE) == {}


def encrypting(secret: Any = None) -> MemorySessions:
    return MemorySessions(is_session_crypt=True, session_aes_secret=secret)


@pytest.mark.parametrize(
    "secret",
    [
        [KEY, OTHER_KEY],
        (KEY, OTHER_KEY),
        [KEY.decode(), OTHER_KEY],
        b",".join((KEY, OTHER_KEY)),
        f"{KEY.decode()},{OTHER_KEY.decode()}",
        f" {KEY.decode()} ,\n{OTHER_KEY.decode()},",
        [f"{KEY.decode()},{OTHER_KEY.decode()}"],
    ],
)
@pytest.mark.parametrize("by_environment", [False, True])
def test_keys_may_be_given_in_every_usual_form(
    monkeypatch: pytest.MonkeyPatch, secret: Any, by_environment: bool
) -> None:
    if by_environment:
        if not isinstance(secret, str):
            secret = ",".join(key.decode() for key in (KEY, OTHER_KEY))
        monkeypatch.setenv("JAM_SESSION_AES_SECRET", secret)
        secret = None
    store = encrypting(secret)
    assert opens(store, KEY)
    assert opens(store, OTHER_KEY)
    assert not opens(store, THIRD_KEY)
    assert SessionCodec(keys=[KEY]).decode(store.codec.encode({"a": 1}), WHERE) == {"a": 1}


@pytest.mark.parametrize("secret", [KEY, KEY.decode(), f"{KEY.decode()}\n", [KEY]])
def test_a_single_key_may_be_text_or_bytes(secret: Any) -> None:
    assert opens(encrypting(secret), KEY)


def test_a_given_key_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAM_SESSION_AES_SECRET", OTHER_KEY.decode())
    store = encrypting(KEY)
    assert opens(store, KEY)
    assert not opens(store, OTHER_KEY)


def test_the_environment_is_read_when_the_store_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAM_SESSION_AES_SECRET", KEY.decode())
    store = encrypting()
    monkeypatch.setenv("JAM_SESSION_AES_SECRET", OTHER_KEY.decode())
    assert opens(store, KEY)
    assert not opens(store, OTHER_KEY)


def test_a_key_in_the_environment_turns_no_encryption_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAM_SESSION_AES_SECRET", KEY.decode())
    assert MemorySessions().codec.encode({"a": 1}) == '{"a": 1}'


@pytest.mark.parametrize("secret", ["", b"", [], ["", b" "], ",", " \n"])
@pytest.mark.parametrize("environment", [None, "", " , "])
def test_encryption_without_a_key_is_an_error_that_says_where_to_set_one(
    monkeypatch: pytest.MonkeyPatch, secret: Any, environment: str | None
) -> None:
    if environment is not None:
        monkeypatch.setenv("JAM_SESSION_AES_SECRET", environment)
        secret = None
    with pytest.raises(JamSessionEmptyAESKey) as caught:
        encrypting(secret)
    for words in ("session_aes_secret", "JAM_SESSION_AES_SECRET", "generate_aes_key"):
        assert words in caught.value.message


@pytest.mark.parametrize(
    "bad", ["hunter2", "hunter2" * 10, KEY.decode()[:-4], KEY.decode() * 2, "hünter2"]
)
@pytest.mark.parametrize("by_environment", [False, True])
def test_an_invalid_key_is_an_error_that_tells_which_and_never_shows_it(
    monkeypatch: pytest.MonkeyPatch, bad: str, by_environment: bool
) -> None:
    secret = f"{KEY.decode()},{bad}"
    monkeypatch.setenv("JAM_SESSION_AES_SECRET", secret if by_environment else OTHER_KEY.decode())
    with pytest.raises(JamSessionInvalidAESKey) as caught:
        encrypting(None if by_environment else secret)
    assert "Key 2 of 2" in caught.value.message
    places = ["in session_aes_secret", "in the environment variable JAM_SESSION_AES_SECRET"]
    place, other = reversed(places) if by_environment else places
    assert place in caught.value.message
    assert other not in caught.value.message
    assert "generate_aes_key" in caught.value.message
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value.args)
    assert bad not in shown
    assert KEY.decode() not in shown


def test_a_codec_refuses_an_invalid_key() -> None:
    with pytest.raises(JamSessionInvalidAESKey, match="Key 1 of 1"):
        SessionCodec(keys=[b"hunter2"])


def test_encryption_without_its_package_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(JamConfigurationError, match="pip install cryptography"):
        encrypting(KEY)


def test_encryption_in_a_sub_interpreter_says_why_it_cannot_be(tmp_path: Path) -> None:
    pytest.importorskip("_xxsubinterpreters")
    inner = tmp_path / "inner.py"
    inner.write_text(
        "from jam_core import Jam, JamConfigurationError\n"
        "session = {'session_type': 'jam_testing.memory:MemorySessions'}\n"
        f"session |= {{'is_session_crypt': True, 'session_aes_secret': {KEY.decode()!r}}}\n"
        "try: Jam({'session': session})\n"
        "except JamConfigurationError as error: print(error.message)\n"
    )
    script = (
        "import sys, _xxsubinterpreters as interpreters, cryptography.fernet\n"
        f"inner = f'import sys; sys.path[:] = {{sys.path!r}}\\n' + open({str(inner)!r}).read()\n"
        "interpreters.run_string(interpreters.create(), inner)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "cryptography, which cannot be loaded here" in ran.stdout, ran.stderr
    assert "run the application in the main one" in ran.stdout


# --- ids -------------------------------------------------------------------------------------


def test_ids_are_random_uuids_by_default() -> None:
    from uuid import UUID

    ids = {SessionCodec().mint(lambda _: True) for _ in range(100)}
    assert len(ids) == 100
    assert {UUID(one).version for one in ids} == {4}


def test_an_id_that_is_taken_is_minted_anew() -> None:
    numbers = count()
    offered: list[str] = []

    def take(session_id: str) -> bool:
        offered.append(session_id)
        return session_id == "user1:3"

    codec = SessionCodec(lambda: str(next(numbers)))
    assert codec.mint(take, prefix="user1:") == "user1:3"
    assert offered == ["user1:0", "user1:1", "user1:2", "user1:3"]


def test_an_id_factory_that_repeats_itself_is_given_up() -> None:
    with pytest.raises(JamConfigurationError, match="id_factory returned an id that is already"):
        SessionCodec(lambda: "always the same").mint(lambda _: False)


@pytest.mark.parametrize("wrong", [None, 5, b"bytes", ""])
def test_an_id_factory_must_return_a_text(wrong: Any) -> None:
    ids = repeat(wrong)
    with pytest.raises(JamConfigurationError, match="id_factory must return a non-empty string"):
        SessionCodec(lambda: next(ids)).mint(lambda _: True)


ODD_IDS = ["id", "", " ", "a:b", "../..", "\0", "\n", "🦀", "\ud800", "J$_", "x" * 65_536]


@pytest.mark.parametrize("session_id", ODD_IDS)
def test_without_encryption_an_id_is_what_was_minted(session_id: str) -> None:
    codec = SessionCodec()
    assert codec.open_id(session_id) == session_id
    assert codec.lookup_hash(session_id) == hash_id(session_id)


@pytest.mark.parametrize("minted", ["id", "a:b", "🦀", "\ud800", "\0"])
def test_with_encryption_an_id_opens_to_what_was_minted(minted: str) -> None:
    codec = SessionCodec(lambda: minted, keys=[KEY])
    session_id = codec.mint(lambda _: True)
    assert codec.open_id(session_id) == minted
    assert codec.lookup_hash(session_id) == hash_id(session_id)


@pytest.mark.parametrize("session_id", [None, 5, 0.5, b"id", ["id"], {"id": 1}, object()])
@pytest.mark.parametrize("keys", [None, [KEY]])
def test_what_is_no_string_is_an_error(session_id: object, keys: list[bytes] | None) -> None:
    codec = SessionCodec(keys=keys)
    words = f"A session id must be a string, not {type(session_id).__name__}"
    with pytest.raises(JamSessionDataError, match=words):
        codec.open_id(session_id)
    with pytest.raises(JamSessionDataError, match=words):
        codec.lookup_hash(session_id)


@pytest.mark.parametrize("keys", [None, [KEY]])
def test_an_id_longer_than_any_that_was_issued_is_none(keys: list[bytes] | None) -> None:
    codec = SessionCodec(keys=keys)
    longest = SessionCodec(lambda: "x" * 49_000, keys=[KEY]).mint(lambda _: True)
    assert 65_000 < len(longest) <= 65_536
    assert codec.lookup_hash(longest) is not None
    for session_id in ("x" * 65_537, longest + longest):
        assert codec.open_id(session_id) is None
        assert codec.lookup_hash(session_id) is None


@pytest.mark.parametrize("keys", [None, [KEY]])
def test_no_id_is_issued_that_would_be_too_long(keys: list[bytes] | None) -> None:
    with pytest.raises(JamSessionDataError, match="the limit is 65536"):
        SessionCodec(keys=keys).mint(lambda _: True, prefix="k" * 65_536 + ":")


def test_the_hash_of_an_id_is_its_sha_256() -> None:
    assert hash_id("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_different_ids_have_different_hashes() -> None:
    assert len({hash_id(one) for one in ODD_IDS}) == len(ODD_IDS)


@pytest.mark.parametrize("key", ["user1", " ", "a:b/../c", "🦀", "\0", "\ud800", "x" * 100_000])
def test_a_session_key_may_hold_any_characters(key: str) -> None:
    check_session_key(key)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("", "must not be empty"),
        (None, "a string, not NoneType"),
        (5, "a string, not int"),
        (b"hunter2", "a string, not bytes"),
        ("a\ud83e\udd80", "has a character split in two"),
    ],
)
def test_a_session_key_must_be_a_text_that_is_not_empty(key: object, words: str) -> None:
    with pytest.raises(JamSessionDataError, match=words) as caught:
        check_session_key(key)
    assert "hunter2" not in caught.value.message


class WritesNulFirst(JsonEncoder):
    @classmethod
    def dumps(cls, var: dict[str, Any]) -> bytes:
        return b"\0" + JsonEncoder.dumps(var)


def test_what_begins_as_sealed_data_does_is_no_serializers_text() -> None:
    with pytest.raises(JamConfigurationError, match="NUL"):
        MemorySessions(serializer=WritesNulFirst)
