"""Session ids and session data as they are stored: minted, serialized, encrypted.

An encrypted id or value is ``J$_`` followed by a Fernet token
(https://github.com/fernet/spec/blob/master/Spec.md). For data, that holds what the serializer
wrote; if it belongs to one session, a NUL and the 32 characters of `owner_mark` come first.
"""

import hashlib
import marshal
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

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
"""The environment variable that holds the keys of encryption."""
_SEAL = "J$_"
_OWNED = "\0"
_OWNER_LENGTH = 32
_KEY_LENGTH = 44  # 32 bytes in base64
_MARK_LENGTH = 8
_HANDLE_LENGTH = 16
_HANDLE = re.compile(f"[0-9a-f]{{{_HANDLE_LENGTH}}}")
# J$_ and url-safe base64 whose last digit has no bits beyond the last byte (RFC 4648, 3.5 and 5).
_CANONICAL = re.compile(r"J\$_[\w-]*(?:[AEIMQUYcgkosw048]=|[AQgw]==)?", re.ASCII)
_MINT_ATTEMPTS = 100
# The length of an id as it is issued, in characters. HTTP headers are always shorter.
LONGEST_ID = 1 << 16
_DEEPEST = 256
_LONGEST_PATH = 32
# Python's limit for a number in a string, unless a process sets another.
_MOST_DIGITS = 4300
_MOST_BITS = 14_284  # any such number has at most as many digits
# JSON writes the two halves as the single character that they stand for.
_SPLIT_CHARACTER = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_SHORT = 2048
_SCALARS = frozenset({str, int, float, bool, type(None)})
_HALF = "\ud800".encode("utf-8", "surrogatepass")[:1]  # what any half begins with
_ANY_DIGIT = bytes.maketrans(b"123456789", b"0" * 9)
# The kind of name that a programmer gives a key. Anything else may be a token or an address, and is
# not repeated.
_NAME = re.compile("[A-Za-z_ -]{0,32}")


def uuid4_id() -> str:
    """Return a new session id, a random UUID: 122 random bits from the operating system."""
    # By hand (RFC 9562, 5.4): the uuid module would take twice as long, at every log-in.
    digits = os.urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def generate_aes_key() -> bytes:
    """Return a new key for `session_aes_secret`: 32 random bytes, url-safe base64-encoded."""
    from cryptography.fernet import Fernet

    return Fernet.generate_key()


def hash_id(session_id: str) -> str:
    """Return the SHA-256 of a session id in hexadecimal: what a store keeps instead of the id."""
    return hashlib.sha256(session_id.encode("utf-8", "surrogatepass")).hexdigest()


def session_handle(session_id: str) -> str:
    """Return the handle of a session: 16 hexadecimal digits that do not reveal the id.

    `Jam.session_list` shows it for each session, `Jam.session_revoke` takes it; with this function
    an application finds out which of them is the current session.
    """
    return handle_of_hash(hash_id(session_id))


def handle_of_hash(id_hash: str) -> str:
    """Return the `session_handle` of the session id that has this `hash_id`."""
    return id_hash[:_HANDLE_LENGTH]


def owner_mark(session_key: str, id_hash: str) -> str:
    """Return what ties encrypted data to one session: to its key and its id."""
    # Joined, not formatted: a member of a StrEnum, for example, is formatted as its name.
    owner = ":".join((id_hash, session_key)).encode("utf-8", "surrogatepass")
    return hashlib.sha256(owner).hexdigest()[:_OWNER_LENGTH]


def is_handle(handle: object) -> bool:
    """Tell whether a string has the form of a `session_handle`.

    Raises:
        JamSessionDataError: It is not a string.
    """
    if not isinstance(handle, str):
        raise JamSessionDataError(f"A handle must be a string, not {type(handle).__name__}.")
    return _HANDLE.fullmatch(handle) is not None


def check_session_key(session_key: object) -> None:
    """Raise an error if a session key is invalid.

    Raises:
        JamSessionDataError: The key is empty, not a string, or has a character split in two.
    """
    if not isinstance(session_key, str):
        raise JamSessionDataError(
            f"session_key must be a string, not {type(session_key).__name__}."
        )
    if not session_key:
        raise JamSessionDataError("session_key must not be empty: it says whose session it is.")
    if not session_key.isascii() and _has_split_character(session_key):
        raise JamSessionDataError(f"session_key {_SPLIT_WORDS}")


class SessionCodec:
    """Generates ids, and encodes and decodes ids and data.

    Args:
        id_factory: Returns a new random id at each call.
        serializer: Writes and reads the data.
        keys: Fernet keys, newest first; the first encrypts, all decrypt. None: no encryption.
        keys_from: Where the keys come from, for errors.

    Attributes:
        key_marks: The marks of the keys, in the same order: a mark names a key without revealing
            it. Empty without encryption.

    Raises:
        JamConfigurationError: The serializer does not work, or cryptography cannot be loaded.
        JamSessionInvalidAESKey: A key is not 32 url-safe base64-encoded bytes.
    """

    def __init__(
        self,
        id_factory: Callable[[], str] = uuid4_id,
        serializer: BaseEncoder | type[BaseEncoder] = JsonEncoder,
        keys: Sequence[bytes] | None = None,
        keys_from: str = "session_aes_secret",
    ) -> None:
        self._id_factory = id_factory
        self._serializer = serializer
        _try_serializer(serializer)
        self._writes_json = serializer is JsonEncoder or type(serializer) is JsonEncoder
        self._cipher: Fernet | MultiFernet | None = None
        self._fernets: list[Fernet] = []
        self.key_marks: tuple[str, ...] = ()
        if keys is not None:
            try:
                from cryptography import fernet
            except ImportError as error:
                raise JamConfigurationError(_no_cryptography(error)) from error

            self._fernets = _fernets(keys, keys_from)
            # A single key needs no ring, which is slower.
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
        return self._writes_json and self._cipher is None

    def new_ids(self, prefix: str = "") -> Iterator[tuple[str, str]]:
        """Yield new session ids, each as it is issued and as it is before encryption.

        A store takes the first that is free. If there is none, it raises `no_free_id`.

        Args:
            prefix: What comes before the random part, inside the encryption.

        Raises:
            JamConfigurationError: The id factory does not return a string.
            JamSessionDataError: The id would be too long to be accepted.
        """
        for _ in range(_MINT_ATTEMPTS):
            random_part: object = self._id_factory()
            if not isinstance(random_part, str) or not random_part:
                raise JamConfigurationError("id_factory must return a non-empty string.")
            opened_id = prefix + random_part
            session_id = self.seal(opened_id)
            if len(session_id) > LONGEST_ID:
                raise JamSessionDataError(
                    f"The session id would have {len(session_id)} characters, and the limit is "
                    f"{LONGEST_ID}: the session_key, or what id_factory returns, is too long."
                )
            yield session_id, opened_id

    def no_free_id(self) -> JamConfigurationError:
        """Return the error for a store that found every one of `new_ids` taken."""
        return JamConfigurationError(
            f"id_factory returned an id that is already taken {_MINT_ATTEMPTS} times in a row: "
            "it must return a new random id at each call."
        )

    def mint(self, take: Callable[[str], bool], prefix: str = "") -> str:
        """Generate session ids until one is free, and return it.

        Args:
            take: Stores the session under the id that it is given, in one atomic step, and
                returns True; False if the id is taken.
            prefix: What comes before the random part, inside the encryption.

        Raises:
            JamConfigurationError: The id factory returns only taken ids, or not a string.
            JamSessionDataError: The id would be too long to be accepted.
        """
        for session_id, _ in self.new_ids(prefix):
            if take(session_id):
                return session_id
        raise self.no_free_id()

    def open_id(self, session_id: object) -> str | None:
        """Return the id as it was minted, or None if it is forged or longer than any id.

        Raises:
            JamSessionDataError: It is not a string: bytes, for example, would find no session to
                end.
        """
        if not isinstance(session_id, str):
            raise JamSessionDataError(
                f"A session id must be a string, not {type(session_id).__name__}."
            )
        if len(session_id) > LONGEST_ID:
            return None
        if self._cipher is None:
            return session_id
        return self._decrypt(self._cipher, session_id) if _is_canonical(session_id) else None

    def lookup_hash(self, session_id: object) -> str | None:
        """Return `hash_id` of an id that was presented, or None if `open_id` returns None.

        Raises:
            JamSessionDataError: It is not a string.
        """
        if self.open_id(session_id) is None:
            return None
        return hash_id(cast(str, session_id))

    def encode(self, data: dict[str, Any], owner: str = "") -> str:
        """Return the text to store for `data`.

        Args:
            data: The data.
            owner: What `BaseSession.owner_of` returns for the session; encrypted, the text opens
                only for the same owner. "": it opens for every session.

        Raises:
            JamSessionDataError: `data` is not a dict, or holds something that would not come back
                unchanged.
        """
        return self.seal(self.write(data), owner)

    def write(self, data: dict[str, Any]) -> str:
        """Return what `encode` encrypts: what the serializer makes of `data`, checked.

        Raises:
            JamSessionDataError: As `encode` raises it.
        """
        if not isinstance(data, dict):
            raise JamSessionDataError(f"Session data must be a dict, not {type(data).__name__}.")
        dumps = self._serializer.dumps
        try:
            raw = dumps(data)
            text = raw.decode()
        except Exception as error:
            _raise_unless_refused(error, lambda: dumps(data).decode())
            failure = type(error).__name__
        else:
            if _may_be_deep(text) and _is_deep(data):
                raise JamSessionDataError(
                    f"Session data is nested more than {_DEEPEST} levels deep. Nothing was stored."
                )
            if not self._writes_json or _may_lose(data, raw, text):
                _check_for_losses(data, dumps)
            return text
        # Not chained: the serializer's own error may contain the data.
        raise JamSessionDataError(_unwritable(dumps, data, failure))

    def decode(
        self, text: str, where: str | Callable[[], str], owner: str = ""
    ) -> dict[str, Any] | None:
        """Return the data from which `encode` made `text`.

        Args:
            text: What is stored.
            where: Where it is stored, for the error, or a function that says so.
            owner: What it must have been encoded with, if it was encoded for one session.

        Returns:
            The data; None if the text is forged, or was copied from another session.

        Raises:
            JamSessionCorrupt: The serializer cannot read it.
        """
        plain = self._unseal(text, owner)
        if plain is None:
            return None
        try:
            data: object = self._serializer.loads(plain)
        except Exception as error:
            if isinstance(error, RecursionError) and not _may_be_deep(plain):
                raise  # the caller's stack is full; there is nothing wrong with the record
            _raise_unless_refused(error, lambda: self._serializer.loads(plain))
            fault = _undecodable(plain)
        else:
            if isinstance(data, dict):
                return data
            fault = "does not contain a JSON object. It was left as it is."
        # Not chained: the serializer's own error may contain the data.
        raise JamSessionCorrupt(f"{where if isinstance(where, str) else where()} {fault}")

    def mark_of(self, text: str) -> str | None:
        """Return the mark of the key that an id or a stored text is encrypted with.

        None if it is not encrypted, or this codec does not encrypt; "" if it is not encrypted with
        any of the keys, or forged.
        """
        if not self.key_marks or not text.startswith(_SEAL):
            return None
        if text.isascii():
            for mark, fernet in zip(self.key_marks, self._fernets, strict=True):
                with suppress(self._invalid_token):
                    fernet.decrypt(text[len(_SEAL) :])
                    return mark
        return ""

    def opens(self, text: str, owner: str = "") -> bool:
        """Tell whether `decode` would open a stored text."""
        return self._unseal(text, owner) is not None

    def rekeyed(self, text: str, owner: str = "", new_owner: str = "") -> str | None:
        """Return a stored text encrypted with the first key.

        Args:
            text: The text.
            owner: As for `decode`.
            new_owner: The owner from now on; "": the same.

        Returns:
            The new text; None if no key decrypts the text, or it is another session's.
        """
        plain = self._unseal(text, owner)
        return None if plain is None else self.seal(plain, new_owner or owner)

    def seals_the_same(self, text: str, other: str) -> bool:
        """Tell whether two stored texts hold the same data, whatever their keys and owners."""
        if text == other:
            return True
        plain = self._opened(text)[1]
        return plain is not None and plain == self._opened(other)[1]

    def seal(self, text: str, owner: str = "") -> str:
        """Return what `encode` returns for what `write` has returned."""
        if self._cipher is None:
            return text
        plain = f"{_OWNED}{owner}{text}" if owner else text
        return _SEAL + self._cipher.encrypt(plain.encode("utf-8", "surrogatepass")).decode()

    def _unseal(self, text: str, owner: str) -> str | None:
        if self._cipher is None:
            return text
        its_owner, plain = self._opened(text)
        # Without an owner: from a store that seals to none, such as Redis, or from before there
        # were owners.
        return plain if its_owner in ("", owner) else None

    def _opened(self, text: str) -> tuple[str, str | None]:
        """Return the owner of a text, and what it holds; None if it is forged."""
        if self._cipher is None:
            return "", text
        if not text.startswith(_SEAL) or not text.isascii():
            return "", None
        plain = self._decrypt(self._cipher, text)
        if plain is None or not plain.startswith(_OWNED):
            return "", plain
        return plain[1 : 1 + _OWNER_LENGTH], plain[1 + _OWNER_LENGTH :]

    def _decrypt(self, cipher: "Fernet | MultiFernet", sealed: str) -> str | None:
        try:
            return cipher.decrypt(sealed[len(_SEAL) :]).decode("utf-8", "surrogatepass")
        except self._invalid_token:
            return None


def read_keys(secret: bytes | str | Sequence[bytes | str] | None) -> list[bytes]:
    """Return the keys of `session_aes_secret`, or of the environment if that is None.

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


def source_of_keys(secret: bytes | str | Sequence[bytes | str] | None) -> str:
    """Return where `read_keys` reads the keys, for errors."""
    if secret is None:
        return f"the environment variable {SECRET_VARIABLE}"
    return "session_aes_secret"


def _bytes_of(key: bytes | str) -> bytes:
    # The environment may hold any bytes: the error for an invalid key must not show the key.
    return key.encode("utf-8", "surrogateescape") if isinstance(key, str) else key


def _try_serializer(serializer: BaseEncoder | type[BaseEncoder]) -> None:
    """Find out at the start whether a serializer works at all."""
    try:
        text = serializer.dumps({}).decode()
    except Exception as error:
        _raise_unless_refused(error, lambda: serializer.dumps({}).decode())
        raise JamConfigurationError(
            f"The serializer does not work: {type(error).__name__}: {error}. It must be a "
            "subclass of jam_core.BaseEncoder, or an instance of one, that writes UTF-8 text."
        ) from error
    if text.startswith(_OWNED):
        raise JamConfigurationError(
            "The serializer must not begin with a NUL: encrypted data that belongs to one session "
            "begins with it. Let it write something else first."
        )


def _may_be_deep(text: str) -> bool:
    return len(text) > _DEEPEST and text.count("{") + text.count("[") > _DEEPEST


def _is_deep(value: object) -> bool:
    """Tell whether data is nested deeper than every reader's stack is certain to allow."""
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


def _no_cryptography(error: ImportError) -> str:
    if isinstance(error, ModuleNotFoundError):
        return "is_session_crypt needs the package cryptography: pip install cryptography."
    return (
        f"is_session_crypt needs the package cryptography, which cannot be loaded here: {error}. "
        "If that mentions subinterpreters, run the application in the main one (mod_wsgi: "
        "WSGIApplicationGroup %{GLOBAL}); otherwise reinstall cryptography."
    )


def _fernets(keys: Sequence[bytes], keys_from: str) -> "list[Fernet]":
    from cryptography.fernet import Fernet

    ring: list[Fernet] = []
    for number, key in enumerate(keys, start=1):
        with suppress(ValueError):
            if len(key) == _KEY_LENGTH:
                ring.append(Fernet(key))
        if len(ring) < number:
            raise JamSessionInvalidAESKey(
                f"Key {number} of {len(keys)} in {keys_from} is not 32 url-safe base64-encoded "
                "bytes. Make one with `jam keygen`, or jam.utils.generate_aes_key(); put a comma "
                "between several."
            )
    return ring


def _mark_of(key: bytes) -> str:
    return hashlib.sha256(b"jam key mark " + key).hexdigest()[:_MARK_LENGTH]


def _is_canonical(sealed: str) -> bool:
    """Tell whether an id is spelled as it was issued: base64 has many spellings for one."""
    return (len(sealed) - len(_SEAL)) % 4 == 0 and _CANONICAL.fullmatch(sealed) is not None


_SPLIT_WORDS = (
    "has a character split in two (a surrogate pair), which JSON would join. Decode the "
    "text properly, as by text.encode('utf-16', 'surrogatepass').decode('utf-16')."
)


def _raise_unless_refused(error: Exception, again: Callable[[], object]) -> None:
    """Raise `error` unless it is the serializer's own: then it comes back on a second try.

    Any other (a time limit that a signal handler raises, for example) only happened to strike here.
    """
    try:
        again()
    except Exception as second:
        if type(second) is type(error):
            return
    raise error


def _may_lose(data: dict[str, Any], raw: bytes, text: str) -> bool:
    """Tell quickly, from data and its JSON, whether `_check_for_losses` may find something."""
    return (
        _has_odd_keys(data, raw, text)
        or ("\\ud" in text and _may_have_halves(data))
        or (len(text) > _MOST_DIGITS and not 0 < sys.get_int_max_str_digits() <= _MOST_DIGITS)
    )


def _may_have_halves(data: dict[str, Any]) -> bool:
    """Tell whether data may have a character in two halves, as its JSON has."""
    try:
        return _HALF in marshal.dumps(data)  # the fastest way that does not join the halves
    except ValueError:  # it only knows Python's own types
        return True


def _has_odd_keys(data: dict[str, Any], raw: bytes, text: str) -> bool:
    """Tell whether a key is not a string; runs for all data, so it is as fast as possible."""
    try:
        "".join(data)
        if text.find("{", 1) < 0:
            return False  # there is no other dict
        # In a short text it is faster to search for what such a key becomes.
        if len(text) <= _SHORT and not (
            b'0":' in raw.translate(_ANY_DIGIT)
            or 'true":' in text
            or 'false":' in text
            or 'null":' in text
        ):
            return False
        todo = [value for value in data.values() if type(value) not in _SCALARS]
        for one in todo:
            if isinstance(one, dict):
                "".join(one)
            elif not isinstance(one, list | tuple):
                continue
            for value in one.values() if isinstance(one, dict) else one:
                if type(value) not in _SCALARS:
                    todo.append(value)  # noqa: PERF401  (the list that is gone through)
    except TypeError:
        return True
    return False


def _check_for_losses(data: dict[str, Any], dumps: Callable[[dict[str, Any]], bytes]) -> None:
    """Refuse what the serializer has written but would not read back unchanged."""

    def loses(value: object) -> bool:
        return any(_loss_in(part, dumps) for part in _parts_of(value))

    if loses(data):
        offender = _offender(data, loses, lambda value: _loss_in(value, dumps))
        raise JamSessionDataError(f"Session data cannot be stored: {offender} Nothing was stored.")


def _parts_of(value: object) -> Iterator[object]:
    """Yield a value and everything in it, except keys: they are left to their dict."""
    todo, seen = [value], set[int]()
    while todo:
        part = todo.pop()
        if isinstance(part, dict | list | tuple):
            if id(part) in seen:
                continue
            seen.add(id(part))
            todo += part.values() if isinstance(part, dict) else part
        yield part


def _loss_in(value: object, dumps: Callable[[dict[str, Any]], bytes]) -> str:
    """Say what would be lost of a value itself, or return an empty string."""
    if isinstance(value, str):
        return _SPLIT_WORDS if _has_split_character(value) else ""
    if isinstance(value, int):
        too_long = value.bit_length() > _MOST_BITS
        return (
            f"has more than {_MOST_DIGITS} digits: other readers could not parse it."
            if too_long
            else ""
        )
    if not isinstance(value, dict):
        return ""
    if any(isinstance(key, str) and _has_split_character(key) for key in value):
        return f"has a key that {_SPLIT_WORDS}"
    if not all(isinstance(key, str) for key in value):
        written = {dumps({key: None}) for key in value}
        if len(written) < len(value):
            return (
                'has two keys that are the same in JSON, like 1 and "1" are: make all keys strings.'
            )
    return ""


def _has_split_character(text: str) -> bool:
    return _SPLIT_CHARACTER.search(text) is not None


def _unwritable(
    dumps: Callable[[dict[str, Any]], bytes], data: dict[str, Any], failure: str
) -> str:
    """Say which value of `data` the serializer refused."""

    def refused(value: object) -> bool:
        try:
            dumps({"value": value}).decode()
        except Exception as error:
            _raise_unless_refused(error, lambda: dumps({"value": value}).decode())
            return True
        return False

    def flaw(value: object) -> str:
        keys = value if isinstance(value, dict) else ()
        bad_keys = [key for key in keys if refused({key: None})]
        return f"has a key that {_flaw(bad_keys[0])}" if bad_keys else _flaw(value)

    offender = _offender(data, refused, flaw)
    return f"Session data cannot be written as JSON: {offender} ({failure}). Nothing was stored."


def _offender(
    data: dict[str, Any], refused: Callable[[object], bool], flaw: Callable[[object], str]
) -> str:
    """Walk down to the innermost value that is refused; say where it is and what is wrong."""
    place, value = "data", cast(Any, data)
    ancestors: set[int] = set()
    while len(ancestors) < _LONGEST_PATH:
        if id(value) in ancestors:
            return f"{place} contains itself"
        ancestors.add(id(value))
        children: Any = ()
        if isinstance(value, dict):
            children = ((_shown(key, at), child) for at, (key, child) in enumerate(value.items()))
        elif isinstance(value, list | tuple):
            children = enumerate(value)
        step = next((child for child in children if refused(child[1])), None)
        if step is None:
            return f"{place} {flaw(value)}"
        place, value = f"{place}[{step[0]}]", step[1]
    return f"{place} is nested too deeply, or holds something that is not JSON"


def _shown(key: object, position: int) -> str:
    """Return a key as a message may show it: if it looks like a name, that, else its position."""
    if isinstance(key, str) and _NAME.fullmatch(key):
        return repr(key)
    return f"key number {position + 1}"


def _flaw(value: object) -> str:
    if isinstance(value, float):
        return "is not a finite number"
    if isinstance(value, str):
        return "is not valid Unicode text"
    return f"is of type {type(value).__name__}"


def _undecodable(text: str) -> str:
    if text.startswith(_SEAL):
        return (
            "is encrypted, but is_session_crypt is off. "
            "Turn it on and set session_aes_secret. The record was left as it is."
        )
    return (
        "cannot be decoded: it is damaged, or was written by another serializer. "
        "The record was left as it is."
    )
