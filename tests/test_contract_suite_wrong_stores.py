"""Every wrong store is caught by the clause that it breaks."""

import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

import pytest
from jam_testing import SessionContract, clauses_of

from tests.wrong_stores import WRONG_STORES, WrongStore
from tests.wrong_stores.catalogue import UNPROVEN

ROOT = Path(__file__).parents[1]
RUNS = "tests/wrong_stores/runs.py"


# The others are run by CI.
SAMPLE = WRONG_STORES[::16]


@pytest.fixture(scope="module")
def failures(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], list[str]]:
    """What each clause that has to catch a store said of it."""
    wanted = {
        item.callspec.params["wrong"]
        for item in request.session.items
        if item.path == request.path and hasattr(item, "callspec")
    }
    report = tmp_path_factory.mktemp("wrong") / "report.xml"
    runs = [f"{RUNS}::Test{one.store.__name__}" for one in WRONG_STORES if one in wanted]
    # Every one is to fail: tracebacks would only cost time.
    options = [
        "-q",
        *("-m", ""),
        "--durations=15",
        "--tb=line",
        "--no-header",
        "-p",
        "no:cacheprovider",
        f"--junitxml={report}",
    ]
    command = [sys.executable, "-m", "pytest", *options, *runs]
    subprocess.run(command, cwd=ROOT, check=False, timeout=600)
    said: dict[tuple[str, str], list[str]] = defaultdict(list)
    for case in ElementTree.parse(report).iter("testcase"):
        store = case.attrib["classname"].rpartition(".Test")[2]
        clause = case.attrib["name"].partition("[")[0]
        said[store, clause] += [failure.attrib["message"] for failure in case.iter("failure")]
    return said


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(
            wrong,
            id=wrong.store.__name__,
            marks=() if wrong in SAMPLE else pytest.mark.exhaustive,
        )
        for wrong in WRONG_STORES
    ],
)
def test_a_wrong_store_is_caught(
    wrong: WrongStore, failures: dict[tuple[str, str], list[str]]
) -> None:
    for clause in wrong.clauses:
        said = failures[wrong.store.__name__, clause]
        assert said, f"{clause} does not notice that this store {wrong.fault}"
        sentence = clauses_of(SessionContract)[clause].sentence
        for words in said:
            assert sentence in words
            assert f"clause    {clause}" in words


def test_every_clause_catches_a_wrong_store() -> None:
    proven = {clause for wrong in WRONG_STORES for clause in wrong.clauses}
    assert proven.isdisjoint(UNPROVEN)
    assert proven | set(UNPROVEN) == set(clauses_of(SessionContract))
