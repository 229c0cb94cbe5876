"""Sessions in a backend that can compare-and-set one value; that is all it needs.

All sessions of a session key are in one document, so anything that concerns one key is one swap.
Each id begins with the document's name, so an id leads to it.
"""

import json
import re
import secrets
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeGuard, TypeVar, Unpack

from jam_core.codec import handle_of_hash, hash_id
from jam_core.exceptions import (
    JamSessionCorrupt,
    JamSessionDataError,
    JamSessionUnsupported,
    JamStoreUnavailable,
)
from jam_core.lifetimes import pack_ttl, unpack_ttl
from jam_core.operations import Change, Move, StorageSessions, optional, stands_on
from jam_core.records import SessionRecord
from jam_core.session import ATTEMPTS, SessionOptions, pause_before

_Outcome = TypeVar("_Outcome")
_Entry = dict[str, Any]

_NAME_LENGTH = 32  # of 64: enough that nobody can find two keys with the same document
_OPENED_ID = re.compile(rf"([0-9a-f]{{{_NAME_LENGTH}}})\..+", re.DOTALL)
_DOCUMENT = re.compile(rf"s\.([0-9a-f]{{{_NAME_LENGTH}}})")
# The document, the time of writing in seconds since the epoch, and something random.
_PIECES = rf"p\.([0-9a-f]{{{_NAME_LENGTH}}})\.([0-9]{{1,12}})\.[0-9a-f]{{16}}"
_PIECES_NAME = re.compile(_PIECES)
_PIECE = re.compile(rf"({_PIECES})\.[0-9]{{1,9}}")
_PARTS = {"key": str, "born": str, "marks": list, "sessions": dict}
_PROBE = "ping"
_LONGEST_INLINE = 2048  # longer data is kept apart: only its own session reads it
_MARKS = 8
_COPY_LIFE = 60  # seconds
_OLD = 3600  # seconds: no write takes that long
_LONGEST_TIME = 1e12


class DocumentPlace(NamedTuple):
    """Where a session is.

    Attributes:
        document: The name of its key's document: 32 hexadecimal digits.
        id_hash: `hash_id` of its id.
    """

    document: str
    id_hash: str


class _OwnRecord(SessionRecord):
    """A record from a store like this: its id is known to begin with its document's name."""

    __slots__ = ()


@dataclass(repr=False)  # tracebacks show it
class _Document:
    """The sessions of a key.

    Attributes:
        name: Its name, without the "s." in front.
        text: What is stored; None: nothing.
        token: What the backend calls this state of it.
        key: The session key.
        born: Tells it from an earlier document of the same key that was removed.
        marks: The marks of the last writes.
        entries: The sessions, by the hash of the id. Entries that cannot be read stay.
        dropped: How many ended sessions were left out.
    """

    name: str
    text: str | None = None
    token: Any = None
    key: str = ""
    born: str = ""
    marks: list[str] = field(default_factory=list)
    entries: dict[str, Any] = field(default_factory=dict)
    dropped: int = 0

    def drop_ended(self, now: float) -> None:
        """Leave out the sessions that have ended."""
        ended = [one for one, entry in self.entries.items() if _ended(entry, now)]
        for one in ended:
            del self.entries[one]
        self.dropped = len(ended)

    def written(self, mark: str) -> str:
        """Return what to store."""
        document = {
            "key": self.key,
            "born": self.born or mark,
            "marks": [*self.marks, mark][-_MARKS:],
            "sessions": self.entries,
        }
        return json.dumps(document, separators=(",", ":"))

    def pieces(self) -> dict[str, int]:
        """Return the names under which long data is stored, and in how many pieces each."""
        return {
            entry["pieces"][0]: entry["pieces"][1]
            for entry in self.entries.values()
            if isinstance(entry, dict) and "pieces" in entry and _is_readable(entry)
        }


class DocumentSessions(StorageSessions[DocumentPlace]):
    """A store for which you write only `load`, `swap` and `scan` of a key-value backend.

    For etcd, Consul, memcached, NATS, DynamoDB, S3 and the like, which can replace one value if it
    is still what was read, and for engines that can do more, such as LMDB.

    Names and values are ASCII; names are at most 80 characters of `a-z`, `0-9` and the dot. What
    was swapped in must be what the next `load` returns, in any process: no stale replica, no cache.

    Args:
        clock: Returns the time, in seconds since the epoch.
        **options: The options of every store, see `BaseSession`.

    Attributes:
        longest_value: How many characters the backend takes as one value. Longer data is stored
            in several; the sessions of one key, without their long data, must fit into one.
    """

    longest_value: int = 400_000  # the smallest limit of those named above

    def __init__(
        self, *, clock: Callable[[], float] = time.time, **options: Unpack[SessionOptions]
    ) -> None:
        super().__init__(**options)
        self.clock = clock

    @abstractmethod
    def load(self, name: str) -> tuple[str, Any] | None:
        """Return the value of a name, and what the backend calls this state of it, or None.

        Returns:
            The value, and any token that changes with each write: a version, a revision, an ETag.
            None: there is nothing under the name.

        Raises:
            JamStoreUnavailable: The backend does not answer.
        """

    @abstractmethod
    def swap(self, name: str, text: str | None, token: Any) -> bool:
        """Replace the value of a name if it is still in the state of a token.

        Args:
            name: The name.
            text: The new value; None: remove the name.
            token: From `load`; None: only if there is nothing under the name.

        Returns:
            True once it is stored; False if the backend refused because the state has changed.

        Raises:
            JamStoreUnavailable: The backend does not answer, or nobody knows whether it is stored.
                Do not retry then: the first try may have succeeded, and a second one would be
                refused.
        """

    @optional
    def scan(self, prefix: str) -> Iterable[str]:  # noqa: ARG002
        """Return the names that begin with a prefix. `purge` and `records` need it.

        Others load, swap and remove names meanwhile, and so does the caller.
        """
        raise self._lacks("purge or records")

    def insert(self, place: DocumentPlace, record: SessionRecord) -> bool:
        """Add the session to the document of its key."""

        def add(document: _Document, body: Callable[[], _Entry]) -> bool | None:
            if place.id_hash in document.entries:
                return None
            document.key = record.session_key
            document.entries[place.id_hash] = _entry(record, body())
            return True

        return self._edit(place.document, add, record.data) is not None

    def read(self, place: DocumentPlace, now: float) -> SessionRecord | None:
        """Read the document."""
        former = None
        for attempt in range(ATTEMPTS):
            if attempt:
                pause_before(attempt)
            document = self._open(place.document)
            if place.id_hash not in document.entries:
                return None
            entry = document.entries[place.id_hash]
            if _ended(entry, now):
                return None
            record = self._record(document, place.id_hash)
            text = self._text(entry)
            # Pieces may be gone because the entry has been replaced: then there is a new one.
            if text is not None or entry == former:
                return record._replace(data=text or "")
            former = entry
        raise self._too_many()

    def write(self, place: DocumentPlace, change: Change) -> bool:
        """Change the session in its document."""
        return self._change(place, place.id_hash, change)

    def move(self, place: DocumentPlace, new_place: DocumentPlace, move: Move) -> bool:
        """Move the session within its document, or to that of the user who logged in."""
        if place.document != new_place.document:
            return self._log_in(place, new_place, move)
        return self._change(place, new_place.id_hash, move)

    def _change(self, place: DocumentPlace, id_hash: str, change: Change | Move) -> bool:
        def put(document: _Document, body: Callable[[], _Entry]) -> bool | None:
            if place.id_hash not in document.entries:
                return None
            if id_hash != place.id_hash and id_hash in document.entries:
                return None
            entry = document.entries[place.id_hash]
            record = self._record(document, place.id_hash)
            if change.former is not None:
                record = record._replace(data=self._text(entry) or "")
            changed = change.of(record, self.clock())
            if changed is None:
                return None
            kept = _body(entry) if change.data is None else body()
            if id_hash != place.id_hash:
                del document.entries[place.id_hash]
            document.entries[id_hash] = _entry(changed, kept)
            return True

        return self._edit(place.document, put, change.data) is not None

    def remove(self, place: DocumentPlace) -> None:
        """Take the session out of its document."""

        def end(document: _Document, _: object) -> bool | None:
            if place.id_hash not in document.entries:
                return None
            del document.entries[place.id_hash]
            return True

        self._edit(place.document, end)

    def remove_key(self, session_key: str) -> None:
        """Remove the document of the key, damaged or not."""
        name = _name_of(session_key)
        first: str | None = None
        for attempt in range(ATTEMPTS):
            if attempt:
                pause_before(attempt)
            found = self.load(f"s.{name}")
            if found is None:
                return
            document = _Document(name)
            with suppress(JamSessionCorrupt):
                document = self._read(name, *found)
            # Once there is a different document, all sessions of the first are gone, no matter who
            # removed it: it may have been this very call, and the backend failed to say so.
            first = document.born if first is None else first
            if document.born not in ("", first):
                return
            if self.swap(f"s.{name}", None, found[1]):
                self._forget(document.pieces())
                return
        raise self._too_many()

    def remove_one(self, session_key: str, handle: str, now: float) -> bool:  # noqa: ARG002
        """Take the session with the handle out of the document of its key."""

        def end(document: _Document, _: object) -> bool | None:
            mine = [one for one in document.entries if handle_of_hash(one) == handle]
            for one in mine:
                del document.entries[one]
            return bool(mine) or None

        return self._edit(_name_of(session_key), end) is not None

    def remove_others(self, place: DocumentPlace, now: float) -> int | None:  # noqa: ARG002
        """Leave only the session itself in its document."""

        def end(document: _Document, _: object) -> int | None:
            if place.id_hash not in document.entries:
                return None
            others = len(document.entries) - 1
            document.entries = {place.id_hash: document.entries[place.id_hash]}
            return others

        return self._edit(place.document, end)

    def of_key(self, session_key: str, now: float) -> list[SessionRecord]:
        """Read the document of the key."""
        return self._live(_name_of(session_key), now)

    @stands_on("scan")
    def remove_ended(self, now: float) -> int:
        """Remove ended sessions from every document, and the pieces that no document names."""
        ended = 0
        for name in self.scan("s."):
            document = _DOCUMENT.fullmatch(name)
            if document is not None:
                with self.leave_out_damaged():
                    ended += self._edit(document[1], lambda read, _: read.dropped or None) or 0
        for name in self.scan("p."):
            piece = _PIECE.fullmatch(name)
            # A young piece may belong to a write under way: pieces are written before their entry.
            if piece is not None and int(piece[3]) < now - _OLD:
                found = self.load(f"s.{piece[2]}")
                # Searched for in the text, since entries that cannot be read have pieces, too.
                if found is None or piece[1] not in found[0]:
                    self._discard(name)
        return ended

    @stands_on("scan")
    def records(self) -> Iterator[SessionRecord]:
        """Read one document after another."""
        for name in self.scan("s."):
            document = _DOCUMENT.fullmatch(name)
            if document is None:
                continue
            with self.leave_out_damaged():
                for record in self._live(document[1], self.clock()):
                    with self.leave_out_damaged():
                        if not record.data:
                            raise self._damaged(DocumentPlace(document[1], record.id_hash))
                        yield record

    def look(self) -> None:
        """Write a value, read it and remove it."""
        self.swap(_PROBE, "1", None)  # refused if somebody else is probing: also an answer
        found = self.load(_PROBE)
        if found is not None:
            self.swap(_PROBE, None, found[1])

    def place(self, session_id: str, opened_id: str) -> DocumentPlace | None:
        """Return the document that the id names; None if this kind of store has no such ids."""
        named = _OPENED_ID.fullmatch(opened_id)
        return None if named is None else DocumentPlace(named[1], hash_id(session_id))

    def place_of(self, record: SessionRecord) -> DocumentPlace:
        """Return where the session of a record from a store of this kind belongs.

        Raises:
            JamSessionUnsupported: It is from another kind of store: its id does not lead here.
        """
        place = DocumentPlace(_name_of(record.session_key), record.id_hash)
        leads_here = isinstance(record, _OwnRecord) or (
            record.session_id is not None and self._place(record.session_id) == place
        )
        if not leads_here:
            raise JamSessionUnsupported(
                f"{self!r} takes sessions only from a store that also keeps them in documents: "
                "other ids do not say which document a session is in."
            )
        return place

    def id_prefix(self, session_key: str) -> str:
        """Return the name of the key's document."""
        return f"{_name_of(session_key)}."

    def id_prefix_at(self, place: DocumentPlace) -> str:
        """Return the name of the document."""
        return f"{place.document}."

    def where(self, place: DocumentPlace) -> str:
        """Say where a session is."""
        return f"{self!r}, document s.{place.document}, session {place.id_hash:.12}..."

    def _log_in(self, place: DocumentPlace, new_place: DocumentPlace, move: Move) -> bool:
        """Move a session to another document: copy it, end it here, make the copy last.

        Nobody knows the new id until this returns. A process killed in between leaves the old
        session as it was, and a copy that soon ends by itself.
        """
        copied = False

        def end_here(document: _Document, _: object) -> SessionRecord | None:
            nonlocal copied
            if copied:  # somebody else was faster: the copy may be out of date
                self.remove(new_place)
                copied = False
            if document.entries.pop(place.id_hash, None) is None:
                return None
            # With its data. If the document has changed by now, `swap` will refuse.
            now = self.clock()
            moved = move.of(self.read(place, now), now)
            copied = moved is not None and self.insert(new_place, _brief(moved, now))
            return moved if copied else None

        moved = self._edit(place.document, end_here)
        if moved is None:
            return False

        def live_on(document: _Document, _: object) -> bool | None:
            if new_place.id_hash not in document.entries:
                return None
            body = _body(document.entries[new_place.id_hash])
            document.entries[new_place.id_hash] = _entry(moved, body)
            return True

        return self._edit(new_place.document, live_on) is not None

    def _edit(
        self,
        name: str,
        edit: Callable[[_Document, Callable[[], _Entry]], _Outcome | None],
        text: str | None = None,
    ) -> _Outcome | None:
        """Change a document by compare-and-set, without its ended sessions.

        Args:
            name: The document's name.
            edit: Gets the document and changes it; returns the outcome, or None if nothing is to
                be changed. It may be called again, with the document as it then is.
            text: Data that `edit` may put into an entry, by calling its second argument.
        """
        body: _Entry = {}

        def stored() -> _Entry:
            if not body and text is not None:
                body.update(self._stored(name, text))
            return body

        mark = secrets.token_hex(4)
        outcome: _Outcome | None = None
        for attempt in range(ATTEMPTS):
            if attempt:
                pause_before(attempt)
            document = self._open(name)
            # A driver that retries by itself is refused if its first try succeeded. Repeating the
            # change could undo what others have done since.
            if outcome is not None and mark in document.marks:
                return outcome
            before = document.pieces()
            document.drop_ended(self.clock())
            outcome = edit(document, stored)
            if outcome is None:
                self._forget(_pieces_of(body))
                return None
            try:
                is_saved = self._save(document, mark)
            except JamSessionDataError:
                self._forget(_pieces_of(body))
                raise
            if is_saved:
                after = document.pieces()
                self._forget({base: count for base, count in before.items() if base not in after})
                return outcome
        raise self._too_many()

    def _live(self, name: str, now: float) -> list[SessionRecord]:
        """Return the live sessions of a document; those that cannot be read have no data."""
        former = None
        for attempt in range(ATTEMPTS):
            if attempt:
                pause_before(attempt)
            document = self._open(name)
            found, is_whole = [], True
            for id_hash, entry in document.entries.items():
                if not _is_readable(entry):
                    found.append(SessionRecord(document.key, id_hash, data=""))
                elif not _ended(entry, now):
                    text = self._text(entry)
                    is_whole = is_whole and text is not None
                    found.append(self._record(document, id_hash)._replace(data=text or ""))
            if is_whole or document.text == former:
                return found
            former = document.text
        raise self._too_many()

    def _open(self, name: str) -> _Document:
        found = self.load(f"s.{name}")
        return _Document(name) if found is None else self._read(name, *found)

    def _read(self, name: str, text: str, token: Any) -> _Document:
        with suppress(ValueError, RecursionError):
            read = json.loads(text)
            if isinstance(read, dict):
                header: list[Any] = [read.get(part) for part in _PARTS]
                if all(map(isinstance, header, _PARTS.values())):
                    return _Document(name, text, token, *header)
        raise JamSessionCorrupt(
            f"{self!r}: the document s.{name} cannot be read, nor can any session of its key. It "
            "was left as it is; clear of the session key removes it."
        )

    def _save(self, document: _Document, mark: str) -> bool:
        name = f"s.{document.name}"
        if not document.entries:
            return document.text is None or self.swap(name, None, document.token)
        text = document.written(mark)
        # A document that is too long already may become shorter.
        if len(text) > max(self.longest_value, len(document.text or "")):
            raise JamSessionDataError(
                f"{self!r}: the sessions of this key would take {len(text)} characters, and the "
                f"backend takes {self.longest_value} as one value. Nothing was stored. End some "
                "of them, or keep less in each."
            )
        return self.swap(name, text, document.token)

    def _stored(self, name: str, text: str) -> _Entry:
        """Return the part of an entry that leads to its data; store data that is long."""
        written = json.dumps(text)  # for a backend that takes ASCII only
        if len(written) <= min(_LONGEST_INLINE, self.longest_value // 8):
            return {"text": text}
        base = f"p.{name}.{int(self.clock())}.{secrets.token_hex(8)}"
        starts = range(0, len(written), self.longest_value)
        for number, start in enumerate(starts):
            piece = written[start : start + self.longest_value]
            if not self.swap(f"{base}.{number}", piece, None):
                # Random names do not collide: a driver retried what had succeeded.
                found = self.load(f"{base}.{number}")
                if found is None or found[0] != piece:
                    raise JamStoreUnavailable(f"{self!r} refused to store a new value.")
        return {"pieces": [base, len(starts)]}

    def _text(self, entry: _Entry) -> str | None:
        """Return the data of an entry; None if a piece of it is missing."""
        if "text" in entry:
            return str(entry["text"])
        base, count = entry["pieces"]
        pieces = []
        for number in range(count):
            found = self.load(f"{base}.{number}")
            if found is None:
                return None
            pieces.append(found[0])
        with suppress(ValueError):
            text = json.loads("".join(pieces))
            return text if isinstance(text, str) else None
        return None

    def _record(self, document: _Document, id_hash: str) -> SessionRecord:
        """Return the record of an entry, without its data."""
        entry = document.entries[id_hash]
        if not _is_readable(entry):
            raise self._damaged(DocumentPlace(document.name, id_hash))
        return _OwnRecord(
            document.key,
            id_hash,
            data="",
            created_at=entry.get("created"),
            expires_at=entry.get("expires"),
            deadline=entry.get("deadline"),
            ttl=unpack_ttl(entry.get("ttl")),
            id_key=entry.get("id_key"),
        )

    def _forget(self, pieces: dict[str, int]) -> None:
        """Remove pieces that no entry names; what cannot be reached is left for purge."""
        with suppress(JamStoreUnavailable):
            for base, count in pieces.items():
                for number in range(count):
                    self._discard(f"{base}.{number}")

    def _discard(self, name: str) -> None:
        found = self.load(name)
        if found is not None:
            self.swap(name, None, found[1])

    def _damaged(self, place: DocumentPlace) -> JamSessionCorrupt:
        return JamSessionCorrupt(
            f"{self.where(place)} cannot be read. It was left as it is; delete removes it."
        )

    def _too_many(self) -> JamStoreUnavailable:
        return JamStoreUnavailable(
            f"{self!r}: others changed the sessions of this key at each of many attempts. Nothing "
            "was stored."
        )


def _name_of(session_key: str) -> str:
    return hash_id(session_key)[:_NAME_LENGTH]


def _entry(record: SessionRecord, body: _Entry) -> _Entry:
    """Return what is stored for a record, with its data as `body` says."""
    fields: _Entry = {
        "created": record.created_at,
        "expires": record.expires_at,
        "deadline": record.deadline,
        "ttl": pack_ttl(record.ttl),
        "id_key": record.id_key,
    }
    return {name: value for name, value in fields.items() if value is not None} | body


def _body(entry: _Entry) -> _Entry:
    return {part: entry[part] for part in ("text", "pieces") if part in entry}


def _pieces_of(body: _Entry) -> dict[str, int]:
    return {body["pieces"][0]: body["pieces"][1]} if "pieces" in body else {}


def _brief(record: SessionRecord, now: float) -> SessionRecord:
    """Return a record that ends soon."""
    end = now + _COPY_LIFE
    return record._replace(expires_at=min(end, record.expires_at or end))


def _ended(entry: object, now: float) -> bool:
    end = entry.get("expires") if isinstance(entry, dict) else None
    return _is_number(end) and now >= end and _is_readable(entry)


def _is_readable(entry: object) -> TypeGuard[_Entry]:
    if not isinstance(entry, dict):
        return False
    times = [entry.get(name) for name in ("created", "expires", "deadline", "ttl")]
    if not all(time is None or _is_number(time) for time in times):
        return False
    if not isinstance(entry.get("id_key"), str | None):
        return False
    pieces = entry.get("pieces")
    if pieces is None:
        return isinstance(entry.get("text"), str)
    return (
        isinstance(pieces, list)
        and len(pieces) == 2  # noqa: PLR2004
        and isinstance(pieces[0], str)
        and _PIECES_NAME.fullmatch(pieces[0]) is not None
        and _is_number(pieces[1])
        and isinstance(pieces[1], int)
    )


def _is_number(value: object) -> TypeGuard[float]:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return -_LONGEST_TIME < value < _LONGEST_TIME
