"""BaseSession: what every store promises, and what the core gives a store to keep the promise."""

import random
import time
from abc import ABC, ABCMeta, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypedDict

import pluggy

from jam_core.codec import SessionCodec, read_keys, uuid4_id
from jam_core.encoders import BaseEncoder, JsonEncoder
from jam_core.exceptions import (
    JamConfigurationError,
    JamSessionConflict,
    JamSessionCorrupt,
    JamSessionNotFound,
    JamSessionUnsupported,
)
from jam_core.logger import BaseLogger, JamLogger, NullLogger
from jam_core.records import SessionInfo, SessionRecord

PROJECT = "jam"
REQUIRED_OPERATIONS = ("create", "get", "update", "delete", "clear", "rework")
OPTIONAL_OPERATIONS = (
    "touch",
    "mutate",
    "purge",
    "ping",
    "list_sessions",
    "revoke",
    "clear_others",
)
OPERATIONS = REQUIRED_OPERATIONS + OPTIONAL_OPERATIONS
RECORDS = "records"
_RECORD_METHODS = ("records", "restore", "replace")

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

_LONGEST_LIFE = 10_000_000_000  # seconds, about 317 years
_MUTATE_ATTEMPTS = 256
_LONGEST_PAUSE = 0.02


class SessionOptions(TypedDict, total=False):
    """The options that every store has; `BaseSession` describes them."""

    ttl: int | None
    max_age: int | None
    is_session_crypt: bool
    session_aes_secret: bytes | str | Sequence[bytes | str] | None
    id_factory: Callable[[], str]
    serializer: BaseEncoder | type[BaseEncoder]
    logger: BaseLogger | type[BaseLogger] | None


def aliases_of(store: type) -> dict[str, str]:
    """Return every alias of a store's options, its own and the inherited: alias -> option."""
    aliases: dict[str, str] = {}
    for parent in reversed(store.__mro__):
        aliases.update(vars(parent).get("aliases", {}))
    return aliases


class SessionMeta(ABCMeta):
    """Lets a store's constructor take each option under its aliases, too."""

    if not TYPE_CHECKING:  # the constructor's own signature is the one to check

        def __call__(cls, *args: Any, **options: Any) -> Any:
            """Construct a store from options under any of their names."""
            for alias, option in aliases_of(cls).items():
                if alias in options:
                    if option in options:
                        raise JamConfigurationError(
                            f"{alias} is another name of {option}: give one of them, not both."
                        )
                    options[option] = options.pop(alias)
            return super().__call__(*args, **options)


class BaseSession(ABC, metaclass=SessionMeta):
    """A session store: subclass it, write the six abstract methods, publish it.

    Plain methods are all that is needed. `Jam` calls them through pluggy's hook relay, by
    keyword, so that wrapping plugins can look in; parameters keep the names they have here.

    Every operation works from several threads, after `fork`, and in several processes on one
    backend. A backend that does not answer is `JamStoreUnavailable`, never "no such session". A
    record that cannot be decoded is `JamSessionCorrupt` and stays as it is.

    Args:
        ttl: Seconds until an idle session ends, counted from create, update, touch, mutate or
            rework. None: never. Another name: default_ttl.
        max_age: Seconds from create until a session ends, whatever happens in between; rework
            carries it over. None: never.
        is_session_crypt: Encrypt session ids and data.
        session_aes_secret: The key for that, from `generate_aes_key`, or a list of keys: the
            first encrypts, all decrypt. Default: the environment variable
            JAM_SESSION_AES_SECRET, where a comma separates several.
        id_factory: Returns a new random session id at each call. Default: a random UUID.
        serializer: Writes and reads session data.
        logger: Where the store logs; None: nowhere.

    Attributes:
        aliases: Other names of options, as alias -> option. A subclass names its own only.
        guarantees: What the backend gives beyond the operations: "durable" (what was written
            outlives the process), "shared" (several processes can use one backend).
        keeps_ids: Whether the backend holds the ids themselves, not their hashes, and needs them:
            then `restore` takes sessions only from a store that keeps them, too.
        codec: Mints ids, and encodes and decodes data.

    Raises:
        JamConfigurationError: ttl or max_age is no positive number of seconds.
        JamSessionEmptyAESKey: Encryption is on, but there is no key.
        JamSessionInvalidAESKey: A key is not 32 url-safe base64-encoded bytes.
    """

    aliases: ClassVar[Mapping[str, str]] = {"default_ttl": "ttl"}
    guarantees: frozenset[str] = frozenset()
    keeps_ids: ClassVar[bool] = False

    def __init__(
        self,
        *,
        ttl: int | None = 3600,
        max_age: int | None = None,
        is_session_crypt: bool = False,
        session_aes_secret: bytes | str | Sequence[bytes | str] | None = None,
        id_factory: Callable[[], str] = uuid4_id,
        serializer: BaseEncoder | type[BaseEncoder] = JsonEncoder,
        logger: BaseLogger | type[BaseLogger] | None = JamLogger,
    ) -> None:
        self.ttl = _seconds("ttl", ttl)
        self.max_age = _seconds("max_age", max_age)
        self.logger = _logger(logger)
        keys = read_keys(session_aes_secret) if is_session_crypt else None
        self.codec = SessionCodec(id_factory, serializer, keys)
        if session_aes_secret and not is_session_crypt:
            self.logger.warning(
                "session_aes_secret is set, but is_session_crypt is off: nothing is encrypted."
            )

    @hookspec(firstresult=True)
    @abstractmethod
    def create(self, session_key: str, data: dict[str, Any]) -> str:
        """Store a new session and return its id.

        1. Refuse an empty key and data that is no JSON object (`JamSessionDataError`).
        2. Mint an id; one that is taken is minted anew, never overwritten.
        3. Store data and expiry in one atomic step, before returning.

        Args:
            session_key: Whose session it is; any characters, not empty.
            data: A JSON object; `{}` is a session like any other.
        """

    @hookspec(firstresult=True)
    @abstractmethod
    def get(self, session_id: str) -> dict[str, Any] | None:
        """Return the session's data, a dict of the caller's own, and write nothing.

        None for an id that is unknown, expired, deleted, malformed or forged, whatever it is.
        """

    @hookspec(firstresult=True)
    @abstractmethod
    def update(self, session_id: str, data: dict[str, Any]) -> None:
        """Replace the session's data whole and restart its ttl, in one atomic step.

        Never brings back a session that is gone: that is `JamSessionNotFound`.
        """

    @hookspec(firstresult=True)
    @abstractmethod
    def delete(self, session_id: str) -> None:
        """End the session: gone when this returns. Silent if it was gone already."""

    @hookspec(firstresult=True)
    @abstractmethod
    def clear(self, session_key: str) -> None:
        """End every session of the key, and no other's."""

    @hookspec(firstresult=True)
    @abstractmethod
    def rework(self, session_id: str) -> str:
        """Give the session a new id and return it; data stays, the ttl restarts.

        One atomic step: the old id is dead the moment the new one lives. Of two at once, one
        wins; the other, like any id that is gone, gets `JamSessionNotFound`.
        """

    @hookspec(firstresult=True)
    def touch(self, session_id: str) -> None:
        """Restart the session's ttl without rewriting its data; `JamSessionNotFound` if gone.

        Optional.
        """
        raise self._lacks("touch")

    @hookspec(firstresult=True)
    def mutate(
        self, session_id: str, change: Callable[[dict[str, Any]], dict[str, Any] | None]
    ) -> dict[str, Any]:
        """Apply `change` to the session's data so that no other request's change is lost.

        `change` gets the data and returns the new data, or changes what it got and returns None.
        It may be called several times: the result is stored only if the data is still what it
        was given. The ttl restarts. Optional; `change_data` does the work.

        Returns:
            The data as stored.

        Raises:
            JamSessionNotFound: The session is gone.
            JamSessionConflict: Somebody else was faster at every attempt; nothing was stored.
        """
        raise self._lacks("mutate")

    @hookspec(firstresult=True)
    def purge(self) -> int:
        """Remove what has expired from the backend and return how many sessions. Optional."""
        raise self._lacks("purge")

    @hookspec(firstresult=True)
    def ping(self) -> None:
        """Return if the backend answers, else raise `JamStoreUnavailable`. Optional."""
        raise self._lacks("ping")

    @hookspec(firstresult=True)
    def list_sessions(self, session_key: str) -> list[SessionInfo]:
        """Return the live sessions of a key, in any order, as they were at one moment.

        Those are the sessions that `get` does not answer with None. One whose record cannot be
        decoded is shown with None for its data, and hides no other. Optional; `info_of` makes the
        entries.
        """
        raise self._lacks("list_sessions")

    @hookspec(firstresult=True)
    def revoke(self, session_key: str, handle: str) -> bool:
        """End the key's session that has this handle, as `delete` would.

        Returns:
            False if there is none; `handle` may be any string. Optional.
        """
        raise self._lacks("revoke")

    @hookspec(firstresult=True)
    def clear_others(self, session_id: str) -> int:
        """End every other session of this session's key, in one atomic step.

        The session itself stays as it is, ttl included. If it is gone, nobody's session ends:
        that is `JamSessionNotFound`. Optional.

        Returns:
            How many sessions ended.
        """
        raise self._lacks("clear_others")

    def records(self) -> Iterator[SessionRecord]:
        """Yield the live sessions of every key, for operators: to move, re-encrypt, count them.

        1. Hold no lock and no transaction while the caller works on what was yielded.
        2. Yield a session that nobody touches meanwhile at least once; what others do meanwhile
           may be seen or not.
        3. Yield nothing of another application; leave out, with a warning to the logger, what
           cannot be read.

        Optional: a store has all of records, restore and replace, or none of them. They are no
        hooks; together they are the capability "records".
        """
        raise self._lacks(RECORDS)

    def restore(self, records: Sequence[SessionRecord]) -> int:
        """Store sessions as they are: id, key, data, expiry and deadline; restart nothing.

        One whose id is there already is left out, so that restoring twice does no harm; so is one
        that has ended. Each is stored whole or not at all. Optional, see `records`.

        Returns:
            How many were stored.

        Raises:
            JamSessionUnsupported: The store keeps ids, and a record has only its id's hash.
        """
        raise self._lacks(RECORDS)

    def replace(self, record: SessionRecord, data: str) -> bool:
        """Replace a session's stored text if it is still the record's; its expiry stays.

        Optional, see `records`.

        Args:
            record: The session, as `records` yielded it.
            data: The new text, from the codec.

        Returns:
            False if the text has changed meanwhile, or the session is gone.
        """
        raise self._lacks(RECORDS)

    def diagnose(self) -> Iterator[tuple[str, str, str]]:
        """Yield what `jam check` is to tell an operator of the backend and its settings. Optional.

        Yields:
            A stable name of the kind of finding, what was found, and what to do about it, the
            latter two as sentences. With nothing to do, "", it is a mere fact.
        """
        yield from ()

    def close(self) -> None:
        """Release what the store itself opened. May be called again. Optional."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    @property
    def capabilities(self) -> frozenset[str]:
        """What the store can do beyond the required: optional operations and `guarantees`."""
        return optional_operations_of(type(self)) | self.guarantees

    def deadline(self, created_at: float) -> float | None:
        """For store authors: when `max_age` ends a session created at `created_at`."""
        return None if self.max_age is None else created_at + self.max_age

    def expiry(self, now: float, deadline: float | None) -> float | None:
        """For store authors: when a session written at `now` ends; at that moment it is gone."""
        if self.ttl is None:
            return deadline
        return now + self.ttl if deadline is None else min(now + self.ttl, deadline)

    def change_data(
        self,
        change: Callable[[dict[str, Any]], dict[str, Any] | None],
        read: Callable[[], str | None],
        swap: Callable[[str, str], bool],
        where: str,
    ) -> dict[str, Any]:
        """For store authors: `mutate` by compare-and-set, with bounded retries.

        Args:
            change: What the caller of `mutate` gave.
            read: Returns the stored text of a live session, or None.
            swap: Stores the second text if the first is still what is stored, restarts the ttl,
                and tells whether it did.
            where: Where the session is stored, for errors.
        """
        for attempt in range(_MUTATE_ATTEMPTS):
            if attempt:
                time.sleep(random.uniform(0, min(_LONGEST_PAUSE, 0.0005 * 2 ** min(attempt, 10))))  # noqa: S311
            stored = read()
            data = None if stored is None else self.codec.decode(stored, where)
            if stored is None or data is None:
                raise JamSessionNotFound
            changed = change(data)
            new_data = data if changed is None else changed
            if swap(stored, self.codec.encode(new_data)):
                return new_data
        raise JamSessionConflict

    def info_of(self, record: SessionRecord) -> SessionInfo | None:
        """For store authors: how `list_sessions` shows a live session; None: not at all."""
        try:
            data = self.codec.decode(record.data, "A session")
        except JamSessionCorrupt:
            data = None
        else:
            if data is None:
                return None
        return SessionInfo(
            record.handle, data, record.created_at, record.expires_at, record.deadline
        )

    def _lacks(self, operation: str) -> JamSessionUnsupported:
        return JamSessionUnsupported(
            f"{type(self).__name__} does not support {operation}. "
            f"It supports: {', '.join(sorted(self.capabilities)) or 'no optional operation'}."
        )


def optional_operations_of(store: type[BaseSession]) -> frozenset[str]:
    """Return the optional operations that a store's class implements; "records" is one, too."""

    def implements(name: str) -> bool:
        return getattr(store, name) is not getattr(BaseSession, name)

    names = {name for name in OPTIONAL_OPERATIONS if implements(name)}
    return frozenset(names | ({RECORDS} if all(map(implements, _RECORD_METHODS)) else set()))


def _seconds(name: str, value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _LONGEST_LIFE:
        raise JamConfigurationError(
            f"{name} must be a whole number of seconds, from 1 to {_LONGEST_LIFE}, or None for "
            "no limit."
        )
    return value


def _logger(logger: BaseLogger | type[BaseLogger] | None) -> BaseLogger:
    if logger is None:
        return NullLogger()
    return logger() if isinstance(logger, type) else logger
