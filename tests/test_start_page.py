"""The start page, followed to the letter by somebody who has nothing but what pip installs."""

from pathlib import Path

import pytest

from tests.isolated import ROOT, blocks_of, build_as_documented, done, script_of


@pytest.mark.exhaustive
def test_following_it_shows_what_it_says(
    tmp_path: Path, redis_uri: str, postgresql_url: str
) -> None:
    blocks = blocks_of(ROOT / "docs" / "index.md")
    folder = tmp_path / "empty"
    folder.mkdir()
    screen = done(
        *("bash", "-c", script_of(blocks)),
        cwd=folder,
        PIP_FIND_LINKS=build_as_documented(tmp_path),  # as that page exports it
        REDIS_URL=redis_uri,
        DATABASE_URL=postgresql_url,
    )
    assert screen == "".join(block for language, block in blocks if language == "text")
