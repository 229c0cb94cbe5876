"""The engine: the one that the store makes of a URL, or a view of the caller's own."""

import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from threading import Condition
from typing import Any
from urllib.parse import unquote, urlsplit
from weakref import WeakSet

from sqlalchemy import URL, Engine, QueuePool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from jam_core import JamConfigurationError, JamStoreUnavailable, is_loopback

_DATABASES = ("postgresql", "mariadb", "mysql", "sqlite")

# So that nobody waits for ever; seconds, but milliseconds for PostgreSQL's other three.
_POSTGRESQL_TIMEOUTS: dict[str, Any] = {
    "connect_timeout": 10,
    "tcp_user_timeout": 30_000,
    "options": "-c statement_timeout=30000 -c lock_timeout=15000",
}
_MYSQL_TIMEOUTS: dict[str, Any] = {
    "connect_timeout": 10,
    "read_timeout": 30,
    "write_timeout": 30,
    # The second one: for the lock of ALTER TABLE. Without it the statement would wait on in the
    # server after we have given up, and be carried out at last over what is newer.
    "init_command": "SET SESSION innodb_lock_wait_timeout = 15, lock_wait_timeout = 15",
}
_TIMEOUTS: dict[str, dict[str, Any]] = {
    "psycopg": _POSTGRESQL_TIMEOUTS,
    "psycopg2": _POSTGRESQL_TIMEOUTS,
    "pymysql": _MYSQL_TIMEOUTS,
    "mysqldb": _MYSQL_TIMEOUTS,
    "pysqlite": {"timeout": 15},
}
_LONGEST_OPERATION = 30  # seconds
_FOUND_ROWS = 2  # CLIENT_FOUND_ROWS of MySQL's protocol
_PACKAGES = {
    "psycopg": "'psycopg[binary]'",
    "psycopg2": "psycopg2-binary",
    "mysqldb": "mysqlclient",
    "mysqlconnector": "mysql-connector-python",
    "mariadbconnector": "mariadb",
}


def open_engine(database_uri: str | URL, engine_options: Mapping[str, Any]) -> Engine:
    """Make an engine whose every statement is committed at once, by itself.

    Args:
        database_uri: The database.
        engine_options: Options of `create_engine`.

    Raises:
        JamConfigurationError: The URL is none, its driver is not installed, or an option does
            not fit.
        JamStoreUnavailable: The database file cannot be created.
    """
    url = _checked_url(database_uri)
    options: dict[str, Any] = {
        "isolation_level": "AUTOCOMMIT",
        "skip_autocommit_rollback": True,
        "hide_parameters": True,
        **engine_options,
        "connect_args": {**_timeouts(url), **engine_options.get("connect_args", {})},
    }
    if is_in_memory(url):
        # The one connection is the database: threads take turns with it.
        options |= {"poolclass": QueuePool, "pool_size": 1, "max_overflow": 0, "pool_recycle": -1}
        options["connect_args"]["check_same_thread"] = False
        return _create_engine(url, options)
    engine = _create_engine(url, options)
    if url.get_backend_name() == "sqlite":
        _make_private_file(url)
        event.listen(engine, "connect", _prepare_sqlite_connection)
    _engines.add(engine)
    return engine


def autocommitting(engine: Engine) -> Engine:
    """Return a caller's engine, or a view of it, whose every statement is committed by itself.

    The view shares the pool. It sets each connection to autocommit and back again, which on some
    drivers costs round trips; an engine that is set to autocommit is used as it is.
    """
    with engine.connect() as connection:
        driver_connection = connection.connection.dbapi_connection
        commits = driver_connection and engine.dialect.detect_autocommit_setting(driver_connection)
    return engine if commits else engine.execution_options(isolation_level="AUTOCOMMIT")


def check_row_counts(engine: Engine) -> None:
    """Make sure that MySQL's driver counts the rows that match, not only those that change.

    Raises:
        JamConfigurationError: It does not.
    """
    with engine.connect() as connection:
        flags = getattr(connection.connection.dbapi_connection, "client_flag", None)
    if isinstance(flags, int) and not flags & _FOUND_ROWS:
        raise JamConfigurationError(
            "The connection lacks MySQL's flag FOUND_ROWS: an update that changes nothing would "
            "look like a session that is gone. Add 2 to client_flag in connect_args, or in the "
            "engine's creator."
        )


def is_in_memory(url: URL) -> bool:
    """Tell whether a URL names a SQLite database that ends with its connection."""
    return url.get_backend_name() == "sqlite" and (
        ":memory:" in (url.database or ":memory:") or url.query.get("mode") == "memory"
    )


def may_be_plaintext(url: URL) -> bool:
    """Tell whether a URL leads to another host, and does not ask for encryption."""
    is_elsewhere = bool(url.host) and not is_loopback(str(url.host))
    asks = url.query.get("sslmode") in ("require", "verify-ca", "verify-full") or any(
        name.startswith("ssl_") or name == "ssl" for name in url.query
    )
    return is_elsewhere and not asks


def describe(url: URL) -> str:
    """Say which database a URL names, without user and password."""
    port = f":{url.port}" if url.port else ""
    host = f"{url.host}{port}/" if url.host else ""
    return f"{url.get_backend_name()} {host}{url.database or ':memory:'}"


def _checked_url(database_uri: object) -> URL:
    """Return a URL that a synchronous dialect of SQLAlchemy can use; errors do not repeat it."""
    if not isinstance(database_uri, str | URL):
        raise JamConfigurationError(
            "database_uri must be a URL or a sqlalchemy.Engine, not "
            f"{type(database_uri).__module__}.{type(database_uri).__qualname__}."
        )
    url = _parsed(database_uri)
    if url is None or _has_stray_at(url):
        # Raised here: the parser's error, which may quote the password, is no context.
        raise JamConfigurationError(
            "database_uri is no URL. Write postgresql+psycopg://user:password@host/database, "
            "mariadb+pymysql://user:password@host/database or sqlite:///file.db. In user and "
            "password, percent-encode characters such as @ : / % (%40 %3A %2F %25)."
        )
    _check_dialect(url)
    return url


def _parsed(database_uri: str | URL) -> URL | None:
    try:
        return make_url(database_uri)
    except (ArgumentError, ValueError):
        return None


def _has_stray_at(url: URL) -> bool:
    """Tell whether a password with a bare @ in it has run over into the host or the database."""
    return url.get_backend_name() != "sqlite" and "@" in f"{url.host}{url.database}"


def _check_dialect(url: URL) -> None:
    try:
        is_async = url.get_dialect().is_async
    except NoSuchModuleError:
        names = get_close_matches(url.get_backend_name(), _DATABASES, n=1, cutoff=0.4)
        match = f" Did you mean {names[0]!r}?" if names else ""
        raise JamConfigurationError(
            f"database_uri begins with {url.drivername!r}, which SQLAlchemy does not know.{match}"
        ) from None
    except ImportError as error:
        raise _missing_driver(url) from error
    if is_async:
        raise JamConfigurationError(
            f"database_uri names {url.drivername!r}, an asyncio driver. This store is synchronous: "
            "name psycopg, pymysql or pysqlite instead."
        )


def _create_engine(url: URL, options: dict[str, Any]) -> Engine:
    try:
        return create_engine(url, **options)
    except ImportError as error:
        raise _missing_driver(url) from error
    except (ArgumentError, TypeError, ValueError):
        pass  # not chained: it may quote the URL
    raise JamConfigurationError(
        f"SQLAlchemy refuses database_uri, or its options, for {url.drivername!r}. Check the form "
        "of the URL, the values of pool_size and its like, and connect_args."
    )


def _missing_driver(url: URL) -> JamConfigurationError:
    driver = url.get_driver_name()
    others = (
        ""
        if "+" in url.drivername
        else " Or name the driver that you have, as in postgresql+psycopg:// or mariadb+pymysql://."
    )
    return JamConfigurationError(
        f"database_uri needs the driver {driver}, which cannot be imported. Install it: "
        f"pip install {_PACKAGES.get(driver, driver)}.{others}"
    )


def _timeouts(url: URL) -> dict[str, Any]:
    """Return the time limits that the URL does not set itself."""
    limits = _TIMEOUTS.get(url.get_driver_name(), {})
    return {name: limit for name, limit in limits.items() if name not in url.query}


def _make_private_file(url: URL) -> None:
    """Create the database file for its owner only; SQLite gives its -wal and -shm the same mode."""
    if url.database is None:
        return
    is_uri = url.database.startswith("file:")
    path = Path(unquote(urlsplit(url.database).path) if is_uri else url.database).absolute()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A file that is there is not opened: closing it again would drop this process's locks.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise JamStoreUnavailable(
            f"The session store cannot use {path}: {error.strerror}."
        ) from error


def _prepare_sqlite_connection(connection: Any, _: object) -> None:
    """Let readers and a writer work at once; a finished write survives the process."""
    connection.execute("PRAGMA journal_mode = WAL").close()
    connection.execute("PRAGMA synchronous = NORMAL").close()


class ForkGate:
    """Lets operations pass, any number at once, but none while this process forks."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Open it, with nobody inside: in a child there are no threads but the one that forked."""
        self._changed = Condition()
        self._inside = 0

    def __enter__(self) -> None:
        with self._changed:
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """Let nobody in any more, and wait until all are out."""
        self._changed.acquire()
        # Operations end by their own time limits; this one is for a fork from inside of one.
        self._changed.wait_for(lambda: not self._inside, timeout=_LONGEST_OPERATION)

    def open(self) -> None:
        """Let them in again."""
        self._changed.release()


# A connection must not be used by two processes. SQLite's must not even be open when the process
# forks: the child would inherit the belief that it holds the file's locks, and would lose writes
# (https://www.sqlite.org/howtocorrupt.html, 2.6). So operations on SQLite's files are let finish,
# and idle connections are closed.
_engines: WeakSet[Engine] = WeakSet()
sqlite_operations = ForkGate()


def _close_connections() -> None:
    sqlite_operations.close()
    for engine in list(_engines):
        engine.dispose()


def _begin_anew() -> None:
    sqlite_operations.reset()
    for engine in list(_engines):
        engine.dispose(close=False)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_close_connections,
        after_in_parent=sqlite_operations.open,
        after_in_child=_begin_anew,
    )
