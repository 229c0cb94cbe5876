"""Sessions as they are listed to their owner, and as operators move them between stores."""

import re
from dataclasses import dataclass, field
from typing import Any

from jam_core.codec import handle_of_hash
from jam_core.exceptions import JamSessionDataError

_ID_HASH = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """One of a key's sessions, as `list_sessions` shows it.

    Attributes:
        handle: Names the session to its owner, see `session_handle`; it opens nothing.
        data: The session's data; None if the stored record cannot be decoded.
        created_at: When it was created, in seconds since the epoch; None if the store does not
            keep that.
        expires_at: When it ends if nobody uses it; None: never.
        deadline: When `max_age` ends it, whatever happens; None: never.
    """

    handle: str
    data: dict[str, Any] | None = field(repr=False)
    created_at: float | None = None
    expires_at: float | None = None
    deadline: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """One session as a store keeps it: what `records` yields and `restore` takes.

    Attributes:
        session_key: Whose session it is.
        id_hash: `hash_id` of the session id.
        session_id: The id itself, from stores that keep it; None from those that keep its hash.
        data: The stored text, which the codec made of the data.
        created_at: When it was created, in seconds since the epoch; None if the store does not
            keep that.
        expires_at: When it ends if nobody uses it; None: never.
        deadline: When `max_age` ends it; None: never.
        id_key: The mark of the key that the id is encrypted with, see `SessionCodec.key_marks`;
            None if it is not encrypted, or that is not known.

    Raises:
        JamSessionDataError: id_hash is none.
    """

    session_key: str = field(repr=False)
    id_hash: str = field(repr=False)
    session_id: str | None = field(default=None, repr=False)
    data: str = field(repr=False)
    created_at: float | None = None
    expires_at: float | None = None
    deadline: float | None = None
    id_key: str | None = None

    def __post_init__(self) -> None:
        # A store may make the name of a file of it.
        if _ID_HASH.fullmatch(self.id_hash) is None:
            raise JamSessionDataError("The id_hash of a session record is no SHA-256 in hex.")

    @property
    def handle(self) -> str:
        """What names the session to its owner, see `session_handle`."""
        return handle_of_hash(self.id_hash)
