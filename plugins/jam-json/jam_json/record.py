"""One session as it stands in a file: the same JSON object in both layouts."""

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from jam_core import JamSessionCorrupt

# A text with more brackets than this could be nested too deeply for whoever parses the file
# around it; it is then kept as a string. Deep data of one session must not hurt the others.
_MOST_BRACKETS = 30


_ID_HASH = re.compile("[0-9a-f]{64}")


class Record(NamedTuple):
    """One session.

    Attributes:
        session_key: Whose session it is.
        data: The text that the codec made of the data.
        created_at: When it was created, in seconds since the epoch.
        expires_at: The moment at which it is gone; None: never.
        deadline: The moment at which max_age ends it; None: never.
        readable: Whether the data is the text of a JSON object, and may stand there as one.
    """

    session_key: str
    data: str
    created_at: float
    expires_at: float | None
    deadline: float | None
    readable: bool

    def expired(self, now: float) -> bool:
        """Tell whether the session is gone at `now`."""
        return self.expires_at is not None and now >= self.expires_at


# Makes the new record of a live one, while nobody else can change it; None leaves it as it is.
Change = Callable[[Record], Record | None]


def dump_record(record: Record) -> str:
    """Return a record as one line of JSON; readable data stands there as an object, not as text."""
    head = json.dumps(
        {
            "session_key": record.session_key,
            "created_at": record.created_at,
            "expires_at": record.expires_at,
            "deadline": record.deadline,
        }
    )
    data = record.data
    shown = record.readable and data.count("{") + data.count("[") <= _MOST_BRACKETS
    return f'{head[:-1]}, "data": {data if shown else json.dumps(data)}}}'


def is_id_hash(value: object) -> bool:
    """Tell whether a value is the hash of an id, as it stands in files and their names."""
    return isinstance(value, str) and _ID_HASH.fullmatch(value) is not None


def load_record(value: Any, where: str) -> Record:
    """Return the record that `dump_record` wrote.

    Args:
        value: The JSON object.
        where: Where it stands, for the error.

    Raises:
        JamSessionCorrupt: It is no record.
    """
    match value:
        case {
            "session_key": str(session_key),
            "created_at": int() | float() as created_at,
            "expires_at": int() | float() | None as expires_at,
            "deadline": int() | float() | None as deadline,
            "data": str() | dict() as data,
        }:
            text = data if isinstance(data, str) else json.dumps(data)
            readable = not isinstance(data, str)
            return Record(session_key, text, created_at, expires_at, deadline, readable)
    raise JamSessionCorrupt(f"{where} is no session record. It was left as it is.")
