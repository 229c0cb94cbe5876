"""Sessions in Flask: the cases of every adapter, and what is Flask's own."""

import io
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import flask
import pytest
from flask import Flask, Response
from flask.testing import FlaskClient
from flask.typing import ResponseReturnValue
from jam_testing.memory import MemorySessions
from jam_web.cookies import encode_id
from jam_web.flask import FlaskSession, JamSessions, session
from jam_web.testing import log_in
from werkzeug.exceptions import ServiceUnavailable

from jam.aio import Jam as AwaitedJam
from jam_core import Jam, JamConfigurationError, JamStoreUnavailable

from .cases import StreamCases, WebCases
from .conftest import Proxied
from .flask_site import flask_app
from .site import COOKIE, MEMORY, VISITOR, Clock, Commands, Gates
from .wsgi_site import WSGISite

LIFETIME = 31 * 86400


class TestFlask(WebCases, StreamCases):
    default_store = "sqlite"

    def make_site(
        self,
        stack: ExitStack,
        configuration: dict[str, Any],
        commands: Commands,
        gates: Gates,
        **options: Any,
    ) -> WSGISite:
        jam = stack.enter_context(Jam(configuration, wrappers=[commands]))
        site = WSGISite(flask_app(gates, jam, **options).wsgi_app)
        stack.callback(site.close)
        return site


@pytest.fixture
def memory(clock: Clock) -> MemorySessions:
    return MemorySessions(clock=clock, ttl=1000, max_age=5000)


@pytest.fixture
def memory_jam(memory: MemorySessions) -> Jam:
    return Jam({"session": {"session_type": memory}})


@pytest.fixture
def app(memory_jam: Jam, clock: Clock) -> Flask:
    app = Flask(__name__)
    JamSessions(app, memory_jam, clock=clock)

    @app.get("/all")
    def everything() -> ResponseReturnValue:
        return dict(session)

    @app.get("/count")
    def count() -> ResponseReturnValue:
        session["n"] = session.get("n", 0) + 1
        return str(session["n"])

    @app.get("/remember")
    def remember() -> str:
        before = session.permanent
        session.permanent = True
        return f"{before} {session.permanent}"

    @app.get("/forget")
    def forget() -> str:
        session.permanent = False
        return ""

    @app.post("/log-in")
    def log_user_in() -> str:
        session.login("ann")
        return ""

    @app.get("/plain")
    def plain() -> str:
        return "plain"

    return app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def seconds_left(client: FlaskClient, clock: Clock) -> float:
    with client.session_transaction() as found:
        assert isinstance(found, FlaskSession)
        assert found.expires_at is not None
        return found.expires_at - clock.now


# --- the test client ---------------------------------------------------------------------------


def test_a_test_client_is_logged_in(client: FlaskClient, memory_jam: Jam) -> None:
    log_in(client, memory_jam, "ann", {"theme": "dark"})
    assert client.get("/all").json == {"theme": "dark"}
    with client.session_transaction() as found:
        assert isinstance(found, FlaskSession)
        assert found.key == "ann"
        found["theme"] = "light"
    assert client.get("/all").json == {"theme": "light"}


def test_the_session_of_the_last_request_is_there_in_the_test(client: FlaskClient) -> None:
    with client:
        client.get("/count")
        assert session["n"] == 1


# --- permanent ---------------------------------------------------------------------------------


def test_a_permanent_session_lasts_as_flask_says(client: FlaskClient, clock: Clock) -> None:
    client.get("/count")
    assert seconds_left(client, clock) == 1000
    old = client.get_cookie(VISITOR)
    assert client.get("/remember").text == "False True"
    assert seconds_left(client, clock) == LIFETIME
    assert client.get_cookie(VISITOR) != old
    assert client.get("/all").json == {"n": 1}
    same = client.get_cookie(VISITOR)
    assert client.get("/remember").text == "True True"
    assert client.get_cookie(VISITOR) == same
    client.get("/forget")
    assert seconds_left(client, clock) == 1000
    assert client.get("/all").json == {"n": 1}


def test_who_makes_every_session_permanent_makes_none(
    app: Flask, client: FlaskClient, memory: MemorySessions, clock: Clock
) -> None:
    @app.before_request
    def make_permanent() -> None:
        session.permanent = True

    answer = client.get("/plain")
    assert "Set-Cookie" not in answer.headers
    assert "Vary" not in answer.headers
    assert memory.kept == {}
    client.get("/count")
    assert seconds_left(client, clock) == LIFETIME
    client.post("/log-in")
    assert seconds_left(client, clock) == LIFETIME


def test_a_lifetime_that_is_not_refreshed_is_the_longest(
    app: Flask, client: FlaskClient, clock: Clock
) -> None:
    app.config["SESSION_REFRESH_EACH_REQUEST"] = False
    app.permanent_session_lifetime = timedelta(seconds=60)

    @app.before_request
    def make_permanent() -> None:
        session.permanent = True

    assert "Max-Age=60;" in client.get("/count").headers["Set-Cookie"]
    clock.now += 59
    client.get("/all").close()
    assert seconds_left(client, clock) == 1


# --- what the store does not know of -----------------------------------------------------------


def test_flask_s_own_words(app: Flask, client: FlaskClient) -> None:
    @app.get("/say")
    def say() -> str:
        flask.flash("Saved", "info")
        session.modified = True
        return f"{session.new}"

    @app.get("/hear")
    def hear() -> ResponseReturnValue:
        return [*flask.get_flashed_messages(with_categories=True), session.new]

    assert client.get("/say").text == "True"
    assert client.get("/hear").json == [["info", "Saved"], False]
    assert client.get("/hear").json == [False]


def test_what_a_teardown_changes_is_stored(app: Flask, client: FlaskClient) -> None:
    @app.teardown_request
    def note(_: BaseException | None) -> None:
        session["torn down"] = True

    client.get("/count").close()
    assert client.get("/all").json == {"n": 1, "torn down": True}


def test_an_after_request_function_changes_the_session(app: Flask, client: FlaskClient) -> None:
    @app.after_request
    def note(response: Response) -> Response:
        session["after"] = 1
        return response

    client.get("/count")
    assert client.get("/all").json == {"n": 1, "after": 1}


def test_a_file_is_sent_and_the_session_stored(app: Flask, client: FlaskClient) -> None:
    @app.get("/file")
    def file() -> Response:
        session["had"] = "a file"
        return flask.send_file(io.BytesIO(b"contents"), "text/plain")

    answer = client.get("/file")
    assert answer.data == b"contents"
    assert VISITOR in answer.headers["Set-Cookie"]
    assert client.get("/all").json == {"had": "a file"}


def test_a_stream_that_nobody_reads_is_closed(app: Flask, client: FlaskClient) -> None:
    closed = []

    class Parts:
        def __iter__(self) -> Iterator[str]:
            yield from ()

        def close(self) -> None:
            closed.append(True)

    @app.get("/stream")
    def stream() -> Response:
        return Response(Parts())

    client.head("/stream").close()
    assert closed


def test_an_async_view(app: Flask, client: FlaskClient) -> None:
    pytest.importorskip("asgiref")

    @app.get("/awaited")
    async def awaited() -> str:
        session["awaited"] = 1
        return ""

    client.get("/awaited")
    assert client.get("/all").json == {"awaited": 1}


def test_what_cannot_be_stored_is_the_application_s_fault(app: Flask, client: FlaskClient) -> None:
    @app.get("/wrong")
    def wrong() -> str:
        session.login("ann")
        session["when"] = timedelta(1)
        return ""

    answer = client.get("/wrong")
    assert answer.status_code == 500
    assert COOKIE in answer.headers["Set-Cookie"]
    client.get("/all")
    with client.session_transaction() as found:
        assert isinstance(found, FlaskSession)
        assert found.key == "ann"


# --- outages -----------------------------------------------------------------------------------


@pytest.fixture
def cookie(proxied: Proxied) -> str:
    """The cookie of a session, whose store is down then."""
    with Jam({"session": proxied.settings}) as jam:
        session_id = jam.session_create("ann", {})
    proxied.proxy.refuse()
    proxied.proxy.cut()
    return encode_id(session_id)


@pytest.fixture
def broken(proxied: Proxied, cookie: str) -> Flask:
    """An application whose store is down."""
    app = Flask(__name__)
    JamSessions(app, {"session": proxied.settings}, retry_after=7)

    @app.get("/read")
    def read() -> ResponseReturnValue:
        return dict(session)

    @app.get("/write")
    def write() -> ResponseReturnValue:
        session["a"] = 1
        response = flask.redirect("/elsewhere")
        response.set_cookie("saved", "yes")
        response.set_etag("x")
        return response

    @app.get("/plain")
    def plain() -> str:
        return "plain"

    return app


def ask(app: Flask, path: str, cookie: str) -> Any:
    client = app.test_client()
    if path != "/write":  # which begins a session
        client.set_cookie(COOKIE, cookie, domain="localhost")
    return client.get(path)


@pytest.mark.parametrize("path", ["/read", "/write"])
@pytest.mark.parametrize("testing", [True, False], ids=["testing", "live"])
def test_the_page_of_an_outage(broken: Flask, cookie: str, path: str, testing: bool) -> None:
    broken.testing = testing

    @broken.after_request
    def allow(response: Response) -> Response:
        response.headers["Access-Control-Allow-Origin"] = "*"
        return response

    answer = ask(broken, path, cookie)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "7"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert not {"Set-Cookie", "ETag", "Location"} & set(answer.headers.keys())
    assert int(answer.headers["Content-Length"]) == len(answer.data)


@pytest.mark.parametrize("path", ["/read", "/write"])
@pytest.mark.parametrize("what", [503, ServiceUnavailable, JamStoreUnavailable], ids=str)
def test_the_page_of_an_outage_is_the_application_s(
    broken: Flask, cookie: str, what: Any, path: str
) -> None:
    @broken.errorhandler(what)
    def page(_: Exception) -> ResponseReturnValue:
        return "<h1>Back in a moment</h1>", 503

    answer = ask(broken, path, cookie)
    assert answer.status_code == 503
    assert answer.text == "<h1>Back in a moment</h1>"
    assert answer.mimetype == "text/html"
    assert answer.headers["Retry-After"] == "7"


def test_a_handler_that_was_there_before_stays(proxied: Proxied, cookie: str) -> None:
    app = Flask(__name__)

    @app.errorhandler(JamStoreUnavailable)
    def page(_: Exception) -> ResponseReturnValue:
        return "ours", 503

    JamSessions(app, {"session": proxied.settings})
    app.add_url_rule("/", view_func=lambda: dict(session))
    assert ask(app, "/", cookie).text == "ours"


@pytest.mark.parametrize("status", [404, 503])
def test_a_page_for_errors_that_asks_for_the_session(
    broken: Flask, cookie: str, status: int
) -> None:
    @broken.errorhandler(status)
    def page(_: Exception) -> ResponseReturnValue:
        return f"Sorry, {session.get('name')}", status

    answer = ask(broken, "/nowhere" if status == 404 else "/read", cookie)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "7"


# --- the extension -----------------------------------------------------------------------------


def test_one_extension_for_several_applications() -> None:
    sessions = JamSessions(cookie="shop", visitor_cookie="guest")
    for _ in range(2):
        app = Flask(__name__)
        app.config["JAM_CONFIG"] = MEMORY
        sessions.init_app(app)
        client = app.test_client()
        with client.session_transaction() as found:
            found["theme"] = "dark"
        assert client.get_cookie("__Host-guest") is not None


@pytest.mark.parametrize("name", ["shop", "__Host-shop"])
def test_what_flask_s_configuration_says_of_the_cookie(name: str) -> None:
    app = Flask(__name__)
    app.config.update(SESSION_COOKIE_NAME=name, SESSION_COOKIE_SAMESITE="Strict")
    JamSessions(app, MEMORY)

    @app.get("/")
    def start() -> str:
        session.login("ann")
        return ""

    line = app.test_client().get("/").headers["Set-Cookie"]
    assert line.startswith("__Host-shop=")
    assert "SameSite=Strict" in line


@pytest.mark.parametrize(
    "config",
    [
        {"SESSION_COOKIE_DOMAIN": "example.org"},
        {"SESSION_COOKIE_PATH": "/shop"},
        {"SESSION_COOKIE_HTTPONLY": False},
        {"SESSION_COOKIE_PARTITIONED": True},
        {"SESSION_COOKIE_NAME": "a b"},
    ],
    ids=lambda config: next(iter(config)),
)
def test_what_the_cookie_cannot_be_is_refused_by_name(config: dict[str, Any]) -> None:
    app = Flask(__name__)
    app.config.update(config)
    name = "name" if "SESSION_COOKIE_NAME" in config else next(iter(config))
    with pytest.raises(JamConfigurationError, match=name):
        JamSessions(app, MEMORY)


def test_a_jam_that_is_awaited_is_refused() -> None:
    jam = AwaitedJam(MEMORY)
    with pytest.raises(JamConfigurationError, match=r"jam\.Jam"):
        JamSessions(Flask(__name__), jam)  # type: ignore[arg-type]
