"""The directory layout: one JSON file per session, nothing kept in memory.

In the directory:

* `jam.json` marks it as ours.
* `sessions/<first two of the hash>/<SHA-256 of the id>.json` is a session.
* `keys/<first two of the hash>/<SHA-256 of the session key>` lists the key's sessions, one hash a
  line; a line whose session is gone, or an incomplete one, means nothing.
* `locks/<number>.lock`: writers to the sessions of a key hold the one that the key's hash selects.
* `tmp/`: files being written; they get their names, whole, in one atomic step.

Readers take no lock. An empty session file is a name that is reserved but not yet a session.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from jam_core import (
    JamConfigurationError,
    JamSessionCorrupt,
    JamSessionNotFound,
    JamStoreUnavailable,
)
from jam_json.files import (
    give_to_owner,
    make_directory,
    read_file,
    replace_file,
    sync_directory,
    write_all,
    write_file,
)
from jam_json.locking import FileLock
from jam_json.record import Change, Record, dump_record, is_id_hash, load_record, skim_record

_T = TypeVar("_T")

_MARK = "jam.json"
_FORMAT = 1
_LOCKS = 64
_LINE = 65  # bytes of a line in a key's list: a hash and a newline
_LONG_LIST = 64  # lines: a shorter list is not worth looking through
_NEW_FILE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
_LIST_FILE = os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_LOOKS = 20
_ABANDONED_AFTER = 3600.0  # seconds: no write takes as long


class DirectoryLayout:
    """Sessions in one file each.

    Args:
        path: The directory.
        fsync: Whether a finished write has to survive a power cut.
        lock_timeout: Seconds to wait for another writer.
        clock: Returns the time, in seconds since the epoch.

    Raises:
        JamConfigurationError: The directory holds something else.
    """

    def __init__(
        self,
        path: Path,
        *,
        fsync: bool,
        lock_timeout: float,
        clock: Callable[[], float],
    ) -> None:
        self._path = path
        self._mark = path / _MARK
        self._sessions = f"{path}/sessions"
        self._keys = f"{path}/keys"
        self._temporary = f"{path}/tmp"  # noqa: S108  (ours, not the system's)
        self._fsync = fsync
        self._clock = clock
        self._closed = False
        self._make_directories(lock_timeout)
        self._locks = [
            FileLock(path / "locks" / f"{number:02}.lock", lock_timeout) for number in range(_LOCKS)
        ]

    def read(self, id_hash: str) -> Record | None:
        """Return a live session's record, or None.

        Raises:
            JamSessionCorrupt: The file is damaged.
        """
        return self._unless_ended(self._read_record(id_hash))

    def read_text(self, id_hash: str) -> str | None:
        """Return the text of a live session's data, or None; damage in the text goes unseen.

        Raises:
            JamSessionCorrupt: The file is damaged elsewhere.
        """
        record = self._unless_ended(self._skim(id_hash))
        return None if record is None else record.data

    def of_key(self, session_key: str) -> dict[str, Record | None]:
        """Return a key's live sessions by their hashes; None where a record is damaged."""
        self._check_that_it_is_there()
        # Without the lock, which is a file: a session that just gets a new id could be seen under
        # both, or none. But the list has the new id before the old one is gone, and behind it:
        # what is found twice in a row, by the same list, was there in between.
        listed, found = self._look(session_key)
        for _ in range(_LOOKS):
            formerly_listed, formerly_found = listed, found
            listed, found = self._look(session_key)
            if listed == formerly_listed and found.keys() == formerly_found.keys():
                return found
        with self._lock_of(session_key):
            return self._live_of_key(session_key)

    def hashes(self) -> Iterator[str]:
        """Yield the hash of every session, live or not."""
        self._check_that_it_is_there()
        for directory in sorted(Path(self._sessions).iterdir()):
            for path in list(directory.glob("*.json")):
                if is_id_hash(path.stem):
                    yield path.stem

    def add(self, id_hash: str, record: Record) -> bool:
        """Store a new session; return False if the hash is taken."""
        path = self._session_path(id_hash)
        with self._lock_of(record.session_key):
            self._list(id_hash, record.session_key)
            temporary = self._write_temporary(record)
            try:
                self._make(lambda: os.link(temporary, path), path)
            except FileExistsError:
                return False
            finally:
                _remove_file(temporary)
            self._sync(id_hash)
            return True

    def add_all(self, records: Mapping[str, Record]) -> int:
        """Store the sessions whose hashes are not taken, each by itself; return how many."""
        return sum(self.add(id_hash, record) for id_hash, record in records.items())

    def change(self, id_hash: str, change: Change) -> bool:
        """Change a live session; return False if `change` left it as it is.

        Raises:
            JamSessionNotFound: There is no such session.
        """
        with self._lock_of(self._key_of(id_hash)):
            changed = change(self._live(id_hash))
            if changed is None:
                return False
            self._write(id_hash, changed)
            return True

    def move(self, old_hash: str, new_hash: str, change: Change) -> bool:
        """Change a live session and move it to another hash; return False if that is taken.

        Raises:
            JamSessionNotFound: There is no such session.
        """
        session_key = self._key_of(old_hash)
        with self._lock_of(session_key):
            changed = change(self._live(old_hash))
            if changed is None or not self._reserve(new_hash):
                return False
            self._list(new_hash, session_key)
            self._write(old_hash, changed)
            os.rename(self._session_path(old_hash), self._session_path(new_hash))  # noqa: PTH104
            self._sync(old_hash, new_hash)
            return True

    def remove(self, id_hash: str) -> None:
        """Remove a session, damaged or not, if there is one.

        Also one that has ended: by the clock of another host it may live.
        """
        try:
            record = self._skim(id_hash)
        except JamSessionCorrupt:
            self._remove_session(id_hash)
            return
        if record is not None:
            with self._lock_of(record.session_key):
                self._remove_session(id_hash)

    def clear(self, session_key: str) -> None:
        """Remove every session of a key."""
        with self._lock_of(session_key):
            path = self._list_path(session_key)
            listed, sound = self._read_list(path)
            for id_hash in listed:
                if self._has(session_key, id_hash):
                    self._remove_session(id_hash)
            if not sound:
                raise JamSessionCorrupt(
                    f"A list in {self._keys} is damaged: the sessions of the key that it still "
                    "names are ended, others may live until they expire. It was left as it is."
                )
            _remove_file(path)
            self._check_that_it_is_there()

    def revoke(self, session_key: str, chosen: Callable[[str], bool]) -> bool:
        """Remove a key's session whose hash is chosen; return whether there was one."""
        with self._lock_of(session_key):
            hashes = list(filter(chosen, self._live_of_key(session_key)))
            for id_hash in hashes:
                self._remove_session(id_hash)
            self._check_that_it_is_there()
            return bool(hashes)

    def clear_others(self, id_hash: str) -> int:
        """Remove the other sessions of a live session's key; return how many.

        Raises:
            JamSessionNotFound: There is no such session.
        """
        session_key = self._key_of(id_hash)
        with self._lock_of(session_key):
            self._live(id_hash)
            others = self._live_of_key(session_key).keys() - {id_hash}
            for other in others:
                self._remove_session(other)
            return len(others)

    def purge(self) -> int:
        """Remove what has expired and what interrupted operations left; return how many sessions.

        A damaged file stays where it is, and so does any that is not ours.
        """
        self._check_that_it_is_there()
        removed = 0
        for path in Path(self._sessions).glob("*/*.json"):
            if is_id_hash(path.stem) and path.is_file():
                removed += self._remove_if_expired(path)
        for path in Path(self._keys).glob("*/*"):
            if is_id_hash(path.name):
                with self._lock_of_hash(path.name):
                    self._shorten_list(str(path))
        for path in Path(self._temporary).iterdir():
            self._remove_if_abandoned(path)
        return removed

    def close(self) -> None:
        """Close the lock files."""
        self._closed = True
        for lock in self._locks:
            lock.close()

    def _make_directories(self, lock_timeout: float) -> None:
        make_directory(self._path, fsync=self._fsync)
        others = [path.name for path in self._path.iterdir() if not _may_be_beside_us(path)]
        if others and not self._mark.exists():  # looked for last: others are made after it
            raise JamConfigurationError(
                f"json_path {self._path} is a directory that holds something else "
                f"({', '.join(sorted(others)[:3])}): choose an empty or a new one."
            )
        with FileLock(self._path / "jam.lock", lock_timeout):
            content = read_file(self._mark)
            expected = json.dumps({"jam_json_directory": _FORMAT}) + "\n"
            if content is None:
                replace_file(str(self._mark), f"{self._mark}.tmp", [expected], fsync=self._fsync)
            elif content != expected.encode():
                raise JamSessionCorrupt(
                    f"{self._mark} is damaged, or of a newer version of jam-json."
                )
            for name in ("sessions", "keys", "locks", "tmp"):
                make_directory(self._path / name, fsync=self._fsync)

    def _check_that_it_is_there(self) -> None:
        """Tell a session that is gone from a directory that is: a volume may be unmounted."""
        if not self._mark.exists():
            raise JamStoreUnavailable(
                f"{self._path} has disappeared: is its volume mounted? Bring it back, or restart."
            )

    def _session_path(self, id_hash: str) -> str:
        return f"{self._sessions}/{id_hash[:2]}/{id_hash}.json"

    def _list_path(self, session_key: str) -> str:
        key_hash = _hash_key(session_key)
        return f"{self._keys}/{key_hash[:2]}/{key_hash}"

    def _lock_of(self, session_key: str) -> FileLock:
        return self._lock_of_hash(_hash_key(session_key))

    def _lock_of_hash(self, key_hash: str) -> FileLock:
        if self._closed:
            raise JamStoreUnavailable(f"The session store {self._path} is closed.")
        return self._locks[int(key_hash[:8], 16) % _LOCKS]

    def _read_record(self, id_hash: str) -> Record | None:
        """Return a session's record, expired or not; None if there is none."""
        path = self._session_path(id_hash)
        content = self._read_file(path)
        if not content:
            return None
        try:
            value = json.loads(content.decode())
        except ValueError:
            value = None
        return load_record(value, path)

    def _skim(self, id_hash: str) -> Record | None:
        """Return a session's record, expired or not, with its data unread; None if none."""
        path = self._session_path(id_hash)
        content = self._read_file(path)
        return skim_record(content, path) if content else None

    def _read_file(self, path: str) -> bytes | None:
        if self._closed:
            raise JamStoreUnavailable(f"The session store {self._path} is closed.")
        content = read_file(path)
        if content is None:
            self._check_that_it_is_there()
        return content

    def _unless_ended(self, record: Record | None) -> Record | None:
        return None if record is None or record.expired(self._clock()) else record

    def _key_of(self, id_hash: str) -> str:
        """Return whose live session it is; its file is read anew when the key is locked."""
        record = self._unless_ended(self._skim(id_hash))
        if record is None:
            raise JamSessionNotFound
        return record.session_key

    def _live(self, id_hash: str) -> Record:
        record = self.read(id_hash)
        if record is None:
            raise JamSessionNotFound
        return record

    def _write_temporary(self, record: Record) -> str:
        temporary = f"{self._temporary}/{uuid4().hex}"
        text = dump_record(record) + "\n"
        write_file(temporary, [text], fsync=self._fsync)
        return temporary

    def _write(self, id_hash: str, record: Record) -> None:
        """Replace a session's file."""
        os.replace(self._write_temporary(record), self._session_path(id_hash))  # noqa: PTH105
        self._sync(id_hash)

    def _reserve(self, id_hash: str) -> bool:
        """Make an empty file of a session's name; return False if the name is taken."""
        path = self._session_path(id_hash)
        try:
            os.close(self._make(lambda: os.open(path, _NEW_FILE, 0o600), path))
        except FileExistsError:
            return False
        return True

    def _list(self, id_hash: str, session_key: str) -> None:
        """Add a session that is about to exist to the list of its key."""
        path = self._list_path(session_key)
        file = self._make(lambda: os.open(path, _LIST_FILE, 0o600), path)
        try:
            give_to_owner(file, beside=path)
            size = os.fstat(file).st_size
            if size % _LINE:  # an interrupted write
                os.ftruncate(file, size - size % _LINE)
            write_all(file, f"{id_hash}\n".encode())
            if self._fsync:
                os.fsync(file)
                sync_directory(Path(path).parent)  # it may be new
        finally:
            os.close(file)
        lines = size // _LINE
        if lines >= _LONG_LIST and lines & (lines - 1) == 0:  # it has doubled
            self._shorten_list(path, about_to_exist=id_hash)

    def _read_list(self, path: str) -> tuple[list[str], bool]:
        """Return the hashes that a list names, and whether all of it could be read.

        A last line that is not complete is an interrupted write, and no damage.
        """
        content = read_file(path) or b""
        complete = len(content) - len(content) % _LINE
        lines = [content[n : n + _LINE].decode("latin-1") for n in range(0, complete, _LINE)]
        listed = [line[:-1] for line in lines if line[-1] == "\n" and is_id_hash(line[:-1])]
        return listed, len(listed) == len(lines)

    def _shorten_list(self, path: str, about_to_exist: str = "") -> None:
        """Drop from a list what is gone. Needs the key's lock."""
        listed, sound = self._read_list(path)
        left = [
            id_hash
            for id_hash in listed
            if id_hash == about_to_exist or Path(self._session_path(id_hash)).exists()
        ]
        if not sound:
            return
        if not left:
            _remove_file(path)
        elif len(left) < len(listed):
            temporary = f"{self._temporary}/{uuid4().hex}"
            replace_file(path, temporary, [f"{id_hash}\n" for id_hash in left], fsync=self._fsync)

    def _make(self, make: Callable[[], _T], path: str) -> _T:
        """Make a file by `make`, after its directory where that is missing."""
        try:
            return make()
        except FileNotFoundError:
            self._check_that_it_is_there()
            make_directory(Path(path).parent, fsync=self._fsync)
            return make()

    def _remove_session(self, id_hash: str) -> None:
        _remove_file(self._session_path(id_hash))
        self._sync(id_hash)

    def _sync(self, *id_hashes: str) -> None:
        if self._fsync:
            for id_hash in id_hashes:
                sync_directory(Path(self._session_path(id_hash)).parent)

    def _live_of_key(self, session_key: str) -> dict[str, Record | None]:
        """Return a key's live sessions; None where a record is damaged. Needs the key's lock."""
        _, found = self._look(session_key)
        return found

    def _look(self, session_key: str) -> tuple[list[str], dict[str, Record | None]]:
        """Return a key's list, and what is found live by it; None where a record is damaged."""
        found: dict[str, Record | None] = {}
        now = self._clock()
        listed, _ = self._read_list(self._list_path(session_key))
        for id_hash in listed:
            try:
                record = self._read_record(id_hash)
            except JamSessionCorrupt:
                found[id_hash] = None
            else:
                if record and record.session_key == session_key and not record.expired(now):
                    found[id_hash] = record
        return listed, found

    def _has(self, session_key: str, id_hash: str) -> bool:
        """Tell whether a session that is listed under a key is the key's, or damaged."""
        try:
            record = self._read_record(id_hash)
        except JamSessionCorrupt:
            return True
        return record is None or record.session_key == session_key

    def _remove_if_expired(self, path: Path) -> bool:
        try:
            record = self._read_record(path.stem)
        except JamSessionCorrupt:
            return False
        if record is None:
            self._remove_if_abandoned(path)
            return False
        if not record.expired(self._clock()):
            return False
        with self._lock_of(record.session_key):
            record = self._read_record(path.stem)
            if record is None or not record.expired(self._clock()):
                return False
            self._remove_session(path.stem)
            return True

    def _remove_if_abandoned(self, path: Path) -> None:
        try:
            written_at = path.stat().st_mtime
        except FileNotFoundError:
            return
        if time.time() - written_at > _ABANDONED_AFTER:
            _remove_file(str(path))


def _hash_key(session_key: str) -> str:
    return sha256(session_key.encode("utf-8", "surrogatepass")).hexdigest()


def _may_be_beside_us(path: Path) -> bool:
    """Tell what a new volume, or another process that is just beginning, may have put there."""
    return path.name.startswith((".", "jam.")) or path.name == "lost+found"


def _remove_file(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108  (Path.unlink is slower; a hot path)
