"""BaseSession: what every store promises, and what the core provides to keep that promise."""

import inspect
import random
from abc import ABC, ABCMeta, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypedDict

import pluggy

from jam_core.codec import SessionCodec, read_keys, source_of_keys, uuid4_id
from jam_core.encoders import BaseEncoder, JsonEncoder
from jam_core.exceptions import (
    JamConfigurationError,
    JamSessionConflict,
    JamSessionCorrupt,
    JamSessionDataError,
    JamSessionNotFound,
    JamSessionUnsupported,
)
from jam_core.lifetimes import STORE_DEFAULT, Seconds, StoreDefault, expiry, store_limit
from jam_core.logger import BaseLogger, JamLogger, NullLogger
from jam_core.records import SessionInfo, SessionRecord
from jam_core.waiting import pause

PROJECT = "jam"
REQUIRED_OPERATIONS = ("create", "get", "update", "delete", "clear", "rework")
OPTIONAL_OPERATIONS = (
    "info",
    "touch",
    "mutate",
    "purge",
    "ping",
    "list_sessions",
    "revoke",
    "clear_others",
)
OPERATIONS = REQUIRED_OPERATIONS + OPTIONAL_OPERATIONS
"""The operations that wrappers can wrap, the optional ones last."""
RECORDS = "records"
"""The capability of a store that has `records`, `restore` and `replace`."""
ASYNCIO = "asyncio"
"""The guarantee of a store that waits only with `jam_core.wait`."""
LIFETIMES = "lifetimes"
"""The capability of a store whose sessions can have their own ttl and max_age."""
LOGIN = "login"
"""The capability of a store whose `rework` can make a visitor's session the user's."""
SEEN = "seen"
"""The capability of a store whose `update` replaces only the data that was seen."""
_ARGUMENTS = {
    LIFETIMES: ("create", "ttl"),
    LOGIN: ("rework", "session_key"),
    SEEN: ("update", "seen"),
}
_RECORD_METHODS = ("records", "restore", "replace")

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

ATTEMPTS = 64  # at a compare-and-set
# Seconds before the next attempt. Thousands of rivals get through only if few of them try at once;
# with 0.02, they kept Redis busy for a minute, and most gave up.
_LONGEST_PAUSE = 0.3


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
    """Return every alias of a store's options, its own and inherited ones: alias -> option."""
    aliases: dict[str, str] = {}
    for parent in reversed(store.__mro__):
        aliases.update(vars(parent).get("aliases", {}))
    return aliases


class SessionMeta(ABCMeta):
    """Lets a store's constructor take each option under its aliases, too."""

    if not TYPE_CHECKING:  # type checkers should check against the constructor's own signature

        def __call__(cls, *args: Any, **options: Any) -> Any:
            """Construct a store from options under any of their names."""
            for alias, option in aliases_of(cls).items():
                if alias in options:
                    if option in options:
                        raise JamConfigurationError(
                            f"{alias} is another name for {option}: give one of them, not both."
                        )
                    options[option] = options.pop(alias)
            return super().__call__(*args, **options)


class BaseSession(ABC, metaclass=SessionMeta):
    """A session store: subclass it, write the six abstract methods, publish it.

    Plain methods are all that is needed. `Jam` calls them through pluggy's hook relay, by
    keyword, so that wrappers can hook in; parameters keep the names they have here.

    Every operation works from several threads, after `fork`, and in several processes on one
    backend. A backend that does not answer is `JamStoreUnavailable`, never "no such session". A
    record that cannot be decoded is `JamSessionCorrupt` and stays as it is. An id that is not a
    string is `JamSessionDataError`, from `codec.open_id` and `codec.lookup_hash`; only `get` may
    return None for it.

    Args:
        ttl: Seconds until an idle session ends, counted from create, update, touch, mutate or
            rework. None: never. Another name: default_ttl.
        max_age: Seconds from create, or from the log-in, until a session ends, whatever happens in
            between; a rework without a session key carries it over. None: never.
        is_session_crypt: Encrypt session ids and data.
        session_aes_secret: The key for that, from `generate_aes_key`, or a list of keys: the
            first encrypts, all decrypt. Default: the environment variable
            JAM_SESSION_AES_SECRET, where a comma separates several.
        id_factory: Returns a new random session id at each call. Default: a random UUID.
        serializer: Writes and reads session data.
        logger: Where the store logs; None: nowhere.

    Attributes:
        aliases: Other names of options, as alias -> option. A subclass names its own only.
        guarantees: What the backend guarantees beyond the operations: "durable" (what was written
            outlives the process), "shared" (several processes can use one backend), "asyncio" (it
            waits only with `jam_core.wait`: under `jam.aio` it needs no threads).
        keeps_ids: Whether the backend holds the ids themselves, not their hashes, and needs them:
            then `restore` takes sessions only from a store that also keeps them.
        in_force: For `jam check`: the values in force of options left at None, by their names.
        codec: Mints ids, and encodes and decodes data.

    Raises:
        JamConfigurationError: ttl or max_age is not a positive number of seconds.
        JamSessionEmptyAESKey: Encryption is on, but there is no key.
        JamSessionInvalidAESKey: A key is not 32 url-safe base64-encoded bytes.
    """

    aliases: ClassVar[Mapping[str, str]] = {"default_ttl": "ttl"}
    guarantees: frozenset[str] = frozenset()
    keeps_ids: ClassVar[bool] = False
    in_force: Mapping[str, Any] = {}

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
        self._ttl = store_limit("ttl", ttl)
        self._max_age = store_limit("max_age", max_age)
        self.logger = logger_of(logger)
        keys = read_keys(session_aes_secret) if is_session_crypt else None
        keys_from = source_of_keys(session_aes_secret)
        self.codec = SessionCodec(id_factory, serializer, keys, keys_from)
        if session_aes_secret and not is_session_crypt:
            self.logger.warning(
                "session_aes_secret is set, but is_session_crypt is off: nothing is encrypted."
            )

    @hookspec(firstresult=True)
    @abstractmethod
    def create(
        self,
        session_key: str,
        data: dict[str, Any],
        *,
        ttl: Seconds = STORE_DEFAULT,
        max_age: Seconds = STORE_DEFAULT,
    ) -> str:
        """Store a new session and return its id.

        1. Refuse an empty key and data that is not a JSON object (`JamSessionDataError`).
        2. Mint an id; if it is taken, mint another. Never overwrite a session.
        3. Store data and expiry in one atomic step, before returning.

        Args:
            session_key: Whose session it is; any characters, not empty.
            data: A JSON object; `{}` is a session like any other.
            ttl: Seconds until this session ends while nobody uses it, instead of the store's;
                None: no limit. It keeps this until it ends, or the next log-in.
            max_age: Seconds until this session ends, whatever happens, instead of the store's.
        """

    @hookspec(firstresult=True)
    @abstractmethod
    def get(self, session_id: str) -> dict[str, Any] | None:
        """Return the session's data, a dict of the caller's own, and write nothing.

        None for an id that is unknown, expired, deleted, malformed or forged, whatever the string.
        """

    @hookspec(firstresult=True)
    @abstractmethod
    def update(
        self, session_id: str, data: dict[str, Any], *, seen: SessionInfo | None = None
    ) -> None:
        """Replace all of the session's data and restart its ttl, in one atomic step.

        Never brings back a session that is gone: that is `JamSessionNotFound`.

        Args:
            session_id: The session.
            data: A JSON object.
            seen: What `info` returned: replace the data only if it is still as shown there;
                otherwise it is `JamSessionConflict`, and nothing is stored.
        """

    @hookspec(firstresult=True)
    @abstractmethod
    def delete(self, session_id: str) -> None:
        """End the session: gone when this returns. Silent if it was gone already."""

    @hookspec(firstresult=True)
    @abstractmethod
    def clear(self, session_key: str) -> None:
        """End every session of the key, and no other key's."""

    @hookspec(firstresult=True)
    @abstractmethod
    def rework(
        self,
        session_id: str,
        session_key: str | None = None,
        *,
        ttl: Seconds = STORE_DEFAULT,
        max_age: Seconds = STORE_DEFAULT,
    ) -> str:
        """Give the session a new id and return it; the data stays, the ttl restarts.

        One atomic step: the old id is dead the moment the new one lives. If two requests rework
        one id at once, exactly one succeeds; the other, like any id that is gone, gets
        `JamSessionNotFound`.

        With a `session_key` this is the log-in: the session becomes that key's and begins now.

        Args:
            session_id: The session.
            session_key: The user who logged in. Default: the session keeps its key.
            ttl: With a `session_key`: as in `create`.
            max_age: With a `session_key`: as in `create`.
        """

    @hookspec(firstresult=True)
    def info(self, session_id: str) -> SessionInfo | None:
        """Return the session's data and all that is known about it; None if `get` returns None.

        Writes nothing, and costs as much as `get`. Optional.
        """
        raise self._lacks("info")

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
        """Apply `change` to the session's data without losing any other request's change.

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
        """Remove expired sessions from the backend and return how many. Optional."""
        raise self._lacks("purge")

    @hookspec(firstresult=True)
    def ping(self) -> None:
        """Return if the backend answers, otherwise raise `JamStoreUnavailable`. Optional."""
        raise self._lacks("ping")

    @hookspec(firstresult=True)
    def list_sessions(self, session_key: str) -> list[SessionInfo]:
        """Return the live sessions of a key, in any order, as they were at one moment.

        Those are the sessions for which `get` does not return None. One whose record cannot be
        decoded is shown with None for its data, and hides no others. Optional; `info_of` makes the
        entries.
        """
        raise self._lacks("list_sessions")

    @hookspec(firstresult=True)
    def revoke(self, session_key: str, handle: str) -> bool:
        """End the key's session that has this handle, as `delete` would.

        Returns:
            False if there is none; `handle` may be any string. Anything but a string is
            `JamSessionDataError`, see `is_handle`. Optional.
        """
        raise self._lacks("revoke")

    @hookspec(firstresult=True)
    def clear_others(self, session_id: str) -> int:
        """End every other session of this session's key, in one atomic step.

        The session itself stays as it is, including its ttl. If it is gone, nobody's session ends:
        that is `JamSessionNotFound`. Optional.

        Returns:
            How many sessions ended.
        """
        raise self._lacks("clear_others")

    def records(self) -> Iterator[SessionRecord]:
        """Yield the live sessions of every key, for operators: to move, re-encrypt or count them.

        1. Hold no lock and no transaction while the caller works on what was yielded.
        2. Yield a session that nobody changes meanwhile at least once; what others do meanwhile
           may or may not be seen.
        3. Yield nothing that belongs to another application; leave out what cannot be read, with
           a warning to the logger.

        Optional: a store has all of records, restore and replace, or none of them. They are not
        hooks; together they are the capability "records".
        """
        raise self._lacks(RECORDS)

    def restore(self, records: Sequence[SessionRecord]) -> int:
        """Store sessions as they are: id, key, data, expiry and deadline; restart nothing.

        A session whose id exists already is left out, so restoring twice does no harm; so is one
        that has ended. Each is stored whole or not at all; its id only if the store keeps ids.
        Optional, see `records`.

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
        """Yield what `jam check` should tell operators about the backend and settings. Optional.

        Yields:
            A stable name for the kind of finding, what was found, and what to do about it, the
            latter two as sentences. If there is nothing to do (""), it is merely a fact.
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
    def ttl(self) -> int | None:
        """Seconds until an idle session ends; None: never."""
        return self._ttl

    @ttl.setter
    def ttl(self, value: object) -> None:
        raise _fixed("ttl")

    @property
    def max_age(self) -> int | None:
        """Seconds from create until a session ends, whatever happens; None: never."""
        return self._max_age

    @max_age.setter
    def max_age(self, value: object) -> None:
        raise _fixed("max_age")

    @property
    def capabilities(self) -> frozenset[str]:
        """What the store can do beyond what is required: optional operations and `guarantees`."""
        return optional_operations_of(type(self)) | self.guarantees

    def deadline(self, created_at: float) -> float | None:
        """For store authors: when `max_age` ends a session created at `created_at`."""
        return None if self._max_age is None else created_at + self._max_age

    def expiry(
        self, now: float, deadline: float | None, ttl: Seconds = STORE_DEFAULT
    ) -> float | None:
        """For store authors: when a session written at `now` ends; at that moment it is gone.

        Args:
            now: The moment.
            deadline: When `max_age` ends it; None: never.
            ttl: Its own ttl, if it has one.
        """
        return expiry(now, self._ttl, ttl, deadline)

    def change_data(
        self,
        change: Callable[[dict[str, Any]], dict[str, Any] | None],
        read: Callable[[], str | None],
        swap: Callable[[str, str], bool],
        where: str | Callable[[], str],
        owner: str = "",
    ) -> dict[str, Any]:
        """For store authors: `mutate` by compare-and-set, with bounded retries.

        Args:
            change: What the caller of `mutate` gave.
            read: Returns the stored text of a live session, or None.
            swap: Stores the second text if the first is still the stored one, restarts the ttl, and
                tells whether it did.
            where: Where the session is stored, for errors, or a function that says so.
            owner: See `owner_of`.
        """
        for attempt in range(ATTEMPTS):
            if attempt:
                pause_before(attempt)
            stored = read()
            data = None if stored is None else self.codec.decode(stored, where, owner)
            if stored is None or data is None:
                raise JamSessionNotFound
            changed = change(data)
            new_data = data if changed is None else changed
            if swap(stored, self.codec.encode(new_data, owner)):
                return new_data
        raise JamSessionConflict

    def owner_of(self, record: SessionRecord) -> str:
        """Return what to pass to the codec so that a session's data opens for no other session.

        Here "": encrypted data opens for every session.
        """
        return ""

    def encode_for(self, record: SessionRecord, data: dict[str, Any]) -> str:
        """Return the text that a session's record has with other data.

        Raises:
            JamSessionDataError: The data cannot be stored.
        """
        return self.codec.encode(data, self.owner_of(record))

    def data_of(self, record: SessionRecord) -> dict[str, Any] | None:
        """Return the data of a record; None if it is forged, or another session's.

        Raises:
            JamSessionCorrupt: It cannot be read.
        """
        return self.codec.decode(record.data, "A session", self.owner_of(record))

    def rekeyed(self, record: SessionRecord) -> str | None:
        """Return a record's text encrypted with the newest key; None if its data is forged."""
        return self.codec.rekeyed(record.data, self.owner_of(record))

    def info_of(self, record: SessionRecord) -> SessionInfo | None:
        """For store authors: how `list_sessions` shows a live session; None: not at all."""
        try:
            data = self.data_of(record)
        except JamSessionCorrupt:
            return self.shown(record, None)
        return None if data is None else self.shown(record, data)

    def shown(self, record: SessionRecord, data: dict[str, Any] | None) -> SessionInfo:
        """For store authors: a record whose data has been decoded, as `info` returns it."""
        return SessionInfo(
            record.handle,
            data,
            record.created_at,
            record.expires_at,
            record.deadline,
            record.session_key,
            self.ttl if isinstance(record.ttl, StoreDefault) else record.ttl,
            record.data,
        )

    def _lacks(self, operation: str) -> JamSessionUnsupported:
        return JamSessionUnsupported(
            f"{type(self).__name__} does not support {operation}. "
            f"It supports: {', '.join(sorted(self.capabilities)) or 'no optional operation'}."
        )


def optional_operations_of(store: type[BaseSession]) -> frozenset[str]:
    """Return the optional operations that a store's class implements, including "records"."""

    def implements(name: str) -> bool:
        method = getattr(store, name)
        # StorageSessions has an operation if it has the storage method that it stands on.
        storage = method
        while hasattr(storage, "stands_on"):
            storage = getattr(store, storage.stands_on)
        return method is not getattr(BaseSession, name) and not hasattr(storage, "is_lacking")

    names = {name for name in OPTIONAL_OPERATIONS if implements(name)}
    if all(map(implements, _RECORD_METHODS)):
        names.add(RECORDS)
    for power, (operation, argument) in _ARGUMENTS.items():
        if argument in inspect.signature(getattr(store, operation)).parameters:
            names.add(power)
    return frozenset(names)


def pause_before(attempt: int) -> None:
    """Wait a random time before another compare-and-set, so that rivals do not collide again."""
    pause(random.uniform(0, min(_LONGEST_PAUSE, 0.0005 * 2 ** min(attempt, 10))))  # noqa: S311


def text_of(seen: object) -> str:
    """Return the stored text that `update` must find unchanged."""
    if not isinstance(seen, SessionInfo):
        raise JamSessionDataError("seen must be what session_info returned.")
    return seen.stored


def _fixed(option: str) -> JamConfigurationError:
    return JamConfigurationError(
        f"{option} cannot be changed: it is fixed when the store is built, and sessions have been "
        "stored with it. Pass it to the constructor, or set it in the configuration."
    )


def logger_of(logger: BaseLogger | type[BaseLogger] | None) -> BaseLogger:
    """Return the logger that an option `logger` stands for."""
    if logger is None:
        return NullLogger()
    return logger() if isinstance(logger, type) else logger
