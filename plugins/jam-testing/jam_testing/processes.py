"""Running parts of a test in processes of their own."""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from jam_core import BaseSession
from jam_testing.clients import Client
from jam_testing.timekeeping import time_limit

_TIMEOUT = 120.0
_PATIENCE = 10.0  # seconds for a few turns of two threads
_TRIES = 5


def run_in_processes(tasks: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run each task in a forked process, all at once, and return what they return, in order.

    Raises:
        AssertionError: A task raised, ended its process, or took longer than two minutes.
    """
    return _run_all(tasks, die=False)


def run_in_a_process_that_dies(task: Callable[[], Any]) -> Any:
    """Run a task in a forked process that is killed at once, and return what the task returned.

    Raises:
        AssertionError: As in `run_in_processes`.
    """
    return _run_all([task], die=True)[0]


def _run_all(tasks: Sequence[Callable[[], Any]], *, die: bool) -> list[Any]:
    context = multiprocessing.get_context("fork")
    running = []
    for task in tasks:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_run, args=(task, sender, die), daemon=True)
        process.start()
        sender.close()
        running.append((process, receiver))
    outcomes = [_outcome_of(receiver) for _, receiver in running]
    for process, _ in running:
        process.join(_TIMEOUT)
        process.kill()
    failures = [text for failed, text in outcomes if failed]
    assert not failures, "in a process of its own: " + "\n".join(failures)
    return [result for _, result in outcomes]


def _run(task: Callable[[], Any], sender: Connection, die: bool) -> None:
    try:
        outcome = (False, task())
    except BaseException as error:
        outcome = (True, f"{type(error).__name__}: {error}\n{traceback.format_exc()}")
    sender.send(outcome)
    if die:
        os.kill(os.getpid(), signal.SIGKILL)
    sender.close()


def _outcome_of(receiver: Connection) -> tuple[bool, Any]:
    try:
        if not receiver.poll(_TIMEOUT):
            return True, f"no answer within {_TIMEOUT:g} s"
        outcome: tuple[bool, Any] = receiver.recv()
    except EOFError:
        return True, "the process ended without an answer"
    return outcome


class UnseenChild:
    """A child process that Python does not know about: see `fork_unseen`.

    Attributes:
        pid: Its process id.
    """

    def __init__(self, pid: int, receiver: Connection) -> None:
        self.pid = pid
        self._receiver = receiver
        self._ended = False

    def is_sound(self) -> bool:
        """Tell whether threads can take turns in it. Call it once, before `result`."""
        try:
            return self._receiver.poll(_PATIENCE) and self._receiver.recv() is None
        except EOFError:  # from Python 3.13 on, it may end at once where it would have hung
            return False

    def result(self, timeout: float = _TIMEOUT) -> Any:
        """Wait for the child and return what its work returned. Call it once.

        Args:
            timeout: Seconds to wait; then the child is killed.

        Raises:
            AssertionError: The work raised, ended its process, or took too long.
        """
        try:
            if not self._receiver.poll(timeout):
                raise AssertionError(f"in a child forked unseen: no answer within {timeout:g} s")
            failed, outcome = self._receiver.recv()
        except EOFError:
            raise AssertionError("a child forked unseen ended without an answer") from None
        finally:
            self.kill()
        assert not failed, f"in a child forked unseen: {outcome}"
        return outcome

    def kill(self) -> None:
        """End the child. It may be called again."""
        if not self._ended:
            self._ended = True
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self._receiver.close()


def fork_unseen(work: Callable[[], Any]) -> UnseenChild:
    """Fork as uWSGI does: in C, so that none of Python's fork hooks run; run `work` in the child.

    The child never returns; nothing of the test runs in it after `work`. No other thread should
    run Python code meanwhile: the child would wait for it for ever, whatever the store does. Such a
    child is killed before it begins its work, and another one is forked.

    Args:
        work: What the child does; what it returns must be picklable.

    Raises:
        AssertionError: Other threads were running at every attempt.
    """
    for _ in range(_TRIES):
        child, is_sound = _forked_unseen(work), False
        try:
            is_sound = child.is_sound()
        finally:
            if not is_sound:
                child.kill()
        if is_sound:
            return child
    raise AssertionError("other threads of this process ran Python code whenever it was forked")


def _forked_unseen(work: Callable[[], Any]) -> UnseenChild:
    receiver, sender = multiprocessing.get_context("fork").Pipe(duplex=False)
    # A thread that waits for the interpreter asks for it after a moment. A child that is forked
    # between a thread's asking and its getting it would wait for that thread for ever.
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_TIMEOUT)
    try:
        time.sleep(2 * interval)  # any thread that has already asked gets it
        pid: int = ctypes.PyDLL(None).fork()
    finally:
        sys.setswitchinterval(interval)
    if pid == 0:
        try:
            for _ in range(10):  # hangs if another thread was waiting all the same
                thread = threading.Thread(target=time.sleep, args=(0,))
                thread.start()
                thread.join()
            sender.send(None)
            _run(work, sender, die=True)
        finally:
            os._exit(99)
    sender.close()
    return UnseenChild(pid, receiver)


def survive_forks(
    store: BaseSession,
    children: int = 4,
    operations: int = 500,
    *,
    seed: int = 0,
    timeout: float = _TIMEOUT,
    name: str = "forked",
) -> None:
    """Fork unseen after using a store, use it in all processes at once, check every answer.

    Each process has sessions of its own, and keeps a model of them. The parent checks its own
    meanwhile and, if the store is shared, those of the children at the end.

    Args:
        store: The store, open.
        children: How many children there are.
        operations: How many operations each process carries out.
        seed: Chooses the operations.
        timeout: Seconds that all of it may take.
        name: What the session keys begin with; choose one that nobody else uses.

    Raises:
        AssertionError: An answer was wrong, an operation failed, or a child did not end.
    """

    def client(number: int) -> Client:
        return Client(store, f"{name} {seed} {number}")

    def work(number: int) -> Client:
        child = client(number)
        inherited.check_all()
        child.steps(operations)
        child.check_all()
        return child

    parent, inherited = client(0), client(-1)
    with time_limit(timeout, "the use of the store in all processes"):
        for first in (parent, inherited):
            first.steps(20)
        forked = [fork_unseen(partial(work, number)) for number in range(1, children + 1)]
        try:
            parent.steps(operations)
            left = [child.result(timeout) for child in forked]
        finally:
            for child in forked:
                child.kill()
        for one in (parent, inherited, *(left if "shared" in store.capabilities else ())):
            one.use(store)
            one.check_all()
        parent.steps(operations // 10)
        for one in (parent, inherited, *left):
            assert one.unavailable == 0, "an operation was JamStoreUnavailable after a fork"
            one.use(store)
            one.end_all()
