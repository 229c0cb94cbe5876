"""Stores that do not say what went wrong, or say too much."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from jam_testing.memory import MemorySessions

from jam_core import (
    JamSessionCorrupt,
    JamSessionNotFound,
    JamStoreUnavailable,
    SessionInfo,
    SessionRecord,
    hash_id,
)
from tests.wrong_stores.catalogue import caught_by
from tests.wrong_stores.file_store import FileSessions

OUTAGE = "test_an_outage_is_one_error_and_no_logout"
CORRUPT = "test_a_damaged_record_is_corrupt_and_left_alone"
OTHER_SERIALIZER = "test_a_record_of_another_serializer_is_corrupt_and_left_alone"
PRIVACY = "test_nothing_private_is_said"


@caught_by(OUTAGE)
class TakesAnOutageForALogout(FileSessions):
    """Returns None when the backend does not respond."""

    def get(self, session_id: str) -> dict[str, Any] | None:
        try:
            return super().get(session_id)
        except JamStoreUnavailable:
            return None


@caught_by(OUTAGE)
class LosesWritesInAnOutage(FileSessions):
    """Says nothing when the backend does not take a write."""

    def delete(self, session_id: str) -> None:
        with suppress(JamStoreUnavailable):
            super().delete(session_id)


@caught_by(OUTAGE)
class LetsTheDriverSpeak(FileSessions):
    """Raises whatever the backend's driver raises."""

    def update(self, session_id: str, data: dict[str, Any]) -> None:
        self.path.stat()
        super().update(session_id, data)


@caught_by(OUTAGE)
class WaitsForEver(FileSessions):
    """Waits until the backend responds, however long that takes."""

    def get(self, session_id: str) -> dict[str, Any] | None:
        try:
            return super().get(session_id)
        except JamStoreUnavailable:
            threading.Event().wait()
            raise


@caught_by(OUTAGE)
class PingNeedsNoBackend(FileSessions):
    """Returns from ping without asking the backend."""

    def ping(self) -> None:
        pass


@caught_by("test_a_store_opened_in_an_outage_says_so")
class BeginsAnewInAnOutage(FileSessions):
    """Starts with an empty memory if the backend does not respond at the start."""

    def __init__(self, path: Path, **options: Any) -> None:
        try:
            super().__init__(path, **options)
        except JamStoreUnavailable:
            MemorySessions.__init__(self, **options)


@caught_by(CORRUPT, OTHER_SERIALIZER)
class TakesDamageForALogout(FileSessions):
    """Returns None for a record that cannot be decoded."""

    def get(self, session_id: str) -> dict[str, Any] | None:
        try:
            return super().get(session_id)
        except JamSessionCorrupt:
            return None


@caught_by(CORRUPT, OTHER_SERIALIZER)
class DeletesWhatIsDamaged(FileSessions):
    """Deletes a record that cannot be decoded."""

    def get(self, session_id: str) -> dict[str, Any] | None:
        try:
            return super().get(session_id)
        except JamSessionCorrupt:
            self.delete(session_id)
            raise


@caught_by(CORRUPT, OTHER_SERIALIZER)
class CannotEndWhatIsDamaged(FileSessions):
    """Reads a session before it deletes it."""

    def delete(self, session_id: str) -> None:
        if self.get(session_id) is not None:
            super().delete(session_id)


@caught_by(CORRUPT)
class FailsForAllWhenOneIsDamaged(FileSessions):
    """Fails for every session when one is damaged."""

    def get(self, session_id: str) -> dict[str, Any] | None:
        with self._lock:
            texts = [record.data for record in self.kept.values()]
        for text in texts:
            self.codec.decode(text, "the file")
        return super().get(session_id)


@caught_by(PRIVACY)
class LogsIds(FileSessions):
    """Writes the id to the log."""

    def get(self, session_id: str) -> dict[str, Any] | None:
        self.logger.debug("get %s", session_id)
        return super().get(session_id)


@caught_by(PRIVACY)
class LogsKeys(FileSessions):
    """Writes the session key to the log."""

    def create(self, session_key: str, data: dict[str, Any]) -> str:
        self.logger.info("%s logged in", session_key)
        return super().create(session_key, data)


@caught_by(PRIVACY)
class LogsData(FileSessions):
    """Writes the data to the log."""

    def update(self, session_id: str, data: dict[str, Any]) -> None:
        self.logger.debug("update with %r", data)
        super().update(session_id, data)


@caught_by(PRIVACY)
class LogsSecrets(FileSessions):
    """Writes its options to the log, including the encryption key."""

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(path, **options)
        self.logger.debug("opened with %r", options)


@caught_by(PRIVACY)
class QuotesIds(FileSessions):
    """Quotes the id in an error."""

    def update(self, session_id: str, data: dict[str, Any]) -> None:
        try:
            super().update(session_id, data)
        except JamSessionNotFound:
            raise JamSessionNotFound(f"There is no session {session_id}.") from None


@caught_by(PRIVACY)
class ChainsTheIdBehindAnError(FileSessions):
    """Quotes the id in the cause of an error."""

    def rework(self, session_id: str) -> str:
        with self._lock:
            known = set(self.kept)
        if hash_id(session_id) not in known:
            raise JamSessionNotFound from KeyError(session_id)
        return super().rework(session_id)


@caught_by(PRIVACY)
class ShowsItsRecords(FileSessions):
    """Shows stored data in its repr."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {[tuple(record) for record in self.kept.values()]}>"


@caught_by("test_a_silent_backend_is_an_outage")
class TakesSilenceForALogout(FileSessions):
    """Returns None if the backend does not respond in time, and raises if it is down."""

    def get(self, session_id: str) -> dict[str, Any] | None:
        try:
            return super().get(session_id)
        except JamStoreUnavailable:
            if self.path.parent.exists():
                return None
            raise


@caught_by("test_what_an_outage_refused_is_not_carried_out_later")
class CarriesOutLaterWhatItRefused(FileSessions):
    """Keeps a write that failed in an outage, and carries it out with the next one."""

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(path, **options)
        self.waiting: list[tuple[str, dict[str, Any]]] = []

    def update(self, session_id: str, data: dict[str, Any]) -> None:
        try:
            super().update(session_id, data)
        except JamStoreUnavailable:
            self.waiting.append((session_id, data))
            raise
        for waiting in [self.waiting.pop() for _ in self.waiting]:
            super().update(*waiting)


@caught_by(OUTAGE)
class RestoreLetsTheDriverSpeak(FileSessions):
    """Raises whatever the backend's driver raises when operators move sessions."""

    def restore(self, records: Sequence[SessionRecord]) -> int:
        self.path.stat()
        return super().restore(records)


@caught_by(OUTAGE)
class ListsNothingInAnOutage(FileSessions):
    """Lists no sessions when the backend does not respond."""

    def list_sessions(self, session_key: str) -> list[SessionInfo]:
        try:
            return super().list_sessions(session_key)
        except JamStoreUnavailable:
            return []
