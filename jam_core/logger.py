"""The logger that a store is given."""

from abc import ABC, abstractmethod


class BaseLogger(ABC):
    """What Jam asks of a logger. Messages carry no session id, key or secret."""

    @abstractmethod
    def debug(self, message: str, *args: object) -> None:
        """Log what is of interest when looking for a fault; `args` fill `%`-placeholders."""

    @abstractmethod
    def info(self, message: str, *args: object) -> None:
        """Log something normal that an operator may want to know."""

    @abstractmethod
    def warning(self, message: str, *args: object) -> None:
        """Log something that works but should be looked at."""

    @abstractmethod
    def error(self, message: str, *args: object) -> None:
        """Log a failure."""


class JamLogger(BaseLogger):
    """Logs to the standard library's logger `jam`; levels and handlers are the application's."""

    def __init__(self) -> None:
        import logging

        self._logger = logging.getLogger("jam")

    def debug(self, message: str, *args: object) -> None:
        """Log at level DEBUG."""
        self._logger.debug(message, *args)

    def info(self, message: str, *args: object) -> None:
        """Log at level INFO."""
        self._logger.info(message, *args)

    def warning(self, message: str, *args: object) -> None:
        """Log at level WARNING."""
        self._logger.warning(message, *args)

    def error(self, message: str, *args: object) -> None:
        """Log at level ERROR."""
        self._logger.error(message, *args)


class NullLogger(BaseLogger):
    """Logs nothing: what `logger = None` stands for."""

    def debug(self, message: str, *args: object) -> None:
        """Do nothing."""

    def info(self, message: str, *args: object) -> None:
        """Do nothing."""

    def warning(self, message: str, *args: object) -> None:
        """Do nothing."""

    def error(self, message: str, *args: object) -> None:
        """Do nothing."""
