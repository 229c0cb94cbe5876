"""What went wrong in the database, in our own words.

Drivers report it by codes: SQLSTATE (PostgreSQL), error numbers (MariaDB, MySQL), names (SQLite).
The driver's own error is chained. SQLAlchemy's is not: it may repeat a statement's parameters,
which are the session's key and data.
"""

import re
import sys
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IdentifierError,
    IntegrityError,
    StatementError,
)
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from jam_core import JamConfigurationError, JamError, JamSessionDataError, JamStoreUnavailable

_UNREACHABLE = "cannot be reached. Check that the server is running, and its address"
_REFUSING = (
    "cannot be reached: nothing listens there. Check that the server is running, and its port"
)
_SILENT = (
    "cannot be reached: it did not answer in time. Check its address, firewalls, and whether it is "
    "overloaded"
)
_UNKNOWN_HOST = "cannot be reached: there is no such host. Correct the host name, or check DNS"
_NO_TLS = (
    "offers no TLS, but the URL or connect_args demand it. Turn it on at the server, or correct "
    "sslmode or ssl_..."
)
_DISTRUSTED = "has a certificate that is not trusted. Name its authority: sslrootcert or ssl_ca"
_BROKEN = "lost its connection in the middle of work: a write may or may not have been carried out"
_LIMITED = "was stopped by a time limit of the server"
_HANGING = "did not answer within read_timeout: a write may or may not have been carried out"
_UNSENT = (
    "was not asked: within read_timeout no connection could be opened, or became free in the pool. "
    "Check that the server is running, and what holds the connections"
)
_REFUSED = "refuses the user. Check user and password, and the user's right to connect"
_FORBIDDEN = "forbids the operation. Grant the user SELECT, INSERT, UPDATE and DELETE on the table"
_NOT_TO_CREATE = (
    "does not let the user create the table. Grant it (GRANT CREATE ON SCHEMA, on MariaDB CREATE), "
    "or have somebody else create it: Alembic makes a migration from jam_sqlalchemy.metadata()"
)
_NO_DATABASE = "has no such database. Create it, or correct its name"
_CROWDED = "accepts no more connections. Lower pool_size, or raise the server's limit"
_LOCKED = "did not get a lock in time. Find out what holds it"
_READ_ONLY = "is read-only. It may be a replica, or its file or disk may be write-protected"
_FULL = "has no space left. Free some on its disk"
_DAMAGED = "is damaged, or is not a database. Restore it from a backup"
_NO_FILE = "cannot open its file. Check the path and its permissions"
_DISK = "got an error from its disk"
_MISFIT = "no longer has a matching table. Restart the application to read what is missing"
_MISFIT_IN_MEMORY = (
    "has no table: with this engine each thread has its own database in memory. Create it "
    "with poolclass=StaticPool and connect_args={'check_same_thread': False}"
)
_POOLER_OPTIONS = (
    "is behind a pooler that refuses startup options. Set options = '' (asyncpg: server_settings = "
    "{}) in connect_args, and limit "
    "the user instead: ALTER ROLE ... SET statement_timeout"
)
_POOLER_PREPARES = (
    "is behind a pooler that mixes up prepared statements. Set prepare_threshold = 1000000000 "
    "(asyncpg: statement_cache_size = 0) in connect_args, or max_prepared_statements in PgBouncer "
    "from 1.21 on"
)
_POOLER_WAITS = "is behind a pooler that cannot reach it. Check the database, and the pooler's log"
_RESTARTING = "is starting up or shutting down"
_CONFLICT = "was in conflict with other writers at every attempt. Try again"
_CONSTRAINED = (
    "refuses the row: the table has a constraint or a required column that does not belong to "
    "this store. "
    "Remove it, or choose another table_name"
)
_NO_CONNECTION_FREE = (
    "has no free connection: all in the pool are in use. Find out what holds them, such as a "
    "server that hangs; or raise pool_size or max_overflow"
)

# The first that fits is the cause: a code, the beginning of a code up to a second "_", or words
# (with lower-case letters), which come first where many causes share a code, or have none.
_CAUSES: dict[str, str] = {
    # PgBouncer: they are all 08P01, "protocol violation"
    "unsupported startup parameter": _POOLER_OPTIONS,
    "server login has been failing": _POOLER_WAITS,
    "cannot connect to server": _POOLER_WAITS,
    "query_wait_timeout": _POOLER_WAITS,
    "no more connections allowed": _CROWDED,
    "no such database": _NO_DATABASE,
    "prepared statement": _POOLER_PREPARES,
    # PostgreSQL while connecting, where its drivers have no code
    "server does not support SSL": _NO_TLS,
    "certificate verify failed": _DISTRUSTED,
    "root certificate file": _DISTRUSTED,
    "authentication failed": _REFUSED,
    "no password supplied": _REFUSED,
    "no pg_hba.conf entry": _REFUSED,
    "FATAL:  role": _REFUSED,
    "FATAL:  database": _NO_DATABASE,
    "too many clients": _CROWDED,
    "too many connections": _CROWDED,
    "connection slots": _CROWDED,
    "is starting up": _RESTARTING,
    "is shutting down": _RESTARTING,
    # PostgreSQL
    "25006": _READ_ONLY,
    "26000": _POOLER_PREPARES,
    "28000": _REFUSED,
    "28P01": _REFUSED,
    "3D000": _NO_DATABASE,
    "3F000": _MISFIT,
    "40001": _CONFLICT,
    "40P01": _CONFLICT,
    "42501": _FORBIDDEN,
    "42703": _MISFIT,
    "42P01": _MISFIT,
    "42P05": _POOLER_PREPARES,
    "53100": _FULL,
    "53300": _CROWDED,
    "55P03": _LOCKED,
    "57014": _LIMITED,
    "57P01": _RESTARTING,
    "57P02": _RESTARTING,
    "57P03": _RESTARTING,
    # MariaDB and MySQL; PyMySQL has one number for every failure to connect
    "SSL is required but the server": _NO_TLS,
    "SSL connection error": _NO_TLS,
    "1020": _CONFLICT,
    "1021": _FULL,
    "1036": _READ_ONLY,
    "1040": _CROWDED,
    "1044": _REFUSED,
    "1045": _REFUSED,
    "1046": _NO_DATABASE,
    "1049": _NO_DATABASE,
    "1053": _RESTARTING,
    "1054": _MISFIT,
    "1114": _FULL,
    "1142": _FORBIDDEN,
    "1146": _MISFIT,
    "1203": _CROWDED,
    "1205": _LOCKED,
    "1213": _CONFLICT,
    "1290": _READ_ONLY,
    "1364": _CONSTRAINED,
    "1698": _REFUSED,
    "1792": _READ_ONLY,
    "1836": _READ_ONLY,
    "1969": _LIMITED,
    "3024": _LIMITED,
    "3819": _CONSTRAINED,
    "4025": _CONSTRAINED,
    # SQLite; its code for the first says nothing
    "no such table": _MISFIT,
    "no such column": _MISFIT,
    "SQLITE_BUSY": _LOCKED,
    "SQLITE_CANTOPEN": _NO_FILE,
    "SQLITE_CORRUPT": _DAMAGED,
    "SQLITE_FULL": _FULL,
    "SQLITE_IOERR": _DISK,
    "SQLITE_LOCKED": _LOCKED,
    "SQLITE_NOTADB": _DAMAGED,
    "SQLITE_PERM": _NO_FILE,
    "SQLITE_READONLY": _READ_ONLY,
}
# Why there is no connection; these words may also turn up in the middle of an operation.
_NO_CONNECTION: dict[str, str] = {
    "Connection refused": _REFUSING,
    "[Errno 111] Connect call failed": _REFUSING,  # what asyncio calls it
    "rejected SSL upgrade": _NO_TLS,  # asyncpg
    "Name or service not known": _UNKNOWN_HOST,
    "name resolution": _UNKNOWN_HOST,
    "No address associated": _UNKNOWN_HOST,
    "could not translate host name": _UNKNOWN_HOST,
    "failed to resolve host": _UNKNOWN_HOST,
    "getaddrinfo failed": _UNKNOWN_HOST,
    "timeout expired": _SILENT,
    "timed out": _SILENT,
}
_TAKEN = ("23505", "1062", "SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_UNIQUE")
# The database rolled the statement back, to end a conflict between writers.
_UNDONE = ("40001", "40P01", "1020", "1213")
# It refuses to write: after a failover, a new connection may lead to a server that accepts writes.
_READS_ONLY = ("25006", "1036", "1290", "1792", "1836")
_ATTEMPTS = 20
_MISNAMED = ("3F000", "42601", "42602", "1059", "1102", "1103")
_TOO_LARGE = ("54000", "1153", "SQLITE_TOOBIG")
_LOST = ("2006", "2013")  # what MariaDB's driver reports for a packet that is too large
_CLIENT_ERROR = re.compile(r"2\d{3}")  # from MySQL's drivers, not from the server
_DATA_ERROR = re.compile(r"22...")  # PostgreSQL's class for them
_LONGEST_SAYING = 200  # characters


class IdTakenError(Exception):
    """There is a row with this primary key already."""


class HangingError(Exception):
    """The server has not answered within read_timeout."""


class UnsentError(Exception):
    """There has been no connection within read_timeout."""


def foreign(error: BaseException) -> BaseException | None:
    """Return the exception behind an error that comes neither from the database nor its drivers.

    A signal handler may have raised it, somebody pressed Ctrl-C, or memory ran out. It may be the
    error itself, or SQLAlchemy or a driver may have turned it into an error of their own.
    """
    behind: BaseException | None = error
    while behind is not None:
        # What the store's caller is just handling is a context, too, but none of our business. Nor
        # is a cancellation by a driver's time limit; a caller's own cancellation is not wrapped.
        is_ours = behind is error or (
            _catcher(behind) in _DRIVERS and type(behind).__name__ != "CancelledError"
        )
        if is_ours and not _is_of_driver(behind):
            return behind
        behind = behind.__context__
    return None


def leaves_no_doubt(error: BaseException) -> bool:
    """Tell whether the server refused, its answer was read, and the connection can be used."""
    if not isinstance(error, DBAPIError) or error.connection_invalidated:
        return False
    code = _code(error)
    return not (code in ("", *_READS_ONLY) or _CLIENT_ERROR.fullmatch(code))


def is_forbidden(error: DBAPIError) -> bool:
    """Tell whether the user lacks the right to do this."""
    return _code(error) in ("42501", "1142")


def reads_only(error: Exception) -> bool:
    """Tell whether the server refused because it does not accept writes."""
    return isinstance(error, DBAPIError) and _code(error) in _READS_ONLY


def may_repeat(error: Exception, attempt: int, *, harmless: bool) -> bool:
    """Tell whether to execute a failed statement again.

    Args:
        error: How it failed.
        attempt: How often it has been executed.
        harmless: Whether executing it twice does no more than executing it once.
    """
    if not isinstance(error, DBAPIError):
        return False
    if _code(error) in _UNDONE:
        return attempt < _ATTEMPTS
    if reads_only(error):
        return attempt == 1  # nothing was done, and by now there may be another server
    # Nobody knows whether the statement was carried out before the connection broke.
    return error.connection_invalidated and harmless and attempt == 1


def explained(error: Exception, store: str, largest: int | None = None) -> JamError | IdTakenError:
    """Return the error for the caller, with the driver's chained.

    The driver's is left out if it may quote what was to be stored: the database refused the data,
    or a trigger put it into a message of its own.

    Args:
        error: What was raised.
        store: Words for the table and the database.
        largest: How many bytes the server takes at once, if it says so.
    """
    if isinstance(error, IntegrityError):
        if _code(error) in _TAKEN:
            return IdTakenError()
        return JamStoreUnavailable(f"{store} {_CONSTRAINED}.")
    explanation = _explanation(error, store, largest)
    if isinstance(error, DBAPIError):
        if not _said_by_trigger(error) and not isinstance(explanation, JamSessionDataError):
            explanation.__cause__ = error.orig
    elif not isinstance(error, UnicodeEncodeError | StatementError):
        explanation.__cause__ = error
    return explanation


def explained_at_start(error: Exception, store: str) -> JamError:
    """Return the error for the caller of the constructor: there, more errors mean a wrong option.

    Args:
        error: What was raised.
        store: Words for the table and the database.
    """
    if isinstance(error, UnicodeEncodeError):  # not chained: it quotes the password
        return JamConfigurationError(
            f"{store} cannot be opened: the driver cannot send a character of the user's name, the "
            "password or the database's name. Choose others."
        )
    misfit = _misfit_at_start(error)
    if misfit is not None:
        failure: JamError = JamConfigurationError(f"{store} cannot be prepared: {misfit}.")
    elif isinstance(error, DBAPIError) and _may_not_create(error):
        failure = JamStoreUnavailable(f"{store} {_NOT_TO_CREATE}.")
    else:
        explanation = explained(error, store)
        conflict = JamStoreUnavailable(f"{store} {_CONFLICT}.")  # others are creating the table
        return conflict if isinstance(explanation, IdTakenError) else explanation
    failure.__cause__ = error.orig if isinstance(error, DBAPIError) else error
    return failure


def _may_not_create(error: DBAPIError) -> bool:
    return is_forbidden(error) and (error.statement or "").strip().startswith("CREATE")


def _misfit_at_start(error: Exception) -> str | None:
    if isinstance(error, TypeError):
        return f"connect_args does not fit the driver: {error}"
    if isinstance(error, DBAPIError):
        misnamed = _code(error) in _MISNAMED or "unknown database" in str(error.orig)
    else:
        misnamed = isinstance(error, IdentifierError)
    if misnamed:
        return (
            "there is no such schema, or the database does not accept a name. Correct table_name "
            "or schema, or create the schema"
        )
    return None


def _explanation(error: Exception, store: str, largest: int | None) -> JamError:
    if _refuses_data(error, largest):
        return JamSessionDataError(
            f"{store} does not accept the data. It may be too large, or the serializer may write "
            "characters that the database cannot hold. Nothing was stored."
        )
    if isinstance(error, DBAPIError):
        return _explanation_of_driver(error, store)
    return JamStoreUnavailable(f"{store} {_reason_without_server(error)}.")


def _reason_without_server(error: Exception) -> str:
    """Return what happened if the server has not said anything."""
    if isinstance(error, NoConnectionFree):
        return _NO_CONNECTION_FREE
    if isinstance(error, HangingError):
        return _HANGING
    if isinstance(error, UnsentError):
        return _UNSENT
    if isinstance(error, TimeoutError):  # from asyncpg, as is OSError: there is no connection
        return _SILENT
    if isinstance(error, OSError):
        return _no_connection(str(error)) or _UNREACHABLE
    kind = type(error)
    return f"failed: {kind.__module__}.{kind.__qualname__}"


def _explanation_of_driver(error: DBAPIError, store: str) -> JamError:
    said = str(error.orig)
    if "invalid connection option" in said:
        return JamConfigurationError(f"{store}: the driver refuses connect_args: {said.strip()}.")
    cause = _reason(error, said)
    if cause is _MISFIT and store.endswith("sqlite :memory:)"):
        cause = _MISFIT_IN_MEMORY
    quoted = "" if cause is None else _quoted(error)
    said_so = cause or f"failed: {type(error.orig).__name__} {_code(error)}".rstrip()
    return JamStoreUnavailable(f"{store} {said_so}.{quoted}")


def _refuses_data(error: Exception, largest: int | None) -> bool:
    if not isinstance(error, DBAPIError):
        return isinstance(getattr(error, "orig", error), UnicodeEncodeError)
    is_too_large = (
        largest is not None and _code(error) in _LOST and largest < _size_of(error.params)
    )
    is_refused = isinstance(error, DataError) or bool(_DATA_ERROR.fullmatch(_code(error)))
    # asyncpg could not even send the data, and quotes it.
    is_unfit = error.orig is not None and isinstance(error.orig.__cause__, ValueError)
    return is_refused or is_unfit or _code(error) in _TOO_LARGE or is_too_large


def _size_of(parameters: Any) -> int:
    """Return roughly how many bytes a statement's parameters take, at least."""
    if isinstance(parameters, str):
        return len(parameters.encode("utf-8", "surrogatepass"))
    if isinstance(parameters, Mapping):
        return _size_of(parameters.values())
    return sum(map(_size_of, parameters)) if isinstance(parameters, Iterable) else 0


def _reason(error: DBAPIError, said: str) -> str | None:
    if error.statement is None and (reason := _no_connection(said)):  # it never got that far
        return reason
    code = _code(error)
    codes = (code, "_".join(code.split("_")[:2]))  # SQLITE_BUSY_TIMEOUT is a SQLITE_BUSY
    for sign, reason in _CAUSES.items():
        if sign in codes or (any(map(str.islower, sign)) and sign in said):
            return reason
    if error.statement is None:
        return _UNREACHABLE
    if error.connection_invalidated:
        return _BROKEN
    return None


def _no_connection(said: str) -> str | None:
    """Return why there is no connection, as far as the message tells."""
    return next((reason for phrase, reason in _NO_CONNECTION.items() if phrase in said), None)


def _quoted(error: DBAPIError) -> str:
    """Return what the server said about a cause that is not in the data, as a sentence."""
    diagnosis = getattr(error.orig, "diag", None)
    said = getattr(diagnosis, "message_primary", None) or (error.orig and error.orig.args[-1])
    words = " ".join(str(said or "").partition("\n")[0].split())  # details would follow
    return f" It said: {words[:_LONGEST_SAYING]!r}." if words else ""


def _said_by_trigger(error: DBAPIError) -> bool:
    code = _code(error)
    return code.startswith("P0") or code in ("45000", "1644")


# The packages whose own exceptions are about the database.
_DRIVERS = {
    "jam_sqlalchemy",
    "sqlalchemy",
    "psycopg",
    "psycopg_binary",
    "psycopg_c",
    "psycopg2",
    "pymysql",
    "MySQLdb",
    "mysql",
    "mariadb",
    "pg8000",
    "asyncpg",
    "asyncmy",
    "aiomysql",
    "aiosqlite",
}


def _is_of_driver(error: BaseException) -> bool:
    """Tell whether it is a driver's kind of error, or one of Python's raised in a driver's code.

    Signal handlers raise TimeoutError, too.
    """
    if not isinstance(error, Exception) or isinstance(error, MemoryError):
        return False
    kind = type(error).__module__.partition(".")[0]
    return kind in _DRIVERS or (
        (kind == "builtins" or kind in sys.stdlib_module_names)
        and (_raiser(error) in _DRIVERS or _raiser(error) in sys.stdlib_module_names)
    )


def _catcher(error: BaseException) -> str:
    """Return the name of the package whose code has caught an exception."""
    traceback = error.__traceback__
    return _package(traceback) if traceback is not None else ""


def _raiser(error: BaseException) -> str:
    """Return the name of the package in whose code an exception was raised."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return _package(traceback) if traceback is not None else ""


def _package(traceback: TracebackType) -> str:
    name: str = traceback.tb_frame.f_globals.get("__name__", "")
    return name.partition(".")[0]


def _code(error: DBAPIError) -> str:
    """Return the driver's code for what went wrong, or an empty string."""
    original = error.orig
    number = original.args[0] if original is not None and original.args else None
    if isinstance(number, int):
        return str(number)
    names = ("sqlite_errorname", "sqlstate", "pgcode")
    return next((code for name in names if (code := getattr(original, name, None))), "")
