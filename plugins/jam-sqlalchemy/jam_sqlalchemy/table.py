"""The table: what it holds, in types that mean the same on every database."""

from hashlib import sha256

from sqlalchemy import (
    Column,
    Double,
    Engine,
    MetaData,
    String,
    Table,
    Text,
    inspect,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import DBAPIError, NoSuchTableError

from jam_core import JamConfigurationError

# MySQL and MariaDB need to be told the character set: their default may compare "a" and "A" as
# equal, may not hold every character, and their plain TEXT ends at 64 kB.
_HASH = String(64).with_variant(
    mysql.CHAR(64, charset="ascii", collation="ascii_bin"), "mysql", "mariadb"
)
_MARK = String(8).with_variant(
    mysql.CHAR(8, charset="ascii", collation="ascii_bin"), "mysql", "mariadb"
)
_TEXT = Text().with_variant(
    mysql.LONGTEXT(charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb"
)


def session_table(table_name: str = "jam_sessions", schema: str | None = None) -> Table:
    """Return the table that holds the sessions.

    * `id_hash`: SHA-256 of the session id; whoever reads the table cannot use a session.
    * `key_hash`: SHA-256 of the session key. Sessions are found by it, not by the key: a key may
      be longer than any index takes, and hold what a database compares or stores in its own way.
    * `session_key`: the session key for people to read, see `readable_key`.
    * `data`: what the codec made of the session's data.
    * `created_at`: seconds since the epoch; null: the session came from a store that does not
      keep that.
    * `expires_at`: the session is gone from then on; null: never.
    * `deadline`: the moment beyond which `expires_at` is never pushed, by `max_age`; null: none.
    * `id_key`: the mark of the key that the id is encrypted with; null: it is not, or not known.
    """
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
    )


def metadata(table_name: str = "jam_sessions", schema: str | None = None) -> MetaData:
    """Return the metadata of the table, for Alembic's `target_metadata`."""
    return session_table(table_name, schema).metadata


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
    """Return the session key of which `readable_key` made this."""
    return readable.encode("ascii", "replace").decode("unicode_escape")


def check_names(table_name: object, schema: object) -> None:
    """Refuse names that no table and no schema can have.

    Raises:
        JamConfigurationError: One is empty, holds a NUL, or is no text.
    """
    for option, name in (("table_name", table_name), ("schema", schema)):
        may_lack = option == "schema" and name is None
        if not may_lack and (not isinstance(name, str) or not name or "\0" in name):
            raise JamConfigurationError(f"{option} must be a name that the database can use.")


def create_table(engine: Engine, table: Table) -> None:
    """Create the table and its indexes if the table is missing."""
    try:
        _create_in_one_transaction(engine, table)
    except DBAPIError as error:
        if error.statement is None:  # there is no connection
            raise
        # Another process was faster; then it is there now, and the second attempt finds it.
        _create_in_one_transaction(engine, table)


def _create_in_one_transaction(engine: Engine, table: Table) -> None:
    with engine.connect().execution_options(isolation_level="SERIALIZABLE") as connection:
        table.create(connection, checkfirst=True)
        connection.commit()


def check_table(engine: Engine, table: Table) -> None:
    """Make sure that the table has every column.

    Raises:
        JamConfigurationError: There is no table, or it lacks a column.
    """
    try:
        columns = inspect(engine).get_columns(table.name, schema=table.schema)
    except NoSuchTableError:
        raise JamConfigurationError(
            f"There is no table {table.fullname}. Set create_table = true, or create it by a "
            "migration: Alembic makes one from jam_sqlalchemy.metadata()."
        ) from None
    present = {column["name"] for column in columns}
    lacking = [column.name for column in table.columns if column.name not in present]
    if lacking:
        raise JamConfigurationError(
            f"The table {table.fullname} lacks {', '.join(lacking)}. Add it by a migration "
            "(Alembic makes one from jam_sqlalchemy.metadata()), or choose another table_name."
        )
