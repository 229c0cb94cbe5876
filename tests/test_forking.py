"""A child that was forked without Python's hooks has resources of its own."""

import os
from threading import Thread

from jam_testing import fork_unseen

from jam_core import PerProcess


def test_a_process_makes_its_own_once() -> None:
    made = iter([object()])
    resource = PerProcess(lambda: next(made))
    assert resource() is resource()


def test_a_child_forked_unseen_makes_its_own_and_lets_the_inherited_go() -> None:
    let_go: list[object] = []
    resource = PerProcess(object, let_go.append)
    inherited = resource()

    def in_child() -> bool:
        own = resource()
        return own is not inherited and let_go == [inherited] and resource() is own

    assert fork_unseen(in_child).result()
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
    made = fork_unseen(resource).result()
    os.write(go_on[1], b"1")
    thread.join()
    for end in (*begun, *go_on):
        os.close(end)
    assert made == "made"


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

    def in_child() -> bool:
        discarded = resource.discard()
        ended = list(told)
        return discarded is None and ended == [] and resource() is not None and told == ["nobody"]

    assert fork_unseen(in_child).result()
