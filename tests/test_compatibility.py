"""Plugins of an earlier day work with a core whose hooks have gained arguments and operations.

They are written here as their authors would have: a later hook's arguments are not among theirs.
"""

from collections.abc import Callable, Generator
from itertools import count
from typing import Any

import pytest

from jam_core import (
    BaseSession,
    Jam,
    JamSessionNotFound,
    JamSessionUnsupported,
    SessionInfo,
    hookimpl,
)


class OldStore(BaseSession):
    """Has the six operations with the arguments that they began with, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers = count()
        self._kept: dict[str, tuple[str, dict[str, Any]]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def create(self, session_key: str, data: dict[str, Any]) -> str:
        session_id = f"session {next(self._numbers)}"
        self._kept[session_id] = session_key, data
        return session_id

    def get(self, session_id: str) -> dict[str, Any] | None:
        return self._kept[session_id][1] if session_id in self._kept else None

    def update(self, session_id: str, data: dict[str, Any]) -> None:
        if session_id not in self._kept:
            raise JamSessionNotFound()
        self._kept[session_id] = self._kept[session_id][0], data

    def delete(self, session_id: str) -> None:
        self._kept.pop(session_id, None)

    def clear(self, session_key: str) -> None:
        self._kept = {one: kept for one, kept in self._kept.items() if kept[0] != session_key}

    def rework(self, session_id: str) -> str:
        return self.create(*self._kept.pop(session_id))


class LooksAtAll:
    """A wrapper of today, which looks at the later arguments."""

    def __init__(self) -> None:
        self.looked_at: list[object] = []

    @hookimpl(wrapper=True)
    def create(self, ttl: object, max_age: object) -> Generator[None, str, str]:
        self.looked_at += [ttl, max_age]
        return (yield)

    @hookimpl(wrapper=True)
    def update(self, seen: object) -> Generator[None, None, None]:
        self.looked_at += [seen]
        return (yield)

    @hookimpl(wrapper=True)
    def rework(self, session_key: object, ttl: object) -> Generator[None, str, str]:
        self.looked_at += [session_key, ttl]
        return (yield)


class OldWrapper:
    """Names fewer arguments than the hooks have, and knows two of the operations."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    @hookimpl(wrapper=True)
    def create(self, session_key: str) -> Generator[None, str, str]:
        session_id = yield
        self.seen.append(("create", session_key))
        return session_id

    @hookimpl(wrapper=True)
    def rework(self) -> Generator[None, str, str]:
        session_id = yield
        self.seen.append("rework")
        return session_id


@pytest.mark.parametrize("is_wrapped", [False, True], ids=["alone", "wrapped"])
def test_old_plugins_do_all_that_they_did(is_wrapped: bool) -> None:
    wrapper = OldWrapper()
    with Jam({"session": {"session_type": OldStore}}, wrappers=[wrapper] * is_wrapped) as jam:
        first = jam.session_create("ann", {"n": 1})
        jam.session_update(first, {"n": 2})
        second = jam.session_rework(first)
        assert (jam.session_get(first), jam.session_get(second)) == (None, {"n": 2})
        with pytest.raises(JamSessionNotFound):
            jam.session_update(first, {"n": 3})
        jam.session_delete(second)
        third = jam.session_create("ann", {})
        jam.session_clear("ann")
        assert [jam.session_get(one) for one in (second, third)] == [None, None]
    made = [("create", "ann"), "rework", ("create", "ann")]
    assert wrapper.seen == (made if is_wrapped else [])


LATER: dict[str, Callable[[Jam, str], object]] = {
    "info": lambda jam, session_id: jam.session_info(session_id),
    "touch": lambda jam, session_id: jam.session_touch(session_id),
    "mutate": lambda jam, session_id: jam.session_mutate(session_id, lambda data: data),
    "purge": lambda jam, _: jam.session_purge(),
    "list_sessions": lambda jam, _: jam.session_list("ann"),
    "revoke": lambda jam, _: jam.session_revoke("ann", "handle"),
    "clear_others": lambda jam, session_id: jam.session_clear_others(session_id),
}


LATER_ARGUMENTS: dict[str, Callable[[Jam, str], object]] = {
    "ttl in create": lambda jam, _: jam.session_create("ann", {}, ttl=60),
    "ttl in create, for no limit": lambda jam, _: jam.session_create("ann", {}, ttl=None),
    "max_age in create": lambda jam, _: jam.session_create("ann", {}, max_age=60),
    "session_key in rework": lambda jam, session_id: jam.session_rework(session_id, "bob"),
    "session_key in rework, by name": lambda jam, session_id: jam.session_rework(
        session_id, session_key="bob", ttl=60
    ),
    "ttl in rework": lambda jam, session_id: jam.session_rework(session_id, ttl=60),
    "max_age in rework": lambda jam, session_id: jam.session_rework(session_id, max_age=None),
    "seen in update": lambda jam, session_id: jam.session_update(
        session_id, {}, seen=SessionInfo("handle", {})
    ),
}


@pytest.mark.parametrize("is_wrapped", [False, True], ids=["alone", "wrapped"])
@pytest.mark.parametrize("argument", LATER_ARGUMENTS)
def test_an_argument_that_came_later_is_refused_by_name_and_leaves_the_session(
    argument: str, is_wrapped: bool
) -> None:
    wrappers = [LooksAtAll()] * is_wrapped
    with Jam({"session": {"session_type": OldStore}}, wrappers=wrappers) as jam:
        session_id = jam.session_create("ann", {"n": 1})
        refused = f"OldStore does not support {argument.partition(',')[0]}"
        with pytest.raises(JamSessionUnsupported, match=refused):
            LATER_ARGUMENTS[argument](jam, session_id)
        assert jam.session_get(session_id) == {"n": 1}
        assert {"lifetimes", "login", "seen"}.isdisjoint(jam.store.capabilities)
        assert isinstance(jam.store, OldStore)
        assert len(jam.store) == 1, "nothing was stored"


@pytest.mark.parametrize("name", LATER)
def test_an_operation_that_came_later_is_refused_by_name_and_leaves_the_session(name: str) -> None:
    with Jam({"session": {"session_type": OldStore}}, wrappers=[OldWrapper()]) as jam:
        session_id = jam.session_create("ann", {"n": 1})
        assert name not in jam.store.capabilities
        with pytest.raises(JamSessionUnsupported, match=f"OldStore does not support {name}"):
            LATER[name](jam, session_id)
        assert jam.session_get(session_id) == {"n": 1}
