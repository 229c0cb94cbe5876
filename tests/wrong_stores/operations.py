"""Stores that get one of the six operations wrong."""

import json
import unicodedata
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import Any
from uuid import uuid4

from jam_core import JamSessionDataError, JamSessionNotFound, check_session_key, hash_id
from tests.memory_store import Record
from tests.wrong_stores.catalogue import caught_by
from tests.wrong_stores.file_store import FileSessions

LOOKS_ALIKE = "test_clear_ends_every_session_of_the_key_and_no_other"
ANY_CHARACTERS = "test_a_session_key_holds_any_characters"
UNCHANGED = "test_any_json_object_comes_back_unchanged"
NEVER_ISSUED = "test_an_id_that_was_never_issued_is_no_session"
RESEMBLES = "test_what_resembles_an_id_is_none"
GONE = "test_a_session_that_is_gone_stays_gone"


class ChangesKeys(FileSessions):
    """The base of those that store another key than the one that they were given."""

    def changed(self, session_key: str) -> str:
        raise NotImplementedError

    def create(self, session_key: str, data: dict[str, Any]) -> str:
        check_session_key(session_key)
        return super().create(self.changed(session_key), data)

    def clear(self, session_key: str) -> None:
        super().clear(self.changed(session_key))


@caught_by(LOOKS_ALIKE)
class TruncatesKeys(ChangesKeys):
    """Cuts session keys at 255 characters."""

    def changed(self, session_key: str) -> str:
        return session_key[:255]


@caught_by(LOOKS_ALIKE)
class FoldsTheCaseOfKeys(ChangesKeys):
    """Takes session keys for the same that differ in upper and lower case only."""

    def changed(self, session_key: str) -> str:
        return session_key.casefold()


@caught_by(LOOKS_ALIKE)
class StripsKeys(ChangesKeys):
    """Takes spaces around a session key away."""

    def changed(self, session_key: str) -> str:
        return session_key.strip() or session_key


@caught_by(LOOKS_ALIKE)
class NormalizesKeys(ChangesKeys):
    """Takes session keys for the same that Unicode normalizes to the same."""

    def changed(self, session_key: str) -> str:
        return unicodedata.normalize("NFC", session_key)


@caught_by(LOOKS_ALIKE)
class CutsKeysAtNul(ChangesKeys):
    """Hands session keys to something written in C, which stops at the first NUL."""

    def changed(self, session_key: str) -> str:
        return session_key.partition("\0")[0] or session_key


@caught_by(LOOKS_ALIKE)
class SplitsKeysAtTheColon(ChangesKeys):
    """Finds the session key before the first colon."""

    def changed(self, session_key: str) -> str:
        return session_key.partition(":")[0]


@caught_by(LOOKS_ALIKE)
class ClearsByPrefix(FileSessions):
    """Clears every session whose key begins with the one that was given."""

    def clear(self, session_key: str) -> None:
        with self._lock:
            for hashed, record in list(self.kept.items()):
                if record.session_key.startswith(session_key):
                    del self.kept[hashed]


@caught_by(LOOKS_ALIKE)
class ClearsByPattern(FileSessions):
    """Clears by a pattern in which a star in the session key stands for anything."""

    def clear(self, session_key: str) -> None:
        with self._lock:
            for hashed, record in list(self.kept.items()):
                if fnmatchcase(record.session_key, session_key):
                    del self.kept[hashed]


@caught_by(LOOKS_ALIKE)
class JoinsWithoutSeparator(FileSessions):
    """Joins session key and a number without a separator: ann + 12 is ann1 + 2."""

    def clear(self, session_key: str) -> None:
        with self._lock:
            for hashed, record in list(self.kept.items()):
                rest = record.session_key.removeprefix(session_key)
                if rest != record.session_key and (not rest or rest.isdigit()):
                    del self.kept[hashed]


@caught_by(LOOKS_ALIKE)
class ClearsEverything(FileSessions):
    """Clears the sessions of all keys."""

    def clear(self, session_key: str) -> None:
        with self._lock:
            self.kept.clear()


@caught_by(LOOKS_ALIKE)
class ClearsOneSession(FileSessions):
    """Clears only the first session of the key."""

    def clear(self, session_key: str) -> None:
        with self._lock:
            for hashed, record in self.kept.items():
                if record.session_key == session_key:
                    del self.kept[hashed]
                    return


@caught_by(ANY_CHARACTERS)
class WantsPrintableKeys(FileSessions):
    """Refuses session keys that are not printable."""

    def create(self, session_key: str, data: dict[str, Any]) -> str:
        check_session_key(session_key)
        if not session_key.isprintable():
            raise JamSessionDataError("session_key must be printable.")
        return super().create(session_key, data)


@caught_by("test_clear_of_a_key_without_sessions_is_silent")
class ClearMissesTheKey(FileSessions):
    """Raises where there is nothing to clear."""

    def clear(self, session_key: str) -> None:
        with self._lock:
            found = any(record.session_key == session_key for record in self.kept.values())
        if not found:
            raise JamSessionNotFound
        super().clear(session_key)


@caught_by("test_create_refuses_a_key_that_is_no_name")
class TakesAnyKey(FileSessions):
    """Turns whatever is given as a session key into text."""

    def create(self, session_key: str, data: dict[str, Any]) -> str:
        return super().create(str(session_key) or "nobody", data)


@caught_by("test_get_returns_what_create_stored")
class CreatesLater(FileSessions):
    """Returns an id before the session is stored."""

    def create(self, session_key: str, data: dict[str, Any]) -> str:
        check_session_key(session_key)
        self.codec.encode(data)
        return self.codec.mint(lambda _: True)


@caught_by("test_get_returns_what_create_stored")
class ReturnsIdsThatAreNoText(FileSessions):
    """Returns bytes for an id."""

    def create(self, session_key: str, data: dict[str, Any]) -> str:
        return super().create(session_key, data).encode()  # type: ignore[return-value]


@caught_by("test_operations_take_the_keywords_of_the_hookspec")
class RenamesParameters(FileSessions):
    """Calls its parameters by other names, so that calls by keyword fail."""

    def get(self, id: str) -> dict[str, Any] | None:  # noqa: A002
        return super().get(id)


@caught_by("test_update_delete_and_clear_return_none")
class UpdateReturnsTheData(FileSessions):
    """Returns something from update."""

    def update(self, session_id: str, data: dict[str, Any]) -> None:
        super().update(session_id, data)
        return data  # type: ignore[return-value]


@caught_by(UNCHANGED)
class ReadsEmptyAsMissing(FileSessions):
    """Takes the data {} for no session."""

    def get(self, session_id: str) -> dict[str, Any] | None:
        return super().get(session_id) or None


@caught_by(UNCHANGED)
class TruncatesData(FileSessions):
    """Drops data that is longer than a column: more than 65,535 characters."""

    def create(self, session_key: str, data: dict[str, Any]) -> str:
        too_long = len(json.dumps(data, default=str)) > 65_535
        return super().create(session_key, {} if too_long else data)


@caught_by(UNCHANGED)
class KnowsTheBasicPlaneOnly(FileSessions):
    """Replaces the characters of Unicode beyond the first 65,536."""

    def get(self, session_id: str) -> dict[str, Any] | None:
        data = super().get(session_id)
        text = json.dumps(data, ensure_ascii=False)
        basic = "".join(char if char < "\U00010000" else "?" for char in text)
        found: dict[str, Any] | None = json.loads(basic)
        return found


@caught_by(UNCHANGED)
class DropsWhatIsNone(FileSessions):
    """Leaves out values that are None."""

    def create(self, session_key: str, data: dict[str, Any]) -> str:
        if isinstance(data, dict):
            data = {name: value for name, value in data.items() if value is not None}
        return super().create(session_key, data)


@caught_by("test_data_that_is_no_dict_is_refused")
class TakesAnyData(FileSessions):
    """Stores data that is no dict under a name of its own."""

    def update(self, session_id: str, data: Any) -> None:
        super().update(session_id, data if isinstance(data, dict) else {"data": data})


@caught_by("test_what_json_cannot_write_is_refused_with_its_path")
class WritesEverythingAsText(FileSessions):
    """Turns what JSON cannot write into text, instead of refusing it."""

    def create(self, session_key: str, data: dict[str, Any]) -> str:
        if isinstance(data, dict):
            data = json.loads(json.dumps(data, default=str))
        return super().create(session_key, data)


@caught_by("test_create_and_rework_never_overwrite_a_session")
class ReusesIds(FileSessions):
    """Overwrites the session that has the id."""

    def create(self, session_key: str, data: dict[str, Any]) -> str:
        def take(session_id: str) -> bool:
            deadline = self.deadline(self._clock())
            expires_at = self.expiry(self._clock(), deadline)
            with self._lock:
                record = Record(session_key, self.codec.encode(data), deadline, expires_at)
                self.kept[hash_id(session_id)] = record
            return True

        return self.codec.mint(take)


@caught_by("test_an_id_factory_that_repeats_itself_is_an_error")
class MakesUpIds(FileSessions):
    """Makes ids of its own when those of the id_factory are taken."""

    def create(self, session_key: str, data: dict[str, Any]) -> str:
        with self._lock:
            taken = bool(self.kept)
        mint = self.codec.mint
        if taken:
            self.codec.mint = lambda take, prefix="": mint(take, str(uuid4()))  # type: ignore[method-assign]
        return super().create(session_key, data)


@caught_by("test_the_callers_data_stays_the_callers")
class SharesItsData(FileSessions):
    """Keeps the dict that it was given, and hands out the same to everybody."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.data: dict[str, dict[str, Any]] = {}

    def create(self, session_key: str, data: dict[str, Any]) -> str:
        session_id = super().create(session_key, data)
        self.data[session_id] = data
        return session_id

    def get(self, session_id: str) -> dict[str, Any] | None:
        return self.data.get(session_id)


@caught_by("test_the_callers_data_stays_the_callers")
class CopiesOnlyTheSurface(SharesItsData):
    """Copies the dict, but not what is in it."""

    def get(self, session_id: str) -> dict[str, Any] | None:
        return dict(self.data[session_id])


@caught_by(NEVER_ISSUED)
class AdoptsForgedIds(FileSessions):
    """Makes a session of whatever id is updated."""

    def update(self, session_id: str, data: dict[str, Any]) -> None:
        with self._lock:
            expires_at = self.expiry(self._clock(), None)
            record = Record("nobody", self.codec.encode(data), None, expires_at)
            self.kept[hash_id(session_id)] = record


@caught_by(NEVER_ISSUED)
class GetRaisesOnUnknownIds(FileSessions):
    """Raises where get has to answer None."""

    def get(self, session_id: str) -> dict[str, Any] | None:
        data = super().get(session_id)
        if data is None:
            raise JamSessionNotFound
        return data


@caught_by("test_an_id_that_is_no_string_is_no_session")
class WantsText(FileSessions):
    """Fails on an id that is no text."""

    def get(self, session_id: str) -> dict[str, Any] | None:
        return super().get(session_id.strip() and session_id)


@caught_by(RESEMBLES)
class StripsIds(FileSessions):
    """Takes spaces and newlines around an id away."""

    def get(self, session_id: str) -> dict[str, Any] | None:
        return super().get(session_id.strip())


@caught_by(RESEMBLES)
class FoldsTheCaseOfIds(FileSessions):
    """Takes ids for the same that differ in upper and lower case only."""

    def get(self, session_id: str) -> dict[str, Any] | None:
        return super().get(session_id.lower())


@caught_by(RESEMBLES)
class TruncatesIds(FileSessions):
    """Looks at the first 36 characters of an id only."""

    def get(self, session_id: str) -> dict[str, Any] | None:
        return super().get(session_id[:36])


@caught_by("test_the_key_is_no_id")
class OpensByTheKey(FileSessions):
    """Takes a session key for an id."""

    def get(self, session_id: str) -> dict[str, Any] | None:
        with self._lock:
            for record in self.kept.values():
                if record.session_key == session_id:
                    return self.codec.decode(record.text, "the file")
        return super().get(session_id)


@caught_by("test_reads_write_nothing")
class DeletesWhatItReads(FileSessions):
    """Removes an expired session when it is read."""

    def get(self, session_id: str) -> dict[str, Any] | None:
        data = super().get(session_id)
        if data is None:
            self.delete(session_id)
        return data


@caught_by("test_reads_write_nothing")
class RemembersWhoWasHere(FileSessions):
    """Writes down each session that is read."""

    def get(self, session_id: str) -> dict[str, Any] | None:
        with self._lock:
            self.kept["seen"] = Record("seen", str(len(self.kept)), None, None)
        return super().get(session_id)


@caught_by("test_get_returns_what_create_stored")
class ReadsOnce(FileSessions):
    """Removes a session when it is read: one answer, and it is logged out."""

    def get(self, session_id: str) -> dict[str, Any] | None:
        data = super().get(session_id)
        self.delete(session_id)
        return data


@caught_by("test_update_replaces_the_data_whole")
class UpdateMerges(FileSessions):
    """Adds new data to the former."""

    def update(self, session_id: str, data: dict[str, Any]) -> None:
        super().update(session_id, {**(self.get(session_id) or {}), **data})


@caught_by(GONE)
class UpdateResurrects(FileSessions):
    """Creates the session anew if update does not find it."""

    def update(self, session_id: str, data: dict[str, Any]) -> None:
        with self._lock:
            hashed = hash_id(session_id)
            former = self.kept.get(hashed, Record("ann", "", None, None))
            self.kept[hashed] = former._replace(text=self.codec.encode(data))


@caught_by(GONE)
class UpdateIsSilent(FileSessions):
    """Does not say that there is nothing to update."""

    def update(self, session_id: str, data: dict[str, Any]) -> None:
        with suppress(JamSessionNotFound):
            super().update(session_id, data)


@caught_by("test_what_is_refused_writes_nothing")
class WritesBeforeItChecks(FileSessions):
    """Makes room for a session before it looks at the data."""

    def create(self, session_key: str, data: dict[str, Any]) -> str:
        with self._lock:
            self.kept[str(uuid4())] = Record(session_key, "{}", None, None)
        return super().create(session_key, data)


@caught_by("test_delete_ends_one_session_and_is_silent_the_second_time")
class DeleteRaisesTheSecondTime(FileSessions):
    """Raises when there is nothing to delete."""

    def delete(self, session_id: str) -> None:
        if self.get(session_id) is None:
            raise JamSessionNotFound
        super().delete(session_id)


@caught_by("test_delete_ends_one_session_and_is_silent_the_second_time")
class DeleteEndsTheKey(FileSessions):
    """Ends all sessions of the key with one of them."""

    def delete(self, session_id: str) -> None:
        with self._lock:
            record = self.kept.get(hash_id(session_id))
        if record:
            self.clear(record.session_key)


@caught_by("test_rework_gives_a_new_id_and_the_old_one_is_dead")
class ReworkLeavesTheOldIdAlive(FileSessions):
    """Copies the session under a new id."""

    def rework(self, session_id: str) -> str:
        with self._lock:
            former = dict(self.kept)
        new = super().rework(session_id)
        with self._lock:
            self.kept |= former
        return new


@caught_by("test_rework_gives_a_new_id_and_the_old_one_is_dead")
class ReworkKeepsTheId(FileSessions):
    """Returns the id that it was given."""

    def rework(self, session_id: str) -> str:
        self.touch(session_id)
        return session_id


@caught_by("test_rework_gives_a_new_id_and_the_old_one_is_dead")
class ReworkLosesData(FileSessions):
    """Gives the session a new id, and no data."""

    def rework(self, session_id: str) -> str:
        new = super().rework(session_id)
        self.update(new, {})
        return new


@caught_by("test_clear_ends_reworked_sessions_too")
class ReworkLosesTheKey(FileSessions):
    """Forgets with rework whose session it is."""

    def rework(self, session_id: str) -> str:
        new = super().rework(session_id)
        with self._lock:
            record = self.kept[hash_id(new)]
            self.kept[hash_id(new)] = record._replace(session_key="nobody")
        return new


@caught_by("test_any_history_agrees_with_the_model")
class SecondReworkLosesTheKey(FileSessions):
    """Forgets whose session it is when its id is replaced the second time."""

    def rework(self, session_id: str) -> str:
        new = super().rework(session_id)
        with self._lock:
            record = self.kept[hash_id(new)]
            if record.session_key.startswith("\0"):
                record = record._replace(session_key="nobody")
            else:
                record = record._replace(session_key="\0" + record.session_key)
            self.kept[hash_id(new)] = record
        return new

    def clear(self, session_key: str) -> None:
        super().clear(session_key)
        super().clear("\0" + session_key)


@caught_by("test_any_history_agrees_with_the_model")
class ForgetsToForget(FileSessions):
    """Remembers what was read until the next update, and does not notice mutate."""

    def __init__(self, path: Any, **options: Any) -> None:
        super().__init__(path, **options)
        self.read: dict[str, dict[str, Any] | None] = {}

    def get(self, session_id: str) -> dict[str, Any] | None:
        found = super().get(session_id)
        return found and self.read.setdefault(session_id, found)

    def update(self, session_id: str, data: dict[str, Any]) -> None:
        super().update(session_id, data)
        self.read.pop(session_id, None)


@caught_by("test_the_callers_options_stay_the_callers")
class TakesOptionsApart(FileSessions):
    """Takes the keys that it reads out of the caller's list."""

    def __init__(self, path: Any, **options: Any) -> None:
        secrets = options.get("session_aes_secret")
        if isinstance(secrets, list) and secrets:
            options["session_aes_secret"] = [secrets.pop(0)]
        super().__init__(path, **options)


@caught_by("test_close_may_be_called_again")
class ClosesOnce(FileSessions):
    """Fails when it is closed the second time."""

    closed = False

    def close(self) -> None:
        if self.closed:
            raise ValueError("closed already")
        self.closed = True
