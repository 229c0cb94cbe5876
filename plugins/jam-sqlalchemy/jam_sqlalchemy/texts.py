"""Executes statements by their text, which is compiled once.

At each execution, SQLAlchemy looks up what it has compiled, and prepares the parameters by their
types. Ours are strings and numbers, which every driver takes as they are. With SQLite, that lookup
takes longer than the statement itself.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, CursorResult, Dialect, Executable

Parameters = dict[str, Any]
_Execute = Callable[[Connection, Parameters], CursorResult[Any]]


class Texts:
    """What has been compiled for an engine."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], _Execute] = {}

    def execute(
        self, connection: Connection, statement: Executable, parameters: Parameters
    ) -> CursorResult[Any]:
        """Execute a statement; the same as `connection.execute`, but faster."""
        key = statement, *parameters
        execute = self._known.get(key)
        if execute is None:
            execute = _compiled(statement, connection.dialect, list(parameters))
            self._known[key] = execute
        return execute(connection, parameters)


def _compiled(statement: Any, dialect: Dialect, names: list[str]) -> _Execute:
    if len(statement.exported_columns) > 1:
        # SQLAlchemy remembers the columns of a result, but not if it executes a text.
        return lambda connection, parameters: connection.execute(statement, parameters)
    compiled = statement.compile(dialect=dialect, column_keys=names)
    text, order = compiled.string, compiled.positiontup
    fixed = {name: value for name, value in compiled.params.items() if name not in names}
    if order is None:
        return lambda connection, parameters: connection.exec_driver_sql(text, fixed | parameters)
    return lambda connection, parameters: connection.exec_driver_sql(
        text, tuple(map((fixed | parameters).__getitem__, order))
    )
