"""The sessions of the file layout, in memory."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from jam_core import JamSessionCorrupt
from jam_json.record import Record, dump_record, load_record


class Damaged(NamedTuple):
    """What stands in a file where a record should be: kept as it is, and refused when read."""

    value: Any
    fault: str

    @property
    def session_key(self) -> str | None:
        """The session key, where that is still readable."""
        key = self.value.get("session_key") if isinstance(self.value, dict) else None
        return key if isinstance(key, str) else None


class SessionTable:
    """Every session, by the hash of its id and by its session key."""

    def __init__(self) -> None:
        self._records: dict[str, Record | Damaged] = {}
        self._hashes_of: dict[str | None, set[str]] = {}

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, id_hash: str) -> bool:
        return id_hash in self._records

    def get(self, id_hash: str) -> Record | None:
        """Return a record, or None.

        Raises:
            JamSessionCorrupt: It is damaged.
        """
        record = self._records.get(id_hash)
        if isinstance(record, Damaged):
            raise JamSessionCorrupt(record.fault)
        return record

    def hashes(self) -> list[str]:
        """Return every hash."""
        return list(self._records)

    def of_key(self, session_key: str) -> dict[str, Record | None]:
        """Return a key's records by their hashes; None where one is damaged."""
        found = {id_hash: self._records[id_hash] for id_hash in self.hashes_of(session_key)}
        return {
            id_hash: record if isinstance(record, Record) else None
            for id_hash, record in found.items()
        }

    def hashes_of(self, session_key: str) -> list[str]:
        """Return the hashes of a key's sessions."""
        return list(self._hashes_of.get(session_key, ()))

    def put(self, id_hash: str, record: Record | Damaged) -> None:
        """Add or replace a record, in one step for whoever reads meanwhile."""
        former = self._records.get(id_hash)
        self._records[id_hash] = record
        if former is not None and former.session_key != record.session_key:
            self._drop_from_key(id_hash, former.session_key)
        self._hashes_of.setdefault(record.session_key, set()).add(id_hash)

    def put_loaded(self, id_hash: str, value: Any, where: str) -> None:
        """Add or replace a record by what a file holds at `where`."""
        try:
            self.put(id_hash, load_record(value, where))
        except JamSessionCorrupt as damage:
            self.put(id_hash, Damaged(value, damage.message))

    def touch(self, id_hash: str, expires_at: float | None) -> None:
        """Give a record another expiry."""
        record = self._records.get(id_hash)
        if isinstance(record, Record):
            self._records[id_hash] = record._replace(expires_at=expires_at)

    def remove(self, id_hash: str) -> None:
        """Remove a record if it is there."""
        record = self._records.pop(id_hash, None)
        if record is not None:
            self._drop_from_key(id_hash, record.session_key)

    def remove_expired(self, now: float) -> None:
        """Remove every record that is gone at `now`."""
        expired = [
            id_hash
            for id_hash, record in self._records.items()
            if isinstance(record, Record) and record.expired(now)
        ]
        for id_hash in expired:
            self.remove(id_hash)

    def dump(self) -> Iterator[tuple[str, str]]:
        """Yield every hash with its record as a line of JSON."""
        for id_hash, record in self._records.items():
            if isinstance(record, Damaged):
                yield id_hash, json.dumps(record.value)
            else:
                yield id_hash, dump_record(record)

    def _drop_from_key(self, id_hash: str, session_key: str | None) -> None:
        hashes = self._hashes_of[session_key]
        hashes.discard(id_hash)
        if not hashes:
            del self._hashes_of[session_key]
