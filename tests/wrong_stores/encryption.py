"""Stores that encrypt in the wrong way."""

import base64
import json
import os
from typing import Any

from jam_core import (
    JamConfigurationError,
    JamSessionEmptyAESKey,
    JamSessionInvalidAESKey,
    Move,
    SessionRecord,
    generate_aes_key,
    hash_id,
)
from tests.wrong_stores.catalogue import caught_by
from tests.wrong_stores.file_store import FileSessions


def without_encryption(options: dict[str, Any]) -> dict[str, Any]:
    return {**options, "is_session_crypt": False, "session_aes_secret": None, "logger": None}


class HasAPlainTwin(FileSessions):
    """The base of those that do some things in plain."""

    def __init__(self, path: Any, **options: Any) -> None:
        super().__init__(path, **options)
        self.encrypts = options.get("is_session_crypt", False)
        self.plain = FileSessions(path, **without_encryption(options))


@caught_by("test_everything_works_encrypted")
class IssuesPlainIds(HasAPlainTwin):
    """Issues plain ids although encryption is on."""

    def create(self, session_key: str, data: dict[str, Any]) -> str:
        return self.plain.create(session_key, data)

    def get(self, session_id: str) -> dict[str, Any] | None:
        return self.plain.get(session_id)


@caught_by("test_forged_ids_are_refused_quietly")
class FallsBackToPlainIds(HasAPlainTwin):
    """Tries an id that does not verify as a plain id."""

    def get(self, session_id: str) -> dict[str, Any] | None:
        return super().get(session_id) or self.plain.get(session_id)


@caught_by("test_plain_data_is_not_taken_for_encrypted")
class FallsBackToPlainData(HasAPlainTwin):
    """Reads data that is not encrypted."""

    def get(self, session_id: str) -> dict[str, Any] | None:
        data = super().get(session_id)
        with self._lock:
            record = self.live(self.codec.lookup_hash(session_id))
        if data is None and record is not None:
            return self.plain.codec.decode(record.data, "the file")
        return data


@caught_by("test_copied_data_opens_nothing")
class SealsToNobody(FileSessions):
    """Says whose the data is, but does not encrypt it together with that."""

    seals_to_owner = False

    def owner_of(self, record: SessionRecord) -> str:
        return record.id_hash


@caught_by("test_rework_seals_what_was_written_meanwhile")
class MovesOverWhatWasWritten(FileSessions):
    """Moves the data that was read before, no matter what is stored now."""

    def move(self, place: str, new_place: str, move: Move) -> bool:
        return super().move(place, new_place, move._replace(former=None))


@caught_by("test_encrypted_data_is_not_taken_for_plain", "test_nothing_readable_is_stored")
class EncryptsIdsOnly(HasAPlainTwin):
    """Stores plain data although encryption is on."""

    def create(self, session_key: str, data: dict[str, Any]) -> str:
        session_id = super().create(session_key, data)
        text = self.plain.codec.encode(data)
        with self._lock:
            record = self.kept[hash_id(session_id)]
            self.kept[hash_id(session_id)] = record._replace(data=text)
        return session_id


@caught_by("test_nothing_readable_is_stored")
class KeepsAPlainCopy(HasAPlainTwin):
    """Keeps a plain copy next to the encrypted data."""

    def create(self, session_key: str, data: dict[str, Any]) -> str:
        session_id = super().create(session_key, data)
        with self._lock:
            text = self.plain.codec.encode(data)
            self.kept["copy " + hash_id(session_id)] = SessionRecord("copy", "", text)
        return session_id


@caught_by("test_rotating_keys_keeps_everybody_logged_in")
class KnowsOneKey(FileSessions):
    """Uses the first key only."""

    def __init__(self, path: Any, **options: Any) -> None:
        if isinstance(options.get("session_aes_secret"), list):
            options["session_aes_secret"] = options["session_aes_secret"][:1]
        super().__init__(path, **options)


@caught_by("test_keys_come_from_the_environment")
class SealsWithTheLastKey(FileSessions):
    """Encrypts with the last key of the environment variable, not with the first."""

    def __init__(self, path: Any, **options: Any) -> None:
        keys = os.environ.get("JAM_SESSION_AES_SECRET")
        if keys and options.get("session_aes_secret") is None:
            options["session_aes_secret"] = keys.split(",")[::-1]
        super().__init__(path, **options)


@caught_by("test_no_key_is_an_error")
class MakesUpAKey(FileSessions):
    """Encrypts with a random key if none is given."""

    def __init__(self, path: Any, **options: Any) -> None:
        try:
            super().__init__(path, **options)
        except JamSessionEmptyAESKey:
            super().__init__(path, **{**options, "session_aes_secret": generate_aes_key()})


@caught_by("test_a_bad_key_is_an_error_that_does_not_show_it")
class ShowsTheBadKey(FileSessions):
    """Quotes an invalid key in the error."""

    def __init__(self, path: Any, **options: Any) -> None:
        try:
            super().__init__(path, **options)
        except JamSessionInvalidAESKey as error:
            keys = options["session_aes_secret"]
            raise JamSessionInvalidAESKey(f"{error.message} It is one of {keys}.") from None


@caught_by("test_a_bad_key_is_an_error_that_does_not_show_it")
class SkipsBadKeys(FileSessions):
    """Skips invalid keys."""

    def __init__(self, path: Any, **options: Any) -> None:
        try:
            super().__init__(path, **options)
        except JamConfigurationError:
            keys = options["session_aes_secret"]
            super().__init__(path, **{**options, "session_aes_secret": keys[:1]})


@caught_by("test_plain_sessions_outlive_an_attempt_at_encryption")
class DeletesWhatDoesNotVerify(FileSessions):
    """Deletes a session whose id does not verify."""

    def delete(self, session_id: str) -> None:
        with self._lock:
            self.kept.pop(hash_id(session_id), None)


@caught_by("test_nothing_readable_is_stored")
class KeepsTheIdItIssued(FileSessions):
    """Stores the encrypted id, which opens the session for anybody who reads the backend."""

    def create(self, session_key: str, data: dict[str, Any]) -> str:
        session_id = super().create(session_key, data)
        with self._lock:
            hashed = hash_id(session_id)
            self.kept[hashed] = self.kept[hashed]._replace(id_key=session_id)
        return session_id


@caught_by("test_nothing_readable_is_stored")
class KeepsDataInBase64(FileSessions):
    """Stores the data in base64 next to the encrypted text, for searching."""

    def update(self, session_id: str, data: dict[str, Any]) -> None:
        super().update(session_id, data)
        with self._lock:
            hashed = hash_id(session_id)
            text = base64.b64encode(json.dumps(data).encode()).decode()
            self.kept[hashed] = self.kept[hashed]._replace(id_key=text)
