"""SQLite: a file for its owner only, and what must not happen to it, or to a database in memory."""

import os
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import URL, Dialect, Engine, event

from jam_core import JamStoreMissing, JamStoreUnavailable
from jam_sqlalchemy.pool import SessionPool

_LONGEST_OPERATION = 15  # seconds; how long a statement waits for a lock


def with_home(url: URL) -> URL:
    """Return the URL of a file with ~ replaced by the user's home directory."""
    if url.database is None or not url.database.startswith("~"):
        return url
    return url.set(database=str(Path(url.database).expanduser()))


def make_private_file(url: URL, *, create: bool) -> None:
    """Create the database file for its owner only; SQLite gives its -wal and -shm the same mode.

    Raises:
        JamStoreMissing: There is none, and `create` is off.
        JamStoreUnavailable: It cannot be created.
    """
    if url.database is None:
        return
    is_uri = url.database.startswith("file:")
    path = Path(unquote(urlsplit(url.database).path) if is_uri else url.database).absolute()
    if not create:
        if not path.exists():
            raise _missing(path)
        return
    try:
        # One by one: mkdir(parents=True) would give the parents whatever mode the umask leaves.
        for directory in reversed([path.parent, *path.parent.parents]):
            if not directory.exists():
                directory.mkdir(mode=0o700, exist_ok=True)
        # An existing file is not opened: closing it again would drop this process's locks.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise JamStoreUnavailable(
            f"The session store cannot use {path}: {error.strerror}."
        ) from error


def _missing(path: Path) -> JamStoreMissing | JamStoreUnavailable:
    above = next(one for one in path.parents if one.exists())
    if not os.access(above, os.W_OK | os.X_OK):
        return JamStoreUnavailable(
            f"The session store {path} does not exist, and {above} cannot be "
            "written to: it belongs to another user, or the file system is read-only."
        )
    return JamStoreMissing(
        f"There is no database file {path}. Check that its volume is mounted and the path is "
        "right; create_table = true would create it."
    )


_kept: WeakKeyDictionary[Engine, list[Any]] = WeakKeyDictionary()


class KeptConnection(sqlite3.Connection):
    """A connection to a database in memory, which only closing the store may close.

    SQLAlchemy closes a connection if an exception strikes while it is taken or returned, and then
    sets it up again. The database would be gone.
    """

    is_set_up = False

    def create_function(self, *arguments: Any, **options: Any) -> None:
        """Create a function, once: later, an interrupted statement may still be under way."""
        if not self.is_set_up:
            super().create_function(*arguments, **options)

    def close(self) -> None:
        """Do nothing."""


def keep_in_memory(engine: Engine) -> None:
    """Let an engine connect once, and give it that connection each time, until `end_memory`."""
    kept = _kept[engine] = []

    def connect(dialect: Dialect, _: object, arguments: list[Any], options: dict[str, Any]) -> Any:
        if kept:
            kept[0].is_set_up = True
        else:
            kept.append(dialect.loaded_dbapi.connect(*arguments, **options))
        return kept[0]

    event.listen(engine, "do_connect", connect)


def end_memory(engine: Engine) -> None:
    """End the database that `keep_in_memory` kept, if there is one."""
    for connection in _kept.pop(engine, ()):
        sqlite3.Connection.close(connection)


def prepare_file(engine: Engine) -> None:
    """Let an engine's readers work at the same time as a writer, and its process fork."""
    event.listen(engine, "connect", _set_journal)
    _engines.add(engine)
    if engine.dialect.is_async:
        idle = _idle[engine] = set()
        event.listen(engine, "checkin", lambda connection, _: idle.add(connection))
        event.listen(engine, "checkout", lambda connection, *_: idle.discard(connection))
        event.listen(engine, "close", lambda connection, _: idle.discard(connection))


_idle: WeakKeyDictionary[Engine, set[Any]] = WeakKeyDictionary()


def close_idle(engine: Engine) -> None:
    """Close what an aiosqlite engine has inherited: its threads do not exist in this process.

    What is in use stays open, and keeps the child from writing: that could not be closed, either.
    """
    for connection in _idle.pop(engine, ()):
        if connection is not None:
            connection.driver_connection._conn.close()


def _set_journal(connection: Any, _: object) -> None:
    cursor = connection.cursor()  # with aiosqlite, connection.execute is not SQLAlchemy 2.0's
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")  # what is finished survives
    cursor.close()


# A child that inherits an open connection takes the parent's locks for its own
# (https://www.sqlite.org/howtocorrupt.html, 2.6). Idle connections are closed in the child, too, in
# case it was forked unseen; but one that was just writing would keep the child from writing for
# good.
_engines: WeakSet[Engine] = WeakSet()


def _pools() -> list[SessionPool]:
    return [engine.pool for engine in list(_engines) if isinstance(engine.pool, SessionPool)]


def _before_fork() -> None:
    for pool in _pools():
        pool.halt(_LONGEST_OPERATION)


def _after_fork() -> None:
    for pool in _pools():
        pool.resume()


def _after_fork_in_child() -> None:
    _after_fork()
    for engine in list(_idle):
        close_idle(engine)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child
    )
