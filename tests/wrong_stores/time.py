"""Stores that end sessions at the wrong time."""

from typing import Any

from jam_core import JamConfigurationError, hash_id
from tests.memory_store import Record
from tests.wrong_stores.catalogue import caught_by
from tests.wrong_stores.file_store import FileSessions

EXACT = "test_the_end_is_exact"
RESTARTS = "test_the_ttl_restarts"
MAX_AGE = "test_nothing_pushes_max_age_out"


@caught_by("test_a_session_ends_when_its_ttl_is_over")
class NeverEnds(FileSessions):
    """Does not look when a session ends."""

    def expiry(self, now: float, deadline: float | None) -> float | None:
        return None


@caught_by("test_a_session_ends_when_its_ttl_is_over")
class UpdateDoesNotSeeTheEnd(FileSessions):
    """Lets update find sessions that have expired."""

    def update(self, session_id: str, data: dict[str, Any]) -> None:
        with self._lock:
            record = self.kept.get(hash_id(session_id))
            if record:
                self.kept[hash_id(session_id)] = self._restarted(record)
        super().update(session_id, data)


@caught_by(EXACT)
class EndsASecondLate(FileSessions):
    """Ends sessions one second late."""

    def expiry(self, now: float, deadline: float | None) -> float | None:
        end = super().expiry(now, deadline)
        return None if end is None else end + 1


@caught_by(EXACT)
class EndsASecondEarly(FileSessions):
    """Ends sessions one second early."""

    def expiry(self, now: float, deadline: float | None) -> float | None:
        end = super().expiry(now, deadline)
        return None if end is None else end - 1


@caught_by(EXACT)
class LivesAtItsEnd(FileSessions):
    """Takes a session for alive at the very moment of its end."""

    def _live(self, hashed: str | None) -> Record | None:
        record = self.kept.get(hashed or "")
        ended = record and record.expires_at is not None and record.expires_at < self._clock()
        return None if ended else record


@caught_by(EXACT)
class RoundsTheEndUp(FileSessions):
    """Ends sessions at full seconds, up to one second late."""

    def expiry(self, now: float, deadline: float | None) -> float | None:
        end = super().expiry(now, deadline)
        return None if end is None else -(-end // 1)


@caught_by("test_a_ttl_of_one_second_is_not_rounded_away")
class RoundsTheEndDown(FileSessions):
    """Ends sessions at full seconds, up to one second early."""

    def expiry(self, now: float, deadline: float | None) -> float | None:
        end = super().expiry(now, deadline)
        return None if end is None else end // 1


@caught_by("test_a_ttl_of_one_second_is_not_rounded_away")
class CountsInMinutes(FileSessions):
    """Rounds the ttl to minutes: less than one is none."""

    def __init__(self, path: Any, **options: Any) -> None:
        super().__init__(path, **options)
        self.ttl = None if self.ttl is None else self.ttl // 60 * 60


@caught_by(RESTARTS)
class UpdateKeepsTheEnd(FileSessions):
    """Does not restart the ttl at update."""

    def update(self, session_id: str, data: dict[str, Any]) -> None:
        with self._lock:
            former = self.kept.get(hash_id(session_id))
        super().update(session_id, data)
        if former:
            with self._lock:
                record = self.kept[hash_id(session_id)]
                kept = record._replace(expires_at=former.expires_at)
                self.kept[hash_id(session_id)] = kept


@caught_by(RESTARTS)
class ReworkLosesTheTtl(FileSessions):
    """Lets a session that was reworked live for ever."""

    def rework(self, session_id: str) -> str:
        new = super().rework(session_id)
        with self._lock:
            self.kept[hash_id(new)] = self.kept[hash_id(new)]._replace(expires_at=None)
        return new


@caught_by(RESTARTS)
class TouchDoesNothing(FileSessions):
    """Does not restart the ttl at touch."""

    def touch(self, session_id: str) -> None:
        pass


@caught_by("test_reading_does_not_restart_the_ttl")
class ReadingRestartsTheTtl(FileSessions):
    """Restarts the ttl when a session is read."""

    def get(self, session_id: str) -> dict[str, Any] | None:
        data = super().get(session_id)
        if data is not None:
            self.touch(session_id)
        return data


@caught_by(MAX_AGE)
class ReworkLosesMaxAge(FileSessions):
    """Forgets max_age with rework."""

    def rework(self, session_id: str) -> str:
        new = super().rework(session_id)
        with self._lock:
            self.kept[hash_id(new)] = self.kept[hash_id(new)]._replace(deadline=None)
        return new


@caught_by(MAX_AGE)
class CountsMaxAgeFromTheLastWrite(FileSessions):
    """Restarts max_age with the ttl."""

    def _restarted(self, record: Record) -> Record:
        return super()._restarted(record._replace(deadline=self.deadline(self._clock())))


@caught_by("test_max_age_counts_without_a_ttl")
class MaxAgeNeedsATtl(FileSessions):
    """Does not look at max_age where there is no ttl."""

    def expiry(self, now: float, deadline: float | None) -> float | None:
        return None if self.ttl is None else super().expiry(now, deadline)


@caught_by("test_a_session_without_ttl_does_not_end")
class TakesNoneForADay(FileSessions):
    """Ends sessions after a day where there is no ttl."""

    def expiry(self, now: float, deadline: float | None) -> float | None:
        return now + 86_400 if self.ttl is None else super().expiry(now, deadline)


@caught_by("test_ttls_belong_to_sessions_not_to_keys")
class TtlOfTheKey(FileSessions):
    """Keeps one end for all sessions of a key."""

    def create(self, session_key: str, data: dict[str, Any]) -> str:
        session_id = super().create(session_key, data)
        with self._lock:
            newest = self.kept[hash_id(session_id)]
            for hashed, record in self.kept.items():
                if record.session_key == session_key:
                    self.kept[hashed] = record._replace(expires_at=newest.expires_at)
        return session_id


@caught_by("test_a_time_that_is_no_positive_number_is_refused")
class TakesAnyTtl(FileSessions):
    """Takes a ttl that is none for no limit."""

    def __init__(self, path: Any, **options: Any) -> None:
        try:
            super().__init__(path, **options)
        except JamConfigurationError:
            super().__init__(path, **{**options, "ttl": None, "max_age": None})


@caught_by("test_sessions_outlive_a_change_of_ttl")
class CountsByTheTtlOfTheReader(FileSessions):
    """Stores when a session was written, and ends it by the ttl of whoever reads it."""

    def expiry(self, now: float, deadline: float | None) -> float | None:
        return now

    def _live(self, hashed: str | None) -> Record | None:
        record = self.kept.get(hashed or "")
        if record is None or record.expires_at is None or self.ttl is None:
            return record
        return None if record.expires_at + self.ttl <= self._clock() else record
