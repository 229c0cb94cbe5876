"""The logger that a store gets, and what goes to it: the life of sessions, and outages."""

import hashlib
import os
import secrets
import time
from abc import ABC, abstractmethod

from jam_core.codec import LONGEST_ID, session_handle
from jam_core.exceptions import JamConfigurationError, JamStoreUnavailable

LOG_KEY_VARIABLE = "JAM_LOG_KEY"
_SHORTEST_KEY = 16  # characters
_NAME_BYTES = 8
# Seconds without a failure after which a success ends an outage. Otherwise, if one node of several
# is down, each success and each failure would be a line in the log.
_CALM = 5.0

CREATED, UPDATED, ROTATED = "created", "updated", "rotated"
DELETED, CLEARED, REJECTED = "deleted", "cleared", "rejected"
_BEGAN = "outage began: %s"
_ENDED = "outage ended: it took %.1f s"
EVENTS = (CREATED, UPDATED, ROTATED, DELETED, CLEARED, REJECTED)


class BaseLogger(ABC):
    """What Jam asks of a logger. Messages carry no session id, key or secret."""

    def logs_event(self, event: str) -> bool:  # noqa: ARG002
        """Tell whether `event` would log this event: if not, nothing is computed for it."""
        return True

    def event(self, event: str, facts: dict[str, str | int]) -> None:
        """Log what happened to a session.

        Args:
            event: "created", "updated", "rotated", "deleted", "cleared", or "rejected".
            facts: What is known: "session" and "session_key", each as a keyed hash, "operation",
                "count".
        """
        log = self.debug if event == UPDATED else self.info
        log("session %s: %s", event, _in_words(facts))

    def outage_began(self, message: str, error_code: str) -> None:  # noqa: ARG002
        """Log that the store cannot be used; until `outage_ended`, nothing more is said about it.

        Args:
            message: What the error says: which server, what it said, what to do.
            error_code: The error's code.
        """
        self.error(_BEGAN, message)

    def outage_ended(self, seconds: float) -> None:
        """Log that the store works again.

        Args:
            seconds: From the first failure to the last.
        """
        self.warning(_ENDED, seconds)

    @abstractmethod
    def debug(self, message: str, *args: object) -> None:
        """Log something that helps to find a fault; `args` fill `%`-placeholders."""

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
        self._levels = dict.fromkeys(EVENTS, logging.INFO) | {UPDATED: logging.DEBUG}

    def logs_event(self, event: str) -> bool:
        """Tell whether the logger is set to a level that includes the event's."""
        return self._logger.isEnabledFor(self._levels[event])

    def event(self, event: str, facts: dict[str, str | int]) -> None:
        """Log at level INFO, "updated" at DEBUG; the record has `jam_event` and `jam_<fact>`."""
        extra = {f"jam_{name}": value for name, value in {"event": event, **facts}.items()}
        self._logger.log(
            self._levels[event], "session %s: %s", event, _in_words(facts), extra=extra
        )

    def outage_began(self, message: str, error_code: str) -> None:
        """Log at level ERROR; the record has `jam_event`, "outage_began", and `jam_error_code`."""
        extra = {"jam_event": "outage_began", "jam_error_code": error_code}
        self._logger.error(_BEGAN, message, extra=extra)

    def outage_ended(self, seconds: float) -> None:
        """Log at level WARNING; the record has `jam_event`, "outage_ended", and `jam_seconds`."""
        extra = {"jam_event": "outage_ended", "jam_seconds": round(seconds, 1)}
        self._logger.warning(_ENDED, seconds, extra=extra)

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

    def logs_event(self, event: str) -> bool:  # noqa: ARG002
        """Return False."""
        return False

    def debug(self, message: str, *args: object) -> None:
        """Do nothing."""

    def info(self, message: str, *args: object) -> None:
        """Do nothing."""

    def warning(self, message: str, *args: object) -> None:
        """Do nothing."""

    def error(self, message: str, *args: object) -> None:
        """Do nothing."""


class LogNames:
    """Names sessions and session keys in log records by a keyed hash, which reveals nothing.

    The key is the environment variable JAM_LOG_KEY; processes that share it give a session the same
    name. Without it, each process makes a random key when it opens a store.

    Raises:
        JamConfigurationError: The key is so short that it could be guessed.
    """

    def __init__(self) -> None:
        secret = os.environ.get(LOG_KEY_VARIABLE, "") or secrets.token_hex()
        if len(secret) < _SHORTEST_KEY:
            raise JamConfigurationError(
                f"The environment variable {LOG_KEY_VARIABLE} has fewer than {_SHORTEST_KEY} "
                "characters: anybody who reads the log could guess it, and find out which session "
                "belongs to whom. Set it to a random string, such as the output of "
                "`jam keygen`, or unset it."
            )
        self._key = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()

    def of_session(self, session_id: object) -> str:
        """Name a session by its id; what cannot be an id has no name."""
        if not isinstance(session_id, str) or len(session_id) > LONGEST_ID:
            return "-"
        return self.of_handle(session_handle(session_id))

    def of_handle(self, handle: str) -> str:
        """Name a session by its handle: the same name."""
        return self._hash(handle, b"session")

    def of_key(self, session_key: str) -> str:
        """Name a session key."""
        return self._hash(session_key, b"session key")

    def _hash(self, text: str, kind: bytes) -> str:
        raw = text.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(raw, key=self._key, digest_size=_NAME_BYTES, person=kind).hexdigest()


def _in_words(facts: dict[str, str | int]) -> str:
    return " ".join(f"{name}={value}" for name, value in facts.items())


class Outage:
    """What one process knows about an outage of its store.

    No lock guards it: concurrent threads may log two outages as one, but they never leave it in a
    state in which the next one would not be logged.

    Args:
        logger: Where to log it.
    """

    def __init__(self, logger: BaseLogger) -> None:
        self._logger = logger
        self._failed_at = 0.0

    def note(self, error: JamStoreUnavailable) -> None:
        """Note a failure; the first one begins the outage."""
        self._failed_at = now = time.monotonic()
        beginning = (now,)
        if vars(self).setdefault("_began", beginning) is beginning:  # atomic: only one is first
            self._logger.outage_began(error.message, error.error_code)

    def is_over(self) -> bool:
        """Return, after a success, whether there is no longer an outage; log its end."""
        if time.monotonic() - self._failed_at < _CALM:
            return False
        began = vars(self).pop("_began", None)
        if began is not None:
            self._logger.outage_ended(self._failed_at - began[0])
        return True
