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
    Insert,
    ScalarSelect,
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
from sqlalchemy.dialects import postgresql, sqlite

PURGE_BATCH = 1000  # rows
PAGE = 500  # rows


class Statements:
    """The statements for one table.

    Their parameters: `the_id` and `new_id` (hashes of session ids), `new_id_key` (the mark of the
    key that the new id is encrypted with), `the_key` (hash of a session key), `handle` (the
    beginning of the hash of an id), `old_data`, `new_data`, `now`, and `idle_end`, the moment at
    which the ttl that now restarts will be over (None: never).

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
        revoke: Deletes the live session of a key that has a handle.
        clear_others: Deletes every other live session of a live session's key.
        of_key: Selects the live sessions of a key.
        page: Selects `PAGE` live sessions, those that follow `the_id`.
        restore: Inserts rows whose ids are not taken; parameters are the table's columns.
        replace: Replaces the data if it is still `old_data`.
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
            update(table)
            .where(the_session)
            .values(
                id_hash=bindparam("new_id"),
                id_key=bindparam("new_id_key"),
                expires_at=renewed,
            )
        )
        self.swap = self.update.where(row.data == bindparam("old_data"))
        self.delete = delete(table).where(the_row)
        of_key = row.key_hash == bindparam("the_key")
        self.clear = delete(table).where(of_key)
        self.revoke = delete(table).where(
            of_key, lives, row.id_hash.startswith(bindparam("handle"))
        )
        self.clear_others = delete(table).where(
            row.key_hash == _key_of(table, the_session, dialect),
            row.id_hash != bindparam("the_id"),
            lives,
        )
        self.of_key: Select[Any] = select(table).where(of_key, lives)
        self.page: Select[Any] = (
            select(table)
            .where(row.id_hash > bindparam("the_id"), lives)
            .order_by(row.id_hash)
            .limit(PAGE)
        )
        self.restore = _restore(table, dialect)
        self.replace = (
            update(table)
            .where(the_session, row.data == bindparam("old_data"))
            .values(data=new_data)
        )
        self.purge = _purge(table, dialect)
        self.ping: Select[Any] = select(literal(1))


def _earlier(deadline: ColumnElement[Any], idle_end: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the earlier of two moments, where null is never: `BaseSession.expiry` in SQL."""
    return case((or_(deadline.is_(None), idle_end < deadline), idle_end), else_=deadline)


def _key_of(
    table: Table, the_session: ColumnElement[bool], dialect: str
) -> ColumnElement[Any] | ScalarSelect[Any]:
    """Select the key of a live session, and let nobody change that session meanwhile.

    Else two sessions that each end the other could both succeed. The nesting is for MariaDB and
    MySQL, which do not let a statement read the table that it changes in any other way; compared
    with a scalar subquery, they would read the whole of it, and lock it: there, it is a join.
    """
    kept = select(table.c.key_hash).where(the_session).limit(1).with_for_update().subquery("kept")
    if dialect in ("mysql", "mariadb"):
        return kept.c.key_hash
    return select(kept.c.key_hash).scalar_subquery()


def _restore(table: Table, dialect: str) -> Insert:
    if dialect in ("mysql", "mariadb"):
        return insert(table).prefix_with("IGNORE")
    insert_into = postgresql.insert if dialect == "postgresql" else sqlite.insert
    # RETURNING, as drivers do not count what is inserted many at a time.
    return insert_into(table).on_conflict_do_nothing().returning(table.c.id_hash)


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
