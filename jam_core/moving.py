"""MovingSessions: from one store to another while the application runs, with nobody logged out.

Stores that keep only the hash of an id cannot be copied to one that needs the id, such as Redis.
But the application sees the ids, so a session is moved when it is read.

In the old store, a mark takes the place of a moved session: a compare-and-set replaces its data
with a mark that leads to the new id. That step is the move. Before it, the copy already exists,
under an id that nobody knows; if somebody else changes, ends or moves the session first, the copy
is removed. Ending a session replaces its data in the same way before removing it, so that no move
can miss that.
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import shake_256
from itertools import islice
from typing import Any

from jam_core.codec import hash_id, is_handle, session_handle
from jam_core.exceptions import (
    JamConfigurationError,
    JamSessionConflict,
    JamSessionCorrupt,
    JamSessionNotFound,
)
from jam_core.lifetimes import STORE_DEFAULT, Seconds
from jam_core.opening import ConfiguredStore, configured_store
from jam_core.operations import StorageSessions
from jam_core.options import options_that_create
from jam_core.records import SessionInfo, SessionRecord
from jam_core.session import ATTEMPTS, BaseSession, SessionOptions, pause_before

_MARK = "jam.moving"
_ENDED: dict[str, Any] = {_MARK: {}}
_COPY_LIVES = 60  # seconds, until somebody has its id
_MOMENT = 2  # seconds; with no more than this left, it may have ended by the server's clock
_HEX = re.compile("([0-9a-f]{2})+")
_LOOKS = 20
_SHARE_OF_TTL = 0.1  # used up before a mark's ttl is started again
_MOST_COUNTED = 10_000  # by `jam check`, which must not take long

Change = Callable[[dict[str, Any]], dict[str, Any] | None]


class MovingSessions(BaseSession):
    """Sessions that move from an old store to a new one, each when `session_info` reads it.

    New sessions begin in the new store. A session of the old store is served from there until
    `session_info` moves it; `SessionInfo.new_id` is then the id to give to the client. The old id
    keeps leading to the session until the session ends.

    Args:
        new: The options of the new store, as they would be in `[jam.session]`.
        old: The options of the old store, likewise.
        prepare: Let sessions begin and stay in the old store, but also find those in the new one:
            for as long as some processes do not know the new store yet.
        create: Create what one of the stores lacks, as its own options say. False: it must exist.

    Raises:
        JamConfigurationError: One of the stores cannot be used, or lacks something.
        JamStoreUnavailable: One of the stores cannot be opened.
    """

    def __init__(
        self,
        new: dict[str, Any],
        old: dict[str, Any],
        *,
        prepare: bool = False,
        create: bool = True,
    ) -> None:
        of_new, of_old = (
            _configured(name, table, create=create) for name, table in (("new", new), ("old", old))
        )
        place = _place_of(of_new)
        if place and place == _place_of(of_old):
            raise JamConfigurationError(
                "new and old are the same place, where neither store could tell its sessions from "
                "the other's. Give the new one a table, path or session_path of its own."
            )
        self._new = _opened("new", of_new)
        try:
            self._old = _opened("old", of_old)
        except BaseException:
            self._new.close()
            raise
        super().__init__(ttl=self._new.ttl, max_age=self._new.max_age, logger=self._new.logger)
        self.codec = self._new.codec
        self.guarantees = self._new.guarantees & self._old.guarantees
        self._prepares = prepare
        # Where sessions begin, and stay.
        self._home = self._old if prepare else self._new

    def create(
        self,
        session_key: str,
        data: dict[str, Any],
        *,
        ttl: Seconds = STORE_DEFAULT,
        max_age: Seconds = STORE_DEFAULT,
    ) -> str:
        """Store a new session, in the new store."""
        return self._home.create(session_key, data, ttl=ttl, max_age=max_age)

    def get(self, session_id: str) -> dict[str, Any] | None:
        """Return the session's data, wherever it is; it stays there."""
        data = self._new.get(session_id)
        if data is None:
            data = self._old.get(session_id)
            mark = _mark_in(data)
            if mark is not None:
                new_id = _new_id(mark, session_id)
                return None if new_id is None else self._new.get(new_id)
        return data

    def info(self, session_id: str) -> SessionInfo | None:
        """Move the session and return it, with `new_id` if the client has another id."""
        found = self._new.info(session_id)
        if found is not None:
            return found
        for seen in self._looks(session_id):
            mark = _mark_in(seen.data)
            if mark is not None:
                moved = self._followed(_new_id(mark, session_id))
                if moved is not None:
                    self._keep_mark(session_id, seen)
                return moved
            if self._prepares:
                return seen
            try:
                new_id = self._copied(self._new, seen, seen.expires_at)
            except JamSessionNotFound:
                return None
            if self._superseded(session_id, seen, _mark(new_id, session_id)):
                return self._followed(new_id)
            self._new.delete(new_id)
        return None

    def update(
        self, session_id: str, data: dict[str, Any], *, seen: SessionInfo | None = None
    ) -> None:
        """Replace the session's data, wherever it is."""
        try:
            return self._new.update(session_id, data, seen=seen)
        except JamSessionNotFound:
            pass
        for found in self._looks(session_id):
            mark = _mark_in(found.data)
            if mark is not None:
                self._new.update(_known(mark, session_id), data, seen=seen)
                return self._keep_mark(session_id, found)
            if seen and not self._old.codec.seals_the_same(seen.stored, found.stored):
                break
            # Only what was seen: a mark must not be written over.
            if self._superseded(session_id, found, data):
                return None
        else:
            raise JamSessionNotFound
        raise JamSessionConflict

    def touch(self, session_id: str) -> None:
        """Restart the session's ttl, wherever it is."""
        try:
            return self._new.touch(session_id)
        except JamSessionNotFound:
            found = self._old.info(session_id)
        if found is None:
            raise JamSessionNotFound
        mark = _mark_in(found.data)
        if mark is not None:
            self._new.touch(_known(mark, session_id))
            return self._keep_mark(session_id, found)
        return self._old.touch(session_id)

    def mutate(self, session_id: str, change: Change) -> dict[str, Any]:
        """Apply a function to the session's data, wherever it is."""
        try:
            return self._new.mutate(session_id, change)
        except JamSessionNotFound:
            pass
        marks: list[dict[str, Any]] = []

        def unless_moved(data: dict[str, Any]) -> dict[str, Any] | None:
            mark = _mark_in(data)
            if mark is not None:
                marks.append(mark)
                raise JamSessionNotFound
            return change(data)

        try:
            return self._old.mutate(session_id, unless_moved)
        except JamSessionNotFound:
            if not marks:
                raise
        return self._new.mutate(_known(marks[-1], session_id), change)

    def delete(self, session_id: str) -> None:
        """End the session, wherever it is."""
        self._new.delete(session_id)
        try:
            for found in self._looks(session_id):
                mark = _mark_in(found.data)
                if mark is not None:
                    new_id = _new_id(mark, session_id)
                    if new_id is not None:
                        self._new.delete(new_id)
                    break
                if self._superseded(session_id, found, _ENDED):
                    break
        except JamSessionCorrupt:
            pass  # what cannot be read is not moved either
        self._old.delete(session_id)

    def clear(self, session_key: str) -> None:
        """End every session of the key, the old ones first, so that none can still move."""
        self._old.clear(session_key)
        self._new.clear(session_key)

    def rework(
        self,
        session_id: str,
        session_key: str | None = None,
        *,
        ttl: Seconds = STORE_DEFAULT,
        max_age: Seconds = STORE_DEFAULT,
    ) -> str:
        """Give the session a new id, in the new store; the old id is dead."""

        def reworked(store: BaseSession, an_id: str) -> str:
            return store.rework(an_id, session_key, ttl=ttl, max_age=max_age)

        try:
            return reworked(self._new, session_id)
        except JamSessionNotFound:
            pass
        for found in self._looks(session_id):
            mark = _mark_in(found.data)
            if mark is not None:
                new_id = reworked(self._new, _known(mark, session_id))
                self._old.delete(session_id)
                return new_id
            if self._prepares:
                return self._reworked_in_place(session_id, reworked)
            new_id = reworked(self._new, self._copied(self._new, found, self._now() + _COPY_LIVES))
            if self._superseded(session_id, found, _ENDED):
                self._old.delete(session_id)
                return new_id
            self._new.delete(new_id)
        raise JamSessionNotFound

    def list_sessions(self, session_key: str) -> list[SessionInfo]:
        """Return the live sessions of the key, in both stores."""
        before = self._old_sessions(session_key)
        for _ in range(_LOOKS):
            moved = self._new.list_sessions(session_key)
            after = self._old_sessions(session_key)
            # Otherwise one may have moved from a list not yet read to one already read.
            if before.keys() == after.keys():
                break
            before = after
        return [*moved, *after.values()]

    def revoke(self, session_key: str, handle: str) -> bool:
        """End the key's session that has this handle, or had it in the old store."""
        for attempt in range(ATTEMPTS):
            if self._new.revoke(session_key, handle):
                return True
            records = self._old.of_key(session_key, self._old.clock())
            record = next((one for one in records if one.handle == handle), None)
            if record is None:
                return False
            mark = self._mark_of(record)
            if mark is not None:
                ended = bool(mark) and self._new.revoke(session_key, mark["handle"])
                self._old.revoke(session_key, handle)
                return ended
            if self._old.replace(record, self._old.encode_for(record, _ENDED)):
                self._old.revoke(session_key, handle)
                return True
            pause_before(attempt + 1)
        raise JamSessionConflict

    def clear_others(self, session_id: str) -> int:
        """End every other session of this session's key, in both stores."""
        self._new.codec.open_id(session_id)  # refuses what is not a string
        found = self._new.info(session_id)
        if found is not None:
            old = self._old_sessions(found.session_key)
            self._old.clear(found.session_key)
            return self._new.clear_others(session_id) + len(old)
        found = self.info(session_id)  # moves it, unless this prepares: it cannot move meanwhile
        if found is None:
            raise JamSessionNotFound
        old = self._old_sessions(found.session_key)
        self._old.clear_others(session_id)  # spares the mark
        ended = len(old.keys() - {session_handle(session_id)})
        if found.new_id is not None:
            return self._new.clear_others(found.new_id) + ended
        new = self._new.list_sessions(found.session_key)
        self._new.clear(found.session_key)
        return ended + len(new)

    def purge(self) -> int:
        """Remove expired sessions from both stores."""
        return self._new.purge() + self._old.purge()

    def ping(self) -> None:
        """Return if both stores answer."""
        self._new.ping()
        self._old.ping()

    def records(self) -> Iterator[SessionRecord]:
        """Yield the live sessions of both stores."""
        yield from self._new.records()
        yield from (one for one in self._old.records() if self._mark_of(one) is None)

    def restore(self, records: Sequence[SessionRecord]) -> int:
        """Store sessions as they are, in the new store."""
        return self._home.restore(records)

    def owner_of(self, record: SessionRecord) -> str:
        """Ask the store that the record is from."""
        keeps_ids = record.session_id is not None
        return (self._new if keeps_ids == self._new.keeps_ids else self._old).owner_of(record)

    def replace(self, record: SessionRecord, data: str) -> bool:
        """Replace a session's stored text, wherever it is."""
        is_of_new = record.session_id is not None or not self._new.keeps_ids
        return (is_of_new and self._new.replace(record, data)) or self._old.replace(record, data)

    def diagnose(self) -> Iterator[tuple[str, str, str]]:
        """Say how far the move has got, and what both stores say."""
        some = islice(self._old.records(), _MOST_COUNTED)
        marks = [self._mark_of(one) for one in some]
        left = sum(mark is None for mark in marks)
        forwarded = sum(bool(mark) for mark in marks)
        text = f"The old store has {left:,} sessions, and {forwarded:,} old ids of moved ones."
        if len(marks) == _MOST_COUNTED:
            text = f"The old store has {_MOST_COUNTED:,} sessions and old ids, or more."
        if not marks:
            text = "The old store is empty: configure the new store alone, as session_type."
        yield "moving", text, ""
        for name, store in (("new", self._new), ("old", self._old)):
            for code, words, remedy in store.diagnose():
                yield code, f"{name}: {words}", remedy

    def close(self) -> None:
        """Close both stores."""
        try:
            self._new.close()
        finally:
            self._old.close()

    def __repr__(self) -> str:
        return f"<MovingSessions from {self._old!r} to {self._new!r}>"

    def _reworked_in_place(
        self, session_id: str, reworked: Callable[[BaseSession, str], str]
    ) -> str:
        """Give a session its new id in the old store, or in the new one if it has just moved.

        Raises:
            JamSessionNotFound: It is gone.
        """
        new_id = reworked(self._old, session_id)
        mark = _mark_in(self._old.get(new_id))
        if mark is None:
            return new_id
        self._old.delete(new_id)
        return reworked(self._new, _known(mark, session_id))

    def _looks(self, session_id: str) -> Iterator[SessionInfo]:
        """Yield the session as the old store has it, repeatedly while others are faster.

        Raises:
            JamSessionConflict: Others were faster at every attempt.
        """
        for attempt in range(ATTEMPTS):
            if attempt:
                pause_before(attempt)
            found = self._old.info(session_id)
            if found is None:
                return
            yield found
        raise JamSessionConflict

    def _superseded(self, session_id: str, seen: SessionInfo, data: dict[str, Any]) -> bool:
        """Replace an old session's data if it is what was seen; return whether it was."""
        try:
            self._old.update(session_id, data, seen=seen)
        except (JamSessionConflict, JamSessionNotFound):
            return False
        return True

    def _copied(self, store: StorageSessions[Any], seen: SessionInfo, end: float | None) -> str:
        """Store a copy of a session under a new id, which nobody knows, and return the id.

        Raises:
            JamSessionNotFound: It has just ended.
        """
        ends = [one for one in (end, seen.deadline) if one is not None]
        is_read = _reads(store, seen)
        own_ttl = STORE_DEFAULT if seen.ttl == self._old.ttl else seen.ttl
        for new_id, _ in store.codec.new_ids(store.id_prefix(seen.session_key)):
            record = SessionRecord(
                seen.session_key,
                hash_id(new_id),
                seen.stored,
                new_id,
                seen.created_at,
                _rounded(min(ends, default=None)),
                _rounded(seen.deadline),
                own_ttl,
                store.codec.id_key,
            )
            if not is_read or store.owner_of(record):
                record = record._replace(data=store.encode_for(record, seen.data or {}))
            if store.restore([record]):
                return new_id
            if ends and min(ends) < self._now() + _MOMENT:
                raise JamSessionNotFound
        raise store.codec.no_free_id()

    def _now(self) -> float:
        return self._old.clock() or time.time()  # Redis keeps the time itself, and says 0

    def _followed(self, new_id: str | None) -> SessionInfo | None:
        found = None if new_id is None else self._new.info(new_id)
        return found and replace(found, new_id=new_id)

    def _keep_mark(self, old_id: str, mark: SessionInfo) -> None:
        """Keep a mark alive while its session is used with the old id."""
        if mark.ttl is None or mark.expires_at is None or mark.expires_at == mark.deadline:
            return
        if mark.expires_at - self._now() < (1 - _SHARE_OF_TTL) * mark.ttl:
            with suppress(JamSessionNotFound):  # the session has just ended
                self._old.touch(old_id)

    def _old_sessions(self, session_key: str) -> dict[str, SessionInfo]:
        listed = self._old.list_sessions(session_key)
        return {one.handle: one for one in listed if _mark_in(one.data) is None}

    def _mark_of(self, record: SessionRecord) -> dict[str, Any] | None:
        try:
            return _mark_in(self._old.data_of(record))
        except JamSessionCorrupt:
            return None


def _configured(name: str, table: dict[str, Any], *, create: bool) -> ConfiguredStore:
    try:
        configured = configured_store({"session": table}, "")
    except JamConfigurationError as error:
        told = error.message.replace("the configuration dict: ", "", 1)
        raise type(error)(re.sub(r"\bsession\b", name, told)) from error.__cause__
    if not create and isinstance(configured.store, type):
        creating = dict.fromkeys(options_that_create(configured.store), False)
        configured = configured._replace(options={**configured.options, **creating})
    return configured


def _place_of(configured: ConfiguredStore) -> tuple[object, dict[str, Any]] | None:
    """Return what says where a store keeps its sessions, as far as its options say so."""
    common = SessionOptions.__annotations__
    own = {name: value for name, value in configured.options.items() if name not in common}
    return (configured.store, own) if own else None


def _opened(name: str, configured: ConfiguredStore) -> StorageSessions[Any]:
    store = configured.open()
    if not isinstance(store, StorageSessions):
        store.close()
        raise JamConfigurationError(
            f"{name}: {type(store).__name__} cannot move sessions: it is not a StorageSessions."
        )
    return store


def _reads(store: BaseSession, seen: SessionInfo) -> bool:
    """Return whether a store can read a session's stored text, which `seen` compares."""
    try:
        return store.codec.decode(seen.stored, "A session") == seen.data
    except JamSessionCorrupt:
        return False


def _mark_in(data: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return what has taken the place of a session's data: {} if the session has ended.

    An application may store what a visitor sends, unchanged. It counts as a mark only if it looks
    like one, and then it can only lead to a session whose id the visitor knows.
    """
    mark = data.get(_MARK) if data is not None and len(data) == 1 else None
    if not isinstance(mark, dict):
        return None
    to, handle = mark.get("to"), mark.get("handle")
    if isinstance(to, str) and isinstance(handle, str) and _HEX.fullmatch(to) and is_handle(handle):
        return mark
    return None if mark else mark


def _mark(new_id: str, old_id: str) -> dict[str, Any]:
    """Return what leads from the old id to the new one, for those who know the old id.

    The old store has only a hash of the old id: somebody who reads its file must not get an id that
    opens a session.
    """
    raw = new_id.encode()
    return {_MARK: {"to": _masked(raw, old_id).hex(), "handle": session_handle(new_id)}}


def _new_id(mark: dict[str, Any], old_id: str) -> str | None:
    if not mark:
        return None
    return _masked(bytes.fromhex(mark["to"]), old_id).decode("utf-8", "replace")


def _known(mark: dict[str, Any], old_id: str) -> str:
    new_id = _new_id(mark, old_id)
    if new_id is None:
        raise JamSessionNotFound
    return new_id


def _masked(text: bytes, old_id: str) -> bytes:
    pad = shake_256(b"jam moving " + old_id.encode("utf-8", "surrogatepass")).digest(len(text))
    return bytes(one ^ other for one, other in zip(text, pad, strict=True))


def _rounded(moment: float | None) -> float | None:
    """Return a moment in whole milliseconds, which every store can keep exactly."""
    return None if moment is None else round(moment, 3)
