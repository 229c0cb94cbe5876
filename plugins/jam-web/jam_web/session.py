"""What a handler gets: the session as a mapping, with its methods, plain or awaited."""

import base64
import binascii
import hashlib
import hmac
import secrets
from abc import abstractmethod
from collections.abc import Callable, Coroutine, Iterator, MutableMapping
from typing import Any, NamedTuple, TypeVar

from jam_core import STORE_DEFAULT, JamSessionDataError, JamSessionError, Seconds
from jam_web.driving import finish
from jam_web.state import HIDDEN, Device, SessionState

_Result = TypeVar("_Result")
_Run = Callable[[Coroutine[Any, Any, Any]], Any]

_FLASH = f"{HIDDEN}flash."
_TOKEN_BYTES = 32


class Flash(NamedTuple):
    """Something to say to the user on the next page.

    Attributes:
        message: What.
        category: Its kind, "message" or "error" for example.
    """

    message: str
    category: str


class WebSession(MutableMapping[str, Any]):
    """The session of a request: a mapping of JSON, stored when the response leaves if it changed.

    Changes are found by comparison, so `session["cart"].append("jam")` counts, too. If another
    request changes the session meanwhile, both changes are kept, as long as they concern different
    top-level keys; for the same key, the later response wins.

    Attributes:
        state: For adapters.
    """

    def __init__(self, state: SessionState) -> None:
        self.state = state

    @abstractmethod
    def _load(self) -> None:
        """See to it that the store has been asked."""

    def _data(self) -> dict[str, Any]:
        self._load()
        return self.state.use()

    # --- the mapping ---

    def __getitem__(self, key: str) -> Any:
        data = self._data()
        if not _is_the_applications(key):
            raise KeyError(key)
        return data[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if not _is_the_applications(key):
            raise JamSessionDataError(
                f"A session's keys are strings that do not start with {HIDDEN!r}."
            )
        self._data()[key] = value

    def __delitem__(self, key: str) -> None:
        self[key]
        del self._data()[key]

    def __iter__(self) -> Iterator[str]:
        return (key for key in list(self._data()) if not key.startswith(HIDDEN))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:  # nothing of the data: it may be logged
        return f"<{type(self).__name__}>"

    # --- what is known of it ---

    @property
    def key(self) -> str | None:
        """Whose session it is: the key given to `login`; None for a visitor's."""
        self._data()
        return self.state.key

    @property
    def is_new(self) -> bool:
        """Whether the request came without a session."""
        self._data()
        return self.state.is_new

    @property
    def lost(self) -> bool:
        """Whether it has ended since this request read it: then nothing of it is stored."""
        return self.state.lost

    @property
    def expires_at(self) -> float | None:
        """When it ends if nobody uses it, in seconds since the epoch; None: never, or not known."""
        self._data()
        info = self.state.info
        return None if info is None or self.state.session_id is None else info.expires_at

    @property
    def issued_at(self) -> float | None:
        """When its user logged in, in seconds since the epoch; None for a visitor's."""
        self._data()
        return self.state.issued_at

    def recent_login(self, seconds: float) -> bool:
        """Return whether the user has logged in within this many seconds."""
        issued_at = self.issued_at
        return issued_at is not None and self.state.settings.clock() - issued_at <= seconds

    # --- said once ---

    def flash(self, message: str, category: str = "message") -> None:
        """Keep a message for the user, for the next page."""
        # Each under a key of its own, so that what two requests say at once is all said.
        number = f"{self.state.settings.clock():020.6f}.{secrets.token_hex(4)}"
        self._data()[f"{_FLASH}{number}"] = [message, category]

    def flashes(self) -> list[Flash]:
        """Return the messages, oldest first, and forget them."""
        data = self._data()
        keys = sorted(key for key in data if key.startswith(_FLASH))
        return [Flash(*data.pop(key)) for key in keys]

    # --- forms ---

    @property
    def csrf_token(self) -> str:
        """A token for a form or a header, by which `check_csrf` knows that it came from our page.

        It looks different each time, so that a compressed page does not give it away. After a
        log-in or rotation, older tokens are not valid any more.
        """
        self._load()
        digest = _digest(self.state.csrf_secrets(make=True)[0])
        mask = secrets.token_bytes(_TOKEN_BYTES)
        return base64.urlsafe_b64encode(mask + _masked(digest, mask)).rstrip(b"=").decode()

    def check_csrf(self, token: object) -> bool:
        """Return whether a token is one of this session's."""
        self._load()
        try:
            raw = base64.urlsafe_b64decode(f"{token}==".encode("ascii"))
        except (binascii.Error, ValueError):
            return False
        digest = _masked(raw[_TOKEN_BYTES:], raw[:_TOKEN_BYTES])
        expected = [_digest(secret) for secret in self.state.csrf_secrets()]
        return any([hmac.compare_digest(digest, one) for one in expected])  # noqa: C419


class Session(WebSession):
    """The session of a request, for handlers that do not await.

    Args:
        state: The session.
        run: Runs a coroutine; by default `state` is built on `jam.Jam`, and nothing waits.
    """

    def __init__(self, state: SessionState, run: _Run = finish) -> None:
        super().__init__(state)
        self._run = run

    def _load(self) -> None:
        if not self.state.is_loaded:
            self._run(self.state.load())

    def save(self) -> None:
        """Store what has changed, now: for example in a stream.

        Raises:
            JamSessionDataError: The data is not JSON; nothing was stored.
            JamSessionConflict: Others were faster at every attempt; nothing was stored.
            JamSessionError: It is too late for the cookie that this needs.
            JamStoreUnavailable: The store cannot be reached.
        """
        self._run(self.state.save())

    def reload(self) -> bool:
        """Read the session again, keep what was changed here, and return if it is still live."""
        return bool(self._run(self.state.reload()))

    def login(
        self, key: str, *, ttl: Seconds = STORE_DEFAULT, max_age: Seconds = STORE_DEFAULT
    ) -> None:
        """Log a user in: the session becomes theirs and begins now, under a new id.

        A visitor's data is kept; another user's is not.

        Args:
            key: Whose session it is from now on, for example the user's number.
            ttl: Seconds that it may idle, instead of the store's; None: no limit.
            max_age: Seconds that it lasts at most, instead of the store's; None: no limit.

        Raises:
            JamSessionDataError: The key is empty, too long or starts like a visitor's, or a time
                is not a positive whole number.
            JamSessionError: The headers of the response have left.
            JamStoreUnavailable: The store cannot be reached.
        """
        self._run(self.state.login(key, ttl=ttl, max_age=max_age))

    def rotate(self) -> None:
        """Give the session a new id, for example after a change of the user's rights."""
        self._run(self.state.rotate())

    def logout(self) -> None:
        """End the session, now."""
        self._run(self.state.logout())

    def logout_others(self) -> int:
        """End every other session of the user, now, and return how many there were."""
        return int(self._run(self.state.logout_others()))

    def logout_everywhere(self) -> None:
        """End every session of the user, now."""
        self._run(self.state.logout_everywhere())

    def devices(self) -> list[Device]:
        """Return the user's sessions, for a page "my devices"; none for a visitor."""
        devices: list[Device] = self._run(self.state.devices())
        return devices

    def revoke(self, handle: str) -> bool:
        """End one of the user's sessions, and return whether there was one with this handle."""
        return bool(self._run(self.state.revoke(handle)))


class AsyncSession(WebSession):
    """The session of a request, for handlers that await; it has the methods of `Session`."""

    def _load(self) -> None:
        if self.state.failure is not None:
            raise self.state.failure
        if not self.state.is_loaded:
            raise JamSessionError("The session has not been read: `await session.load()` first.")

    async def load(self) -> None:
        """Read the session, if that has not been done before the handler."""
        await self.state.load()

    async def save(self) -> None:
        """Store what has changed, now, as `Session.save` does."""
        await self.state.save()

    async def reload(self) -> bool:
        """Read the session again, as `Session.reload` does."""
        return await self.state.reload()

    async def login(
        self, key: str, *, ttl: Seconds = STORE_DEFAULT, max_age: Seconds = STORE_DEFAULT
    ) -> None:
        """Log a user in, as `Session.login` does."""
        await self.state.login(key, ttl=ttl, max_age=max_age)

    async def rotate(self) -> None:
        """Give the session a new id, as `Session.rotate` does."""
        await self.state.rotate()

    async def logout(self) -> None:
        """End the session, as `Session.logout` does."""
        await self.state.logout()

    async def logout_others(self) -> int:
        """End every other session of the user, as `Session.logout_others` does."""
        return await self.state.logout_others()

    async def logout_everywhere(self) -> None:
        """End every session of the user, as `Session.logout_everywhere` does."""
        await self.state.logout_everywhere()

    async def devices(self) -> list[Device]:
        """Return the user's sessions, as `Session.devices` does."""
        return await self.state.devices()

    async def revoke(self, handle: str) -> bool:
        """End one of the user's sessions, as `Session.revoke` does."""
        return await self.state.revoke(handle)


def _is_the_applications(key: object) -> bool:
    return isinstance(key, str) and not key.startswith(HIDDEN)


def _digest(secret: bytes) -> bytes:
    return hmac.digest(secret, b"jam-web csrf", hashlib.sha256)


def _masked(digest: bytes, mask: bytes) -> bytes:
    return bytes(one ^ other for one, other in zip(digest, mask, strict=False))
