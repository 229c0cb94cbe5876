"""The start page, followed to the letter by somebody who has nothing but what pip installs."""

from pathlib import Path

from tests.isolated import ROOT, blocks_of, build_wheels, done, script_of

PAGE = ROOT / "docs" / "index.md"
NEEDED = ["jam-core", "jam-json", "jam-redis", "jam-sqlalchemy"]


def test_following_it_shows_what_it_says(
    tmp_path: Path, redis_uri: str, postgresql_url: str
) -> None:
    wheels = tmp_path / "wheels"
    for wheel in build_wheels(tmp_path, NEEDED).values():
        wheels.mkdir(exist_ok=True)
        wheel.rename(wheels / wheel.name)
    folder = tmp_path / "empty"
    folder.mkdir()
    screen = done(
        *("bash", "-c", script_of(PAGE)),
        cwd=folder,
        PIP_FIND_LINKS=wheels,  # until they are published
        REDIS_URL=redis_uri,
        DATABASE_URL=postgresql_url,
    )
    assert screen == "".join(block for language, block in blocks_of(PAGE) if language == "text")
