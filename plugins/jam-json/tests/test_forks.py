"""Forks that Python does not see, as uWSGI's are: locks and memory are each process' own."""

import os
import threading
from pathlib import Path

import pytest
from jam_json import JSONSessions
from jam_testing import fork_unseen, survive_forks


def test_children_forked_unseen_lose_nothing(path: Path) -> None:
    store = JSONSessions(path)
    survive_forks(store, children=4, operations=60)
    store.close()


@pytest.mark.exhaustive
def test_children_forked_unseen_lose_nothing_in_two_thousand_operations(path: Path) -> None:
    store = JSONSessions(path)
    survive_forks(store, children=4, operations=2000)
    store.close()


@pytest.mark.parametrize("moment", ["waiting for the clock", "half written"])
def test_forked_unseen_while_a_thread_is_at_it(
    path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    begun, go_on = os.pipe(), os.pipe()
    waits: list[int] = []

    def wait_if_asked() -> None:
        if waits and threading.get_ident() == waits[0]:
            waits.clear()
            os.write(begun[1], b"1")
            os.read(go_on[0], 1)

    def clock() -> float:
        if moment == "waiting for the clock":
            wait_if_asked()
        return 1000.0

    def fsync(_: int) -> None:
        if moment == "half written":
            wait_if_asked()

    monkeypatch.setattr(os, "fsync", fsync)
    store = JSONSessions(path, clock=clock, fsync=True)
    kept = store.create("ann", {"n": 1})

    def update() -> None:
        waits.append(threading.get_ident())
        store.update(kept, {"n": 2})

    thread = threading.Thread(target=update)
    thread.start()
    os.read(begun[0], 1)

    def work() -> str:
        os.write(begun[1], b"2")
        assert store.get(kept) in ({"n": 1}, {"n": 2})
        return store.create("bob", {"n": 3})  # waits for the thread, which is not there

    child = fork_unseen(work)
    assert os.read(begun[0], 1) == b"2"
    os.write(go_on[1], b"1")
    thread.join()
    created = child.result()
    assert store.get(kept) == {"n": 2}
    assert store.get(created) == {"n": 3}
    store.update(kept, {"n": 4})
    assert JSONSessions(path, clock=clock).get(kept) == {"n": 4}
    store.close()
    for end in (*begun, *go_on):
        os.close(end)
