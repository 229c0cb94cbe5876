"""The sessions of the file layout, in memory."""

from collections.abc import Iterator, Mapping
from typing import Any

from jam_core import JamSessionCorrupt, SessionRecord
from jam_json.record import DamagedRecord, dump_record, load_record


class SessionTable:
    """Every session, by the hash of its id and by its session key."""

    def __init__(self) -> None:
        self._records: dict[str, SessionRecord] = {}
        self._hashes_of: dict[str, set[str]] = {}

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, id_hash: str) -> bool:
        return id_hash in self._records

    def get(self, id_hash: str) -> SessionRecord | None:
        """Return a record, or None.

        Raises:
            JamSessionCorrupt: It is damaged.
        """
        record = self._records.get(id_hash)
        if isinstance(record, DamagedRecord):
            raise JamSessionCorrupt(record.fault)
        return record

    def hashes(self) -> list[str]:
        """Return every hash."""
        return list(self._records)

    def of_key(self, session_key: str) -> list[SessionRecord]:
        """Return a key's records, including damaged ones."""
        return [self._records[id_hash] for id_hash in self.hashes_of(session_key)]

    def hashes_of(self, session_key: str) -> list[str]:
        """Return the hashes of a key's sessions."""
        return list(self._hashes_of.get(session_key, ()))

    def put(self, record: SessionRecord) -> None:
        """Add or replace a record, in one step for concurrent readers."""
        id_hash, session_key = record.id_hash, record.session_key
        former = self._records.get(id_hash)
        self._records[id_hash] = record
        if former is not None and former.session_key != session_key:
            self._drop_from_key(id_hash, former.session_key)
        self._hashes_of.setdefault(session_key, set()).add(id_hash)

    def put_loaded(self, id_hash: str, value: Any, where: str) -> None:
        """Add or replace a record with what a file holds at `where`."""
        try:
            self.put(load_record(id_hash, value, where))
        except JamSessionCorrupt as damage:
            self.put(DamagedRecord.holding(id_hash, value, damage.message))

    def apply(self, where: str, entry: Mapping[str, Any]) -> None:
        """Apply an entry of a journal, which is at `where`."""
        for id_hash in entry.get("del", ()):
            self.remove(id_hash)
        for id_hash, value in entry.get("put", {}).items():
            self.put_loaded(id_hash, value, where)
        for id_hash, expires_at in entry.get("touch", {}).items():
            self.touch(id_hash, expires_at)

    def touch(self, id_hash: str, expires_at: float | None) -> None:
        """Give a record a new expiry."""
        record = self._records.get(id_hash)
        if record is not None and not isinstance(record, DamagedRecord):
            self._records[id_hash] = record._replace(expires_at=expires_at)

    def remove(self, id_hash: str) -> None:
        """Remove a record if it is there."""
        record = self._records.pop(id_hash, None)
        if record is not None:
            self._drop_from_key(id_hash, record.session_key)

    def remove_expired(self, now: float) -> None:
        """Remove every record that is gone at `now`."""
        expired = [id_hash for id_hash, record in self._records.items() if record.ended(now)]
        for id_hash in expired:
            self.remove(id_hash)

    def dump(self) -> Iterator[tuple[str, str]]:
        """Yield every hash with its record as a line of JSON."""
        for id_hash, record in self._records.items():
            yield id_hash, dump_record(record)

    def _drop_from_key(self, id_hash: str, session_key: str) -> None:
        hashes = self._hashes_of[session_key]
        hashes.discard(id_hash)
        if not hashes:
            del self._hashes_of[session_key]
