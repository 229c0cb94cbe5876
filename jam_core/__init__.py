"""Jam: server-side sessions whose store is a plugin.

PYTEST_DONT_REWRITE: nothing here asserts, and a program may import Jam before it calls pytest.
"""

from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from jam_core.codec import (
        SessionCodec,
        check_session_key,
        generate_aes_key,
        handle_of_hash,
        hash_id,
        is_handle,
        session_handle,
    )
    from jam_core.encoders import BaseEncoder, JsonEncoder, MsgspecJsonEncoder
    from jam_core.hosts import is_loopback
    from jam_core.logger import BaseLogger, JamLogger
    from jam_core.records import SessionInfo, SessionRecord
    from jam_core.session import BaseSession, SessionOptions, hookimpl

# Imported when first asked for: `from jam import Jam` stays light.
_LAZY = {
    "BaseEncoder": "encoders",
    "BaseLogger": "logger",
    "BaseSession": "session",
    "JamLogger": "logger",
    "JsonEncoder": "encoders",
    "MsgspecJsonEncoder": "encoders",
    "SessionCodec": "codec",
    "SessionInfo": "records",
    "SessionOptions": "session",
    "SessionRecord": "records",
    "check_session_key": "codec",
    "generate_aes_key": "codec",
    "handle_of_hash": "codec",
    "hash_id": "codec",
    "hookimpl": "session",
    "is_handle": "codec",
    "is_loopback": "hosts",
    "session_handle": "codec",
}

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
    "SessionInfo",
    "SessionOptions",
    "SessionRecord",
    "check_session_key",
    "generate_aes_key",
    "handle_of_hash",
    "hash_id",
    "hookimpl",
    "is_handle",
    "is_loopback",
    "session_handle",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
