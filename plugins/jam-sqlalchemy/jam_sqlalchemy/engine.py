"""The engines that the store makes of a URL, and what they must be able to do."""

from collections.abc import Mapping
from difflib import get_close_matches
from math import inf
from typing import Any

from sqlalchemy import URL, Engine, StaticPool, create_engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from jam_core import JamConfigurationError, is_loopback
from jam_sqlalchemy.awaiting import close_in_time, hide_parameters
from jam_sqlalchemy.limits import READ_TIMEOUT
from jam_sqlalchemy.pool import SessionPool, replace_what_was_closed
from jam_sqlalchemy.poolers import keep_nothing_behind_poolers
from jam_sqlalchemy.sqlite import (
    KeptConnection,
    keep_in_memory,
    make_private_file,
    prepare_file,
    with_home,
)

_DATABASES = ("postgresql", "mariadb", "mysql", "sqlite")

# So that nobody waits for ever; in seconds, but PostgreSQL's other three are in milliseconds.
# The server's own strike first; read_timeout, which is ours, is for a pooler that waits for it.
_POSTGRESQL_TIMEOUTS: dict[str, Any] = {
    "connect_timeout": 10,
    "tcp_user_timeout": 30_000,
    "options": "-c statement_timeout=30000 -c lock_timeout=15000",
}
_MYSQL_TIMEOUTS: dict[str, Any] = {
    "connect_timeout": 10,
    "read_timeout": 30,
    "write_timeout": 30,
    # The second one is for the lock of ALTER TABLE. Without it, the statement would go on waiting
    # in the server after we have given up, and in the end overwrite newer data.
    "init_command": "SET SESSION innodb_lock_wait_timeout = 15, lock_wait_timeout = 15",
}
_AWAITED_MYSQL_TIMEOUTS = {
    name: _MYSQL_TIMEOUTS[name] for name in ("connect_timeout", "init_command")
}
_TIMEOUTS: dict[str, dict[str, Any]] = {
    "psycopg": {**_POSTGRESQL_TIMEOUTS, READ_TIMEOUT: 40},
    "psycopg2": _POSTGRESQL_TIMEOUTS,
    "pymysql": _MYSQL_TIMEOUTS,
    "mysqldb": _MYSQL_TIMEOUTS,
    "pysqlite": {"timeout": 15},
    # For drivers that can only be awaited, read_timeout is the store's own.
    "asyncpg": {
        "timeout": 10,
        "server_settings": {"statement_timeout": "30000", "lock_timeout": "15000"},
    },
    "asyncmy": _AWAITED_MYSQL_TIMEOUTS,
    "aiomysql": _AWAITED_MYSQL_TIMEOUTS,
    "aiosqlite": {"timeout": 15},
}
_AWAITED_READ_TIMEOUT = 40.0  # seconds
# Load balancers and firewalls drop idle connections silently, some after only 4 minutes.
_RECYCLE = 180  # seconds
_FOUND_ROWS = 2  # CLIENT_FOUND_ROWS of MySQL's protocol
_PACKAGES = {
    "psycopg": "'psycopg[binary]'",
    "psycopg2": "psycopg2-binary",
    "mysqldb": "mysqlclient",
    "mysqlconnector": "mysql-connector-python",
    "mariadbconnector": "mariadb",
}


def open_engine(
    url: URL, engine_options: Mapping[str, Any], *, awaited: bool, create: bool
) -> Engine:
    """Make an engine that commits each statement at once, on its own; connect to nothing.

    Args:
        url: The database, as `checked_url` returned it.
        engine_options: Options of `create_engine`.
        awaited: Whether its driver will be awaited.
        create: Whether to create a file that is missing.

    Raises:
        JamConfigurationError: The driver is not installed, or an option does not fit.
        JamStoreMissing: There is no database file, and it must not be created.
        JamStoreUnavailable: The database file cannot be created.
    """
    if engine_options.get("pool_timeout") == inf:
        raise JamConfigurationError(
            "pool_timeout must be a finite number of seconds: callers must not wait for a "
            "connection for ever."
        )
    options: dict[str, Any] = {
        "isolation_level": "AUTOCOMMIT",
        "skip_autocommit_rollback": True,
        "hide_parameters": True,
        **engine_options,
        "connect_args": {**_timeouts(url), **engine_options.get("connect_args", {})},
    }
    if awaited:
        options["connect_args"].pop(READ_TIMEOUT, None)
    else:
        options["poolclass"] = SessionPool
    if url.get_backend_name() == "sqlite":
        return _open_sqlite(url, options, awaited=awaited, create=create)
    engine = _create_engine(url, {"pool_recycle": _RECYCLE, **options}, awaited=awaited)
    if awaited:
        replace_what_was_closed(engine)
        close_in_time(engine)
    keep_nothing_behind_poolers(engine)
    return engine


def read_timeout(engine_options: Mapping[str, Any]) -> float:
    """Return how many seconds an awaited driver has for a statement."""
    return float(engine_options.get("connect_args", {}).get(READ_TIMEOUT, _AWAITED_READ_TIMEOUT))


def _open_sqlite(url: URL, options: dict[str, Any], *, awaited: bool, create: bool) -> Engine:
    if is_in_memory(url):
        for name in ("pool_size", "max_overflow", "pool_timeout", "pool_recycle"):
            options.pop(name, None)  # there is one connection: threads take turns
        options["connect_args"] |= {"check_same_thread": False, "factory": KeptConnection}
        engine = _create_engine(url, {**options, "poolclass": StaticPool}, awaited=awaited)
        keep_in_memory(engine)
        return engine
    url = with_home(url)
    if awaited:
        options["connect_args"]["check_same_thread"] = False  # a child must close what it inherits
    engine = _create_engine(url, options, awaited=awaited)
    make_private_file(url, create=create)
    if awaited:
        hide_parameters(engine)
    prepare_file(engine)
    return engine


def options_in_force(engine: Engine) -> dict[str, Any]:
    """Return the pool's options in force, under the store's names for them."""
    pool = engine.pool
    return pool.in_force() if isinstance(pool, SessionPool) else {}


def check_mysql_connection(engine: Engine) -> int | None:
    """Make sure that a connection to MariaDB or MySQL counts rows, and transmits every character.

    Returns:
        How many bytes the server takes at once; None: it is another database.

    Raises:
        JamConfigurationError: It counts only rows that change, or cannot transmit every character.
    """
    if engine.dialect.name not in ("mysql", "mariadb"):
        return None
    with engine.connect() as connection:
        flags = getattr(connection.connection.driver_connection, "client_flag", None)
        asked = connection.exec_driver_sql("SELECT @@character_set_client, @@max_allowed_packet")
        character_set, largest = asked.one()
    if isinstance(flags, int) and not flags & _FOUND_ROWS:
        raise JamConfigurationError(
            "The connection lacks MySQL's flag FOUND_ROWS: an update that changes nothing would "
            "look as if the session were gone. Add 2 to client_flag in connect_args, or in the "
            "engine's creator."
        )
    if character_set != "utf8mb4":
        raise JamConfigurationError(
            f"The connection has the character set {character_set}, which would lose characters of "
            "the data. Use utf8mb4: ?charset=utf8mb4 in the URL."
        )
    return int(largest)


def may_miss_rows(engine: Engine) -> bool:
    """Tell whether a DELETE may wait for a lock and miss a row that was inserted meanwhile.

    PostgreSQL's sees the table as it was when it began; only SERIALIZABLE makes it notice.
    MariaDB's and MySQL's lock the gaps between rows, but not under READ COMMITTED or less.
    """
    level = engine.dialect.default_isolation_level
    if engine.dialect.name == "postgresql":
        return level != "SERIALIZABLE"
    return engine.dialect.name != "sqlite" and level in ("READ COMMITTED", "READ UNCOMMITTED")


def is_in_memory(url: URL) -> bool:
    """Tell whether a URL names a SQLite database that ends with its connection."""
    return url.get_backend_name() == "sqlite" and (
        ":memory:" in (url.database or ":memory:") or url.query.get("mode") == "memory"
    )


def may_be_plaintext(url: URL) -> bool:
    """Tell whether a URL leads to another host and does not ask for encryption."""
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


def can_be_awaited(url: URL) -> bool:
    """Tell whether the driver that a URL names can be awaited in an event loop."""
    return url.get_dialect().get_async_dialect_cls(url).is_async


def checked_url(database_uri: object) -> URL:
    """Return a URL that a dialect of SQLAlchemy can use; errors do not repeat it.

    Raises:
        JamConfigurationError: It is not valid, or the store cannot use it.
    """
    if not isinstance(database_uri, str | URL):
        raise JamConfigurationError(
            "database_uri must be a URL or a sqlalchemy.Engine or AsyncEngine, not "
            f"{type(database_uri).__module__}.{type(database_uri).__qualname__}."
        )
    url = _parsed(database_uri)
    if url is None or _has_stray_at(url):
        # Raised here, so that the parser's error, which may quote the password, is not its context.
        raise JamConfigurationError(
            "database_uri is not a URL. Write postgresql+psycopg://user:password@host/database, "
            "mariadb+pymysql://user:password@host/database or sqlite:///file.db. In user and "
            "password, percent-encode characters such as @ : / % (%40 %3A %2F %25)."
        )
    _check_dialect(url)
    _check_database(url)
    return url


def _check_database(url: URL) -> None:
    backend = url.get_backend_name()
    if backend == "sqlite" and url.host:
        raise JamConfigurationError(
            "database_uri names a host, but SQLite has none. The URL of a file has three slashes "
            "and a relative path, or four for an absolute one: sqlite:///file.db, "
            "sqlite:////srv/file.db."
        )
    if backend in ("mysql", "mariadb") and not (url.database or url.query.get("database")):
        raise JamConfigurationError(
            f"database_uri names no database. Write {url.drivername}://user:password@host/database."
        )
    if is_in_memory(url) and url.get_dialect().is_async:
        raise JamConfigurationError(
            "database_uri names a database in memory: each event loop would have one of its own. "
            "Write sqlite://, which works under jam.aio as well, in threads."
        )


def _parsed(database_uri: str | URL) -> URL | None:
    try:
        return make_url(database_uri)
    except (ArgumentError, ValueError):
        return None


def _has_stray_at(url: URL) -> bool:
    """Tell whether a password with a bare @ in it has spilled into the host or the database."""
    return url.get_backend_name() != "sqlite" and "@" in f"{url.host}{url.database}"


def _check_dialect(url: URL) -> None:
    try:
        url.get_dialect()
    except NoSuchModuleError:
        names = get_close_matches(url.get_backend_name(), _DATABASES, n=1, cutoff=0.4)
        match = f" Did you mean {names[0]!r}?" if names else ""
        raise JamConfigurationError(
            f"database_uri begins with {url.drivername!r}, which SQLAlchemy does not know.{match}"
        ) from None
    except ImportError as error:
        raise _missing_driver(url) from error


def _create_engine(url: URL, options: dict[str, Any], *, awaited: bool) -> Engine:
    try:
        if awaited:
            _check_greenlet(url)
            from sqlalchemy.ext.asyncio import create_async_engine

            return create_async_engine(url, **options).sync_engine
        return create_engine(url, **options)
    except ImportError as error:
        raise _missing_driver(url) from error
    except (ArgumentError, TypeError, ValueError):
        pass  # not chained: it may quote the URL
    raise JamConfigurationError(
        f"SQLAlchemy refuses database_uri, or its options, for {url.drivername!r}. Check the form "
        "of the URL, pool_size and the like, and connect_args."
    )


def _check_greenlet(url: URL) -> None:
    """Make sure that SQLAlchemy can await a driver; jam-core alone does not need greenlet."""
    try:
        import greenlet  # noqa: F401
    except ImportError as error:
        raise JamConfigurationError(
            f"database_uri names {url.drivername!r}, an asyncio driver, which needs greenlet. "
            "Install it: pip install 'jam-core[aio]'."
        ) from error


def _missing_driver(url: URL) -> JamConfigurationError:
    driver = url.get_driver_name()
    others = (
        ""
        if "+" in url.drivername
        else " Or name a driver that you have, as in postgresql+psycopg:// or mariadb+pymysql://."
    )
    return JamConfigurationError(
        f"database_uri needs the driver {driver}, which cannot be imported. Install it: "
        f"pip install {_PACKAGES.get(driver, driver)}.{others}"
    )


def _timeouts(url: URL) -> dict[str, Any]:
    """Return the time limits that the URL does not set itself."""
    limits = _TIMEOUTS.get(url.get_driver_name(), {})
    return {name: limit for name, limit in limits.items() if name not in url.query}
