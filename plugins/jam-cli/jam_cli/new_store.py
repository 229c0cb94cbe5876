"""`jam new-store`."""

from pathlib import Path

import click
from rich.text import Text

from jam_cli.answers import Answer
from jam_cli.parameters import json_flag
from jam_cli.scaffold import write_plugin

_NEXT = (
    "python3 -m venv .venv && .venv/bin/pip install --upgrade pip",
    ".venv/bin/pip install -e . --group dev",
    ".venv/bin/pytest",
)


@click.command("new-store")
@click.argument("name")
@click.option(
    "--directory", metavar="PATH", default=".", help="Where to write jam-NAME. Default: here."
)
@json_flag
def command(name: str, directory: str) -> Answer:
    """Write the package of a new store, working and tested.

    NAME is what configurations will call it: session_type = NAME.
    """
    files = write_plugin(name, directory)
    folder = Path(directory) / f"jam-{name}"
    next_steps = [f"cd {folder}", *_NEXT]
    screen = Text.assemble(
        ("Wrote ", "bold green"),
        (str(folder), "bold"),
        "\n",
        *(f"  {file.relative_to(folder)}\n" for file in files),
        ("Next", "bold"),
        *(f"\n  {line}" for line in next_steps),
        overflow="fold",
    )
    document = {
        "directory": str(folder),
        "files": [str(file.relative_to(folder)) for file in files],
        "next": next_steps,
    }
    return Answer(document, screen)
