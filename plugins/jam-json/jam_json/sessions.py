"""JSONSessions: sessions in JSON files."""

import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Unpack

from jam_core import (
    BaseSession,
    JamConfigurationError,
    JamSessionCorrupt,
    JamSessionNotFound,
    JamStoreUnavailable,
    SessionInfo,
    SessionOptions,
    SessionRecord,
    check_session_key,
    handle_of_hash,
    hash_id,
)
from jam_json.locking import LONGEST_WAIT
from jam_json.record import Change, Record, is_plain_object


class Layout(Protocol):
    """What both layouts do; `DocumentLayout` and `DirectoryLayout` describe it."""

    def read(self, id_hash: str) -> Record | None: ...  # noqa: D102
    def read_text(self, id_hash: str) -> str | None: ...  # noqa: D102
    def of_key(self, session_key: str) -> dict[str, Record | None]: ...  # noqa: D102
    def hashes(self) -> Iterator[str]: ...  # noqa: D102
    def add(self, id_hash: str, record: Record) -> bool: ...  # noqa: D102
    def add_all(self, records: Mapping[str, Record]) -> int: ...  # noqa: D102
    def change(self, id_hash: str, change: Change) -> bool: ...  # noqa: D102
    def move(self, old_hash: str, new_hash: str, change: Change) -> bool: ...  # noqa: D102
    def remove(self, id_hash: str) -> None: ...  # noqa: D102
    def clear(self, session_key: str) -> None: ...  # noqa: D102
    def revoke(self, session_key: str, chosen: Callable[[str], bool]) -> bool: ...  # noqa: D102
    def clear_others(self, id_hash: str) -> int: ...  # noqa: D102
    def purge(self) -> int: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class JSONSessions(BaseSession):
    """Sessions in JSON files: one document with a journal, or a directory of files.

    Args:
        json_path: A file, which exists or ends in ".json": all sessions in one readable document
            and a journal beside it, for one host. Or a directory, which exists or has another
            name: one file per session, for very many sessions, or several hosts on a volume.
        fsync: Make every finished write survive a power cut, not only the death of the process.
        lock_timeout: Seconds to wait for another writer.
        clock: Returns the time, in seconds since the epoch.
        **options: The options of every store, see `BaseSession`.

    Raises:
        JamConfigurationError: An option cannot be used.
        JamSessionCorrupt: A file is damaged; it was left as it is.
        JamStoreUnavailable: The path cannot be read or written.
    """

    guarantees = frozenset({"durable", "shared"})

    def __init__(
        self,
        json_path: str | os.PathLike[str] = "sessions.json",
        *,
        fsync: bool = False,
        lock_timeout: float = 10.0,
        clock: Callable[[], float] = time.time,
        **options: Unpack[SessionOptions],
    ) -> None:
        super().__init__(**options)
        if not 0 < lock_timeout <= LONGEST_WAIT:
            raise JamConfigurationError(
                f"lock_timeout must be a number of seconds above 0, {LONGEST_WAIT} at most."
            )
        self._clock = clock
        self._path = _absolute(json_path)
        self._outage = _Outage(self._path)
        with self._outage:
            self._is_directory = _is_directory(self._path)
            self._layout = self._open_layout(fsync=fsync, lock_timeout=lock_timeout)

    def create(self, session_key: str, data: dict[str, Any]) -> str:
        """Store a new session and return its id."""
        check_session_key(session_key)
        text = self.codec.encode(data)
        now = self._clock()
        deadline = self.deadline(now)
        record = Record(
            session_key,
            text,
            created_at=now,
            expires_at=self.expiry(now, deadline),
            deadline=deadline,
            readable=self.codec.writes_plain_json,
            id_key=self.codec.id_key,
        )
        with self._outage:
            return self.codec.mint(lambda new_id: self._layout.add(hash_id(new_id), record))

    def get(self, session_id: str) -> dict[str, Any] | None:
        """Return the session's data, or None if there is no such session."""
        id_hash = self.codec.lookup_hash(session_id)
        if id_hash is None:
            return None
        with self._outage:
            text = self._layout.read_text(id_hash)
        return None if text is None else self.codec.decode(text, self._where(id_hash))

    def update(self, session_id: str, data: dict[str, Any]) -> None:
        """Replace the session's data and restart its ttl."""
        text = self.codec.encode(data)
        id_hash = self._known_hash(session_id)
        with self._outage:
            self._layout.change(id_hash, lambda record: self._restarted(record, text))

    def delete(self, session_id: str) -> None:
        """End the session."""
        id_hash = self.codec.lookup_hash(session_id)
        if id_hash is not None:
            with self._outage:
                self._layout.remove(id_hash)

    def clear(self, session_key: str) -> None:
        """End every session of the key."""
        check_session_key(session_key)
        with self._outage:
            self._layout.clear(session_key)

    def rework(self, session_id: str) -> str:
        """Give the session a new id and return it."""
        old_hash = self._known_hash(session_id)

        def renew(record: Record) -> Record:
            return self._restarted(record)._replace(id_key=self.codec.id_key)

        with self._outage:
            return self.codec.mint(
                lambda new_id: self._layout.move(old_hash, hash_id(new_id), renew)
            )

    def touch(self, session_id: str) -> None:
        """Restart the session's ttl."""
        id_hash = self._known_hash(session_id)
        with self._outage:
            self._layout.change(id_hash, self._restarted)

    def mutate(
        self, session_id: str, change: Callable[[dict[str, Any]], dict[str, Any] | None]
    ) -> dict[str, Any]:
        """Apply a function to the session's data by compare-and-set."""
        id_hash = self._known_hash(session_id)

        def read() -> str | None:
            with self._outage:
                record = self._layout.read(id_hash)
            return None if record is None else record.data

        def swap(old_text: str, new_text: str) -> bool:
            def restart_if_unchanged(record: Record) -> Record | None:
                return self._restarted(record, new_text) if record.data == old_text else None

            with self._outage:
                return self._layout.change(id_hash, restart_if_unchanged)

        return self.change_data(change, read, swap, self._where(id_hash))

    def purge(self) -> int:
        """Remove what has expired; with one document, also fold its journal into it."""
        with self._outage:
            return self._layout.purge()

    def ping(self) -> None:
        """Look whether the files can be read."""
        with self._outage:
            self._layout.read(hash_id(""))

    def list_sessions(self, session_key: str) -> list[SessionInfo]:
        """Return the live sessions of the key."""
        check_session_key(session_key)
        with self._outage:
            found = self._layout.of_key(session_key)
        shown = (
            SessionInfo(handle_of_hash(id_hash), None)
            if record is None
            else self.info_of(_published(id_hash, record))
            for id_hash, record in found.items()
        )
        return [info for info in shown if info is not None]

    def revoke(self, session_key: str, handle: str) -> bool:
        """End the key's session with this handle."""
        check_session_key(session_key)
        with self._outage:
            return self._layout.revoke(
                session_key, lambda id_hash: handle_of_hash(id_hash) == handle
            )

    def clear_others(self, session_id: str) -> int:
        """End every other session of this session's key."""
        id_hash = self._known_hash(session_id)
        with self._outage:
            return self._layout.clear_others(id_hash)

    def records(self) -> Iterator[SessionRecord]:
        """Yield the live sessions of every key."""
        with self._outage:
            for id_hash in self._layout.hashes():
                try:
                    record = self._layout.read(id_hash)
                except JamSessionCorrupt as damage:
                    self.logger.warning("Left out: %s", damage.message)
                    continue
                if record is not None:
                    yield _published(id_hash, record)

    def restore(self, records: Sequence[SessionRecord]) -> int:
        """Store sessions as they are."""
        now = self._clock()
        stored = {
            record.id_hash: Record(
                record.session_key,
                record.data,
                created_at=record.created_at,
                expires_at=record.expires_at,
                deadline=record.deadline,
                readable=is_plain_object(record.data),
                id_key=record.id_key,
            )
            for record in records
            if record.expires_at is None or now < record.expires_at
        }
        with self._outage:
            return self._layout.add_all(stored)

    def replace(self, record: SessionRecord, data: str) -> bool:
        """Replace a session's stored text by compare-and-set."""

        def replaced(stored: Record) -> Record | None:
            if stored.data != record.data:
                return None
            return stored._replace(data=data, readable=is_plain_object(data))

        try:
            with self._outage:
                return self._layout.change(record.id_hash, replaced)
        except JamSessionNotFound:
            return False

    def diagnose(self) -> Iterator[tuple[str, str, str]]:
        """Tell how the sessions are kept, and whether others can get at them."""
        yield "layout", f"A {'directory' if self._is_directory else 'document'}, {self._path}.", ""
        path = self._path / "sessions" if self._is_directory else self._path
        with self._outage:
            mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            yield (
                "open-to-others",
                f"Other users of this host can get at {path} (mode {mode:o}).",
                f"Take it from them: chmod go= {path}.",
            )

    def close(self) -> None:
        """Fold the journal, so that the document alone is the whole truth; close the files."""
        with self._outage:
            self._layout.close()

    def __repr__(self) -> str:
        return f"<JSONSessions in {self._path}>"

    def _open_layout(self, *, fsync: bool, lock_timeout: float) -> Layout:
        # Here, as only one of them is needed: an import takes longer than opening the store.
        if self._is_directory:
            from jam_json.directory import DirectoryLayout

            return DirectoryLayout(
                self._path,
                fsync=fsync,
                lock_timeout=lock_timeout,
                clock=self._clock,
            )
        from jam_json.document import DocumentLayout

        return DocumentLayout(
            self._path,
            fsync=fsync,
            lock_timeout=lock_timeout,
            clock=self._clock,
            logger=self.logger,
        )

    def _known_hash(self, session_id: str) -> str:
        id_hash = self.codec.lookup_hash(session_id)
        if id_hash is None:
            raise JamSessionNotFound
        return id_hash

    def _restarted(self, record: Record, text: str | None = None) -> Record:
        """Return a record with its ttl restarted, and with other data if there is any."""
        record = record._replace(expires_at=self.expiry(self._clock(), record.deadline))
        if text is None:
            return record
        return record._replace(data=text, readable=self.codec.writes_plain_json)

    def _where(self, id_hash: str) -> str:
        return f"{self._path}, record {id_hash[:12]}..."


def _published(id_hash: str, record: Record) -> SessionRecord:
    """Return a record in the form that all stores share."""
    return SessionRecord(
        session_key=record.session_key,
        id_hash=id_hash,
        data=record.data,
        created_at=record.created_at,
        expires_at=record.expires_at,
        deadline=record.deadline,
        id_key=record.id_key,
    )


class _Outage:
    """Turns the operating system's errors into JamStoreUnavailable; can be entered many times."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, OSError):
            raise JamStoreUnavailable(
                f"The session store {self._path} cannot be used: {error.strerror or error}."
            ) from error


def _is_directory(path: Path) -> bool:
    """Tell whether a path names a directory of sessions; what is absent is judged by its name."""
    return path.is_dir() or (not path.is_file() and path.suffix != ".json")


def _absolute(json_path: str | os.PathLike[str]) -> Path:
    given: object = json_path
    if not isinstance(given, str | os.PathLike) or not os.fspath(given):
        raise JamConfigurationError("json_path must be the path of a file or a directory.")
    try:
        # Resolved once: the path holds when the working directory changes, and a link stays one.
        return Path(json_path).expanduser().resolve()
    except (ValueError, RuntimeError, OSError) as error:
        raise JamConfigurationError(f"json_path is not a usable path: {error}.") from error
