"""Running parts of a test in processes of their own."""

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

_TIMEOUT = 120.0


def run_in_processes(tasks: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run each task in a forked process, all at once, and return what they return, in order.

    Raises:
        AssertionError: A task raised, or ended its process, or took longer than two minutes.
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
