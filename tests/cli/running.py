"""Running the command as an operator does, in an environment that is all but empty."""

import importlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, chdir
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from jam_cli import main

ROOT = Path(__file__).parents[2]
JAM = Path(sys.executable).parent / "jam"


class Ran(NamedTuple):
    """How a run of the command ended.

    Attributes:
        code: Its exit code.
        out: What it printed to standard output.
        err: What it printed to standard error.
    """

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)


def jam(*arguments: str, cwd: Path, **environment: str) -> Ran:
    """Run the command in this process, which costs a tenth of one of its own.

    Args:
        *arguments: Its command line.
        cwd: Where.
        **environment: The whole environment; of `PYTHONPATH`, what comes before the rest.
    """
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="") for _ in range(2))
    path = list(filter(None, environment.get("PYTHONPATH", "").split(os.pathsep)))
    with (
        ExitStack() as stack,
        Path(os.devnull).open() as nothing,
        chdir(cwd),
        patch.dict(os.environ, environment, clear=True),
        patch.multiple(
            sys,
            argv=["jam", *arguments],
            path=[*path, *sys.path],
            stdin=nothing,
            stdout=out,
            stderr=err,
            dont_write_bytecode=True,
        ),
    ):
        stack.callback(_forget_modules, set(sys.modules))
        importlib.invalidate_caches()
        code = main()
        out.flush()
        err.flush()
    ran = Ran(code, *(stream.buffer.getvalue().decode() for stream in (out, err)))
    assert "Traceback" not in ran.out + ran.err, ran.err
    return ran


def _forget_modules(known: set[str]) -> None:
    """Forget what was imported meanwhile from elsewhere than where this environment is."""
    here = (str(ROOT), sys.prefix, sys.base_prefix)
    for name in set(sys.modules) - known:
        file = getattr(sys.modules[name], "__file__", None)
        if file and not file.startswith(here):
            del sys.modules[name]


def jam_process(
    *arguments: str, cwd: Path, command: Sequence[str] = (str(JAM),), **environment: str
) -> Ran:
    """Run the command in a process of its own.

    Args:
        *arguments: Its command line.
        cwd: Where.
        command: What stands before the command line.
        **environment: The whole environment.
    """
    ran = subprocess.run(
        [*command, *arguments],
        cwd=cwd,
        env={"PYTHONDONTWRITEBYTECODE": "1", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "Traceback" not in ran.stdout + ran.stderr, ran.stderr
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def in_a_terminal(*arguments: str, cwd: Path, columns: int, **environment: str) -> str:
    """Run the command in a terminal of that many columns and return what it shows."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    process = subprocess.Popen(
        [str(JAM), *arguments],
        cwd=cwd,
        env={"TERM": "xterm-256color", **environment},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # how Linux says that the other side is closed
        pass
    os.close(ours)
    process.wait()
    return shown.decode()
