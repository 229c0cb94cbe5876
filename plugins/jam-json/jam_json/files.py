"""File actions that both layouts share; every file is readable by its owner only."""

import contextlib
import errno
import os
import re
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

_T = TypeVar("_T")

_CHUNK = 1 << 16  # bytes
_OWNER_ONLY = 0o600
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL
# So that a FIFO in place of a file is never waited for.
_ALWAYS = os.O_CLOEXEC | os.O_NONBLOCK
_READ = (os.O_RDONLY | _ALWAYS,)


def open_into(files: list[int], path: str | Path, flags: int) -> int:
    """Open a file, put its descriptor into a list, and return it.

    A signal handler that raises runs between two calls that Python makes. Here there is only one:
    the descriptor is in the list, or there is none. The caller must close what is in the list.

    Args:
        files: Where the descriptor is kept.
        path: The file; a new one is for its owner only.
        flags: As for `os.open`.
    """
    files.extend(map(os.open, (path,), (flags | _ALWAYS,), (_OWNER_ONLY,)))
    return files[-1]


def close_file(files: list[int], index: int = -1) -> None:
    """Take a descriptor out of a list and close it, also in one step.

    Errors are ignored: closed or not, the file is not used again.
    """
    with contextlib.suppress(OSError):
        any(map(os.close, map(files.pop, (index,))))


def with_open(path: str | Path, flags: int, work: Callable[[int], _T]) -> _T:
    """Open a file, return what `work` makes of its descriptor, and close it, whatever happens."""
    files: list[int] = []
    try:
        files.extend(map(os.open, (path,), (flags | _ALWAYS,), (_OWNER_ONLY,)))  # `open_into`
        return work(files[0])
    finally:
        if files:
            os.close(files[0])  # in C: nothing can be raised on the way


def regular_status(file: int) -> os.stat_result:
    """Return the status of an open file.

    Raises:
        OSError: It is a FIFO, a device or the like.
    """
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file, but a FIFO, a device or the like")
    return status


def make_directory(path: Path, *, fsync: bool) -> None:
    """Make a directory and its missing parents, for the owner only.

    Args:
        path: The directory.
        fsync: Whether it must survive a power cut.
    """
    for directory in (*reversed(path.parents), path):
        if not directory.exists():
            with contextlib.suppress(FileExistsError):
                directory.mkdir(mode=0o700)
                _give_directory_to_owner(directory)
                if fsync:
                    sync_directory(directory.parent)


def read_file(path: str | Path) -> bytes | None:
    """Return what a file holds, or None if there is none.

    Raises:
        OSError: For example, it is not a regular file, but a FIFO or a device.
    """
    files: list[int] = []
    try:  # `with_open`, without its calls: a hot path
        files.extend(map(os.open, (path,), _READ))
        chunk = os.read(files[0], _CHUNK)
        if 0 < len(chunk) < _CHUNK:
            return chunk
        regular_status(files[0])
        chunks = [chunk]
        while chunk := os.read(files[0], _CHUNK):
            chunks.append(chunk)
        return b"".join(chunks)
    except FileNotFoundError:
        return None
    finally:
        if files:
            os.close(files[0])


def is_mounted(path: Path) -> bool:
    """Tell whether something is mounted at a path, even a single file."""
    try:
        # Field 5 is where. os.path.ismount does not see a file mounted from the same device.
        mounts = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except FileNotFoundError:
        return os.path.ismount(path)  # not Linux
    escaped = re.sub(rb"[ \t\n\\]", lambda found: b"\\%03o" % ord(found[0]), os.fsencode(path))
    return any(line.split(b" ")[4] == escaped for line in mounts)


def write_all(file: int, data: bytes | bytearray) -> None:
    """Write all of `data`, or raise OSError."""
    written = os.write(file, data)
    while written < len(data):
        with memoryview(data) as view, view[written:] as rest:
            written += os.write(file, rest)


def write_file(path: str, parts: Iterable[str], *, fsync: bool) -> None:
    """Write a file that must not exist yet; a failure leaves none behind.

    Args:
        path: The file.
        parts: What to write.
        fsync: Whether its content must survive a power cut.
    """

    def write(file: int) -> None:
        give_to_owner(file, path)
        buffer = bytearray()
        for part in parts:
            buffer += part.encode()
            if len(buffer) >= _CHUNK:
                write_all(file, buffer)
                buffer.clear()
        write_all(file, buffer)
        if fsync:
            os.fsync(file)

    try:
        with_open(path, NEW, write)
    except FileExistsError:
        raise
    except BaseException:
        Path(path).unlink(missing_ok=True)
        raise


def replace_file(path: str, temporary: str, parts: Iterable[str], *, fsync: bool) -> None:
    """Write a file whole or not at all: a reader sees the old one or the new one.

    Args:
        path: The file.
        temporary: Where to write first, in the same file system; anything there is a leftover.
        parts: What to write.
        fsync: Whether it must survive a power cut.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)  # noqa: PTH108  (Path.unlink is slower; a hot path)
    write_file(temporary, parts, fsync=fsync)
    os.replace(temporary, path)  # noqa: PTH105  (Path.replace is slower; a hot path)
    if fsync:
        sync_directory(Path(path).parent)


def give_to_owner(file: int, path: str) -> None:
    """Give a file that root made to the owner of the directory it is in.

    Otherwise a purge by root would lock the application out of its own sessions. A volume may
    refuse that, and root may lack the right: then the file stays root's.

    Raises:
        OSError: The owner may have put a link to one of root's files there, to be given that.
    """
    if os.geteuid() == 0:
        directory = os.stat(os.path.dirname(path) or ".")  # noqa: PTH116, PTH120  (a hot path)
        if directory.st_uid != 0:
            status = os.fstat(file)
            if status.st_uid == directory.st_uid:
                return
            if status.st_nlink > 1:
                raise OSError(errno.EMLINK, "A file has another name elsewhere", path)
            with contextlib.suppress(OSError):
                os.fchown(file, directory.st_uid, directory.st_gid)


def _give_directory_to_owner(path: Path) -> None:
    """Do the same for a directory just made."""
    above = path.parent.stat()
    if os.geteuid() == 0 and above.st_uid != 0:
        # Opened first: meanwhile, something else may have taken its name.
        with contextlib.suppress(OSError):
            with_open(
                path,
                os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW,
                lambda directory: os.fchown(directory, above.st_uid, above.st_gid),
            )


def sync_directory(path: Path) -> None:
    """Make the names in a directory survive a power cut."""
    with_open(path, os.O_RDONLY, os.fsync)
