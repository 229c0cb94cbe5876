"""What went wrong in the database, in our own words.

Drivers tell it by codes: SQLSTATE (PostgreSQL), error numbers (MariaDB, MySQL), names (SQLite).
The driver's own error is chained. SQLAlchemy's is not: it may repeat a statement's parameters,
which are the session's key and data.
"""

from sqlalchemy.exc import DataError, DBAPIError, IdentifierError, IntegrityError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from jam_core import JamConfigurationError, JamError, JamSessionDataError, JamStoreUnavailable

_UNREACHABLE = "cannot be reached. Check that the server is running, and its address"
_BROKEN = (
    "lost its connection in the middle of an operation, which may or may not have been carried out"
)
_LIMITED = "was stopped by a time limit of the server"
_REFUSED = "refuses the user. Check user and password, and the user's right to connect"
_FORBIDDEN = "forbids the operation. Grant the user SELECT, INSERT, UPDATE and DELETE on the table"
_NO_DATABASE = "has no such database. Create it, or correct its name"
_CROWDED = "accepts no more connections. Lower pool_size, or raise the server's limit"
_LOCKED = "waited in vain for a lock. Look for what holds it"
_READ_ONLY = "is read-only. It may be a replica, or its file or disk may be write-protected"
_FULL = "has no space left. Free some on its disk"
_DAMAGED = "is damaged, or is no database. Restore it from a backup"
_NO_FILE = "cannot open its file. Check the path and its permissions"
_DISK = "got an error from its disk"
_MISFIT = "has no fitting table any more. Restart the application to read what is missing"
_POOLER = (
    "is behind a pooler that refuses startup options. Set options = '' in connect_args, and limit "
    "the user instead: ALTER ROLE ... SET statement_timeout"
)
_RESTARTING = "is starting up or shutting down"
_CONFLICT = "was in conflict with other writers at every attempt. Try again"
_CONSTRAINED = (
    "refuses the row: the table has a constraint or a required column that is not of this store. "
    "Remove it, or choose another table_name"
)
_NO_CONNECTION_FREE = (
    "has no connection free: all of the pool are in use. Raise pool_size or max_overflow, or look "
    "for what holds them"
)

_REASONS = {
    # PostgreSQL
    "25006": _READ_ONLY,
    "28000": _REFUSED,
    "28P01": _REFUSED,
    "3D000": _NO_DATABASE,
    "3F000": _MISFIT,
    "40001": _CONFLICT,
    "40P01": _CONFLICT,
    "42501": _FORBIDDEN,
    "42703": _MISFIT,
    "42P01": _MISFIT,
    "53100": _FULL,
    "53300": _CROWDED,
    "55P03": _LOCKED,
    "57014": _LIMITED,
    "57P01": _RESTARTING,
    "57P02": _RESTARTING,
    "57P03": _RESTARTING,
    # MariaDB and MySQL
    "1020": _CONFLICT,
    "1021": _FULL,
    "1040": _CROWDED,
    "1044": _REFUSED,
    "1045": _REFUSED,
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
    "2002": _UNREACHABLE,
    "2003": _UNREACHABLE,
    "2005": _UNREACHABLE,
    "3024": _LIMITED,
    "3819": _CONSTRAINED,
    "4025": _CONSTRAINED,
    # SQLite
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
# PostgreSQL's drivers have no code for what fails while connecting.
_PHRASES = {
    "authentication failed": _REFUSED,
    "no password supplied": _REFUSED,
    "no pg_hba.conf entry": _REFUSED,
    "FATAL:  role": _REFUSED,
    "FATAL:  database": _NO_DATABASE,
    "too many clients": _CROWDED,
    "too many connections": _CROWDED,
    "connection slots": _CROWDED,
    "unsupported startup parameter": _POOLER,
    "starting up": _RESTARTING,
    "shutting down": _RESTARTING,
    "no such table": _MISFIT,  # for these two SQLite has no code, either
    "no such column": _MISFIT,
}
_TAKEN = ("23505", "1062", "SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_UNIQUE")
# The database undid the statement, to end a conflict between writers.
_UNDONE = ("40001", "40P01", "1020", "1213")
_ATTEMPTS = 20
_MISNAMED = ("3F000", "42601", "42602", "1059", "1102", "1103")
_TOO_LARGE = ("1153", "SQLITE_TOOBIG")


class IdTakenError(Exception):
    """There is a row with this primary key already."""


def may_repeat(error: Exception, attempt: int, *, harmless: bool) -> bool:
    """Tell whether to execute a statement again that failed.

    Args:
        error: How it failed.
        attempt: How often it was executed.
        harmless: Whether it does nothing more when it is executed twice.
    """
    if not isinstance(error, DBAPIError):
        return False
    if _code(error) in _UNDONE:
        return attempt < _ATTEMPTS
    # Whether a broken connection carried the statement out, nobody knows.
    return error.connection_invalidated and harmless and attempt == 1


def explained(error: Exception, store: str) -> JamError | IdTakenError:
    """Return the error for the caller, with the driver's chained.

    Where that may quote what was to be stored, it is left out: the database refused the data, or a
    trigger made its own message of it.

    Args:
        error: What was raised.
        store: Words for the table and the database.
    """
    if isinstance(error, IntegrityError):
        if _code(error) in _TAKEN:
            return IdTakenError()
        return JamStoreUnavailable(f"{store} {_CONSTRAINED}.")
    explanation = _explanation(error, store)
    if isinstance(error, DBAPIError):
        said_by_trigger = _code(error).startswith("P0") or _code(error) == "45000"
        if not said_by_trigger and not isinstance(explanation, JamSessionDataError):
            explanation.__cause__ = error.orig
    elif not isinstance(error, UnicodeEncodeError):
        explanation.__cause__ = error
    return explanation


def explained_at_start(error: Exception, store: str) -> JamError:
    """Return the error for the caller of the constructor: there, more is a wrong option.

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
    if misfit is None:
        explanation = explained(error, store)
        conflict = JamStoreUnavailable(f"{store} {_CONFLICT}.")  # others create the table, too
        return conflict if isinstance(explanation, IdTakenError) else explanation
    failure = JamConfigurationError(f"{store} cannot be prepared: {misfit}.")
    failure.__cause__ = error.orig if isinstance(error, DBAPIError) else error
    return failure


def _misfit_at_start(error: Exception) -> str | None:
    if isinstance(error, TypeError):
        return f"connect_args do not suit the driver: {error}"
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


def _explanation(error: Exception, store: str) -> JamError:
    if isinstance(error, NoConnectionFree):
        return JamStoreUnavailable(f"{store} {_NO_CONNECTION_FREE}.")
    if not isinstance(error, DBAPIError | UnicodeEncodeError):
        kind = type(error)
        return JamStoreUnavailable(f"{store} failed: {kind.__module__}.{kind.__qualname__}.")
    if isinstance(error, UnicodeEncodeError | DataError) or _code(error) in _TOO_LARGE:
        return JamSessionDataError(
            f"{store} does not accept the data. It may be too large, or the serializer may write "
            "characters that the database cannot hold. Nothing was stored."
        )
    code, said = _code(error), str(error.orig)
    if "invalid connection option" in said:
        return JamConfigurationError(
            f"{store}: the driver has no such connect_args: {said.strip()}."
        )
    return JamStoreUnavailable(f"{store} {_reason(error, code, said)}.")


def _reason(error: DBAPIError, code: str, said: str) -> str:
    for name in (code, "_".join(code.split("_")[:2])):  # SQLITE_BUSY_TIMEOUT is a SQLITE_BUSY
        if name in _REASONS:
            return _REASONS[name]
    if error.connection_invalidated:
        return _BROKEN
    for phrase, reason in _PHRASES.items():
        if phrase in said:
            return reason
    if error.statement is None:  # it did not come to that
        return _UNREACHABLE
    return f"failed: {type(error.orig).__name__} {code}".rstrip()


def _code(error: DBAPIError) -> str:
    """Return the code by which the driver names what went wrong, or an empty text."""
    original = error.orig
    number = original.args[0] if original is not None and original.args else None
    if isinstance(number, int):
        return str(number)
    names = ("sqlite_errorname", "sqlstate", "pgcode")
    return next((code for name in names if (code := getattr(original, name, None))), "")
