"""`jam check`."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import click
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jam_cli.answers import Answer
from jam_cli.exits import ExitCode
from jam_cli.findings import Finding, findings_of_configuration
from jam_cli.inspection import abilities_in_words
from jam_cli.parameters import configuration_options, json_flag, quiet_flag
from jam_cli.plugin_code import running_plugin_code
from jam_cli.settings import Setting, Settings, settings_of
from jam_cli.trial import Step, Trial
from jam_cli.values import duration, in_words
from jam_core.hosting import ASYNCIO, installed_stores

_LIFETIMES = ("ttl", "max_age")


@click.command("check")
@configuration_options
@click.option(
    "--accept",
    metavar="FINDING",
    multiple=True,
    help="A finding that is intended. Can be repeated.",
)
@click.option("--create", is_flag=True, help="Create a file or a table that is missing.")
@click.option("--read-only", is_flag=True, help="Store no scratch session.")
@quiet_flag
@json_flag
def command(
    *, config: str | None, pointer: str, accept: Sequence[str], create: bool, read_only: bool
) -> Answer:
    """Try out a configuration, and warn about what you would regret later.

    Shows every setting and where it comes from, opens the store, takes a scratch session through
    its life, and says what could be better. Creates a missing store only with --create.
    The exit code is 1 if there is a finding that is not accepted, 3 if the configuration cannot
    be used, and 4 if the store cannot be reached.
    """
    if create and read_only:
        raise click.UsageError("--create and --read-only cannot be used together.")
    with running_plugin_code():
        trial = Trial(config, pointer, create=create, read_only=read_only)
    settings = settings_of(trial.configured, trial.in_force)
    found = [
        *findings_of_configuration(trial.configured, settings, trial.in_force),
        *trial.findings,
    ]
    findings = [finding for finding in found if finding.remedy]
    facts = [finding for finding in found if not finding.remedy]
    if trial.missing:
        facts.append(Finding("missing", trial.missing))
    unaccepted = any(finding.code not in accept for finding in findings)
    store = _store_document(settings)
    document = {
        "file": settings.file,
        "pointer": settings.pointer,
        "store": store,
        "settings": [option.document for option in settings.options],
        "times": _times(settings),
        "capabilities": trial.capabilities,
        "steps": [step.document for step in trial.steps],
        "facts": [{"code": fact.code, "text": fact.text} for fact in facts],
        "findings": [
            {**finding._asdict(), "accepted": finding.code in accept} for finding in findings
        ],
    }
    parts: list[RenderableType] = [
        _heading(settings, store),
        Text(),
        _setting_table(settings.options),
        Text(),
        Text.assemble(("Times: ", "bold"), _times_in_words(settings)),
        *_abilities(trial.capabilities),
        *(Text.assemble((f"{fact.code}: ", "bold"), fact.text) for fact in facts),
        Text(),
        _steps_in_columns(trial.steps),
        Text(),
    ]
    if findings and not trial.exit_code:
        parts += [_finding_table(findings, accept), Text()]
    parts.append(_verdict(trial, findings, accept))
    exit_code = trial.exit_code or (ExitCode.FAILED if unaccepted else ExitCode.OK)
    return Answer(document, Group(*parts), exit_code)


def _abilities(capabilities: Sequence[str]) -> Iterator[Text]:
    """Say what a store can do, if it could be opened: otherwise nobody knows."""
    if capabilities:
        awaits = "awaited in the event loop" if ASYNCIO in capabilities else "runs in threads"
        can_do = abilities_in_words([one for one in capabilities if one != ASYNCIO])
        yield Text.assemble(("Can do: ", "bold"), can_do)
        yield Text.assemble(("Under jam.aio: ", "bold"), awaits)


def _store_document(settings: Settings) -> dict[str, Any]:
    plugin = next((one for one in installed_stores() if one.name == settings.session_type), None)
    return {
        "session_type": settings.session_type,
        "class": f"{settings.store.__module__}:{settings.store.__qualname__}",
        "distribution": plugin and plugin.distribution,
        "version": plugin and plugin.version,
    }


def _times(settings: Settings) -> dict[str, Any]:
    return {
        option.name: option.value
        for option in settings.options
        if option.name in _LIFETIMES or "timeout" in option.name
    }


def _times_in_words(settings: Settings) -> str:
    return ", ".join(
        f"{name} {duration(value)}"
        for name, value in _times(settings).items()
        if value is not None or name in _LIFETIMES
    )


def _heading(settings: Settings, store: dict[str, Any]) -> Text:
    package = f"{store['distribution']} {store['version']}" if store["distribution"] else ""
    return Text.assemble(
        (settings.file, "bold"),
        f" [{settings.pointer}]" if settings.pointer else "",
        "  ",
        (settings.session_type, "bold cyan"),
        f"  {package}",
    )


def _setting_table(options: Sequence[Setting]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 1), header_style="dim")
    table.add_column("setting", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("from", overflow="fold")
    for option in options:
        is_default = option.source == "default"
        source = ", ".join(option.variables) or option.source
        table.add_row(
            Text(option.name, "dim" if is_default else "cyan"),
            Text(in_words(option.value), "dim" if is_default else ""),
            Text(source, "green" if option.variables else "dim"),
        )
    return table


def _steps_in_columns(steps: Sequence[Step]) -> RenderableType:
    done = [
        Text.assemble(("✓ ", "green"), step.name, (f" {step.milliseconds:.1f} ms", "dim"))
        for step in steps
        if step.reason is None
    ]
    failed = [
        Text.assemble(("✗ ", "red"), (f"{step.name}: ", "bold"), (step.reason, "red"))
        for step in steps
        if step.reason is not None
    ]
    return Group(*([Columns(done, padding=(0, 3))] if done else []), *failed)


def _finding_table(findings: Sequence[Finding], accepted: Collection[str]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        if finding.code in accepted:
            table.add_row(
                Text(f"- {finding.code}", "dim"), Text(f"Accepted: {finding.text}", "dim")
            )
        else:
            table.add_row(
                Text.assemble(("! ", "bold yellow"), (finding.code, "yellow")),
                Text.assemble(finding.text, " ", (finding.remedy, "bold")),
            )
    return table


def _verdict(trial: Trial, findings: Sequence[Finding], accepted: Collection[str]) -> Text:
    if trial.exit_code:
        return Text("The store does not work.", "bold red")
    if trial.missing:
        return Text(
            "There is no store to try yet. The application creates it when it starts; "
            "`jam check --create`, as its user, does so now.",
            "bold yellow",
        )
    left = sum(finding.code not in accepted for finding in findings)
    if not left:
        return Text("The store works, and nothing is left to do.", "bold green")
    count = "one thing" if left == 1 else f"{left} things"
    return Text.assemble(
        ("The store works", "bold green"), f"; {count} to do, or to accept with --accept."
    )
