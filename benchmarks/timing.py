"""Times operations: contenders take turns, block by block, so that drift falls on all alike."""

import asyncio
import gc
import inspect
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from importlib import metadata
from typing import Any, NamedTuple

from benchmarks.contenders import CONTENDERS
from benchmarks.contenders.contender import Contender, UnableError
from benchmarks.pinning import PinnedServers, pin_client
from benchmarks.places import MissingError, Place, open_place, settle
from benchmarks.workload import CHANGED, CLEARED, DATA, OPERATIONS, SESSIONS_PER_KEY

_WARMING = 2  # calls of a block that are not counted
_LONGEST_BLOCK = 50_000_000  # nanoseconds; a slow contender makes fewer calls
_FEW = 100  # calls: their 99th percentile says nothing


class Effort(NamedTuple):
    """How much to measure.

    Attributes:
        sizes: Numbers of live sessions, growing.
        rounds: Blocks of each contender, operation and size.
        block: Calls of a block.
        slowest: Seconds of calls after which a contender has been measured enough.
        filling: Seconds after which a contender that is still being filled drops out.
    """

    sizes: Sequence[int]
    rounds: int
    block: int
    slowest: float
    filling: float


class Timed(NamedTuple):
    """What was measured: one operation of one contender at one size; microseconds."""

    place: str
    size: int
    contender: str
    operation: str
    calls: int
    median: float
    p99: float | None


class Outcome(NamedTuple):
    """All that a place gave.

    Attributes:
        place: Its name.
        title: What it is.
        pinned: What ran on which core.
        timed: The figures.
        unable: Contender -> why it did not take part, or from which size on.
        versions: Distribution -> version.
    """

    place: str
    title: str
    pinned: str
    timed: list[Timed]
    unable: dict[str, str]
    versions: dict[str, str]


class _Runner:
    """A contender at work, and the sessions that it holds."""

    def __init__(self, contender: Contender, place: Place) -> None:
        self.contender = contender
        self.spent: dict[str, list[int]] = {}
        self._random = random.Random(1)
        self._users = 0
        self._loop = asyncio.new_event_loop()
        self.store = contender.open(place)
        self.ids: list[str] = []
        self._check()

    def can(self, operation: str) -> bool:
        return hasattr(self.store, operation)

    def fill(self, size: int, seconds: float) -> None:
        """Create sessions until there are `size`."""
        if hasattr(self.store, "fill"):
            self.ids += self.store.fill(size - len(self.ids), len(self.ids))
            return
        give_up_at = time.monotonic() + seconds
        while len(self.ids) < size:
            calls = [
                (f"user{n // SESSIONS_PER_KEY}", DATA)
                for n in range(len(self.ids), min(size, len(self.ids) + 100))
            ]
            self.ids += self._call("create", calls, limit=None)[0]
            if time.monotonic() > give_up_at:
                raise UnableError(
                    f"had only {len(self.ids)} of {size} sessions after {seconds:g} s of creating"
                )

    def run_block(self, operation: str, calls: int) -> None:
        """Make the calls of a block and keep what each took."""
        prepare = getattr(self, f"_prepare_{operation}")
        arguments = prepare(calls)
        results, spent = self._call(operation, arguments, limit=_LONGEST_BLOCK)
        self._tidy(operation, arguments, results)
        kept = spent[_WARMING:] if len(spent) > 5 * _WARMING else spent
        self.spent.setdefault(operation, []).extend(kept)

    def close(self) -> None:
        with suppress(Exception):  # what it still says has no bearing on the figures
            self._one("close")
        self._loop.close()

    def _check(self) -> None:
        """Make sure that it does what is measured."""
        session_id = self._one("create", "checked", dict(DATA))
        self._one("update", session_id, dict(CHANGED))
        for optional in ("touch", "rework"):
            if self.can(optional):
                session_id = self._one(optional, session_id) or session_id
        if self.contender.is_store and self._one("get", session_id) != CHANGED:
            raise UnableError("does not give back what was stored")
        if self.can("clear"):
            self._one("clear", "checked")
        else:
            self._one("delete", session_id)
        if self.contender.is_store and self._one("get", session_id):
            raise UnableError("still gives what was deleted")

    def _one(self, operation: str, *arguments: object) -> Any:
        return self._call(operation, [arguments], limit=None)[0][0]

    def _call(
        self, operation: str, calls: Sequence[tuple[object, ...]], limit: int | None
    ) -> tuple[list[Any], list[int]]:
        function = getattr(self.store, operation)
        if inspect.iscoroutinefunction(function):
            return self._loop.run_until_complete(_await_each(function, calls, limit))
        return _call_each(function, calls, limit)

    def _prepare_get(self, calls: int) -> list[tuple[Any, ...]]:
        return [(session_id,) for session_id in self._random.choices(self.ids, k=calls)]

    _prepare_touch = _prepare_get

    def _prepare_update(self, calls: int) -> list[tuple[Any, ...]]:
        ids = self._random.choices(self.ids, k=calls)
        return [(one, CHANGED if n % 2 else DATA) for n, one in enumerate(ids)]

    def _prepare_create(self, calls: int) -> list[tuple[Any, ...]]:
        return [(self._new_user(), DATA) for _ in range(calls)]

    def _prepare_rework(self, calls: int) -> list[tuple[Any, ...]]:
        places = self._random.sample(range(len(self.ids)), k=min(calls, len(self.ids)))
        self._reworked = places
        return [(self.ids[place],) for place in places]

    def _prepare_delete(self, calls: int) -> list[tuple[Any, ...]]:
        created = self._call("create", self._prepare_create(calls), limit=None)[0]
        return [(one,) for one in created]

    def _prepare_clear(self, calls: int) -> list[tuple[Any, ...]]:
        users = [self._new_user() for _ in range(calls)]
        self._call("create", [(user, DATA) for user in users * CLEARED], limit=None)
        return [(user,) for user in users]

    def _tidy(self, operation: str, arguments: list[tuple[Any, ...]], results: list[Any]) -> None:
        """Have as many sessions again as before."""
        if operation == "rework":
            for place, new_id in zip(self._reworked, results, strict=False):
                self.ids[place] = new_id
        elif operation == "create":
            self._call("delete", [(one,) for one in results], limit=None)
        elif operation in ("delete", "clear"):
            self._call(operation, arguments[len(results) :], limit=None)

    def _new_user(self) -> str:
        self._users += 1
        return f"new{self._users}"


def measure_place(name: str, effort: Effort, urls: dict[str, str]) -> Outcome:
    """Time every contender at a place; for a process of its own.

    Raises:
        MissingError: There is no such place here.
    """
    core = pin_client()
    with open_place(name, urls) as place:
        servers = PinnedServers(place, core)
        unable: dict[str, str] = {}
        runners = list(_opened(place, unable))
        timed: list[Timed] = []
        try:
            for size in effort.sizes:
                runners = [one for one in runners if _filled(one, size, effort, unable)]
                settle(place)
                servers.pin()
                timed += _measure(place.name, runners, effort, unable)
        finally:
            pinned = servers.describe()
            servers.release()
            for runner in runners:
                runner.close()
        versions = _versions(one for one in CONTENDERS[name] if one.name not in unable)
        return Outcome(name, place.title, pinned, timed, unable, versions)


def try_place(name: str, effort: Effort, urls: dict[str, str]) -> list[Outcome]:
    """Do what `measure_place` does; a place that is missing is an outcome, too."""
    try:
        return [measure_place(name, effort, urls)]
    except MissingError as error:
        return [Outcome(name, name, "", [], {"everybody": str(error)}, {})]


def measure_growth(name: str, effort: Effort, urls: dict[str, str]) -> list[Timed]:
    """Time our stores with few and with many sessions, side by side: drift falls on both alike."""
    core = pin_client()
    timed: list[Timed] = []
    unable: dict[str, str] = {}
    runners = []
    with ExitStack() as stack:
        for size in (effort.sizes[0], effort.sizes[-1]):
            place = stack.enter_context(open_place(name, urls))
            servers = PinnedServers(place, core)
            stack.callback(servers.release)
            for contender in (one for one in CONTENDERS[name] if one.role == "jam"):
                runner = _Runner(contender, place)
                stack.callback(runner.close)
                if _filled(runner, size, effort, unable):
                    runners.append(runner)
            settle(place)
            servers.pin()
        timed += _measure(name, runners, effort, unable)
    return timed


def try_growth(name: str, effort: Effort, urls: dict[str, str]) -> list[Timed]:
    """Do what `measure_growth` does; nothing if there is no such place."""
    try:
        return measure_growth(name, effort, urls)
    except MissingError:
        return []


def percentile(sorted_values: Sequence[float], share: float) -> float:
    """Return the value below which a share of the values lies."""
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * share))]


def _opened(place: Place, unable: dict[str, str]) -> Iterator[_Runner]:
    for contender in CONTENDERS[place.name]:
        try:
            yield _Runner(contender, place)
        except Exception as error:
            unable[contender.name] = reason_of(error)


def reason_of(error: Exception) -> str:
    """Return why a contender cannot take part, in a line."""
    if isinstance(error, UnableError):
        return str(error)
    if isinstance(error, ModuleNotFoundError | metadata.PackageNotFoundError):
        return f"not installed ({error.name})"
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"


def _filled(runner: _Runner, size: int, effort: Effort, unable: dict[str, str]) -> bool:
    try:
        runner.fill(size, effort.filling)
    except Exception as error:
        unable[runner.contender.name] = f"from {size:,} sessions on: {reason_of(error)}"
        runner.close()
        return False
    return True


def _measure(
    place: str, runners: list[_Runner], effort: Effort, unable: dict[str, str]
) -> Iterator[Timed]:
    order = random.Random(2)
    gc.collect()
    gc.freeze()
    for operation in OPERATIONS:
        able = [one for one in runners if one.can(operation)]
        for runner in able:
            runner.spent.clear()
        for _ in range(effort.rounds):
            order.shuffle(able)
            for runner in [one for one in able if not _is_enough(one, operation, effort)]:
                try:
                    runner.run_block(operation, effort.block)
                except Exception as error:
                    unable[f"{runner.contender.name}, {operation}"] = reason_of(error)
                    able.remove(runner)
            gc.collect(1)
        for runner in able:
            yield _timed(place, runner, operation)


def _is_enough(runner: _Runner, operation: str, effort: Effort) -> bool:
    return sum(runner.spent.get(operation, ())) > effort.slowest * 1e9


def _timed(place: str, runner: _Runner, operation: str) -> Timed:
    spent = sorted(one / 1000 for one in runner.spent[operation])
    p99 = percentile(spent, 0.99) if len(spent) >= _FEW else None
    median = percentile(spent, 0.5)
    size, name = len(runner.ids), runner.contender.name
    return Timed(place, size, name, operation, len(spent), median, p99)


def _call_each(
    function: Callable[..., Any], calls: Sequence[tuple[object, ...]], limit: int | None
) -> tuple[list[Any], list[int]]:
    """Make calls until the time is up; return what they returned, and what each took."""
    results, spent, clock = [], [], time.perf_counter_ns
    give_up_at = None if limit is None else clock() + limit
    gc.disable()
    try:
        for arguments in calls:
            begin = clock()
            result = function(*arguments)
            end = clock()
            results.append(result)
            spent.append(end - begin)
            if give_up_at is not None and end > give_up_at:
                break
    finally:
        gc.enable()
    return results, spent


async def _await_each(
    function: Callable[..., Any], calls: Sequence[tuple[object, ...]], limit: int | None
) -> tuple[list[Any], list[int]]:
    """Do what `_call_each` does, inside a running event loop."""
    results, spent, clock = [], [], time.perf_counter_ns
    give_up_at = None if limit is None else clock() + limit
    gc.disable()
    try:
        for arguments in calls:
            begin = clock()
            result = await function(*arguments)
            end = clock()
            results.append(result)
            spent.append(end - begin)
            if give_up_at is not None and end > give_up_at:
                break
    finally:
        gc.enable()
    return results, spent


def _versions(contenders: Iterator[Contender]) -> dict[str, str]:
    found = {}
    for name in {one.distribution for one in contenders} - {"python"}:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
