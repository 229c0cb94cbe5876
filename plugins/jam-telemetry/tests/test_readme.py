"""The README's tables say what is emitted, and its application runs."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jam_core import Jam, JamSessionNotFound

from .collector import Collector

OpenJam = Callable[..., Jam]

README = (Path(__file__).parents[1] / "README.md").read_text()


def rows(first_cell: str) -> list[list[str]]:
    """Return the rows of the table whose header begins with a cell."""
    (table,) = re.findall(rf"^\| {first_cell} \|.*\n\| ---.*\n((?:\|.*\n)+)", README, re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()]


def quoted(cell: str) -> list[str]:
    return re.findall("`(.*?)`", cell)


@pytest.fixture
def emitted(collector: Collector, open_jam: OpenJam) -> Collector:
    """What is emitted of a hit, a miss, an operation without either, and an error."""
    jam = open_jam(collector.plugin())
    session_id = jam.session_create("user1", {})
    jam.session_get(session_id)
    jam.session_get("unknown")
    with pytest.raises(JamSessionNotFound):
        jam.session_update("unknown", {})
    return collector


def test_the_table_of_spans(emitted: Collector) -> None:
    ((name, kind, status),) = rows("span")
    template, example = quoted(name)
    for span in emitted.spans():
        attributes = span.attributes or {}
        operation = str(attributes["db.operation.name"])
        assert span.name == template.replace("{db.operation.name}", operation)
        assert span.kind.name.lower() == kind
        expected = "error" if "error.type" in attributes else "unset"
        assert span.status.status_code.name.lower() == expected
        assert expected in status
    assert example in [span.name for span in emitted.spans()]


def test_the_table_of_metrics(emitted: Collector) -> None:
    ((name, instrument, unit, boundaries),) = rows("metric")
    (metric,) = emitted.metrics()
    assert [metric.name] == quoted(name)
    assert type(metric.data).__name__.lower() == instrument
    assert [metric.unit] == quoted(unit)
    for point in emitted.points():
        assert list(point.explicit_bounds) == [float(one) for one in boundaries[1:-1].split(",")]


def test_the_table_of_attributes(emitted: Collector) -> None:
    values = {quoted(name)[0]: quoted(values) for name, _, values in rows("attribute")}
    seen = [dict(span.attributes or {}) for span in emitted.spans()]
    seen += [dict(point.attributes or {}) for point in emitted.points()]
    assert {name for attributes in seen for name in attributes} == set(values)
    for attributes in seen:
        for name, value in attributes.items():
            assert (str(value).lower() if isinstance(value, bool) else value) in values[name]


def test_the_table_names_every_operation(collector: Collector) -> None:
    ((_, _, operations),) = [row for row in rows("attribute") if "db.operation.name" in row[0]]
    plugin = collector.plugin()
    hooks = [name for name in dir(plugin) if hasattr(getattr(plugin, name), "jam_impl")]
    assert sorted(quoted(operations)) == sorted(hooks)


def test_the_application_prints_its_spans_and_metrics(tmp_path: Path) -> None:
    for name, text in re.findall(r"```\w+\n# (config\.toml|app\.py)\n(.*?)```", README, re.DOTALL):
        (tmp_path / name).write_text(text)
    ran = subprocess.run(
        [sys.executable, "app.py"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert ran.stderr == ""
    for word in ('"create sessions"', '"get sessions"', '"db.client.operation.duration"'):
        assert word in ran.stdout
