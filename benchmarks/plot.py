"""The plots: reading and writing next to floors and peers, growth, and many workers at once."""

from pathlib import Path
from typing import NamedTuple

from benchmarks.figures import Figures, measured
from benchmarks.throughput import Throughput
from docs.figures.picture import WIDTH, Picture

_MARGIN = 16
_ROW, _GROUP = 34, 40
_CUT = 25  # times the shortest
_KINDS = {"jam": "ours", "floor": "floor", "peer": "peer"}


class Bar(NamedTuple):
    """One bar: what it is, how long, and the words for that; its kind is a class of the style."""

    name: str
    value: float
    words: str
    kind: str


def draw(figures: Figures, directory: Path) -> list[str]:
    """Draw what there are figures for; return the names of the SVG files."""
    size = f"median, with {figures.reference_size:,} sessions"
    grown = sorted({one.size for one in figures.growth}) or [0]
    most = f"time with {grown[-1]:,} sessions over time with {grown[0]:,}"
    charts = {
        "reading": chart("Reading a session: get", size, _operation(figures, "get")),
        "writing": chart("Changing a session: update", size, _operation(figures, "update")),
        "growth": chart("With more sessions", most, _growth(figures), one_scale=True),
        "throughput": chart("Many at once", "calls per second, and workers", _throughput(figures)),
    }
    for name, picture in charts.items():
        if picture is not None:
            (directory / f"{name}.svg").write_text(picture.svg(), encoding="utf-8")
    return [f"{name}.svg" for name, picture in charts.items() if picture is not None]


def _operation(figures: Figures, operation: str) -> dict[str, list[Bar]]:
    """Return the medians of an operation: for each place its contenders, the fastest first."""
    groups = {}
    for outcome in figures.outcomes:
        bars = []
        for one in measured(outcome) if outcome.place != "core" else ():
            median = figures.median(outcome.place, one.name, operation)
            if median is not None:
                name = one.name.removeprefix("floor: ")
                words = f"{median / 1000:,.1f} ms" if median >= 1000 else f"{median:.0f} us"
                bars.append(Bar(name, median, words, _KINDS[one.role]))
        groups[outcome.title] = sorted(bars, key=lambda bar: bar.value)
    return groups


def _growth(figures: Figures) -> dict[str, list[Bar]]:
    """Return, for our stores, how much longer an operation takes with the most sessions."""
    groups: dict[str, list[Bar]] = {}
    sizes = sorted({one.size for one in figures.growth})
    medians = {(t.place, t.contender, t.operation, t.size): t.median for t in figures.growth}
    for place, contender in dict.fromkeys((one.place, one.contender) for one in figures.growth):
        bars = []
        for operation in ("get", "create", "update", "delete"):
            few, many = (
                medians.get((place, contender, operation, n)) for n in (sizes[0], sizes[-1])
            )
            if few and many:
                bars.append(Bar(operation, many / few, f"x{many / few:.2f}", "ours"))
        groups[f"{contender.removeprefix('Jam, ')} ({place})"] = bars
    return groups


def _throughput(figures: Figures) -> dict[str, list[Bar]]:
    """Return the most calls in a second that each of our stores reached."""
    groups: dict[str, list[Bar]] = {}
    for one in figures.throughput:
        groups.setdefault(f"{one.contender.removeprefix('Jam, ')} ({one.place})", [])
    for name, bars in groups.items():
        for kind in ("threads", "processes"):
            reached = [one for one in figures.throughput if _is_of(one, name, kind)]
            if reached:
                best = max(reached, key=lambda one: one.calls_per_second)
                words = f"{best.calls_per_second:,.0f} with {best.workers}"
                bars.append(Bar(kind, best.calls_per_second, words, "ours"))
    return groups


def _is_of(one: Throughput, name: str, kind: str) -> bool:
    mine = f"{one.contender.removeprefix('Jam, ')} ({one.place})"
    return mine == name and one.kind == kind and not one.failure


def chart(
    title: str, what: str, groups: dict[str, list[Bar]], *, one_scale: bool = False
) -> Picture | None:
    """Draw groups of bars, to one scale or each to its own; None if there is nothing to draw."""
    shown = {name: bars for name, bars in groups.items() if bars}
    if not shown:
        return None
    rows = sum(map(len, shown.values()))
    picture = Picture(
        f"{title}, {what}", 72 + _GROUP * len(shown) + _ROW * rows + (22 if _mixed(shown) else 0)
    )
    picture.text(_MARGIN, 28, title, "title")
    picture.text(_MARGIN, 47, what, "quiet")
    y = 58.0
    if _mixed(shown):
        for x, kind, words in ((16, "ours", "Jam"), (80, "floor", "floor"), (150, "peer", "peers")):
            picture.bar(x, y, 12, kind)
            picture.text(x + 18, y + 11, words, "quiet")
        y += 22
    widest = max(bar.value for bars in shown.values() for bar in bars)
    for name, bars in shown.items():
        picture.text(_MARGIN, y + 26, name, "strong")
        y += _GROUP
        longest = widest if one_scale else _scale(bars)
        for bar in bars:
            picture.text(_MARGIN, y + 11, bar.name, "quiet")
            cut = " (bar cut)" if bar.value > longest else ""
            picture.text(WIDTH - _MARGIN, y + 11, bar.words + cut, "quiet", "end")
            width = max(2.0, (WIDTH - 2 * _MARGIN) * min(1.0, bar.value / longest))
            picture.bar(_MARGIN, y + 16, width, bar.kind)
            y += _ROW
    return picture


def _scale(bars: list[Bar]) -> float:
    """Return the value of a bar of full width: one that is far off must not hide the others."""
    values = [bar.value for bar in bars]
    return min(max(values), _CUT * min(values))


def _mixed(groups: dict[str, list[Bar]]) -> bool:
    return len({bar.kind for bars in groups.values() for bar in bars}) > 1
