"""The engine: a session as Django and its applications know it."""

from collections.abc import Coroutine
from typing import Any

from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.utils.asyncio import async_unsafe

from jam_core import STORE_DEFAULT
from jam_web.cookies import decode_id, encode_id
from jam_web.django.configured import sessions
from jam_web.driving import finish
from jam_web.session import Session
from jam_web.state import OUTAGES, Device

_EXPIRY = "_session_expiry"  # where Django keeps what `set_expiry` was given
_RENEWED_AFTER = 0.1  # of what is left until a fixed end


class SessionStore(Session, SessionBase):  # type: ignore[misc]  # Django has no types
    """A session in Django, with the methods of `jam_web.Session`.

    In a coroutine function its a-methods are awaited: Django's `aget`, `aset`, ..., and Jam's
    `alogout_others`, `adevices`, ...

    Args:
        session_key: The value of its cookie.

    Attributes:
        met_outage: Whether the store could not be reached when it was asked.
    """

    met_outage = False
    _modified = False

    def __init__(self, session_key: str | None = None) -> None:
        headers = []
        if session_key is not None and decode_id(session_key) is not None:
            headers.append(f"{settings.SESSION_COOKIE_NAME}={session_key}")
        super().__init__(sessions().open(headers), self._at_once)

    # --- what Django's middleware and applications look at ---

    def __bool__(self) -> bool:
        return True

    @property
    def session_key(self) -> str | None:
        """The value of its cookie; None while there is no session."""
        self._data()
        if self.state.put_off is not None:
            self._at_once(self.state.put_off())
        session_id = self.state.session_id
        return None if session_id is None else encode_id(session_id)

    _session_key = session_key

    @property
    def accessed(self) -> bool:
        """Whether somebody has looked at the session."""
        return self.state.used

    @property
    def modified(self) -> bool:
        """Whether it has changed. It may be set; changes are found without."""
        return self._modified or self.state.has_changed or bool(self.state.cookies.set_cookies)

    @modified.setter
    def modified(self, value: bool) -> None:
        self._modified = value

    def is_empty(self) -> bool:
        """Tell whether there is no session, and nothing to keep in one."""
        return not self._data() and self.state.session_id is None

    # --- the mapping ---

    @property
    def _session(self) -> dict[str, Any]:
        return self._data()

    async def _aget_session(self, no_load: bool = False) -> dict[str, Any]:  # noqa: ARG002
        await self._awaited(self.state.load())
        return self.state.use()

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        if self._names_user(key, value):
            self._at_once(self.state.login(str(value)))

    async def aset(self, key: str, value: Any) -> None:
        """Set a value."""
        await self._aget_session()
        super().__setitem__(key, value)
        if self._names_user(key, value):
            await self._awaited(self.state.login(str(value)))

    def _names_user(self, key: str, value: Any) -> bool:
        """Tell whether this is how `django.contrib.auth` notes who has logged in."""
        return value is not None and key in self.state.settings.principal[:1]

    # --- its life ---

    def exists(self, session_key: str) -> bool:
        """Tell whether a session has this key."""
        return bool(self._at_once(self._exists(session_key)))

    async def aexists(self, session_key: str) -> bool:
        """Tell whether a session has this key."""
        return bool(await self._awaited(self._exists(session_key)))

    def create(self) -> None:
        """Begin a session, though there may be nothing to keep yet."""
        self._at_once(self.state.begin())

    async def acreate(self) -> None:
        """Begin a session, though there may be nothing to keep yet."""
        await self._awaited(self.state.begin())

    def save(self, must_create: bool = False) -> None:
        """Store what has changed, now.

        Raises:
            UpdateError: The session has ended meanwhile; nothing was stored.
            JamError: As `jam_web.Session.save`.
        """
        self._at_once(self._save(must_create))

    async def asave(self, must_create: bool = False) -> None:
        """Store what has changed, now, as `save` does."""
        await self._awaited(self._save(must_create))

    def load(self) -> dict[str, Any]:
        """Return the data."""
        self._data()
        return dict(self)

    async def aload(self) -> dict[str, Any]:
        """Return the data."""
        await self._aget_session()
        return dict(self)

    def delete(self, session_key: str | None = None) -> None:
        """End this session, or another."""
        self._at_once(self._delete(session_key))

    async def adelete(self, session_key: str | None = None) -> None:
        """End this session, or another."""
        await self._awaited(self._delete(session_key))

    def flush(self) -> None:
        """End the session and forget its data."""
        self.logout()

    async def aflush(self) -> None:
        """End the session and forget its data."""
        await self.alogout()

    def cycle_key(self) -> None:
        """Give the session a new id."""
        self._data()
        if self.state.key is None:
            self._put_rotation_off()
        else:
            self.rotate()

    async def acycle_key(self) -> None:
        """Give the session a new id."""
        await self._aget_session()
        if self.state.key is None:
            self._put_rotation_off()
        else:
            await self.arotate()

    def _put_rotation_off(self) -> None:
        """Have the next `save` give a new id, or the log-in that most likely comes first."""
        self.state.put_off = self.state.rotate

    @classmethod
    def clear_expired(cls) -> None:
        """Remove the sessions that have ended from the store: `manage.py clearsessions`."""
        finish(sessions().jam.session_purge())

    @classmethod
    async def aclear_expired(cls) -> None:
        """Remove the sessions that have ended from the store."""
        await sessions().jam.session_purge()

    # --- how long it lives ---

    def set_expiry(self, value: Any) -> None:
        """Set how long the session lives, as Django's own do; it gets a new id."""
        before = self.get(_EXPIRY)
        super().set_expiry(value)
        self._renew_if(before)

    async def aset_expiry(self, value: Any) -> None:
        """Set how long the session lives, as Django's own do; it gets a new id."""
        before = await self.aget(_EXPIRY)
        await super().aset_expiry(value)
        self._renew_if(before)

    def _renew_if(self, before: Any) -> None:
        """Have the next `save` renew the session, unless it lives as long as it should.

        Applications set the expiry again and again, and its id is not to change with each request.
        """
        expiry, info = self.state.data.get(_EXPIRY), self.state.info
        is_due = expiry != before
        if is_due and isinstance(expiry, str) and info is not None and info.deadline is not None:
            age = self.get_expiry_age(expiry=expiry)
            left = info.deadline - self.state.settings.clock()
            is_due = abs(age - left) > _RENEWED_AFTER * age
        if is_due:
            self.state.put_off = self.state.renew

    def set_limits(self) -> None:
        """Have the session live as long as Django says, if it begins or is renewed now."""
        state = self.state
        expiry = state.data.get(_EXPIRY)
        age = max(1, int(self.get_expiry_age(expiry=expiry)))
        state.ttl = age
        state.max_age = age if isinstance(expiry, str) else STORE_DEFAULT
        closes = settings.SESSION_EXPIRE_AT_BROWSER_CLOSE if expiry is None else expiry == 0
        state.cookies.are_kept = not closes

    # --- the powers, awaited ---

    async def alogin(self, key: str, **limits: Any) -> None:
        """Make this the session of a user, as `login` does."""
        await self._awaited(self.state.login(key, **limits))

    async def arotate(self) -> None:
        """Give the session a new id, as `rotate` does."""
        await self._awaited(self.state.rotate())

    async def alogout(self) -> None:
        """End the session, as `logout` does."""
        await self._awaited(self.state.logout())

    async def alogout_others(self) -> int:
        """End every other session of the user, as `logout_others` does."""
        return int(await self._awaited(self.state.logout_others()))

    async def alogout_everywhere(self) -> None:
        """End every session of the user, as `logout_everywhere` does."""
        await self._awaited(self.state.logout_everywhere())

    async def adevices(self) -> list[Device]:
        """Return the user's sessions, as `devices` does."""
        devices: list[Device] = await self._awaited(self.state.devices())
        return devices

    async def arevoke(self, handle: str) -> bool:
        """End one of the user's sessions, as `revoke` does."""
        return bool(await self._awaited(self.state.revoke(handle)))

    async def areload(self) -> bool:
        """Read the session again, as `reload` does."""
        return bool(await self._awaited(self.state.reload()))

    # --- how ---

    def _at_once(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        try:
            _refuse_event_loop()
            self.set_limits()
            return finish(coroutine)
        except OUTAGES:
            self.met_outage = True
            raise
        finally:
            coroutine.close()

    async def _awaited(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        try:
            self.set_limits()
            return await coroutine
        except OUTAGES:
            self.met_outage = True
            raise
        finally:
            coroutine.close()

    async def _save(self, must_create: bool) -> None:
        state = self.state
        await state.load()
        if must_create or (state.session_id is None and not state.lost):
            await state.begin()
        await state.save()
        if state.lost:
            raise UpdateError

    async def _delete(self, session_key: str | None) -> None:
        if session_key is None:
            await self.state.logout()
            return
        session_id = decode_id(session_key)
        if session_id is None:
            return
        await self.state.load()
        if session_id == self.state.session_id:
            await self.state.logout()
        else:
            await self.state.sessions.jam.session_delete(session_id)

    async def _exists(self, session_key: str) -> bool:
        session_id = decode_id(session_key)
        if session_id is None:
            return False
        return await self.state.sessions.jam.session_info(session_id) is not None


def logout_everywhere(user: Any) -> None:
    """End every session of a user: for the administrator, or when an account is closed.

    Args:
        user: A user of `django.contrib.auth`.

    Raises:
        JamStoreUnavailable: The store cannot be reached.
    """
    finish(sessions().jam.session_clear(user._meta.pk.value_to_string(user)))


@async_unsafe("This method reads or stores the session: await its a-method, or use sync_to_async.")  # type: ignore[untyped-decorator,unused-ignore]
def _refuse_event_loop() -> None:
    """Raise SynchronousOnlyOperation where waiting would keep an event loop from its work."""
