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
    JamStoreMissing,
    JamStoreUnavailable,
)
from jam_core.jam import Jam

if TYPE_CHECKING:
    from jam_core.addresses import is_loopback
    from jam_core.codec import (
        SessionCodec,
        check_session_key,
        generate_aes_key,
        handle_of_hash,
        hash_id,
        is_handle,
        session_handle,
    )
    from jam_core.documents import DocumentSessions
    from jam_core.encoders import BaseEncoder, JsonEncoder, MsgspecJsonEncoder
    from jam_core.forking import PerProcess
    from jam_core.gathering import Gathered
    from jam_core.lifetimes import STORE_DEFAULT, Seconds, pack_ttl, unpack_ttl
    from jam_core.logger import BaseLogger, JamLogger
    from jam_core.moving import MovingSessions
    from jam_core.operations import Change, Move, StorageSessions
    from jam_core.records import SessionInfo, SessionRecord, pack_record, unpack_record
    from jam_core.session import BaseSession, SessionOptions, hookimpl
    from jam_core.waiting import PerLoop, awaited, in_thread, pause, wait

# Imported when first used, so that `from jam import Jam` stays light.
_LAZY = {
    "BaseEncoder": "encoders",
    "BaseLogger": "logger",
    "BaseSession": "session",
    "DocumentSessions": "documents",
    "JamLogger": "logger",
    "JsonEncoder": "encoders",
    "MovingSessions": "moving",
    "MsgspecJsonEncoder": "encoders",
    "Gathered": "gathering",
    "PerLoop": "waiting",
    "PerProcess": "forking",
    "Change": "operations",
    "Move": "operations",
    "STORE_DEFAULT": "lifetimes",
    "Seconds": "lifetimes",
    "SessionCodec": "codec",
    "SessionInfo": "records",
    "SessionOptions": "session",
    "SessionRecord": "records",
    "awaited": "waiting",
    "check_session_key": "codec",
    "generate_aes_key": "codec",
    "handle_of_hash": "codec",
    "hash_id": "codec",
    "hookimpl": "session",
    "in_thread": "waiting",
    "is_handle": "codec",
    "is_loopback": "addresses",
    "session_handle": "codec",
    "StorageSessions": "operations",
    "pack_record": "records",
    "pack_ttl": "lifetimes",
    "pause": "waiting",
    "unpack_record": "records",
    "unpack_ttl": "lifetimes",
    "wait": "waiting",
}

__all__ = [
    "STORE_DEFAULT",
    "BaseEncoder",
    "BaseLogger",
    "BaseSession",
    "Change",
    "DocumentSessions",
    "Gathered",
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
    "JamStoreMissing",
    "JamStoreUnavailable",
    "JsonEncoder",
    "Move",
    "MovingSessions",
    "MsgspecJsonEncoder",
    "PerLoop",
    "PerProcess",
    "Seconds",
    "SessionCodec",
    "SessionInfo",
    "SessionOptions",
    "SessionRecord",
    "StorageSessions",
    "awaited",
    "check_session_key",
    "generate_aes_key",
    "handle_of_hash",
    "hash_id",
    "hookimpl",
    "in_thread",
    "is_handle",
    "is_loopback",
    "pack_record",
    "pack_ttl",
    "pause",
    "session_handle",
    "unpack_record",
    "unpack_ttl",
    "wait",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
