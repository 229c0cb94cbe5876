"""The command: python -m benchmarks [--quick]."""

import argparse
import datetime
import multiprocessing
import os
import platform
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import plot, report
from benchmarks.figures import Figures
from benchmarks.places import MARIADB, PLACES, POSTGRESQL
from benchmarks.startup import measure_startup
from benchmarks.throughput import Load, try_throughput
from benchmarks.timing import Effort, reason_of, try_growth, try_place

_MODES = ("operations", "growth", "throughput", "startup")
_FULL_EFFORT = Effort((100, 1_000, 10_000, 100_000), rounds=60, block=25, slowest=3, filling=300)
_QUICK_EFFORT = Effort((1_000,), rounds=6, block=20, slowest=0.2, filling=4)

# Operations, growth, throughput, and how often interpreters are started.
_FULL = (_FULL_EFFORT, _FULL_EFFORT, Load(10_000, (1, 2, 4, 8), seconds=3), 15)
_QUICK = (
    _QUICK_EFFORT,
    _QUICK_EFFORT._replace(sizes=(100, 1_000)),
    Load(300, (1, 4), seconds=0.15),
    2,
)


def main() -> None:
    options = _options()
    machine = _machine()
    figures = _measure(options, options.modes or _MODES, machine)
    machine["load at the end"] = _load()
    _write(figures, options.output)


def _measure(options: argparse.Namespace, modes: Sequence[str], machine: dict[str, str]) -> Figures:
    """Measure what is asked for; say in `machine` what failed."""
    urls = {"postgresql": options.postgresql, "mariadb": options.mariadb}
    effort, growing, load, repeats = _QUICK if options.quick else _FULL
    if options.sizes:
        effort = effort._replace(sizes=sorted(options.sizes))
        growing = growing._replace(sizes=sorted(options.sizes))
    jobs: list[tuple[str, str, Callable[..., Any], tuple[object, ...]]] = []
    for name in options.places or PLACES:
        jobs.append(("operations", name, try_place, (name, effort, urls)))
        if name != "core":
            jobs.append(("growth", name, try_growth, (name, growing, urls)))
            jobs.append(("throughput", name, try_throughput, (name, load, urls)))
    jobs.append(("startup", "", measure_startup, (repeats,)))
    found: dict[str, list[Any]] = {mode: [] for mode in _MODES}
    for mode, name, measure, arguments in sorted(jobs, key=lambda job: _MODES.index(job[0])):
        if mode in modes:
            _say(f"{mode} {name}")
            try:
                found[mode] += _apart(measure, *arguments)
            except Exception as error:  # the others' figures are not to be lost with it
                machine[f"{mode} {name} failed"] = reason_of(error)
    return Figures(machine, *(found[mode] for mode in _MODES))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure Jam's stores beside floors and peers."
    )
    parser.add_argument("modes", nargs="*", metavar="mode", help=f"of {', '.join(_MODES)}: all")
    parser.add_argument("--quick", action="store_true", help="less of everything: two minutes")
    parser.add_argument("--places", nargs="+", choices=PLACES, help="default: all")
    parser.add_argument("--sizes", nargs="+", type=int, help="numbers of live sessions")
    parser.add_argument("--postgresql", default=POSTGRESQL, metavar="URL", help=POSTGRESQL)
    parser.add_argument("--mariadb", default=MARIADB, metavar="URL", help=MARIADB)
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent / "results", help="a directory"
    )
    options = parser.parse_args()
    for mode in options.modes:
        if mode not in _MODES:
            parser.error(f"no mode {mode}: choose from {', '.join(_MODES)}")
    return options


def _apart(measure: Callable[..., Any], *arguments: object) -> Any:
    """Measure in a process of its own: what one place imports and pins is not the next one's."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as executor:
        return executor.submit(measure, *arguments).result()


def _machine() -> dict[str, str]:
    return {
        "command": f"python -m benchmarks {' '.join(sys.argv[1:])}".strip(),
        "when": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()} "
        f"{platform.release()}",
        "Python": platform.python_version(),
        "load at the start": _load(),
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _load() -> str:
    return f"{os.getloadavg()[0]:.2f}"


def _write(figures: Figures, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "report.json").write_text(report.as_json(figures))
    plots = plot.draw(figures, directory)
    (directory / "report.md").write_text(report.markdown(figures, plots))
    _say(f"written to {directory}: report.md, report.json {' '.join(plots)}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
