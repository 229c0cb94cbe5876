"""How values of the configuration are shown: as in a configuration file, with secrets masked."""

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

MASK = "***"

_UNITS = (("d", 86400), ("h", 3600), ("min", 60))

_SECRET = r"(?:secret|passw|passphrase|token|credential|api_?key|private_?key)"  # noqa: S105
_SECRET_NAME = re.compile(_SECRET, re.IGNORECASE)
_SECRET_PAIR = re.compile(rf"(\b\w*{_SECRET}\w*\s*=\s*)[^&\s]+", re.IGNORECASE)
# Up to the last @: if a password was not encoded, more is masked, not less.
_USER_INFO = re.compile(r"(?<=://).*@", re.DOTALL)


def shown(name: str, value: Any) -> Any:
    """Return a value of an option as JSON can hold it, with every secret masked.

    Args:
        name: The option's name: what is called a secret is one.
        value: Its value; a function, a class or an instance is shown as its import path.
    """
    if isinstance(value, Mapping):
        return {str(key): shown(str(key), item) for key, item in value.items()}
    if _SECRET_NAME.search(name) and value is not None:
        return MASK
    if isinstance(value, list | tuple | set | frozenset):
        return [shown(name, item) for item in value]
    if isinstance(value, str | os.PathLike):
        return _SECRET_PAIR.sub(rf"\1{MASK}", _USER_INFO.sub(f"{MASK}@", str(value)))
    if isinstance(value, int | float | None):
        return value
    kind = value if hasattr(value, "__qualname__") else type(value)
    return f"{kind.__module__}:{kind.__qualname__}"


def holds_secret(name: str, value: Any) -> bool:
    """Tell whether a value holds a non-empty secret; a user name alone is not one."""
    if isinstance(value, Mapping):
        return any(holds_secret(str(key), item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return any(holds_secret(name, item) for item in value)
    if not isinstance(value, str):
        return False
    if _SECRET_NAME.search(name):
        return bool(value.strip(", "))
    return _has_password(value) or _SECRET_PAIR.search(value) is not None


def in_words(value: Any) -> str:
    """Return a shown value as you would write it in a configuration."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(in_words(item) for item in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} = {in_words(item)}" for key, item in value.items()) or "none"
    return str(value)


def duration(seconds: float | None) -> str:
    """Return a number of seconds in the largest unit that divides it."""
    if seconds is None:
        return "not set"
    for unit, size in _UNITS:
        if seconds >= size and seconds % size == 0:
            return f"{seconds // size:g} {unit}"
    return f"{seconds:g} s"


def _has_password(text: str) -> bool:
    try:
        return bool(urlsplit(text).password)
    except ValueError:
        return False
