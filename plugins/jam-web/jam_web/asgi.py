"""Sessions for any ASGI application: Starlette, FastAPI, Litestar, or none.

    app.add_middleware(SessionMiddleware, jam="config.toml")

The handler finds its session in `scope["session"]`, which in Starlette is `request.session`: an
`AsyncSession`. This module imports no framework.
"""

import logging
import os
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from typing import Any, Unpack

from jam_core import JamConfigurationError, JamError
from jam_core.aio import Jam
from jam_web.cookies import private_cache_control
from jam_web.session import AsyncSession
from jam_web.settings import WebOptions
from jam_web.state import (
    FIRST_FAILURE,
    OUTAGES,
    TRY_AGAIN,
    UNAVAILABLE,
    SessionState,
    WebSessions,
)

__all__ = ["SessionMiddleware"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_OUTER = "jam_web.middleware"  # where a mounted application finds whose session it has been given
_STARTS = ("http.response.start", "websocket.http.response.start", "websocket.accept")
_TRY_AGAIN_LATER = 1013  # of a WebSocket's close codes (RFC 6455 and its registry)

logger = logging.getLogger("jam.web")


class SessionMiddleware:
    """Gives each request its session, and stores what has changed before the headers leave.

    Args:
        app: The application.
        jam: Where the sessions live: a `jam.aio.Jam`, or the configuration for one.
            Default: the configuration that the environment variable JAM_CONFIG names.
        preload: Read the session of each request that comes with a cookie, so that handlers find
            it there. False: only if a handler asks for it, with `jam_web.fastapi.Session` or
            `await request.session.load()`.
        unavailable: The page for an outage, instead of plain text: an ASGI application, such as
            any Starlette response. It must not use the session.
        **options: See `WebSettings`.

    Raises:
        JamConfigurationError: The configuration, an option or `jam` cannot be used.
    """

    def __init__(
        self,
        app: ASGIApp,
        jam: Jam | str | os.PathLike[str] | Mapping[str, Any] | None = None,
        *,
        preload: bool = True,
        unavailable: ASGIApp | None = None,
        **options: Unpack[WebOptions],
    ) -> None:
        self.app = app
        self._own_jam, where = None, jam
        if jam is None or isinstance(jam, str | os.PathLike | Mapping):
            jam = self._own_jam = Jam(jam)
        self.sessions = WebSessions(jam, **options)
        self._where = where
        if not self.sessions.is_awaited:
            raise JamConfigurationError(
                "A jam.Jam would keep the event loop waiting: give SessionMiddleware a jam.aio.Jam."
            )
        self._preload = preload
        self._unavailable = unavailable or _briefly_unavailable

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif scope["type"] not in ("http", "websocket") or self._has_session(scope):
            await self.app(scope, receive, send)
        else:
            await self._answer(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def closing(message: Message) -> None:
            if message["type"] == "lifespan.shutdown.complete" and self._own_jam is not None:
                await self._own_jam.close()
            await send(message)

        await self.app(scope, receive, closing)

    def _has_session(self, scope: Scope) -> bool:
        """Tell whether the application that this one is mounted in has opened the session.

        Raises:
            JamConfigurationError: The other's sessions are others, and their cookies the same.
        """
        outer = scope.get(_OUTER)
        if not isinstance(scope.get("session"), AsyncSession) or outer is None:
            return False
        theirs, ours = outer.sessions.settings, self.sessions.settings
        if ours == theirs and _is_same_place(self._where, outer._where):
            return True
        if not {ours.cookie, ours.visitor_cookie}.isdisjoint(
            {theirs.cookie, theirs.visitor_cookie}
        ):
            raise JamConfigurationError(
                "An application is mounted in another one, with its own store or options for "
                "its sessions, and with the same cookie names: give this one another cookie= and "
                "visitor_cookie=, or both the same jam= and options."
            )
        return False

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        cookies = [value.decode("latin-1") for name, value in scope["headers"] if name == b"cookie"]
        state = self.sessions.open(cookies)
        scope["session"], scope[_OUTER] = AsyncSession(state), self
        if self._preload:
            with suppress(JamError):  # only who uses the session is to learn of it
                await state.load()
        answer = _Answer(state, receive, send)
        try:
            await self.app(scope, answer.receive, answer.send)
        except (*OUTAGES, _NotStored) as error:
            if not await self._refuse(scope, answer):
                raise
            logger.warning("answered that sessions are unavailable: %s", error)
        except Exception:
            if answer.disconnected:  # the application did what it could
                await state.finish(failed=answer.failed)
            elif answer.started:
                await state.finish(failed=True)
            elif state.cookies.set_cookies and scope["type"] == "http":
                # The browser's former id is dead: a page from further out would not tell it.
                await _text(FIRST_FAILURE, "Internal Server Error")(scope, receive, answer.send)
            raise
        else:
            if state.used:
                await state.finish(failed=answer.failed)

    async def _refuse(self, scope: Scope, answer: "_Answer") -> bool:
        """Say that the store is down, and tell whether that could still be said."""
        if answer.disconnected:
            return True
        if scope["type"] == "websocket":
            await answer.send_as_it_is(
                {"type": "websocket.close", "code": _TRY_AGAIN_LATER, "reason": "Try again later."}
            )
        elif answer.started:
            return False
        else:
            await self._unavailable(scope, answer.receive, answer.send_refusal)
        return True


def _is_same_place(one: Any, other: Any) -> bool:
    """Tell whether two have been given the same Jam, or configurations that are the same."""
    return one is other or (not isinstance(one, Jam) and bool(one == other))


class _NotStored(Exception):
    """The session could not be stored, and so the answer does not leave."""


class _Answer:
    """The answer to one request, on its way to the server.

    Attributes:
        started: Whether its headers have left.
        failed: Whether they said that the handler failed.
        disconnected: Whether the client has gone.
    """

    def __init__(self, state: SessionState, receive: Receive, send: Send) -> None:
        self.started = self.failed = self.disconnected = False
        self.state = state
        self._is_touched = False
        self._receive = receive
        self._send = send

    async def receive(self) -> Message:
        message = await self._receive()
        self.disconnected |= message["type"] in ("http.disconnect", "websocket.disconnect")
        return message

    async def send(self, message: Message) -> None:
        if not self.state.used:  # by far the most answers, in some applications
            if message["type"] in _STARTS:
                self.failed = message.get("status", 0) >= FIRST_FAILURE
                self.started = self.state.cookies.have_left = True
            await self.send_as_it_is(message)
            return
        match message["type"]:
            case "http.response.start" | "websocket.http.response.start":
                self.failed = message["status"] >= FIRST_FAILURE
                await self._start(message)
            case "websocket.accept":
                await self._start(message)
                await self.state.touch_if_due()
            case "http.response.body" | "http.response.pathsend":
                await self.send_as_it_is(message)
                if not self._is_touched:
                    self._is_touched = True
                    await self.state.touch_if_due()
            case _:
                await self.send_as_it_is(message)

    async def send_refusal(self, message: Message) -> None:
        """Send an answer that says that the store is down."""
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            if not _has(headers, b"retry-after"):
                headers.append((b"retry-after", b"%d" % self.state.settings.retry_after))
            if not _has(headers, b"cache-control"):
                headers.append((b"cache-control", b"no-store"))
            message = {**message, "headers": self._with_cookies(headers)}
            self.state.cookies.have_left = self.started = True
        await self.send_as_it_is(message)

    async def send_as_it_is(self, message: Message) -> None:
        try:
            await self._send(message)
        except OSError:
            self.disconnected = True
            raise

    async def _start(self, message: Message) -> None:
        """Store what has changed, and let the headers leave."""
        try:
            await self.state.respond(failed=self.failed)
        except OUTAGES as error:
            # Not the outage itself: a handler of the application's for it would be too late.
            raise _NotStored(str(error)) from error
        headers: Headers = list(message.get("headers", ()))
        if self.state.used and not _varies(headers):
            headers.append((b"vary", b"Cookie"))
        self.started = True
        await self.send_as_it_is({**message, "headers": self._with_cookies(headers)})

    def _with_cookies(self, headers: Headers) -> Headers:
        lines = self.state.cookies.set_cookies
        if not lines:
            return headers
        control = private_cache_control(_value_of(headers, b"cache-control").decode("latin-1"))
        return [
            *(header for header in headers if header[0].lower() != b"cache-control"),
            (b"cache-control", control.encode("latin-1")),
            *((b"set-cookie", line.encode("latin-1")) for line in lines),
        ]


def _has(headers: Headers, name: bytes) -> bool:
    return any(found.lower() == name for found, _ in headers)


def _value_of(headers: Headers, name: bytes) -> bytes:
    return b", ".join(value for found, value in headers if found.lower() == name)


def _varies(headers: Headers) -> bool:
    named = _value_of(headers, b"vary").split(b",")
    return bool({b"cookie", b"*"} & {name.strip().lower() for name in named})


def _text(status: int, text: str) -> ASGIApp:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
        headers = [(b"content-type", b"text/plain; charset=utf-8")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": text.encode()})

    return answer


_briefly_unavailable = _text(UNAVAILABLE, TRY_AGAIN)
