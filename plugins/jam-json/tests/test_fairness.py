"""Nobody waits for long while others get the lock again and again; nobody freezes the process."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest
from jam_json import JSONSessions
from jam_testing import fork_unseen

Opener = Callable[..., JSONSessions]


def test_hot_writers_let_others_in_after_some_turns(document: Path, open_store: Opener) -> None:
    store = open_store(document)
    mine = store.create("ann", {})
    store.touch(mine)
    journal = document.with_name(document.name + ".journal")
    size = len(journal.read_bytes().splitlines()[-1]) + 1

    def write_for_ever() -> None:
        hot = JSONSessions(document)
        session_id = hot.create("bob", {})
        while True:
            hot.touch(session_id)

    children = [fork_unseen(write_for_ever) for _ in range(4)]
    turns = []
    try:
        while journal.stat().st_size < 100 * size:
            pass
        for _ in range(50):
            before = journal.stat()
            store.touch(mine)
            after = journal.stat()
            if before.st_ino == after.st_ino:
                turns.append((after.st_size - before.st_size) // size)
            time.sleep(0.01)  # a request now and then, among those who write all the time
    finally:
        for child in children:
            child.kill()
    assert median(turns) < 70, "without fairness it is between one and two hundred"


GEVENT = """
import sys, time
from jam_json import JSONSessions
store = JSONSessions(sys.argv[1], lock_timeout=10)
from gevent import monkey
monkey.patch_all()  # after the import, as gunicorn --preload does
import gevent
print("ready", flush=True)
sys.stdin.readline()
began = time.monotonic()
ticks = []
def tick():
    while True:
        ticks.append(time.monotonic())
        gevent.sleep(0.01)
ticker = gevent.spawn(tick)
greenlets = [gevent.spawn(store.create, "ann", {"n": n}) for n in range(2)]
gevent.joinall(greenlets, raise_error=True)
print(time.monotonic() - began, len(ticks), flush=True)
"""


def test_a_worker_of_gevent_goes_on_while_another_process_holds_the_lock(path: Path) -> None:
    pytest.importorskip("gevent")
    worker = subprocess.Popen(
        [sys.executable, "-c", GEVENT, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    assert worker.stdout.readline() == "ready\n"
    with JSONSessions(path) as store:
        store.create("ann", {})  # makes the lock file
    locks = [*path.parent.glob("*.lock"), *path.glob("locks/*.lock")]
    files = [lock.open("rb+") for lock in locks]
    for file in files:
        fcntl.flock(file, fcntl.LOCK_EX)
    worker.stdin.write("\n")
    worker.stdin.flush()
    time.sleep(0.3)  # what the row of two writers is about: somebody holds it for so long
    for file in files:
        file.close()
    took, ticks = worker.stdout.readline().split()
    worker.communicate()
    assert float(took) < 5, "it froze until lock_timeout"
    assert int(ticks) > 5, "other greenlets ran meanwhile"
    assert worker.returncode == 0
    with JSONSessions(path) as store:
        assert len(store.list_sessions("ann")) == 3


def test_a_waiter_that_is_killed_is_not_waited_for(path: Path) -> None:
    store = JSONSessions(path, lock_timeout=5)
    session_id = store.create("ann", {})
    locks = [*path.parent.glob("*.lock"), *path.glob("locks/*.lock")]
    files = [lock.open("rb+") for lock in locks]
    for file in files:
        fcntl.flock(file, fcntl.LOCK_EX)
    times = {lock: lock.stat().st_mtime_ns for lock in locks}
    child = fork_unseen(lambda: store.update(session_id, {"n": 1}))
    while all(lock.stat().st_mtime_ns == times[lock] for lock in locks):
        pass  # until it says that it waits
    os.kill(child.pid, signal.SIGKILL)
    child.kill()
    for file in files:
        file.close()
    store.update(session_id, {"n": 2})
    assert store.get(session_id) == {"n": 2}
    store.close()
