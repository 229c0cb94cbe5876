"""Environments without the source tree: wheels that are built here, and what PyPI has."""

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
DISTRIBUTIONS = {
    "jam-core": ROOT,
    "jam-json": ROOT / "plugins" / "jam-json",
    "jam-redis": ROOT / "plugins" / "jam-redis",
    "jam-sqlalchemy": ROOT / "plugins" / "jam-sqlalchemy",
    "jam-telemetry": ROOT / "plugins" / "jam-telemetry",
    "jam-cli": ROOT / "plugins" / "jam-cli",
    "jam-testing": ROOT / "plugins" / "jam-testing",
    "jam-web": ROOT / "plugins" / "jam-web",
    "jam-lmdb": ROOT / "examples" / "jam-lmdb",
}


_FILE = re.compile(r"\{?# ([\w./-]+)(?: #\})?\n(.*)", re.DOTALL)
_COMMANDS = ("console", "sh")


def blocks_of(page: Path) -> list[tuple[str, str]]:
    """Return the code blocks of a page, each with its language."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def script_of(blocks: Iterable[tuple[str, str]]) -> str:
    """Return what these blocks tell to do, for bash: files are written, commands run.

    Blocks of the language "text" are what is to be seen.
    """
    script = ["set -eu\n"]
    for language, block in blocks:
        file = _FILE.fullmatch(block)
        if language in _COMMANDS:
            script.append(block)
        elif language != "text":
            assert file, f"a block without a file's name: {block}"
            script.append(f"cat > {file[1]} <<'END OF FILE'\n{file[2]}END OF FILE\n")
    return "".join(script)


def environment_of_others(**given: str | Path) -> dict[str, str]:
    """Return the environment of somebody who has nothing of ours in it, and what is given."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("JAM_", "PYTEST_", "PYTHON"))
    }
    return kept | {name: str(value) for name, value in given.items()}


def run(
    *command: str | Path, cwd: Path, **environment: str | Path
) -> subprocess.CompletedProcess[str]:
    """Run a command as somebody would who has nothing of ours in the environment."""
    env = environment_of_others(**environment)
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def done(*command: str | Path, cwd: Path, **environment: str | Path) -> str:
    """Run a command that has to succeed; return what it printed."""
    ran = run(*command, cwd=cwd, **environment)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def build_as_documented(home: Path) -> Path:
    """Build every package of ours as the manual says; return where pip finds them."""
    blocks = blocks_of(ROOT / "docs" / "install.md")
    (until_published,) = (block for _, block in blocks if "pip wheel" in block)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done("bash", "-euc", until_published, cwd=ROOT, HOME=home, PATH=path)
    return home / "jam-wheels"


def build_wheels(directory: Path, names: Iterable[str]) -> dict[str, Path]:
    """Build wheels of these distributions of ours; return them by name."""
    built = {}
    for name in names:
        target = directory / name
        pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps")
        done(*pip, "--wheel-dir", target, DISTRIBUTIONS[name], cwd=directory)
        (built[name],) = target.glob("*.whl")
    return built


def make_environment(directory: Path) -> Path:
    """Make an empty environment; return its interpreter."""
    done(sys.executable, "-m", "venv", "--without-pip", directory, cwd=directory.parent)
    return directory / "bin" / "python"


def install(python: Path, *requirements: str | Path) -> None:
    """Install into an environment from outside: that saves installing pip there."""
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet")
    done(*pip, *requirements, cwd=python.parent)
