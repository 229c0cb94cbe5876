"""The floors of SQL: one prebuilt statement, committed by itself, on a pooled connection."""

import json
import sqlite3
import time
from hashlib import sha256
from typing import Any
from uuid import uuid4

from benchmarks.contenders.contender import Contender
from benchmarks.places import Place
from benchmarks.workload import TTL


class _Core:
    """SQLAlchemy Core."""

    def __init__(self, place: Place) -> None:
        import sqlalchemy as sa

        url = place.sqlalchemy_url("bare")
        self._engine = sa.create_engine(
            url, isolation_level="AUTOCOMMIT", skip_autocommit_rollback=True
        )
        if place.name == "sqlite":
            sa.event.listen(self._engine, "connect", prepare_sqlite)
        table = sa.Table(
            "bare_sessions",
            sa.MetaData(),
            sa.Column("id_hash", sa.String(64), primary_key=True),
            sa.Column("key_hash", sa.String(64), nullable=False, index=True),
            sa.Column("data", sa.Text, nullable=False),
            sa.Column("ends", sa.Double, index=True),
        )
        table.create(self._engine)
        row, session = table.c, sa.bindparam("session", type_=sa.String())
        lives = sa.and_(
            row.id_hash == session, sa.or_(row.ends.is_(None), row.ends > sa.bindparam("now"))
        )
        ends: sa.BindParameter[float] = sa.bindparam("until", type_=sa.Double())
        change = table.update().where(lives)
        self._create = table.insert()
        self._get = sa.select(row.data).where(lives)
        self._update = change.values(data=sa.bindparam("text"), ends=ends)
        self._touch = change.values(ends=ends)
        self._rework = change.values(id_hash=sa.bindparam("new"), ends=ends)
        self._delete = table.delete().where(row.id_hash == session)
        self._clear = table.delete().where(row.key_hash == sa.bindparam("key"))

    def create(self, session_key: str, data: object) -> str:
        session_id = str(uuid4())
        row = {
            "id_hash": _hash(session_id),
            "key_hash": _hash(session_key),
            "data": json.dumps(data),
            "ends": time.time() + TTL,
        }
        self._run(self._create, row)
        return session_id

    def get(self, session_id: str) -> Any:
        with self._engine.connect() as connection:
            values = {"session": _hash(session_id), "now": time.time()}
            text = connection.execute(self._get, values).scalar()
        return None if text is None else json.loads(text)

    def update(self, session_id: str, data: object) -> None:
        now = time.time()
        values = {"session": _hash(session_id), "now": now, "until": now + TTL}
        _check(self._run(self._update, {**values, "text": json.dumps(data)}))

    def touch(self, session_id: str) -> None:
        now = time.time()
        values = {"session": _hash(session_id), "now": now, "until": now + TTL}
        _check(self._run(self._touch, values))

    def rework(self, session_id: str) -> str:
        now, new_id = time.time(), str(uuid4())
        values = {"session": _hash(session_id), "now": now, "until": now + TTL}
        _check(self._run(self._rework, {**values, "new": _hash(new_id)}))
        return new_id

    def delete(self, session_id: str) -> None:
        self._run(self._delete, {"session": _hash(session_id)})

    def clear(self, session_key: str) -> None:
        self._run(self._clear, {"key": _hash(session_key)})

    def close(self) -> None:
        self._engine.dispose()

    def _run(self, statement: Any, values: dict[str, Any]) -> int:
        with self._engine.connect() as connection:
            return connection.execute(statement, values).rowcount


class _Sqlite3:
    """Python's own sqlite3, one connection."""

    def __init__(self, place: Place) -> None:
        self._connection = sqlite3.connect(f"{place.directory}/sqlite3.db", isolation_level=None)
        prepare_sqlite(self._connection, None)
        self._connection.executescript(
            "CREATE TABLE s (id TEXT PRIMARY KEY, key TEXT NOT NULL, data TEXT NOT NULL, "
            "ends REAL); CREATE INDEX s_key ON s (key); CREATE INDEX s_ends ON s (ends)"
        )

    def create(self, session_key: str, data: object) -> str:
        session_id = str(uuid4())
        row = (_hash(session_id), _hash(session_key), json.dumps(data), time.time() + TTL)
        self._run("INSERT INTO s VALUES (?, ?, ?, ?)", row)
        return session_id

    def get(self, session_id: str) -> Any:
        found = self._connection.execute(
            "SELECT data FROM s WHERE id = ? AND ends > ?", (_hash(session_id), time.time())
        ).fetchone()
        return None if found is None else json.loads(found[0])

    def update(self, session_id: str, data: object) -> None:
        now = time.time()
        values = (json.dumps(data), now + TTL, _hash(session_id), now)
        _check(self._run("UPDATE s SET data = ?, ends = ? WHERE id = ? AND ends > ?", values))

    def touch(self, session_id: str) -> None:
        now = time.time()
        values = (now + TTL, _hash(session_id), now)
        _check(self._run("UPDATE s SET ends = ? WHERE id = ? AND ends > ?", values))

    def rework(self, session_id: str) -> str:
        now, new_id = time.time(), str(uuid4())
        values = (_hash(new_id), now + TTL, _hash(session_id), now)
        _check(self._run("UPDATE s SET id = ?, ends = ? WHERE id = ? AND ends > ?", values))
        return new_id

    def delete(self, session_id: str) -> None:
        self._run("DELETE FROM s WHERE id = ?", (_hash(session_id),))

    def clear(self, session_key: str) -> None:
        self._run("DELETE FROM s WHERE key = ?", (_hash(session_key),))

    def close(self) -> None:
        self._connection.close()

    def _run(self, statement: str, values: tuple[object, ...]) -> int:
        return self._connection.execute(statement, values).rowcount


def prepare_sqlite(connection: Any, _: object) -> None:
    """Set what every contender gets on SQLite."""
    connection.execute("PRAGMA journal_mode = WAL").close()
    connection.execute("PRAGMA synchronous = NORMAL").close()


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _check(rows: int) -> None:
    if not rows:
        raise KeyError


CORE = Contender("floor: SQLAlchemy Core, one statement", "floor", _Core, "sqlalchemy")
SQLITE3 = Contender("floor: sqlite3, one statement", "floor", _Sqlite3, "python")
