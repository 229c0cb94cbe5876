"""The pages on the contract say what the suite checks."""

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from jam_testing import CONTRACT_VERSION, SessionContract, clauses_of

from tests.test_documentation import table_rows
from tests.wrong_stores.pages import CONTRACT, PAGES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_page_is_up_to_date(page: Path) -> None:
    assert page.read_text() == PAGES[page](), "python -m tests.wrong_stores writes it again"


def test_every_test_of_the_suite_is_a_clause_with_a_promise() -> None:
    tests = {name for name in dir(SessionContract) if name.startswith("test_")}
    assert tests == set(clauses_of(SessionContract))


def test_every_clause_is_on_the_page_and_no_other() -> None:
    named = re.findall(r"`(test_\w+)`", CONTRACT.read_text())
    assert sorted(named) == sorted(clauses_of(SessionContract))


def test_the_version_rises_with_the_number_of_clauses() -> None:
    versions = re.findall(r"^\| (\d+) \| (\d+) \|", CONTRACT.read_text(), re.MULTILINE)
    assert versions[-1] == (str(CONTRACT_VERSION), str(len(clauses_of(SessionContract))))


def test_the_attributes_are_documented_with_their_defaults() -> None:
    rows = table_rows(CONTRACT, "attribute")
    assert {name: cells[1] for name, cells in rows.items()} == {
        name: str(getattr(SessionContract, name)) for name in rows
    }
    assert set(rows) == {
        "race_rounds",
        "histories",
        "history_length",
        "interrupted_operations",
        "histories_at_once",
        "in_steps",
        "calls_at_once",
        "many_sessions",
        "clause_limit",
        "outage_limit",
    }


@pytest.mark.exhaustive
def test_the_contract_can_be_printed_without_the_repository(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "jam_testing"]
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert printed.stdout.startswith("## options\n")
    assert CONTRACT.read_text().endswith(printed.stdout)


def test_the_certificate_in_the_manual_is_of_this_version() -> None:
    page = CONTRACT.with_name("certify-a-store.md").read_text()
    assert f"jam-core       {version('jam-core')}, contract {CONTRACT_VERSION}\n" in page
