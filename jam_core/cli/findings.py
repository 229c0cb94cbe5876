"""What one regrets later: the warnings of `jam check`."""

import base64
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from jam_core.cli.settings import Settings
from jam_core.codec import SECRET_VARIABLE, read_keys
from jam_core.config import read_configuration
from jam_core.session import RECORDS, BaseSession

# Of 32 random bytes, about 30 differ; fewer than 16 have never been seen.
_FEWEST_DIFFERENT_BYTES = 16
# Nobody has as many devices.
_ENOUGH = 200
# Keys of well-known pages, which people copy: the specification of Fernet.
_PUBLISHED_KEYS = (b"cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=",)


class Finding(NamedTuple):
    """What was found out about a store or its configuration.

    Attributes:
        code: A stable name of the kind of finding.
        text: What was found, as one sentence.
        remedy: What to do about it, as one sentence; empty for a mere fact.
    """

    code: str
    text: str
    remedy: str = ""


def findings_of_settings(settings: Settings) -> Iterator[Finding]:
    """Yield the warnings that need no store: about lifetimes, secrets and keys."""
    values = {option.name: option.value for option in settings.options}
    table = f"{settings.pointer}.session" if settings.pointer else "session"
    if values.get("ttl") is None:
        yield Finding("no-ttl", "An idle session never ends.", "Set ttl, in seconds: ttl = 3600.")
    if values.get("max_age") is None:
        yield Finding(
            "no-max-age",
            "A session in use never ends, not even a stolen one.",
            "Set max_age, in seconds: max_age = 604800 is a week.",
        )
    for option in settings.options:
        if option.secret_in_file:
            yield Finding(
                "secret-in-file",
                f"{settings.file}: {table}.{option.name} holds a secret.",
                f"Keep it in the environment: {_from_environment(option.name)}.",
            )
    yield from _findings_of_keys(settings)


def findings_of_store(store: BaseSession) -> Iterator[Finding]:
    """Yield what a store, now open, says of itself and its server."""
    if "durable" not in store.capabilities:
        yield Finding(
            "not-durable",
            "The sessions end with the process.",
            "Choose a store, or a database, that keeps them.",
        )
    if "shared" not in store.capabilities:
        yield Finding(
            "not-shared",
            "Each process has sessions of its own.",
            "Run one process only, or choose a store that several can share.",
        )
    yield from _findings_of_sessions(store)
    for finding in store.diagnose():
        yield Finding(*finding)


def _findings_of_sessions(store: BaseSession) -> Iterator[Finding]:
    if RECORDS not in store.capabilities:
        return
    some = list(islice(store.records(), _ENOUGH))
    if len(some) == _ENOUGH and len({record.session_key for record in some}) == 1:
        yield Finding(
            "shared-key",
            f"{_ENOUGH} sessions and more have one session key: clear ends them all at once.",
            "Make session_key name a user, or whoever is to be logged out together.",
        )


def _from_environment(name: str) -> str:
    """Return how an option is set by a variable."""
    if name == "session_aes_secret":
        return f"leave the option out and set {SECRET_VARIABLE}"
    return f'{name} = "${{{name.upper()}}}"'


def _findings_of_keys(settings: Settings) -> Iterator[Finding]:
    options: dict[str, Any] = {option.name: option for option in settings.options}
    if not options["is_session_crypt"].value:
        return
    # Read again: the settings have it masked.
    session = read_configuration(settings.file, settings.pointer).table["session"]
    for number, key in enumerate(read_keys(session.get("session_aes_secret")), start=1):
        if _is_guessable(key):
            yield Finding(
                "guessable-key",
                f"Key {number} of session_aes_secret is no random key: others can guess it.",
                "Make one with `jam keygen` and put it first.",
            )


def _is_guessable(key: bytes) -> bool:
    """Tell whether a key is published, a text that somebody made up, or the like."""
    plain = base64.urlsafe_b64decode(key)
    is_text = plain.isascii() and plain.decode().isprintable()
    return key in _PUBLISHED_KEYS or is_text or len(set(plain)) < _FEWEST_DIFFERENT_BYTES
