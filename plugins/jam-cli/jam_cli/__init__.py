"""The command `jam`: for those who operate Jam, not for the application's code."""

import io
import logging
import os
import sys

from jam_cli.command import run


def main() -> int:
    """Run the command with the arguments of the process and return its exit code."""
    # The command itself says what failed; without a handler, logging would say it on stderr again.
    logging.getLogger("jam").addHandler(logging.NullHandler())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # without a ✓ in the encoding: a question mark
    return run([_as_typed(argument) for argument in sys.argv[1:]])


def _as_typed(argument: str) -> str:
    """Return an argument in UTF-8, like session keys, if the locale decoded it differently."""
    try:
        return os.fsencode(argument).decode()
    except UnicodeDecodeError:  # a terminal that is not UTF-8 either
        return argument
