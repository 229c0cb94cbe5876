"""A lock that excludes other threads and other processes."""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from jam_core import JamStoreUnavailable, PerProcess
from jam_json.files import close_file, give_to_owner, open_into, regular_status

_P = ParamSpec("_P")
_T = TypeVar("_T")

LONGEST_WAIT = 3600  # seconds that a lock may be waited for
_PAUSES = (0.00005, 0.001)  # seconds between two attempts: the shortest, the longest
_PATIENCE = 500_000  # nanoseconds; after that, a waiting thread is let through first
_HEEDED = 10_000_000  # nanoseconds that a note counts: a waiting thread would have renewed it
_THE_LAST = (-1,)


class FileLock:
    """Held by one thread of one process at a time, by means of a lock on a file.

    Each holder locks through an open file of its own, so the kernel tells threads apart as it does
    processes, and no thread's lock is held while waiting for another process. A thread that has
    waited for a few turns notes that in the file's times. Everyone who gets the lock reads them,
    and gives the lock back to a thread that has waited longer.

    Args:
        path: The file; created when first needed, never removed.
        timeout: Seconds to wait for another holder, `LONGEST_WAIT` at most.
    """

    def __init__(self, path: Path, timeout: float) -> None:
        self._path = str(path)  # a Path is slow to become a string
        self._timeout = timeout
        self._files = PerProcess(_Files, _Files.close)

    def run(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Return what a function returns, called while holding the lock.

        Raises:
            JamStoreUnavailable: Somebody else held it for too long, or the file cannot be used.
        """
        files = self._files()
        turn: list[int] = []
        try:
            self._take(turn, files)
            outcome = work(*args, **kwargs)
            fcntl.flock(turn[0], fcntl.LOCK_UN)
            files.idle.extend(map(turn.pop, _THE_LAST))  # one call: it is in one of the lists
            return outcome
        finally:
            if turn:
                # There was an exception. Release the lock first, with a call in C, as a signal
                # handler can raise on the way into a Python function. The file is not used again.
                try:
                    fcntl.flock(turn[0], fcntl.LOCK_UN)
                finally:
                    files.discard(turn)

    def close(self) -> None:
        """Close the lock file; the lock opens it again when needed."""
        files = self._files.discard()
        if files is not None:
            files.discard(files.idle)

    def _take(self, turn: list[int], files: "_Files") -> None:
        """Take the lock through an open file that is put into `turn`."""
        try:
            turn.extend(map(files.idle.pop, _THE_LAST))
        except IndexError:
            self._open(turn, files)
        began, give_up_at = 0, 0.0
        while True:
            locked, status = self._try(turn, files)
            now = time.time_ns()
            first = status.st_atime_ns if 0 <= now - status.st_mtime_ns < _HEEDED else None
            if locked:
                if first is None:
                    return
                if first == began:
                    _say_who_waits(turn[0], began, now - _HEEDED)  # no longer anybody
                    return
                fcntl.flock(turn[0], fcntl.LOCK_UN)
            if not began:
                began, give_up_at = now, time.monotonic() + self._timeout
            elif time.monotonic() >= give_up_at:
                raise self._busy()
            waited = now - began
            if waited > _PATIENCE and (first is None or began <= first):
                _say_who_waits(turn[0], began, now)
            # By its module, so that a later patch of the module (gevent's) takes effect.
            time.sleep(min(max(waited / 16e9, _PAUSES[0]), _PAUSES[1]))

    def _try(self, turn: list[int], files: "_Files") -> tuple[bool, os.stat_result]:
        """Return whether the lock could be taken at once, and the status of its file."""
        while True:
            try:
                fcntl.flock(turn[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
                locked = True
            except BlockingIOError:
                locked = False
            try:
                status = os.stat(self._path)  # noqa: PTH116  (a hot path)
                if (status.st_dev, status.st_ino) == files.identities[turn[0]]:
                    return locked, status
            except FileNotFoundError:
                locked = False
            # Removed, or moved away: by now others lock another file of that name.
            files.discard(turn)
            self._open(turn, files)

    def _open(self, turn: list[int], files: "_Files") -> None:
        try:
            file = open_into(turn, self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
            opened = regular_status(file)
        except OSError as error:
            raise JamStoreUnavailable(
                f"{self._path} cannot be used as a lock: {error.strerror or error}."
            ) from error
        files.identities[file] = (opened.st_dev, opened.st_ino)
        give_to_owner(file, self._path)

    def _busy(self) -> JamStoreUnavailable:
        return JamStoreUnavailable(
            f"{self._path} has been locked by another process or thread for {self._timeout:g} s: "
            "it is stopped or overloaded."
        )


class _Files:
    """The open files of one process through which a lock can be held.

    Attributes:
        identities: The device and inode of each.
        idle: Those through which nobody holds the lock or waits for it.
    """

    def __init__(self) -> None:
        self.identities: dict[int, tuple[int, int]] = {}
        self.idle: list[int] = []

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # a time limit struck in __init__
            self.discard(self.idle)

    def close(self) -> None:
        """Close all, in a child: that does not release the parent's lock."""
        self.idle = list(self.identities)
        self.discard(self.idle)

    def discard(self, files: list[int]) -> None:
        """Close files and forget them."""
        while files:
            # First: nobody may later close another file with that number.
            self.identities.pop(files[-1], None)
            close_file(files)


def _say_who_waits(file: int, since: int, seen: int) -> None:
    """Note since when the first in the queue has been waiting, and when it was last seen waiting.

    A mere courtesy: only the file's owner can do it.
    """
    with contextlib.suppress(OSError):
        os.utime(file, ns=(since, seen))
