"""`jam rekey`: everything under the newest key."""

from dataclasses import dataclass, field
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jam_core.cli.answers import Answer
from jam_core.cli.exits import ExitCode
from jam_core.cli.parameters import configuration_options, json_flag
from jam_core.cli.progress import progress
from jam_core.cli.sessions import date, opened, plural
from jam_core.exceptions import JamConfigurationError
from jam_core.records import SessionRecord
from jam_core.session import BaseSession

_PASSES = 5
_UNKNOWN = "not known"


@dataclass
class Use:
    """What is under one key.

    Attributes:
        data: How many sessions' data.
        ids: How many sessions' ids.
        idle_end: When the last of these sessions ends if nobody uses them.
        last_end: When the last of them ends, however they are used; None: some never.
    """

    data: int = 0
    ids: int = 0
    idle_end: float | None = 0.0
    last_end: float | None = 0.0

    def add(self, record: SessionRecord, *, data: bool, id_: bool) -> None:
        """Count a session."""
        self.data += data
        self.ids += id_
        self.idle_end = _later(self.idle_end, record.expires_at)
        self.last_end = _later(self.last_end, record.deadline)

    def document(self, mark: str, *, newest: bool) -> dict[str, Any]:
        """Return what `--json` prints of it."""
        unused = not self.data and not self.ids
        return {
            "mark": mark,
            "newest": newest,
            "data": self.data,
            "ids": self.ids,
            "idle_end": None if unused else self.idle_end,
            "last_end": None if unused else self.last_end,
        }


@dataclass
class Pass:
    """What was found, and done, in one pass over the sessions.

    Attributes:
        uses: What is under which key, as it was found; the newest key first.
        unknown: Sessions whose ids are under a key that the store has not noted.
        sessions: How many there were.
        unreadable: How many have data that no key decrypts.
        rewritten: How many were brought under the newest key.
        missed: How many changed, or ended, just when that was tried.
    """

    uses: dict[str, Use]
    unknown: Use = field(default_factory=Use)
    sessions: int = 0
    unreadable: int = 0
    rewritten: int = 0
    missed: int = 0


@click.command("rekey")
@configuration_options
@click.option("--dry-run", is_flag=True, help="Count only.")
@json_flag
def command(config: str | None, pointer: str, dry_run: bool) -> Answer:
    """Encrypt the data of every session with the newest key.

    Then it tells what is still under which key: a key that nothing is under can be retired. It may
    be stopped and started again at any time, while the application runs. The exit code is 1 if
    data is still under an old key in the end.
    """
    with opened(config, pointer) as jam:
        store = jam.store
        if not store.codec.key_marks:
            raise JamConfigurationError(
                "is_session_crypt is off: there is nothing that could be under another key."
            )
        rewritten = 0
        passed = _pass(store, rewrite=not dry_run)
        # The last pass has nothing to do: it only counts. Others may be writing meanwhile.
        for _ in range(_PASSES):
            rewritten += passed.rewritten
            if not passed.rewritten and not passed.missed:
                break
            passed = _pass(store, rewrite=True)
    newest, *old = passed.uses
    left = sum(passed.uses[mark].data for mark in old)
    retirable = [
        mark
        for mark in old
        if not (passed.uses[mark].data or passed.uses[mark].ids or passed.unknown.ids)
    ]
    document = {
        "sessions": passed.sessions,
        "rewritten": rewritten,
        "unreadable": passed.unreadable,
        "keys": [use.document(mark, newest=mark == newest) for mark, use in passed.uses.items()],
        "unknown": passed.unknown.document(_UNKNOWN, newest=False),
        "retirable": retirable,
        "dry_run": dry_run,
    }
    failed = bool(left) and not dry_run
    return Answer(
        document,
        _screen(passed, rewritten, retirable, dry_run=dry_run),
        ExitCode.FAILED if failed else ExitCode.OK,
    )


def _pass(store: BaseSession, *, rewrite: bool) -> Pass:
    codec = store.codec
    found = Pass({mark: Use() for mark in codec.key_marks})
    seen: set[int] = set()
    with progress("Encrypting anew" if rewrite else "Counting") as advance:
        for record in store.records():
            advance(1)
            number = int(record.handle, 16)
            if number in seen:
                continue
            seen.add(number)
            mark = codec.mark_of(record.data)
            if mark is None:
                found.unreadable += 1
                continue
            found.sessions += 1
            if rewrite and mark != codec.id_key:
                text = codec.rekeyed(record.data)
                done = text is not None and store.replace(record, text)
                found.rewritten += done
                found.missed += not done
            found.uses[mark].add(record, data=True, id_=record.id_key == mark)
            if record.id_key is None:
                found.unknown.add(record, data=False, id_=True)
            elif record.id_key != mark and record.id_key in found.uses:
                found.uses[record.id_key].add(record, data=False, id_=True)
    return found


def _later(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else max(one, other)


def _screen(passed: Pass, rewritten: int, retirable: list[str], *, dry_run: bool) -> RenderableType:
    old = list(passed.uses)[1:]
    head = Text(
        f"{plural(passed.sessions, 'session')}; "
        + ("nothing was changed." if dry_run else f"{rewritten:,} brought under the newest key."),
        "bold",
    )
    parts: list[RenderableType] = [head, Text(), _table(passed), Text()]
    if passed.unreadable:
        parts.append(
            Text(
                f"{plural(passed.unreadable, 'session')} cannot be decrypted with any of the keys, "
                "and nobody can use them: a key was retired too early, or they are forged.",
                "yellow",
            )
        )
    if not old:
        parts.append(Text("There is one key only: put a new one before it to rotate."))
    parts += [Text(_advice(passed, mark, retirable)) for mark in old]
    return Group(*parts)


def _table(passed: Pass) -> Table:
    newest = next(iter(passed.uses))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("key", no_wrap=True)
    for name in ("data", "ids"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("last ends if idle", overflow="fold")
    table.add_column("last ends for sure", overflow="fold")
    rows = {**passed.uses, **({_UNKNOWN: passed.unknown} if passed.unknown.ids else {})}
    for mark, use in rows.items():
        label = Text(mark, "bold cyan").append(" newest" if mark == newest else "", "green")
        used = use.data or use.ids
        ends = [date(use.idle_end), date(use.last_end)] if used else ["", ""]
        table.add_row(label, f"{use.data:,}", f"{use.ids:,}", *ends)
    return table


def _advice(passed: Pass, mark: str, retirable: list[str]) -> str:
    if mark in retirable:
        return f"Key {mark} can be retired: remove it from session_aes_secret."
    use = passed.uses[mark]
    if use.data:
        return (
            f"Key {mark} is still needed for data. If an application still writes under it, give "
            "it the new key first; then run jam rekey again."
        )
    ends = [one.last_end for one in (use, passed.unknown) if one.ids]
    last = None if None in ends else max(end for end in ends if end is not None)
    return (
        f"Key {mark} is still needed for ids that clients hold. An id gets under the new key when "
        "the session gets a new one by rework, as at a login. "
        + (
            "Without max_age some of these sessions may never end."
            if last is None
            else f"The last of these sessions ends on {date(last)}, or earlier if nobody uses it."
        )
    )
