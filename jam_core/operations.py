"""The operations of a store, written once on top of its storage.

What every store would have to repeat is here: keys are checked, data is encoded, ids are minted
until one is free, and "gone" is told from "changed". A store only needs code for its backend.
"""

import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from typing import Any, Generic, NamedTuple, TypeVar
from weakref import ref

from jam_core.codec import check_session_key, hash_id, is_handle, owner_mark
from jam_core.exceptions import (
    JamSessionConflict,
    JamSessionCorrupt,
    JamSessionDataError,
    JamSessionNotFound,
    JamSessionUnsupported,
    JamStoreUnavailable,
)
from jam_core.lifetimes import STORE_DEFAULT, Seconds, StoreDefault, expiry, own_limit
from jam_core.records import SessionInfo, SessionRecord, check_id_hash
from jam_core.session import ATTEMPTS, BaseSession, pause_before, text_of

_SEALINGS = 3  # how often seen data may be re-encrypted with another key meanwhile

Place = TypeVar("Place")
_Method = TypeVar("_Method", bound=Callable[..., Any])


class Change(NamedTuple):
    """A change to a live session that keeps its id.

    Attributes:
        now: The moment of the change; a session that has ended by then is gone.
        ttl: The store's ttl, for sessions without one of their own; None: no limit.
        data: The new text; None: the data stays.
        former: Change only if this is the stored text; None: whatever that is.
        restart: Whether the ttl restarts; otherwise the expiry stays.
    """

    now: float
    ttl: int | None
    data: str | None = None
    former: str | None = None
    restart: bool = True

    def of(self, record: SessionRecord | None, now: float | None = None) -> SessionRecord | None:
        """Return the record as it is afterwards; None if nothing is to be changed.

        Args:
            record: The session as it is stored.
            now: The moment, after waiting for a lock: otherwise a session that ended meanwhile, and
                was seen to be gone, would live again.
        """
        now = self.now if now is None else now
        if record is None or record.ended(now) or self.former not in (None, record.data):
            return None
        data = record.data if self.data is None else self.data
        if not self.restart:
            return record._replace(data=data)
        end = expiry(now, self.ttl, record.ttl, record.deadline)
        return record._replace(data=data, expires_at=end)


class Login(NamedTuple):
    """The new owner and limits of a session at log-in.

    Attributes:
        session_key: The user.
        created_at: The moment of the log-in.
        deadline: When `max_age` ends the session; None: never.
        ttl: Its own ttl.
    """

    session_key: str
    created_at: float
    deadline: float | None
    ttl: Seconds

    def at(self, now: float) -> "Login":
        """Return this log-in at a later moment, if it had to wait."""
        waited = now - self.created_at
        deadline = None if self.deadline is None else self.deadline + waited
        return self._replace(created_at=now, deadline=deadline)


class Move(NamedTuple):
    """A change that gives a live session another id.

    Attributes:
        now: The moment of the move; a session that has ended by then is gone.
        ttl: The store's ttl; None: no limit.
        id_hash: `hash_id` of the new id.
        session_id: The new id, for stores that keep it.
        id_key: The mark of the key that the new id is encrypted with.
        login: With a log-in: whose it becomes. Otherwise the session keeps its key, its deadline
            and any ttl of its own.
        data: The new text, encrypted for the new id; None: the data stays.
        former: Move only if this is the stored text; None: whatever that is.
    """

    now: float
    ttl: int | None
    id_hash: str
    session_id: str
    id_key: str | None
    login: Login | None = None
    data: str | None = None
    former: str | None = None

    def of(self, record: SessionRecord | None, now: float | None = None) -> SessionRecord | None:
        """Return the record as it is afterwards; None if there is nothing to move.

        Args:
            record: The session as it is stored.
            now: The moment, as in `Change.of`.
        """
        now = self.now if now is None else now
        if record is None or record.ended(now) or self.former not in (None, record.data):
            return None
        if self.login is not None:
            record = record._replace(**self.login.at(now)._asdict())
        return record._replace(
            id_hash=self.id_hash,
            session_id=self.session_id if record.session_id is not None else None,
            id_key=self.id_key,
            expires_at=expiry(now, self.ttl, record.ttl, record.deadline),
            data=record.data if self.data is None else self.data,
        )


def stands_on(storage_method: str) -> Callable[[_Method], _Method]:
    """Mark an optional operation: a store has it if it has this storage method."""

    def mark(operation: _Method) -> _Method:
        operation.stands_on = storage_method  # type: ignore[attr-defined]
        return operation

    return mark


def optional(method: _Method) -> _Method:
    """Mark a storage method that a store may leave out."""
    method.is_lacking = True  # type: ignore[attr-defined]
    return method


class _Unavailable(AbstractContextManager[None]):
    def __init__(self, store: BaseSession, errors: tuple[type[Exception], ...]) -> None:
        self._store = ref(store)  # weak: in a cycle, a store would close its files late
        self._errors = errors

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, self._errors):
            reason = getattr(error, "strerror", None) or error
            raise JamStoreUnavailable(f"{self._store()!r} cannot be used: {reason}.") from error


class StorageSessions(BaseSession, Generic[Place]):
    """A store for which you write only the storage.

    Write the six abstract methods, and those of the optional ones that the backend can do. Each is
    one atomic action of the backend; none checks, encodes or mints anything. A `Place` is where a
    session is: the `hash_id` of its id, unless the store says otherwise in `place`.

    If the backend cannot work out what a record becomes, `Change.of` and `Move.of` do: call them
    while nobody else can change it.
    """

    # A store that keeps the time itself takes `clock` as an option, and sets this.
    clock: Callable[[], float] = staticmethod(time.time)
    # False for a layout that other programs read, which know nothing of owners.
    seals_to_owner = True

    @abstractmethod
    def insert(self, place: Place, record: SessionRecord) -> bool:
        """Store a new session; return False if the place is taken."""

    @abstractmethod
    def read(self, place: Place, now: float) -> SessionRecord | None:
        """Return the session if it exists and has not ended."""

    @abstractmethod
    def write(self, place: Place, change: Change) -> bool:
        """Change a session if it is live and `change.former`, if given, is still its data.

        Returns:
            Whether it was changed.
        """

    @abstractmethod
    def move(self, place: Place, new_place: Place, move: Move) -> bool:
        """Move a session if it is live and the new place is free.

        In one step: the old id is dead the moment the new one lives; of two moves at once, one is
        carried out.

        Returns:
            Whether it was moved.

        Raises:
            JamSessionNotFound: It is not live; for backends that can tell this from a new place
                that is taken. For others, it is looked up.
        """

    @abstractmethod
    def remove(self, place: Place) -> None:
        """Remove a session, if there is one."""

    @abstractmethod
    def remove_key(self, session_key: str) -> None:
        """Remove a key's sessions: all that existed when this began, and no later ones."""

    @optional
    def remove_one(self, session_key: str, handle: str, now: float) -> bool:  # noqa: ARG002
        """Remove the live session of a key that has this handle; return whether there was one."""
        raise self._lacks("revoke")

    @optional
    def remove_others(self, place: Place, now: float) -> int | None:  # noqa: ARG002
        """Remove the other live sessions of a live session's key, in one step.

        Returns:
            How many; None if there is no such session.
        """
        raise self._lacks("clear_others")

    @optional
    def of_key(self, session_key: str, now: float) -> Iterable[SessionRecord]:  # noqa: ARG002
        """Return the live sessions of a key, as they are at one moment."""
        raise self._lacks("list_sessions")

    @optional
    def remove_ended(self, now: float) -> int:  # noqa: ARG002
        """Remove the sessions that have ended; return how many."""
        raise self._lacks("purge")

    @optional
    def look(self) -> None:
        """Return if the backend could be read and written; raise otherwise."""
        raise self._lacks("ping")

    def read_data(self, place: Place, now: float) -> str | None:
        """Return the text of a live session, for backends where that is cheaper than `read`."""
        record = self.read(place, now)
        return None if record is None else record.data

    def place(self, session_id: str, opened_id: str) -> Place | None:  # noqa: ARG002
        """Return where the session with an id is; None if this store's ids do not look like this.

        Args:
            session_id: The id as it was issued.
            opened_id: The same, decrypted.
        """
        return hash_id(session_id)  # type: ignore[return-value]

    def place_of(self, record: SessionRecord) -> Place:
        """Return where a record from another store belongs.

        Raises:
            JamSessionUnsupported: It could not be found here by its id.
        """
        return check_id_hash(record.id_hash)  # type: ignore[return-value]

    def id_prefix(self, session_key: str) -> str:  # noqa: ARG002
        """Return what the ids of a key's sessions begin with, inside the encryption."""
        return ""

    def id_prefix_at(self, place: Place) -> str:  # noqa: ARG002
        """Return the `id_prefix` of the key whose session is at a place."""
        return ""

    def where(self, place: Place) -> str:
        """Say where a session is, for errors, without its id, its key or its data."""
        return f"{self!r}, session {place!s:.12}..."

    def unavailable(self, *errors: type[Exception]) -> AbstractContextManager[None]:
        """Raise these errors of the backend as `JamStoreUnavailable`, with its message."""
        return _Unavailable(self, errors)

    @contextmanager
    def leave_out_damaged(self) -> Iterator[None]:
        """Go on after a record that is damaged, and log it."""
        try:
            yield
        except JamSessionCorrupt as damage:
            self.logger.warning("Left out: %s", damage.message)

    def create(
        self,
        session_key: str,
        data: dict[str, Any],
        *,
        ttl: Seconds = STORE_DEFAULT,
        max_age: Seconds = STORE_DEFAULT,
    ) -> str:
        """Store a new session and return its id."""
        written = self.codec.write(data)
        login = self._begun(session_key, ttl, max_age)
        end = expiry(login.created_at, self.ttl, login.ttl, login.deadline)
        for session_id, opened_id in self.codec.new_ids(self.id_prefix(session_key)):
            id_hash = hash_id(session_id)
            record = SessionRecord(
                session_key,
                id_hash,
                self.codec.seal(written, self._owner(session_key, id_hash)),
                session_id if self.keeps_ids else None,
                login.created_at,
                end,
                login.deadline,
                login.ttl,
                self.codec.id_key,
            )
            if self.insert(self._own_place(session_id, opened_id, id_hash), record):
                return session_id
        raise self.codec.no_free_id()

    def get(self, session_id: str) -> dict[str, Any] | None:
        """Return the session's data, or None if there is no such session."""
        place = self._place_to_read(session_id)
        if place is None:
            return None
        if self._seals:
            record = self.read(place, self.clock())
            return None if record is None else self._data_at(place, record, session_id)
        text = self.read_data(place, self.clock())
        return None if text is None else self.codec.decode(text, lambda: self.where(place))

    def info(self, session_id: str) -> SessionInfo | None:
        """Return the session's data and all that is known about it."""
        place = self._place_to_read(session_id)
        record = None if place is None else self.read(place, self.clock())
        if place is None or record is None:
            return None
        data = self._data_at(place, record, session_id)
        return None if data is None else self.shown(record, data)

    def update(
        self, session_id: str, data: dict[str, Any], *, seen: SessionInfo | None = None
    ) -> None:
        """Replace the session's data and restart its ttl."""
        text = self.codec.write(data)
        place = self._known(session_id)
        former = None if seen is None else text_of(seen)
        if self._seals:
            self._update_sealed(place, session_id, text, former)
            return
        text = self.codec.seal(text)
        for _ in range(_SEALINGS):
            if self.write(place, Change(self.clock(), self.ttl, text, former)):
                return
            stored = None if former is None else self.read_data(place, self.clock())
            if former is None or stored is None:
                raise JamSessionNotFound
            if not self.codec.seals_the_same(former, stored):
                break
            former = stored  # `jam rekey` has been here
        raise self._changed_since()

    def delete(self, session_id: str) -> None:
        """End the session."""
        place = self._place(session_id)
        if place is not None:
            self.remove(place)

    def clear(self, session_key: str) -> None:
        """End every session of the key."""
        check_session_key(session_key)
        self.remove_key(session_key)

    def rework(
        self,
        session_id: str,
        session_key: str | None = None,
        *,
        ttl: Seconds = STORE_DEFAULT,
        max_age: Seconds = STORE_DEFAULT,
    ) -> str:
        """Give the session a new id and return it."""
        place = self._known(session_id)
        login = None
        if session_key is not None:
            login = self._begun(session_key, ttl, max_age)
        elif (ttl, max_age) != (STORE_DEFAULT, STORE_DEFAULT):
            raise JamSessionDataError(
                "A session gets its own ttl or max_age at log-in: give rework a session_key, too."
            )
        prefix = self.id_prefix_at(place) if login is None else self.id_prefix(login.session_key)
        for attempt, (new_id, opened_id) in enumerate(self.codec.new_ids(prefix)):
            id_hash = hash_id(new_id)
            new_place = self._own_place(new_id, opened_id, id_hash)
            now = self.clock() if login is None else login.created_at
            move = Move(now, self.ttl, id_hash, new_id, self.codec.id_key, login)
            if self._seals:
                if attempt:  # encrypted ids are never taken, so somebody changed the data
                    pause_before(attempt)
                move = self._sealed_again(place, session_id, move)
            if new_place != place and self.move(place, new_place, move):
                return new_id
            if self.read_data(place, self.clock()) is None:
                raise JamSessionNotFound
        raise JamSessionConflict if self._seals else self.codec.no_free_id()

    def touch(self, session_id: str) -> None:
        """Restart the session's ttl."""
        if not self.write(self._known(session_id), Change(self.clock(), self.ttl)):
            raise JamSessionNotFound

    def mutate(
        self, session_id: str, change: Callable[[dict[str, Any]], dict[str, Any] | None]
    ) -> dict[str, Any]:
        """Apply a function to the session's data by compare-and-set."""
        place = self._known(session_id)
        owner, just_read = "", list[str]()
        if self._seals:
            owner, record = self._owner_at(place, session_id)
            just_read = [record.data]

        def stored() -> str | None:
            return just_read.pop() if just_read else self.read_data(place, self.clock())

        return self.change_data(
            change,
            stored,
            lambda old, new: self.write(place, Change(self.clock(), self.ttl, new, old)),
            lambda: self.where(place),
            owner,
        )

    @stands_on("remove_ended")
    def purge(self) -> int:
        """Remove expired sessions and return how many."""
        return self.remove_ended(self.clock())

    @stands_on("look")
    def ping(self) -> None:
        """Return if the backend answers."""
        self.look()

    @stands_on("of_key")
    def list_sessions(self, session_key: str) -> list[SessionInfo]:
        """Return the live sessions of the key."""
        check_session_key(session_key)
        infos = map(self.info_of, self.of_key(session_key, self.clock()))
        return [info for info in infos if info is not None]

    @stands_on("remove_one")
    def revoke(self, session_key: str, handle: str) -> bool:
        """End the key's session with this handle."""
        check_session_key(session_key)
        if not is_handle(handle) and "revoke" in self.capabilities:
            return False
        return self.remove_one(session_key, handle, self.clock())

    @stands_on("remove_others")
    def clear_others(self, session_id: str) -> int:
        """End every other session of this session's key."""
        ended = self.remove_others(self._known(session_id), self.clock())
        if ended is None:
            raise JamSessionNotFound
        return ended

    def restore(self, records: Sequence[SessionRecord]) -> int:
        """Store sessions as they are."""
        now = self.clock()
        return sum(
            # An id that is kept opens the session to those who read the storage.
            self.insert(
                self.place_of(record),
                record if self.keeps_ids else record._replace(session_id=None),
            )
            for record in records
            if not record.ended(now)
        )

    def replace(self, record: SessionRecord, data: str) -> bool:
        """Replace a session's stored text by compare-and-set."""
        change = Change(self.clock(), self.ttl, data, record.data, restart=False)
        return self.write(self.place_of(record), change)

    def owner_of(self, record: SessionRecord) -> str:
        """Return the session's `owner_mark` if data is encrypted, else ""."""
        return self._owner(record.session_key, record.id_hash)

    def _owner(self, session_key: str, id_hash: str) -> str:
        return owner_mark(session_key, id_hash) if self._seals else ""

    @cached_property
    def _seals(self) -> bool:
        return self.seals_to_owner and self.codec.id_key is not None

    # The owner follows from the id that was presented: the record may be a copy of another one.

    def _owner_at(self, place: Place, session_id: str) -> tuple[str, SessionRecord]:
        """Return a session, and its owner, who stays the same until it gets another id.

        Raises:
            JamSessionNotFound: There is no such session.
        """
        record = self.read(place, self.clock())
        if record is None:
            raise JamSessionNotFound
        return self._owner(record.session_key, hash_id(session_id)), record

    def _data_at(
        self, place: Place, record: SessionRecord, session_id: str
    ) -> dict[str, Any] | None:
        owner = self._owner(record.session_key, hash_id(session_id)) if self._seals else ""
        return self.codec.decode(record.data, lambda: self.where(place), owner)

    def _update_sealed(
        self, place: Place, session_id: str, written: str, seen_text: str | None
    ) -> None:
        """Replace the session's data, if that opens for its owner."""
        for attempt in range(ATTEMPTS):
            if attempt:
                pause_before(attempt)
            owner, record = self._owner_at(place, session_id)
            if not self.codec.opens(record.data, owner):
                raise JamSessionNotFound
            if seen_text is not None and not self.codec.seals_the_same(seen_text, record.data):
                raise self._changed_since()
            text = self.codec.seal(written, owner)
            if self.write(place, Change(self.clock(), self.ttl, text, record.data)):
                return
        raise JamSessionConflict

    def _sealed_again(self, place: Place, session_id: str, move: Move) -> Move:
        """Return a move that brings along the data as it is now, sealed to the new id.

        Raises:
            JamSessionNotFound: There is no such session, or nobody can open its data.
        """
        owner, record = self._owner_at(place, session_id)
        session_key = record.session_key if move.login is None else move.login.session_key
        data = self.codec.rekeyed(record.data, owner, self._owner(session_key, move.id_hash))
        if data is None:
            raise JamSessionNotFound
        return move._replace(data=data, former=record.data)

    @staticmethod
    def _changed_since() -> JamSessionConflict:
        return JamSessionConflict(
            "The session's data is no longer what `seen` showed: nothing was stored. Read it "
            "again, apply the change to that, and update again."
        )

    def _begun(self, session_key: str, ttl: Seconds, max_age: Seconds) -> Login:
        """Return what a key's session begins with if it begins now."""
        check_session_key(session_key)
        now = self.clock()
        own_max_age = own_limit("max_age", max_age)
        limit = self.max_age if isinstance(own_max_age, StoreDefault) else own_max_age
        deadline = None if limit is None else now + limit
        return Login(session_key, now, deadline, own_limit("ttl", ttl))

    def _place(self, session_id: str) -> Place | None:
        """Return where the session of an id from outside is; None for a forged id."""
        opened_id = self.codec.open_id(session_id)
        return None if opened_id is None else self.place(session_id, opened_id)

    def _own_place(self, session_id: str, opened_id: str, id_hash: str) -> Place:
        if type(self).place is StorageSessions.place:
            return id_hash  # type: ignore[return-value]  # saves computing it again
        place = self.place(session_id, opened_id)
        if place is None:
            raise JamSessionUnsupported(
                f"{self!r} cannot store a session under an id that it generated."
            )
        return place

    def _place_to_read(self, session_id: object) -> Place | None:
        """Return where a session is; None for anything that is not an id, such as no cookie."""
        return self._place(session_id) if isinstance(session_id, str) else None

    def _known(self, session_id: str) -> Place:
        place = self._place(session_id)
        if place is None:
            raise JamSessionNotFound
        return place
