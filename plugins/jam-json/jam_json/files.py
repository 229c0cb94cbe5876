"""File actions that both layouts share; every file is readable by its owner only."""

import contextlib
import errno
import os
from collections.abc import Iterable
from pathlib import Path

_CHUNK = 1 << 16  # bytes


def make_directory(path: Path, *, fsync: bool) -> None:
    """Make a directory and its parents, for the owner only, where they are missing.

    Args:
        path: The directory.
        fsync: Whether it has to survive a power cut.
    """
    for directory in (*reversed(path.parents), path):
        if not directory.exists():
            with contextlib.suppress(FileExistsError):
                directory.mkdir(mode=0o700)
                _give_directory_to_owner(directory)
                if fsync:
                    sync_directory(directory.parent)


def read_file(path: str | Path) -> bytes | None:
    """Return what a file holds, or None if there is none."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        chunk = os.read(file, _CHUNK)
        if len(chunk) < _CHUNK:
            return chunk
        chunks = [chunk]
        while chunk := os.read(file, _CHUNK):
            chunks.append(chunk)
        return b"".join(chunks)
    finally:
        os.close(file)


def write_all(file: int, data: bytes | bytearray) -> None:
    """Write all of `data`, or raise OSError."""
    written = os.write(file, data)
    while written < len(data):
        with memoryview(data) as view, view[written:] as rest:
            written += os.write(file, rest)


def write_file(path: str, parts: Iterable[str], *, fsync: bool) -> None:
    """Write a file that must not exist yet; a failure leaves none.

    Args:
        path: The file.
        parts: What to write.
        fsync: Whether its content has to survive a power cut.
    """
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        give_to_owner(file, beside=path)
        buffer = bytearray()
        for part in parts:
            buffer += part.encode()
            if len(buffer) >= _CHUNK:
                write_all(file, buffer)
                buffer.clear()
        write_all(file, buffer)
        if fsync:
            os.fsync(file)
    except BaseException:
        Path(path).unlink(missing_ok=True)
        raise
    finally:
        os.close(file)


def replace_file(path: str, temporary: str, parts: Iterable[str], *, fsync: bool) -> None:
    """Write a file whole or not at all: a reader sees the old one or the new one.

    Args:
        path: The file.
        temporary: Where to write first, in the same file system; what is there is a leftover.
        parts: What to write.
        fsync: Whether it has to survive a power cut.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)  # noqa: PTH108  (Path.unlink is slower; a hot path)
    write_file(temporary, parts, fsync=fsync)
    os.replace(temporary, path)  # noqa: PTH105  (Path.replace is slower; a hot path)
    if fsync:
        sync_directory(Path(path).parent)


def give_to_owner(file: int, beside: str) -> None:
    """Let a file that root makes belong to whoever owns the directory it is in.

    Else a purge by root would lock the application out of its own sessions.

    Raises:
        OSError: The owner may have linked a file of root's there, to be given it.
    """
    if os.geteuid() == 0:
        directory = os.stat(os.path.dirname(beside) or ".")  # noqa: PTH116, PTH120  (a hot path)
        if directory.st_uid != 0:
            if os.fstat(file).st_nlink > 1:
                raise OSError(errno.EMLINK, "A file has another name elsewhere", beside)
            os.fchown(file, directory.st_uid, directory.st_gid)


def _give_directory_to_owner(path: Path) -> None:
    """Do the same for a directory just made."""
    above = path.parent.stat()
    if os.geteuid() == 0 and above.st_uid != 0:
        # Opened first: something else may have taken its name meanwhile.
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fchown(directory, above.st_uid, above.st_gid)
        finally:
            os.close(directory)


def sync_directory(path: Path) -> None:
    """Make the names in a directory survive a power cut."""
    directory = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
