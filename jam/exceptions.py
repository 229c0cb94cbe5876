"""Every error of Jam: `jam_core.exceptions` under the specification's path."""

from jam_core.exceptions import (
    JamConfigurationError,
    JamError,
    JamPluginConflict,
    JamPluginLoadError,
    JamPluginNotFound,
    JamSessionConflict,
    JamSessionCorrupt,
    JamSessionDataError,
    JamSessionEmptyAESKey,
    JamSessionError,
    JamSessionInvalidAESKey,
    JamSessionNotFound,
    JamSessionUnsupported,
    JamStoreMissing,
    JamStoreUnavailable,
)

__all__ = [
    "JamConfigurationError",
    "JamError",
    "JamPluginConflict",
    "JamPluginLoadError",
    "JamPluginNotFound",
    "JamSessionConflict",
    "JamSessionCorrupt",
    "JamSessionDataError",
    "JamSessionEmptyAESKey",
    "JamSessionError",
    "JamSessionInvalidAESKey",
    "JamSessionNotFound",
    "JamSessionUnsupported",
    "JamStoreMissing",
    "JamStoreUnavailable",
]
