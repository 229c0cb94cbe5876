"""The command `python -m jam_core.scaffold`."""

import argparse
import os
import sys
from pathlib import Path

from jam_core.exceptions import JamError
from jam_core.scaffold import write_plugin


def main() -> None:
    """Write a plugin distribution, and say how to go on."""
    parser = argparse.ArgumentParser(
        prog="python -m jam_core.scaffold",
        description="Write the distribution of a new session store, working and tested.",
    )
    parser.add_argument("name", help="what configurations will call it, as in session_type = NAME")
    parser.add_argument("--directory", default=".", help="where to write jam-NAME (default: here)")
    arguments = parser.parse_args()
    try:
        files = write_plugin(arguments.name, arguments.directory)
    except JamError as error:
        parser.error(error.message)
    folder = Path(arguments.directory) / f"jam-{arguments.name}"
    written = "".join(f"  {file.relative_to(folder)}\n" for file in files)
    sys.stdout.write(
        f"Wrote {folder}{os.sep}\n{written}\n"
        "Next:\n"
        f"  cd {folder}\n"
        "  python3 -m venv .venv && .venv/bin/pip install --upgrade pip\n"
        "  .venv/bin/pip install -e . --group dev\n"
        "  .venv/bin/pytest\n"
    )


if __name__ == "__main__":
    main()
