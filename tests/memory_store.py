"""A correct store that keeps its sessions in memory: what the tests of the core open."""

import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Unpack

from jam_core import BaseSession, JamSessionNotFound, SessionOptions, check_session_key, hash_id

_PLACE = "A session in memory"


class _Record(NamedTuple):
    """A session as it is kept.

    Attributes:
        session_key: Whose session it is.
        text: The encoded data.
        deadline: When `max_age` ends it, or None.
        expires_at: When it ends, or None; at that moment it is gone.
    """

    session_key: str
    text: str
    deadline: float | None
    expires_at: float | None


class MemorySessions(BaseSession):
    """Keeps sessions in a dict, under the hashes of their ids, for as long as it lives.

    Args:
        clock: Returns the time in seconds.
        **options: The options of every store; `BaseSession` describes them.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.time, **options: Unpack[SessionOptions]
    ) -> None:
        super().__init__(**options)
        self._clock = clock
        self._lock = threading.Lock()
        self._records: dict[str, _Record] = {}

    def create(self, session_key: str, data: dict[str, Any]) -> str:
        check_session_key(session_key)
        text = self.codec.encode(data)
        now = self._clock()
        deadline = self.deadline(now)
        record = _Record(session_key, text, deadline, self.expiry(now, deadline))

        def take(session_id: str) -> bool:
            with self._lock:
                return self._records.setdefault(hash_id(session_id), record) is record

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
                self._records.pop(hashed, None)

    def clear(self, session_key: str) -> None:
        with self._lock:
            for hashed, record in list(self._records.items()):
                if record.session_key == session_key:
                    del self._records[hashed]

    def rework(self, session_id: str) -> str:
        old = self.codec.lookup_hash(session_id)

        def take(new_session_id: str) -> bool:
            new = hash_id(new_session_id)
            with self._lock:
                record = self._live(old)
                if old is None or record is None:
                    raise JamSessionNotFound
                if new in self._records:
                    return False
                self._records[new] = self._restarted(record)
                del self._records[old]
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
                self._records[hashed] = self._restarted(record._replace(text=new))
                return True

        return self.change_data(change, read, swap, _PLACE)

    def purge(self) -> int:
        with self._lock:
            expired = [hashed for hashed in self._records if self._live(hashed) is None]
            for hashed in expired:
                del self._records[hashed]
        return len(expired)

    def ping(self) -> None:
        """Memory always answers."""

    def _live(self, hashed: str | None) -> _Record | None:
        record = None if hashed is None else self._records.get(hashed)
        if record is None or (record.expires_at is not None and record.expires_at <= self._clock()):
            return None
        return record

    def _restarted(self, record: _Record) -> _Record:
        return record._replace(expires_at=self.expiry(self._clock(), record.deadline))

    def _rewrite(self, hashed: str | None, text: str | None = None) -> None:
        with self._lock:
            record = self._live(hashed)
            if hashed is None or record is None:
                raise JamSessionNotFound
            changed = record if text is None else record._replace(text=text)
            self._records[hashed] = self._restarted(changed)
