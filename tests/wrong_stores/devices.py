"""Stores that get list_sessions, revoke or clear_others wrong."""

from dataclasses import replace
from time import sleep
from typing import Any

from jam_core import (
    JamSessionNotFound,
    SessionInfo,
    SessionRecord,
    check_session_key,
    handle_of_hash,
    hash_id,
)
from tests.wrong_stores.catalogue import caught_by
from tests.wrong_stores.file_store import FileSessions


@caught_by("test_the_sessions_of_a_key_are_listed", "test_listed_data_is_the_callers_own")
class ListsWithoutData(FileSessions):
    """Lists every session with {} for its data."""

    def list_sessions(self, session_key: str) -> list[SessionInfo]:
        return [replace(one, data={}) for one in super().list_sessions(session_key)]


@caught_by("test_sessions_of_keys_that_resemble_each_other_are_told_apart")
class ListsByPattern(FileSessions):
    """Takes the session key for the beginning of session keys."""

    def _hashes_of(self, session_key: str) -> list[str]:
        return [
            hashed
            for hashed, record in self.kept.items()
            if record.session_key.startswith(session_key.rstrip("%")) and self._live(hashed)
        ]


@caught_by(
    "test_what_has_expired_is_not_listed",
    "test_revoke_of_what_has_expired",
    "test_clear_others_and_what_has_expired",
)
class SeesWhatHasExpired(FileSessions):
    """Takes what has expired, and was not purged yet, for sessions."""

    def _hashes_of(self, session_key: str) -> list[str]:
        kept = self.kept.items()
        return [hashed for hashed, record in kept if record.session_key == session_key]


@caught_by("test_what_has_ended_is_not_listed")
class ListsWhatWasReworked(FileSessions):
    """Goes on listing a session under its old id."""

    def rework(self, session_id: str) -> str:
        with self._lock:
            former = self.kept.get(hash_id(session_id))
        new = super().rework(session_id)
        with self._lock:
            if former is not None:
                self.kept[hash_id(session_id)] = former
        return new


@caught_by("test_unknown_and_empty_keys_have_no_sessions")
class ListsEveryKeyForNone(FileSessions):
    """Takes an empty session key for all of them."""

    def list_sessions(self, session_key: str) -> list[SessionInfo]:
        if session_key:
            return super().list_sessions(session_key)
        keys = {record.session_key for record in self.kept.values()}
        return [one for key in keys for one in super(type(self), self).list_sessions(key)]


@caught_by("test_the_list_tells_when_sessions_end")
class ListsTheDeadlineForTheEnd(FileSessions):
    """Tells the deadline where the end of the ttl is asked for."""

    def list_sessions(self, session_key: str) -> list[SessionInfo]:
        listed = super().list_sessions(session_key)
        return [replace(one, expires_at=one.deadline) for one in listed]


@caught_by("test_listing_writes_nothing")
class ListingTouches(FileSessions):
    """Restarts the ttl of what is listed."""

    def list_sessions(self, session_key: str) -> list[SessionInfo]:
        check_session_key(session_key)
        with self._lock:
            for hashed in self._hashes_of(session_key):
                record = self.kept[hashed]
                # A clock that stands still would hide it.
                self.kept[hashed] = record._replace(expires_at=self._clock() + 9)
        return super().list_sessions(session_key)


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
    """Reads the list and the sessions in it at two moments."""

    def list_sessions(self, session_key: str) -> list[SessionInfo]:
        check_session_key(session_key)
        with self._lock:
            hashes = self._hashes_of(session_key)
        sleep(0.001)
        with self._lock:
            found = [self._published(hashed) for hashed in hashes if self._live(hashed)]
        return [info for info in map(self.info_of, found) if info is not None]


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
    """Takes the handle for the beginning of one."""

    def revoke(self, session_key: str, handle: str) -> bool:
        check_session_key(session_key)
        with self._lock:
            for hashed in self._hashes_of(session_key):
                if handle_of_hash(hashed).startswith(handle.rstrip("%*")):
                    del self.kept[hashed]
                    return True
        return False


@caught_by("test_of_revoke_and_rework_one_wins")
class RevokesInTwoSteps(FileSessions):
    """Looks for the session first, and says that it is ended whatever became of it."""

    def revoke(self, session_key: str, handle: str) -> bool:
        check_session_key(session_key)
        with self._lock:
            found = [
                hashed
                for hashed in self._hashes_of(session_key)
                if handle_of_hash(hashed) == handle
            ]
        sleep(0.003)
        with self._lock:
            for hashed in found:
                self.kept.pop(hashed, None)
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


class ClearsOthersInTwoSteps(FileSessions):
    """Finds out the key first, and ends its sessions a moment later."""

    def clear_others(self, session_id: str) -> int:
        kept = self.codec.lookup_hash(session_id)
        with self._lock:
            record = self._live(kept)
            if record is None:
                raise JamSessionNotFound
        sleep(0.003)
        return self._end_others(record.session_key, kept)

    def _end_others(self, session_key: str, kept: Any) -> int:
        with self._lock:
            others = [one for one in self._hashes_of(session_key) if one != kept]
            for hashed in others:
                del self.kept[hashed]
        return len(others)


caught_by(
    "test_clear_others_does_not_end_what_is_reworked",
    "test_of_two_that_clear_the_others_one_is_left",
)(ClearsOthersInTwoSteps)


@caught_by("test_clear_others_ends_what_is_reworked")
class ClearsTheOthersItSaw(FileSessions):
    """Makes a list of the others first, and ends those a moment later."""

    def clear_others(self, session_id: str) -> int:
        kept = self.codec.lookup_hash(session_id)
        with self._lock:
            record = self._live(kept)
            if record is None:
                raise JamSessionNotFound
            others = [one for one in self._hashes_of(record.session_key) if one != kept]
        sleep(0.003)
        with self._lock:
            for hashed in others:
                self.kept.pop(hashed, None)
        return len(others)
