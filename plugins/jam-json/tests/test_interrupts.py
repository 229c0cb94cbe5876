"""Exceptions that strike in the middle of an operation: time limits, Ctrl-C, lack of memory."""

import errno
import fcntl
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from jam_json import JSONSessions
from jam_testing import SoftTimeLimit, run_in_processes, survive_interrupts

from jam_core import JamError, JamSessionNotFound, JamStoreUnavailable

KINDS = [SoftTimeLimit, pytest.param(KeyboardInterrupt, marks=pytest.mark.exhaustive)]


def state_of(store: JSONSessions) -> dict[str, Any]:
    """What a store says that there is."""
    return {record.id_hash: record for record in store.records()}


def must_be_well(store: JSONSessions, path: Path) -> None:
    """The lock is free, and what the store has in memory is what is on the disk."""
    with JSONSessions(path, lock_timeout=0.5) as other:
        by_another = other.create("another", {})
        assert state_of(store) == state_of(other)
        assert store.list_sessions("another") == other.list_sessions("another")
    store.update(by_another, {"by": "the interrupted one"})
    assert run_in_processes([lambda: JSONSessions(path).get(by_another)]) == [
        {"by": "the interrupted one"}
    ]
    store.delete(by_another)


def survive(path: Path, kind: type[BaseException], threads: int, operations: int) -> None:
    store = JSONSessions(path)
    survived = survive_interrupts(store, operations, kind=kind, threads=threads)
    assert survived.interrupted > 0
    assert survived.replaced == 0, "an exception that is the caller's own goes through as it is"
    assert survived.unavailable == 0, "an interrupt left the lock held, or a descriptor unusable"
    must_be_well(store, path)
    store.close()


@pytest.mark.parametrize("operations", [400, pytest.param(20_000, marks=pytest.mark.lengthy)])
@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_interrupts_at_random_moments(
    path: Path, kind: type[BaseException], threads: int, operations: int
) -> None:
    survive(path, kind, threads, operations)


def descriptors() -> int:
    """How many descriptors this process has."""
    return len(list(Path("/dev/fd").iterdir()))


class Struck(BaseException):
    """Foreign, and no Exception."""


def strike_at(step: int) -> None:
    """Raise at the step-th moment from now on at which a signal handler could.

    That is on the way into a function of ours, and when a function of C has returned.
    """
    steps = 0

    def count(frame: FrameType, event: str, _: Any) -> None:
        nonlocal steps
        if event in ("call", "c_return") and frame.f_globals["__name__"].startswith("jam_json"):
            steps += 1
            if steps == step:
                raise Struck

    sys.setprofile(count)


ACTIONS: dict[str, Callable[[JSONSessions, str], object]] = {
    "create": lambda store, _: store.create("ann", {"n": "new"}),
    "get": lambda store, session_id: store.get(session_id),
    "update": lambda store, session_id: store.update(session_id, {"n": "new"}),
    "mutate": lambda store, session_id: store.mutate(session_id, lambda _: {"n": "new"}),
    "touch": lambda store, session_id: store.touch(session_id),
    "delete": lambda store, session_id: store.delete(session_id),
    "clear": lambda store, _: store.clear("changed"),
    "clear_others": lambda store, session_id: store.clear_others(session_id),
    "list_sessions": lambda store, _: store.list_sessions("changed"),
    "rework": lambda store, session_id: store.rework(session_id),
    "log in": lambda store, session_id: store.rework(session_id, "user"),
    "purge": lambda store, _: store.purge(),
}
SOME_ACTIONS = [
    name if name == "update" else pytest.param(name, marks=pytest.mark.exhaustive)
    for name in ACTIONS
]


@pytest.mark.parametrize(
    "others_have_folded",
    [
        pytest.param(False, id=""),
        pytest.param(True, id="others have folded", marks=pytest.mark.exhaustive),
    ],
)
@pytest.mark.parametrize("name", SOME_ACTIONS)
def test_struck_at_each_moment(path: Path, name: str, others_have_folded: bool) -> None:
    store, other = JSONSessions(path, lock_timeout=0.5), JSONSessions(path)
    before = descriptors()
    step, was_struck = 0, True
    while was_struck:
        step += 1
        changed = other.create("changed", {"n": "old"})
        other.create("changed", {"n": "another"})
        if others_have_folded:
            other.purge()
        try:
            strike_at(step)
            ACTIONS[name](store, changed)
            was_struck = False
        except Struck:
            pass
        finally:
            sys.setprofile(None)
        locks = [*path.parent.glob("*.lock"), *path.glob("locks/*.lock")]
        for lock in locks:
            with lock.open("rb+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # free
        if name not in ("delete", "clear", "rework", "log in"):
            assert store.get(changed) in ({"n": "old"}, {"n": "new"}), f"struck at step {step}"
        assert state_of(store) == state_of(other), f"struck at step {step}"
        assert len(store.list_sessions("changed")) == len(other.list_sessions("changed"))
        if name == "log in":
            users = len(store.list_sessions("user"))
            assert users == (store.get(changed) is None), "the old session or the new one"
        kept = store.create("bob", {"n": step})
        assert other.get(kept) == {"n": step}
        for key in ("changed", "bob", "ann", "user"):  # else there are ever more moments
            store.clear(key)
    assert step > 5
    assert descriptors() <= before + 10, "descriptors are lost"  # a lock file a key and store
    must_be_well(store, path)
    store.close()
    other.close()


def test_struck_while_another_holds_the_lock(path: Path) -> None:
    store = JSONSessions(path, lock_timeout=0.05)
    session_id = store.create("ann", {"n": 1})
    locks = [*path.parent.glob("*.lock"), *path.glob("locks/*.lock")]
    files = [lock.open("rb+") for lock in locks]
    for file in files:
        fcntl.flock(file, fcntl.LOCK_EX)
    step, was_struck = 0, True
    while was_struck and step < 40:
        step += 1
        try:
            strike_at(step)
            with pytest.raises(JamStoreUnavailable, match="locked"):
                store.update(session_id, {"n": 2})
            was_struck = False
        except Struck:
            pass
        finally:
            sys.setprofile(None)
    for file in files:
        file.close()
    must_be_well(store, path)
    assert store.get(session_id) == {"n": 1}
    store.close()


FAILING: list[tuple[Any, str]] = [
    (os, name) for name in ("open", "close", "read", "pread", "write", "fstat", "stat", "ftruncate")
] + [(os, "fsync"), (os, "replace"), (os, "rename"), (os, "unlink"), (os, "link"), (fcntl, "flock")]


class FailingDisk:
    """Lets one system call fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._left = 0
        for module, name in FAILING:
            monkeypatch.setattr(module, name, self._failing(getattr(module, name)))

    def fail_at(self, step: int) -> None:
        """Let the step-th call from now on fail."""
        self._left = step

    def mend(self) -> bool:
        """Let none fail; return whether one did."""
        has_failed, self._left = self._left <= 0, 0
        return has_failed

    def _failing(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:
            self._left -= 1
            if self._left == 0:
                if call.__name__ == "close":  # it is closed all the same, as on Linux
                    call(*args, **options)
                raise OSError(errno.EIO, "Input/output error")
            return call(*args, **options)

        return run


@pytest.mark.parametrize("name", [*SOME_ACTIONS, "close"])
def test_a_system_call_that_fails_once_is_an_outage_and_no_more(
    path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    disk = FailingDisk(monkeypatch)
    step, has_failed = 0, True
    while has_failed:
        step += 1
        here = path.with_name(f"{step}-{path.name}")
        store, other = JSONSessions(here), JSONSessions(here)
        kept = store.create("ann", {"n": 0})
        changed = other.create("changed", {"n": "old"})
        other.purge()
        disk.fail_at(step)
        try:
            store.close() if name == "close" else ACTIONS[name](store, changed)
        except JamStoreUnavailable:
            pass
        except JamSessionNotFound:
            assert name in ("rework", "log in", "mutate", "update"), "the same id was moved before"
        except JamError as error:
            raise AssertionError(f"failed at step {step}") from error
        has_failed = disk.mend()
        if name == "close":
            store = JSONSessions(here)
        assert store.get(kept) == {"n": 0}, f"failed at step {step}"
        assert state_of(store) == state_of(other), f"failed at step {step}"
        store.update(kept, {"n": 1})
        assert other.get(kept) == {"n": 1}
        store.purge()
        store.close()
        other.close()
        with JSONSessions(here) as again:
            assert again.get(kept) == {"n": 1}
