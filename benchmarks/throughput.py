"""Many workers at once: how much a store does in all, and how long a call then takes."""

import multiprocessing
import random
import threading
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from benchmarks.contenders import CONTENDERS, find
from benchmarks.contenders.contender import Contender
from benchmarks.places import MissingError, Place, open_place
from benchmarks.timing import percentile, reason_of
from benchmarks.workload import CHANGED, DATA, SESSIONS_PER_KEY

_GETS, _UPDATES = 80, 15  # of 100; the others create a session and delete it again
_LONGEST_START = 60.0  # seconds


class Load(NamedTuple):
    """How much to measure.

    Attributes:
        sessions: How many live.
        workers: How many work at once.
        seconds: How long.
    """

    sessions: int
    workers: Sequence[int]
    seconds: float


class Throughput(NamedTuple):
    """What was measured: microseconds, and calls in a second."""

    place: str
    contender: str
    kind: str
    workers: int
    calls_per_second: float
    median: float
    p99: float
    failure: str = ""


def try_throughput(name: str, load: Load, urls: dict[str, str]) -> list[Throughput]:
    """Measure our stores at a place, not pinned; nothing if there is no such place."""
    try:
        with open_place(name, urls) as place:
            ours = [one for one in CONTENDERS[name] if one.role == "jam"]
            return [figure for one in ours for figure in _measure(place, one, load)]
    except MissingError:
        return []


def _measure(place: Place, contender: Contender, load: Load) -> Iterator[Throughput]:
    store = contender.open(place)
    ids = [store.create(f"user{n // SESSIONS_PER_KEY}", DATA) for n in range(load.sessions)]
    store.close()
    kinds = {"threads": _in_threads, "processes": _in_processes}
    for kind, run in kinds.items():
        for workers in load.workers:
            label = (place.name, contender.name, kind, workers)
            try:
                spent = sorted(run(place, contender, ids, workers, load.seconds))
            except Exception as error:
                yield Throughput(*label, 0, 0, 0, reason_of(error))
            else:
                rate = len(spent) / load.seconds
                median, p99 = (percentile(spent, share) / 1000 for share in (0.5, 0.99))
                yield Throughput(*label, rate, median, p99)


def _in_threads(
    place: Place, contender: Contender, ids: list[str], workers: int, seconds: float
) -> list[int]:
    """Let threads share one store; return what each call took."""
    store = contender.open(place)
    barrier = threading.Barrier(workers)
    outcomes: list[list[int] | Exception] = []

    def work(seed: int) -> None:
        try:
            barrier.wait(_LONGEST_START)
            outcomes.append(_work(store, ids, seconds, seed))
        except Exception as error:
            outcomes.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()
    return _together(outcomes)


def _in_processes(
    place: Place, contender: Contender, ids: list[str], workers: int, seconds: float
) -> list[int]:
    """Give each process a store of its own; return what each call took."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(workers), context.Queue()
    processes = [
        context.Process(
            target=_work_in_process,
            args=(place, contender.name, ids, seconds, seed),
            kwargs={"wait": barrier.wait, "results": results},
        )
        for seed in range(workers)
    ]
    for process in processes:
        process.start()
    outcomes = [results.get(timeout=_LONGEST_START + seconds) for _ in processes]
    for process in processes:
        process.join()
    return _together(outcomes)


def _work_in_process(
    place: Place,
    contender_name: str,
    ids: list[str],
    seconds: float,
    seed: int,
    *,
    wait: Callable[[float], object],
    results: Any,
) -> None:
    try:
        store = find(place.name, contender_name).open(place)
        wait(_LONGEST_START)
        results.put(array("Q", _work(store, ids, seconds, seed)))
        store.close()
    except Exception as error:
        results.put(RuntimeError(reason_of(error)))


def _work(store: Any, ids: list[str], seconds: float, seed: int) -> list[int]:
    """Do the mix until the time is up; return what each call took, in nanoseconds."""
    chance = random.Random(seed)
    spent: list[int] = []
    clock = time.perf_counter_ns
    give_up_at = clock() + int(seconds * 1e9)
    end = 0
    while end < give_up_at:
        lot, session_id = chance.randrange(100), chance.choice(ids)
        begin = clock()
        if lot < _GETS:
            store.get(session_id)
        elif lot < _GETS + _UPDATES:
            store.update(session_id, CHANGED)
        else:
            new_id = store.create(f"worker{seed}", DATA)
            created = clock()
            spent.append(created - begin)
            begin = created
            store.delete(new_id)
        end = clock()
        spent.append(end - begin)
    return spent


def _together(outcomes: Sequence[Any]) -> list[int]:
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
    return [spent for outcome in outcomes for spent in outcome]
