"""Every error that Jam raises.

* JamError
    * JamConfigurationError
        * JamPluginNotFound
        * JamPluginConflict
        * JamPluginLoadError
        * JamStoreMissing
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
from typing import ClassVar, Self

# It comes with the package, for people who read a traceback at night. It is a URL, because
# terminals make URLs clickable, but not paths. (pathlib would be imported for this alone.)
_ERRORS_PAGE = "file:///" + (
    os.path.join(os.path.dirname(os.path.abspath(__file__)), "errors.md")  # noqa: PTH100, PTH118, PTH120
    .replace(os.sep, "/")
    .lstrip("/")
    .replace("%", "%25")
    .replace(" ", "%20")
)


class JamError(Exception):
    """The root of all errors of Jam.

    Attributes:
        message: What was wrong, where, and what to do.
        error_code: A stable name for the kind of error.
    """

    error_code: ClassVar[str] = "jam.error"
    default_message: ClassVar[str] = "Jam failed."

    def __init__(self, message: str | None = None) -> None:
        self.message = message or self.default_message
        super().__init__(self.message)
        self.add_note(f"What to do: {_ERRORS_PAGE}#{self.error_code.replace('.', '')}")

    def __copy__(self) -> Self:
        # Not with the constructor: a store's own error may take other arguments.
        own = type(self).__new__(type(self), *self.args)
        vars(own).update(vars(self))
        return own


class JamConfigurationError(JamError):
    """The configuration cannot be used as it is.

    Attributes:
        problems: Each thing that is wrong, one message for each.
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
    """Two installed distributions provide a plugin with the same name."""

    error_code = "plugins.conflict"
    default_message = "Two distributions provide the plugin."


class JamPluginLoadError(JamConfigurationError):
    """An installed plugin cannot be used: it fails to import or breaks the contract."""

    error_code = "plugins.load"
    default_message = "The plugin cannot be loaded."


class JamStoreMissing(JamConfigurationError):
    """What the store keeps its sessions in does not exist, and the store must not create it."""

    error_code = "sessions.store_missing"
    default_message = "What the store keeps its sessions in does not exist."


class JamSessionError(JamError):
    """The root of the errors about sessions and the store that holds them."""

    error_code = "sessions.error"
    default_message = "The session operation failed."


class JamSessionNotFound(JamSessionError):
    """There is no such session: it never existed, expired, was deleted, or got a new id."""

    error_code = "sessions.not_found"
    default_message = (
        "There is no such session: its id was never issued, or it has expired, "
        "was deleted, or was replaced by rework."
    )


class JamSessionConflict(JamSessionError):
    """Another request changed the session; nothing was stored."""

    error_code = "sessions.conflict"
    default_message = (
        "Somebody else changed the session at every attempt to mutate it. "
        "Nothing was stored; try again."
    )


class JamSessionUnsupported(JamSessionError):
    """The store lacks the optional operation that was asked for."""

    error_code = "sessions.unsupported"
    default_message = "The store does not support this operation."


class JamSessionDataError(JamSessionError):
    """An argument is not valid: data that is not JSON, an empty key, an id in bytes."""

    error_code = "sessions.data"
    default_message = "The data cannot be stored in a session."


class JamSessionCorrupt(JamSessionError):
    """A stored session cannot be decoded. It was left as it is."""

    error_code = "sessions.corrupt"
    default_message = "A stored session is damaged."


class JamStoreUnavailable(JamSessionError):
    """The store cannot be reached, or refuses to work. Nobody is logged out."""

    error_code = "sessions.store_unavailable"
    default_message = "The session store is unavailable."


class JamSessionEmptyAESKey(JamSessionError, JamConfigurationError):
    """Encryption is on, but there is no key."""

    error_code = "sessions.empty_aes_key"
    default_message = (
        "is_session_crypt is on, but there is no key: set session_aes_secret, or the "
        "environment variable JAM_SESSION_AES_SECRET, to a key from `jam keygen` (pip install "
        "'jam-core[cli]'), or from jam.utils.generate_aes_key()."
    )


class JamSessionInvalidAESKey(JamSessionError, JamConfigurationError):
    """A key for encryption is not 32 url-safe base64-encoded bytes."""

    error_code = "sessions.invalid_aes_key"
    default_message = "session_aes_secret is not 32 url-safe base64-encoded bytes."
