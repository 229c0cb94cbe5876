"""Sessions for Flask.

    app = Flask(__name__)
    JamSessions(app, "config.toml")

`flask.session` is then a `FlaskSession`: a mapping as before, with the powers of `jam_web.Session`.
`session` here is the same object, and a type checker knows its powers.
"""

import os
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Unpack, cast

import flask
from flask import Flask, Request, Response, current_app
from flask.sessions import SessionInterface, SessionMixin
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import ServiceUnavailable
from werkzeug.http import remove_entity_headers

from jam_core import (
    STORE_DEFAULT,
    Jam,
    JamConfigurationError,
    JamStoreUnavailable,
)
from jam_web.driving import finish
from jam_web.session import Session
from jam_web.settings import HOST_PREFIX, WebOptions
from jam_web.state import FIRST_FAILURE, OUTAGES, UNAVAILABLE, SessionState, WebSessions

__all__ = ["FlaskSession", "JamSessions", "session"]

Configuration = Jam | str | os.PathLike[str] | Mapping[str, Any]

# Of an answer that does not leave: the other headers are of the application's, CORS for example.
_OF_THE_PAGE = ("Cache-Control", "ETag", "Location", "Set-Cookie")
# What can be set of Flask's own cookie and not of this one, and what it must then be.
_FIXED = {
    "SESSION_COOKIE_DOMAIN": (None, False),
    "SESSION_COOKIE_PATH": (None, "/"),
    "SESSION_COOKIE_HTTPONLY": (True,),
    "SESSION_COOKIE_PARTITIONED": (False,),
}


class JamSessions:
    """Has a Flask application keep its sessions in Jam.

    It uses SESSION_COOKIE_NAME, SESSION_COOKIE_SAMESITE, PERMANENT_SESSION_LIFETIME and
    SESSION_REFRESH_EACH_REQUEST of Flask's configuration. Values of other SESSION_COOKIE_* settings
    that this cookie cannot have are refused by name.

    Args:
        app: The application; or call `init_app` with it.
        jam: Where the sessions live: a `jam.Jam`, or the configuration for one. Default:
            the configuration that `app.config["JAM_CONFIG"]`, or else the environment variable
            JAM_CONFIG, names.
        **options: See `jam_web.WebSettings`.

    Raises:
        JamConfigurationError: The configuration, an option or `jam` cannot be used.
    """

    def __init__(
        self,
        app: Flask | None = None,
        jam: Configuration | None = None,
        **options: Unpack[WebOptions],
    ) -> None:
        self._jam = jam
        self._options = options
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Have an application keep its sessions in Jam.

        Raises:
            JamConfigurationError: The configuration, an option or `jam` cannot be used.
        """
        _refuse_what_cannot_be(app.config)
        jam = app.config.get("JAM_CONFIG") if self._jam is None else self._jam
        if jam is None or isinstance(jam, str | os.PathLike | Mapping):
            jam = Jam(jam)
        options: WebOptions = {**_options_of(app.config), **self._options}
        sessions = WebSessions(jam, **options)
        if sessions.is_awaited:
            raise JamConfigurationError("Flask does not await: give JamSessions a jam.Jam.")
        app.session_interface = _Interface(sessions)
        app.extensions["jam"] = self
        handlers = app.error_handler_spec[None][None]
        for outage in OUTAGES:
            handlers.setdefault(outage, partial(_unavailable, sessions.settings.retry_after))


class FlaskSession(Session, SessionMixin):
    """The session of a request in Flask; see `jam_web.Session`.

    Attributes:
        modified: May be set, as with Flask's own sessions; changes are found without it.
        accessed: Likewise.
        met_outage: Whether the store could not be reached when it was asked.
    """

    modified = False
    accessed = False
    met_outage = False

    def __init__(self, state: SessionState, app: Flask) -> None:
        super().__init__(state, self._noting_outages)
        self._lifetime = int(app.permanent_session_lifetime.total_seconds())
        self._is_prolonged = bool(app.config["SESSION_REFRESH_EACH_REQUEST"])
        self._permanent: bool | None = None

    @property
    def new(self) -> bool:  # type: ignore[override]
        """Whether the request came without a session."""
        return self.is_new

    @property
    def permanent(self) -> bool:
        """Whether it lasts for PERMANENT_SESSION_LIFETIME instead of the store's `ttl`.

        Setting it in every request begins no session, and reads none. A session that was not
        permanent before gets a new id.
        """
        if self._permanent is not None:
            return self._permanent
        self._data()
        return self._lasts()

    @permanent.setter
    def permanent(self, value: bool) -> None:
        self._permanent = bool(value)
        if not value:
            self._data()
        self.state.ttl = self._lifetime if value else STORE_DEFAULT
        unlimited = None if self._is_prolonged else self._lifetime
        self.state.max_age = unlimited if value else STORE_DEFAULT

    def settle(self) -> None:
        """See to it that what is stored lasts as long as `permanent` says."""
        if None not in (self._permanent, self.state.info) and self._permanent != self._lasts():
            self.state.put_off = self.state.renew

    def _lasts(self) -> bool:
        return self.state.info is not None and self.state.info.ttl == self._lifetime

    def _noting_outages(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        try:
            return finish(coroutine)
        except OUTAGES:
            self.met_outage = True
            raise


session = cast(FlaskSession, flask.session)
"""The session of the request that is being answered: `flask.session`."""


class _Interface(SessionInterface):
    """What Flask asks for the session of a request, and for its end."""

    def __init__(self, sessions: WebSessions) -> None:
        self._sessions = sessions

    def open_session(self, app: Flask, request: Request) -> FlaskSession:
        cookies = request.environ.get("HTTP_COOKIE")
        return FlaskSession(self._sessions.open([cookies] if cookies else []), app)

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        assert isinstance(session, FlaskSession)  # what `open_session` returned  # noqa: S101
        state = session.state
        failed = response.status_code >= FIRST_FAILURE
        try:
            session.settle()
            session._noting_outages(state.respond(failed=failed))
            if response.status_code == FIRST_FAILURE and session.met_outage:
                # In a handler for another error, say: for that, Flask asks no handler.
                raise JamStoreUnavailable("A session could not be read.")
        except OUTAGES as error:
            failed = True
            _put(_page_of(error, app), into=response)
            finish(state.respond(failed=True))
        _add_headers(session, response)
        if response.direct_passthrough:  # nothing tells of its end
            finish(state.finish(failed=failed))
        else:
            _finish_in_the_end(state, response, failed=failed)


def _refuse_what_cannot_be(config: Mapping[str, Any]) -> None:
    problems = [
        f"{name} cannot be {config[name]!r}: only this host, and no script, gets the cookie."
        for name, possible in _FIXED.items()
        if config.get(name, possible[0]) not in possible
    ]
    if problems:
        raise JamConfigurationError(" ".join(problems), problems)


def _options_of(config: Mapping[str, Any]) -> WebOptions:
    options: WebOptions = {"cookie": config["SESSION_COOKIE_NAME"].removeprefix(HOST_PREFIX)}
    if samesite := config["SESSION_COOKIE_SAMESITE"]:
        options["samesite"] = samesite.lower()
    return options


def _unavailable(retry_after: int, _: Exception) -> ResponseReturnValue:
    """Answer as the application's handler for 503 does, if it has one."""
    return current_app.handle_http_exception(ServiceUnavailable(retry_after=retry_after))


def _page_of(outage: Exception, app: Flask) -> Response:
    try:
        return app.make_response(app.handle_user_exception(outage))
    except OUTAGES:  # the application's own page asks for the session
        return app.make_response(ServiceUnavailable())


def _put(page: Response, *, into: Response) -> None:
    """Replace a response that must not leave by a page."""
    into.close()
    remove_entity_headers(into.headers, allowed=())
    for name in _OF_THE_PAGE:
        into.headers.pop(name, None)
    into.headers.extend(page.headers)
    into.status = page.status
    into.response = page.response
    into.direct_passthrough = page.direct_passthrough


def _add_headers(session: FlaskSession, response: Response) -> None:
    state = session.state
    if state.used and "*" not in response.vary:
        response.vary.add("Cookie")
    for line in state.cookies.set_cookies:
        response.headers.add("Set-Cookie", line)
    is_refused = session.met_outage and response.status_code == UNAVAILABLE
    state.guard_caches(response.headers, is_refused=is_refused)


def _finish_in_the_end(state: SessionState, response: Response, *, failed: bool) -> None:
    """Store what a stream or a teardown still changes, unless it fails."""
    outcome = {"failed": failed}

    def watched(parts: Iterable[Any]) -> Iterator[Any]:
        try:
            yield from parts
        except Exception:
            outcome["failed"] = True
            raise

    if response.is_streamed:
        parts = response.response
        response.response = watched(parts)
        if hasattr(parts, "close"):  # if nobody ever asks for the first part
            response.call_on_close(parts.close)
    response.call_on_close(lambda: finish(state.finish(**outcome)))
