"""Stores that get list_sessions, revoke or clear_others wrong."""

from dataclasses import replace
from time import sleep
from typing import Any

from jam_core import (
    JamSessionNotFound,
    Move,
    SessionInfo,
    SessionRecord,
)
from tests.wrong_stores.catalogue import caught_by
from tests.wrong_stores.file_store import FileSessions


@caught_by("test_the_sessions_of_a_key_are_listed", "test_listed_data_is_the_callers_own")
class ListsWithoutData(FileSessions):
    """Lists every session with {} as its data."""

    def list_sessions(self, session_key: str) -> list[SessionInfo]:
        return [replace(one, data={}) for one in super().list_sessions(session_key)]


@caught_by("test_sessions_of_keys_that_resemble_each_other_are_told_apart")
class ListsByPattern(FileSessions):
    """Treats the session key as a prefix."""

    def _live_of(self, session_key: str, now: float) -> dict[str, SessionRecord]:
        return {
            place: record
            for place, record in self.kept.items()
            if record.session_key.startswith(session_key.rstrip("%")) and not record.ended(now)
        }


@caught_by(
    "test_what_has_expired_is_not_listed",
    "test_revoke_of_what_has_expired",
    "test_clear_others_and_what_has_expired",
)
class SeesWhatHasExpired(FileSessions):
    """Lists expired sessions that have not been purged yet."""

    def _live_of(self, session_key: str, now: float) -> dict[str, SessionRecord]:
        return super()._live_of(session_key, now=0)


@caught_by("test_what_has_ended_is_not_listed")
class ListsWhatWasReworked(FileSessions):
    """Keeps listing a session under its old id."""

    def move(self, place: str, new_place: str, move: Move) -> bool:
        former = self.read(place, move.now)
        moved = super().move(place, new_place, move)
        if former is not None:
            self.insert(place, former)
        return moved


@caught_by("test_unknown_and_empty_keys_have_no_sessions")
class ListsEveryKeyForNone(FileSessions):
    """Treats an empty session key as all of them."""

    def list_sessions(self, session_key: str) -> list[SessionInfo]:
        if session_key:
            return super().list_sessions(session_key)
        keys = {record.session_key for record in self.kept.values()}
        return [one for key in keys for one in super(type(self), self).list_sessions(key)]


@caught_by("test_the_list_tells_when_sessions_end")
class ListsTheDeadlineForTheEnd(FileSessions):
    """Gives the deadline as the end of the ttl."""

    def list_sessions(self, session_key: str) -> list[SessionInfo]:
        listed = super().list_sessions(session_key)
        return [replace(one, expires_at=one.deadline) for one in listed]


@caught_by("test_listing_writes_nothing")
class ListingTouches(FileSessions):
    """Restarts the ttl of the sessions that it lists."""

    def of_key(self, session_key: str, now: float) -> list[SessionRecord]:
        with self._lock:
            for place, record in self._live_of(session_key, now).items():
                # A clock that stands still would hide it.
                self.kept[place] = record._replace(expires_at=now + 9)
        return super().of_key(session_key, now)


@caught_by("test_a_damaged_session_is_listed_and_can_be_revoked")
class HidesWhatIsDamaged(FileSessions):
    """Leaves a session that cannot be decoded out of the list."""

    def info_of(self, record: SessionRecord) -> SessionInfo | None:
        info = super().info_of(record)
        return None if info is None or info.data is None else info


@caught_by("test_devices_work_encrypted")
class ListsWhatIsStored(FileSessions):
    """Lists the stored text as it is, also under encryption."""

    def info_of(self, record: SessionRecord) -> SessionInfo | None:
        if record.id_key is None:
            return super().info_of(record)
        return SessionInfo(record.handle, {"text": record.data}, None, record.expires_at)


@caught_by("test_a_session_that_gets_a_new_id_is_listed_once")
class ListsFromTwoMoments(FileSessions):
    """Reads the list and the sessions in it at different moments."""

    def of_key(self, session_key: str, now: float) -> list[SessionRecord]:
        listed = super().of_key(session_key, now)
        sleep(0.001)
        found = [self.read(record.id_hash, now) for record in listed]
        return [record for record in found if record is not None]


@caught_by("test_revoke_ends_that_session")
class RevokesEverySession(FileSessions):
    """Ends every session of the key."""

    def revoke(self, session_key: str, handle: str) -> bool:
        revoked = super().revoke(session_key, handle)
        if revoked:
            self.clear(session_key)
        return revoked


@caught_by("test_revoke_takes_any_text")
class RevokesByPattern(FileSessions):
    """Treats the handle as a prefix."""

    def revoke(self, session_key: str, handle: str) -> bool:
        for record in self.of_key(session_key, self.clock()):
            if record.handle.startswith(handle.rstrip("%*")):
                self.remove(record.id_hash)
                return True
        return False


@caught_by("test_of_revoke_and_rework_one_wins")
class RevokesInTwoSteps(FileSessions):
    """Looks for the session first, and reports it as ended whatever happened to it."""

    def remove_one(self, session_key: str, handle: str, now: float) -> bool:
        listed = self.of_key(session_key, now)
        found = [record.id_hash for record in listed if record.handle == handle]
        sleep(0.003)
        for place in found:
            self.remove(place)
        return bool(found)


@caught_by("test_clear_others_ends_the_others")
class ClearsItselfToo(FileSessions):
    """Ends the session itself with the others."""

    def clear_others(self, session_id: str) -> int:
        ended = super().clear_others(session_id)
        self.delete(session_id)
        return ended


@caught_by("test_clear_others_of_a_session_that_is_gone")
class ClearsForWhoIsGone(FileSessions):
    """Says nothing when there is no such session."""

    def clear_others(self, session_id: str) -> int:
        try:
            return super().clear_others(session_id)
        except JamSessionNotFound:
            return 0


@caught_by("test_clear_others_does_not_restart_the_ttl")
class ClearingOthersTouches(FileSessions):
    """Restarts the ttl of the session that stays."""

    def clear_others(self, session_id: str) -> int:
        self.touch(session_id)
        return super().clear_others(session_id)


@caught_by(
    "test_clear_others_does_not_end_what_is_reworked",
    "test_of_two_that_clear_the_others_one_is_left",
)
class ClearsOthersInTwoSteps(FileSessions):
    """Looks up the key first, and ends its sessions a moment later."""

    def remove_others(self, place: str, now: float) -> int | None:
        record = self.read(place, now)
        if record is None:
            return None
        sleep(0.003)
        with self._lock:
            others = self._live_of(record.session_key, now).keys() - {place}
            for other in others:
                del self.kept[other]
        return len(others)


@caught_by("test_clear_others_ends_what_is_reworked")
class ClearsTheOthersItSaw(FileSessions):
    """Makes a list of the others first, and ends those a moment later."""

    def remove_others(self, place: str, now: float) -> int | None:
        with self._lock:
            record = self.live(place)
            if record is None:
                return None
            others = self._live_of(record.session_key, now).keys() - {place}
        sleep(0.003)
        for other in others:
            self.remove(other)
        return len(others)


@caught_by("test_revoke_refuses_a_handle_that_is_no_string")
class RevokesNothingSilently(FileSessions):
    """Does nothing, and says nothing, when a handle is not a string."""

    def revoke(self, session_key: str, handle: Any) -> bool:
        return isinstance(handle, str) and super().revoke(session_key, handle)


@caught_by("test_however_many_sessions_are_listed")
class ListsThreeAtMost(FileSessions):
    """Lists at most three sessions."""

    def list_sessions(self, session_key: str) -> list[SessionInfo]:
        return super().list_sessions(session_key)[:3]


@caught_by("test_however_many_sessions_are_listed")
class ClearsOneHundredOthers(FileSessions):
    """Ends the others of the first hundred sessions of a key."""

    def remove_others(self, place: str, now: float) -> int | None:
        record = self.read(place, now)
        if record is None:
            return None
        others = [one for one in self.of_key(record.session_key, now)[:100] if one != record]
        for other in others:
            self.remove(other.id_hash)
        return len(others)


@caught_by("test_nothing_moves_created_at")
class TellsTheLastWriteForCreate(FileSessions):
    """Gives the time of the last write as the time of creation."""

    def info_of(self, record: SessionRecord) -> SessionInfo | None:
        info = super().info_of(record)
        return info and replace(info, created_at=(record.expires_at or 0) - (self.ttl or 0))
