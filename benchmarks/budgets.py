"""What Jam allows itself, as data; the report says of each whether it was met."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from benchmarks.contenders import cachelib_caches, floor_core
from benchmarks.contenders.jam_stores import DIRECTORY, DOCUMENT, ENCRYPTED, FACADE, REDIS, SQL
from benchmarks.figures import Figures, floor_of, measured
from benchmarks.timing import Outcome
from benchmarks.workload import OPERATIONS

# What was measured (an operation, a store), and the value that the budget limits.
Measured = tuple[str, float | None]
Measure = Callable[[Figures], Iterator[Measured]]

_EVERY = OPERATIONS
_WRITES = ("create", "update", "touch", "rework", "delete", "clear")
_WITHIN = 1.05  # of a peer's figure, where the peer does not keep a promise


class Budget(NamedTuple):
    """A limit.

    Attributes:
        what: What it is about.
        limit: The most that is allowed.
        unit: Of the limit.
        measure: Finds the values in the figures.
    """

    what: str
    limit: float
    unit: str
    measure: Measure


def over(place: str, contender: str, other: str, operations: Sequence[str]) -> Measure:
    """Compare the medians of a contender with another's, as a ratio."""

    def measure(figures: Figures) -> Iterator[Measured]:
        for operation in operations:
            ours = figures.median(place, contender, operation)
            yield operation, _ratio(ours, figures.median(place, other, operation))

    return measure


def over_floor(place: str, contender: str, operations: Sequence[str]) -> Measure:
    """Compare the medians of a contender with the floor's, as a ratio."""
    return over(place, contender, floor_of(place), operations)


def beyond(place: str, contender: str, other: str, operation: str) -> Measure:
    """Say by how many microseconds the median of a contender exceeds another's."""

    def measure(figures: Figures) -> Iterator[Measured]:
        ours = figures.median(place, contender, operation)
        theirs = figures.median(place, other, operation)
        yield operation, None if ours is None or theirs is None else ours - theirs

    return measure


def _encryption(figures: Figures) -> Iterator[Measured]:
    for operation in OPERATIONS:
        encrypted = figures.median("core", ENCRYPTED.name, operation)
        plain = figures.median("core", DOCUMENT.name, operation)
        called = figures.median("core", floor_core.FERNET.name, operation)
        if encrypted is None or plain is None or called is None or operation == "clear":
            continue  # to clear takes no call
        yield operation, _ratio(encrypted - plain, called - plain)


def _growth(figures: Figures) -> Iterator[Measured]:
    sizes = sorted({one.size for one in figures.growth})
    medians = {
        (one.place, one.contender, one.operation, one.size): one.median for one in figures.growth
    }
    for (place, name, operation, size), many in medians.items():
        if size == sizes[-1] > sizes[0]:
            few = medians.get((place, name, operation, sizes[0]))
            yield f"{place}: {name}, {operation}", _ratio(many, few)


def _import_beyond(label: str, other: str) -> Measure:
    def measure(figures: Figures) -> Iterator[Measured]:
        times = {one.label: one.milliseconds for one in figures.startup if not one.failure}
        both = label in times and other in times
        yield "time", times[label] - times[other] if both else None

    return measure


def _ready_over(label: str, other: str) -> Measure:
    def measure(figures: Figures) -> Iterator[Measured]:
        found = {one.label: one for one in figures.startup if not one.failure}
        ours, theirs = found.get(label), found.get(other)
        both = ours is not None and theirs is not None
        yield "time", ours.milliseconds / theirs.milliseconds if both else None  # type: ignore[union-attr]
        yield "memory", ours.mebibytes / theirs.mebibytes if both else None  # type: ignore[union-attr]

    return measure


def _ratio(value: float | None, other: float | None) -> float | None:
    return value / other if value is not None and other else None


_CACHELIB = cachelib_caches.FILES.name
_SERVED = ("get", "delete", "clear")
_SCRIPTED = ("create", "update", "rework", "touch")
_REPLACED = ("create", "update", "rework")

BUDGETS = (
    Budget(
        "Redis: get, delete, clear over bare HGET, HDEL, DEL",
        1.15,
        "x",
        over_floor("valkey", REDIS.name, _SERVED),
    ),
    Budget(
        "Redis: create, update, rework, touch over one command or script",
        1.25,
        "x",
        over_floor("valkey", REDIS.name, _SCRIPTED),
    ),
    Budget(
        "Redis without hash-field expiry: every operation over the same floors",
        1.5,
        "x",
        over_floor("redis", REDIS.name, _EVERY),
    ),
    Budget(
        "SQLite (WAL): every operation over one Core statement",
        1.3,
        "x",
        over_floor("sqlite", SQL.name, _EVERY),
    ),
    Budget(
        "PostgreSQL: every operation over one Core statement",
        1.25,
        "x",
        over_floor("postgresql", SQL.name, _EVERY),
    ),
    Budget(
        "JSON document: get beyond json.loads",
        8,
        "us",
        beyond("core", DOCUMENT.name, floor_core.JSON.name, "get"),
    ),
    Budget(
        "JSON document: get over cachelib's files",
        0.7,
        "x",
        over("files", DOCUMENT.name, _CACHELIB, ("get",)),
    ),
    Budget(
        "JSON document: create, update, rework over cachelib's files",
        0.6,
        "x",
        over("files", DOCUMENT.name, _CACHELIB, _REPLACED),
    ),
    Budget(
        "JSON directory: get over bare files", 2, "x", over_floor("files", DIRECTORY.name, ("get",))
    ),
    Budget(
        "JSON directory: writes over bare files",
        1.6,
        "x",
        over_floor("files", DIRECTORY.name, _WRITES),
    ),
    Budget("growth from the fewest sessions to the most", 1.3, "x", _growth),
    Budget(
        "Jam.session_get beyond the store's get",
        2.5,
        "us",
        beyond("core", FACADE.name, DOCUMENT.name, "get"),
    ),
    Budget("encryption over plain, in Fernet calls", 1.15, "x", _encryption),
    Budget(
        "from jam import Jam beyond import pluggy",
        10,
        "ms",
        _import_beyond("from jam import Jam", "import pluggy"),
    ),
    Budget(
        "ready with the JSON store over jamlib",
        0.5,
        "x",
        _ready_over("Jam, JSON document", "jamlib, JSON"),
    ),
)


# CPU of a call in an event loop over that of another, so many at once, at most: what
# asyncio_overhead.py measures.
ASYNCIO_BUDGETS = (
    ("jam.aio get", "redis.asyncio HGET", 16, 0.35),
    ("jam.aio get", "redis.asyncio HGET", 128, 0.25),
    ("jam.aio get, update", "redis.asyncio HGET, HSET", 16, 0.35),
    ("jam.aio get, update", "redis.asyncio HGET, HSET", 128, 0.25),
    ("jam.aio get, asyncpg", "asyncpg fetchval", 16, 0.5),
    ("jam.aio get, asyncpg", "asyncpg fetchval", 128, 0.3),
)


class Verdict(NamedTuple):
    """A store of ours beside a peer: an operation, the ratio of the medians, and what it means."""

    place: str
    store: str
    peer: str
    operation: str
    ratio: float
    met: bool


def verdicts(figures: Figures) -> Iterator[Verdict]:
    """Compare every store of ours with every peer at its place, in what both can do."""
    for outcome in figures.outcomes:
        contenders = list(measured(outcome))
        peers = [one for one in contenders if one.role == "peer"]
        for store in (one for one in contenders if one.role == "jam" and peers):
            for peer in peers:
                limit = _WITHIN if peer.lacks else 1
                yield from _compare(figures, outcome, store.name, peer.name, limit)


def _compare(
    figures: Figures, outcome: Outcome, store: str, peer: str, limit: float
) -> Iterator[Verdict]:
    for operation in OPERATIONS:
        ratio = _ratio(
            figures.median(outcome.place, store, operation),
            figures.median(outcome.place, peer, operation),
        )
        if ratio is not None:
            yield Verdict(outcome.place, store, peer, operation, ratio, ratio <= limit)


def worst(budget: Budget, figures: Figures) -> list[tuple[str, float]]:
    """Return what was measured for a budget, the worst first."""
    known = [(label, value) for label, value in budget.measure(figures) if value is not None]
    return sorted(known, key=lambda one: -one[1])
