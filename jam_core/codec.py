"""Session ids and session data as they are stored: minted, serialized, encrypted.

An encrypted id or value is ``J$_`` followed by a Fernet token
(https://github.com/fernet/spec/blob/master/Spec.md).
"""

import hashlib
import os
import re
import reprlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from jam_core.encoders import BaseEncoder, JsonEncoder
from jam_core.exceptions import (
    JamConfigurationError,
    JamSessionCorrupt,
    JamSessionDataError,
    JamSessionEmptyAESKey,
    JamSessionInvalidAESKey,
)

if TYPE_CHECKING:
    from cryptography.fernet import Fernet, MultiFernet

SECRET_VARIABLE = "JAM_SESSION_AES_SECRET"  # noqa: S105  (a variable's name)
_SEAL = "J$_"
_KEY_LENGTH = 44  # 32 bytes in base64
_MARK_LENGTH = 8
_HANDLE_LENGTH = 16
_HANDLE = re.compile(f"[0-9a-f]{{{_HANDLE_LENGTH}}}")
# J$_ and url-safe base64 whose last digit says nothing beyond the last byte (RFC 4648, 3.5 and 5).
_CANONICAL = re.compile(r"J\$_[\w-]*(?:[AEIMQUYcgkosw048]=|[AQgw]==)?", re.ASCII)
_MINT_ATTEMPTS = 100
_DEEPEST = 256
_LONGEST_PATH = 32


def uuid4_id() -> str:
    """Return a new session id: 122 random bits from the operating system."""
    return str(uuid4())


def generate_aes_key() -> bytes:
    """Return a new key for `session_aes_secret`: 32 random bytes, url-safe base64-encoded."""
    from cryptography.fernet import Fernet

    return Fernet.generate_key()


def hash_id(session_id: str) -> str:
    """Return the SHA-256 of a session id in hexadecimal: what a store keeps in the id's place."""
    return hashlib.sha256(session_id.encode("utf-8", "surrogatepass")).hexdigest()


def session_handle(session_id: str) -> str:
    """Return what names a session to its owner: 16 hexadecimal digits, from which no id follows.

    `Jam.session_list` shows it for each session, `Jam.session_revoke` takes it; with this function
    an application finds out which of them is the session that it is asked in.
    """
    return handle_of_hash(hash_id(session_id))


def handle_of_hash(id_hash: str) -> str:
    """Return the `session_handle` of the session id that has this `hash_id`."""
    return id_hash[:_HANDLE_LENGTH]


def is_handle(text: object) -> bool:
    """Tell whether something looks like a `session_handle`, and is no pattern or worse."""
    return isinstance(text, str) and _HANDLE.fullmatch(text) is not None


def check_session_key(session_key: object) -> None:
    """Refuse a session key that no session can have.

    Raises:
        JamSessionDataError: The key is empty, or no string.
    """
    if not isinstance(session_key, str):
        raise JamSessionDataError(
            f"session_key must be a string, not {type(session_key).__name__}."
        )
    if not session_key:
        raise JamSessionDataError("session_key must not be empty: it names whose session it is.")


class SessionCodec:
    """Mints ids, and turns ids and data into what is stored and back.

    Args:
        id_factory: Returns a new random id at each call.
        serializer: Writes and reads the data.
        keys: Fernet keys, newest first; the first encrypts, all decrypt. None: no encryption.

    Attributes:
        key_marks: The marks of the keys, in their order: a mark names a key and tells nothing of
            it. Empty without encryption.

    Raises:
        JamConfigurationError: The serializer does not work.
        JamSessionInvalidAESKey: A key is not 32 url-safe base64-encoded bytes.
    """

    def __init__(
        self,
        id_factory: Callable[[], str] = uuid4_id,
        serializer: BaseEncoder | type[BaseEncoder] = JsonEncoder,
        keys: Sequence[bytes] | None = None,
    ) -> None:
        self._id_factory = id_factory
        self._serializer = serializer
        _try_serializer(serializer)
        self._cipher: Fernet | MultiFernet | None = None
        self._fernets: list[Fernet] = []
        self.key_marks: tuple[str, ...] = ()
        if keys is not None:
            from cryptography import fernet

            self._fernets = _fernets(keys)
            # One key needs no ring, which takes its time.
            only_one = len(self._fernets) == 1
            self._cipher = self._fernets[0] if only_one else fernet.MultiFernet(self._fernets)
            self._invalid_token = fernet.InvalidToken
            self.key_marks = tuple(_mark_of(key) for key in keys)

    @property
    def id_key(self) -> str | None:
        """The mark of the key that ids minted now are encrypted with; None without encryption."""
        return self.key_marks[0] if self.key_marks else None

    @property
    def writes_plain_json(self) -> bool:
        """Whether `encode` returns readable JSON that `json` reads back exactly."""
        plain = self._serializer is JsonEncoder or type(self._serializer) is JsonEncoder
        return plain and self._cipher is None

    def mint(self, take: Callable[[str], bool], prefix: str = "") -> str:
        """Make session ids until one is free, and return it.

        Args:
            take: Stores the session under the id that it is given, in one atomic step, and
                returns True; False if the id is taken.
            prefix: What stands before the random part, inside the encryption.

        Raises:
            JamConfigurationError: The id factory returns no string, or only ids that are taken.
        """
        for _ in range(_MINT_ATTEMPTS):
            random_part: object = self._id_factory()
            if not isinstance(random_part, str) or not random_part:
                raise JamConfigurationError("id_factory must return a non-empty string.")
            session_id = self._seal(prefix + random_part)
            if take(session_id):
                return session_id
        raise JamConfigurationError(
            f"id_factory returned an id that is already taken {_MINT_ATTEMPTS} times in a row: "
            "it must return a new random id at each call."
        )

    def open_id(self, session_id: object) -> str | None:
        """Return the id as it was minted, or None if it is no string, or forged."""
        if not isinstance(session_id, str):
            return None
        if self._cipher is None:
            return session_id
        return self._decrypt(self._cipher, session_id) if _is_canonical(session_id) else None

    def lookup_hash(self, session_id: object) -> str | None:
        """Return `hash_id` of an id somebody presents, or None if it is no string, or forged."""
        if not isinstance(session_id, str) or self.open_id(session_id) is None:
            return None
        return hash_id(session_id)

    def encode(self, data: dict[str, Any]) -> str:
        """Return the text to store for `data`.

        Raises:
            JamSessionDataError: `data` is no dict, or holds what the serializer cannot write.
        """
        if not isinstance(data, dict):
            raise JamSessionDataError(f"Session data must be a dict, not {type(data).__name__}.")
        try:
            text = self._serializer.dumps(data).decode()
        except Exception as error:
            failure = type(error).__name__
        else:
            if _may_be_deep(text) and _is_deep(data):
                raise JamSessionDataError(
                    f"Session data is nested more than {_DEEPEST} levels deep. Nothing was stored."
                )
            return self._seal(text)
        # Not chained: the serializer's own error may hold the data.
        raise JamSessionDataError(_unwritable(self._serializer, data, failure))

    def decode(self, text: str, where: str) -> dict[str, Any] | None:
        """Return the data that `encode` made `text` of, or None if it is forged.

        Args:
            text: What is stored.
            where: Where it is stored, for the error.

        Raises:
            JamSessionCorrupt: The serializer cannot read it.
        """
        plain = self._unseal(text)
        if plain is None:
            return None
        try:
            data: object = self._serializer.loads(plain)
        except Exception as error:
            if isinstance(error, RecursionError) and not _may_be_deep(plain):
                raise  # the caller's stack is full, the record is well
            fault = _undecodable(plain, where)
        else:
            if isinstance(data, dict):
                return data
            fault = f"{where} holds no JSON object. It was left as it is."
        # Not chained: the serializer's own error may hold the data.
        raise JamSessionCorrupt(fault)

    def mark_of(self, text: str) -> str | None:
        """Return the mark of the key that an id or a stored text is encrypted with.

        None if it is not encrypted, or with none of the keys.
        """
        if text.startswith(_SEAL) and text.isascii():
            for mark, fernet in zip(self.key_marks, self._fernets, strict=True):
                with suppress(self._invalid_token):
                    fernet.decrypt(text[len(_SEAL) :])
                    return mark
        return None

    def rekeyed(self, text: str) -> str | None:
        """Return a stored text encrypted with the first key; None if no key decrypts it."""
        plain = self._unseal(text)
        return None if plain is None else self._seal(plain)

    def _seal(self, text: str) -> str:
        if self._cipher is None:
            return text
        return _SEAL + self._cipher.encrypt(text.encode("utf-8", "surrogatepass")).decode()

    def _unseal(self, text: str) -> str | None:
        if self._cipher is None:
            return text
        if not text.startswith(_SEAL) or not text.isascii():
            return None
        return self._decrypt(self._cipher, text)

    def _decrypt(self, cipher: "Fernet | MultiFernet", sealed: str) -> str | None:
        try:
            return cipher.decrypt(sealed[len(_SEAL) :]).decode("utf-8", "surrogatepass")
        except self._invalid_token:
            return None


def read_keys(secret: bytes | str | Sequence[bytes | str] | None) -> list[bytes]:
    """Return the keys of `session_aes_secret`, or of the environment where that is None.

    Args:
        secret: A key, several separated by commas, or a list of keys; newest first.

    Raises:
        JamSessionEmptyAESKey: There is no key.
    """
    if secret is None:
        secret = os.environ.get(SECRET_VARIABLE, "")
    parts = [secret] if isinstance(secret, bytes | str) else secret
    keys = [key.strip() for part in parts for key in _bytes_of(part).split(b",") if key.strip()]
    if not keys:
        raise JamSessionEmptyAESKey
    return keys


def _bytes_of(key: bytes | str) -> bytes:
    # The environment may hold any bytes: that a key is none must not be said with the key.
    return key.encode("utf-8", "surrogateescape") if isinstance(key, str) else key


def _try_serializer(serializer: BaseEncoder | type[BaseEncoder]) -> None:
    """Find out at the start whether a serializer works at all."""
    try:
        serializer.dumps({}).decode()
    except Exception as error:
        raise JamConfigurationError(
            f"The serializer does not work: {type(error).__name__}: {error}. It must be a "
            "subclass of jam_core.BaseEncoder, or an instance of one, that writes UTF-8 text."
        ) from error


def _may_be_deep(text: str) -> bool:
    return text.count("{") + text.count("[") > _DEEPEST


def _is_deep(value: object) -> bool:
    """Tell whether data is nested deeper than every reader's stack is sure to allow."""
    level: list[object] = [value]
    for _ in range(_DEEPEST):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else cast(Any, parent))
            if isinstance(child, dict | list | tuple)
        ]
        if not level:
            return False
    return True


def _fernets(keys: Sequence[bytes]) -> "list[Fernet]":
    from cryptography.fernet import Fernet

    ring: list[Fernet] = []
    for number, key in enumerate(keys, start=1):
        with suppress(ValueError):
            if len(key) == _KEY_LENGTH:
                ring.append(Fernet(key))
        if len(ring) < number:
            raise JamSessionInvalidAESKey(
                f"Key {number} of {len(keys)} in session_aes_secret, or in the environment "
                f"variable {SECRET_VARIABLE}, is not 32 url-safe base64-encoded bytes. Make one "
                "with jam.utils.generate_aes_key(); put a comma between several."
            )
    return ring


def _mark_of(key: bytes) -> str:
    return hashlib.sha256(b"jam key mark " + key).hexdigest()[:_MARK_LENGTH]


def _is_canonical(sealed: str) -> bool:
    """Tell whether an id is spelled as it was issued: base64 has many spellings of one."""
    return (len(sealed) - len(_SEAL)) % 4 == 0 and _CANONICAL.fullmatch(sealed) is not None


def _unwritable(
    serializer: BaseEncoder | type[BaseEncoder], data: dict[str, Any], failure: str
) -> str:
    """Say which value of `data` the serializer refused."""

    def refused(value: object) -> bool:
        try:
            serializer.dumps({"value": value}).decode()
        except Exception:
            return True
        return False

    return (
        f"Session data cannot be written as JSON: {_offender(data, refused)} "
        f"({failure}). Nothing was stored."
    )


def _offender(data: dict[str, Any], refused: Callable[[object], bool]) -> str:
    """Walk down to the innermost value that is refused; say where it is and what is wrong."""
    place, value = "data", cast(Any, data)
    ancestors: set[int] = set()
    while len(ancestors) < _LONGEST_PATH:
        if id(value) in ancestors:
            return f"{place} contains itself"
        ancestors.add(id(value))
        children: Any = ()
        if isinstance(value, dict):
            children = value.items()
        elif isinstance(value, list | tuple):
            children = enumerate(value)
        step = next((child for child in children if refused(child[1])), None)
        if step is None:
            keys = value if isinstance(value, dict) else ()
            bad_keys = [key for key in keys if refused({key: None})]
            flaw = f"has a key that {_flaw(bad_keys[0])}" if bad_keys else _flaw(value)
            return f"{place} {flaw}"
        place, value = f"{place}[{reprlib.repr(step[0])}]", step[1]
    return f"{place} is nested too deeply, or holds what is no JSON"


def _flaw(value: object) -> str:
    if isinstance(value, float):
        return "is no finite number"
    if isinstance(value, str):
        return "is no valid Unicode text"
    return f"is of type {type(value).__name__}"


def _undecodable(text: str, where: str) -> str:
    if text.startswith(_SEAL):
        return (
            f"{where} is encrypted, but is_session_crypt is off. "
            "Turn it on and set session_aes_secret. The record was left as it is."
        )
    return (
        f"{where} cannot be decoded: it is damaged, or was written by another serializer. "
        "The record was left as it is."
    )
