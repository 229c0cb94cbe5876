"""Jam: server-side sessions whose store is a plugin."""

from jam_core.codec import SessionCodec, check_session_key, generate_aes_key, hash_id
from jam_core.encoders import BaseEncoder, JsonEncoder, MsgspecJsonEncoder
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
    JamStoreUnavailable,
)
from jam_core.jam import Jam
from jam_core.logger import BaseLogger, JamLogger
from jam_core.session import BaseSession, SessionOptions, hookimpl

__all__ = [
    "BaseEncoder",
    "BaseLogger",
    "BaseSession",
    "Jam",
    "JamConfigurationError",
    "JamError",
    "JamLogger",
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
    "JamStoreUnavailable",
    "JsonEncoder",
    "MsgspecJsonEncoder",
    "SessionCodec",
    "SessionOptions",
    "check_session_key",
    "generate_aes_key",
    "hash_id",
    "hookimpl",
]
