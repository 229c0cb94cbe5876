"""One session as it is written in a file: the same JSON object in both layouts."""

import json
import re
from json.encoder import encode_basestring_ascii as quoted  # what json.dumps calls in the end
from math import isfinite
from typing import Any

from jam_core import STORE_DEFAULT, JamSessionCorrupt, SessionRecord

# Data with more brackets than this could be nested too deeply for a parser of the whole file, so it
# is kept as a string. One session's deep data must not hurt the others.
_MOST_BRACKETS = 30
_LONGEST_TTL = 10**10  # seconds; the core allows no longer one

_ID_HASH = re.compile("[0-9a-f]{64}")


class ReadableRecord(SessionRecord):
    """A session whose data is the text of a JSON object, and is written to files as that object."""

    __slots__ = ()


class DamagedRecord(SessionRecord):
    """A placeholder for a damaged record: kept as it is, listed, refused when read.

    Attributes:
        fault: What is wrong with it, and where.
    """

    fault: str

    @classmethod
    def holding(cls, id_hash: str, value: Any, fault: str) -> "DamagedRecord":
        """Return what stands for a JSON value; the session key is "" if it cannot be read."""
        key = value.get("session_key") if isinstance(value, dict) else None
        damaged = cls(key if isinstance(key, str) else "", id_hash, json.dumps(value))
        damaged.fault = fault
        return damaged


def as_kept(record: SessionRecord, *, readable: bool) -> SessionRecord:
    """Return a record as both layouts keep it.

    Args:
        record: The session.
        readable: Whether its data is the text of a JSON object, written as `json` writes it.
    """
    kind = ReadableRecord if readable else SessionRecord
    return record if type(record) is kind else kind._make(record)


def dump_record(record: SessionRecord) -> str:
    """Return a record as one line of JSON, with readable data as an object, not as a string."""
    data = record.data
    if isinstance(record, DamagedRecord):
        return data
    ttl = "" if record.ttl is STORE_DEFAULT else f', "ttl": {json.dumps(record.ttl)}'
    id_key = "" if record.id_key is None else f', "id_key": {quoted(record.id_key)}'
    is_shallow = data.count("{") + data.count("[") <= _MOST_BRACKETS
    shown = data if isinstance(record, ReadableRecord) and is_shallow else quoted(data)
    return (
        f'{{"session_key": {quoted(record.session_key)}, '
        f'"created_at": {dump_time(record.created_at)}, '
        f'"expires_at": {dump_time(record.expires_at)}, '
        f'"deadline": {dump_time(record.deadline)}{ttl}{id_key}, "data": {shown}}}'
    )


def dump_time(value: float | None) -> str:
    """Return what json.dumps would, which is slower for a number than for a string."""
    if value is None:
        return "null"
    return repr(value) if type(value) is float and isfinite(value) else json.dumps(value)


def is_plain_object(text: str) -> bool:
    """Tell whether a text is a JSON object, written as it would be read back from a file."""
    try:
        value = json.loads(text)
        return isinstance(value, dict) and json.dumps(value) == text
    except (ValueError, RecursionError):
        return False


def is_id_hash(value: object) -> bool:
    """Tell whether a value is the hash of an id, as used in files and their names."""
    return isinstance(value, str) and _ID_HASH.fullmatch(value) is not None


def read_record(id_hash: str, content: bytes, where: str) -> SessionRecord:
    """Return the record of a file without reading its data: damage there is detected later.

    Args:
        id_hash: Whose record it is.
        content: What the file holds, as `dump_record` wrote it.
        where: The file, for the error.

    Raises:
        JamSessionCorrupt: It is not a record.
    """
    # The data comes last, so its text is what is left. The separator cannot occur in a string.
    # Decoded here: json would first guess the encoding, which is slow.
    try:
        text = content.decode()
        head, _, data = text.partition(', "data": {')
        if data.endswith("}}\n"):
            value = json.loads(head + ', "data": {}}')
            return load_record(id_hash, value, where, shown="{" + data[:-2])
        value = json.loads(text)
    except ValueError:
        value = None
    return load_record(id_hash, value, where)


def load_record(id_hash: str, value: Any, where: str, shown: str | None = None) -> SessionRecord:
    """Return the record that `dump_record` wrote.

    Args:
        id_hash: Whose record it is.
        value: The JSON object.
        where: Where it is, for the error.
        shown: The text of the object that is its data, if that has not been read.

    Raises:
        JamSessionCorrupt: It is not a record.
    """
    match value:
        case {
            "session_key": str(session_key),
            "created_at": int() | float() | None as created_at,
            "expires_at": int() | float() | None as expires_at,
            "deadline": int() | float() | None as deadline,
            "data": str() | dict() as data,
        } if _is_ttl(ttl := value.get("ttl", STORE_DEFAULT)):
            id_key = value.get("id_key")
            text = data if isinstance(data, str) else shown or json.dumps(data)
            return (SessionRecord if text is data else ReadableRecord)(
                session_key,
                id_hash,
                text,
                None,
                created_at,
                expires_at,
                deadline,
                ttl,
                id_key if isinstance(id_key, str) else None,
            )
    raise JamSessionCorrupt(f"{where} is not a session record. It was left as it is.")


def _is_ttl(value: object) -> bool:
    # A whole number, as from the core: it is added to the time of every change.
    return (
        value is STORE_DEFAULT
        or value is None
        or (type(value) is int and 0 < value <= _LONGEST_TTL)
    )
