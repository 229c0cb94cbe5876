"""What an operation of the JSON store costs at 100 and at 100,000 sessions, in both layouts.

    python benchmarks/json_growth.py [number of sessions ...]

Prints the median of each operation in microseconds, and of clear for a key with ten sessions.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from jam_json import JSONSessions

DATA = {"role": "admin", "name": "Ann", "cart": list(range(20)), "text": "x" * 80}
ROUNDS = 2000


def median_us(action: Callable[[], object], rounds: int = ROUNDS) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def measure(path: Path, sessions: int) -> dict[str, float]:
    with JSONSessions(path, ttl=None) as store:
        ids = [store.create(f"user{n % (sessions // 10)}", DATA) for n in range(sessions)]
        current = ids[0]

        def rework() -> None:
            nonlocal current
            current = store.rework(current)

        def clear_ten() -> float:
            for _ in range(10):
                store.create("cleared", DATA)
            start = time.perf_counter()
            store.clear("cleared")
            return time.perf_counter() - start

        return {
            "get": median_us(lambda: store.get(ids[1])),
            "create": median_us(lambda: store.create("new", DATA)),
            "update": median_us(lambda: store.update(ids[1], DATA)),
            "touch": median_us(lambda: store.touch(ids[1])),
            "rework": median_us(rework),
            "clear": statistics.median(clear_ten() for _ in range(100)) * 1e6,
            "delete": statistics.median(
                median_us(lambda: store.delete(id), 1)  # noqa: B023
                for id in ids[2 : min(2000, sessions)]  # noqa: A001
            ),
        }


def main() -> None:
    for layout in ("sessions.json", "sessions"):
        for sessions in map(int, sys.argv[1:] or ("100", "10000", "100000")):
            with tempfile.TemporaryDirectory() as directory:
                costs = measure(Path(directory) / layout, sessions)
            figures = "  ".join(f"{name} {cost:7.1f}" for name, cost in costs.items())
            print(f"{layout:14} {sessions:>8,} sessions, us:  {figures}")


if __name__ == "__main__":
    main()
