"""Sessions in LMDB, a key-value store in a file: no server, many processes of one host."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from threading import Lock
from time import time
from typing import Any, Unpack
from weakref import WeakValueDictionary

import lmdb
from jam_core import (
    BaseSession,
    JamSessionCorrupt,
    JamSessionNotFound,
    JamStoreUnavailable,
    SessionOptions,
    check_session_key,
    hash_id,
)

# LMDB wants a file to be opened once in a process, and anew after a fork. The lock is held during
# every transaction: none is open when the process forks.
_databases: WeakValueDictionary[Path, lmdb.Environment] = WeakValueDictionary()
_lock = Lock()


def _reopen() -> None:
    for database in list(_databases.values()):
        database.close()
    _databases.clear()
    _lock.release()


os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_reopen)


class LmdbSessions(BaseSession):
    """Sessions in LMDB.

    In the database `session:<SHA-256 of the id>` is a JSON array: session key, data, deadline,
    expiry. `key:<SHA-256 of the session key>:<SHA-256 of the id>` leads from a key to its sessions;
    one that leads nowhere means nothing.

    Args:
        path: The database's directory; made where it is missing.
        **options: The options of every store, see `BaseSession`.

    Raises:
        JamStoreUnavailable: The database cannot be used.
    """

    guarantees = frozenset({"durable", "shared"})

    def __init__(self, path: str | Path, **options: Unpack[SessionOptions]) -> None:
        super().__init__(**options)
        self._path = Path(path).absolute()
        self.ping()

    def create(self, session_key: str, data: dict[str, Any]) -> str:
        """Put a record under an id that is free."""
        check_session_key(session_key)
        session = [session_key, self.codec.encode(data), self.deadline(time())]

        def take(new_id: str) -> bool:
            with self._transaction(write=True) as found:
                return self._put(found, hash_id(new_id), session, new=True)

        return self.codec.mint(take)

    def get(self, session_id: str) -> dict[str, Any] | None:
        """Read the record."""
        with suppress(JamSessionNotFound), self._transaction() as found:
            text = self._live(found, self.codec.lookup_hash(session_id))[1]
            return self.codec.decode(text, f"A session in {self._path}")
        return None

    def update(self, session_id: str, data: dict[str, Any]) -> None:
        """Put the record anew while it is live: what is gone does not come back."""
        text, hashed = self.codec.encode(data), self.codec.lookup_hash(session_id)
        with self._transaction(write=True) as found:
            session_key, _, deadline, _ = self._live(found, hashed)
            self._put(found, str(hashed), [session_key, text, deadline])

    def delete(self, session_id: str) -> None:
        """Remove the record."""
        with self._transaction(write=True) as found:
            found.delete(_record(self.codec.lookup_hash(session_id)))

    def clear(self, session_key: str) -> None:
        """Remove the records that the key leads to."""
        check_session_key(session_key)
        with self._transaction(write=True) as found:
            for name in _names(found, f"key:{hash_id(session_key)}:"):
                found.delete(_record(name.rpartition(":")[2]))
                found.delete(name.encode())

    def rework(self, session_id: str) -> str:
        """Move the record to another id; who comes second finds nothing to move."""
        hashed = self.codec.lookup_hash(session_id)

        def take(new_id: str) -> bool:
            with self._transaction(write=True) as found:
                session = self._live(found, hashed)
                taken = self._put(found, hash_id(new_id), session, new=True)
                return taken and bool(found.delete(_record(hashed)))

        return self.codec.mint(take)

    def purge(self) -> int:
        """Remove records that have expired, and what leads nowhere; damaged ones stay."""
        removed = 0
        with self._transaction(write=True) as found:
            for name in _names(found, "key:"):
                hashed = name.rpartition(":")[2]
                try:
                    self._live(found, hashed)
                except JamSessionCorrupt:
                    continue
                except JamSessionNotFound:
                    removed += found.delete(_record(hashed))
                    found.delete(name.encode())
        return removed

    def ping(self) -> None:
        """Look whether the database can be read."""
        with self._transaction() as found:
            found.stat()

    def _live(self, found: lmdb.Transaction, hashed: str | None) -> Any:
        """Return session key, text, deadline and expiry of a session that has not ended."""
        try:
            session = json.loads(bytes(found.get(_record(hashed)) or b"null"))
        except ValueError:
            raise JamSessionCorrupt(f"A session in {self._path} is damaged.") from None
        if session is None or (session[3] is not None and session[3] <= time()):
            raise JamSessionNotFound
        return session

    def _put(self, found: lmdb.Transaction, hashed: str, session: Any, new: bool = False) -> bool:
        session_key, text, deadline, *_ = session
        record = json.dumps([session_key, text, deadline, self.expiry(time(), deadline)])
        note = f"key:{hash_id(session_key)}:{hashed}".encode()
        put = found.put(_record(hashed), record.encode(), overwrite=not new)
        return put and bool(found.put(note, b"-"))

    @contextmanager
    def _transaction(self, *, write: bool = False) -> Iterator[lmdb.Transaction]:
        """Open a transaction: all that the block does is done, or nothing."""
        try:
            with _lock, self._open().begin(write=write) as found:
                yield found
        except (OSError, lmdb.Error) as error:
            raise JamStoreUnavailable(f"{self._path} cannot be used: {error}.") from error

    def _open(self) -> lmdb.Environment:
        database = _databases.get(self._path)
        if database is None:
            self._path.mkdir(0o700, parents=True, exist_ok=True)
            # A TiB of address space, not of disk.
            database = lmdb.open(str(self._path), 1 << 40, mode=0o600, max_readers=1024)
        # It stays open as long as one of its stores is there.
        self._database = _databases[self._path] = database
        return database


def _record(hashed: str | None) -> bytes:
    return f"session:{hashed}".encode()


def _names(found: lmdb.Transaction, prefix: str) -> list[str]:
    """Return the names that begin like this."""
    cursor = found.cursor()
    cursor.set_range(prefix.encode())
    names = (bytes(name).decode() for name in cursor.iternext(values=False))
    return list(takewhile(lambda name: name.startswith(prefix), names))
