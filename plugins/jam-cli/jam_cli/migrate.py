"""`jam migrate`: live sessions from one store, or configuration, to another."""

import hashlib
import json
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jam_cli.answers import Answer
from jam_cli.exits import ExitCode
from jam_cli.parameters import json_flag, quiet_flag
from jam_cli.progress import progress
from jam_cli.sessions import is_lost, opened
from jam_core import (
    BaseSession,
    JamConfigurationError,
    JamSessionCorrupt,
    JamSessionDataError,
    JamSessionUnsupported,
    SessionRecord,
    hash_id,
    pack_ttl,
)
from jam_core.hosting import RECORDS

_BATCH = 500
_DIGEST_BYTES = 8
_SCRATCH_LIFE = 300  # seconds


@dataclass
class Outcome:
    """The result of a migration, in sessions.

    Attributes:
        found: Live sessions at the source that can be read.
        stored: Stored at the target by this run.
        unreadable: Cannot be decoded at the source, or have an id that opens nothing: left out.
        ended: Expired meanwhile.
        verified: At the target exactly as at the source.
        different: At the target with other data or another end: there before this run.
        missing: Not at the target.
        others: At the target, but not at the source.
        removed: Ended at the target, since they are missing or different at the source.
        changed_since: Changed at the source after they were read.
        new_since: New at the source since then.
        ended_since: Ended at the source since, but live at the target.
        digests: Digests of the sessions as they were read, and as they are at the target.
    """

    found: int = 0
    stored: int = 0
    unreadable: int = 0
    ended: int = 0
    verified: int = 0
    different: int = 0
    missing: int = 0
    others: int = 0
    removed: int = 0
    changed_since: int = 0
    new_since: int = 0
    ended_since: int = 0
    digests: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether everything at the source is at the target, unchanged."""
        return not (
            self.unreadable
            or self.different
            or self.missing
            or self.changed_since
            or self.new_since
            or self.ended_since
        )


@dataclass(frozen=True)
class Trace:
    """What is remembered about a session that was read.

    Attributes:
        fingerprint: A digest of its key, data, end, deadline and own ttl.
        expires_at: When it ends.
    """

    fingerprint: bytes
    expires_at: float | None


@click.command("migrate")
@click.option("--from", "source", metavar="FILE", required=True, help="The present configuration.")
@click.option("--to", "target", metavar="FILE", required=True, help="The future one.")
@click.option("--from-pointer", metavar="TABLE", default="jam", show_default=True)
@click.option("--to-pointer", metavar="TABLE", default="jam", show_default=True)
@click.option(
    "--mirror",
    is_flag=True,
    help="End sessions at the target that the source lacks, and replace those that differ.",
)
@click.option("--dry-run", is_flag=True, help="Check whether it can be done, and do nothing.")
@quiet_flag
@json_flag
def command(
    *, source: str, target: str, from_pointer: str, to_pointer: str, mirror: bool, dry_run: bool
) -> Answer:
    """Copy the live sessions of one store to another, so that their ids work there.

    It changes nothing at the source and overwrites nothing at the target. If it is stopped, start
    it again, and it continues. Then it compares both sides; the exit code is 1 if they differ.

    From Redis to any store; from JSON and SQL to JSON and SQL. Encrypted sessions stay encrypted,
    and plain ones stay plain. From JSON or SQL to Redis, sessions move while they are used:
    session_type = "moving".
    """
    if (Path(source).resolve(), from_pointer) == (Path(target).resolve(), to_pointer):
        raise _same_place("--from and --to are the same configuration.")
    with ExitStack() as stack:
        old = stack.enter_context(opened(source, from_pointer)).store
        new = stack.enter_context(opened(target, to_pointer)).store
        _check_pair(old, new)
        if not dry_run:
            _check_that_places_differ(old, new)
        migration = Migration(old, new)
        migration.copy(dry_run=dry_run)
        if mirror and not migration.outcome.found:
            # A typo in the source would log everybody out.
            raise JamConfigurationError(
                f"{source} has no live session: --mirror would end every session at the target. "
                "Check that it is the right source; nothing was changed."
            )
        migration.compare(mirror=mirror and not dry_run)
        migration.look_back()
    outcome = migration.outcome
    document = {
        **{name: value for name, value in vars(outcome).items() if name != "digests"},
        "digest_source": outcome.digests[0],
        "digest_target": outcome.digests[1],
        "complete": outcome.complete,
        "dry_run": dry_run,
    }
    done = outcome.complete or (dry_run and not outcome.unreadable)
    return Answer(
        document,
        _screen(outcome, dry_run=dry_run, mirror=mirror),
        ExitCode.OK if done else ExitCode.FAILED,
    )


def _check_pair(old: BaseSession, new: BaseSession) -> None:
    """Refuse what could not work.

    Raises:
        JamSessionUnsupported: A store cannot be read or written like this.
        JamConfigurationError: Ids would not work at the target.
    """
    for store in (old, new):
        if RECORDS not in store.capabilities:
            store.records()  # says what it lacks
    if new.keeps_ids and not old.keeps_ids:
        raise JamSessionUnsupported(
            f"{type(new).__name__} needs the session ids, and {type(old).__name__} keeps only "
            "their hashes: they cannot be copied. Let sessions move while they are used, with "
            'session_type = "moving".'
        )
    if new.codec.key_marks and not old.codec.key_marks:
        raise JamConfigurationError(
            "The target encrypts, the source does not: the ids that clients hold are not "
            "encrypted, and the target would treat each as forged. Migrate with "
            "is_session_crypt off, or let sessions move while they are used, with "
            'session_type = "moving".'
        )
    if old.codec.key_marks and not new.codec.key_marks:
        raise JamConfigurationError(
            "The source encrypts, the target does not: secret data would be readable, and the "
            "ids that clients hold are encrypted. Turn is_session_crypt on at the target, with the "
            "keys of the source."
        )
    lacking = [mark for mark in old.codec.key_marks if mark not in new.codec.key_marks]
    if lacking:
        raise JamConfigurationError(
            f"The target lacks keys of the source (marks: {', '.join(lacking)}): ids that clients "
            "hold may be encrypted with them. Add them to session_aes_secret of the target, after "
            "the new one if there is one."
        )


def _same_place(fault: str) -> JamConfigurationError:
    return JamConfigurationError(
        f"{fault} There is nothing to move; nothing was changed. Give --to a configuration whose "
        "store is somewhere else; for a new encryption key there is jam rekey."
    )


def _check_that_places_differ(old: BaseSession, new: BaseSession) -> None:
    """Refuse two configurations of the same place, whatever they call it.

    Only the stores know where they keep their sessions. So a scratch session at the target, which
    ends by itself if need be, must not appear at the source.
    """
    session_key = f"jam-migrate-{secrets.token_hex(16)}"
    session_id = old.codec.mint(lambda _: True, prefix=f"{session_key}:")
    scratch = SessionRecord(
        session_key=session_key,
        id_hash=hash_id(session_id),
        session_id=session_id,
        data=old.codec.encode({}),
        expires_at=time.time() + _SCRATCH_LIFE,
        id_key=old.codec.id_key,
    )
    try:
        new.restore([scratch])
        seen = old.get(session_id) is not None
    finally:
        new.clear(session_key)
    if seen:
        raise _same_place("--from and --to lead to the same sessions.")


class Migration:
    """One run.

    Args:
        old: The store to read.
        new: The store to write.

    Attributes:
        outcome: The result so far.
    """

    def __init__(self, old: BaseSession, new: BaseSession) -> None:
        self._old = old
        self._new = new
        self._read: dict[bytes, Trace] = {}
        self.outcome = Outcome()

    def copy(self, *, dry_run: bool) -> None:
        """Read the source, and store what is not at the target yet."""
        with progress("Reading" if dry_run else "Copying") as advance:
            for batch in _batches(self._readable()):
                if not dry_run:
                    self.outcome.stored += self._new.restore(batch)
                advance(len(batch))
        self.outcome.found = len(self._read)

    def compare(self, *, mirror: bool) -> None:
        """Read the target, and compare it with what was read from the source.

        Args:
            mirror: Whether to make the target the same.
        """
        to_renew: list[SessionRecord] = []
        if mirror:
            to_renew = self._end_what_differs()
        if to_renew:
            self._restore_from_source({_number(record) for record in to_renew})
        there: dict[bytes, bytes] = {}
        outcome = self.outcome
        with progress("Comparing", len(self._read)) as advance:
            for record in self._new.records():
                advance(1)
                number = _number(record)
                if number in self._read:
                    there[number] = _fingerprint(self._new, record) or b""
                else:
                    outcome.others += 1
        now = time.time()
        for number, trace in self._read.items():
            found = there.get(number)
            if found is None:
                has_ended = trace.expires_at is not None and trace.expires_at <= now
                outcome.ended += has_ended
                outcome.missing += not has_ended
            else:
                outcome.verified += found == trace.fingerprint
                outcome.different += found != trace.fingerprint
        kept = {number: self._read[number].fingerprint for number in there}
        outcome.digests = [_digest(kept), _digest(there)]

    def look_back(self) -> None:
        """Read the source once more: what has changed there since it was read?"""
        outcome = self.outcome
        left = dict(self._read)
        with progress("Looking back", len(left)) as advance:
            for record in self._old.records():
                advance(1)
                fingerprint = _fingerprint(self._old, record)
                if fingerprint is None:
                    continue
                number = _number(record)
                trace = left.pop(number, None)
                if trace is not None:
                    outcome.changed_since += trace.fingerprint != fingerprint
                else:
                    outcome.new_since += number not in self._read
        now = time.time()
        outcome.ended_since = sum(
            trace.expires_at is None or trace.expires_at > now for trace in left.values()
        )

    def _readable(self) -> Iterator[SessionRecord]:
        """Yield the sessions of the source as the target should have them, each once."""
        for record in self._old.records():
            number = _number(record)
            if number in self._read:
                continue
            moved = self._moved(record)
            if moved is None:
                self.outcome.unreadable += 1
            else:
                yield moved

    def _moved(self, record: SessionRecord) -> SessionRecord | None:
        """Note a session and return it in the target's encoding; None if that cannot be done."""
        if is_lost(self._old, record):
            return None
        try:
            data = self._old.data_of(record)
            text = None if data is None else self._new.encode_for(record, data)
        except (JamSessionCorrupt, JamSessionDataError):
            return None
        if data is None or text is None:
            return None
        self._read[_number(record)] = Trace(_fingerprint_of(record, data), record.expires_at)
        return record._replace(
            data=text,
            # Whole milliseconds, which every store can keep exactly.
            expires_at=_rounded(record.expires_at),
            deadline=_rounded(record.deadline),
        )

    def _end_what_differs(self) -> list[SessionRecord]:
        """End at the target what is missing or different at the source; return the latter."""
        to_renew = []
        for record in self._new.records():
            trace = self._read.get(_number(record))
            if trace is None or trace.fingerprint != _fingerprint(self._new, record):
                self.outcome.removed += self._new.revoke(record.session_key, record.handle)
                if trace is not None:
                    to_renew.append(record)
        return to_renew

    def _restore_from_source(self, numbers: set[bytes]) -> None:
        wanted = (record for record in self._old.records() if _number(record) in numbers)
        moved = (self._moved(record) for record in wanted)
        for batch in _batches(record for record in moved if record is not None):
            self.outcome.stored += self._new.restore(batch)


def _number(record: SessionRecord) -> bytes:
    return bytes.fromhex(record.handle)


def _rounded(moment: float | None) -> float | None:
    return None if moment is None else round(moment * 1000) / 1000


def _fingerprint(store: BaseSession, record: SessionRecord) -> bytes | None:
    """Return a digest of all that must be the same on both sides; None if it is unreadable."""
    try:
        data = store.data_of(record)
    except JamSessionCorrupt:
        return None
    return None if data is None else _fingerprint_of(record, data)


def _fingerprint_of(record: SessionRecord, data: dict[str, Any]) -> bytes:
    ends = [end and round(end * 1000) for end in (record.expires_at, record.deadline)]
    facts = [record.session_key, data, ends, pack_ttl(record.ttl)]
    text = json.dumps(facts, sort_keys=True, default=repr)
    return hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES).digest()


def _digest(fingerprints: dict[bytes, bytes]) -> str:
    whole = hashlib.blake2b(digest_size=16)
    for number in sorted(fingerprints):
        whole.update(number + fingerprints[number])
    return whole.hexdigest()


def _batches(records: Iterable[SessionRecord]) -> Iterator[list[SessionRecord]]:
    iterator = iter(records)
    while batch := list(islice(iterator, _BATCH)):
        yield batch


_LINES = (
    ("found", "live sessions at the source", ""),
    ("stored", "stored at the target by this run", ""),
    ("removed", "ended at the target, as at the source", ""),
    ("verified", "at the target exactly as at the source", "green"),
    ("ended", "expired meanwhile", ""),
    ("unreadable", "cannot be decoded, or used, at the source: left out", "red"),
    ("missing", "not at the target", "red"),
    ("different", "already at the target, with different data or expiry: left as they are", "red"),
    ("changed_since", "changed at the source since they were read", "yellow"),
    ("new_since", "new at the source since it was read", "yellow"),
    ("ended_since", "ended at the source since, but live at the target", "yellow"),
    ("others", "other sessions at the target", ""),
)


def _screen(outcome: Outcome, *, dry_run: bool, mirror: bool) -> RenderableType:
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for name, words, style in _LINES:
        number = getattr(outcome, name)
        if number or name in ("found", "stored", "verified"):
            table.add_row(Text(f"{number:,}", "bold"), Text(words, style if number else ""))
    source, target = outcome.digests
    same = "equal" if source == target else "different"
    parts: list[RenderableType] = [table, Text()]
    if dry_run:
        parts.append(Text("Nothing was changed. The migration can be done.", "bold"))
        return Group(*parts)
    parts.append(Text(f"digests: {source} at the source, {target} at the target: {same}", "dim"))
    if outcome.complete:
        parts.append(Text("Everything is at the target, and its ids work there.", "bold green"))
        if outcome.others:
            parts.append(
                Text(
                    "If the others are from an earlier run, they have since been logged out at the "
                    "source: stop the application, and run it again with --mirror.",
                    "yellow",
                )
            )
    elif mirror:
        parts.append(Text("The source has changed meanwhile: stop the application.", "bold yellow"))
    else:
        parts.append(
            Text(
                "The two differ. Stop the application, and run it again with --mirror; then start "
                "the application on the target.",
                "bold yellow",
            )
        )
    return Group(*parts)
