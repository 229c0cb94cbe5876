"""Every SQL statement of the store, built once.

An operation is one statement, and one statement is one atomic step: the WHERE clause of the
statement that reads or changes a session decides whether it exists and is live, and the number of
rows tells the outcome. Nothing is looked up first, so nothing can change in between. With
encryption, the core reads first whose data it is; `former` then rules out a change in between.
"""

from typing import Any

from sqlalchemy import (
    ColumnElement,
    Delete,
    Double,
    Executable,
    Insert,
    String,
    Table,
    and_,
    any_,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

PURGE_BATCH = 1000  # rows
PAGE = 500  # rows


class Statements:
    """The statements for one table.

    Their parameters: `the_id` (hash of a session id), `the_ids` (several of them), `the_key` (hash
    of a session key), `handle` (the beginning of the hash of an id), `former` (data that must still
    be there), and `now`. `insert`, `restore` and `write` set the columns that are passed as
    parameters.

    Args:
        table: The table.
        dialect: The name of the database's dialect.
        ttl: The store's ttl in seconds; None: no limit.
        by_real_clock: Whether `now` is the real time, not a test's, for example.

    Attributes:
        insert: Inserts a row.
        restore: Inserts rows whose ids are not taken.
        read: Selects a live session.
        read_data: Selects the data of a live session.
        read_many: Selects sessions by their ids, live or not.
        read_data_of_many: Selects their data, and what tells whether they are live.
        write: Changes a live session; one for each case: whether the ttl restarts (otherwise the
            expiry is a parameter, or stays), and whether the data must be `former`.
        remove: Deletes a session.
        remove_key: Deletes every session of a key.
        remove_one: Deletes the live session of a key that has a handle.
        remove_others: Deletes every other live session of a live session's key.
        remove_ended: Deletes up to `PURGE_BATCH` expired rows.
        of_key: Selects the live sessions of a key.
        any_of_key: Selects a session of a key.
        mates: Selects a live session and another of its key, if they exist.
        page: Selects `PAGE` live sessions, those that follow `the_id`.
        look: Changes nothing, but fails where changes would.
    """

    def __init__(self, table: Table, dialect: str, *, ttl: int | None, by_real_clock: bool) -> None:
        row = table.c
        now: ColumnElement[Any] = bindparam("now", type_=Double())
        lives = or_(row.expires_at.is_(None), row.expires_at > now)
        the_row = row.id_hash == bindparam("the_id")
        the_session = and_(the_row, lives)
        of_key = row.key_hash == bindparam("the_key")
        its_key = select(row.key_hash).where(the_session).limit(1)
        its_own = its_key.subquery("kept").c.key_hash
        # 0 is no limit: then there is nothing to add, and the sum is null, never. The store's ttl
        # is not a parameter: each has a cost.
        own_ttl = func.nullif(
            func.coalesce(row.ttl, literal_column(f"{ttl or 0}")), literal_column("0")
        )
        restarted = _earlier(row.deadline, now + own_ttl)

        self.insert = insert(table)
        self.restore = _restore(table, dialect)
        # Without the key's hash, which no record has: each column has a cost.
        records: Any = select(*(column for column in row if column is not row.key_hash))
        self.read = records.where(the_session)
        self.read_data = select(row.data).where(the_session)
        are_asked_for = _one_of(row.id_hash, dialect)
        self.read_many = records.where(are_asked_for)
        self.read_data_of_many = select(row.id_hash, row.expires_at, row.data).where(are_asked_for)
        executed = _when_executed(now, dialect, by_real_clock=by_real_clock)
        lives_still = or_(row.expires_at.is_(None), row.expires_at > executed)
        keep: Any = update(table).where(the_row, lives_still)
        restart: Any = keep.values(expires_at=restarted)
        unchanged = row.data == bindparam("former")
        self.write: dict[tuple[bool, bool], Executable] = {
            (True, False): restart,
            (True, True): restart.where(unchanged),
            (False, False): keep,
            (False, True): keep.where(unchanged),
        }
        self.remove = delete(table).where(the_row)
        self.remove_key = delete(table).where(of_key)
        is_it = row.id_hash.startswith(bindparam("handle"))
        self.remove_one = delete(table).where(of_key, lives, is_it)
        # The session itself is locked, or two that end each other could both succeed.
        kept = its_key.with_for_update().subquery("kept").c.key_hash
        self.remove_others = delete(table).where(
            # As a join on MariaDB and MySQL, which would otherwise read, and lock, the whole table.
            row.key_hash == (kept if dialect in ("mysql", "mariadb") else _scalar(kept)),
            row.id_hash != bindparam("the_id"),
            lives,
        )
        self.remove_ended = _remove_ended(table, row.expires_at <= now, dialect)
        self.of_key = records.where(of_key, lives)
        self.any_of_key = select(row.id_hash).where(of_key).limit(1)
        self.mates = select(row.id_hash).where(row.key_hash == _scalar(its_own), lives).limit(2)
        follows = row.id_hash > bindparam("the_id")
        self.page = records.where(follows, lives).order_by(row.id_hash).limit(PAGE)
        self.look = update(table).where(row.id_hash == "").values(id_hash="")


def _when_executed(
    now: ColumnElement[Any], dialect: str, *, by_real_clock: bool
) -> ColumnElement[Any]:
    """Return `now`, plus the whole seconds for which the statement has waited for a lock.

    PostgreSQL rechecks a row that changed while it waited, but not one that was only locked.
    """
    if dialect == "sqlite":  # it runs in this process, and shares its clock
        real_now: ColumnElement[Any] = literal_column(
            "(julianday('now') - 2440587.5) * 86400", Double()
        )
        return func.max(now, real_now) if by_real_clock else now
    if dialect == "postgresql":  # where each statement is a transaction
        waited = "floor(extract(epoch FROM clock_timestamp() - transaction_timestamp()))"
    else:
        waited = "timestampdiff(SECOND, now(6), sysdate(6))"
    return now + literal_column(waited, Double())


def _earlier(deadline: ColumnElement[Any], idle_end: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the earlier of two moments; null is never: `BaseSession.expiry` in SQL."""
    return case((or_(deadline.is_(None), idle_end < deadline), idle_end), else_=deadline)


def _one_of(id_hash: ColumnElement[Any], dialect: str) -> ColumnElement[bool]:
    if dialect == "postgresql":  # it would prepare a statement for each number of ids
        return id_hash == any_(bindparam("the_ids", type_=postgresql.ARRAY(String)))
    return id_hash.in_(bindparam("the_ids", expanding=True))


def _scalar(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return select(column).scalar_subquery()


def _restore(table: Table, dialect: str) -> Insert:
    if dialect in ("mysql", "mariadb"):
        return insert(table).prefix_with("IGNORE")
    insert_into = postgresql.insert if dialect == "postgresql" else sqlite.insert
    # RETURNING, as drivers do not count rows that are inserted many at a time.
    return insert_into(table).on_conflict_do_nothing().returning(table.c.id_hash)


def _remove_ended(table: Table, ended: ColumnElement[bool], dialect: str) -> Delete:
    if dialect in ("mysql", "mariadb"):
        return delete(table).where(ended).with_dialect_options(**{f"{dialect}_limit": PURGE_BATCH})
    batch = (
        select(table.c.id_hash)
        .where(ended)
        .order_by(table.c.expires_at)
        .limit(PURGE_BATCH)
        .with_for_update(skip_locked=True)  # waits for nobody, so blocks nobody
    )
    return delete(table).where(table.c.id_hash.in_(batch))
