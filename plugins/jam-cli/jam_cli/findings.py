"""What you would regret later: the warnings of `jam check`."""

import base64
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from jam_cli.sessions import is_lost
from jam_cli.settings import Settings
from jam_core import BaseSession
from jam_core.hosting import RECORDS, SECRET_VARIABLE, ConfiguredStore, read_keys

# Of 32 random bytes, about 30 differ; fewer than 16 practically never do.
_FEWEST_DIFFERENT_BYTES = 16
# Nobody has that many devices.
_ENOUGH = 200
# Keys from well-known pages, which people copy: the specification of Fernet.
_PUBLISHED_KEYS = (b"cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=",)


class Finding(NamedTuple):
    """What was found out about a store or its configuration.

    Attributes:
        code: A stable name for the kind of finding.
        text: What was found, as one sentence.
        remedy: What to do about it, as one sentence; empty for a mere fact.
    """

    code: str
    text: str
    remedy: str = ""


def findings_of_configuration(
    configured: ConfiguredStore, settings: Settings, in_force: Mapping[str, Any]
) -> Iterator[Finding]:
    """Yield the warnings that the settings are enough for: about lifetimes, secrets and keys.

    Args:
        configured: What the configuration says.
        settings: The same as settings.
        in_force: What the store, if it is open, says about its options.
    """
    values = {option.name: option.value for option in settings.options}
    table = f"{settings.pointer}.session" if settings.pointer else "session"
    if values.get("ttl", in_force.get("ttl")) is None:
        yield Finding("no-ttl", "An idle session never ends.", "Set ttl, in seconds: ttl = 3600.")
    if values.get("max_age", in_force.get("max_age")) is None:
        yield Finding(
            "no-max-age",
            "A session in use never ends, not even a stolen one.",
            "Set max_age, in seconds: max_age = 604800 is a week.",
        )
    ttl, max_age = (values.get(name, in_force.get(name)) for name in ("ttl", "max_age"))
    if ttl is not None and max_age is not None and ttl > max_age:
        yield Finding(
            "ttl-beyond-max-age",
            f"ttl ({ttl} s) is longer than max_age ({max_age} s): an idle session lives as long as "
            "one in use.",
            "Make ttl the shorter one.",
        )
    for option in settings.options:
        if option.secret_in_file:
            yield Finding(
                "secret-in-file",
                f"{settings.file}: {table}.{option.name} holds a secret.",
                f"Keep it in the environment: {_from_environment(option.name)}.",
            )
    yield from _findings_of_keys(configured)


def findings_of_store(store: BaseSession) -> Iterator[Finding]:
    """Yield what an open store says about itself and its server."""
    if "durable" not in store.capabilities:
        yield Finding(
            "not-durable",
            "The sessions end with the process.",
            "Choose a store, or a database, that keeps them.",
        )
    if "shared" not in store.capabilities:
        yield Finding(
            "not-shared",
            "Each process has its own sessions.",
            "Run only one process, or choose a store that several can share.",
        )
    yield from _findings_of_sessions(store)
    for finding in store.diagnose():
        yield Finding(*finding)


def _findings_of_sessions(store: BaseSession) -> Iterator[Finding]:
    if RECORDS not in store.capabilities:
        return
    some = list(islice(store.records(), _ENOUGH))
    lost = sum(is_lost(store, record) for record in some)
    if lost:
        yield Finding(
            "lost-ids",
            f"Of {len(some)} sessions {lost} have ids that are encrypted with a key that is not in "
            "session_aes_secret: nobody can use them.",
            "Put that key back, after the newest, until they have ended.",
        )
    if len(some) == _ENOUGH and len({record.session_key for record in some}) == 1:
        yield Finding(
            "shared-key",
            f"{_ENOUGH} sessions or more have the same session key: clear ends them all at once.",
            "Use a session_key for each user, or for each group to be logged out together.",
        )


def _from_environment(name: str) -> str:
    """Return how to set an option with a variable."""
    if name == "session_aes_secret":
        return f"leave the option out and set {SECRET_VARIABLE}"
    return f'{name} = "${{{name.upper()}}}"'


def _findings_of_keys(configured: ConfiguredStore) -> Iterator[Finding]:
    if not configured.options.get("is_session_crypt"):
        return
    keys = read_keys(configured.options.get("session_aes_secret"))
    for number, key in enumerate(keys, start=1):
        if _is_guessable(key):
            yield Finding(
                "guessable-key",
                f"Key {number} of session_aes_secret is not a random key: others can guess it.",
                "Make one with `jam keygen` and put it first.",
            )


def _is_guessable(key: bytes) -> bool:
    """Return whether a key has been published, or is a string that somebody made up.

    Fernet accepts a passphrase in base64 as readily as a random key: nothing else would warn.
    """
    plain = base64.urlsafe_b64decode(key)
    is_text = plain.isascii() and plain.decode().isprintable()
    return key in _PUBLISHED_KEYS or is_text or len(set(plain)) < _FEWEST_DIFFERENT_BYTES
