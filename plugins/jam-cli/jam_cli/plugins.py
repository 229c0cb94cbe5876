"""`jam plugins` and `jam plugins show`."""

from collections.abc import Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jam_cli.answers import Answer
from jam_cli.exits import ExitCode
from jam_cli.inspection import Inspected, Kind, inspect_plugins
from jam_cli.parameters import Commands, json_flag
from jam_cli.values import in_words
from jam_core import JamPluginLoadError, JamPluginNotFound
from jam_core.hosting import (
    DamagedDistribution,
    InstalledPlugin,
    close_match,
    damaged_distributions,
    installed_stores,
    installed_wrappers,
)

_TIME_LIMIT = 30.0
_TITLES: dict[Kind, str] = {"store": "Stores", "wrapper": "Wrappers"}

_time_limit_option = click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    default=_TIME_LIMIT,
    show_default=True,
    help="How long a plugin may take to load.",
)


@click.group("plugins", cls=Commands, invoke_without_command=True)
@_time_limit_option
@json_flag
@click.pass_context
def command(context: click.Context, timeout: float) -> Answer | None:
    """List the installed stores and wrappers, healthy or broken.

    Each is loaded in a process of its own. The exit code is 1 if one is broken.
    """
    if context.invoked_subcommand:
        return None
    found, damaged = inspect_plugins(_installed(), timeout), damaged_distributions()
    broken = any(one.reason for one in found)
    return Answer(
        {
            "plugins": [one.document for one in found],
            "passed_over": [one._asdict() for one in damaged],
        },
        _listing(found, damaged),
        ExitCode.FAILED if broken else ExitCode.OK,
    )


def _complete_name(
    context: click.Context,  # noqa: ARG001
    parameter: click.Parameter,  # noqa: ARG001
    incomplete: str,
) -> list[CompletionItem]:
    names = sorted({plugin.name for _, plugin in _installed()})
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


@command.command("show")
@click.argument("name", shell_complete=_complete_name)
@_time_limit_option
@json_flag
def show(name: str, timeout: float) -> Answer:
    """Describe the plugin NAME: its options, their types, defaults and meaning."""
    found = inspect_plugins([_the_one_named(name)], timeout)[0]
    if found.reason:
        raise JamPluginLoadError(_sentence(found))
    document = {**found.document, "summary": found.summary, "options": list(found.options)}
    return Answer({"plugin": document}, _description(found))


def _installed() -> list[tuple[Kind, InstalledPlugin]]:
    stores: list[tuple[Kind, InstalledPlugin]] = [("store", one) for one in installed_stores()]
    return [*stores, *(("wrapper", one) for one in installed_wrappers())]


def _the_one_named(name: str) -> tuple[Kind, InstalledPlugin]:
    installed = _installed()
    for kind, plugin in installed:
        if plugin.name == name:
            return kind, plugin
    names = list(dict.fromkeys(plugin.name for _, plugin in installed))
    raise JamPluginNotFound(
        f"There is no plugin {name!r}.{close_match(name, names)} "
        f"Installed: {', '.join(names) or 'none'}. `jam plugins` lists them."
    )


def _sentence(found: Inspected) -> str:
    """Return the reason with its subject, which a row of the listing does not need."""
    reason = found.reason or ""
    is_predicate = reason[:1].islower() and not reason.startswith("session_type ")
    return f"Plugin {found.plugin} {reason}" if is_predicate else reason


def _listing(found: Sequence[Inspected], damaged: Sequence[DamagedDistribution]) -> RenderableType:
    if not found and not damaged:
        return Text(
            "No plugin is installed. pip install jam-json, jam-redis or jam-sqlalchemy; "
            "`jam new-store NAME` writes one of your own."
        )
    parts: list[RenderableType] = []
    for kind, title in _TITLES.items():
        of_kind = [one for one in found if one.kind == kind]
        if of_kind:
            parts += [Text(title, "bold"), _table(of_kind), Text()]
    if damaged:
        lines = "".join(f" {one}.\n" for one in damaged)
        parts += [Text("Passed over", "bold"), Text(lines + "Reinstall it.\n", "yellow")]
    return Group(*parts, _tally(found))


def _table(found: Sequence[Inspected]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 1), expand=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    told: set[str] = set()
    for one in found:
        sign, style = ("✓", "green") if one.reason is None else ("✗", "red")
        name = Text.assemble((sign, style), " ", (one.plugin.name, "bold"))
        package = Text.assemble(one.plugin.distribution, " ", (one.plugin.version, "dim"))
        if one.reason is None:
            details = Text(one.abilities, "dim")
        else:
            # Two plugins that claim the same name have the same reason.
            details = Text("as above" if one.reason in told else one.reason, "red")
            told.add(one.reason)
        table.add_row(name, package, details)
    return table


def _tally(found: Sequence[Inspected]) -> Text:
    broken = sum(one.reason is not None for one in found)
    healthy = len(found) - broken
    text = Text.assemble((f"{healthy} healthy", "green"))
    if broken:
        text.append(", ").append(f"{broken} broken", "red")
    return text.append(". `jam plugins show NAME` describes one.")


def _description(found: Inspected) -> RenderableType:
    head = Text.assemble(
        (found.plugin.name, "bold"),
        f"  {found.plugin.distribution} {found.plugin.version}  ",
        (found.plugin.value, "dim"),
    )
    what = "Can do" if found.kind == "store" else "Wraps"
    can_do = Text.assemble((f"{what}: ", "bold"), found.abilities)
    parts: list[RenderableType] = [head, Text(found.summary), Text(), can_do]
    if found.options:
        parts += [Text(), Text("Options", "bold"), _option_table(found)]
    return Group(*parts)


def _option_table(found: Inspected) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 1))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for option in found.options:
        table.add_row(Text(option["name"], "bold cyan"), _option_text(option))
    return table


def _option_text(option: dict[str, Any]) -> Text:
    default = "required" if option["required"] else f"default: {in_words(option['default'])}"
    text = Text.assemble(option["type"], ("; ", "dim"), (default, "green"))
    untold = [alias for alias in option["aliases"] if alias not in option["documentation"]]
    if untold:
        text.append("; ", "dim").append(f"another name: {', '.join(untold)}", "dim")
    if option["documentation"]:
        text.append("\n").append(option["documentation"], "dim")
    return text
