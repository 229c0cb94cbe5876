"""The tutorial, followed to the letter by somebody who has nothing but what pip installs."""

import re
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.isolated import ROOT, blocks_of, build_wheels, done, script_of

pytestmark = pytest.mark.exhaustive
EXAMPLE = ROOT / "examples" / "jam-lmdb"


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder in which the tutorial was followed, and what was on the screen."""
    directory = tmp_path_factory.mktemp("tutorial")
    wheels = build_wheels(directory, ["jam-core", "jam-cli", "jam-testing"]).values()
    folder = directory / "empty"
    folder.mkdir()
    script = script_of(blocks_of(ROOT / "docs" / "tutorial.md"))
    # Until it is published, this is where pip finds it.
    return folder, done(
        "bash",
        "-c",
        script,
        cwd=folder,
        PIP_FIND_LINKS=" ".join(str(wheel.parent) for wheel in wheels),
    )


def test_following_it_leads_to_a_store_that_is_proven_and_works(
    followed: tuple[Path, str],
) -> None:
    _, screen = followed
    assert screen.count("It works.") == 2
    assert len(re.findall(r"^\d+ passed, \d+ skipped", screen, re.MULTILINE)) == 3
    assert f"distribution   jam-lmdb {version('jam-lmdb')}" in screen


@pytest.mark.parametrize(
    "name",
    ["jam_lmdb/sessions.py", "jam_lmdb/__init__.py", "tests/test_contract.py", "pyproject.toml"],
)
def test_what_comes_of_it_is_the_example(followed: tuple[Path, str], name: str) -> None:
    folder, _ = followed
    assert (folder / "jam-lmdb" / name).read_text() == (EXAMPLE / name).read_text()
