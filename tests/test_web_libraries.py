"""Libraries that keep something of their own in the framework's session, on Jam's."""

import re
from typing import cast
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from authlib.integrations.starlette_client import OAuth, OAuthError
from flask import Flask
from flask_login import (
    LoginManager,
    UserMixin,
    current_user,
    login_required,
    login_user,
    logout_user,
)
from jam_testing.memory import MemorySessions
from jam_web.asgi import SessionMiddleware
from jam_web.cookies import decode_id
from jam_web.flask import JamSessions, session
from jam_web.session import AsyncSession
from sqladmin import Admin
from sqladmin.authentication import AuthenticationBackend
from sqlalchemy import create_engine
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from jam import Jam
from jam.aio import Jam as AwaitedJam

HOST = "https://localhost"
COOKIE, VISITOR = "__Host-session", "__Host-visitor"


# --- Authlib: "log in with ..." --------------------------------------------------------------


async def issue_token(_: Request) -> Response:
    return JSONResponse({"access_token": "token of ann", "token_type": "bearer"})


def session_of(request: Request) -> AsyncSession:
    return cast("AsyncSession", request.session)


@pytest.fixture
def authlib_app() -> Starlette:
    provider = Starlette(routes=[Route("/token", issue_token, methods=["POST"])])
    oauth = OAuth()
    oauth.register(
        "provider",
        client_id="jam",
        client_secret="secret",
        authorize_url="https://provider.example/authorize",
        access_token_url="https://provider.example/token",
        client_kwargs={"transport": httpx2.ASGITransport(provider)},
    )

    async def log_in(request: Request) -> Response:
        answer: Response = await oauth.provider.authorize_redirect(request, f"{HOST}/callback")
        return answer

    async def callback(request: Request) -> Response:
        try:
            token = await oauth.provider.authorize_access_token(request)
        except OAuthError as error:
            return PlainTextResponse(error.error, 400)
        await session_of(request).login(token["access_token"].rpartition(" ")[2])
        return PlainTextResponse("welcome")

    async def start(request: Request) -> Response:
        return JSONResponse([session_of(request).key, dict(request.session)])

    jam = AwaitedJam({"session": {"session_type": "memory"}})
    return Starlette(
        routes=[Route("/", start), Route("/login", log_in), Route("/callback", callback)],
        middleware=[Middleware(SessionMiddleware, jam=jam)],
    )


def test_authlib_gets_its_state_back_and_no_other_browser_does(authlib_app: Starlette) -> None:
    browser, attacker = (TestClient(authlib_app, base_url=HOST) for _ in range(2))
    answer = browser.get("/login", follow_redirects=False)
    assert answer.headers["location"].startswith("https://provider.example/authorize?")
    (state,) = parse_qs(urlsplit(answer.headers["location"]).query)["state"]
    visitors_id = browser.cookies[VISITOR]
    assert attacker.get("/callback", params={"code": "c", "state": state}).status_code == 400
    assert browser.get("/callback", params={"code": "c", "state": state}).text == "welcome"
    assert browser.get("/").json() == ["ann", {}]
    assert VISITOR not in browser.cookies
    for name in (VISITOR, COOKIE):
        attacker.cookies.set(name, visitors_id)
        assert attacker.get("/").json()[0] is None


# --- SQLAdmin: the middleware of its own is left out -----------------------------------------


class JamAuthentication(AuthenticationBackend):
    """As SQLAdmin's documentation writes one, but with the session of the application."""

    def __init__(self) -> None:
        self.middlewares = []

    async def login(self, request: Request) -> bool:
        form = await request.form()
        if form["password"] != "secret":
            return False
        request.session["user_id"] = form["username"]
        return True

    async def logout(self, request: Request) -> bool:
        request.session.clear()
        return True

    async def authenticate(self, request: Request) -> bool:
        return "user_id" in request.session


def test_a_log_in_to_sqladmin_is_one(store: MemorySessions) -> None:
    jam = AwaitedJam({"session": {"session_type": store}})
    principal = Middleware(SessionMiddleware, jam=jam, principal=("user_id",))
    app = Starlette(middleware=[principal])
    Admin(app, create_engine("sqlite://"), authentication_backend=JamAuthentication())
    browser, other = (TestClient(app, base_url=HOST) for _ in range(2))
    form = {"username": "ann", "password": "wrong"}
    assert browser.post("/admin/login", data=form).status_code == 400
    assert browser.get("/admin/").url.path == "/admin/login"
    for client in (browser, other):
        client.post("/admin/login", data={**form, "password": "secret"})
        assert client.get("/admin/").url.path == "/admin/"
    assert len(store.list_sessions("ann")) == 2
    planted = browser.cookies[COOKIE]
    browser.get("/admin/logout")
    assert browser.get("/admin/").url.path == "/admin/login"
    browser.cookies.set(COOKIE, planted)
    assert browser.get("/admin/").url.path == "/admin/login", "the session has ended"
    assert other.get("/admin/").url.path == "/admin/"
    store.clear("ann")
    assert other.get("/admin/").url.path == "/admin/login"


# --- Flask-Login -----------------------------------------------------------------------------


@pytest.fixture
def store() -> MemorySessions:
    return MemorySessions(ttl=1000, max_age=5000)


@pytest.fixture
def flask_login_app(store: MemorySessions) -> Flask:
    app = Flask(__name__)
    app.config["SECRET_KEY"] = "of Flask-Login"
    JamSessions(app, Jam({"session": {"session_type": store}}), principal=("_user_id",))
    manager = LoginManager(app)
    manager.session_protection = "strong"

    @manager.user_loader  # type: ignore[untyped-decorator]
    def user_of(user_id: str) -> UserMixin:
        user = UserMixin()
        user.id = user_id
        return user

    @app.get("/")
    def start() -> list[object]:
        session["visits"] = session.get("visits", 0) + 1
        return [current_user.get_id(), session.key, session["visits"]]

    @app.post("/login/<user_id>")
    def log_in(user_id: str) -> str:
        login_user(user_of(user_id))
        return "welcome"

    @app.post("/logout")
    @login_required  # type: ignore[untyped-decorator]
    def log_out() -> str:
        logout_user()
        return "good-bye"

    return app


def test_a_log_in_by_flask_login_is_one(flask_login_app: Flask, store: MemorySessions) -> None:
    client = flask_login_app.test_client()
    assert client.get("/", base_url=HOST).json == [None, None, 1]
    planted = client.get_cookie(VISITOR)
    assert planted
    assert client.post("/login/ann", base_url=HOST).text == "welcome"
    assert client.get("/", base_url=HOST).json == ["ann", "ann", 2]
    cookie = client.get_cookie(COOKIE)
    assert cookie
    assert store.get(decode_id(planted.value) or "") is None
    assert [one.handle for one in store.list_sessions("ann")]

    attacker = flask_login_app.test_client()
    attacker.set_cookie(VISITOR, planted.value)
    assert attacker.get("/", base_url=HOST).json == [None, None, 1]

    assert client.post("/logout", base_url=HOST).text == "good-bye"
    assert store.list_sessions("ann") == []
    assert store.get(decode_id(cookie.value) or "") is None
    assert client.get("/", base_url=HOST).json == [None, None, 1]
    assert client.post("/logout", base_url=HOST).status_code == 401


def test_everywhere_is_also_where_flask_login_logged_in(
    flask_login_app: Flask, store: MemorySessions
) -> None:
    phone, laptop = flask_login_app.test_client(), flask_login_app.test_client()
    for client in (phone, laptop):
        client.post("/login/ann", base_url=HOST)
    store.clear("ann")
    for client in (phone, laptop):
        assert re.fullmatch(r"\[null,null,1\]\n", client.get("/", base_url=HOST).text)
