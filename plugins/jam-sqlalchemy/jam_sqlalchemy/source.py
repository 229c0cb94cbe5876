"""Where the store's engines come from: a URL, or the caller's engine."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import URL, Engine

from jam_core import JamConfigurationError, awaited
from jam_sqlalchemy.engine import (
    can_be_awaited,
    checked_url,
    is_in_memory,
    open_engine,
    read_timeout,
)


class Source:
    """Makes an engine for this process, and one for each event loop.

    Args:
        database_uri: A URL; or an engine, which is used everywhere.
        engine_options: Options of `create_engine`; None: not given.
        create: Whether to create a database file that is missing.

    Attributes:
        plain: The engine of this process.
        url: The database's.
        dialect: The name of its dialect.
        is_in_memory: Whether the database ends with its connection.
        is_ours: Whether the engines are ours, to be disposed of.
        is_awaited: Whether event loops need no threads for it.
        limit: How many seconds a statement may take, if the driver is awaited.

    Raises:
        JamConfigurationError: The URL is not valid, its driver is not installed, or an option
            does not fit.
        JamStoreMissing: There is no database file, and it must not be created.
        JamStoreUnavailable: The database file cannot be created.
    """

    def __init__(
        self, database_uri: object, engine_options: Mapping[str, Any], *, create: bool
    ) -> None:
        self._create = create
        self._options = {name: value for name, value in engine_options.items() if value is not None}
        given = getattr(database_uri, "sync_engine", database_uri)  # for an AsyncEngine
        self.is_ours = not isinstance(given, Engine)
        if isinstance(given, Engine):
            self.plain = self._checked(given)
            self.is_awaited = given.dialect.is_async
            self.limit: float | None = None
        else:
            url = checked_url(database_uri)
            self.is_awaited = can_be_awaited(url)
            self.plain = self._open(url, awaited=url.get_dialect().is_async)
            self.limit = read_timeout(self._options)
        self.url = self.plain.url
        self.dialect = self.plain.dialect.name
        self.is_in_memory = is_in_memory(self.url)

    def engine(self) -> Engine:
        """Return the process's engine; in an event loop, the engine of that loop."""
        if self.is_ours and self.is_awaited and awaited():
            return self._open(self.url, awaited=True)
        return self.plain

    def check_place(self) -> None:
        """Make sure that the engine can be used from here.

        Raises:
            JamConfigurationError: It belongs to an event loop, and this is not one.
        """
        if self.is_awaited and not self.is_ours and not awaited():
            raise JamConfigurationError(
                "database_uri is an AsyncEngine, whose connections belong to an event loop: it "
                "works only with jam.aio.Jam, in that loop. Give the URL instead, or an Engine."
            )

    def _open(self, url: URL, *, awaited: bool) -> Engine:
        return open_engine(url, self._options, awaited=awaited, create=self._create)

    def _checked(self, engine: Engine) -> Engine:
        if self._options:
            raise JamConfigurationError(
                f"database_uri is an engine: {', '.join(self._options)} can no longer be set. "
                "Pass them to create_engine."
            )
        return engine
