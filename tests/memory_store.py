"""A correct store that keeps its sessions in memory: what the tests of the core open."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

from jam_core import (
    BaseSession,
    JamSessionNotFound,
    SessionInfo,
    SessionOptions,
    SessionRecord,
    check_session_key,
    handle_of_hash,
    hash_id,
)

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

_PLACE = "A session in memory"


class Record(NamedTuple):
    """A session as it is kept.

    Attributes:
        session_key: Whose session it is.
        text: The encoded data.
        deadline: When `max_age` ends it, or None.
        expires_at: When it ends, or None; at that moment it is gone.
        id_key: The mark of the key that the id is encrypted with, or None.
    """

    session_key: str
    text: str
    deadline: float | None
    expires_at: float | None
    id_key: str | None = None


class MemorySessions(BaseSession):
    """Keeps sessions in a dict, under the hashes of their ids, for as long as it lives.

    Args:
        clock: Returns the time in seconds.
        **options: The options of every store; `BaseSession` describes them.

    Attributes:
        kept: The sessions, by the hash of the id.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.time, **options: Unpack[SessionOptions]
    ) -> None:
        super().__init__(**options)
        self._clock = clock
        self._lock: AbstractContextManager[object] = threading.Lock()
        self.kept: dict[str, Record] = {}

    def create(self, session_key: str, data: dict[str, Any]) -> str:
        check_session_key(session_key)
        text = self.codec.encode(data)
        now = self._clock()
        deadline = self.deadline(now)
        record = Record(session_key, text, deadline, self.expiry(now, deadline), self.codec.id_key)

        def take(session_id: str) -> bool:
            with self._lock:
                return self.kept.setdefault(hash_id(session_id), record) is record

        return self.codec.mint(take)

    def get(self, session_id: str) -> dict[str, Any] | None:
        with self._lock:
            record = self._live(self.codec.lookup_hash(session_id))
        return None if record is None else self.codec.decode(record.text, _PLACE)

    def update(self, session_id: str, data: dict[str, Any]) -> None:
        self._rewrite(self.codec.lookup_hash(session_id), self.codec.encode(data))

    def delete(self, session_id: str) -> None:
        hashed = self.codec.lookup_hash(session_id)
        with self._lock:
            if hashed is not None:
                self.kept.pop(hashed, None)

    def clear(self, session_key: str) -> None:
        with self._lock:
            for hashed, record in list(self.kept.items()):
                if record.session_key == session_key:
                    del self.kept[hashed]

    def rework(self, session_id: str) -> str:
        old = self.codec.lookup_hash(session_id)

        def take(new_session_id: str) -> bool:
            new = hash_id(new_session_id)
            with self._lock:
                record = self._live(old)
                if old is None or record is None:
                    raise JamSessionNotFound
                if new in self.kept:
                    return False
                self.kept[new] = self._restarted(record)._replace(id_key=self.codec.id_key)
                del self.kept[old]
                return True

        return self.codec.mint(take)

    def touch(self, session_id: str) -> None:
        self._rewrite(self.codec.lookup_hash(session_id))

    def mutate(
        self, session_id: str, change: Callable[[dict[str, Any]], dict[str, Any] | None]
    ) -> dict[str, Any]:
        hashed = self.codec.lookup_hash(session_id)

        def read() -> str | None:
            with self._lock:
                record = self._live(hashed)
            return None if record is None else record.text

        def swap(old: str, new: str) -> bool:
            with self._lock:
                record = self._live(hashed)
                if hashed is None or record is None or record.text != old:
                    return False
                self.kept[hashed] = self._restarted(record._replace(text=new))
                return True

        return self.change_data(change, read, swap, _PLACE)

    def purge(self) -> int:
        with self._lock:
            expired = [hashed for hashed in self.kept if self._live(hashed) is None]
            for hashed in expired:
                del self.kept[hashed]
        return len(expired)

    def ping(self) -> None:
        """Memory always answers."""

    def list_sessions(self, session_key: str) -> list[SessionInfo]:
        check_session_key(session_key)
        with self._lock:
            found = [self._published(hashed) for hashed in self._hashes_of(session_key)]
        return [info for info in map(self.info_of, found) if info is not None]

    def revoke(self, session_key: str, handle: str) -> bool:
        check_session_key(session_key)
        with self._lock:
            for hashed in self._hashes_of(session_key):
                if handle_of_hash(hashed) == handle:
                    del self.kept[hashed]
                    return True
        return False

    def clear_others(self, session_id: str) -> int:
        kept = self.codec.lookup_hash(session_id)
        with self._lock:
            record = self._live(kept)
            if record is None:
                raise JamSessionNotFound
            others = [one for one in self._hashes_of(record.session_key) if one != kept]
            for hashed in others:
                del self.kept[hashed]
        return len(others)

    def records(self) -> Iterator[SessionRecord]:
        with self._lock:
            found = [self._published(hashed) for hashed in self.kept if self._live(hashed)]
        yield from found

    def restore(self, records: Sequence[SessionRecord]) -> int:
        with self._lock:
            before = len(self.kept)
            now = self._clock()
            for one in records:
                record = Record(one.session_key, one.data, one.deadline, one.expires_at, one.id_key)
                if record.expires_at is None or now < record.expires_at:
                    self.kept.setdefault(one.id_hash, record)
            return len(self.kept) - before

    def replace(self, record: SessionRecord, data: str) -> bool:
        with self._lock:
            stored = self._live(record.id_hash)
            if stored is None or stored.text != record.data:
                return False
            self.kept[record.id_hash] = stored._replace(text=data)
            return True

    def _hashes_of(self, session_key: str) -> list[str]:
        """Return the hashes of a key's live sessions."""
        return [
            hashed
            for hashed, record in self.kept.items()
            if record.session_key == session_key and self._live(hashed)
        ]

    def _published(self, hashed: str) -> SessionRecord:
        record = self.kept[hashed]
        return SessionRecord(
            session_key=record.session_key,
            id_hash=hashed,
            data=record.text,
            expires_at=record.expires_at,
            deadline=record.deadline,
            id_key=record.id_key,
        )

    def _live(self, hashed: str | None) -> Record | None:
        record = None if hashed is None else self.kept.get(hashed)
        if record is None or (record.expires_at is not None and record.expires_at <= self._clock()):
            return None
        return record

    def _restarted(self, record: Record) -> Record:
        return record._replace(expires_at=self.expiry(self._clock(), record.deadline))

    def _rewrite(self, hashed: str | None, text: str | None = None) -> None:
        with self._lock:
            record = self._live(hashed)
            if hashed is None or record is None:
                raise JamSessionNotFound
            changed = record if text is None else record._replace(text=text)
            self.kept[hashed] = self._restarted(changed)
