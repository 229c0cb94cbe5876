"""The file layout: a document that holds every session, and a journal of what changed since.

For the path `sessions.json`: the document is `sessions.json`, one JSON object,
`{"jam_json": 1, "lineage": ..., "generation": 3, "sessions": {"<hash of the id>": <record>, ...}}`;
its lineage is random, made with the first document and kept by those that follow. The journal is
`sessions.json.journal`; writers hold a lock on `sessions.json.lock`.

Folding writes the document of the next generation and then puts an empty journal of that generation
in the journal's place. A crash in between leaves a journal whose entries the document already
contains; replaying them changes nothing.

Every process keeps the sessions in memory, and looks before each operation whether the journal is
still the same file and of the size it knows. Readers take no lock between processes.
"""

import json
import os
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import uuid4

from jam_core import (
    BaseLogger,
    JamSessionCorrupt,
    JamSessionNotFound,
    JamStoreUnavailable,
)
from jam_json.files import make_directory, read_file, replace_file
from jam_json.journal import Journal
from jam_json.locking import FileLock
from jam_json.record import Change, Record, dump_record
from jam_json.table import SessionTable

_FORMAT = 1
_SMALLEST_FOLD = 1 << 20  # bytes of journal; below, folding costs more than it saves
_STALE = -2


class DocumentLayout:
    """Sessions in one document and its journal.

    Args:
        path: The document.
        fsync: Whether a finished write has to survive a power cut.
        lock_timeout: Seconds to wait for another writer.
        clock: Returns the time, in seconds since the epoch.
        logger: Where to say what an operator should know.

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
        self._path = path
        self._journal_path = path.with_name(path.name + ".journal")
        self._fsync = fsync
        self._clock = clock
        self._logger = logger
        make_directory(path.parent, fsync=fsync)
        self._writers = FileLock(path.with_name(path.name + ".lock"), lock_timeout)
        # Guards table and journal against this process' other threads, for moments only.
        self._memory = Lock()
        self._table = SessionTable()
        self._journal: Journal | None = None
        self._fold_at = _SMALLEST_FOLD
        with self._writers:
            self._load()
        _open_layouts.add(self)

    def read(self, id_hash: str) -> Record | None:
        """Return a live session's record, or None."""
        self._look()
        record = self._table.get(id_hash)
        return None if record is None or record.expired(self._clock()) else record

    def read_text(self, id_hash: str) -> str | None:
        """Return the text of a live session's data, or None."""
        record = self.read(id_hash)
        return None if record is None else record.data

    def of_key(self, session_key: str) -> dict[str, Record | None]:
        """Return a key's live sessions by their hashes; None where a record is damaged."""
        self._look()
        with self._memory:
            found = self._table.of_key(session_key)
        return self._living(found)

    def hashes(self) -> Iterator[str]:
        """Yield the hash of every session, live or not."""
        self._look()
        with self._memory:
            found = self._table.hashes()
        yield from found

    def add(self, id_hash: str, record: Record) -> bool:
        """Store a new session; return False if the hash is taken."""
        with self._writers:
            self._catch_up(writing=True)
            if id_hash in self._table:
                return False
            self._write(put={id_hash: record})
            return True

    def add_all(self, records: Mapping[str, Record]) -> int:
        """Store the sessions whose hashes are not taken, as one entry; return how many."""
        with self._writers:
            self._catch_up(writing=True)
            free = {
                id_hash: record for id_hash, record in records.items() if id_hash not in self._table
            }
            if free:
                self._write(put=free)
            return len(free)

    def change(self, id_hash: str, change: Change) -> bool:
        """Change a live session; return False if `change` left it as it is.

        Raises:
            JamSessionNotFound: There is no such session.
        """
        with self._writers:
            record = self._live(id_hash)
            changed = change(record)
            if changed is None:
                return False
            if changed.data is record.data:
                self._write(touch={id_hash: changed.expires_at})
            else:
                self._write(put={id_hash: changed})
            return True

    def move(self, old_hash: str, new_hash: str, change: Change) -> bool:
        """Change a live session and move it to another hash; return False if that is taken.

        Raises:
            JamSessionNotFound: There is no such session.
        """
        with self._writers:
            changed = change(self._live(old_hash))
            if changed is None or new_hash in self._table:
                return False
            self._write(delete=[old_hash], put={new_hash: changed})
            return True

    def remove(self, id_hash: str) -> None:
        """Remove a session, damaged or not, if there is one."""
        with self._writers:
            self._catch_up(writing=True)
            if id_hash in self._table:
                self._write(delete=[id_hash])

    def clear(self, session_key: str) -> None:
        """Remove every session of a key."""
        with self._writers:
            self._catch_up(writing=True)
            hashes = self._table.hashes_of(session_key)
            if hashes:
                self._write(delete=hashes)

    def revoke(self, session_key: str, chosen: Callable[[str], bool]) -> bool:
        """Remove a key's session whose hash is chosen; return whether there was one."""
        with self._writers:
            self._catch_up(writing=True)
            hashes = list(filter(chosen, self._living(self._table.of_key(session_key))))
            if hashes:
                self._write(delete=hashes)
            return bool(hashes)

    def clear_others(self, id_hash: str) -> int:
        """Remove the other sessions of a live session's key; return how many.

        Raises:
            JamSessionNotFound: There is no such session.
        """
        with self._writers:
            others = self._living(self._table.of_key(self._live(id_hash).session_key))
            del others[id_hash]
            if others:
                self._write(delete=list(others))
            return len(others)

    def purge(self) -> int:
        """Remove what has expired, fold the journal, and return how many sessions that removed."""
        with self._writers:
            self._catch_up(writing=True)
            before = len(self._table)
            self._fold()
            return before - len(self._table)

    def close(self) -> None:
        """Fold the journal, so that the document alone is the whole truth; close the files."""
        if self._journal is None:
            return
        try:
            with self._writers:
                if self._journal is not None:
                    self._catch_up(writing=True)
                    if self._opened().has_entries():
                        self._fold_if_possible()
        finally:
            with self._memory:
                journal, self._journal = self._journal, None
                if journal is not None:
                    journal.close()
            self._writers.close()

    def after_fork_in_child(self) -> None:
        """Make a lock of the child's own: no thread of the parent is there to release it."""
        if self._memory.locked() and self._journal is not None:
            # A thread of the parent was at it: what is in memory may be half done.
            self._journal.inode = self._journal.generation = _STALE
        self._memory = Lock()

    def _opened(self) -> Journal:
        if self._journal is None:
            raise JamStoreUnavailable(f"The session store {self._path} is closed.")
        return self._journal

    def _look(self) -> None:
        """See what others have written, if they have."""
        journal = self._journal
        status = os.stat(self._journal_path)  # noqa: PTH116  (Path.stat is slower; a hot path)
        if journal is None or status.st_size != journal.position or status.st_ino != journal.inode:
            self._catch_up()

    def _living(self, records: Mapping[str, Record | None]) -> dict[str, Record | None]:
        """Leave out what has expired."""
        now = self._clock()
        return {
            id_hash: record
            for id_hash, record in records.items()
            if record is None or not record.expired(now)
        }

    def _live(self, id_hash: str) -> Record:
        self._catch_up(writing=True)
        record = self._table.get(id_hash)
        if record is None or record.expired(self._clock()):
            raise JamSessionNotFound
        return record

    def _catch_up(self, *, writing: bool = False) -> None:
        """Apply what others wrote since.

        Args:
            writing: Whether the writers' lock is held.
        """
        self._opened()
        if writing:
            if not self._read_on(trust=True):
                self._load()
        elif not self._read_on(trust=False):
            with self._writers:
                self._catch_up(writing=True)

    def _read_on(self, *, trust: bool) -> bool:
        """Apply the journal's new entries, and go on with its successor.

        Args:
            trust: Whether a damaged line is one: without the writers' lock it may as well be an
                interrupted write that is being cut off.

        Returns:
            False if the entries do not lead on to what is on disk now.
        """
        with self._memory:
            journal = self._journal
            try:
                if journal is None or journal.generation == _STALE:
                    return False
                _replay(journal, self._table)
                status = os.stat(self._journal_path)  # noqa: PTH116
                if status.st_ino == journal.inode:
                    # A journal that shrank was restored from elsewhere: what we know is void.
                    return status.st_size >= journal.position
                # Replaced, so nothing is appended to it any more: one last look.
                _replay(journal, self._table)
                successor = Journal(self._journal_path)
                expected = (journal.lineage, journal.generation + 1)
                if (successor.lineage, successor.generation) != expected:
                    return False
                if successor.folded_at is not None:
                    self._table.remove_expired(successor.folded_at)
                self._adopt(successor)
                _replay(successor, self._table)
            except FileNotFoundError:
                return False
            except JamSessionCorrupt:
                if trust:
                    raise
                return False
            return True

    def _adopt(self, journal: Journal) -> None:
        if self._journal is not None:
            self._journal.close()
        self._journal = journal
        self._fold_at = max(_SMALLEST_FOLD, 2 * self._path.stat().st_size)

    def _load(self) -> None:
        """Read document and journal; make them where there are none. Needs the writers' lock."""
        document = _read_document(self._path)
        if document is None and self._journal is not None:
            raise JamStoreUnavailable(
                f"{self._path} has disappeared. Bring it back, or restart to begin anew."
            )
        table = SessionTable()
        for id_hash, value in (document or {}).get("sessions", {}).items():
            table.put_loaded(id_hash, value, f"{self._path}, record {id_hash[:12]}...")
        lineage = document["lineage"] if document else uuid4().hex
        generation = document["generation"] if document else 0
        try:
            journal: Journal | None = Journal(self._journal_path)
        except FileNotFoundError:
            journal = None
            if self._journal is not None:
                raise JamStoreUnavailable(
                    f"{self._journal_path} has disappeared. Bring it back, or restart to go on "
                    "without the changes that it held."
                ) from None
        if journal is not None:
            self._check_that_it_continues(journal, document)
        if document is None:
            self._write_document(table, lineage, generation)
        if journal is None:
            journal = Journal.begin(self._journal_path, lineage, generation, None)
        _replay(journal, table)
        with self._memory:
            self._table = table
            self._adopt(journal)

    def _check_that_it_continues(self, journal: Journal, document: dict[str, Any] | None) -> None:
        # The document may be one ahead: a fold was interrupted between the two files.
        if (
            document is None
            or document["lineage"] != journal.lineage
            or document["generation"] - journal.generation not in (0, 1)
        ):
            fault = "is missing" if document is None else "is of another time"
            raise JamSessionCorrupt(
                f"{self._journal_path} belongs to another state of {self._path}, which {fault}. "
                "Restore both from one backup, or move the journal away to go on with the document "
                "as it stands."
            )

    def _write(
        self,
        *,
        delete: Sequence[str] = (),
        put: Mapping[str, Record] | None = None,
        touch: Mapping[str, float | None] | None = None,
    ) -> None:
        """Write one entry to the journal, then change what is in memory."""
        journal = self._opened()
        entry = _dump_entry(delete, put or {}, touch or {})
        with self._memory:
            size = journal.append(entry, fsync=self._fsync)
            for id_hash in delete:
                self._table.remove(id_hash)
            for id_hash, record in (put or {}).items():
                self._table.put(id_hash, record)
            for id_hash, expires_at in (touch or {}).items():
                self._table.touch(id_hash, expires_at)
            # Last: at this position a reader may trust the table without the lock.
            journal.position += size
        if journal.position > self._fold_at:
            self._fold_if_possible()

    def _fold_if_possible(self) -> None:
        """Fold, but let no failure of it spoil the operation that is already in the journal."""
        try:
            self._fold()
        except OSError as error:
            self._fold_at += _SMALLEST_FOLD
            self._logger.warning(
                "%s cannot be rewritten (%s); its journal goes on growing.",
                self._path,
                error.strerror,
            )

    def _fold(self) -> None:
        """Write all into the document and begin a new journal. Needs the writers' lock."""
        journal = self._opened()
        now = self._clock()
        with self._memory:
            self._table.remove_expired(now)
        generation = journal.generation + 1
        self._write_document(self._table, journal.lineage, generation)
        with self._memory:
            self._adopt(Journal.begin(self._journal_path, journal.lineage, generation, now))

    def _write_document(self, table: SessionTable, lineage: str, generation: int) -> None:
        # Always to the disk: a power cut must not take sessions that were safe before the fold.
        replace_file(
            str(self._path),
            f"{self._path}.tmp",
            _dump_document(table, lineage, generation),
            fsync=True,
        )


_open_layouts: "weakref.WeakSet[DocumentLayout]" = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for layout in list(_open_layouts):
        layout.after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)


def _replay(journal: Journal, table: SessionTable) -> None:
    """Apply to the table what the journal holds beyond its position."""
    for where, entry in journal.read_on():
        for id_hash in entry.get("del", ()):
            table.remove(id_hash)
        for id_hash, value in entry.get("put", {}).items():
            table.put_loaded(id_hash, value, where)
        for id_hash, expires_at in entry.get("touch", {}).items():
            table.touch(id_hash, expires_at)


def _dump_entry(
    delete: Sequence[str],
    put: Mapping[str, Record],
    touch: Mapping[str, float | None],
) -> str:
    parts = []
    if delete:
        parts.append(f'"del": {json.dumps(delete)}')
    if put:
        records = (f'"{id_hash}": {dump_record(put[id_hash])}' for id_hash in put)
        parts.append(f'"put": {{{", ".join(records)}}}')
    if touch:
        parts.append(f'"touch": {json.dumps(touch)}')
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
    """Return the document, or None if there is none or an empty file.

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
