"""Stores that get one of the six operations wrong."""

import json
import unicodedata
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import Any
from uuid import uuid4

from jam_core import (
    Change,
    JamSessionDataError,
    JamSessionNotFound,
    Move,
    SessionRecord,
    check_session_key,
    hash_id,
)
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
    """Treats session keys that differ only in case as the same."""

    def changed(self, session_key: str) -> str:
        return session_key.casefold()


@caught_by(LOOKS_ALIKE)
class StripsKeys(ChangesKeys):
    """Strips spaces around a session key."""

    def changed(self, session_key: str) -> str:
        return session_key.strip() or session_key


@caught_by(LOOKS_ALIKE)
class NormalizesKeys(ChangesKeys):
    """Treats session keys that Unicode normalizes to the same string as one."""

    def changed(self, session_key: str) -> str:
        return unicodedata.normalize("NFC", session_key)


@caught_by(LOOKS_ALIKE)
class CutsKeysAtNul(ChangesKeys):
    """Passes session keys to something written in C, which stops at the first NUL."""

    def changed(self, session_key: str) -> str:
        return session_key.partition("\0")[0] or session_key


@caught_by(LOOKS_ALIKE)
class SplitsKeysAtTheColon(ChangesKeys):
    """Takes what is before the first colon for the session key."""

    def changed(self, session_key: str) -> str:
        return session_key.partition(":")[0]


@caught_by(LOOKS_ALIKE)
class ClearsByPrefix(FileSessions):
    """Clears every session whose key starts with the given one."""

    def clear(self, session_key: str) -> None:
        with self._lock:
            for hashed, record in list(self.kept.items()):
                if record.session_key.startswith(session_key):
                    del self.kept[hashed]


@caught_by("test_an_id_that_is_issued_again_is_its_new_keys_alone")
class ClearsWhatItHasListed(FileSessions):
    """Clears every id that was ever a key's, even if it has been issued again for another key."""

    def insert(self, place: str, record: SessionRecord) -> bool:
        with self._lock, self.path.with_name("listed").open("a") as listed:
            listed.write(json.dumps([record.session_key, place]) + "\n")
        return super().insert(place, record)

    def remove_key(self, session_key: str) -> None:
        listed = self.path.with_name("listed")
        with self._lock:
            for line in listed.read_text().splitlines() if listed.exists() else []:
                key, place = json.loads(line)
                if key == session_key:
                    self.kept.pop(place, None)
        super().remove_key(session_key)


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
    """Raises an error if there is nothing to clear."""

    def clear(self, session_key: str) -> None:
        with self._lock:
            found = any(record.session_key == session_key for record in self.kept.values())
        if not found:
            raise JamSessionNotFound
        super().clear(session_key)


@caught_by("test_create_refuses_a_key_that_is_no_name")
class TakesAnyKey(FileSessions):
    """Converts whatever is passed as a session key to a string."""

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
    """Returns an id as bytes."""

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
    """Replaces the characters beyond Unicode's first 65,536."""

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
    """Stores data that is not a dict, under a name that it makes up."""

    def update(self, session_id: str, data: Any) -> None:
        super().update(session_id, data if isinstance(data, dict) else {"data": data})


@caught_by("test_what_json_cannot_write_is_refused_with_its_path")
class WritesEverythingAsText(FileSessions):
    """Converts what JSON cannot write to a string, instead of refusing it."""

    def create(self, session_key: str, data: dict[str, Any]) -> str:
        if isinstance(data, dict):
            data = json.loads(json.dumps(data, default=str))
        return super().create(session_key, data)


@caught_by("test_create_and_rework_never_overwrite_a_session")
class ReusesIds(FileSessions):
    """Overwrites the session that already has the id."""

    def insert(self, place: str, record: SessionRecord) -> bool:
        self.remove(place)
        return super().insert(place, record)


@caught_by("test_an_id_factory_that_repeats_itself_is_an_error")
class MakesUpIds(FileSessions):
    """Makes up ids when those of the id_factory are taken."""

    def create(self, session_key: str, data: dict[str, Any]) -> str:
        with self._lock:
            taken = bool(self.kept)
        if taken:
            self.codec.new_ids = lambda _="": ((one := str(uuid4()), one) for _ in range(9))  # type: ignore[assignment, method-assign]
        return super().create(session_key, data)


@caught_by("test_the_callers_data_stays_the_callers")
class SharesItsData(FileSessions):
    """Keeps the dict that it was given, and returns the same one to everybody."""

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
    """Creates a session for any id that is updated."""

    def write(self, place: str, change: Change) -> bool:
        self.insert(place, SessionRecord("nobody", place, "{}"))
        return super().write(place, change)


@caught_by(NEVER_ISSUED)
class GetRaisesOnUnknownIds(FileSessions):
    """Raises an error when get should return None."""

    def get(self, session_id: str) -> dict[str, Any] | None:
        data = super().get(session_id)
        if data is None:
            raise JamSessionNotFound
        return data


@caught_by("test_an_id_that_is_no_string_is_an_error")
class WantsText(FileSessions):
    """Fails on an id that is not a string."""

    def get(self, session_id: str) -> dict[str, Any] | None:
        return super().get(session_id.strip() and session_id)


@caught_by(RESEMBLES)
class StripsIds(FileSessions):
    """Strips spaces and newlines around an id."""

    def get(self, session_id: str) -> dict[str, Any] | None:
        return super().get(session_id.strip())


@caught_by(RESEMBLES)
class FoldsTheCaseOfIds(FileSessions):
    """Treats ids that differ only in case as the same."""

    def get(self, session_id: str) -> dict[str, Any] | None:
        return super().get(session_id.lower())


@caught_by(RESEMBLES)
class TruncatesIds(FileSessions):
    """Looks only at the first 36 characters of an id."""

    def get(self, session_id: str) -> dict[str, Any] | None:
        return super().get(session_id[:36])


@caught_by("test_the_key_is_no_id")
class OpensByTheKey(FileSessions):
    """Takes a session key for an id."""

    def get(self, session_id: str) -> dict[str, Any] | None:
        with self._lock:
            for record in self.kept.values():
                if record.session_key == session_id:
                    return self.codec.decode(record.data, "the file")
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
            self.kept["seen"] = SessionRecord("seen", "", str(len(self.kept)))
        return super().get(session_id)


@caught_by("test_get_returns_what_create_stored")
class ReadsOnce(FileSessions):
    """Removes a session when it is read, so that reading logs the user out."""

    def get(self, session_id: str) -> dict[str, Any] | None:
        data = super().get(session_id)
        self.delete(session_id)
        return data


@caught_by("test_update_replaces_the_data_whole")
class UpdateMerges(FileSessions):
    """Adds new data to the old."""

    def update(self, session_id: str, data: dict[str, Any]) -> None:
        super().update(session_id, {**(self.get(session_id) or {}), **data})


@caught_by(GONE)
class UpdateResurrects(FileSessions):
    """Creates the session again if update does not find it."""

    def update(self, session_id: str, data: dict[str, Any]) -> None:
        record = SessionRecord("ann", hash_id(session_id), self.codec.encode(data))
        self.delete(session_id)
        self.insert(record.id_hash, record)


@caught_by(GONE)
class UpdateIsSilent(FileSessions):
    """Does not say that there is nothing to update."""

    def update(self, session_id: str, data: dict[str, Any]) -> None:
        with suppress(JamSessionNotFound):
            super().update(session_id, data)


@caught_by("test_what_is_refused_writes_nothing")
class WritesBeforeItChecks(FileSessions):
    """Makes room for a session before it checks the data."""

    def create(self, session_key: str, data: dict[str, Any]) -> str:
        with self._lock:
            self.kept[str(uuid4())] = SessionRecord(session_key, "", "{}")
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
    """Forgets whose session it is at rework."""

    def move(self, place: str, new_place: str, move: Move) -> bool:
        moved = super().move(place, new_place, move)
        with self._lock:
            if moved:
                self.kept[new_place] = self.kept[new_place]._replace(session_key="nobody")
        return moved


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
        self.known: dict[str, dict[str, Any] | None] = {}

    def get(self, session_id: str) -> dict[str, Any] | None:
        found = super().get(session_id)
        return found and self.known.setdefault(session_id, found)

    def update(self, session_id: str, data: dict[str, Any]) -> None:
        super().update(session_id, data)
        self.known.pop(session_id, None)


@caught_by("test_the_callers_options_stay_the_callers")
class TakesOptionsApart(FileSessions):
    """Removes the keys that it reads from the caller's list."""

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


class ReadsNumbersWrong(FileSessions):
    """The base of those that return other numbers than they were given."""

    def shown_as(self, number: Any) -> Any:
        raise NotImplementedError

    def get(self, session_id: str) -> dict[str, Any] | None:
        return self._read(super().get(session_id))  # type: ignore[no-any-return]

    def _read(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._read(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self._read(inner) for inner in value]
        return self.shown_as(value) if isinstance(value, (int, float)) else value


@caught_by(UNCHANGED)
class RoundsWholeNumbers(ReadsNumbersWrong):
    """Reads whole numbers as JavaScript does: exact up to 2**53."""

    def shown_as(self, number: Any) -> Any:
        return int(float(number)) if 2**53 < abs(number) < 2**60 else number


@caught_by(UNCHANGED)
class TakesTrueForOne(ReadsNumbersWrong):
    """Returns 1 for True."""

    def shown_as(self, number: Any) -> Any:
        return int(number) if isinstance(number, bool) else number


@caught_by(UNCHANGED)
class TakesTwoPointNothingForTwo(ReadsNumbersWrong):
    """Returns integers for floats that are whole."""

    def shown_as(self, number: Any) -> Any:
        return int(number) if isinstance(number, float) and number.is_integer() else number


@caught_by("test_clear_ends_however_many_there_are")
class ClearEndsFive(FileSessions):
    """Ends five sessions of a key and no more."""

    def remove_key(self, session_key: str) -> None:
        for record in self.of_key(session_key, self.clock())[:5]:
            self.remove(record.id_hash)


@caught_by("test_close_ends_no_other_store")
class CloseEndsEverything(FileSessions):
    """Empties the backend when it is closed."""

    def close(self) -> None:
        with self._lock:
            self.kept.clear()


class EncodesByItself(FileSessions):
    """The base of those that look at nothing before they encode."""

    def create(self, session_key: str, data: dict[str, Any]) -> str:
        return super().create(session_key, self.encoded(data))

    def update(self, session_id: str, data: dict[str, Any]) -> None:
        super().update(session_id, self.encoded(data))

    def encoded(self, data: Any) -> Any:
        raise NotImplementedError


@caught_by("test_keys_that_are_one_in_json_are_refused")
class KeepsTheLastOfEqualKeys(EncodesByItself):
    """Lets JSON drop one of two entries whose keys are the same once they are strings."""

    def encoded(self, data: Any) -> Any:
        return json.loads(json.dumps(data))


def _joined(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


@caught_by("test_a_character_in_two_halves_is_refused")
class JoinsHalves(EncodesByItself):
    """Joins the two halves of a split character."""

    def encoded(self, data: Any) -> Any:
        if isinstance(data, dict):
            return {_joined(name): self.encoded(value) for name, value in data.items()}
        if isinstance(data, list):
            return [self.encoded(value) for value in data]
        return _joined(data) if isinstance(data, str) else data

    def create(self, session_key: str, data: dict[str, Any]) -> str:
        return super().create(_joined(session_key), data)


@caught_by("test_an_id_of_any_length_is_no_session")
class ComplainsOfLongIds(FileSessions):
    """Raises its own error for an id that is too long for its column."""

    def get(self, session_id: str) -> dict[str, Any] | None:
        if len(session_id) > 1_000_000:
            raise ValueError("too long")
        return super().get(session_id)


@caught_by("test_an_id_that_is_no_string_is_an_error")
class DeletesNothingSilently(FileSessions):
    """Does nothing, and says nothing, when an id is not a string."""

    def delete(self, session_id: Any) -> None:
        if isinstance(session_id, str):
            super().delete(session_id)


@caught_by("test_an_id_that_is_no_string_is_an_error")
class TakesBytesForIds(FileSessions):
    """Decodes ids that are bytes."""

    def delete(self, session_id: Any) -> None:
        super().delete(session_id.decode() if isinstance(session_id, bytes) else session_id)


@caught_by(RESEMBLES)
class DeletesWhateverTheCase(FileSessions):
    """Ends a session by its id in upper case, too."""

    def delete(self, session_id: Any) -> None:
        super().delete(session_id.lower() if isinstance(session_id, str) else session_id)
