"""`jam sessions`: showing and ending stored sessions."""

import json
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jam_cli.answers import Answer
from jam_cli.exits import ExitCode
from jam_cli.parameters import Commands, configuration_options, json_flag, quiet_flag
from jam_cli.plugin_code import running_plugin_code
from jam_cli.progress import progress
from jam_cli.values import duration
from jam_core import BaseSession, Jam, JamConfigurationError, SessionInfo, SessionRecord
from jam_core.hosting import LOG_KEY_VARIABLE, LogNames

_LONGEST_FIELD = 60  # characters

_dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Show what would be done, and do nothing."
)


@click.group("sessions", cls=Commands)
@json_flag
def command() -> None:
    """Count, list, find and end sessions. No command shows an id that opens one."""


@command.command("count")
@configuration_options
@json_flag
def count(config: str | None, pointer: str) -> Answer:
    """Count the live sessions of the store, and their session keys.

    The exit code is 1 if there are sessions that nobody can use, since their ids are encrypted
    with a key that is no longer in session_aes_secret.
    """
    found: set[int] = set()
    keys: set[int] = set()
    endless = lost = 0
    with opened(config, pointer) as jam, progress("Counting") as advance:
        for record in jam.store.records():
            advance(1)
            number = int(record.handle, 16)
            if number not in found:
                found.add(number)
                keys.add(hash(record.session_key))
                endless += record.expires_at is None
                lost += is_lost(jam.store, record)
    document = {
        "sessions": len(found),
        "session_keys": len(keys),
        "endless": endless,
        "lost": lost,
    }
    screen = Text.assemble(
        (plural(len(found), "live session"), "bold"), f" of {plural(len(keys), 'session key')}"
    )
    if endless:
        screen.append(f", {endless} with no end")
    screen.append(".")
    if lost:
        screen.append(f"\n{lost_in_words(lost)}", "red")
    return Answer(document, screen, ExitCode.FAILED if lost else ExitCode.OK)


@command.command("list")
@click.argument("key")
@configuration_options
@click.option(
    "--show",
    "fields",
    metavar="FIELD",
    multiple=True,
    help="Also show this field of the data: the device, for example. Can be repeated.",
)
@json_flag
def list_(config: str | None, pointer: str, key: str, fields: Sequence[str]) -> Answer:
    """List the live sessions of the session key KEY by their handles."""
    with opened(config, pointer) as jam:
        listed = sorted(jam.session_list(key), key=lambda one: (one.created_at or 0, one.handle))
        ttl = jam.store.ttl
    sessions = [_document(one, fields) for one in listed]
    screen: RenderableType = Text("This session key has no live session.")
    if listed:
        tally = f"{plural(len(listed), 'live session')}. Times are local ({_zone()})."
        screen = Group(_table(listed, ttl, fields), Text(), Text(tally))
    return Answer({"sessions": sessions}, screen)


@command.command("find")
@click.argument("name")
@configuration_options
@json_flag
def find(config: str | None, pointer: str, name: str) -> Answer:
    """Find the live sessions that the log calls NAME.

    The log shows NAME as session=NAME or session_key=NAME. JAM_LOG_KEY must be set to the same
    value as for the application. The exit code is 1 if there is no such session.
    """
    if not os.environ.get(LOG_KEY_VARIABLE):
        raise JamConfigurationError(
            f"The environment variable {LOG_KEY_VARIABLE} is not set: without it the names in the "
            "log are random, and cannot be found. Set it to what `jam keygen` prints, here and for "
            "the application; names logged from then on can be found."
        )
    names = LogNames()
    found: dict[str, SessionRecord] = {}
    with opened(config, pointer) as jam, progress("Looking") as advance:
        for record in jam.store.records():
            advance(1)
            if name in (names.of_handle(record.handle), names.of_key(record.session_key)):
                found[record.handle] = record
    sessions = [
        {"session_key": one.session_key, "handle": one.handle, "expires_at": one.expires_at}
        for one in found.values()
    ]
    if not found:
        text = "No live session has this name: it has ended, or JAM_LOG_KEY is different here."
        return Answer({"sessions": sessions}, Text(text, "red"), ExitCode.FAILED)
    lines = [
        Text.assemble(
            "jam sessions revoke ", (shlex.quote(one.session_key), "bold"), " ", one.handle
        )
        for one in found.values()
    ]
    screen = Group(Text(f"{plural(len(found), 'live session')}. To end it:"), *lines)
    return Answer({"sessions": sessions}, screen)


@command.command("revoke")
@click.argument("key")
@click.argument("handle")
@configuration_options
@_dry_run_option
@quiet_flag
@json_flag
def revoke(config: str | None, pointer: str, key: str, handle: str, dry_run: bool) -> Answer:
    """End the session of KEY that `jam sessions list` shows as HANDLE.

    The exit code is 1 if there is no such session.
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
@click.argument("key", required=False)
@click.option("--all", "everybody", is_flag=True, help="Log everybody out.")
@configuration_options
@_dry_run_option
@quiet_flag
@json_flag
def clear(
    *, config: str | None, pointer: str, key: str | None, everybody: bool, dry_run: bool
) -> Answer:
    """End every session of the session key KEY, or, with --all, of every key.

    Users who log in while --all is running may be logged out, too. The exit code is 1 if
    sessions are left.
    """
    if everybody == (key is not None):
        raise click.UsageError("Give either a session key or --all.")
    with opened(config, pointer) as jam:
        ended, left = _clear_all(jam, dry_run) if key is None else _clear(jam, key, dry_run)
    what = "Every session of the key" if ended is None else plural(ended, "session")
    screen = _done(f"{what} would be ended." if dry_run else f"{what} ended.")
    if left:
        words = f"\n{plural(left, 'session')} could not be ended: run it again."
        screen.append(words, "red")
    document = {"sessions": ended, "left": left, "dry_run": dry_run}
    return Answer(document, screen, ExitCode.FAILED if left else ExitCode.OK)


def _clear(jam: Jam, key: str, dry_run: bool) -> tuple[int | None, int]:
    known = "list_sessions" in jam.store.capabilities
    ended = len(jam.session_list(key)) if known or dry_run else None
    if not dry_run:
        jam.session_clear(key)
    return ended, 0


def _clear_all(jam: Jam, dry_run: bool) -> tuple[int, int]:
    """End the sessions of every key; return how many there were, and how many of them are left."""
    handles: set[str] = set()
    with progress("Clearing") as advance:
        for key in {record.session_key for record in _noted(jam, handles)}:
            if not dry_run:
                jam.session_clear(key)
            advance(1)
    if dry_run:
        return len(handles), 0
    return len(handles), len(handles & {record.handle for record in jam.store.records()})


def _noted(jam: Jam, handles: set[str]) -> Iterator[SessionRecord]:
    for record in jam.store.records():
        handles.add(record.handle)
        yield record


@command.command("purge")
@configuration_options
@quiet_flag
@json_flag
def purge(config: str | None, pointer: str) -> Answer:
    """Remove what is left of expired sessions."""
    with opened(config, pointer) as jam, progress("Purging"):
        removed = jam.session_purge()
    return Answer({"removed": removed}, _done(f"{plural(removed, 'expired session')} removed."))


@contextmanager
def opened(config: str | None, pointer: str) -> Iterator[Jam]:
    """Open the store of a configuration for as long as the block runs."""
    with running_plugin_code(), Jam(config, pointer) as jam:
        yield jam


def is_lost(store: BaseSession, record: SessionRecord) -> bool:
    """Tell whether a session's id is encrypted with a key that the store does not have."""
    return record.id_key is not None and record.id_key not in store.codec.key_marks


def lost_in_words(number: int | str) -> str:
    """Say that this many sessions cannot be used by anybody, and what to do."""
    return (
        f"Nobody can use {number} of them: their ids are encrypted with a key that is not in "
        "session_aes_secret. Put that key back, after the newest, until they have ended."
    )


def plural(number: int, thing: str) -> str:
    """Return a number with the word for what it counts."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def date(moment: float | None, otherwise: str = "never") -> str:
    """Return a moment in local time, to the second."""
    if moment is None:
        return otherwise
    return datetime.fromtimestamp(moment).astimezone().isoformat(sep=" ", timespec="seconds")


def _done(text: str) -> Text:
    return Text(text, "green")


def _zone() -> str:
    return datetime.now().astimezone().strftime("%Z, UTC%z")


def _document(info: SessionInfo, fields: Sequence[str]) -> dict[str, Any]:
    data = info.data or {}
    return {
        "handle": info.handle,
        "created_at": info.created_at,
        "expires_at": info.expires_at,
        "deadline": info.deadline,
        "ttl": info.ttl,
        "readable": info.data is not None,
        "shown": {field: data[field] for field in fields if field in data},
    }


def _minute(moment: float | None) -> str:
    return "never" if moment is None else f"{datetime.fromtimestamp(moment):%Y-%m-%d %H:%M}"


def _table(listed: list[SessionInfo], ttl: int | None, fields: Sequence[str]) -> Table:
    """Return the sessions as a table that fits 80 columns, without columns that say nothing."""
    columns: dict[str, Callable[[SessionInfo], str]] = {"handle": lambda info: info.handle}
    for field in fields:
        columns[field] = partial(_field, field)
    if any(info.data is None for info in listed):
        columns["data"] = lambda info: "damaged" if info.data is None else "readable"
    if any(info.created_at is not None for info in listed):  # Redis does not keep it
        columns["created"] = lambda info: _minute(info.created_at) if info.created_at else ""
    columns["ends if idle"] = lambda info: _minute(info.expires_at)
    if not fields:  # they need the space
        columns["ends at last"] = lambda info: _minute(info.deadline)
    if not fields and any(info.ttl != ttl for info in listed):
        columns["ttl"] = lambda info: duration(info.ttl)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in columns:
        # A time is never broken across two lines.
        table.add_column(
            name,
            style="bold cyan" if name == "handle" else "",
            no_wrap=name not in fields,
            overflow="fold",
        )
    for info in listed:
        cells = [Text(show(info)) for show in columns.values()]
        table.add_row(*cells, style="red" if info.data is None else "")
    return table


def _field(field: str, info: SessionInfo) -> str:
    """Return a field of the data as one line; terminal control characters are escaped."""
    value = (info.data or {}).get(field, "")
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
    return text if len(text) <= _LONGEST_FIELD else f"{text[: _LONGEST_FIELD - 1]}…"
