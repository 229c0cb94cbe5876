"""The README's examples, on a real server, and its table of options."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from jam_redis import RedisSessions

from .servers import RedisServer

README = (Path(__file__).parents[1] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_examples_run(
    redis_on: Callable[..., RedisServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = redis_on()
    monkeypatch.chdir(tmp_path)
    (configuration,) = blocks("toml")
    uri = "redis://localhost:6379/0"
    assert uri in configuration
    Path("config.toml").write_text(configuration.replace(uri, server.uri))
    code = "".join(blocks("py")).replace(uri, server.uri)
    exec(code.replace("port=6379", f"port={server.port}"), {})


def test_every_option_has_its_row_with_its_default() -> None:
    rows = re.findall(r"^\| `(\w+)`.*? \| .*? \| (.*?) ?\|", README, re.MULTILINE)
    documented = {name: default.strip("`") for name, default in rows}
    parameters = list(inspect.signature(RedisSessions.__init__).parameters.values())[1:-1]
    assert documented == {
        parameter.name: "" if parameter.default is parameter.empty else str(parameter.default)
        for parameter in parameters
    }


def test_every_alias_is_documented() -> None:
    for alias, option in RedisSessions.aliases.items():
        assert f"`{option}` (or `{alias}`)" in README
