"""The options that several subcommands have."""

from collections.abc import Callable
from typing import Any

import click

from jam_core.config import CONFIG_VARIABLE

_Function = Callable[..., Any]

# The frame looks for --json itself, so that a mistake in the rest of the line is told as JSON, too.
json_flag = click.option(
    "--json", is_flag=True, expose_value=False, help="Print one JSON document instead."
)


def configuration_options(function: _Function) -> _Function:
    """Give a subcommand `config` and `pointer`, to be passed to `Jam` as they are."""
    config = click.option(
        "--config",
        metavar="FILE",
        help=f"The TOML, YAML or JSON file. Default: the path in {CONFIG_VARIABLE}.",
    )
    pointer = click.option(
        "--pointer",
        metavar="TABLE",
        default="jam",
        show_default=True,
        help="The dotted path of Jam's table in the file.",
    )
    return config(pointer(function))
