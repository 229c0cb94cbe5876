"""A child that was forked without Python's hooks has resources of its own."""

import ctypes
import os
from threading import Thread
from typing import Any

from jam_core import PerProcess


def _forked_unseen(work: Any) -> int:
    """Run `work` in a child that Python's fork hooks do not see; return its exit code."""
    process: int = ctypes.PyDLL(None).fork()
    if process == 0:
        try:
            os._exit(work())
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def test_a_process_makes_its_own_once() -> None:
    made = iter([object()])
    resource = PerProcess(lambda: next(made))
    assert resource() is resource()


def test_a_child_forked_unseen_makes_its_own_and_lets_the_inherited_go() -> None:
    let_go: list[object] = []
    resource = PerProcess(object, let_go.append)
    inherited = resource()

    def in_child() -> int:
        own = resource()
        return int(own is inherited or let_go != [inherited] or resource() is not own)

    assert _forked_unseen(in_child) == 0
    assert resource() is inherited
    assert let_go == []


def test_a_child_is_not_stopped_by_a_thread_that_was_making_it() -> None:
    begun, go_on = os.pipe(), os.pipe()
    parent = os.getpid()

    def slowly() -> str:
        if os.getpid() == parent:
            os.write(begun[1], b"1")
            os.read(go_on[0], 1)
        return "made"

    resource = PerProcess(slowly)
    thread = Thread(target=resource)
    thread.start()
    os.read(begun[0], 1)
    code = _forked_unseen(lambda: int(resource() != "made"))
    os.write(go_on[1], b"1")
    thread.join()
    for end in (*begun, *go_on):
        os.close(end)
    assert code == 0


def test_what_was_discarded_is_made_again() -> None:
    resource = PerProcess(object)
    first = resource()
    assert resource.discard() is first
    assert resource() is not first


def test_a_child_that_discards_first_keeps_what_it_inherited_until_that_is_let_go() -> None:
    told: list[str] = []

    class Connection:
        def __del__(self) -> None:
            told.append("the server")

    resource = PerProcess(Connection, lambda _: told.append("nobody"))
    assert resource() is resource()

    def in_child() -> int:
        discarded = resource.discard()
        ended = list(told)
        return int(discarded is not None or ended != [] or resource() is None or told != ["nobody"])

    assert _forked_unseen(in_child) == 0
