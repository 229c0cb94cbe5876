"""JSONSessions: sessions in JSON files."""

import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from jam_core import (
    Change,
    JamConfigurationError,
    JamStoreMissing,
    JamStoreUnavailable,
    Move,
    SessionInfo,
    SessionOptions,
    SessionRecord,
    StorageSessions,
    check_session_key,
    hash_id,
)
from jam_json.locking import LONGEST_WAIT
from jam_json.record import DamagedRecord, as_kept, is_plain_object

if TYPE_CHECKING:
    from jam_json.directory import DirectoryLayout
    from jam_json.document import DocumentLayout


class JSONSessions(StorageSessions[str]):
    """Sessions in JSON files: one document with a journal, or a directory of files.

    Args:
        json_path: A file, which exists or ends in ".json": all sessions in one readable document
            and a journal next to it, for one host. Or a directory, which exists or has any other
            name: one file per session, for very many sessions, or several hosts on a volume.
        create: Create the file or the directory if it is missing. False: it must exist, so that
            a volume that is not mounted is an error, not an empty store.
        fsync: Make every finished write survive a power cut, not only the end of the process.
        lock_timeout: Seconds to wait for another writer.
        clock: Returns the time, in seconds since the epoch.
        **options: The options of every store, see `BaseSession`.

    Raises:
        JamConfigurationError: An option cannot be used.
        JamSessionCorrupt: A file is damaged; it was left as it is.
        JamStoreMissing: There is nothing at the path, and `create` is off.
        JamStoreUnavailable: The path cannot be read or written.
    """

    guarantees = frozenset({"durable", "shared"})

    def __init__(
        self,
        json_path: str | os.PathLike[str] = "sessions.json",
        *,
        create: bool = True,
        fsync: bool = False,
        lock_timeout: float = 10.0,
        clock: Callable[[], float] = time.time,
        **options: Unpack[SessionOptions],
    ) -> None:
        super().__init__(**options)
        if not 0 < lock_timeout <= LONGEST_WAIT:
            raise JamConfigurationError(
                f"lock_timeout must be a number of seconds above 0, at most {LONGEST_WAIT}."
            )
        self.clock = clock
        self._path = _absolute(json_path)
        self._outage = self.unavailable(OSError)
        with self._outage:
            self._is_directory = _is_directory(self._path)
            if not create and not self._path.exists():
                raise _missing(self._path)
            self._layout = self._open_layout(fsync=fsync, lock_timeout=lock_timeout)

    def insert(self, place: str, record: SessionRecord) -> bool:  # noqa: ARG002
        """Store a new session under the hash of its id."""
        kept = as_kept(record, readable=self.codec.writes_plain_json)
        with self._outage:
            return self._layout.insert([kept]) == 1

    def read(self, place: str, now: float) -> SessionRecord | None:
        """Return a live session."""
        with self._outage:
            return self._layout.read(place, now)

    def write(self, place: str, change: Change) -> bool:
        """Change a session under the writers' lock, at the time when that is held."""
        with self._outage:
            return self._layout.write(place, change, readable=self.codec.writes_plain_json)

    def move(self, place: str, new_place: str, move: Move) -> bool:  # noqa: ARG002
        """Move a session under the writers' lock, at the time when that is held."""
        with self._outage:
            return self._layout.move(place, move)

    def remove(self, place: str) -> None:
        """Remove a session, damaged or not."""
        with self._outage:
            self._layout.remove(place)

    def remove_key(self, session_key: str) -> None:
        """Remove every session of a key."""
        with self._outage:
            self._layout.remove_key(session_key)

    def remove_one(self, session_key: str, handle: str, now: float) -> bool:  # noqa: ARG002
        """Remove the live session of a key that has this handle."""
        with self._outage:
            return self._layout.remove_one(session_key, handle)

    def remove_others(self, place: str, now: float) -> int | None:  # noqa: ARG002
        """Remove the other live sessions of a live session's key."""
        with self._outage:
            return self._layout.remove_others(place)

    def of_key(self, session_key: str, now: float) -> list[SessionRecord]:
        """Return the live sessions of a key, including damaged ones."""
        with self._outage:
            return self._layout.of_key(session_key, now)

    def info_of(self, record: SessionRecord) -> SessionInfo | None:
        """Show damaged records, too."""
        is_damaged = isinstance(record, DamagedRecord)
        return self.shown(record, None) if is_damaged else super().info_of(record)

    def remove_ended(self, now: float) -> int:
        """Remove what has ended; with one document, also fold its journal into it."""
        with self._outage:
            return self._layout.remove_ended(now)

    def look(self) -> None:
        """Check that the files can be read."""
        with self._outage:
            self._layout.read(hash_id(""), self.clock())

    def records(self) -> Iterator[SessionRecord]:
        """Yield the live sessions of every key."""
        with self._outage:
            for id_hash in self._layout.hashes():
                with self.leave_out_damaged():
                    record = self._layout.read(id_hash, self.clock())
                    if record is not None:
                        yield record

    def restore(self, records: Sequence[SessionRecord]) -> int:
        """Store sessions as they are; their data may be from any serializer."""
        for record in records:
            check_session_key(record.session_key)
        now = self.clock()
        kept = [
            as_kept(
                record._replace(id_hash=self.place_of(record), session_id=None),
                readable=is_plain_object(record.data),
            )
            for record in records
            if not record.ended(now)
        ]
        with self._outage:
            return self._layout.insert(kept)

    def replace(self, record: SessionRecord, data: str) -> bool:
        """Replace a session's stored text by compare-and-set; it may be from any serializer."""
        change = Change(self.clock(), self.ttl, data, record.data, restart=False)
        with self._outage:
            return self._layout.write(self.place_of(record), change, readable=is_plain_object(data))

    def where(self, place: str) -> str:
        """Say where a session is, for errors."""
        return f"{self._path}, record {place[:12]}..."

    def diagnose(self) -> Iterator[tuple[str, str, str]]:
        """Report how the sessions are kept, and whether others have access to them."""
        yield "layout", f"A {'directory' if self._is_directory else 'document'}, {self._path}.", ""
        path = self._path / "sessions" if self._is_directory else self._path
        with self._outage:
            mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            yield (
                "open-to-others",
                f"Other users of this host have access to {path} (mode {mode:o}).",
                f"Take it away from them: chmod go= {path}.",
            )

    def close(self) -> None:
        """Fold the journal, so that the document alone has everything; close the files."""
        with self._outage:
            self._layout.close()

    def __repr__(self) -> str:
        return f"<JSONSessions in {self._path}>"

    def _open_layout(
        self, *, fsync: bool, lock_timeout: float
    ) -> "DocumentLayout | DirectoryLayout":
        # Imported here, as only one is needed: an import takes longer than opening the store.
        if self._is_directory:
            from jam_json.directory import DirectoryLayout

            return DirectoryLayout(
                self._path, fsync=fsync, lock_timeout=lock_timeout, clock=self.clock
            )
        from jam_json.document import DocumentLayout

        return DocumentLayout(
            self._path, fsync=fsync, lock_timeout=lock_timeout, clock=self.clock, logger=self.logger
        )


def _is_directory(path: Path) -> bool:
    """Tell whether a path names a directory of sessions; if it does not exist, the name decides."""
    return path.is_dir() or (not path.is_file() and path.suffix != ".json")


def _missing(path: Path) -> JamStoreMissing | JamStoreUnavailable:
    above = next(one for one in path.parents if one.exists())
    if not os.access(above, os.W_OK | os.X_OK):
        return JamStoreUnavailable(
            f"The session store {path} does not exist, and {above} cannot be "
            "written to: it belongs to another user, or the file system is read-only."
        )
    return JamStoreMissing(
        f"The session store {path} does not exist. Check that its volume is mounted and the path "
        "is right; create = true would create it."
    )


def _absolute(json_path: str | os.PathLike[str]) -> Path:
    given: object = json_path
    if not isinstance(given, str | os.PathLike) or not os.fspath(given):
        raise JamConfigurationError("json_path must be the path of a file or a directory.")
    try:
        # Resolved once: the path holds when the working directory changes, and a link stays one.
        return Path(json_path).expanduser().resolve()
    except (ValueError, RuntimeError, OSError) as error:
        raise JamConfigurationError(f"json_path is not a usable path: {error}.") from error
