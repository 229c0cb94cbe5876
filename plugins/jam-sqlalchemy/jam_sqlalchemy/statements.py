"""Every SQL statement of the store, built once; who executes them is another matter.

An operation is one statement, and one statement is one atomic step: whether a session exists and
lives is judged by the WHERE clause of the statement that reads or changes it, and the number of
rows tells the outcome. Nothing is looked up first, so nothing can change in between.
"""

from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Delete,
    Double,
    Select,
    Table,
    and_,
    bindparam,
    case,
    delete,
    insert,
    literal,
    or_,
    select,
    update,
)

PURGE_BATCH = 1000  # rows


class Statements:
    """The statements for one table.

    Their parameters: `the_id` and `new_id` (hashes of session ids), `the_key` (hash of a session
    key), `old_data`, `new_data`, `now`, and `idle_end`, the moment at which the ttl that now
    restarts will be over (None: never).

    Args:
        table: The table.
        dialect: The name of the database's dialect.

    Attributes:
        create: Inserts a row; parameters are the table's columns.
        read: Selects the data of a live session.
        update: Replaces the data and restarts the ttl.
        touch: Restarts the ttl.
        rework: Replaces the id and restarts the ttl.
        swap: Does what `update` does if the data is still `old_data`.
        delete: Deletes a session.
        clear: Deletes every session of a key.
        purge: Deletes up to `PURGE_BATCH` expired rows.
        ping: Does nothing.
    """

    def __init__(self, table: Table, dialect: str) -> None:
        row = table.c
        the_row = row.id_hash == bindparam("the_id")
        lives = or_(row.expires_at.is_(None), row.expires_at > bindparam("now"))
        the_session = and_(the_row, lives)
        new_data: BindParameter[str] = bindparam("new_data")
        renewed = _earlier(row.deadline, bindparam("idle_end", type_=Double()))

        self.create = insert(table)
        self.read: Select[Any] = select(row.data).where(the_session)
        self.update = update(table).where(the_session).values(data=new_data, expires_at=renewed)
        self.touch = update(table).where(the_session).values(expires_at=renewed)
        self.rework = (
            update(table).where(the_session).values(id_hash=bindparam("new_id"), expires_at=renewed)
        )
        self.swap = self.update.where(row.data == bindparam("old_data"))
        self.delete = delete(table).where(the_row)
        self.clear = delete(table).where(row.key_hash == bindparam("the_key"))
        self.purge = _purge(table, dialect)
        self.ping: Select[Any] = select(literal(1))


def _earlier(deadline: ColumnElement[Any], idle_end: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the earlier of two moments, where null is never: `BaseSession.expiry` in SQL."""
    return case((or_(deadline.is_(None), idle_end < deadline), idle_end), else_=deadline)


def _purge(table: Table, dialect: str) -> Delete:
    expired = table.c.expires_at <= bindparam("now")
    if dialect in ("mysql", "mariadb"):
        limit = {f"{dialect}_limit": PURGE_BATCH}
        return delete(table).where(expired).with_dialect_options(**limit)
    batch = (
        select(table.c.id_hash)
        .where(expired)
        .order_by(table.c.expires_at)
        .limit(PURGE_BATCH)
        .with_for_update(skip_locked=True)  # who waits for nobody is in nobody's way
    )
    return delete(table).where(table.c.id_hash.in_(batch))
