"""The table: what it holds, in types that mean the same on every database."""

from hashlib import sha256
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Engine,
    MetaData,
    Row,
    Select,
    String,
    Table,
    Text,
    false,
    inspect,
    literal_column,
    select,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateColumn

from jam_core import JamConfigurationError, JamStoreMissing, SessionRecord, pack_ttl, unpack_ttl
from jam_sqlalchemy.errors import is_forbidden

# MySQL and MariaDB must be told the character set: their default may treat "a" and "A" as equal
# and may lack characters. Their plain TEXT ends at 64 kB.
_HASH = String(64).with_variant(
    mysql.CHAR(64, charset="ascii", collation="ascii_bin"), "mysql", "mariadb"
)
_MARK = String(8).with_variant(
    mysql.CHAR(8, charset="ascii", collation="ascii_bin"), "mysql", "mariadb"
)
_TEXT = Text().with_variant(
    mysql.LONGTEXT(charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb"
)
# What tables made by the first versions lack: null means what those versions did.
_ADDED_LATER = ("ttl",)


def session_table(table_name: str = "jam_sessions", schema: str | None = None) -> Table:
    """Return the table that holds the sessions.

    * `id_hash`: SHA-256 of the session id; reading the table does not let anybody use a session.
    * `key_hash`: SHA-256 of the session key. Sessions are found by it, not by the key: a key may
      be longer than any index takes, and hold what a database compares or stores in its own way.
    * `session_key`: the session key for people to read, see `readable_key`.
    * `data`: what the codec made of the session's data.
    * `created_at`: seconds since the epoch; null: the session came from a store that does not
      keep that.
    * `expires_at`: the session is gone from then on; null: never.
    * `deadline`: by `max_age`, the moment that `expires_at` never goes beyond; null: none.
    * `id_key`: the mark of the key that the id is encrypted with; null: it is not encrypted, or
      that is not known.
    * `ttl`: the session's own ttl in seconds; 0: no limit; null: the store's.

    Raises:
        JamConfigurationError: A table or schema cannot have this name.
    """
    _check_names(table_name, schema)
    return Table(
        table_name,
        MetaData(schema=schema),
        Column("id_hash", _HASH, primary_key=True),
        Column("key_hash", _HASH, nullable=False, index=True),
        Column("session_key", _TEXT, nullable=False),
        Column("data", _TEXT, nullable=False),
        Column("created_at", Double),
        Column("expires_at", Double, index=True),
        Column("deadline", Double),
        Column("id_key", _MARK),
        Column("ttl", BigInteger),
    )


def metadata(table_name: str = "jam_sessions", schema: str | None = None) -> MetaData:
    """Return the metadata of the table, for Alembic's `target_metadata`."""
    return session_table(table_name, schema).metadata


def row_of(id_hash: str, record: SessionRecord) -> dict[str, Any]:
    """Return a record as the columns of a row."""
    return {
        "id_hash": id_hash,
        "key_hash": hash_key(record.session_key),
        "session_key": readable_key(record.session_key),
        "data": record.data,
        "created_at": record.created_at,
        "expires_at": record.expires_at,
        "deadline": record.deadline,
        "id_key": record.id_key,
        "ttl": pack_ttl(record.ttl),
    }


def record_of(row: Row[Any], session_key: str | None = None) -> SessionRecord:
    """Return the record from which `row_of` made this row.

    Args:
        row: The row.
        session_key: Its session key, if that is known.

    Raises:
        UnicodeDecodeError: The session key in it is damaged.
    """
    return SessionRecord(
        session_key=original_key(row.session_key) if session_key is None else session_key,
        id_hash=row.id_hash,
        data=row.data,
        created_at=row.created_at,
        expires_at=row.expires_at,
        deadline=row.deadline,
        ttl=unpack_ttl(row.ttl),
        id_key=row.id_key,
    )


def hash_key(session_key: str) -> str:
    """Return the SHA-256 of a session key in hexadecimal."""
    return sha256(session_key.encode("utf-8", "surrogatepass")).hexdigest()


def readable_key(session_key: str) -> str:
    r"""Return a session key in plain ASCII, other characters escaped as in Python ("\xe9").

    Every database can hold this, whatever the key's characters and the database's encoding;
    `original_key` gives the key back.
    """
    return session_key.encode("unicode_escape").decode("ascii")


def original_key(readable: str) -> str:
    """Return the session key from which `readable_key` made this."""
    return readable.encode("ascii", "replace").decode("unicode_escape")


def _check_names(table_name: object, schema: object) -> None:
    """Refuse names that a table or a schema cannot have.

    Raises:
        JamConfigurationError: One is empty, contains a NUL, or is not a string.
    """
    for option, name in (("table_name", table_name), ("schema", schema)):
        may_lack = option == "schema" and name is None
        if not may_lack and (not isinstance(name, str) or not name or "\0" in name):
            raise JamConfigurationError(f"{option} must be a name that the database can use.")


def prepare_table(engine: Engine, table: Table, *, create: bool) -> None:
    """Make sure that there is a table with every column.

    Args:
        engine: Connects to the database.
        table: The table.
        create: Create it if it is missing, and add the columns that one of an earlier version
            lacks, if the user is allowed to.

    Raises:
        JamStoreMissing: There is no table, or it lacks a column.
    """
    # Looking is slow (reflection), so it is done once where nothing is missing.
    lacking = _lacking(engine, table)
    if lacking is None and create:
        _create(engine, table)
        lacking = _lacking(engine, table)  # an earlier version of Jam may have been faster
    if lacking and create:
        _add_columns(engine, table, lacking)
        lacking = _lacking(engine, table)
    if lacking is None:
        raise JamStoreMissing(
            f"There is no table {table.fullname}. create_table = true would create it, as does a "
            "migration: Alembic makes one from jam_sqlalchemy.metadata()."
        )
    if lacking:
        statements = " ".join(f"{_statement_to_add(engine, table, name)};" for name in lacking)
        raise JamStoreMissing(
            f"The table {table.fullname} lacks {', '.join(lacking)}. Have somebody who is allowed "
            f"to do so run: {statements} Or add it by a migration (Alembic makes one from "
            "jam_sqlalchemy.metadata()), or choose another table_name."
        )


def _create(engine: Engine, table: Table) -> None:
    """Create the table and its indexes, unless another process is faster."""
    try:
        _create_in_one_transaction(engine, table)
    except DBAPIError as error:
        if error.statement is None:  # there is no connection
            raise
        # If another process was faster, the table exists now, and the second attempt finds it.
        _create_in_one_transaction(engine, table)


def _create_in_one_transaction(engine: Engine, table: Table) -> None:
    with engine.connect().execution_options(isolation_level="SERIALIZABLE") as connection:
        table.create(connection, checkfirst=True)
        connection.commit()


def _add_columns(engine: Engine, table: Table, lacking: list[str]) -> None:
    for name in lacking:
        if name in _ADDED_LATER:
            try:
                with engine.connect() as connection:
                    connection.exec_driver_sql(_statement_to_add(engine, table, name))
            except DBAPIError as error:
                # Another process was faster; or somebody else must do it, as is said later.
                if name in (_lacking(engine, table) or ()) and not is_forbidden(error):
                    raise


def _lacking(engine: Engine, table: Table) -> list[str] | None:
    """Return the columns that the table in the database lacks; None: there is no table."""
    # Asking for the columns by reflection would be several times slower, at every start.
    with engine.connect() as connection:
        if not inspect(connection).has_table(table.name, schema=table.schema):
            return None
        nothing: Select[Any] = select(literal_column("*")).select_from(table).where(false())
        present = set(connection.execute(nothing).keys())
    return [column.name for column in table.columns if column.name not in present]


def _statement_to_add(engine: Engine, table: Table, name: str) -> str:
    name_of_table = engine.dialect.identifier_preparer.format_table(table)
    column = CreateColumn(table.columns[name]).compile(dialect=engine.dialect)
    return f"ALTER TABLE {name_of_table} ADD COLUMN {column}"
