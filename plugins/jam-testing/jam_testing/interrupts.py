"""Exceptions that strike in the middle of an operation, as time limits and Ctrl-C do."""

import ctypes
import gc
import logging
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from queue import SimpleQueue
from typing import Any

from jam_core import BaseSession
from jam_testing.clients import Client
from jam_testing.timekeeping import TimeIsUp, alarm

_PROBES = 50  # operations in a row, without an interrupt, that must work in the end


class SoftTimeLimit(Exception):
    """Like the exceptions that task queues raise when a task takes too long."""


@dataclass(frozen=True)
class Survived:
    """What happened while a store was interrupted.

    Attributes:
        operations: How many operations were tried.
        interrupted: How many of them were ended by the exception that was raised in them.
        replaced: How many of these ended with another exception instead, so that the caller does
            not see the time limit.
        swallowed: How many went on as if nothing had been raised. Drivers do that in places.
        unavailable: How many were JamStoreUnavailable without having been interrupted.
    """

    operations: int
    interrupted: int
    replaced: int
    swallowed: int
    unavailable: int


def survive_interrupts(
    store: BaseSession,
    operations: int = 2000,
    *,
    kind: type[BaseException] = SoftTimeLimit,
    threads: int = 1,
    seed: int = 0,
    patience: float = 30.0,
    name: str = "interrupted",
) -> Survived:
    """Use a store while exceptions are raised in it at random moments; check every answer.

    Call it in the main thread: there a signal handler raises, so that waiting for a server is
    interrupted, too. In other threads, exceptions strike between two bytecodes. Every client has
    sessions of its own, and keeps a model of them.

    Args:
        store: The store. A server some milliseconds away is hit in more places: see `TCPProxy`.
        operations: How many operations are carried out in all.
        kind: What to raise: an Exception, as time limits are, or KeyboardInterrupt.
        threads: How many threads use the store; one of them is the main thread.
        seed: Chooses the operations and the moments.
        patience: Seconds after which an operation counts as hanging.
        name: What the session keys begin with; choose one that nobody else uses.

    Raises:
        AssertionError: An answer was wrong, an operation raised an unexpected exception or did not
            end, or the store does not work afterwards.
    """
    clients = [
        _InterruptedClient(store, f"{name} {seed} {number}", kind) for number in range(threads)
    ]
    steps = operations // threads
    failures: list[BaseException] = []

    def work(client: _InterruptedClient) -> None:
        try:
            with _raised_by_a_thread(kind) as interrupts:
                client.work(interrupts, steps)
        except BaseException as error:
            failures.append(error)

    others = [threading.Thread(target=work, args=(one,), daemon=True) for one in clients[1:]]
    with _without_unraisable(kind):
        for other in others:
            other.start()
        with _raised_by_a_signal(kind, patience) as interrupts:
            clients[0].work(interrupts, steps)
        for client, other in zip(clients[1:], others, strict=True):
            done = -1
            while other.is_alive() and client.client.operations > done:  # it may just be slower
                done = client.client.operations
                other.join(patience)
            assert not other.is_alive(), f"an operation did not end within {patience:g} s"
    if failures:
        raise failures[0]
    with _raised_by_a_signal(kind, patience) as limit:
        for client in clients:
            client.must_work(limit)
    return Survived(
        operations=sum(client.client.operations for client in clients),
        interrupted=sum(client.interrupted for client in clients),
        replaced=sum(client.replaced for client in clients),
        swallowed=sum(client.swallowed for client in clients),
        unavailable=sum(client.client.unavailable for client in clients),
    )


class _Interrupts:
    """Raises an exception at some moment in one thread, while armed, and only once.

    Attributes:
        raised: Whether it has been raised since it was armed.
    """

    def __init__(self) -> None:
        self.raised = False

    def arm(self, delay: float | None) -> None:
        """Raise after `delay` seconds; None: never."""
        raise NotImplementedError

    def disarm(self) -> None:
        """Stop raising. An exception raised just before may still strike here."""
        raise NotImplementedError


class _BySignal(_Interrupts):
    """Raises in the main thread, in a signal handler; and `TimeIsUp` if nothing helps."""

    def __init__(self, kind: type[BaseException], patience: float) -> None:
        super().__init__()
        self._kind: type[BaseException] | None = None
        self._raises = kind
        self._patience = patience
        self._gives_up_at = 0.0

    def arm(self, delay: float | None) -> None:
        self.raised = False
        self._gives_up_at = time.monotonic() + self._patience
        self._kind = TimeIsUp if delay is None else self._raises
        first = self._patience if delay is None else delay
        signal.setitimer(signal.ITIMER_REAL, first, self._patience)

    def disarm(self) -> None:
        self._kind = None
        signal.setitimer(signal.ITIMER_REAL, 0)

    def strike(self) -> None:
        """Raise the exceptions that are due."""
        kind = self._kind
        if kind is TimeIsUp:
            # A signal from the previous operation may arrive late, by way of another thread.
            if time.monotonic() >= self._gives_up_at:
                raise TimeIsUp
            return
        if kind is not None:
            self._kind, self.raised = TimeIsUp, True
            self._gives_up_at = time.monotonic() + self._patience
            raise kind


class _ByThread(_Interrupts):
    """Raises in the thread that created it: another thread asks the interpreter to."""

    def __init__(self, kind: type[BaseException]) -> None:
        super().__init__()
        self._kind = kind
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._turn = 0
        self._orders: SimpleQueue[tuple[int, float] | None] = SimpleQueue()
        self._striker = threading.Thread(target=self._strike, daemon=True)
        self._striker.start()

    def arm(self, delay: float | None) -> None:
        self.raised = False
        if delay is not None:
            self._orders.put((self._turn, delay))

    def disarm(self) -> None:
        with self._lock:
            self._turn += 1
        for _ in range(100 if self.raised else 0):  # a pending exception strikes here at the latest
            time.sleep(0)

    def end(self) -> None:
        """Let the other thread end."""
        self._orders.put(None)
        self._striker.join()

    def _strike(self) -> None:
        while (order := self._orders.get()) is not None:
            turn, delay = order
            time.sleep(delay)
            with self._lock:
                if turn == self._turn:
                    self.raised = True
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(
                        ctypes.c_ulong(self._thread), ctypes.py_object(self._kind)
                    )


class _InterruptedClient:
    """A client with about every third operation interrupted.

    Attributes:
        client: The client.
        interrupted: As in `Survived`.
        replaced: As in `Survived`.
        swallowed: As in `Survived`.
    """

    def __init__(self, store: BaseSession, name: str, kind: type[BaseException]) -> None:
        self._store = store
        self._kind = kind
        self._interrupts: _Interrupts | None = None
        self._often = 0.0
        self._took: dict[str, float] = {}
        self.client = Client(self, name)  # type: ignore[arg-type]
        self.interrupted = self.replaced = self.swallowed = 0

    def work(self, interrupts: _Interrupts, steps: int) -> None:
        """Carry out some operations while interrupts strike."""
        self._interrupts, self._often = interrupts, 0.3
        for _ in range(steps):
            try:
                self.client.step()
            except self._kind:
                self.interrupted += 1

    def must_work(self, limit: _Interrupts) -> None:
        """Check every session, and that the store works as if nothing had happened.

        Raises:
            AssertionError: A session is wrong, or the store does not work.
        """
        self._interrupts, self._often = limit, 0.0
        before = self.client.unavailable
        self.client.check_all()
        for _ in range(_PROBES):
            self.client.step()
        assert self.client.unavailable == before, "the store does not work after the interrupts"
        self.client.end_all()

    def __getattr__(self, name: str) -> Any:
        """Return the store's operation, interrupted at a random moment."""
        member = getattr(self._store, name)
        if not callable(member):
            return member

        def call(*arguments: Any) -> Any:
            if name == "records":
                return self._call(name, lambda: list(islice(member(), 20)))
            return self._call(name, lambda: member(*arguments))

        return call

    def _call(self, name: str, operation: Callable[[], Any]) -> Any:
        interrupts = self._interrupts
        assert interrupts is not None
        typical = self._took.get(name)
        delay = None
        if typical is not None and self.client.random.random() < self._often:
            delay = max(1e-6, self.client.random.uniform(0.0, 1.1 * typical))
        try:
            answer = self._run(name, operation, interrupts, delay)
        except self._kind:
            interrupts.disarm()
            raise
        except Exception as error:
            if not interrupts.raised:
                raise
            self.replaced += 1
            raise self._kind from error
        if interrupts.raised:
            self.swallowed += 1
        return answer

    def _run(
        self,
        name: str,
        operation: Callable[[], Any],
        interrupts: _Interrupts,
        delay: float | None,
    ) -> Any:
        began = time.perf_counter()
        try:
            interrupts.arm(delay)
            answer = operation()
        finally:
            interrupts.disarm()
        if delay is None:
            took = time.perf_counter() - began
            self._took[name] = 0.9 * self._took.get(name, took) + 0.1 * took
        return answer


@contextmanager
def _raised_by_a_signal(kind: type[BaseException], patience: float) -> Iterator[_Interrupts]:
    interrupts = _BySignal(kind, patience)
    try:
        with alarm(interrupts.strike):
            yield interrupts
    except TimeIsUp as error:
        raise AssertionError(f"an operation did not end within {patience:g} s") from error


@contextmanager
def _raised_by_a_thread(kind: type[BaseException]) -> Iterator[_Interrupts]:
    interrupts = _ByThread(kind)
    try:
        yield interrupts
    finally:
        interrupts.end()


@contextmanager
def _without_unraisable(kind: type[BaseException]) -> Iterator[None]:
    """Silence Python about what an interrupt leaves to destructors, or raises in them."""
    former, logged_from = sys.unraisablehook, logging.root.manager.disable

    def hook(unraisable: "sys.UnraisableHookArgs") -> None:
        # AttributeError: from an object whose constructor was interrupted.
        if not issubclass(unraisable.exc_type, (kind, AttributeError)):
            former(unraisable)

    sys.unraisablehook = hook
    logging.disable()  # a record's traceback would keep what was left open until some later test
    try:
        with warnings.catch_warnings():
            # An interrupt between opening a file and the next line leaves it to its destructor.
            warnings.simplefilter("ignore", ResourceWarning)
            yield
            gc.collect()
    finally:
        logging.disable(logged_from)
        sys.unraisablehook = former
