"""Stores that stand on `DocumentSessions`: in memory, and in an SQLite file."""

import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

from jam_core import DocumentSessions, PerProcess


class Shelf:
    """A dict that knows compare-and-set, as the servers do."""

    def __init__(self) -> None:
        self.values: dict[str, tuple[str, int]] = {}
        self._lock = threading.Lock()
        self._writes = 0

    def swap(self, name: str, text: str | None, token: int | None) -> bool:
        with self._lock:
            if self.values.get(name, ("", None))[1] != token:
                return False
            self._writes += 1
            if text is None:
                self.values.pop(name, None)
            else:
                self.values[name] = (text, self._writes)
            return True


class ShelfSessions(DocumentSessions):
    """Sessions on a shelf.

    Args:
        shelf: Where.
        before: Called with the kind of call and the name, before each call.
        **options: The options of every store.
    """

    def __init__(
        self,
        shelf: Shelf | None = None,
        before: Callable[[str, str], object] = lambda kind, name: None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.shelf = shelf or Shelf()
        self.before = before

    def load(self, name: str) -> tuple[str, int] | None:
        self.before("load", name)
        return self.shelf.values.get(name)

    def swap(self, name: str, text: str | None, token: int | None) -> bool:
        self.before("swap", name)
        return self.shelf.swap(name, text, token)

    def scan(self, prefix: str) -> list[str]:
        self.before("scan", prefix)
        return [name for name in list(self.shelf.values) if name.startswith(prefix)]


class TableSessions(DocumentSessions):
    """Sessions in an SQLite file that is used as a table of names and values, and no more."""

    guarantees = frozenset({"durable", "shared"})

    def __init__(
        self,
        path: str,
        before: Callable[[str, str], object] = lambda kind, name: None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._path = path
        self.before = before
        self._own = PerProcess(threading.local)
        self._run("PRAGMA journal_mode=WAL")
        self._run("CREATE TABLE IF NOT EXISTS kept (name PRIMARY KEY, text, version INTEGER)")

    def load(self, name: str) -> tuple[str, int] | None:
        self.before("load", name)
        found = self._run("SELECT text, version FROM kept WHERE name = ?", name).fetchone()
        return None if found is None else (found[0], found[1])

    def swap(self, name: str, text: str | None, token: int | None) -> bool:
        self.before("swap", name)
        # Random, so that no value of a name that was removed is taken for its successor's.
        version = int.from_bytes(os.urandom(7))
        if token is None:
            statement = "INSERT OR IGNORE INTO kept VALUES (?, ?, ?)"
            return self._run(statement, name, text, version).rowcount == 1
        if text is None:
            statement = "DELETE FROM kept WHERE name = ? AND version = ?"
            return self._run(statement, name, token).rowcount == 1
        statement = "UPDATE kept SET text = ?, version = ? WHERE name = ? AND version = ?"
        return self._run(statement, text, version, name, token).rowcount == 1

    def scan(self, prefix: str) -> list[str]:
        rows = self._run("SELECT name FROM kept WHERE substr(name, 1, ?) = ?", len(prefix), prefix)
        return [name for (name,) in rows.fetchall()]

    def _run(self, statement: str, *values: object) -> sqlite3.Cursor:
        with self.unavailable(sqlite3.Error):
            own = self._own()
            if not hasattr(own, "connection"):
                own.connection = sqlite3.connect(
                    self._path, timeout=30, isolation_level=None, check_same_thread=False
                )
                own.connection.execute("PRAGMA synchronous=NORMAL")
            cursor: sqlite3.Cursor = own.connection.execute(statement, values)
            return cursor


def count_of_rows(path: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        count: int = connection.execute("SELECT count(*) FROM kept").fetchone()[0]
        return count
