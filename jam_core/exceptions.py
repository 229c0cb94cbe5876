"""Every error that Jam raises.

* JamError
    * JamConfigurationError
        * JamPluginNotFound
        * JamPluginConflict
        * JamPluginLoadError
    * JamSessionError
        * JamSessionNotFound
        * JamSessionConflict
        * JamSessionUnsupported
        * JamSessionDataError
        * JamSessionCorrupt
        * JamStoreUnavailable
        * JamSessionEmptyAESKey    (a JamConfigurationError too)
        * JamSessionInvalidAESKey  (a JamConfigurationError too)

The message is for people, `error_code` for programs: messages may be reworded in any release,
codes stay. No message holds a session id, a key or a secret. A traceback shows
a note that leads to the entry in `errors.md`, which says what to do.
"""

import os
from collections.abc import Sequence
from typing import ClassVar

# It comes with the package, for whoever reads a traceback at night. (pathlib would be imported
# for this alone.)
_ERRORS_PAGE = os.path.join(os.path.dirname(__file__), "errors.md")  # noqa: PTH118, PTH120


class JamError(Exception):
    """The root of all errors of Jam.

    Attributes:
        message: What was wrong, where, and what to do.
        error_code: A stable name of the kind of error.
    """

    error_code: ClassVar[str] = "jam.error"
    default_message: ClassVar[str] = "Jam failed."

    def __init__(self, message: str | None = None) -> None:
        self.message = message or self.default_message
        super().__init__(self.message)
        self.add_note(f"What to do: {_ERRORS_PAGE}#{self.error_code.replace('.', '')}")


class JamConfigurationError(JamError):
    """The configuration cannot be used as it is.

    Attributes:
        problems: Each thing that is wrong, one text for each.
    """

    error_code = "jam.configuration"
    default_message = "The configuration cannot be used."

    def __init__(self, message: str | None = None, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems) or (self.message,)


class JamPluginNotFound(JamConfigurationError):
    """No installed distribution provides the plugin that the configuration names."""

    error_code = "plugins.not_found"
    default_message = "The plugin is not installed."


class JamPluginConflict(JamConfigurationError):
    """Two installed distributions provide a plugin of the same name."""

    error_code = "plugins.conflict"
    default_message = "Two distributions provide the plugin."


class JamPluginLoadError(JamConfigurationError):
    """A plugin is there but cannot be used: it fails to import or breaks the contract."""

    error_code = "plugins.load"
    default_message = "The plugin cannot be loaded."


class JamSessionError(JamError):
    """Something about a session, or about the store that keeps it."""

    error_code = "sessions.error"
    default_message = "The session operation failed."


class JamSessionNotFound(JamSessionError):
    """The session to be changed does not exist: never did, expired, deleted, or reworked."""

    error_code = "sessions.not_found"
    default_message = (
        "There is no such session: its id was never issued, or it has expired, "
        "was deleted, or was replaced by rework."
    )


class JamSessionConflict(JamSessionError):
    """`mutate` gave up: the session changed under it at every attempt. Nothing was stored."""

    error_code = "sessions.conflict"
    default_message = (
        "The session was changed by somebody else at every attempt to mutate it. "
        "Nothing was stored; try again."
    )


class JamSessionUnsupported(JamSessionError):
    """The store lacks the optional operation that was asked for."""

    error_code = "sessions.unsupported"
    default_message = "The store does not support this operation."


class JamSessionDataError(JamSessionError):
    """What was given cannot be stored: data that is no JSON object, or an empty session key."""

    error_code = "sessions.data"
    default_message = "The data cannot be stored in a session."


class JamSessionCorrupt(JamSessionError):
    """What is stored cannot be decoded. It was left as it was found."""

    error_code = "sessions.corrupt"
    default_message = "A stored session is damaged."


class JamStoreUnavailable(JamSessionError):
    """The store cannot be reached, or refuses to work just now. Nobody is logged out by it."""

    error_code = "sessions.store_unavailable"
    default_message = "The session store is unavailable."


class JamSessionEmptyAESKey(JamSessionError, JamConfigurationError):
    """Encryption is on, but there is no key."""

    error_code = "sessions.empty_aes_key"
    default_message = (
        "is_session_crypt is on, but there is no key: set session_aes_secret, or the "
        "environment variable JAM_SESSION_AES_SECRET, to what jam.utils.generate_aes_key() returns."
    )


class JamSessionInvalidAESKey(JamSessionError, JamConfigurationError):
    """A key for encryption is not 32 url-safe base64-encoded bytes."""

    error_code = "sessions.invalid_aes_key"
    default_message = "session_aes_secret is not 32 url-safe base64-encoded bytes."
