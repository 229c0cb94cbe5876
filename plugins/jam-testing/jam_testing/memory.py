"""A store that keeps its sessions in memory, for the tests of applications.

    jam = Jam({"session": {"session_type": "memory"}})

It keeps the whole contract; its sessions belong to this process alone, and end with it.
"""

import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Unpack

from jam_core import Change, Move, SessionOptions, SessionRecord, StorageSessions

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

__all__ = ["MemorySessions"]


class MemorySessions(StorageSessions[str]):
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
        self.clock = clock
        self._lock: AbstractContextManager[object] = threading.Lock()
        self.kept: dict[str, SessionRecord] = {}

    def insert(self, place: str, record: SessionRecord) -> bool:
        with self._lock:
            if place in self.kept:
                return False
            self._keep(place, record)
            return True

    def read(self, place: str, now: float) -> SessionRecord | None:
        with self._lock:
            record = self.kept.get(place)
        return None if record is None or record.ended(now) else record

    def write(self, place: str, change: Change) -> bool:
        with self._lock:
            changed = change.of(self.kept.get(place), self.clock())
            if changed is None:
                return False
            self._keep(place, changed)
            return True

    def move(self, place: str, new_place: str, move: Move) -> bool:
        with self._lock:
            moved = move.of(self.kept.get(place), self.clock())
            if moved is None or new_place in self.kept:
                return False
            self._keep(new_place, moved)
            del self.kept[place]
            return True

    def remove(self, place: str) -> None:
        with self._lock:
            self.kept.pop(place, None)

    def remove_key(self, session_key: str) -> None:
        with self._lock:
            for place, record in list(self.kept.items()):
                if record.session_key == session_key:
                    del self.kept[place]

    def remove_one(self, session_key: str, handle: str, now: float) -> bool:
        with self._lock:
            for place, record in self._live_of(session_key, now).items():
                if record.handle == handle:
                    del self.kept[place]
                    return True
        return False

    def remove_others(self, place: str, now: float) -> int | None:
        with self._lock:
            record = self.kept.get(place)
            if record is None or record.ended(now):
                return None
            others = self._live_of(record.session_key, now).keys() - {place}
            for other in others:
                del self.kept[other]
            return len(others)

    def of_key(self, session_key: str, now: float) -> list[SessionRecord]:
        with self._lock:
            return list(self._live_of(session_key, now).values())

    def remove_ended(self, now: float) -> int:
        with self._lock:
            ended = [place for place, record in self.kept.items() if record.ended(now)]
            for place in ended:
                del self.kept[place]
            return len(ended)

    def look(self) -> None:
        """Memory always answers."""

    def records(self) -> Iterator[SessionRecord]:
        now = self.clock()
        with self._lock:
            found = list(self.kept.values())
        return (record for record in found if not record.ended(now))

    def _keep(self, place: str, record: SessionRecord) -> None:
        self.kept[place] = record

    def _live_of(self, session_key: str, now: float) -> dict[str, SessionRecord]:
        """Return the live sessions of a key, by place; call it while holding the lock."""
        return {
            place: record
            for place, record in self.kept.items()
            if record.session_key == session_key and not record.ended(now)
        }
