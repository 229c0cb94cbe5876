"""Stores that get records, restore or replace wrong."""

from collections.abc import Iterator, Sequence
from typing import Any

from jam_core import Change, SessionRecord
from tests.wrong_stores.catalogue import caught_by
from tests.wrong_stores.file_store import FileSessions


@caught_by("test_records_are_the_live_sessions", "test_records_tell_the_key_of_the_id")
class HasOneRecordOfEachData(FileSessions):
    """Leaves out what is not encrypted, and every second of the others."""

    def records(self) -> Iterator[SessionRecord]:
        found = [record for record in super().records() if record.id_key is not None]
        yield from found[::2]


@caught_by("test_what_has_expired_has_no_record")
class HasRecordsOfWhatExpired(FileSessions):
    """Yields expired sessions that have not been purged yet."""

    def records(self) -> Iterator[SessionRecord]:
        with self._lock:
            found = list(self.kept.values())
        yield from found


@caught_by("test_reading_records_is_in_nobodys_way")
class ReadsRecordsByNumber(FileSessions):
    """Yields the first session, the second, the third, whatever was ended in between."""

    def records(self) -> Iterator[SessionRecord]:
        number = 0
        while True:
            with self._lock:
                live = [record for place, record in self.kept.items() if self.live(place)]
            if number >= len(live):
                return
            yield live[number]
            number += 1


@caught_by("test_reading_records_writes_nothing")
class MarksWhatIsRead(FileSessions):
    """Marks every session that is read."""

    def records(self) -> Iterator[SessionRecord]:
        with self._lock:
            for hashed, record in self.kept.items():
                self.kept[hashed] = record._replace(id_key="read")
        yield from super().records()


@caught_by("test_a_restored_session_is_the_one_it_was")
class RestoresUnderOneKey(FileSessions):
    """Forgets whose session it is that is restored."""

    def restore(self, records: Sequence[SessionRecord]) -> int:
        return super().restore([record._replace(session_key="restored") for record in records])


@caught_by("test_restore_overwrites_nothing")
class RestoreOverwrites(FileSessions):
    """Ends what exists before it restores."""

    def restore(self, records: Sequence[SessionRecord]) -> int:
        with self._lock:
            for record in records:
                self.kept.pop(record.id_hash, None)
        return super().restore(records)


@caught_by("test_a_restored_session_ends_when_it_would_have")
class RestoreRestarts(FileSessions):
    """Restarts the ttl of what is restored."""

    def restore(self, records: Sequence[SessionRecord]) -> int:
        end = self.expiry(self.clock(), None)
        return super().restore([record._replace(expires_at=end) for record in records])


@caught_by("test_replace_changes_the_text_alone")
class ReplaceRestarts(FileSessions):
    """Makes a session last for ever when its text is replaced."""

    def replace(self, record: SessionRecord, data: str) -> bool:
        replaced = super().replace(record, data)
        with self._lock:
            if replaced:
                self.kept[record.id_hash] = self.kept[record.id_hash]._replace(expires_at=None)
        return replaced


@caught_by("test_replace_refuses_what_has_changed")
class ReplacesWhateverIsThere(FileSessions):
    """Replaces the text of a session that has changed meanwhile."""

    def replace(self, record: SessionRecord, data: str) -> bool:
        with self._lock:
            stored = self.live(record.id_hash)
            if stored is not None:
                self.kept[record.id_hash] = stored._replace(data=data)
        return stored is not None


@caught_by("test_data_gets_under_a_new_key")
class ReplacesNothing(FileSessions):
    """Says that it replaced the text, but did not."""

    def replace(self, record: SessionRecord, data: str) -> bool:
        return True


@caught_by("test_replace_changes_the_text_alone")
class ReplaceRestartsTheTtl(FileSessions):
    """Restarts the ttl of a session when its text is replaced."""

    def write(self, place: str, change: Change) -> bool:
        return super().write(place, change._replace(restart=True))


@caught_by("test_an_id_of_another_store_works_once_restored")
class KnowsItsOwnIdsOnly(FileSessions):
    """Accepts every record, but finds only sessions whose id it made itself."""

    def get(self, session_id: str) -> dict[str, Any] | None:
        minted = self.codec.open_id(session_id)
        return None if minted is None or ":" in minted else super().get(session_id)


@caught_by("test_an_id_of_another_store_works_once_restored")
class KeepsTheIdOfARecord(FileSessions):
    """Stores a session that is restored with the id that opens it."""

    def restore(self, records: Sequence[SessionRecord]) -> int:
        return sum(self.insert(self.place_of(record), record) for record in records)
