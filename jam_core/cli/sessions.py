"""`jam sessions`: looking after the sessions that are there."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jam_core.cli.answers import Answer
from jam_core.cli.exits import ExitCode
from jam_core.cli.hosting import hosting_plugins
from jam_core.cli.parameters import configuration_options, json_flag
from jam_core.cli.progress import progress
from jam_core.jam import Jam
from jam_core.records import SessionInfo

_dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Tell what would be done, and do nothing."
)


@click.group("sessions")
@json_flag
def command() -> None:
    """Count, list and end sessions. No command shows an id that opens one, or data."""


@command.command("count")
@configuration_options
@json_flag
def count(config: str | None, pointer: str) -> Answer:
    """Count the live sessions of the store, and their session keys."""
    found: set[int] = set()
    keys: set[int] = set()
    endless = 0
    with opened(config, pointer) as jam, progress("Counting") as advance:
        for record in jam.store.records():
            advance(1)
            number = int(record.handle, 16)
            if number not in found:
                found.add(number)
                keys.add(hash(record.session_key))
                endless += record.expires_at is None
    document = {"sessions": len(found), "session_keys": len(keys), "endless": endless}
    screen = Text.assemble(
        (plural(len(found), "live session"), "bold"), f" of {plural(len(keys), 'session key')}"
    )
    if endless:
        screen.append(f", {endless} of them without an end")
    return Answer(document, screen.append("."))


@command.command("list")
@click.argument("key")
@configuration_options
@json_flag
def list_(config: str | None, pointer: str, key: str) -> Answer:
    """List the live sessions of the session key KEY by their handles."""
    with opened(config, pointer) as jam:
        listed = sorted(jam.session_list(key), key=lambda one: (one.created_at or 0, one.handle))
    sessions = [_document(one) for one in listed]
    screen: RenderableType = Text("This session key has no live session.")
    if listed:
        screen = Group(_table(listed), Text(), Text(f"{plural(len(listed), 'live session')}."))
    return Answer({"sessions": sessions}, screen)


@command.command("revoke")
@click.argument("key")
@click.argument("handle")
@configuration_options
@_dry_run_option
@json_flag
def revoke(config: str | None, pointer: str, key: str, handle: str, dry_run: bool) -> Answer:
    """End the session of KEY that `jam sessions list` shows as HANDLE.

    The exit code is 1 if there is none.
    """
    with opened(config, pointer) as jam:
        if dry_run:
            found = any(one.handle == handle for one in jam.session_list(key))
        else:
            found = jam.session_revoke(key, handle)
    if not found:
        screen = Text("This session key has no live session with this handle.", "red")
    else:
        screen = _done("The session would be ended." if dry_run else "The session is ended.")
    document = {"found": found, "dry_run": dry_run}
    return Answer(document, screen, ExitCode.OK if found else ExitCode.FAILED)


@command.command("clear")
@click.argument("key")
@configuration_options
@_dry_run_option
@json_flag
def clear(config: str | None, pointer: str, key: str, dry_run: bool) -> Answer:
    """End every session of the session key KEY."""
    with opened(config, pointer) as jam:
        known = "list_sessions" in jam.store.capabilities
        ended = len(jam.session_list(key)) if known or dry_run else None
        if not dry_run:
            jam.session_clear(key)
    what = "Every session of the key" if ended is None else plural(ended, "session")
    screen = _done(f"{what} would be ended." if dry_run else f"{what} ended.")
    return Answer({"sessions": ended, "dry_run": dry_run}, screen)


@command.command("purge")
@configuration_options
@json_flag
def purge(config: str | None, pointer: str) -> Answer:
    """Remove what is left of sessions that have ended by themselves."""
    with opened(config, pointer) as jam, progress("Purging"):
        removed = jam.session_purge()
    return Answer({"removed": removed}, _done(f"{plural(removed, 'expired session')} removed."))


@contextmanager
def opened(config: str | None, pointer: str) -> Iterator[Jam]:
    """Open the store of a configuration for as long as the block runs."""
    with hosting_plugins(), Jam(config, pointer) as jam:
        yield jam


def plural(number: int, thing: str) -> str:
    """Return a number with what it counts."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def date(moment: float | None, otherwise: str = "never") -> str:
    """Return a moment in local time, to the second."""
    if moment is None:
        return otherwise
    return datetime.fromtimestamp(moment).astimezone().isoformat(sep=" ", timespec="seconds")


def _done(text: str) -> Text:
    return Text(text, "green")


def _document(info: SessionInfo) -> dict[str, Any]:
    return {
        "handle": info.handle,
        "created_at": info.created_at,
        "expires_at": info.expires_at,
        "deadline": info.deadline,
        "readable": info.data is not None,
    }


_COLUMNS: dict[str, Callable[[SessionInfo], str]] = {
    "handle": lambda info: info.handle,
    "created": lambda info: date(info.created_at, "not known"),
    "ends if idle": lambda info: date(info.expires_at),
    "ends at last": lambda info: date(info.deadline),
}


def _table(listed: list[SessionInfo]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in _COLUMNS:
        table.add_column(name, style="bold cyan" if name == "handle" else "", overflow="fold")
    for info in listed:
        cells = [show(info) for show in _COLUMNS.values()]
        if info.data is None:
            cells[1] = "damaged: cannot be read"
        table.add_row(*cells, style="red" if info.data is None else "")
    return table
