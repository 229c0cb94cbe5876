"""`jam rekey`: encrypt everything with the newest key."""

from dataclasses import dataclass, field
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jam_cli.answers import Answer
from jam_cli.exits import ExitCode
from jam_cli.parameters import configuration_options, json_flag, quiet_flag
from jam_cli.progress import progress
from jam_cli.sessions import date, is_lost, lost_in_words, opened, plural
from jam_core import BaseSession, JamConfigurationError, SessionRecord

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
        """Return what `--json` prints for it."""
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
    """What was found and done in one pass over the sessions.

    Attributes:
        uses: What was found under which key; the newest key first.
        unknown: Sessions whose ids are under a key that the store has not recorded.
        sessions: How many there were.
        unreadable: How many have data that no key decrypts.
        rewritten: How many were encrypted with the newest key.
        missed: How many changed or ended just before they could be.
        lost: How many have ids under a key that is not in the list: nobody can use them.
    """

    uses: dict[str, Use]
    unknown: Use = field(default_factory=Use)
    sessions: int = 0
    unreadable: int = 0
    rewritten: int = 0
    missed: int = 0
    lost: int = 0


@click.command("rekey")
@configuration_options
@click.option("--dry-run", is_flag=True, help="Count only.")
@quiet_flag
@json_flag
def command(config: str | None, pointer: str, dry_run: bool) -> Answer:
    """Encrypt the data of every session with the newest key.

    Then it says what is still under which key: an old key that nothing is under can be removed. It
    can be stopped and started again at any time, while the application runs. The exit code is 1
    if, at the end, data is still under an old key or ids are under a key that is not in the list.
    """
    with opened(config, pointer) as jam:
        store = jam.store
        if not store.codec.key_marks:
            raise JamConfigurationError(
                "is_session_crypt is off: nothing is encrypted, so there is nothing to do."
            )
        rewritten = 0
        passed = _pass(store, rewrite=not dry_run)
        # In the last pass there is nothing to do but count. Others may be writing meanwhile.
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
        "lost": passed.lost,
        "keys": [use.document(mark, newest=mark == newest) for mark, use in passed.uses.items()],
        "unknown": passed.unknown.document(_UNKNOWN, newest=False),
        "retirable": retirable,
        "dry_run": dry_run,
    }
    failed = passed.lost or (left and not dry_run)
    return Answer(
        document,
        _screen(passed, rewritten, retirable, dry_run=dry_run),
        ExitCode.FAILED if failed else ExitCode.OK,
    )


def _pass(store: BaseSession, *, rewrite: bool) -> Pass:
    codec = store.codec
    found = Pass({mark: Use() for mark in codec.key_marks})
    seen: set[int] = set()
    with progress("Encrypting" if rewrite else "Counting") as advance:
        for record in store.records():
            advance(1)
            number = int(record.handle, 16)
            if number in seen:
                continue
            seen.add(number)
            lost = is_lost(store, record)
            found.lost += lost
            mark = codec.mark_of(record.data)
            if not mark or not codec.opens(record.data, store.owner_of(record)):
                found.unreadable += 1  # or copied from another session
                continue
            found.sessions += 1
            if rewrite and not lost and mark != codec.id_key:
                text = store.rekeyed(record)
                done = text is not None and store.replace(record, text)
                found.rewritten += done
                found.missed += not done
            found.uses[mark].add(record, data=True, id_=record.id_key == mark)
            if record.id_key is None:
                found.unknown.add(record, data=False, id_=True)
            elif record.id_key != mark and not lost:
                found.uses[record.id_key].add(record, data=False, id_=True)
    return found


def _later(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else max(one, other)


def _screen(passed: Pass, rewritten: int, retirable: list[str], *, dry_run: bool) -> RenderableType:
    old = list(passed.uses)[1:]
    head = Text(
        f"{plural(passed.sessions, 'session')}; "
        + ("nothing was changed." if dry_run else f"{rewritten:,} encrypted with the newest key."),
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
    if passed.lost:
        parts.append(Text(lost_in_words(passed.lost), "red"))
    if not old:
        parts.append(Text("There is only one key: put a new one before it to rotate."))
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
        return (
            f"Nothing is under key {mark}. If it is an old one, remove it from session_aes_secret; "
            "if it is the next one, which every process must know first, leave it there."
        )
    use = passed.uses[mark]
    if use.data:
        return (
            f"Key {mark} is still needed for data. If an application still encrypts with it, give "
            "the application the new key first; then run jam rekey again."
        )
    ends = [one.last_end for one in (use, passed.unknown) if one.ids]
    last = None if None in ends else max(end for end in ends if end is not None)
    return (
        f"Key {mark} is still needed for ids that clients hold. An id is under the new key once "
        "rework has replaced it, as at a log-in. "
        + (
            "Without max_age some of these sessions may never end."
            if last is None
            else f"The last of these sessions ends on {date(last)}, or earlier if nobody uses it."
        )
    )
