"""The session of one request, from the cookie to the response: what every adapter is built on.

Nothing here knows a framework, and everything is written once, as coroutines. An adapter awaits
them, or runs them with `finish` if its framework does not await (see `driving.py`). It does this:

    sessions = WebSessions(jam, cookie="session")        # once: jam.Jam, or jam.aio.Jam
    state = sessions.open(cookie_headers)                # for each request; asks for nothing yet
    session = Session(state)                             # or AsyncSession(state): for the handler
    ...                                                  # the handler reads and changes it
    await state.respond(failed=status >= 500)            # before the headers leave; it stores
    headers.extend(("Set-Cookie", line) for line in state.cookies.set_cookies)
    if state.used: ...                                   # Vary: Cookie
    state.guard_caches(headers, is_refused=...)          # Cache-Control; Retry-After in an outage
    await state.touch_if_due()                           # once the answer has begun; never raises
    await state.finish(failed=...)                       # in the end; never raises

`JamStoreUnavailable` and `JamSessionConflict`, from a handler or from `respond`, become a 503 with
Retry-After `state.settings.retry_after`. It has `state.cookies.set_cookies`, too, which tell the
browser what has been carried out.

The rules:

- A request that only reads writes nothing, and writes never touch what the request did not change.
- A session that has ended is never brought back: it is `lost`, and no cookie is set or deleted. Its
  `owner` is still known, so that ending the user's other sessions still works.
- A visitor's session never says who is logged in: that would survive every log-out of the user.
- Two tasks may share a session: after an await, its result counts only if the session that it was
  for is still the one that is held.
"""

import logging
import secrets
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack, cast

from jam_core import (
    STORE_DEFAULT,
    Jam,
    JamConfigurationError,
    JamError,
    JamSessionConflict,
    JamSessionCorrupt,
    JamSessionDataError,
    JamSessionNotFound,
    JamSessionUnsupported,
    JamStoreUnavailable,
    Seconds,
    SessionInfo,
    check_session_key,
    session_handle,
)
from jam_web.cookies import LONGEST, Cookies, decode_id, private_cache_control
from jam_web.data import Changes, Data, difference, is_change, kept_objects, snapshot
from jam_web.driving import AtOnce
from jam_web.settings import WebOptions, WebSettings

if TYPE_CHECKING:
    from jam_core.aio import Jam as AwaitedJam

HIDDEN = "_jam."  # keys that begin so are not the application's
OUTAGES = (JamStoreUnavailable, JamSessionConflict)  # each becomes the following status
UNAVAILABLE = 503
TRY_AGAIN = "This service is unavailable for a moment. Please try again."
FIRST_FAILURE = 500  # from this status on, the handler has failed
LOGGED_IN = f"{HIDDEN}login"
_VISITOR = "visitor-"
_SHARE_OF_TTL = 0.1  # used up before the ttl is started again

logger = logging.getLogger("jam.web")


class Device(NamedTuple):
    """One of a user's sessions, for a page "my devices".

    Attributes:
        handle: What `revoke` takes; it opens nothing.
        data: The application's data.
        logged_in_at: When its user logged in, in seconds since the epoch; None if not known.
        expires_at: When it ends if nobody uses it; None: never.
        is_this: Whether it is the session of this request.
    """

    handle: str
    data: Data
    logged_in_at: float | None
    expires_at: float | None
    is_this: bool


class WebSessions:
    """The sessions of an application: an adapter makes one of these.

    Args:
        jam: A `jam.aio.Jam` if the adapter awaits, otherwise a `jam.Jam`.
        awaited: With a `jam.Jam`, if the framework has both kinds of handlers: a `jam.aio.Jam`
            with the same store, for those that await.
        **options: See `WebSettings`.

    Raises:
        JamConfigurationError: An option is unknown or cannot be used, or `jam` is not a Jam.
    """

    def __init__(
        self,
        jam: "Jam | AwaitedJam",
        *,
        awaited: "AwaitedJam | None" = None,
        **options: Unpack[WebOptions],
    ) -> None:
        self.settings = WebSettings.of(options)
        if not hasattr(jam, "session_info"):
            raise JamConfigurationError(
                f"A web session needs a jam.Jam or a jam.aio.Jam, not {type(jam).__name__!r}."
            )
        self.is_awaited = not isinstance(jam, Jam)
        self.jam = cast("AwaitedJam", AtOnce(jam, awaited) if isinstance(jam, Jam) else jam)
        name_of = self.settings.name_of
        self.names = (name_of(self.settings.cookie), name_of(self.settings.visitor_cookie))
        if not self.settings.secure:
            logger.warning(
                "secure=False: the cookies are for http in development; anyone on the network can "
                "read them, and other hosts of the domain can set them"
            )

    def open(self, cookie_headers: Iterable[str]) -> "SessionState":
        """Return the session of a request.

        Args:
            cookie_headers: The values of its Cookie headers.
        """
        return SessionState(self, list(cookie_headers))


class SessionState:
    """The session of one request. Handlers get a view of it: `Session` or `AsyncSession`.

    Args:
        sessions: The application's.
        cookie_headers: The values of the request's Cookie headers.

    Attributes:
        settings: The application's.
        cookies: The request's, and those that the response sets.
        data: The session's data, with the hidden keys.
        info: What the store last said about the session; None if there is none, or not known.
        session_id: Its id; None while there is none.
        session_key: Whose it is, or was before it was lost.
        is_loaded: Whether the store has been asked, or need not be.
        failure: Why the store could not be asked.
        is_new: Whether the request came without a session.
        used: Whether the handler has used the session.
        lost: Whether it has ended since this request read it: log-out, expiry, another's rotation.
        ttl: Of a session that begins in this request, unless `login` says otherwise, or is renewed.
        max_age: Likewise.
        put_off: What is still to be done about its id, by `save`: `rotate` or `renew`.
    """

    def __init__(self, sessions: WebSessions, cookie_headers: list[str]) -> None:
        self.sessions = sessions
        self.settings = sessions.settings
        self._jam = sessions.jam
        self.cookies = Cookies(sessions.settings, sessions.names, cookie_headers)
        self.data: Data = {}
        self.info: SessionInfo | None = None
        self.session_id: str | None = None
        self.session_key: str | None = None
        self.is_loaded = not self.cookies.came
        self.failure: JamError | None = None
        self.is_new = True
        self.used = False
        self.lost = False
        self.ttl: Seconds = STORE_DEFAULT
        self.max_age: Seconds = STORE_DEFAULT
        self.put_off: Callable[[], Coroutine[Any, Any, None]] | None = None
        self._version = 0  # counts what is done to the attributes above: an await lets others do it
        self._before: Data | None = None  # a copy of the data as stored, once a handler has it
        self._is_exact = False  # whether `info` still shows what is stored
        self._is_touched = False
        self._has_logged_in = False  # by `login`, and not only under a new id
        self._former_id: str | None = None  # before the store moved it
        self._damaged: str | None = None
        self._seed: str | None = None

    # --- reading ---------------------------------------------------------------------------------

    @property
    def key(self) -> str | None:
        """Whose session it is; None for a visitor's, or if there is none."""
        return None if self.session_id is None else self.owner

    @property
    def owner(self) -> str | None:
        """Whose session it is, or was before it was lost; None for a visitor's."""
        return None if _is_visitors(self.session_key) else self.session_key

    @property
    def issued_at(self) -> float | None:
        """When its user logged in, in seconds since the epoch; None for a visitor's."""
        return None if self.key is None else _login_of(self.info, self.data)

    @property
    def has_changed(self) -> bool:
        """Whether there is anything to store."""
        return is_change(self._changes())

    async def load(self) -> None:
        """Ask the store for the session, if that has not been done.

        Raises:
            JamStoreUnavailable: The store cannot be reached; it is not asked again.
        """
        if self.failure is not None:
            raise self.failure
        if self.is_loaded:
            return
        try:
            for name, value in self.cookies.came.items():
                session_id = decode_id(value)
                info = None if session_id is None else await self._look(session_id)
                if self.is_loaded:  # by another task, which may have gone on
                    return
                # A visitor's cookie opens no log-in: who may set the one need not know the other.
                if info is not None and (
                    name == self.cookies.names[0] or _is_visitors(info.session_key)
                ):
                    self.session_id, self.session_key = session_id, info.session_key
                    self.is_new = False
                    self._take(info)
                    if info.new_id is not None:
                        self._follow(name, info.new_id)
                    break
        except JamError as error:
            if self.is_loaded:
                return
            self.failure = error
            raise
        self.is_loaded = True

    def use(self) -> Data:
        """Return the data to a handler; from now on it may change."""
        self.used = True
        if self._before is None:
            self._before = snapshot(self.data)
        return self.data

    async def reload(self) -> bool:
        """Read the session again, keep what was changed here, and return whether it is still live.

        For streams and WebSockets, which have no other way to notice a log-out. A tenth of the ttl
        after it was last started, it starts again.
        """
        await self.load()
        self.used = True
        info, version = None, -1
        while self.session_id is not None and version != self._version:
            version = self._version
            info = await self._look(self.session_id)
        if self.session_id is None:
            return False
        if info is None:
            self._lose("it was read again")
            return False
        self._take(info)
        await self.touch_if_due()
        return self.session_id is not None

    # --- storing ---------------------------------------------------------------------------------

    async def save(self) -> None:
        """Store what has changed, if anything has.

        Raises:
            JamSessionDataError: The data is not JSON; nothing was stored.
            JamSessionConflict: Others were faster at every attempt; nothing was stored.
            JamSessionError: The headers have left, and a cookie would have to be set.
            JamStoreUnavailable: The store cannot be reached.
        """
        if self.lost:
            return
        if self.has_changed:
            await self._save_changes()
        if self.put_off is not None and not self.lost:
            await self.put_off()

    async def begin(self) -> None:
        """Begin a visitor's session, even if there is nothing to keep yet.

        If there is a session already, it is stored and gets a new id.

        Raises:
            JamError: As `save`.
        """
        await self.load()
        self.use()
        before = self.session_id
        if not self.lost:
            await self._save_changes()
        if self.session_id is not None and self.session_id == before:
            await self.rotate()
        if self.session_id is None:
            await self._begin_visitors()

    async def touch_if_due(self) -> None:
        """Start the ttl again, if the session was used and a tenth of it has passed."""
        info = self.info
        if self.session_id is None or self._is_touched or not (self.used and self._is_exact):
            return  # what was stored has started it
        if info is None or info.ttl is None or info.expires_at is None:
            return
        if info.expires_at == info.deadline:
            return
        left = info.expires_at - self.settings.clock()
        if left > (1 - _SHARE_OF_TTL) * info.ttl:
            return
        self._is_touched = True
        session_id = self.session_id
        try:
            await self._jam.session_touch(session_id)
        except JamSessionNotFound:
            if self.session_id == session_id:
                self._lose("its ttl was to start again")
        except JamError as error:
            logger.warning("the ttl of a session was not restarted: %s", error)

    async def respond(self, *, failed: bool) -> None:
        """Store what has changed, unless the handler failed: the headers leave now.

        Raises:
            JamError: As `save`.
        """
        if not failed:
            await self.save()
        if self._former_id is not None:
            await self._look_after_move()
        self.cookies.have_left = True

    async def finish(self, *, failed: bool) -> None:
        """Store what has changed since the headers left, unless the handler failed."""
        try:
            if not failed:
                await self.save()
        except JamError as error:
            logger.error("what changed after the headers had left was not stored: %s", error)  # noqa: TRY400
        await self.touch_if_due()

    def guard_caches(self, headers: Any, *, is_refused: bool) -> None:
        """Let no cache keep what is one browser's alone, or the news of an outage.

        Args:
            headers: The answer's, as a mapping; for others there is `private_cache_control`.
            is_refused: Whether it tells of an outage.
        """
        if is_refused:
            headers.setdefault("Retry-After", str(self.settings.retry_after))
            headers.setdefault("Cache-Control", "no-store")
        if self.cookies.set_cookies:
            headers["Cache-Control"] = private_cache_control(headers.get("Cache-Control"))

    # --- log-in, log-out -------------------------------------------------------------------------

    async def login(
        self, key: str, *, ttl: Seconds = STORE_DEFAULT, max_age: Seconds = STORE_DEFAULT
    ) -> None:
        """Log a user in: the session becomes theirs and begins now, under a new id."""
        check_session_key(key)
        if key.startswith(_VISITOR):
            raise JamSessionDataError(f"A user's session key must not start with {_VISITOR!r}.")
        await self.load()
        self.cookies.need_headers("log in")
        self.use()
        ttl = self.ttl if ttl is STORE_DEFAULT else ttl
        max_age = self.max_age if max_age is STORE_DEFAULT else max_age
        if self.key not in (None, key):
            await self._end_wherever_it_is()
            self._keep_own_changes(self.settings.principal)
        is_first = self.session_id is None
        if not is_first:
            # It may have expired, or a log-in next to this one was faster.
            await self._rework("its user logged in", key, ttl=ttl, max_age=max_age)
        if self.session_id is None and (is_first or self.lost):
            if self.lost and self.owner is not None:
                self._keep_own_changes(self.settings.principal)
            await self._begin(key, ttl, max_age)
        if self.key is None and self.session_id is not None:  # another task's, a visitor's
            await self.login(key, ttl=ttl, max_age=max_age)
            return
        if self.key != key:  # another task has ended the session, or it has ended by itself
            return
        self._has_logged_in = True
        if self.info is not None and self.info.created_at is None:
            # At once: a log-out that meets a rotation finds the session by it, also if this fails.
            self.data[LOGGED_IN] = self.settings.clock()
            await self._store(Changes({LOGGED_IN: self.data[LOGGED_IN]}, frozenset()))
        else:
            self.data.pop(LOGGED_IN, None)
        if self._damaged is not None:
            await self._jam.session_delete(self._damaged)

    async def rotate(self) -> None:
        """Give the session a new id, for example after a change of the user's rights."""
        await self.load()
        self.cookies.need_headers("rotate")
        self.use()
        if self.session_id is not None:
            await self._rework("its id was to change")

    async def renew(self) -> None:
        """Give the session `ttl` and `max_age`, and a new id. This is no log-in."""
        await self.load()
        self.cookies.need_headers("give a session other limits")
        self.use()
        if self.issued_at is not None and LOGGED_IN not in self.data:
            # The store will say that it began now, which must not pass for a log-in.
            self.data[LOGGED_IN] = self.issued_at
        if self.has_changed:
            await self._save_changes()
        if self.session_id is not None:
            await self._rework(
                "it was renewed", self.session_key, ttl=self.ttl, max_age=self.max_age
            )

    async def logout(self) -> None:
        """End the session, now."""
        await self.load()
        self.used = True
        while True:
            session_id = self.session_id
            await self._end_wherever_it_is()
            if self.session_id in (session_id, None):  # no other task has begun one
                break
        self._end()

    async def logout_everywhere(self) -> None:
        """End every session of the user, now."""
        await self.load()
        if self.owner is not None:
            await self._jam.session_clear(self.owner)
        await self.logout()

    async def logout_others(self) -> int:
        """End every other session of the user, now, and return how many there were."""
        await self.load()
        self.used = True
        owner = self.owner
        if owner is None:
            return 0
        while (session_id := self.session_id) is not None:
            try:
                return await self._jam.session_clear_others(session_id)
            except JamSessionNotFound:
                if self.session_id == session_id:
                    self._lose("the others were to end")
        # Rotated by a thief, perhaps: whatever there is now is another's.
        ended = len(await self._jam.session_list(owner))
        await self._jam.session_clear(owner)
        return ended

    async def devices(self) -> list[Device]:
        """Return the user's sessions."""
        await self.load()
        self.used = True
        if self.key is None or self.session_id is None:
            return []
        this = session_handle(self.session_id)
        return [
            Device(
                one.handle,
                {key: value for key, value in data.items() if not key.startswith(HIDDEN)},
                _login_of(one, data),
                one.expires_at,
                one.handle == this,
            )
            for one in await self._jam.session_list(self.key)
            for data in [one.data or {}]
        ]

    async def revoke(self, handle: str) -> bool:
        """End one of the user's sessions, and return whether there was one."""
        await self.load()
        self.used = True
        if self.owner is None:
            return False
        revoked = await self._jam.session_revoke(self.owner, handle)
        if revoked and self.session_id is not None and handle == session_handle(self.session_id):
            self._end()
        return revoked

    # --- forms -----------------------------------------------------------------------------------

    def csrf_secrets(self, *, make: bool = False) -> list[bytes]:
        """Return what the token of this browser's forms may be made of; new ones of the first.

        The session's id, also the one that it had before the store moved it; for who is not logged
        in, also what is in a cookie of its own, so that the form of a log-in needs no session.

        Args:
            make: Whether to set that cookie if there is nothing else.
        """
        self.used = True
        ids = [
            one.encode("utf-8", "surrogatepass")
            for one in (self.session_id, self._former_id)
            if one is not None
        ]
        if self.key is not None:
            return ids
        name = self.settings.name_of(self.settings.csrf_cookie)
        if self._seed is None:
            self._seed = self.cookies.value(name)
        if not self._seed and not ids and make:
            self.cookies.need_headers("make a CSRF token for a visitor")
            self._seed = secrets.token_urlsafe()
            self.cookies.set(name, self._seed)
        return ids + ([self._seed.encode()] if self._seed else [])

    # --- how -------------------------------------------------------------------------------------

    async def _look(self, session_id: str) -> SessionInfo | None:
        """Ask for a session; a damaged one is none, which a log-in ends."""
        try:
            return await self._jam.session_info(session_id)
        except JamSessionCorrupt as error:
            logger.error("a session is damaged: %s", error)  # noqa: TRY400
            self._damaged = session_id
            return None

    def _changes(self) -> Changes:
        """Return what this request has changed and not yet stored."""
        if self._before is None:
            return Changes({}, frozenset())
        return difference(self._before, self.data)

    def _take(self, info: SessionInfo) -> None:
        """Hold what is stored now, with what this request has changed on top."""
        changes, data = self._changes(), info.data or {}
        self._before = None if self._before is None else snapshot(data)
        self.data = changes.applied_to(kept_objects(self.data, data))
        self.info, self._is_exact, self._is_touched = info, True, False
        self._version += 1

    async def _save_changes(self) -> None:
        if self._principal_has_changed():
            await self._follow_principal()
        changes = self._changes()
        if self.session_id is None:
            if self.data and not self.lost:
                await self._begin_visitors()
        elif is_change(changes):
            await self._store(changes)

    async def _rework(self, when: str, key: str | None = None, **limits: Seconds) -> None:
        before, owner = cast("str", self.session_id), self.session_key
        try:
            new_id = await self._jam.session_rework(before, key, **limits)
        except JamSessionNotFound:
            if self.session_id == before:
                self._lose(when)
            return
        # Another task may have found the former id dead, but not ended the session.
        if self.session_id in (before, None) and self.session_key == owner:
            await self._adopt(new_id, key or owner)
        else:
            await self._jam.session_delete(new_id)

    async def _store(self, changes: Changes) -> None:
        session_id, version = cast("str", self.session_id), self._version
        sent = stored = snapshot(changes.applied_to(self._before or {}))
        try:
            if not (self._is_exact and await self._replace(session_id, sent)):
                stored = await self._merge(session_id, changes)
        except JamSessionNotFound:
            if self.session_id == session_id:
                self._lose("its data was to be stored")
            elif self.session_id is not None:
                await self._save_changes()
            return
        if version != self._version:
            return
        if stored is not sent:
            later = difference(sent, self.data)
            self.data = later.applied_to(kept_objects(self.data, stored))
            sent = snapshot(stored)
        self._before, self._is_exact = sent, False
        self._version += 1

    async def _replace(self, session_id: str, sent: Data) -> bool:
        """Store all of the data, unless others have stored theirs meanwhile."""
        try:
            await self._jam.session_update(session_id, sent, seen=self.info)
        except JamSessionConflict:
            return False
        return True

    async def _merge(self, session_id: str, changes: Changes) -> Data:
        """Make this request's changes to what others have stored; return what is stored now."""
        theirs: Data = {}

        def change(data: Data) -> Data:
            nonlocal theirs
            theirs = data
            return changes.applied_to(data)

        await self._jam.session_mutate(session_id, change)
        return changes.applied_to(theirs)

    async def _begin_visitors(self) -> None:
        if self.owner is not None:  # lost
            self._keep_own_changes()
        for user in self.settings.principal[:1]:
            if self.data.get(user) is not None:
                del self.data[user]
        await self._begin(f"{_VISITOR}{secrets.token_urlsafe(16)}", self.ttl, self.max_age)

    async def _begin(self, key: str, ttl: Seconds, max_age: Seconds) -> None:
        """Create a session, with the data that is there."""
        self.cookies.need_headers("begin a session")
        sent, version = snapshot(self.data), self._version
        new_id = await self._jam.session_create(key, sent, ttl=ttl, max_age=max_age)
        if version != self._version:
            await self._jam.session_delete(new_id)
            return
        self._before = sent
        await self._adopt(new_id, key)

    async def _adopt(self, new_id: str, key: str | None) -> None:
        """Hold a session under the id that it has just been given, and tell the browser."""
        is_visitors = _is_visitors(key)
        name = self.cookies.names[is_visitors]
        # Before anything can fail: by now the browser's former id is of no use.
        if not self.cookies.set_id(name, new_id, None):
            await self._jam.session_delete(new_id)
            self._forget()
            raise JamSessionDataError(
                f"The id is too long for a cookie of {LONGEST} characters: it starts with the "
                "session key. Choose a shorter key."
            )
        self.session_id, self.session_key, self._former_id = new_id, key, None
        self.lost, self._is_exact = False, False
        self._version += 1
        self.put_off = None
        if not is_visitors:
            self.cookies.delete(self.cookies.names[1])
        info = await self._look(new_id)
        if self.session_id != new_id:
            return
        if info is None:
            self._lose("it had just been given its id")
            return
        self.cookies.set_id(name, new_id, info.deadline)
        self._take(info)

    async def _look_after_move(self) -> None:
        """Do not tell the browser of an id that has ended since the store moved the session."""
        new_id = self.session_id
        if new_id is None:
            return
        try:
            gone = await self._jam.session_info(new_id) is None
        except JamError:
            self.cookies.withdraw_id(new_id)  # the old id leads to the session as well
            return
        if gone and self.session_id == new_id:
            self._lose("the browser was to be told of its move")

    def _follow(self, name: str, new_id: str) -> None:
        """Hold a session under the id that its move to another store has given it.

        Where the browser cannot be told, it keeps the old id, which leads to the session as well.
        """
        deadline = self.info.deadline if self.info else None
        if not self.cookies.have_left and self.cookies.set_id(name, new_id, deadline):
            self._former_id, self.session_id = self.session_id, new_id

    def _lose(self, when: str) -> None:
        """Note that the session has ended: nothing of it is stored any more."""
        if self.session_id is not None:
            # By now the browser may have an id that lives, which a dead one must not replace.
            self.cookies.withdraw_id(self.session_id)
        self.lost, self.session_id = True, None
        self._version += 1
        logger.info("session lost: it had ended when %s", when, extra={"jam_event": "lost"})

    async def _end_wherever_it_is(self) -> None:
        """End the session, also if another request has given it a new id meanwhile."""
        key, since = self.owner, _login_of(self.info, self.data)
        if key is None:
            if self.session_id is not None:
                await self._jam.session_delete(self.session_id)
            return
        try:
            if self.session_id is not None and await self._jam.session_revoke(
                key, session_handle(self.session_id)
            ):
                return
            # A rotation keeps the moment of the log-in.
            while successors := [
                one.handle
                for one in await self._jam.session_list(key)
                if since is not None and _login_of(one, one.data or {}) == since
            ]:
                for handle in successors:
                    await self._jam.session_revoke(key, handle)
        except JamSessionUnsupported:
            if self.session_id is not None:
                await self._jam.session_delete(self.session_id)

    def _keep_own_changes(self, principal: tuple[str, ...] = ()) -> None:
        """Hold nothing of what was somebody else's, or has ended somewhere else.

        A changed value may hold on to something of what it was: what comes along is new. Of the
        keys that say who is logged in, only those named do.
        """
        before = self._before or {}
        mine = {
            key: value
            for key, value in self._changes().put.items()
            if key in principal or not (key in before or key in self.settings.principal)
        }
        self._forget()
        self.use().update(mine)

    def _forget(self) -> None:
        self.session_id = self.session_key = self.info = self._former_id = None
        self.data, self._before, self._is_exact = {}, {}, False
        self._has_logged_in = False
        self._version += 1

    def _end(self) -> None:
        """Forget the session, and have the browser do so."""
        self._forget()
        self.cookies.delete_ids()

    def _principal_of(self, data: Data) -> list[object]:
        return [data.get(name) for name in self.settings.principal]

    def _principal_has_changed(self) -> bool:
        """Return whether something other than `login` has stored another user in the data."""
        before, now = self._principal_of(self._before or {}), self._principal_of(self.data)
        if before == now:
            return False
        noted_by_login = self._has_logged_in and before[0] in (None, now[0])
        return not (noted_by_login and now[0] is not None)

    async def _follow_principal(self) -> None:
        before, user = self._principal_of(self._before or {})[0], self._principal_of(self.data)[0]
        if user is None and self.key is not None:  # a log-out by a library
            self.cookies.need_headers("log out")
            await self._end_wherever_it_is()
            self._keep_own_changes()
            self.cookies.delete_ids()
        elif user is None or (self.key is not None and (user == before or self.key == str(user))):
            await self.rotate()
        else:
            await self.login(str(user))


def _is_visitors(session_key: str | None) -> bool:
    return session_key is not None and session_key.startswith(_VISITOR)


def _login_of(info: SessionInfo | None, data: Data) -> float | None:
    """Return when the user logged in; if the store does not know that, the data does."""
    noted: object = data.get(LOGGED_IN)
    if isinstance(noted, int | float):
        return float(noted)
    return None if info is None else info.created_at
