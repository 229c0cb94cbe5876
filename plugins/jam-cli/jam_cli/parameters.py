"""What several subcommands share: their options, and how a group lists its commands."""

from collections.abc import Callable
from typing import Any

import click

from jam_core.hosting import CONFIG_VARIABLE

_Function = Callable[..., Any]

# The frame looks for these two itself: a mistake in the rest of the line is reported as JSON, too.
json_flag = click.option(
    "--json", is_flag=True, expose_value=False, help="Print one JSON document instead."
)


quiet_flag = click.option(
    "-q", "--quiet", is_flag=True, expose_value=False, help="Print nothing if all is well."
)


class Commands(click.Group):
    """A group that lists each of its commands with the whole first sentence of its help."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, (command.help or "").partition("\n\n")[0].replace("\n", " "))
                    for name in self.list_commands(ctx)
                    if (command := self.get_command(ctx, name))
                ]
            )


def configuration_options(function: _Function) -> _Function:
    """Give a subcommand `config` and `pointer`, to pass on to `Jam` as they are."""
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
