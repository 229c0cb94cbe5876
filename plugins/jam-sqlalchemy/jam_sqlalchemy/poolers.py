"""Poolers that lead each statement to another of their connections, as PgBouncer does.

The drivers have the server keep statements under names, in the connection. Behind such a pooler, a
name may be taken or unknown there; or it may stand for a statement of another client, which is
executed without any error: `get` finds nothing, and `delete` deletes nothing.
"""

from typing import Any

from sqlalchemy import Dialect, Engine, event

from jam_sqlalchemy.limits import connect_with_limit

# The option of each driver with which it has nothing kept.
_KEEP_NOTHING = {"psycopg": ("prepare_threshold", None), "asyncpg": ("statement_cache_size", 0)}


def keep_nothing_behind_poolers(engine: Engine) -> None:
    """Have an engine notice a pooler when it connects, unless the driver's option is given."""
    if engine.dialect.driver in _KEEP_NOTHING:
        event.listen(engine, "do_connect", _connect)


def _connect(dialect: Dialect, _: object, arguments: list[Any], options: dict[str, Any]) -> Any:
    try:
        return _connection(dialect, arguments, options)
    except Exception as error:
        if not type(error).__module__.startswith("asyncpg."):
            raise
        failure: Any = dialect.loaded_dbapi.Error(str(error))  # SQLAlchemy 2.0 leaves it asyncpg's
        failure.sqlstate = getattr(error, "sqlstate", None)
        raise failure from error


def _connection(dialect: Dialect, arguments: list[Any], options: dict[str, Any]) -> Any:
    option, nothing = _KEEP_NOTHING[dialect.driver]
    connection = _connected(dialect, arguments, options)
    if option in options:
        return connection
    try:
        is_pooled = _is_pooled(connection)
    except BaseException:
        dialect.do_terminate(connection)
        raise
    if not is_pooled:
        return connection
    dialect.do_terminate(connection)
    options[option] = nothing  # SQLAlchemy passes the same dict for the next connection
    return _connected(dialect, arguments, options)


def _connected(dialect: Dialect, arguments: list[Any], options: dict[str, Any]) -> Any:
    if dialect.driver == "psycopg" and not dialect.is_async:  # awaited calls have one already
        return connect_with_limit(dialect, arguments, options)
    return dialect.connect(*arguments, **options)


def _is_pooled(connection: Any) -> bool:
    """Tell whether statements go to another process than the one said to be at the other end."""
    driver = getattr(connection, "driver_connection", connection)
    if hasattr(driver, "get_server_pid"):  # asyncpg
        ask = f"SELECT 1 WHERE pg_backend_pid() = {driver.get_server_pid()}"
        # Without parameters, nothing is prepared.
        return bool(connection.run_async(lambda driver: driver.execute(ask)) != "SELECT 1")
    connection.autocommit = True  # else there would be a transaction to end
    cursor = connection.cursor()
    cursor.execute("SELECT pg_backend_pid()")
    (process,) = cursor.fetchone()
    cursor.close()
    return bool(process != driver.info.backend_pid)
