"""docs/cli.md says what the commands print."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jam_cli.exits import ExitCode

from jam_core import Jam, generate_aes_key
from jam_core.hosting import LogNames
from tests.cli.running import ROOT, jam

PAGE = (ROOT / "docs" / "cli.md").read_text()
FREE = {
    "times",
    "settings[].value",
    "plugin.options[].default",
    "sessions[].shown",
}  # their keys are the stores'
LOG_KEY = "0123456789abcdef"
STORE = """
from jam_testing.memory import MemorySessions

class Store(MemorySessions):
    aliases = {"other": "clock"}

    def diagnose(self):
        return [("server", "Toy 1.0.")]
"""


def documented(header: str) -> set[str]:
    """Return the keys in the table whose first column has this header."""
    table = PAGE.partition(f"| {header} |")[2].partition("\n\n")[0]
    cells = [row.split("|")[1] for row in table.splitlines()[2:]]
    return {key for cell in cells for key in re.findall("`(.+?)`", cell)}


def keys_in(value: Any, path: str = "") -> Iterator[str]:
    """Yield the paths of the values in a document."""
    if isinstance(value, dict) and path not in FREE:
        for key, item in value.items():
            yield from keys_in(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and path not in FREE:
        for item in value:
            yield from keys_in(item, f"{path}[]")
    else:
        yield path


def printed(*arguments: str, cwd: Path, **environment: str) -> set[str]:
    return set(keys_in(jam(*arguments, "--json", cwd=cwd, **environment).document))


def test_the_documents_of_the_commands_have_the_documented_keys(tmp_path: Path) -> None:
    for line in ("plugins show json", "keygen", "new-store toydb"):
        header = "key of `jam " + " ".join(w for w in line.split() if w not in ("json", "toydb"))
        assert printed(*line.split(), cwd=tmp_path) == documented(f"{header}`"), line


@pytest.mark.exhaustive
def test_the_document_of_the_plugins_has_the_documented_keys(tmp_path: Path) -> None:
    damaged = tmp_path / "site" / "foreign-1.0.dist-info" / "entry_points.txt"
    damaged.parent.mkdir(parents=True)
    damaged.write_text("[console_scripts]\nno equals sign\n")
    keys = printed("plugins", cwd=tmp_path, PYTHONPATH=str(tmp_path / "site"))
    assert keys == documented("key of `jam plugins`")


def test_the_document_of_the_check_has_the_documented_keys(tmp_path: Path) -> None:
    (tmp_path / "project.py").write_text(STORE)
    text = '[jam.session]\nsession_type = "project:Store"\nttl = "$TTL"\n'
    (tmp_path / "config.toml").write_text(text)
    environment = {"PYTHONPATH": str(ROOT), "TTL": "60"}
    keys = printed("check", "--config", "config.toml", cwd=tmp_path, **environment)
    assert keys == documented("key of `jam check`")


def test_the_documents_of_the_commands_on_sessions_have_the_documented_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [generate_aes_key().decode() for _ in range(2)]
    session = {"session_type": "json", "is_session_crypt": True, "session_aes_secret": keys}
    for name in ("one", "two"):
        configuration = {"jam": {"session": {**session, "json_path": f"{tmp_path}/{name}.json"}}}
        (tmp_path / f"{name}.conf.json").write_text(json.dumps(configuration))
    monkeypatch.setenv("JAM_LOG_KEY", LOG_KEY)
    with Jam(str(tmp_path / "one.conf.json")) as opened:
        opened.session_create("ann", {})
        (info,) = opened.session_list("ann")
    for header, line in {
        "sessions count": "sessions count",
        "sessions list": "sessions list ann",
        "sessions find": f"sessions find {LogNames().of_key('ann')}",
        "rekey": "rekey",
        "migrate": "migrate --from one.conf.json --to two.conf.json",
        "sessions revoke": f"sessions revoke ann {info.handle}",
        "sessions clear": "sessions clear ann",
        "sessions purge": "sessions purge",
    }.items():
        found = printed(
            *line.split(), cwd=tmp_path, JAM_CONFIG="one.conf.json", JAM_LOG_KEY=LOG_KEY
        )
        assert found == documented(f"key of `jam {header}`"), line


def test_the_document_of_an_error_has_the_documented_keys(tmp_path: Path) -> None:
    assert printed("check", cwd=tmp_path) == documented("key of an error")


def test_every_exit_code_is_documented() -> None:
    table = PAGE.partition("| code | meaning |")[2].partition("\n\n")[0]
    assert {int(row.split("|")[1]) for row in table.splitlines()[2:]} == set(ExitCode)


def test_every_command_has_its_row_and_its_section(tmp_path: Path) -> None:
    commands = re.findall(r"^  ([a-z-]+) {2,}", jam("--help", cwd=tmp_path).out, re.MULTILINE)
    commands = [command for command in commands if not command.startswith("-")]
    for command in commands:
        assert f"| `jam {command}" in PAGE
        assert f"\n## `jam {command}" in PAGE


def test_every_option_is_mentioned(tmp_path: Path) -> None:
    for command in (
        *("check", "plugins", "new-store", "keygen", "rekey", "migrate"),
        *(f"sessions {one}" for one in ("count", "list", "find", "revoke", "clear", "purge")),
    ):
        for option in re.findall(
            r"--[a-z][a-z-]+", jam(*command.split(), "--help", cwd=tmp_path).out
        ):
            assert option == "--help" or option in PAGE


def test_every_finding_is_documented() -> None:
    source = (ROOT / "plugins/jam-cli/jam_cli/findings.py").read_text()
    codes = set(re.findall(r'Finding\(\s*"([a-z-]+)"', source))
    assert codes
    for store in ROOT.glob("plugins/*/*/sessions.py"):
        codes |= set(re.findall(r'yield \(\s*"([a-z-]+)",', store.read_text()))
    assert documented("finding") == codes
