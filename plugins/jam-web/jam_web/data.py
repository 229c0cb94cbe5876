"""Session data compared: what a request has changed, wherever it is nested."""

from typing import Any, NamedTuple

from jam_core import JamSessionDataError

Data = dict[str, Any]

_SCALARS = frozenset({str, int, float, bool})
_NOTHING: frozenset[str] = frozenset()
_ABSENT = object()


def copy_of(value: Any) -> Any:
    """Return a copy of JSON data that shares nothing changeable with it."""
    if isinstance(value, dict):
        return {key: copy_of(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [copy_of(one) for one in value]
    return value


def snapshot(data: Data) -> Data:
    """Return a copy of what is about to be stored.

    Raises:
        JamSessionDataError: It contains itself, or is nested too deep.
    """
    try:
        copied: Data = copy_of(data)
    except RecursionError:
        raise JamSessionDataError(
            "The session's data contains itself, or is nested too deep to be stored."
        ) from None
    return copied


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are the same JSON: 1, 1.0 and True are three."""
    if type(one) is type(other) and type(one) in _SCALARS:
        return bool(one == other)
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and one.keys() == other.keys()
            and all(same(value, other[key]) for key, value in one.items())
        )
    if isinstance(one, list | tuple):
        return (
            isinstance(other, list | tuple)
            and len(one) == len(other)
            and all(map(same, one, other))
        )
    if one is None or isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return isinstance(one, float) == isinstance(other, float) and bool(one == other)


class Changes(NamedTuple):
    """What a request has changed.

    Attributes:
        put: The keys that are new or have another value, and their values.
        removed: The keys that are there no more.
    """

    put: Data
    removed: frozenset[str]

    def applied_to(self, data: Data) -> Data:
        """Return other data with the same changes made."""
        kept = {key: value for key, value in data.items() if key not in self.removed}
        return {**kept, **self.put}


def difference(before: Data, after: Data) -> Changes:
    """Return what leads from one state of the data to another."""
    put = {}
    for key, value in after.items():
        known = before.get(key, _ABSENT)
        # A copy shares what cannot change: the same object is the same value.
        if known is not value and (known is _ABSENT or not same(known, value)):
            put[key] = value
    is_whole = before.keys() <= after.keys()
    return Changes(put, _NOTHING if is_whole else frozenset(before.keys() - after.keys()))


def is_change(changes: Changes) -> bool:
    """Tell whether anything changes."""
    return bool(changes.put or changes.removed)


def kept_objects(held: Data, data: Data) -> Data:
    """Return `data` with the values that a handler may hold, where they are the same."""
    return {
        key: held[key] if key in held and same(held[key], value) else value
        for key, value in data.items()
    }
