"""A lock that excludes other threads and other processes."""

import fcntl
import os
import time
import weakref
from pathlib import Path
from threading import Lock
from types import TracebackType

from jam_core import JamStoreUnavailable
from jam_json.files import give_to_owner

LONGEST_WAIT = 3600  # seconds that a lock may be waited for
_LONGEST_PAUSE = 0.001


class FileLock:
    """Held by one thread of one process at a time, by means of a lock on a file.

    Args:
        path: The file; created when first needed, never removed.
        timeout: Seconds to wait for another holder, `LONGEST_WAIT` at most.
    """

    def __init__(self, path: Path, timeout: float) -> None:
        self._path = path
        self._timeout = timeout
        self._thread_lock = Lock()
        self._file: int | None = None
        self._identity = (0, 0)
        _locks.add(self)

    def __enter__(self) -> None:
        give_up_at = time.monotonic() + self._timeout
        if not self._thread_lock.acquire(timeout=self._timeout):
            raise self._busy()
        try:
            self._lock_file(give_up_at)
        except BaseException:
            self._release()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._release()

    def __del__(self) -> None:
        self._close_file()

    def _release(self) -> None:
        try:
            if self._file is not None:
                fcntl.flock(self._file, fcntl.LOCK_UN)
        finally:
            self._thread_lock.release()

    def close(self) -> None:
        """Close the lock file; the lock opens it again when needed."""
        with self._thread_lock:
            self._close_file()

    def after_fork_in_child(self) -> None:
        """Start anew: a lock on a file is shared with the parent through the open file."""
        self._thread_lock = Lock()
        self._close_file()

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _lock_file(self, give_up_at: float) -> None:
        if self._file is None:
            self._file = self._open_file()
        pause = 0.0001
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= give_up_at:
                    raise self._busy() from None
            else:
                if self._is_the_one():
                    return
                # Removed, or moved away: others lock another file of that name by now.
                self._close_file()
                self._file = self._open_file()
                continue
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _open_file(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        file = os.open(self._path, flags, 0o600)
        try:
            give_to_owner(file, beside=str(self._path))
        except OSError:
            os.close(file)
            raise
        opened = os.fstat(file)
        self._identity = (opened.st_dev, opened.st_ino)
        return file

    def _is_the_one(self) -> bool:
        """Tell whether the file that is locked is the one of that name."""
        try:
            named = os.stat(self._path)  # noqa: PTH116  (Path.stat is slower; a hot path)
        except FileNotFoundError:
            return False
        return (named.st_dev, named.st_ino) == self._identity

    def _busy(self) -> JamStoreUnavailable:
        return JamStoreUnavailable(
            f"{self._path} has been locked by another process or thread for {self._timeout:g} s: "
            "it is stopped or overloaded."
        )


_locks: "weakref.WeakSet[FileLock]" = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for lock in list(_locks):
        lock.after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
