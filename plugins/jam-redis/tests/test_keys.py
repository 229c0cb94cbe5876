"""The names of the Redis keys: one slot for all that belong together, and no two alike."""

import random
from itertools import product

import pytest
from jam_redis.commands import Commands, keys_of, keys_of_ends
from redis.crc import key_slot

from jam_core import JamSessionNotFound

from .conftest import Opener, OpenerOf

PATHS = ["sessions", "", "a:b", "{app}", "{app}:s", "a{b", "a}b", "{}", "jam", "*?[x]"]
SESSION_KEYS = [
    *("ann", "{a}", "a}b", "{a", "}{", "{}", "{}{x}", "a{b}c{d}", "{{a}}", "x:{y}:expires"),
    *("a:expires", "{app}:u:expires", "é☃", "\0", "\ud800", "*", " ", "k" * 10_000),
]


def key_sets() -> list[tuple[bytes, bytes, bytes]]:
    return [Commands(path, 1).keys_of(key) for path, key in product(PATHS, SESSION_KEYS)]


def test_the_layout_is_the_one_that_is_known() -> None:
    keys = Commands("sessions", 1).keys_of("ann")
    assert keys == (b"sessions:ann", b"{sessions:ann}:expires", b"{sessions:ann}:deadlines")


def test_all_keys_of_an_operation_are_in_one_slot() -> None:
    for keys in key_sets():
        assert len({key_slot(key) for key in keys}) == 1, keys


def test_all_keys_are_in_one_slot_however_braces_stand() -> None:
    choose = random.Random(1)
    for _ in range(2000):
        name = bytes(choose.choices(b"{}a:", k=choose.randint(1, 12)))
        assert len({key_slot(key) for key in keys_of(name)}) == 1, name


@pytest.mark.parametrize("path", PATHS)
def test_no_session_key_makes_two_names_meet(path: str) -> None:
    commands = Commands(path, 1)
    own = [key for name in SESSION_KEYS for key in commands.keys_of(name)]
    assert len(set(own)) == len(own)
    begin = path.encode() + b":"
    for name in SESSION_KEYS:
        keys = commands.keys_of(name)
        for companion in (keys.ends, keys.deadlines):
            assert not companion.startswith(begin), "or it could be some session key's hash"


def test_what_a_scan_finds_is_recognized() -> None:
    for path, key in product(PATHS, SESSION_KEYS):
        keys = Commands(path, 1).keys_of(key)
        assert keys_of_ends(keys.ends) == keys
    for other in (b"x", b":expires", b"{}:expires", b"{a}:b:expires", b"}:expires"):
        keys_or_none = keys_of_ends(other)
        assert keys_or_none is None or keys_or_none.ends == other


@pytest.mark.parametrize("backend", ["redis62", "cluster"])
def test_braces_in_session_keys(opener: OpenerOf, backend: str) -> None:
    open_store: Opener = opener(backend)
    store = open_store(max_age=1000)
    for key in SESSION_KEYS:
        session_id = store.create(key, {"n": 1})
        store.update(session_id, {"n": 2})
        session_id = store.rework(session_id)
        assert store.mutate(session_id, lambda data: {"n": data["n"] + 1}) == {"n": 3}
        other = store.create(key, {})
        store.delete(other)
        assert store.get(session_id) == {"n": 3}
        store.clear(key)
        assert store.get(session_id) is None
        with pytest.raises(JamSessionNotFound):
            store.touch(session_id)
    assert store.purge() == 0
