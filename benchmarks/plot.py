"""The plots: operations beside floors and peers, growth, and many workers at once."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.contenders.contender import Contender
from benchmarks.figures import Figures, measured
from benchmarks.timing import Outcome
from benchmarks.workload import OPERATIONS

_OURS = ("#0b5fff", "#00a3a3")
_FLOORS = ("#222222", "#888888")
_PEERS = {
    "jamlib": "#e4572e",
    "cachelib": "#f2a541",
    "Flask-Session": "#9aa03a",
    "starsessions": "#d46ab0",
    "Django": "#8a5a44",
    "Django, cache in files": "#c9a08a",
}
_LINES = ("#0b5fff", "#00a3a3", "#e4572e", "#d46ab0", "#f2a541", "#9aa03a", "#8a5a44")
_GROWING = ("get", "update")
_WIDE = 100  # times the smallest


def draw(figures: Figures, directory: Path) -> list[str]:
    """Draw what there are figures for; return the names of the SVG files (PNGs lie beside)."""
    import matplotlib as mpl

    mpl.use("agg")
    mpl.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    mpl.rcParams["svg.hashsalt"] = "jam"  # the same figures give the same file
    drawn = []
    outcomes = [one for one in figures.outcomes if one.timed and one.place != "core"]
    if outcomes:
        drawn.append(_save(_operations(figures, outcomes), directory, "operations"))
    if outcomes and len(figures.sizes) > 1:
        drawn.append(_save(_growth(figures, outcomes), directory, "growth"))
    if figures.throughput:
        drawn.append(_save(_throughput(figures), directory, "throughput"))
    return drawn


def _operations(figures: Figures, outcomes: Sequence[Outcome]) -> Any:
    """Draw a panel for each place: a row for each operation, a mark for each contender."""
    size = figures.reference_size
    chart, panels = _panels(len(outcomes), columns=2, width=6.4, height=4.0)
    for panel, outcome in zip(panels, outcomes, strict=False):
        contenders = list(measured(outcome))
        for number, (contender, colour) in enumerate(_coloured(contenders)):
            medians = [figures.median(outcome.place, contender.name, op, size) for op in OPERATIONS]
            known = [(row, one) for row, one in enumerate(medians) if one is not None]
            if not known:
                continue
            shift = (number / max(1, len(contenders) - 1) - 0.5) * 0.62
            panel.scatter(
                [median for _, median in known],
                [row + shift for row, _ in known],
                color=colour,
                label=contender.name,
                **_mark(contender),
            )
        for row in range(1, len(OPERATIONS)):
            panel.axhline(row - 0.5, color="#dddddd", linewidth=0.8, zorder=0)
        panel.set_xscale("log")
        panel.set_yticks(range(len(OPERATIONS)), OPERATIONS)
        panel.invert_yaxis()
        _in_microseconds(panel.xaxis)
        panel.grid(axis="x", color="#eeeeee", zorder=0)
        panel.set_title(outcome.title, loc="left", fontsize=10, fontweight="bold")
        panel.legend(fontsize=7.5, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    chart.suptitle(f"Median of an operation at {size:,} live sessions (log scale; left is better)")
    return chart


def _growth(figures: Figures, outcomes: Sequence[Outcome]) -> Any:
    """Draw, for each place and for a read and a write, the median against the sessions."""
    chart, panels = _panels(2 * len(outcomes), columns=4, width=4.0, height=3.2)
    pairs = [(outcome, operation) for outcome in outcomes for operation in _GROWING]
    for panel, (outcome, operation) in zip(panels, pairs, strict=False):
        for contender, colour in _coloured(list(measured(outcome))):
            points = [
                (size, figures.median(outcome.place, contender.name, operation, size))
                for size in figures.sizes
            ]
            known = [(size, one) for size, one in points if one is not None]
            if not known:
                continue
            ours = contender.role == "jam"
            panel.plot(
                *zip(*known, strict=True),
                color=colour,
                label=contender.name,
                marker="o",
                markersize=3.5,
                linewidth=2.4 if ours else 1.1,
                linestyle="--" if contender.role == "floor" else "-",
                zorder=3 if ours else 2,
            )
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xticks(figures.sizes, [f"{size:,}" for size in figures.sizes], fontsize=7.5)
        panel.minorticks_off()
        _in_microseconds(panel.yaxis)
        panel.grid(color="#eeeeee")
        name = outcome.title.split(",")[0]
        panel.set_title(f"{name}: {operation}", loc="left", fontsize=9, fontweight="bold")
        if operation == _GROWING[-1]:
            panel.legend(fontsize=6.5, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    chart.suptitle("Median of an operation as sessions grow (log scales)")
    return chart


def _throughput(figures: Figures) -> Any:
    """Draw calls in a second and the 99th percentile against the workers."""
    chart, panels = _panels(4, columns=2, width=5.4, height=3.6)
    lines = list(dict.fromkeys((one.place, one.contender) for one in figures.throughput))
    counts = sorted({one.workers for one in figures.throughput})
    for column, kind in enumerate(("threads", "processes")):
        upper, lower = panels[column], panels[2 + column]
        for number, (place, contender) in enumerate(lines):
            points = [
                one
                for one in figures.throughput
                if (one.place, one.contender, one.kind) == (place, contender, kind)
                and not one.failure
            ]
            style = {"color": _LINES[number % len(_LINES)], "marker": "o", "markersize": 3.5}
            workers = [one.workers for one in points]
            label = f"{contender} ({place})"
            upper.plot(workers, [one.calls_per_second for one in points], label=label, **style)
            lower.plot(workers, [one.p99 for one in points], label=label, **style)
        for panel, what in ((upper, "calls per second"), (lower, "99th percentile")):
            panel.set_yscale("log")
            panel.set_xticks(counts)
            panel.set_xlabel(kind)
            panel.grid(color="#eeeeee")
            panel.set_title(what, loc="left", fontsize=10, fontweight="bold")
        _label(upper.yaxis, lambda value, _: f"{value:,.0f}")
        _in_microseconds(lower.yaxis)
    panels[1].legend(fontsize=7.5, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    chart.suptitle("Many at once: 80 % get, 15 % update, 5 % create and delete")
    return chart


def _panels(count: int, *, columns: int, width: float, height: float) -> tuple[Any, list[Any]]:
    from matplotlib import pyplot

    rows = -(-count // columns)
    size = (width * columns, height * rows)
    chart, grid = pyplot.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    panels = list(grid.flat)
    for unused in panels[count:]:
        unused.set_axis_off()
    return chart, panels


def _coloured(contenders: Sequence[Contender]) -> list[tuple[Contender, str]]:
    """Give each a colour; a peer has the same one everywhere."""
    palettes = {"jam": iter(_OURS), "floor": iter(_FLOORS)}
    return [
        (one, _colour_of_peer(one.name) if one.role == "peer" else next(palettes[one.role]))
        for one in contenders
    ]


def _colour_of_peer(name: str) -> str:
    return _PEERS.get(name) or _PEERS[name.partition(",")[0]]


def _mark(contender: Contender) -> dict[str, Any]:
    return {
        "jam": {"marker": "D", "s": 46, "zorder": 4},
        "floor": {"marker": "|", "s": 120, "linewidths": 2.4, "zorder": 3},
        "peer": {"marker": "o", "s": 26, "zorder": 2},
    }[contender.role]


def _in_microseconds(axis: Any) -> None:
    def text(value: float, _: object) -> str:
        return f"{value / 1000:,g} ms" if value >= 1000 else f"{value:g} us"

    _label(axis, text)


def _label(axis: Any, text: Callable[[float, object], str]) -> None:
    """Label 1, 2 and 5 of each power of ten, or only 1 where these would be many."""
    from matplotlib.ticker import LogLocator, NullLocator

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1,) if high > _WIDE * low else (1, 2, 5)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(text)


def _save(chart: Any, directory: Path, name: str) -> str:
    from matplotlib import pyplot

    chart.savefig(directory / f"{name}.svg", metadata={"Date": None})
    chart.savefig(directory / f"{name}.png", dpi=110)
    pyplot.close(chart)
    return f"{name}.svg"
