"""What the core costs: importing it, and calling a store through the hook relay.

python benchmarks/core_overhead.py
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from jam import Jam


def import_ms(statement: str) -> float:
    """Return the median time of a statement in a fresh interpreter, in milliseconds."""
    code = f"import time; s = time.perf_counter()\n{statement}\nprint(time.perf_counter() - s)"
    times = [
        float(subprocess.check_output([sys.executable, "-c", code], text=True)) for _ in range(15)
    ]
    return statistics.median(times) * 1e3


def get_us(get: Any, session_id: str, rounds: int = 2000) -> float:
    start = time.perf_counter()
    for _ in range(rounds):
        get(session_id)
    return (time.perf_counter() - start) / rounds * 1e6


def main() -> None:
    pluggy = import_ms("import pluggy")
    for statement in ("import jam", "from jam import Jam"):
        cost = import_ms(statement)
        print(f"{statement:<22} {cost:6.1f} ms = {cost / pluggy:.2f} x import pluggy")
    with tempfile.TemporaryDirectory() as directory:
        path = str(Path(directory, "sessions.json"))
        settings = {"session": {"session_type": "json", "json_path": path}}
        ready = import_ms(f"from jam import Jam; Jam({settings!r})")
        print(f"ready with JSON store  {ready:6.1f} ms")
        with Jam(settings) as jam:
            session_id = jam.session_create("ann", {"role": "admin"})
            pairs = [
                (get_us(jam.session_get, session_id), get_us(jam.store.get, session_id))
                for _ in range(30)
            ]
    relayed, direct = (statistics.median(side) for side in zip(*pairs, strict=True))
    more = relayed - direct
    print(f"Jam.session_get {relayed:.2f} us, store.get {direct:.2f} us: {more:.2f} us more")


if __name__ == "__main__":
    main()
