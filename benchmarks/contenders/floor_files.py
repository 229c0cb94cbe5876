"""The floor of files: read one, replace one; a lock where a write depends on what is there."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.contenders.contender import Contender
from benchmarks.places import Place
from benchmarks.workload import TTL

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_LIST = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


class _BareFiles:
    """A file for each session, and for each key a list of its sessions."""

    def __init__(self, place: Place) -> None:
        self._root = f"{place.directory}/bare"
        Path(self._root, "keys").mkdir(parents=True)
        self._lock = os.open(f"{self._root}/lock", os.O_RDWR | os.O_CREAT)

    def create(self, session_key: str, data: object) -> str:
        session_id = str(uuid4())
        path = self._path(session_id)
        with self._locked():
            self._list(session_key, path)
            self._replace(path, {"key": session_key, "data": data})
        return session_id

    def get(self, session_id: str) -> Any:
        record = _read(self._path(session_id))
        return record and record["data"]

    def update(self, session_id: str, data: object) -> None:
        path = self._path(session_id)
        with self._locked():
            record = _live(path)
            record["data"] = data
            self._replace(path, record)

    def touch(self, session_id: str) -> None:
        path = self._path(session_id)
        with self._locked():
            self._replace(path, _live(path))

    def rework(self, session_id: str) -> str:
        new_id = str(uuid4())
        path, new_path = self._path(session_id), self._path(new_id)
        with self._locked():
            record = _live(path)
            self._list(record["key"], new_path)
            self._replace(path, record)
            os.rename(path, new_path)  # noqa: PTH104
        return new_id

    def delete(self, session_id: str) -> None:
        with self._locked(), suppress(FileNotFoundError):
            os.unlink(self._path(session_id))  # noqa: PTH108

    def clear(self, session_key: str) -> None:
        with self._locked():
            path = self._list_path(session_key)
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            paths = os.read(file, 1 << 16).decode().split()
            os.close(file)
            for session in paths:
                with suppress(FileNotFoundError):
                    os.unlink(session)  # noqa: PTH108
            os.unlink(path)  # noqa: PTH108

    def close(self) -> None:
        os.close(self._lock)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _path(self, session_id: str) -> str:
        return f"{self._root}/{sha256(session_id.encode()).hexdigest()}"

    def _list_path(self, session_key: str) -> str:
        return f"{self._root}/keys/{sha256(session_key.encode()).hexdigest()}"

    def _list(self, session_key: str, path: str) -> None:
        file = os.open(self._list_path(session_key), _LIST, 0o600)
        os.write(file, f"{path}\n".encode())
        os.close(file)

    def _replace(self, path: str, record: dict[str, Any]) -> None:
        record["ends"] = time.time() + TTL
        temporary = f"{path}.tmp"
        file = os.open(temporary, _NEW, 0o600)
        os.write(file, json.dumps(record).encode())
        os.close(file)
        os.replace(temporary, path)  # noqa: PTH105


def _read(path: str) -> dict[str, Any] | None:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    content = os.read(file, 1 << 16)
    os.close(file)
    record: dict[str, Any] = json.loads(content)
    return record if record["ends"] > time.time() else None


def _live(path: str) -> dict[str, Any]:
    record = _read(path)
    if record is None:
        raise KeyError
    return record


BARE = Contender("floor: bare files", "floor", _BareFiles, "python")
