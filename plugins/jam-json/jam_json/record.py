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
        created_at: When it was created, in seconds since the epoch; None: not known, it came
            from a store that does not keep that.
        expires_at: The moment at which it is gone; None: never.
        deadline: The moment at which max_age ends it; None: never.
        readable: Whether the data is the text of a JSON object, and may stand there as one.
        id_key: The mark of the key that the id is encrypted with; None if it is not, or that is
            not known.
    """

    session_key: str
    data: str
    created_at: float | None
    expires_at: float | None
    deadline: float | None
    readable: bool
    id_key: str | None = None

    def expired(self, now: float) -> bool:
        """Tell whether the session is gone at `now`."""
        return self.expires_at is not None and now >= self.expires_at


# Makes the new record of a live one, while nobody else can change it; None leaves it as it is.
Change = Callable[[Record], Record | None]


def dump_record(record: Record) -> str:
    """Return a record as one line of JSON; readable data stands there as an object, not as text."""
    fields: dict[str, object] = {
        "session_key": record.session_key,
        "created_at": record.created_at,
        "expires_at": record.expires_at,
        "deadline": record.deadline,
    }
    if record.id_key is not None:
        fields["id_key"] = record.id_key
    head = json.dumps(fields)
    data = record.data
    shown = record.readable and data.count("{") + data.count("[") <= _MOST_BRACKETS
    return f'{head[:-1]}, "data": {data if shown else json.dumps(data)}}}'


def is_plain_object(text: str) -> bool:
    """Tell whether a text is a JSON object, spelled as it would be read back from a file."""
    try:
        value = json.loads(text)
        return isinstance(value, dict) and json.dumps(value) == text
    except (ValueError, RecursionError):
        return False


def is_id_hash(value: object) -> bool:
    """Tell whether a value is the hash of an id, as it stands in files and their names."""
    return isinstance(value, str) and _ID_HASH.fullmatch(value) is not None


def skim_record(content: bytes, where: str) -> Record:
    """Return the record of a file, with its data unread: damage in there is yet to be found.

    Args:
        content: What the file holds, as `dump_record` wrote it.
        where: The file, for the error.

    Raises:
        JamSessionCorrupt: It is no record.
    """
    # The data stands last, so that its text is what is left. The mark cannot stand in a string.
    # Decoded here: json would guess the encoding first, which takes its time.
    try:
        text = content.decode()
        head, _, data = text.partition(', "data": {')
        if data.endswith("}}\n"):
            record = load_record(json.loads(head + ', "data": ""}'), where)
            return record._replace(data="{" + data[:-2], readable=True)
        value = json.loads(text)
    except ValueError:
        value = None
    return load_record(value, where)


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
            "created_at": int() | float() | None as created_at,
            "expires_at": int() | float() | None as expires_at,
            "deadline": int() | float() | None as deadline,
            "data": str() | dict() as data,
        }:
            text = data if isinstance(data, str) else json.dumps(data)
            readable = not isinstance(data, str)
            id_key = value.get("id_key")
            return Record(
                session_key,
                text,
                created_at,
                expires_at,
                deadline,
                readable,
                id_key if isinstance(id_key, str) else None,
            )
    raise JamSessionCorrupt(f"{where} is no session record. It was left as it is.")
