"""All that a run measured, and how to find it again."""

from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.contenders import CONTENDERS
from benchmarks.contenders.contender import Contender
from benchmarks.startup import Startup
from benchmarks.throughput import Throughput
from benchmarks.timing import Outcome, Timed

REFERENCE_SIZE = 10_000  # live sessions, for budgets and comparisons


class Figures(NamedTuple):
    """What a run measured.

    Attributes:
        machine: Name -> value, for people.
        outcomes: Operations, place by place.
        growth: Our stores with few and with many sessions, measured side by side.
        throughput: Many workers at once.
        startup: Fresh interpreters.
    """

    machine: dict[str, str]
    outcomes: list[Outcome]
    growth: list[Timed]
    throughput: list[Throughput]
    startup: list[Startup]

    def timed(self, place: str, contender: str, operation: str, size: int) -> Timed | None:
        """Return one figure, or None if it was not measured."""
        for outcome in self.outcomes:
            for one in outcome.timed if outcome.place == place else ():
                if (one.contender, one.operation, one.size) == (contender, operation, size):
                    return one
        return None

    def median(
        self, place: str, contender: str, operation: str, size: int | None = None
    ) -> float | None:
        """Return a median in microseconds; default: at the reference size."""
        at = self.reference_size if size is None else size
        found = self.timed(place, contender, operation, at)
        return None if found is None else found.median

    @property
    def sizes(self) -> list[int]:
        """The numbers of sessions that were measured, growing."""
        return sorted({one.size for outcome in self.outcomes for one in outcome.timed})

    @property
    def reference_size(self) -> int:
        """10,000, or the nearest below it that was measured."""
        fitting = [size for size in self.sizes if size <= REFERENCE_SIZE]
        return fitting[-1] if fitting else 0


def measured(outcome: Outcome) -> Iterator[Contender]:
    """Yield the contenders of whom there is any figure, in the order of the tables."""
    names = {one.contender for one in outcome.timed}
    return (one for one in CONTENDERS[outcome.place] if one.name in names)


def floor_of(place: str) -> str:
    """Return the name of the floor that ratios at a place refer to."""
    return next(one.name for one in CONTENDERS[place] if one.role == "floor")
