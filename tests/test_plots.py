"""The plots of a benchmark's report: what was measured can be read in them."""

from pathlib import Path
from xml.etree import ElementTree as ET  # of files that the test has made

from benchmarks import plot
from benchmarks.figures import Figures
from benchmarks.throughput import Throughput
from benchmarks.timing import Outcome, Timed

NOTHING = Figures({}, [], [], [], [])
MEDIANS = {"Jam, SQLAlchemy": 50.0, "Django, database": 200.0, "Flask-Session, SQLAlchemy": 9_000.0}


def words_of(picture: Path) -> list[str]:
    return [text.text or "" for text in ET.parse(picture).iter("{http://www.w3.org/2000/svg}text")]


def widths_of(picture: Path, kind: str) -> list[float]:
    rects = ET.parse(picture).iter("{http://www.w3.org/2000/svg}rect")
    return [float(one.attrib["width"]) for one in rects if one.get("class") == kind]


def test_without_figures_nothing_is_drawn(tmp_path: Path) -> None:
    assert plot.draw(NOTHING, tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_every_contender_has_a_bar_with_its_median(tmp_path: Path) -> None:
    timed = [Timed("sqlite", 100, name, "get", 1, one, None) for name, one in MEDIANS.items()]
    figures = NOTHING._replace(outcomes=[Outcome("sqlite", "SQLite", "", timed, {}, {})])
    assert plot.draw(figures, tmp_path) == ["reading.svg"]
    words = words_of(tmp_path / "reading.svg")
    assert {*MEDIANS, "SQLite", "50 us", "200 us"} <= set(words)
    assert "9.0 ms (bar cut)" in words, "one that is far off does not hide the others"
    (jam,) = (width for width in widths_of(tmp_path / "reading.svg", "ours") if width != 12)
    peers = [width for width in widths_of(tmp_path / "reading.svg", "peer") if width != 12]
    assert round(peers[0] / jam, 1) == 4


def test_growth_is_that_of_the_run_that_measured_it_side_by_side(tmp_path: Path) -> None:
    grown = [
        Timed("sqlite", size, "Jam, SQLAlchemy", "get", 1, median, None)
        for size, median in ((100, 40.0), (100_000, 50.0))
    ]
    assert plot.draw(NOTHING._replace(growth=grown), tmp_path) == ["growth.svg"]
    words = words_of(tmp_path / "growth.svg")
    assert "x1.25" in words
    assert "time with 100,000 sessions over time with 100" in words


def test_of_many_at_once_the_most_that_was_reached_is_shown(tmp_path: Path) -> None:
    reached = {1: 5_000.0, 2: 9_000.0, 4: 8_000.0}
    measured = [
        Throughput("redis", "Jam, Redis", "threads", workers, calls, 1.0, 2.0)
        for workers, calls in reached.items()
    ]
    assert plot.draw(NOTHING._replace(throughput=measured), tmp_path) == ["throughput.svg"]
    assert "9,000 with 2" in words_of(tmp_path / "throughput.svg")
