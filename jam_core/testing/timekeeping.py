"""Time in tests: a clock set by hand where the store takes one, real waiting elsewhere."""

import time
from collections.abc import Callable


class ManualClock:
    """A clock that stands still until it is told to go on.

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
        """Let time pass, really where there is no clock to set."""
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
