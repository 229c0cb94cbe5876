"""Touch, mutate, purge, ping; each only if the store has it."""

from typing import Any

import pytest

from jam_core import BaseSession, JamSessionDataError, JamSessionNotFound, JamSessionUnsupported
from jam_core.hosting import OPTIONAL_OPERATIONS
from jam_testing.fixtures import DATA, KEY, StoreContract
from jam_testing.operations import HOSTILE
from jam_testing.promises import promise


class OptionalOperationsContract(StoreContract):
    """Touch, mutate, purge, ping."""

    @promise(
        "options",
        "calling an optional operation that the store lacks raises an error that names it",
    )
    def test_an_operation_that_the_store_lacks_says_so(self, store: BaseSession) -> None:
        arguments: dict[str, tuple[Any, ...]] = {
            "info": ("id",),
            "touch": ("id",),
            "mutate": ("id", dict),
            "list_sessions": ("key",),
            "revoke": ("key", "handle"),
            "clear_others": ("id",),
        }
        for name in set(OPTIONAL_OPERATIONS) - store.capabilities:
            with pytest.raises(JamSessionUnsupported, match=name):
                getattr(store, name)(*arguments.get(name, ()))

    @promise("touch", "the data stays as it is", needs=["touch"])
    def test_touch_leaves_the_data_alone(self, store: BaseSession) -> None:
        session_id = store.create(KEY, DATA)
        store.touch(session_id)
        assert store.get(session_id) == DATA, "touch does not change the data"

    @promise("touch", "a session that is gone is never brought back", needs=["touch"])
    def test_touch_does_not_bring_back_what_is_gone(self, store: BaseSession) -> None:
        for gone in (*ended_sessions(store), "never issued", "", *HOSTILE.values()):
            with pytest.raises(JamSessionNotFound):
                store.touch(gone)
            assert store.get(gone) is None, "what is gone stays gone"

    @promise("mutate", "a session that is gone is never brought back", needs=["mutate"])
    def test_mutate_does_not_bring_back_what_is_gone(self, store: BaseSession) -> None:
        for gone in (*ended_sessions(store), "never issued", "", *HOSTILE.values()):
            with pytest.raises(JamSessionNotFound):
                store.mutate(gone, lambda data: data)
            assert store.get(gone) is None, "what is gone stays gone"

    @promise("mutate", "what the function returns is stored and returned", needs=["mutate"])
    def test_mutate_stores_what_the_function_returns(self, store: BaseSession) -> None:
        session_id = store.create(KEY, {"n": 1})
        assert store.mutate(session_id, lambda data: {**data, "m": 2}) == {"n": 1, "m": 2}
        assert store.get(session_id) == {"n": 1, "m": 2}, "what the function returned is stored"
        assert store.mutate(session_id, lambda _: {}) == {}, "{} is data like any other"
        assert store.get(session_id) == {}, "{} is data like any other"

    @promise("mutate", "what the function changed in place is stored", needs=["mutate"])
    def test_mutate_stores_what_the_function_changed_in_place(self, store: BaseSession) -> None:
        session_id = store.create(KEY, {"n": 1})

        def change(data: dict[str, Any]) -> None:
            data["n"] += 1

        assert store.mutate(session_id, change) == {"n": 2}, "mutate returns the data as stored"
        assert store.get(session_id) == {"n": 2}, "a change in place is a change"

    @promise(
        "mutate", "what it passes on and what it returns is the caller's own", needs=["mutate"]
    )
    def test_what_mutate_was_given_and_returned_is_the_callers(self, store: BaseSession) -> None:
        session_id = store.create(KEY, {"list": [1]})
        kept: list[dict[str, Any]] = []

        def change(data: dict[str, Any]) -> dict[str, Any]:
            new = {"list": [*data["list"], 2]}
            kept.extend((data, new))
            return new

        kept.append(store.mutate(session_id, change))
        for data in kept:
            data["list"].append("changed outside")
        assert store.get(session_id) == {"list": [1, 2]}, "mutate keeps a copy and gives copies"

    @promise(
        "mutate", "a change that fails, or cannot be stored, changes nothing", needs=["mutate"]
    )
    def test_a_mutate_that_fails_changes_nothing(self, store: BaseSession) -> None:
        session_id = store.create(KEY, DATA)

        def fail(data: dict[str, Any]) -> None:
            data.clear()
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            store.mutate(session_id, fail)
        with pytest.raises(JamSessionDataError):
            store.mutate(session_id, lambda _: {"bad": object()})
        assert store.get(session_id) == DATA, "a failed change leaves no trace"

    @promise("mutate", "a change made in between is not lost", needs=["mutate"])
    def test_mutate_sees_what_came_in_between(self, store: BaseSession) -> None:
        session_id = store.create(KEY, {"n": 1})
        seen: list[int] = []

        def change(data: dict[str, Any]) -> dict[str, Any]:
            seen.append(data["n"])
            if len(seen) == 1:
                store.update(session_id, {"n": 10})
            return {"n": data["n"] + 1}

        assert store.mutate(session_id, change) == {"n": 11}, "mutate returns the data as stored"
        assert seen == [1, 10], "the function is called again with the newer data"
        assert store.get(session_id) == {"n": 11}, "both changes are there"

    @promise("mutate", "a session that ends in between is not brought back", needs=["mutate"])
    def test_mutate_does_not_bring_back_what_ends_in_between(self, store: BaseSession) -> None:
        session_id = store.create(KEY, {"n": 1})

        def change(data: dict[str, Any]) -> dict[str, Any]:
            store.delete(session_id)
            return data

        with pytest.raises(JamSessionNotFound):
            store.mutate(session_id, change)
        assert store.get(session_id) is None, "a session that ended stays ended"

    @promise("purge", "live sessions are left alone, and not counted", needs=["purge"])
    def test_purge_leaves_what_lives(self, store: BaseSession) -> None:
        session_id = store.create(KEY, DATA)
        assert store.purge() == 0, "purge counts what it removed"
        assert store.get(session_id) == DATA, "a live session is left alone"

    @promise("ping", "it is silent when the backend answers", needs=["ping"])
    def test_ping_is_silent_when_all_is_well(self, store: BaseSession) -> None:
        answers: list[object] = [operation() for operation in (store.ping,)]
        assert answers == [None], "ping returns None"


def ended_sessions(store: BaseSession) -> list[str]:
    """Return the ids of ended sessions, one for each way that a session can end."""
    deleted, cleared, reworked = (store.create(KEY, DATA) for _ in range(3))
    store.delete(deleted)
    store.rework(reworked)
    store.clear(KEY)
    return [deleted, cleared, reworked]
