"""Stores that get log-in, a session's own ttl and max_age, info or seen wrong."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from jam_core import (
    STORE_DEFAULT,
    Change,
    JamSessionDataError,
    Move,
    SessionInfo,
    SessionRecord,
    check_session_key,
    hash_id,
)
from tests.wrong_stores.catalogue import caught_by
from tests.wrong_stores.concurrency import MOMENT
from tests.wrong_stores.file_store import FileSessions


@caught_by("test_a_ttl_of_its_own_counts_instead_of_the_stores")
class TakesNoTtl(FileSessions):
    """Uses only the store's ttl, whatever one session is given."""

    def insert(self, place: str, record: SessionRecord) -> bool:
        end = self.expiry(self.clock(), record.deadline)
        return super().insert(place, record._replace(ttl=STORE_DEFAULT, expires_at=end))


@caught_by("test_a_session_keeps_its_own_ttl_for_life")
class ForgetsItsTtl(FileSessions):
    """Uses a session's own ttl once, and after that the store's."""

    def insert(self, place: str, record: SessionRecord) -> bool:
        return super().insert(place, record._replace(ttl=STORE_DEFAULT))


@caught_by("test_a_max_age_of_its_own_counts_instead_of_the_stores")
class TakesNoMaxAge(FileSessions):
    """Uses only the store's max_age, whatever one session is given."""

    def insert(self, place: str, record: SessionRecord) -> bool:
        now = self.clock()
        deadline = self.deadline(now)
        end = self.expiry(now, deadline, record.ttl)
        return super().insert(place, record._replace(deadline=deadline, expires_at=end))


@caught_by("test_an_invalid_ttl_or_max_age_of_its_own_is_refused")
class TakesAnyTimeOfItsOwn(FileSessions):
    """Replaces an invalid ttl or max_age by the store's."""

    def create(
        self, session_key: str, data: dict[str, Any], *, ttl: Any = STORE_DEFAULT, **limits: Any
    ) -> str:
        try:
            return super().create(session_key, data, ttl=ttl, **limits)
        except JamSessionDataError:
            return super().create(session_key, data)


@caught_by("test_a_log_in_gives_the_session_to_the_user")
class LogInKeepsTheKey(FileSessions):
    """Leaves the session with the visitor's key after the log-in."""

    def move(self, place: str, new_place: str, move: Move) -> bool:
        visitor = self.read(place, move.now)
        login = visitor and move.login and move.login._replace(session_key=visitor.session_key)
        return super().move(place, new_place, move._replace(login=login))


@caught_by("test_a_log_in_begins_the_session_now")
class LogInGoesOn(FileSessions):
    """Counts max_age from the visitor's start, not from the log-in."""

    def move(self, place: str, new_place: str, move: Move) -> bool:
        visitor = self.read(place, move.now)
        login = visitor and move.login and move.login._replace(deadline=visitor.deadline)
        return super().move(place, new_place, move._replace(login=login))


@caught_by("test_a_log_in_has_limits_of_its_own")
class LogInKeepsTheTtl(FileSessions):
    """Keeps the visitor's ttl at the log-in."""

    def move(self, place: str, new_place: str, move: Move) -> bool:
        visitor = self.read(place, move.now)
        login = visitor and move.login and move.login._replace(ttl=visitor.ttl)
        return super().move(place, new_place, move._replace(login=login))


@caught_by("test_a_log_in_that_is_refused_changes_nothing")
class ChecksTheUserLast(FileSessions):
    """Gives the session a new id before it checks the user's key."""

    def rework(self, session_id: str, session_key: str | None = None, **limits: Any) -> str:
        if session_key is None:
            return super().rework(session_id, **limits)
        new_id = super().rework(session_id)
        check_session_key(session_key)
        return super().rework(new_id, session_key, **limits)


@caught_by("test_a_log_out_that_races_a_log_in_leaves_nobody_logged_in_twice")
class LogsInWhoIsGone(FileSessions):
    """Returns a new id although the visitor was logged out in between."""

    def move(self, place: str, new_place: str, move: Move) -> bool:
        visitor = self.read(place, move.now)
        time.sleep(MOMENT)
        super().move(place, new_place, move)
        return visitor is not None


@caught_by("test_info_shows_what_get_reads")
class InfoHidesTheKey(FileSessions):
    """Does not say whose session it is."""

    def info(self, session_id: str) -> SessionInfo | None:
        info = super().info(session_id)
        return info and replace(info, session_key="")


@caught_by("test_info_tells_when_the_session_ends")
class InfoForgetsTheDeadline(FileSessions):
    """Gives the end of the ttl, even if max_age ends the session earlier."""

    def info(self, session_id: str) -> SessionInfo | None:
        info = super().info(session_id)
        return info and replace(info, expires_at=self.clock() + (info.ttl or 0), deadline=None)


@caught_by("test_info_writes_nothing")
class InfoTouches(FileSessions):
    """Restarts the ttl of a session that is looked at."""

    def info(self, session_id: str) -> SessionInfo | None:
        info = super().info(session_id)
        if info is not None and info.expires_at is not None:
            moment = info.expires_at - (info.ttl or 0) + 1
            clock, self.clock = self.clock, lambda: moment  # one that stands still would hide it
            self.write(hash_id(session_id), Change(moment, self.ttl))
            self.clock = clock
        return info


@caught_by("test_update_replaces_only_what_was_seen")
class OverwritesWhatItDidNotSee(FileSessions):
    """Does not check whether the data is what was seen."""

    def write(self, place: str, change: Change) -> bool:
        return super().write(place, change._replace(former=None))


@caught_by("test_a_moved_session_keeps_its_own_ttl")
class RestoresWithoutTheTtl(FileSessions):
    """Forgets a session's own ttl when it is restored."""

    def restore(self, records: Sequence[SessionRecord]) -> int:
        return super().restore([record._replace(ttl=STORE_DEFAULT) for record in records])
