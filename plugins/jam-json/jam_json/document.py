"""The file layout: a document that holds every session, and a journal of what changed since.

For the path `sessions.json`: the document is `sessions.json`, one JSON object,
`{"jam_json": 1, "lineage": ..., "generation": 3, "sessions": {"<hash of the id>": <record>, ...}}`;
its lineage is random, made with the first document and kept by those that follow. The journal is
`sessions.json.journal`; writers hold a lock on `sessions.json.lock`.

Folding writes the document of the next generation and then puts an empty journal of that generation
in the journal's place. A crash in between leaves a journal whose entries the document already
contains; replaying them changes nothing.

Every process keeps the sessions in memory, and checks before each operation whether the journal is
still the same file and has the size it knows. Readers take no lock between processes.

Either memory matches the journal's position, or the position is in doubt: code that changes memory
puts it in doubt first and sets it right last. An interrupt at any line, or a fork in the middle of
a change, leaves it in doubt; the next operation then reads everything again.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import wraps
from pathlib import Path
from threading import Lock
from typing import Any, Concatenate, ParamSpec, TypeVar
from uuid import uuid4

from jam_core import (
    BaseLogger,
    Change,
    JamConfigurationError,
    JamSessionCorrupt,
    JamStoreUnavailable,
    Move,
    PerProcess,
    SessionRecord,
)
from jam_json.files import close_file, is_mounted, make_directory, read_file, replace_file
from jam_json.journal import IN_DOUBT, Journal
from jam_json.locking import FileLock
from jam_json.record import as_kept, dump_record, dump_time
from jam_json.table import SessionTable

_FORMAT = 1
_SMALLEST_FOLD = 1 << 20  # bytes of journal; below, folding costs more than it saves

_P = ParamSpec("_P")
_T = TypeVar("_T")


def _writing(
    operation: Callable[Concatenate["DocumentLayout", _P], _T],
) -> Callable[Concatenate["DocumentLayout", _P], _T]:
    """Let an operation begin once it has the writers' lock and knows what others have written."""

    def caught_up(layout: "DocumentLayout", *args: _P.args, **kwargs: _P.kwargs) -> _T:
        if not layout._is_current():
            layout._catch_up(writing=True)
        return operation(layout, *args, **kwargs)

    @wraps(operation)
    def in_turn(layout: "DocumentLayout", /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return layout._writers.run(caught_up, layout, *args, **kwargs)

    return in_turn


class DocumentLayout:
    """Sessions in one document and its journal.

    Args:
        path: The document.
        fsync: Whether a finished write must survive a power cut.
        lock_timeout: Seconds to wait for another writer.
        clock: Returns the time, in seconds since the epoch.
        logger: Where to log what an operator should know.

    Raises:
        JamSessionCorrupt: A file is damaged, or document and journal do not belong together.
    """

    def __init__(
        self,
        path: Path,
        *,
        fsync: bool,
        lock_timeout: float,
        clock: Callable[[], float],
        logger: BaseLogger,
    ) -> None:
        self._files: list[int] = []  # the journal's; for a moment also its successor's
        self._path = path
        self._journal_path = f"{path}.journal"
        self._fsync = fsync
        self._clock = clock
        self._logger = logger
        make_directory(path.parent, fsync=fsync)
        for file in (path, Path(self._journal_path)):
            if is_mounted(file):
                raise JamConfigurationError(
                    f"{file} is mounted as a single file, as with docker -v "
                    f"./sessions.json:{file}: it "
                    "cannot be replaced, and its journal would not be on the same volume, so "
                    "a new container would know neither the last sessions nor the last log-outs. "
                    "Mount a directory, and let json_path name a file in it."
                )
        self._writers = FileLock(path.with_name(path.name + ".lock"), lock_timeout)
        # Guards table and journal against this process's other threads, only for moments.
        self._memory = PerProcess(Lock)
        self._table = SessionTable()
        self._journal: Journal | None = None
        self._fold_at = _SMALLEST_FOLD
        self._writers.run(self._load)

    def __del__(self) -> None:
        with suppress(AttributeError):  # a time limit struck before __init__ began
            self._close_files()

    def read(self, id_hash: str, now: float) -> SessionRecord | None:
        """Return a live session's record, or None."""
        self._look()
        record = self._table.get(id_hash)
        return None if record is None or record.ended(now) else record

    def of_key(self, session_key: str, now: float) -> list[SessionRecord]:
        """Return a key's live sessions, including damaged ones."""
        self._look()
        with self._memory():
            found = self._table.of_key(session_key)
        return [record for record in found if not record.ended(now)]

    def hashes(self) -> Iterator[str]:
        """Yield the hash of every session, live or not."""
        self._look()
        with self._memory():
            found = self._table.hashes()
        yield from found

    @_writing
    def insert(self, records: Sequence[SessionRecord]) -> int:
        """Store the sessions whose hashes are not taken, as one entry; return how many."""
        free = {one.id_hash: one for one in records if one.id_hash not in self._table}
        if free:
            self._write(put=list(free.values()))
        return len(free)

    @_writing
    def write(self, id_hash: str, change: Change, *, readable: bool) -> bool:
        """Change a session; return whether it was live and had to be changed."""
        changed = change.of(self._table.get(id_hash), self._clock())
        if changed is None:
            return False
        if change.data is None:
            self._write(touch={id_hash: changed.expires_at})
        else:
            self._write(put=[as_kept(changed, readable=readable)])
        return True

    @_writing
    def move(self, id_hash: str, move: Move) -> bool:
        """Move a session; return whether it was live and the hash of the new id was free."""
        moved = move.of(self._table.get(id_hash), self._clock())
        if moved is None or moved.id_hash in self._table:
            return False
        self._write(delete=[id_hash], put=[moved])
        return True

    @_writing
    def remove(self, id_hash: str) -> None:
        """Remove a session, damaged or not, if there is one."""
        if id_hash in self._table:
            self._write(delete=[id_hash])

    @_writing
    def remove_key(self, session_key: str) -> None:
        """Remove every session of a key."""
        hashes = self._table.hashes_of(session_key)
        if hashes:
            self._write(delete=hashes)

    @_writing
    def remove_one(self, session_key: str, handle: str) -> bool:
        """Remove a key's live session that has a handle; return whether there was one."""
        now = self._clock()
        found = self._table.of_key(session_key)
        hashes = [one.id_hash for one in found if one.handle == handle and not one.ended(now)]
        if hashes:
            self._write(delete=hashes)
        return bool(hashes)

    @_writing
    def remove_others(self, id_hash: str) -> int | None:
        """Remove the other live sessions of a live session's key; None if that is not live."""
        record, now = self._table.get(id_hash), self._clock()
        if record is None or record.ended(now):
            return None
        found = self._table.of_key(record.session_key)
        others = [one.id_hash for one in found if one.id_hash != id_hash and not one.ended(now)]
        if others:
            self._write(delete=others)
        return len(others)

    @_writing
    def remove_ended(self, now: float) -> int:
        """Remove what has ended, fold the journal, and return how many sessions were removed."""
        before = len(self._table)
        self._fold(now)
        return before - len(self._table)

    def close(self) -> None:
        """Fold the journal, so that the document alone has everything; close the files."""
        if self._journal is None:
            return
        try:
            self._writers.run(self._fold_what_is_left)
        finally:
            with self._memory():
                self._journal = None
                self._close_files()
            self._writers.close()

    def _fold_what_is_left(self) -> None:
        if self._journal is not None:  # no other thread has closed the store meanwhile
            self._catch_up(writing=True)
            if self._opened().has_entries():
                self._fold_if_possible()

    def _opened(self) -> Journal:
        if self._journal is None:
            raise JamStoreUnavailable(f"The session store {self._path} is closed.")
        return self._journal

    def _look(self) -> None:
        """Take in what others have written, if anything."""
        journal = self._journal
        status = os.stat(self._journal_path)  # noqa: PTH116  (Path.stat is slower; a hot path)
        if journal is None or status.st_size != journal.position or status.st_ino != journal.inode:
            self._catch_up()

    def _is_current(self) -> bool:
        """Tell whether nobody has written since; under the writers' lock, nobody will."""
        journal = self._journal
        try:
            status = os.stat(self._journal_path)  # noqa: PTH116  (a hot path)
        except FileNotFoundError:
            return False
        return (
            journal is not None
            and status.st_size == journal.position
            and status.st_ino == journal.inode
        )

    def _catch_up(self, *, writing: bool = False) -> None:
        """Apply what others have written since.

        Args:
            writing: Whether the writers' lock is held.
        """
        self._opened()
        if writing:
            if not self._read_on(trust=True):
                self._load()
        elif not self._read_on(trust=False):
            self._writers.run(self._catch_up, writing=True)

    def _read_on(self, *, trust: bool) -> bool:
        """Apply the journal's new entries, and go on with its successor.

        Args:
            trust: Whether a line that looks damaged is: without the writers' lock it may just as
                well be an interrupted write that is being cut off.

        Returns:
            False if the entries do not lead to what is on disk now.
        """
        with self._memory():
            journal = self._journal
            try:
                if journal is None or journal.position == IN_DOUBT:
                    return False
                journal.read_on(self._table.apply)
                status = os.stat(self._journal_path)  # noqa: PTH116
                if status.st_ino == journal.inode:
                    # A journal that shrank was restored from elsewhere: what we know is worthless.
                    return status.st_size >= journal.position
                # It was replaced, so nothing more is appended to it: read it one last time.
                journal.read_on(self._table.apply)
                successor = Journal(self._journal_path, self._files)
                expected = (journal.lineage, journal.generation + 1)
                if (successor.lineage, successor.generation) != expected:
                    return False
                journal.position = IN_DOUBT
                if successor.folded_at is not None:
                    self._table.remove_expired(successor.folded_at)
                self._adopt(successor)
                successor.read_on(self._table.apply)
            except FileNotFoundError:
                return False
            except JamSessionCorrupt:
                if trust:
                    raise
                return False
            return True

    def _adopt(self, journal: Journal) -> None:
        """Go on with a journal whose position matches what is in memory."""
        self._fold_at = _SMALLEST_FOLD
        with suppress(FileNotFoundError):  # the next fold writes it again
            self._fold_at = max(_SMALLEST_FOLD, 2 * self._path.stat().st_size)
        self._journal = journal
        self._close_files(keep=journal.file)

    def _close_files(self, keep: int | None = None) -> None:
        """Close journals that are no longer used, and those that an interrupt left open."""
        for index in reversed(range(len(self._files))):
            if self._files[index] != keep:
                close_file(self._files, index)

    def _load(self) -> None:
        """Read document and journal; create what is missing. Needs the writers' lock."""
        document = _read_document(self._path)
        if document is None and self._journal is not None:
            raise JamStoreUnavailable(
                f"{self._path} has disappeared. Restore it, or restart to begin again."
            )
        table = SessionTable()
        for id_hash, value in (document or {}).get("sessions", {}).items():
            table.put_loaded(id_hash, value, f"{self._path}, record {id_hash[:12]}...")
        lineage = document["lineage"] if document else uuid4().hex
        generation = document["generation"] if document else 0
        try:
            journal: Journal | None = Journal(self._journal_path, self._files)
        except FileNotFoundError:
            journal = None
            if self._journal is not None:
                raise JamStoreUnavailable(
                    f"{self._journal_path} has disappeared. Restore it, or restart to go on "
                    "without the changes that it held."
                ) from None
        if journal is not None:
            self._check_that_it_continues(journal, document)
        if document is None:
            self._write_document(table, lineage, generation)
        if journal is None:
            journal = Journal.begin(self._journal_path, self._files, lineage, generation, None)
        journal.read_on(table.apply)
        with self._memory():
            if self._journal is not None:
                self._journal.position = IN_DOUBT
            self._table = table
            self._adopt(journal)

    def _check_that_it_continues(self, journal: Journal, document: dict[str, Any] | None) -> None:
        # The document may be one ahead: a fold was interrupted between the two files.
        if (
            document is None
            or document["lineage"] != journal.lineage
            or document["generation"] - journal.generation not in (0, 1)
        ):
            fault = "is missing" if document is None else "is from another time"
            raise JamSessionCorrupt(
                f"{self._journal_path} belongs to another state of {self._path}, which {fault}. "
                "Restore both from one backup, or move the journal away to go on with the document "
                "as it is."
            )

    def _write(
        self,
        *,
        delete: Sequence[str] = (),
        put: Sequence[SessionRecord] = (),
        touch: Mapping[str, float | None] | None = None,
    ) -> None:
        """Write one entry to the journal, then change what is in memory."""
        journal = self._opened()
        entry = _dump_entry(delete, put, touch or {})
        with self._memory():
            end = journal.append(entry, fsync=self._fsync)
            for id_hash in delete:
                self._table.remove(id_hash)
            for record in put:
                self._table.put(record)
            for id_hash, expires_at in (touch or {}).items():
                self._table.touch(id_hash, expires_at)
            # Last: once the position is set, a reader may trust the table without the lock.
            journal.position = end
        if journal.position > self._fold_at:
            self._fold_if_possible()

    def _fold_if_possible(self) -> None:
        """Fold, but let no failure spoil the operation, which is already in the journal."""
        try:
            self._fold(self._clock())
        except OSError as error:
            self._fold_at += _SMALLEST_FOLD
            self._logger.warning(
                "%s cannot be rewritten (%s); its journal keeps growing.",
                self._path,
                error.strerror,
            )

    def _fold(self, now: float) -> None:
        """Write everything to the document and begin a new journal. Needs the writers' lock."""
        journal = self._opened()
        with self._memory():
            position, journal.position = journal.position, IN_DOUBT
            self._table.remove_expired(now)
            journal.position = position
        generation = journal.generation + 1
        self._write_document(self._table, journal.lineage, generation)
        with self._memory():
            self._adopt(
                Journal.begin(self._journal_path, self._files, journal.lineage, generation, now)
            )

    def _write_document(self, table: SessionTable, lineage: str, generation: int) -> None:
        # Always to the disk: a power cut must not take sessions that were safe before the fold.
        replace_file(
            str(self._path),
            f"{self._path}.tmp",
            _dump_document(table, lineage, generation),
            fsync=True,
        )


def _dump_entry(
    delete: Sequence[str],
    put: Sequence[SessionRecord],
    touch: Mapping[str, float | None],
) -> str:
    parts = []
    if delete:
        parts.append(f'"del": {json.dumps(delete)}')
    if put:
        records = [f'"{record.id_hash}": {dump_record(record)}' for record in put]
        parts.append(f'"put": {{{", ".join(records)}}}')
    if touch:
        times = [f'"{id_hash}": {dump_time(expires_at)}' for id_hash, expires_at in touch.items()]
        parts.append(f'"touch": {{{", ".join(times)}}}')
    return f"{{{', '.join(parts)}}}"


def _dump_document(table: SessionTable, lineage: str, generation: int) -> Iterator[str]:
    yield f'{{\n  "jam_json": {_FORMAT},\n  "lineage": {json.dumps(lineage)},\n'
    yield f'  "generation": {generation},\n  "sessions": {{'
    separator = "\n"
    for id_hash, record in table.dump():
        yield f"{separator}    {json.dumps(id_hash)}: {record}"
        separator = ",\n"
    yield "\n  }\n}\n"


def _read_document(path: Path) -> dict[str, Any] | None:
    """Return the document, or None if there is none or the file is empty.

    Raises:
        JamSessionCorrupt: It is damaged, or something else.
    """
    content = read_file(path)
    if not content or content.isspace():
        return None
    try:
        document = json.loads(content)
    except json.JSONDecodeError as error:
        raise JamSessionCorrupt(
            f"{path}, line {error.lineno}, column {error.colno}: damaged, not valid JSON. "
            "Repair it or restore it from a backup; it was left as it is."
        ) from None
    except (ValueError, RecursionError) as error:
        raise JamSessionCorrupt(
            f"{path} is damaged ({type(error).__name__}). "
            "Restore it from a backup; it was left as it is."
        ) from None
    match document:
        case {"jam_json": 1, "lineage": str(), "generation": int(), "sessions": dict()}:
            result: dict[str, Any] = document
            return result
    raise JamSessionCorrupt(
        f"{path} is JSON, but not a session document of Jam. "
        "Choose another json_path; it was left as it is."
    )
