"""The report: Markdown for people, JSON for programs."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from benchmarks.budgets import BUDGETS, Verdict, verdicts, worst
from benchmarks.contenders import CONTENDERS
from benchmarks.contenders.contender import PROMISES
from benchmarks.figures import Figures, floor_of, measured
from benchmarks.timing import Outcome
from benchmarks.workload import OPERATIONS

_SHOWN = 4  # of what exceeds a budget


def markdown(figures: Figures, plots: Sequence[str]) -> str:
    """Return the report."""
    lines = ["# Benchmarks", "", *_bullets(figures.machine.items()), ""]
    lines += [f"![{name}]({name})" for name in plots]
    for outcome in figures.outcomes:
        lines += _place(outcome, figures)
    lines += [*_growth(figures), *_promises(figures), *_startup(figures), *_throughput(figures)]
    lines += [*_peers(figures), *_budgets(figures)]
    return "\n".join(lines) + "\n"


def as_json(figures: Figures) -> str:
    """Return everything that the report is made of, and every figure."""
    document: dict[str, Any] = {
        "machine": figures.machine,
        "places": [
            {**outcome._asdict(), "timed": [one._asdict() for one in outcome.timed]}
            for outcome in figures.outcomes
        ],
        "growth": [one._asdict() for one in figures.growth],
        "throughput": [one._asdict() for one in figures.throughput],
        "startup": [one._asdict() for one in figures.startup],
        "lacks": {
            peer.name: peer.lacks
            for contenders in CONTENDERS.values()
            for peer in contenders
            if peer.role == "peer"
        },
        "peers": [one._asdict() for one in verdicts(figures)],
        "budgets": [
            {
                "what": budget.what,
                "limit": budget.limit,
                "unit": budget.unit,
                "measured": dict(worst(budget, figures)),
                "met": all(value <= budget.limit for _, value in worst(budget, figures)),
            }
            for budget in BUDGETS
        ],
    }
    return json.dumps(document, indent=1)


def _place(outcome: Outcome, figures: Figures) -> Iterator[str]:
    yield from ("", f"## {outcome.title}", "")
    if outcome.timed:
        yield f"{outcome.pinned}. Median in us (99th percentile), x the floor's median."
    contenders = list(measured(outcome))
    for size in sorted({one.size for one in outcome.timed}):
        yield from ("", f"### {outcome.place}, {size:,} live sessions", "")
        rows = []
        for contender in contenders:
            cells = [_cell(figures, outcome.place, contender.name, op, size) for op in OPERATIONS]
            mark = "**" if contender.role == "jam" else ""
            rows.append([f"{mark}{contender.name}{mark}", *cells])
        yield from _table(["", *OPERATIONS], rows)
    if outcome.versions:
        named = ", ".join(f"{name} {outcome.versions[name]}" for name in sorted(outcome.versions))
        yield from ("", f"Versions: {named}.")
    if outcome.unable:
        yield from ("", "Did not take part:", "", *_bullets(outcome.unable.items()))


def _cell(figures: Figures, place: str, contender: str, operation: str, size: int) -> str:
    found = figures.timed(place, contender, operation, size)
    if found is None:
        return "-"
    p99 = "" if found.p99 is None else f" ({found.p99:,.0f})"
    floor = figures.median(place, floor_of(place), operation, size)
    ratio = f" x{found.median / floor:.2f}" if floor else ""
    return f"{found.median:,.1f}{p99}{ratio}"


def _growth(figures: Figures) -> Iterator[str]:
    if not figures.growth:
        return
    sizes = sorted({one.size for one in figures.growth})
    few, many = sizes[0], sizes[-1]
    yield from ("", f"## From {few:,} to {many:,} sessions", "")
    yield "Both side by side: median in us with the fewest and the most, and their ratio."
    yield ""
    medians = {
        (one.place, one.contender, one.size, one.operation): one.median for one in figures.growth
    }
    rows = []
    for place, contender in dict.fromkeys((one.place, one.contender) for one in figures.growth):
        cells = []
        for operation in OPERATIONS:
            first = medians.get((place, contender, few, operation))
            last = medians.get((place, contender, many, operation))
            cells.append(f"{first:,.1f} {last:,.1f} x{last / first:.2f}" if first and last else "-")
        rows.append([place, contender, *cells])
    yield from _table(["", "store", *OPERATIONS], rows)


def _promises(figures: Figures) -> Iterator[str]:
    yield from (
        "",
        "## What peers do not promise",
        "",
        "Every store of Jam keeps all of these:",
        "",
    )
    yield from _bullets(PROMISES.items())
    rows = {}
    for outcome in figures.outcomes:
        for contender in CONTENDERS[outcome.place]:
            if contender.role == "peer" or contender.note:
                rows[contender.name] = [", ".join(contender.lacks) or "-", contender.note or "-"]
    yield ""
    yield from _table(
        ["", "lacks", "how it is driven"], [[name, *row] for name, row in rows.items()]
    )


def _startup(figures: Figures) -> Iterator[str]:
    if not figures.startup:
        return
    yield from ("", "## Ready to work, in a fresh interpreter", "")
    rows = []
    for one in figures.startup:
        failed = [f"not measured: {one.failure}", "-"]
        rows.append(
            [one.label, *(failed if one.failure else _numbers(one.milliseconds, one.mebibytes))]
        )
    yield from _table(["", "ms", "peak of memory, MiB"], rows)


def _throughput(figures: Figures) -> Iterator[str]:
    if not figures.throughput:
        return
    yield from ("", "## Many at once", "")
    yield "80 % get, 15 % update, 5 % create and delete; nothing pinned."
    yield ""
    rows = [
        [one.place, one.contender, one.kind, str(one.workers)]
        + ([one.failure, "-", "-"] if one.failure else [f"{one.calls_per_second:,.0f}"])
        + ([] if one.failure else _numbers(one.median, one.p99))
        for one in figures.throughput
    ]
    head = ["", "store", "workers", "how many", "calls/s", "median us", "99th percentile us"]
    yield from _table(head, rows)


def _peers(figures: Figures) -> Iterator[str]:
    found = list(verdicts(figures))
    if not found:
        return
    yield from ("", "## Our stores over each peer", "")
    yield (
        f"Ratios of medians at {figures.reference_size:,} sessions; below 1 ours is faster. "
        "Marked `!`: slower, or within 5 % of a peer that keeps every promise."
    )
    yield ""
    pairs = dict.fromkeys((one.place, one.store, one.peer) for one in found)
    by_key = {(one.place, one.store, one.peer, one.operation): one for one in found}
    rows = [[*pair, *(_ratio(by_key.get((*pair, op))) for op in OPERATIONS)] for pair in pairs]
    yield from _table(["", "ours", "peer", *OPERATIONS], rows)


def _ratio(verdict: Verdict | None) -> str:
    if verdict is None:
        return "-"
    return f"{verdict.ratio:.2f}" + ("" if verdict.met else " !")


def _budgets(figures: Figures) -> Iterator[str]:
    yield from ("", "## Budgets", "", f"At {figures.reference_size:,} sessions.", "")
    rows = []
    for budget in BUDGETS:
        found = worst(budget, figures)
        exceeding = [one for one in found if one[1] > budget.limit]
        shown = exceeding[:_SHOWN] or found[:1]
        text = ", ".join(f"{label} {value:.2f}" for label, value in shown)
        more = f" and {len(exceeding) - _SHOWN} more" if len(exceeding) > _SHOWN else ""
        met = "not measured" if not found else "no" if exceeding else "yes"
        rows.append([budget.what, f"{budget.limit:g} {budget.unit}", f"{text}{more}", met])
    yield from _table(["what", "at most", "measured, the worst", "met"], rows)


def _numbers(*values: float) -> list[str]:
    return [f"{value:,.1f}" for value in values]


def _bullets(items: Iterable[tuple[str, str]]) -> list[str]:
    return [f"- {name}: {text}" for name, text in items]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "| --- " * len(head) + "|"
    for row in rows:
        yield f"| {' | '.join(row)} |"
