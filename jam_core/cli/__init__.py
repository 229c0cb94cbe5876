"""The command `jam`: for whoever runs the sessions, not for the application's code."""

import io
import sys
from importlib.util import find_spec

from jam_core.cli.exits import ExitCode


def main() -> int:
    """Run the command with the arguments of the process and return its exit code."""
    missing = [name for name in ("click", "rich") if find_spec(name) is None]
    if missing:
        sys.stderr.write(
            f"Error: The command jam needs {' and '.join(missing)}, which is not installed. "
            "Install it: pip install 'jam-core[cli]'\n"
        )
        return ExitCode.EXTRA_MISSING
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # where there is no ✓, it is a question mark
    from jam_core.cli.command import run

    return run(sys.argv[1:])
