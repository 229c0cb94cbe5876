"""Stores that end sessions at the wrong time."""

from collections.abc import Callable, Sequence
from typing import Any

from jam_core import Change, JamConfigurationError, Move, SessionRecord
from tests.wrong_stores.catalogue import caught_by
from tests.wrong_stores.file_store import FileSessions

EXACT = "test_the_end_is_exact"
EXACT_FOR_ALL = "test_the_end_is_exact_for_every_operation"
RESTARTS = "test_the_ttl_restarts"
MAX_AGE = "test_nothing_pushes_max_age_out"


class ChangesTheEnd(FileSessions):
    """The base of those that store another end than the right one."""

    def _keep(self, place: str, record: SessionRecord) -> None:
        super()._keep(place, record._replace(expires_at=self.end(record)))

    def end(self, record: SessionRecord) -> float | None:
        raise NotImplementedError


@caught_by("test_a_session_ends_when_its_ttl_is_over")
class NeverEnds(ChangesTheEnd):
    """Does not check when a session ends."""

    def end(self, record: SessionRecord) -> float | None:
        return None


@caught_by("test_a_session_ends_when_its_ttl_is_over")
class UpdateDoesNotSeeTheEnd(FileSessions):
    """Lets update find sessions that have expired."""

    def write(self, place: str, change: Change) -> bool:
        with self._lock:
            if place in self.kept:
                self.kept[place] = self.kept[place]._replace(expires_at=None)
        return super().write(place, change)


@caught_by(EXACT)
class EndsASecondLate(ChangesTheEnd):
    """Ends sessions one second late."""

    def end(self, record: SessionRecord) -> float | None:
        return record.expires_at and record.expires_at + 1


@caught_by(EXACT)
class EndsASecondEarly(ChangesTheEnd):
    """Ends sessions one second early."""

    def end(self, record: SessionRecord) -> float | None:
        return record.expires_at and record.expires_at - 1


@caught_by(EXACT)
class LivesAtItsEnd(FileSessions):
    """Treats a session as live at the very moment of its end."""

    def read(self, place: str, now: float) -> SessionRecord | None:
        return super().read(place, now - 0.001)


@caught_by(EXACT)
class RoundsTheEndUp(ChangesTheEnd):
    """Ends sessions at full seconds, up to one second late."""

    def end(self, record: SessionRecord) -> float | None:
        return record.expires_at and -(-record.expires_at // 1)


@caught_by("test_a_ttl_of_one_second_is_not_rounded_away")
class RoundsTheEndDown(ChangesTheEnd):
    """Ends sessions at full seconds, up to one second early."""

    def end(self, record: SessionRecord) -> float | None:
        return record.expires_at and record.expires_at // 1


@caught_by("test_a_ttl_of_one_second_is_not_rounded_away")
class CountsInMinutes(ChangesTheEnd):
    """Rounds the ttl down to minutes: less than one is none."""

    def end(self, record: SessionRecord) -> float | None:
        return None if self.ttl is None else self.clock() + self.ttl // 60 * 60


@caught_by(RESTARTS)
class UpdateKeepsTheEnd(FileSessions):
    """Does not restart the ttl at update."""

    def write(self, place: str, change: Change) -> bool:
        return super().write(place, change._replace(restart=change.data is None))


@caught_by(RESTARTS)
class ReworkLosesTheTtl(FileSessions):
    """Lets a session that was reworked live for ever."""

    def move(self, place: str, new_place: str, move: Move) -> bool:
        moved = super().move(place, new_place, move)
        with self._lock:
            self.kept[new_place] = self.kept[new_place]._replace(expires_at=None)
        return moved


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
    """Forgets max_age at rework."""

    def move(self, place: str, new_place: str, move: Move) -> bool:
        moved = super().move(place, new_place, move)
        with self._lock:
            self.kept[new_place] = self.kept[new_place]._replace(deadline=None)
        return moved


@caught_by(MAX_AGE)
class CountsMaxAgeFromTheLastWrite(ChangesTheEnd):
    """Restarts max_age with the ttl."""

    def end(self, record: SessionRecord) -> float | None:
        return self.expiry(self.clock(), self.deadline(self.clock()))


@caught_by("test_max_age_counts_without_a_ttl")
class MaxAgeNeedsATtl(ChangesTheEnd):
    """Ignores max_age if there is no ttl."""

    def end(self, record: SessionRecord) -> float | None:
        return None if self.ttl is None else record.expires_at


@caught_by("test_a_session_without_ttl_does_not_end")
class TakesNoneForADay(ChangesTheEnd):
    """Ends sessions after a day if there is no ttl."""

    def end(self, record: SessionRecord) -> float | None:
        return self.clock() + 86_400 if self.ttl is None else record.expires_at


@caught_by("test_ttls_belong_to_sessions_not_to_keys")
class TtlOfTheKey(FileSessions):
    """Keeps one end for all sessions of a key."""

    def insert(self, place: str, record: SessionRecord) -> bool:
        with self._lock:
            for other, one in self.kept.items():
                if one.session_key == record.session_key:
                    self.kept[other] = one._replace(expires_at=record.expires_at)
        return super().insert(place, record)


@caught_by("test_a_time_that_is_no_positive_number_is_refused")
class TakesAnyTtl(FileSessions):
    """Takes an invalid ttl for no limit."""

    def __init__(self, path: Any, **options: Any) -> None:
        try:
            super().__init__(path, **options)
        except JamConfigurationError:
            super().__init__(path, **{**options, "ttl": None, "max_age": None})


@caught_by("test_sessions_outlive_a_change_of_ttl")
class CountsByTheTtlOfTheReader(FileSessions):
    """Stores when a session was written, and ends it by the ttl of the store that reads it."""

    def _keep(self, place: str, record: SessionRecord) -> None:
        super()._keep(place, record._replace(created_at=self.clock()))

    def read(self, place: str, now: float) -> SessionRecord | None:
        record = super().read(place, now)
        if record is not None and (record.created_at or 0) + (self.ttl or 0) <= now:
            return None
        return record


class FindsWhatJustEnded(FileSessions):
    """The base of those in which one operation looks at the end with `<` and not `<=`."""

    def late(self, operation: Callable[[], Any]) -> Any:
        """Carry an operation out as if its moment were one before."""
        clock = self.clock
        self.clock = lambda: clock() - 0.001
        try:
            return operation()
        finally:
            self.clock = clock


def _finds_what_just_ended(name: str) -> type[FindsWhatJustEnded]:
    """Return a store in which this operation finds sessions at the very moment of their end."""

    def operation(self: FindsWhatJustEnded, *arguments: Any) -> Any:
        right = getattr(super(FindsWhatJustEnded, self), name)
        if name == "records":
            return iter(self.late(lambda: list(right())))
        return self.late(lambda: right(*arguments))

    members = {
        "__doc__": f"Treats a session as live at the very moment of its end, in {name} alone.",
        "__module__": __name__,
        name: operation,
    }
    title = "".join(word.capitalize() for word in name.split("_"))
    return type(f"{title}FindsWhatJustEnded", (FindsWhatJustEnded,), members)


for _name in (
    *("update", "rework", "touch", "mutate", "list_sessions", "revoke", "clear_others"),
    *("purge", "records", "replace"),
):
    caught_by(EXACT_FOR_ALL)(_finds_what_just_ended(_name))


@caught_by(EXACT_FOR_ALL)
class RestoresWhatJustEnded(FileSessions):
    """Brings a session back at the very moment of its end."""

    def restore(self, records: Sequence[SessionRecord]) -> int:
        now = self.clock()
        late = [
            record._replace(expires_at=None) if record.expires_at == now else record
            for record in records
        ]
        return super().restore(late)


@caught_by(RESTARTS)
class SkipsAnUpdateThatChangesNothing(FileSessions):
    """Does not write, and so does not restart the ttl, if the data is unchanged."""

    def update(self, session_id: str, data: dict[str, Any]) -> None:
        if self.get(session_id) != data:
            super().update(session_id, data)


@caught_by("test_reading_does_not_restart_the_ttl")
class ListingRestartsTheTtl(FileSessions):
    """Restarts the ttl of every session that is listed."""

    def of_key(self, session_key: str, now: float) -> list[SessionRecord]:
        found = super().of_key(session_key, now)
        for record in found:
            self.write(record.id_hash, Change(now, self.ttl))
        return found


@caught_by("test_ttl_and_max_age_are_fixed")
class ObeysANewTtl(FileSessions):
    """Lets its ttl be set at any time."""

    def __setattr__(self, name: str, value: object) -> None:
        object.__setattr__(self, "_ttl" if name == "ttl" else name, value)


@caught_by("test_purge_passes_a_damaged_record")
class PurgeStopsAtDamage(FileSessions):
    """Reads each record before it removes it, and stops at one that it cannot read."""

    def purge(self) -> int:
        removed = 0
        with self._lock:
            for place, record in list(self.kept.items()):
                if self.live(place) is None:
                    self.codec.decode(record.data, "the file")
                    del self.kept[place]
                    removed += 1
        return removed
