"""The directory layout: one JSON file per session, nothing kept in memory.

In the directory:

* `jam.json` marks it as ours.
* `sessions/<first two of the hash>/<SHA-256 of the id>.json` is a session.
* `keys/<first two of the hash>/<SHA-256 of the session key>` lists the key's sessions, one hash per
  line; a line that is incomplete, or whose session is gone, means nothing.
* `locks/<number>.lock`: writers to the sessions of a key hold the one that the key's hash selects;
  a log-in, which changes the sessions of two keys, holds both.
* `tmp/`: files being written; once complete, they get their names in one atomic step.

Readers take no lock. An empty session file is a name that is reserved but not yet a session.
"""

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import ParamSpec, TypeVar

from jam_core import (
    Change,
    JamConfigurationError,
    JamSessionCorrupt,
    JamStoreUnavailable,
    Move,
    SessionRecord,
)
from jam_json.files import (
    NEW,
    give_to_owner,
    make_directory,
    read_file,
    replace_file,
    sync_directory,
    with_open,
    write_all,
    write_file,
)
from jam_json.locking import FileLock
from jam_json.record import (
    DamagedRecord,
    as_kept,
    dump_record,
    is_id_hash,
    read_record,
)

_P = ParamSpec("_P")
_T = TypeVar("_T")

_MARK = "jam.json"
_MARK_CONTENT = '{"jam_json_directory": 1}'
_DIRECTORIES = ("sessions", "keys", "locks", "tmp")
_LOCKS = 64
_LINE = 65  # bytes of a line in a key's list: a hash and a newline
_LONG_LIST = 64  # lines: a shorter list is not worth looking through
_LIST_FILE = os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_NOFOLLOW
# The errors of a volume that does not support hard links.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
_LOOKS = 20
_ABANDONED_AFTER = 3600.0  # seconds: no write takes that long


class DirectoryLayout:
    """Sessions in one file each.

    Args:
        path: The directory.
        fsync: Whether a finished write must survive a power cut.
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

    def read(self, id_hash: str, now: float) -> SessionRecord | None:
        """Return a live session's record, or None; damage in its data is not noticed.

        Raises:
            JamSessionCorrupt: The file is damaged elsewhere.
        """
        record = self._read_record(id_hash)
        return None if record is None or record.ended(now) else record

    def of_key(self, session_key: str, now: float) -> list[SessionRecord]:
        """Return a key's live sessions, including damaged ones."""
        self._check_that_it_is_there()
        # Reading takes no lock, as that would write a file. A session that is just getting a new id
        # could be seen under both ids, or neither. But the list has the new id before the old one
        # is gone, and after it: what is found twice in a row, with the same list, was there in
        # between.
        listed, found = self._look(session_key, now)
        for _ in range(_LOOKS):
            formerly_listed, formerly_found = listed, found
            listed, found = self._look(session_key, now)
            if listed == formerly_listed and found.keys() == formerly_found.keys():
                return list(found.values())
        return self._in_turn(session_key, self._live_of_key, session_key, now)

    def hashes(self) -> Iterator[str]:
        """Yield the hash of every session, live or not."""
        self._check_that_it_is_there()
        for path in _files_below(self._sessions):
            if path.suffix == ".json" and is_id_hash(path.stem):
                yield path.stem

    def insert(self, records: Sequence[SessionRecord]) -> int:
        """Store the sessions whose hashes are not taken, one at a time; return how many."""
        return sum(self._in_turn(one.session_key, self._insert, one) for one in records)

    def _insert(self, record: SessionRecord) -> bool:
        id_hash = record.id_hash
        self._list(id_hash, record.session_key)
        path = self._session_path(id_hash)
        temporary = self._write_temporary(record)
        try:
            self._make(lambda: os.link(temporary, path), path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if not self._reserve(id_hash):
                return False
            os.replace(temporary, path)  # noqa: PTH105
        finally:
            _remove_file(temporary)
        self._sync(id_hash)
        return True

    def write(self, id_hash: str, change: Change, *, readable: bool) -> bool:
        """Change a session; return whether it was live and had to be changed."""
        session_key = self._key_of(id_hash)
        if session_key is None:
            return False
        return self._in_turn(session_key, self._write, id_hash, change, readable)

    def _write(self, id_hash: str, change: Change, readable: bool) -> bool:
        changed = change.of(self._read_record(id_hash), self._clock())
        if changed is None:
            return False
        if change.data is not None:
            changed = as_kept(changed, readable=readable)
        self._put(id_hash, changed)
        return True

    def move(self, id_hash: str, move: Move) -> bool:
        """Move a session; return whether it was live and the hash of the new id was free."""
        session_key = self._key_of(id_hash)
        if session_key is None:
            return False
        run = partial(self._move, session_key, id_hash, move)
        new_key = session_key if move.login is None else move.login.session_key
        locks = {self._lock_of_hash(_hash_key(key)) for key in (session_key, new_key)}
        for lock in sorted(locks, key=self._locks.index):  # or two could wait for each other
            run = partial(lock.run, run)
        return run()

    def _move(self, session_key: str, id_hash: str, move: Move) -> bool:
        moved = move.of(self._read_record(id_hash), self._clock())
        if moved is None:
            return False
        if move.login is not None:
            return self._hand_over(id_hash, moved)
        if not self._reserve(moved.id_hash):
            return False
        self._list(moved.id_hash, session_key)
        self._put(id_hash, moved)
        os.rename(self._session_path(id_hash), self._session_path(moved.id_hash))  # noqa: PTH104
        # The new name first: after a power cut the session has at least one.
        self._sync(moved.id_hash, id_hash)
        return True

    def _hand_over(self, id_hash: str, moved: SessionRecord) -> bool:
        """End a session for the one that begins with a log-in.

        Under the old id it never becomes the user's. Nobody knows the new id yet, so both may exist
        for a moment: if the process is killed then, the old session stays as it was.
        """
        try:
            inserted = self._insert(moved)
            if inserted:
                self._remove_session(id_hash)
        except BaseException:
            if (
                Path(self._session_path(id_hash)).exists()
                and self._read_record(moved.id_hash) == moved
            ):
                self._remove_session(moved.id_hash)
            raise
        return inserted

    def remove(self, id_hash: str) -> None:
        """Remove a session, damaged or not, if there is one.

        Even one that has ended: by another host's clock it may still be live.
        """
        try:
            record = self._read_record(id_hash)
        except JamSessionCorrupt:
            self._remove_session(id_hash)
            return
        if record is not None:
            self._in_turn(record.session_key, self._remove_session, id_hash)

    def remove_key(self, session_key: str) -> None:
        """Remove every session of a key."""
        self._in_turn(session_key, self._remove_key, session_key)

    def _remove_key(self, session_key: str) -> None:
        path = self._list_path(session_key)
        listed, sound = self._read_list(path)
        for id_hash in listed:
            if self._has(session_key, id_hash):
                self._remove_session(id_hash)
        if not sound:
            raise JamSessionCorrupt(
                f"A list in {self._keys} is damaged: those of the key's sessions that it still "
                "names are ended, others may live until they expire. It was left as it is."
            )
        _remove_file(path)
        self._check_that_it_is_there()

    def remove_one(self, session_key: str, handle: str) -> bool:
        """Remove a key's live session that has a handle; return whether there was one."""
        return self._in_turn(session_key, self._remove_one, session_key, handle)

    def _remove_one(self, session_key: str, handle: str) -> bool:
        found = self._live_of_key(session_key, self._clock())
        hashes = [record.id_hash for record in found if record.handle == handle]
        for id_hash in hashes:
            self._remove_session(id_hash)
        self._check_that_it_is_there()
        return bool(hashes)

    def remove_others(self, id_hash: str) -> int | None:
        """Remove the other live sessions of a live session's key; None if that is not live."""
        session_key = self._key_of(id_hash)
        if session_key is None:
            return None
        return self._in_turn(session_key, self._remove_others, session_key, id_hash)

    def _remove_others(self, session_key: str, id_hash: str) -> int | None:
        now = self._clock()
        if self.read(id_hash, now) is None:
            return None
        found = self._live_of_key(session_key, now)
        others = {record.id_hash for record in found} - {id_hash}
        for other in others:
            self._remove_session(other)
        return len(others)

    def remove_ended(self, now: float) -> int:
        """Remove what has expired or interrupted operations left behind; return how many sessions.

        Damaged files stay where they are, and so do files that are not ours.
        """
        self._check_that_it_is_there()
        removed = 0
        for path in _files_below(self._sessions):
            if path.suffix == ".json" and is_id_hash(path.stem) and path.is_file():
                removed += self._remove_if_ended(path, now)
        for path in _files_below(self._keys):
            if is_id_hash(path.name):
                self._lock_of_hash(path.name).run(self._shorten_list, str(path))
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
        others = [path.name for path in self._path.iterdir() if not _may_be_next_to_us(path)]
        if others and not self._mark.exists():  # checked last: the others are made after it
            if set(_DIRECTORIES) <= set(others):
                raise JamStoreUnavailable(self._say_how_to_bring_the_mark_back())
            raise JamConfigurationError(
                f"json_path {self._path} is a directory that contains something else "
                f"({', '.join(sorted(others)[:3])}): choose an empty or a new one."
            )
        FileLock(self._path / "jam.lock", lock_timeout).run(self._mark_as_ours)

    def _mark_as_ours(self) -> None:
        content = read_file(self._mark)
        if not content:  # missing, or emptied by a power cut
            # Always synced to disk: without it, everything here is refused.
            replace_file(str(self._mark), f"{self._mark}.tmp", [_MARK_CONTENT + "\n"], fsync=True)
        elif content.strip() != _MARK_CONTENT.encode():
            raise JamSessionCorrupt(
                f"{self._mark} is damaged, or was written by a newer version of jam-json."
            )
        for name in _DIRECTORIES:
            make_directory(self._path / name, fsync=self._fsync)

    def _check_that_it_is_there(self) -> None:
        """Raise an error if the directory itself is gone: a volume may be unmounted."""
        try:
            os.stat(self._mark)  # noqa: PTH116  (Path.exists is slower; a hot path)
        except (FileNotFoundError, NotADirectoryError):
            raise JamStoreUnavailable(
                self._say_how_to_bring_the_mark_back()
                if Path(self._sessions).exists()
                else f"{self._path} has disappeared: is its volume mounted? Restore it, or restart."
            ) from None

    def _say_how_to_bring_the_mark_back(self) -> str:
        return (
            f"{self._mark} is missing, but the sessions are there: something removed it, perhaps a "
            "cleaner of temporary files, which must be kept out of this directory. To go on, put "
            f"it back: echo '{_MARK_CONTENT}' > {self._mark}"
        )

    def _session_path(self, id_hash: str) -> str:
        return f"{self._sessions}/{id_hash[:2]}/{id_hash}.json"

    def _list_path(self, session_key: str) -> str:
        key_hash = _hash_key(session_key)
        return f"{self._keys}/{key_hash[:2]}/{key_hash}"

    def _in_turn(
        self, session_key: str, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """Return what a function that changes a key's sessions returns."""
        return self._lock_of_hash(_hash_key(session_key)).run(work, *args, **kwargs)

    def _lock_of_hash(self, key_hash: str) -> FileLock:
        if self._closed:
            raise JamStoreUnavailable(f"The session store {self._path} is closed.")
        return self._locks[int(key_hash[:8], 16) % _LOCKS]

    def _read_record(self, id_hash: str) -> SessionRecord | None:
        """Return a session's record, ended or not; None if there is none."""
        path = self._session_path(id_hash)
        content = self._read_file(path)
        return read_record(id_hash, content, path) if content else None

    def _read_file(self, path: str) -> bytes | None:
        if self._closed:
            raise JamStoreUnavailable(f"The session store {self._path} is closed.")
        content = read_file(path)
        if content is None:
            self._check_that_it_is_there()
        return content

    def _key_of(self, id_hash: str) -> str | None:
        """Return whose session it is, if any; its file is read again once the key is locked."""
        record = self._read_record(id_hash)
        return None if record is None else record.session_key

    def _write_temporary(self, record: SessionRecord) -> str:
        temporary = f"{self._temporary}/{os.urandom(16).hex()}"
        text = dump_record(record) + "\n"
        write_file(temporary, [text], fsync=self._fsync)
        return temporary

    def _put(self, id_hash: str, record: SessionRecord) -> None:
        """Replace a session's file."""
        os.replace(self._write_temporary(record), self._session_path(id_hash))  # noqa: PTH105
        self._sync(id_hash)

    def _reserve(self, id_hash: str) -> bool:
        """Make an empty file with a session's name; return False if the name is taken."""
        path = self._session_path(id_hash)
        try:
            self._make(lambda: with_open(path, NEW, lambda _: None), path)
        except FileExistsError:
            return False
        return True

    def _list(self, id_hash: str, session_key: str) -> None:
        """Add a session that is about to exist to the list of its key."""
        path = self._list_path(session_key)

        def append(file: int) -> int:
            give_to_owner(file, path)
            size = os.fstat(file).st_size
            if size % _LINE:  # an interrupted write
                os.ftruncate(file, size - size % _LINE)
            write_all(file, f"{id_hash}\n".encode())
            if self._fsync:
                os.fsync(file)
                sync_directory(Path(path).parent)  # it may be new
            return size

        size = self._make(lambda: with_open(path, _LIST_FILE, append), path)
        lines = size // _LINE
        if lines >= _LONG_LIST and lines & (lines - 1) == 0:  # it has doubled
            self._shorten_list(path, about_to_exist=id_hash)

    def _read_list(self, path: str) -> tuple[list[str], bool]:
        """Return the hashes that a list names, and whether all of it could be read.

        An incomplete last line is an interrupted write, not damage.
        """
        content = read_file(path) or b""
        complete = len(content) - len(content) % _LINE
        lines = [content[n : n + _LINE].decode("latin-1") for n in range(0, complete, _LINE)]
        listed = [line[:-1] for line in lines if line[-1] == "\n" and is_id_hash(line[:-1])]
        return listed, len(listed) == len(lines)

    def _shorten_list(self, path: str, about_to_exist: str = "") -> None:
        """Drop sessions that are gone from a list. Needs the key's lock."""
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
            temporary = f"{self._temporary}/{os.urandom(16).hex()}"
            replace_file(path, temporary, [f"{id_hash}\n" for id_hash in left], fsync=self._fsync)

    def _make(self, make: Callable[[], _T], path: str) -> _T:
        """Make a file with `make`, after creating its directory if that is missing."""
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

    def _live_of_key(self, session_key: str, now: float) -> list[SessionRecord]:
        """Return a key's live sessions, including damaged ones. Needs the key's lock."""
        _, found = self._look(session_key, now)
        return list(found.values())

    def _look(self, session_key: str, now: float) -> tuple[list[str], dict[str, SessionRecord]]:
        """Return a key's list, and which of its sessions are live or damaged."""
        found: dict[str, SessionRecord] = {}
        listed, _ = self._read_list(self._list_path(session_key))
        for id_hash in listed:
            try:
                record = self._read_record(id_hash)
            except JamSessionCorrupt as damage:
                found[id_hash] = DamagedRecord.holding(id_hash, None, damage.message)
            else:
                if record and record.session_key == session_key and not record.ended(now):
                    found[id_hash] = record
        return listed, found

    def _has(self, session_key: str, id_hash: str) -> bool:
        """Tell whether a session listed under a key is the key's, or is damaged."""
        try:
            record = self._read_record(id_hash)
        except JamSessionCorrupt:
            return True
        return record is None or record.session_key == session_key

    def _remove_if_ended(self, path: Path, now: float) -> bool:
        try:
            record = self._read_record(path.stem)
        except JamSessionCorrupt:
            return False
        if record is None:
            self._remove_if_abandoned(path)
            return False
        if not record.ended(now):
            return False
        return self._in_turn(record.session_key, self._remove_if_still_ended, path.stem, now)

    def _remove_if_still_ended(self, id_hash: str, now: float) -> bool:
        record = self._read_record(id_hash)
        if record is None or not record.ended(now):
            return False
        self._remove_session(id_hash)
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


def _may_be_next_to_us(path: Path) -> bool:
    """Tell whether a new volume, or another process that is just starting, may have made it."""
    return path.name.startswith((".", "jam.")) or path.name == "lost+found"


def _files_below(directory: str) -> Iterator[Path]:
    """Yield what is in the directories of a directory."""
    for below in sorted(Path(directory).iterdir()):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            yield from list(below.iterdir())


def _remove_file(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108  (Path.unlink is slower; a hot path)
