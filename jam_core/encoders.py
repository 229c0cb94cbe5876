"""How session data becomes text and back."""

import json
from abc import ABC, abstractmethod
from typing import Any


class BaseEncoder(ABC):
    """A serializer of session data. Both methods work on the class and on an instance."""

    @classmethod
    @abstractmethod
    def dumps(cls, var: dict[str, Any]) -> bytes:
        """Write `var` as UTF-8 text; raise any exception if it cannot be written."""

    @classmethod
    @abstractmethod
    def loads(cls, var: str | bytes) -> dict[str, Any]:
        """Read what `dumps` wrote; raise any exception for anything else."""


# Configured once: json.dumps with any option builds a new encoder at each call. Data that contains
# itself is a RecursionError.
_encode = json.JSONEncoder(allow_nan=False, check_circular=False).encode


class JsonEncoder(BaseEncoder):
    """The standard library's JSON, in the form of `json.dumps`; NaN and infinity are refused.

    As always with JSON, a tuple comes back as a list, and a key that is a number as a string; if
    that makes two keys the same, the codec refuses the data.
    """

    @classmethod
    def dumps(cls, var: dict[str, Any]) -> bytes:
        """Write JSON."""
        return _encode(var).encode()

    @classmethod
    def loads(cls, var: str | bytes) -> dict[str, Any]:
        """Read JSON."""
        data: dict[str, Any] = json.loads(var)
        return data


class MsgspecJsonEncoder(BaseEncoder):
    """JSON by msgspec: faster. Needs `pip install 'jam-core[msgspec]'`.

    It writes more than JSON knows: dates, UUIDs and bytes come back as strings, sets as lists, and
    NaN as None.
    """

    @classmethod
    def dumps(cls, var: dict[str, Any]) -> bytes:
        """Write JSON."""
        import msgspec

        return msgspec.json.encode(var)

    @classmethod
    def loads(cls, var: str | bytes) -> dict[str, Any]:
        """Read JSON."""
        import msgspec

        data: dict[str, Any] = msgspec.json.decode(var)
        return data
