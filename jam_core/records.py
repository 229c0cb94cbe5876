"""Sessions as they are stored, as operators move them, and as their owner sees them."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from jam_core.codec import handle_of_hash
from jam_core.exceptions import JamSessionCorrupt, JamSessionDataError
from jam_core.lifetimes import STORE_DEFAULT, Seconds, pack_ttl, unpack_ttl

_LONGEST_TIME = 1e15  # seconds
_ID_HASH = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """One session, as `info` and `list_sessions` show it.

    Attributes:
        handle: Identifies the session to its owner, see `session_handle`; it does not open it.
        data: The session's data; None if the stored record cannot be decoded.
        created_at: When it began, in seconds since the epoch: when it was created, or when its
            user logged in; None if the store does not keep that.
        expires_at: When it ends if nobody uses it; None: never.
        deadline: When `max_age` ends it, whatever happens; None: never.
        session_key: Whose session it is.
        ttl: Seconds until it ends while nobody uses it, its own or the store's; None: no limit.
        stored: The stored text, from which `update(..., seen=info)` knows whether the data has
            changed since.
        new_id: The id that the client must be given instead of the one it has: the store has
            moved the session, see `MovingSessions`. None: it has the right one.
    """

    handle: str
    data: dict[str, Any] | None = field(repr=False)
    created_at: float | None = None
    expires_at: float | None = None
    deadline: float | None = None
    session_key: str = field(default="", repr=False)
    ttl: int | None = None
    stored: str = field(default="", repr=False)
    new_id: str | None = field(default=None, repr=False)


class SessionRecord(NamedTuple):
    """One session as a store keeps it.

    Attributes:
        session_key: Whose session it is.
        id_hash: `hash_id` of the session id.
        data: The stored text, which the codec made from the data.
        session_id: The id itself, from stores that keep it; None from those that keep its hash.
        created_at: When it began, in seconds since the epoch; None if the store does not keep
            that.
        expires_at: When it ends if nobody uses it; None: never. At that moment it is gone.
        deadline: When `max_age` ends it; None: never.
        ttl: Its own ttl; `STORE_DEFAULT` if it has none.
        id_key: The mark of the key that the id is encrypted with, see `SessionCodec.key_marks`;
            None if it is not encrypted, or that is not known; "" if it is encrypted with a key
            that the store does not have, so that nobody can use the session.
    """

    session_key: str
    id_hash: str
    data: str
    session_id: str | None = None
    created_at: float | None = None
    expires_at: float | None = None
    deadline: float | None = None
    ttl: Seconds = STORE_DEFAULT
    id_key: str | None = None

    def ended(self, now: float) -> bool:
        """Tell whether the session is gone at this moment."""
        return self.expires_at is not None and now >= self.expires_at

    @property
    def handle(self) -> str:
        """Identifies the session to its owner, see `session_handle`."""
        return handle_of_hash(self.id_hash)

    def __repr__(self) -> str:  # a tuple's would show the fields: ids, keys and data
        return f"<SessionRecord {self.handle}>"


def pack_record(record: SessionRecord) -> str:
    """For store authors: return a record as one string, in ASCII."""
    return json.dumps(record._replace(ttl=pack_ttl(record.ttl)))


def unpack_record(text: str | bytes, where: str | Callable[[], str]) -> SessionRecord:
    """For store authors: return the record from which `pack_record` made this string.

    Args:
        text: What is stored.
        where: Where it is stored, for the error, or a function that says so; see
            `StorageSessions.where`.

    Raises:
        JamSessionCorrupt: It is not a record. Leave it as it is.
    """
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        fields = None
    match fields:
        case [
            str(session_key),
            str(id_hash),
            str(data),
            str() | None as session_id,
            created_at,
            expires_at,
            deadline,
            ttl,
            str() | None as id_key,
        ] if (
            all(map(_is_time, (created_at, expires_at, deadline, ttl)))
            and not isinstance(ttl, float)
            and (ttl or 0) >= 0
        ):
            times = created_at, expires_at, deadline
            return SessionRecord(
                session_key, id_hash, data, session_id, *times, unpack_ttl(ttl), id_key
            )
    raise JamSessionCorrupt(
        f"{where if isinstance(where, str) else where()} is damaged. It was left as it is."
    )


def _is_time(value: object) -> bool:
    # By comparison: that rules out "not a number", and numbers too large for a float.
    return value is None or (type(value) in (int, float) and -_LONGEST_TIME < value < _LONGEST_TIME)  # type: ignore[operator]


def check_id_hash(id_hash: str) -> str:
    """Return the `id_hash` of a record from another store, checked: it may become a file name.

    Raises:
        JamSessionDataError: It is not a SHA-256 in hexadecimal.
    """
    if _ID_HASH.fullmatch(id_hash) is None:
        raise JamSessionDataError("The id_hash of a session record is not a SHA-256 in hex.")
    return id_hash
