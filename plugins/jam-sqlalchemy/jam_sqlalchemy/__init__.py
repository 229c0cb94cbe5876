"""The SQL store for Jam: sessions in a table of PostgreSQL, MariaDB, MySQL or SQLite."""

from jam_sqlalchemy.sessions import SQLAlchemySessions
from jam_sqlalchemy.table import metadata

__all__ = ["SQLAlchemySessions", "metadata"]
