"""How long sessions live: ttl and max_age, the store's and a session's own."""

from enum import Enum

from jam_core.exceptions import JamConfigurationError, JamSessionDataError

_LONGEST = 10_000_000_000  # seconds, about 317 years


class StoreDefault(Enum):
    """Stands for the store's `ttl` or `max_age`, for a session without its own."""

    STORE_DEFAULT = "the store's"

    def __repr__(self) -> str:
        return self.name


STORE_DEFAULT = StoreDefault.STORE_DEFAULT
# Seconds; None: no limit.
Seconds = int | None | StoreDefault


def expiry(
    now: float, store_ttl: int | None, own_ttl: Seconds, deadline: float | None
) -> float | None:
    """Return when a session written now ends: by its ttl, or its deadline if that is earlier."""
    ttl = store_ttl if isinstance(own_ttl, StoreDefault) else own_ttl
    if ttl is None:
        return deadline
    return now + ttl if deadline is None else min(now + ttl, deadline)


def pack_ttl(ttl: Seconds) -> int | None:
    """For store authors: encode a session's own ttl: 0 is no limit, None means it has none.

    0 is free for this: a ttl is never 0 seconds.
    """
    return None if isinstance(ttl, StoreDefault) else ttl or 0


def unpack_ttl(packed: int | None) -> Seconds:
    """For store authors: decode what `pack_ttl` encoded."""
    return STORE_DEFAULT if packed is None else packed or None


def store_limit(name: str, value: object) -> int | None:
    """Return a ttl or max_age of the store.

    Raises:
        JamConfigurationError: It is not a positive number of seconds.
    """
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _LONGEST:
        raise JamConfigurationError(
            f"{name} must be a whole number of seconds, from 1 to {_LONGEST}, or None for no limit."
        )
    return value


def own_limit(name: str, value: Seconds) -> Seconds:
    """Return a ttl or max_age that a caller gave for one session.

    Raises:
        JamSessionDataError: It is not a positive number of seconds.
    """
    if isinstance(value, StoreDefault):
        return value
    try:
        return store_limit(name, value)
    except JamConfigurationError as error:
        raise JamSessionDataError(error.message) from None
