"""Every configuration in documentation and examples passes `jam check`, as copied."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from jam_core import generate_aes_key
from tests.cli.running import ROOT, jam
from tests.places import machine_url

BLOCK = re.compile(r"^( *)```(toml|yaml)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
DELIBERATELY_WRONG = "# wrong.toml\n"
# What stands for a server of the reader's own; elsewhere, nobody could try it.
REDIS = re.compile(r"rediss?://[^\s\"}]*@?(localhost|127\.0\.0\.1)[^\s\"}]*")
POSTGRESQL = re.compile(r"postgresql\+psycopg://[^\s\"]*@?localhost[^\s\"}]*")
MARIADB = re.compile(r"mariadb\+pymysql://[^\s\"]*@?localhost[^\s\"}]*")


class Sample(NamedTuple):
    """A configuration in the documentation.

    Attributes:
        place: The page and the line.
        language: toml or yaml.
        text: The block.
        pointer: The table that holds the session's.
    """

    place: str
    language: str
    text: str
    pointer: str


def tables(value: Any, path: str = "") -> Iterator[str]:
    """Yield the paths of the tables that have a table `session`."""
    if isinstance(value, dict):
        if isinstance(value.get("session"), dict) and "session_type" in value["session"]:
            yield path
        for key, item in value.items():
            yield from tables(item, f"{path}.{key}" if path else key)


def samples() -> Iterator[Sample]:
    pages = {*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")}
    pages |= {*ROOT.glob("plugins/*/README.md"), *ROOT.glob("examples/*/README.md")}
    for page in sorted(page for page in pages if not page.is_symlink()):
        source = page.read_text()
        for block in BLOCK.finditer(source):
            indent, language, text = block.groups()
            text = re.sub(f"^{indent}", "", text, flags=re.MULTILINE)
            parsed = tomllib.loads(text) if language == "toml" else yaml.safe_load(text)
            line = source.count("\n", 0, block.start()) + 1
            for pointer in tables(parsed):
                yield Sample(f"{page.relative_to(ROOT)}:{line}", language, text, pointer)
    for file in sorted(ROOT.glob("examples/**/config.toml")):
        text = file.read_text()
        for pointer in tables(tomllib.loads(text)):
            yield Sample(str(file.relative_to(ROOT)), "toml", text, pointer)


SAMPLES = list(samples())


@pytest.mark.parametrize("sample", SAMPLES, ids=[one.place for one in SAMPLES])
def test_a_sample_configuration_passes_the_check(
    sample: Sample, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    text = sample.text.replace('"/srv/', f'"{tmp_path}/')
    if REDIS.search(text):
        text = REDIS.sub(request.getfixturevalue("redis_uri"), text)
    if POSTGRESQL.search(text):
        text = POSTGRESQL.sub(request.getfixturevalue("postgresql_url"), text)
    if MARIADB.search(text):
        text = MARIADB.sub(machine_url(3306, "mariadb+pymysql://root@127.0.0.1:3306/test"), text)
        text = text.replace("3306/test", "3306/test?charset=utf8mb4", 1)
    (tmp_path / f"config.{sample.language}").write_text(text)
    line: tuple[str, ...] = (
        "check",
        "--config",
        f"config.{sample.language}",
        "--pointer",
        sample.pointer,
    )
    if '"memory"' in text:  # for the tests of an application
        for meant in ("no-max-age", "not-durable", "not-shared"):
            line += ("--accept", meant)
    # What the documentation tells to set in the environment.
    environment = {
        **dict.fromkeys(re.findall(r"\$\{?(\w+)\}", text), "x"),
        "JAM_SESSION_AES_SECRET": generate_aes_key().decode(),
        "HOME": str(tmp_path),
    }
    ran = jam(*line, "--create", cwd=tmp_path, **environment)
    if sample.text.startswith(DELIBERATELY_WRONG):
        assert ran.code == 3
    else:
        assert ran.code == 0, ran.out + ran.err
        assert jam(*line, "--quiet", cwd=tmp_path, **environment).out == ""


def test_there_are_samples_of_every_store() -> None:
    everything = "".join(sample.text for sample in SAMPLES)
    for kind in ("json", "redis", "sqlalchemy"):
        assert f'session_type = "{kind}"' in everything
