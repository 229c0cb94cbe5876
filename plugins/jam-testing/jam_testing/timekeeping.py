"""Time in tests: a clock set by hand where the store takes one, real waiting elsewhere."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class ManualClock:
    """A clock that stands still until it is moved.

    Attributes:
        now: The time that it shows, in seconds since the epoch.
    """

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


class Timekeeper:
    """Lets time pass for a store.

    Args:
        clock: The store's clock, or None if its server keeps the time.
    """

    def __init__(self, clock: ManualClock | None) -> None:
        self.clock = clock

    @property
    def exact(self) -> bool:
        """Whether moments can be hit exactly."""
        return self.clock is not None

    def let_pass(self, seconds: float) -> None:
        """Let time pass; wait for real if there is no clock to set."""
        if self.clock is None:
            time.sleep(seconds)
        else:
            self.clock.advance(seconds)


def wait_until(condition: Callable[[], bool], what: str, timeout: float = 30.0) -> None:
    """Wait until a condition holds.

    Raises:
        AssertionError: It did not within `timeout` seconds.
    """
    give_up_at = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > give_up_at:
            raise AssertionError(f"waited {timeout:g} s in vain until {what}")
        time.sleep(0.005)


class TimeIsUp(BaseException):
    """A time limit was reached. No store may catch it: it is not an Exception."""


@contextmanager
def time_limit(seconds: float, what: str) -> Iterator[None]:
    """End the block, wherever it is waiting, when it takes too long.

    That includes waiting for a lock, a thread or a socket. In other threads, and on systems without
    interval timers, there is no limit.

    Args:
        seconds: The limit.
        what: What took too long, for the message.

    Raises:
        AssertionError: The time is up.
    """
    over_at = time.monotonic() + seconds

    def strike() -> None:
        # A signal meant for a block inside this one may arrive late, by way of another thread.
        if time.monotonic() >= over_at:
            raise TimeIsUp

    try:
        with alarm(strike):
            if _has_alarms():
                # Repeatedly: code that waits for a second lock on the way out must end, too.
                signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
            yield
    except TimeIsUp as error:
        raise AssertionError(f"{what} did not end within {seconds:g} s") from error


@contextmanager
def alarm(strike: Callable[[], object]) -> Iterator[None]:
    """Call `strike` in the main thread whenever the real-time interval timer fires.

    A timer that somebody else has set continues afterwards.
    """
    if not _has_alarms():
        yield
        return
    former = signal.signal(signal.SIGALRM, lambda *_: strike())
    left, interval = signal.setitimer(signal.ITIMER_REAL, 0)
    began = time.monotonic()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
        if left:
            left = max(0.001, left - (time.monotonic() - began))
            signal.setitimer(signal.ITIMER_REAL, left, interval)


def _has_alarms() -> bool:
    return hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
