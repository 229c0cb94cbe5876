"""Stores that get an optional operation wrong."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from jam_core import BaseSession, JamSessionNotFound, SessionRecord, hash_id
from tests.wrong_stores.catalogue import caught_by
from tests.wrong_stores.file_store import FileSessions

Changing = Callable[[dict[str, Any]], dict[str, Any] | None]


@caught_by("test_an_operation_that_the_store_lacks_says_so")
class HidesAPower(FileSessions):
    """Does not declare an operation that works."""

    @property
    def capabilities(self) -> frozenset[str]:
        return super().capabilities - {"ping"}


@caught_by("test_touch_leaves_the_data_alone")
class DeclaresWhatItLacks(FileSessions):
    """Declares an operation that it does not have."""

    touch = BaseSession.touch

    @property
    def capabilities(self) -> frozenset[str]:
        return super().capabilities | {"touch"}


@caught_by("test_touch_leaves_the_data_alone")
class TouchEmptiesTheData(FileSessions):
    """Forgets the data at touch."""

    def touch(self, session_id: str) -> None:
        self.update(session_id, {})


@caught_by("test_touch_does_not_bring_back_what_is_gone")
class TouchResurrects(FileSessions):
    """Creates an empty session for any id that is touched."""

    def touch(self, session_id: str) -> None:
        with self._lock:
            self.kept.setdefault(hash_id(session_id), SessionRecord("nobody", "", "{}"))


@caught_by("test_touch_does_not_bring_back_what_is_gone")
class TouchIsSilent(FileSessions):
    """Does not say that there is nothing to touch."""

    def touch(self, session_id: str) -> None:
        with suppress(JamSessionNotFound):
            super().touch(session_id)


@caught_by("test_mutate_does_not_bring_back_what_is_gone")
class MutateResurrects(FileSessions):
    """Lets mutate start with an empty session if there is none."""

    def mutate(self, session_id: str, change: Changing) -> dict[str, Any]:
        with self._lock:
            self.kept.setdefault(hash_id(session_id), SessionRecord("nobody", "", "{}"))
        return super().mutate(session_id, change)


@caught_by("test_mutate_stores_what_the_function_returns")
class MutateTakesEmptyForNothing(FileSessions):
    """Treats {} returned by the function as if nothing was returned."""

    def mutate(self, session_id: str, change: Changing) -> dict[str, Any]:
        return super().mutate(session_id, lambda data: change(data) or None)


@caught_by("test_mutate_stores_what_the_function_returns")
class MutateReturnsTheFormerData(FileSessions):
    """Returns the old data from mutate."""

    def mutate(self, session_id: str, change: Changing) -> dict[str, Any]:
        former = self.get(session_id) or {}
        super().mutate(session_id, change)
        return former


@caught_by("test_mutate_stores_what_the_function_changed_in_place")
class MutateWantsAnAnswer(FileSessions):
    """Stores nothing if the function returns nothing."""

    def mutate(self, session_id: str, change: Changing) -> dict[str, Any]:
        former = self.get(session_id)
        return super().mutate(session_id, lambda data: change(data) or former)


@caught_by("test_what_mutate_was_given_and_returned_is_the_callers")
class MutateSharesItsData(FileSessions):
    """Later returns the same object that mutate returned."""

    last: dict[str, Any] | None = None

    def mutate(self, session_id: str, change: Changing) -> dict[str, Any]:
        self.last = super().mutate(session_id, change)
        return self.last

    def get(self, session_id: str) -> dict[str, Any] | None:
        return self.last or super().get(session_id)


@caught_by("test_a_mutate_that_fails_changes_nothing")
class MutateStoresHalfAChange(FileSessions):
    """Stores what a function did before it failed."""

    def mutate(self, session_id: str, change: Changing) -> dict[str, Any]:
        data = self.get(session_id) or {}
        try:
            data = change(data) or data
        finally:
            self.update(session_id, data)
        return data


@caught_by(
    "test_mutate_sees_what_came_in_between",
    "test_threads_lose_no_mutation",
    "test_no_mutation_is_lost",
)
class MutateReadsThenWrites(FileSessions):
    """Reads, changes and writes, without checking whether others wrote meanwhile."""

    def mutate(self, session_id: str, change: Changing) -> dict[str, Any]:
        data = self.get(session_id)
        if data is None:
            raise JamSessionNotFound
        data = change(data) or data
        self.update(session_id, data)
        return data


@caught_by("test_mutate_does_not_bring_back_what_ends_in_between")
class MutateDoesNotSeeTheEnd(FileSessions):
    """Writes back a session that ended while the function was running."""

    def mutate(self, session_id: str, change: Changing) -> dict[str, Any]:
        hashed = hash_id(session_id)
        with self._lock:
            record = self.kept[hashed]
        data = super().get(session_id) or {}
        data = change(data) or data
        with self._lock:
            self.kept[hashed] = record._replace(data=self.codec.encode(data))
        return data


@caught_by("test_purge_leaves_what_lives")
class PurgeRemovesEverything(FileSessions):
    """Removes live sessions, too."""

    def purge(self) -> int:
        removed = super().purge()
        with self._lock:
            self.kept.clear()
        return removed


@caught_by("test_purge_leaves_what_lives")
class PurgeCountsTheLiving(FileSessions):
    """Counts how many sessions are left."""

    def purge(self) -> int:
        super().purge()
        with self._lock:
            return len(self.kept)


@caught_by("test_purge_removes_what_has_expired_and_counts_it")
class PurgeOnlyCounts(FileSessions):
    """Counts what has expired, and removes nothing."""

    def purge(self) -> int:
        with self._lock:
            return sum(self.live(place) is None for place in self.kept)


@caught_by("test_purge_removes_what_has_expired_and_counts_it")
class PurgeDoesNotCount(FileSessions):
    """Removes what has expired, but returns 0."""

    def purge(self) -> int:
        super().purge()
        return 0


@caught_by("test_ping_is_silent_when_all_is_well")
class PingAnswers(FileSessions):
    """Returns something from ping."""

    def ping(self) -> None:
        return "PONG"  # type: ignore[return-value]
