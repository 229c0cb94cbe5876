"""What `Jam` adds to a call of the store, in microseconds.

    python -m benchmarks.core_overhead

`session_get` and the store's own `get`, on a store that has nothing to do: the processor's time,
so that other processes do not show. The variants take turns, block by block; a figure is the
median of the blocks' differences to the store's own call next to them.
"""

import gc
import statistics
import time
from collections.abc import Callable, Generator
from typing import Any

from benchmarks.nothing_to_do import Looks, NothingToDo
from jam_core import Jam, hookimpl

ROUNDS = 400
CALLS = 2000
CEILING = 0.3  # microseconds, without a wrapper


class LooksElsewhere:
    """Wraps another operation."""

    @hookimpl(wrapper=True)
    def create(self) -> Generator[None, Any, Any]:
        return (yield)


def opened(*wrappers: object) -> Callable[[str], object]:
    """Return `session_get` of an application with these wrappers."""
    return Jam({"session": {"session_type": NothingToDo}}, wrappers=wrappers).session_get


def block(get: Callable[[str], object]) -> float:
    """Return the microseconds of a call."""
    began = time.process_time()
    for _ in range(CALLS):
        get("id")
    return (time.process_time() - began) / CALLS * 1e6


def main() -> None:
    """Print what each variant adds."""
    own = NothingToDo().get
    variants = {
        "no wrapper": opened(),
        "a wrapper of another operation": opened(LooksElsewhere()),
        "one wrapper": opened(Looks()),
    }
    added: dict[str, list[float]] = {name: [] for name in variants}
    gc.disable()
    for _ in range(ROUNDS):
        for name, get in variants.items():
            added[name].append(block(get) - block(own))
    print(f"the store's own get: {statistics.median(block(own) for _ in range(ROUNDS)):.2f} us")
    for name, figures in added.items():
        print(f"{name}: {statistics.median(figures):+.2f} us")
    least = statistics.median(added["no wrapper"])
    if least > CEILING:
        raise SystemExit(f"Without a wrapper, {CEILING} us are allowed.")


if __name__ == "__main__":
    main()
