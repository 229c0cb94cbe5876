"""Sessions in ASGI: the cases of every adapter, WebSockets, and what a server does to a request."""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
from jam_testing.memory import MemorySessions
from jam_web.asgi import Message, Receive, Scope, Send, SessionMiddleware
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from jam import Jam as PlainJam
from jam.aio import Jam
from jam_core import JamConfigurationError, JamStoreUnavailable

from .asgi_site import ASGICases, ASGIPending, ASGISite, starlette_app
from .cases import ENDS, CutOffCases, StreamCases, WebCases, end
from .conftest import OpenSite, Proxied, Settings
from .site import COOKIE, MEMORY, PATIENCE, Browser, Commands, Pending


class TestStarlette(ASGICases, WebCases, StreamCases, CutOffCases):
    default_store = "redis"
    app_of = starlette_app

    @staticmethod
    def cut_off(pending: Pending) -> None:
        pending.cancel()

    # --- 8: what runs after the answer ---

    def test_a_background_task_changes_the_session(self, browser: Browser) -> None:
        browser.log_in(a=1)
        browser.ask(["put", "a", 2], background=[["put", "b", 2]])
        assert browser.data == {"a": 2, "b": 2}

    def test_what_a_background_task_raises_leaves_what_the_answer_stored(
        self, browser: Browser
    ) -> None:
        browser.log_in(a=1)
        browser.ask(["put", "a", 2], background=[["put", "b", 2], ["raise"]])
        assert browser.data == {"a": 2}

    # --- 9: WebSockets ---

    def test_a_websocket_reads_and_changes_its_session(
        self, site: ASGISite, browser: Browser
    ) -> None:
        browser.log_in(a=1)
        with Socket(site, browser) as socket:
            assert socket.ask(["get", "a"], ["key"]) == [1, "ann"]
            socket.ask(["put", "a", 2], ["save"])
            assert browser.data == {"a": 2}
            socket.ask(["put", "b", 3])
        assert browser.data == {"a": 2, "b": 3}

    @pytest.mark.parametrize("how", ENDS)
    def test_a_websocket_learns_of_a_log_out(
        self, site: ASGISite, browser: Browser, jam: PlainJam, how: str
    ) -> None:
        browser.ask(["login", "ann", {"ttl": 1}], ["put", "a", 1])
        with Socket(site, browser) as socket:
            assert socket.ask(["reload"], ["get", "a"]) == [True, 1]
            end(jam, browser, how)
            assert socket.ask(["put", "a", 2], ["save"], ["lost"], ["reload"]) == [
                *(None, None, True, False)
            ]
        assert jam.session_list("ann") == []

    def test_a_websocket_sets_its_cookie_when_it_is_accepted(
        self, site: ASGISite, browser: Browser
    ) -> None:
        with Socket(site, browser, ["login", "ann"]) as socket:
            assert COOKIE in socket.cookies
            assert socket.ask(["key"]) == ["ann"]

    def test_a_websocket_in_an_outage_is_told_to_come_back(
        self, open_site: OpenSite, proxied: Proxied
    ) -> None:
        site = open_site(proxied.settings)
        assert isinstance(site, ASGISite)
        browser = Browser(site).log_in(a=1)
        socket = Socket(site, browser).__enter__()
        proxied.proxy.refuse()
        proxied.proxy.cut()
        socket.say(["reload"])
        socket.pending.answer()
        assert socket.pending.sent[-1]["type"] == "websocket.close"
        assert socket.pending.sent[-1]["code"] == 1013
        refused = site.connect({"steps": [["get", "a"]]}, browser.header())
        refused.answer()
        assert [message["type"] for message in refused.sent] == ["websocket.close"]

    # --- 15: mounted applications ---

    def test_a_mounted_application_has_the_same_session(
        self, browser: Browser, commands: Commands
    ) -> None:
        browser.log_in(a=1)
        commands.made.clear()
        answer = browser.ask(["put", "a", 2], path="/mounted/")
        assert answer.results == [None]
        assert len(answer.all("vary")) == 1
        assert commands.made == ["info", "update"]
        assert browser.data == {"a": 2}

    def test_under_a_root_path_and_behind_a_proxy_with_http(
        self, site: ASGISite, browser: Browser
    ) -> None:
        site.extra = {"root_path": "/shop", "path": "/shop/", "scheme": "http"}
        answer = browser.ask(["login", "ann"])
        assert "; Path=/; " in answer.cookies[COOKIE]
        assert "Secure" in answer.cookies[COOKIE]
        assert browser.key == "ann"


class Socket:
    """A WebSocket that a browser opens."""

    def __init__(self, site: ASGISite, browser: Browser, *steps: Any) -> None:
        self.pending: ASGIPending = site.connect({"steps": list(steps)}, browser.header())

    def __enter__(self) -> "Socket":
        accepted = self.pending.next_sent()
        assert accepted["type"] == "websocket.accept"
        headers = accepted["headers"]
        self.cookies = {
            value.partition(b"=")[0].decode() for name, value in headers if name == b"set-cookie"
        }
        return self

    def say(self, *steps: Any) -> None:
        self.pending.tell({"type": "websocket.receive", "text": json.dumps(steps)})

    def ask(self, *steps: Any) -> list[Any]:
        self.say(*steps)
        results: list[Any] = json.loads(self.pending.next_sent()["text"])
        return results

    def __exit__(self, *_: object) -> None:
        self.pending.tell({"type": "websocket.disconnect", "code": 1000})
        self.pending.answer()


# --- the middleware itself ---------------------------------------------------------------------


def asked(app: Any, *, cookie: str = "", times: int = 1) -> Message:
    """Ask an application, and return the start of its last answer."""
    site = ASGISite(app)
    try:
        for _ in range(times):
            pending = site.begin("/", {}, cookie)
            pending.answer()
    finally:
        site.close()
    return pending.sent[0]


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    """An application without a framework."""
    await receive()
    scope["session"]["seen"] = scope["session"].get("seen", 0) + 1
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body"})


def test_an_application_needs_no_framework() -> None:
    start = asked(SessionMiddleware(bare, jam=MEMORY))
    assert [name for name, _ in start["headers"]] == [b"vary", b"cache-control", b"set-cookie"]


@pytest.mark.parametrize("how", ["the same", "equal", "options", "a store", "its own cookies"])
def test_a_mounted_application_has_the_session_only_if_it_is_its_own(how: str) -> None:
    """Who is "1" in the shop is somebody else in the administration."""

    async def log_in(request: Request) -> Response:
        await request.session.login("1")  # type: ignore[attr-defined]
        return PlainTextResponse("")

    async def who(request: Request) -> Response:
        return PlainTextResponse(str(request.session.key))  # type: ignore[attr-defined]

    jam: Any = Jam(MEMORY)
    options: Any = {"jam": jam}
    inner: Any = {"jam": jam}
    if how == "equal":
        options, inner = {"jam": MEMORY}, {"jam": dict(MEMORY)}
    elif how == "options":
        inner["samesite"] = "strict"
    elif how != "the same":
        inner["jam"] = Jam(MEMORY)
        if how == "its own cookies":
            inner |= {"cookie": "admin", "visitor_cookie": "guest"}
    mounted = Starlette(
        routes=[Route("/", who)], middleware=[Middleware(SessionMiddleware, **inner)]
    )
    app = Starlette(
        routes=[Route("/", log_in), Mount("/mounted", mounted)],
        middleware=[Middleware(SessionMiddleware, **options)],
    )
    client = TestClient(app, base_url="https://testserver.local")
    client.get("/")
    if how in ("options", "a store"):
        with pytest.raises(JamConfigurationError, match="another cookie="):
            client.get("/mounted/")
    else:
        assert client.get("/mounted/").text == ("None" if how == "its own cookies" else "1")


def test_a_plain_jam_is_refused() -> None:
    with pytest.raises(JamConfigurationError, match=r"jam\.aio\.Jam"):
        SessionMiddleware(bare, jam=PlainJam(MEMORY))  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"preloads": True}, {"cookie": "a b"}])
def test_a_wrong_option_is_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(JamConfigurationError, match=next(iter(map(str, wrong)))):
        SessionMiddleware(bare, jam=MEMORY, **wrong)


def test_without_preload_who_does_not_load_is_told() -> None:
    app = SessionMiddleware(bare, jam=MEMORY, preload=False)
    site = ASGISite(app)
    try:
        answer = site.begin("/", {}, f"{COOKIE}=eHg").answer()
    finally:
        site.close()
    assert answer.status == 500


def test_the_page_of_an_outage_is_the_applications(proxied: Proxied) -> None:
    page = HTMLResponse("<h1>Back in a moment</h1>", 503, {"Retry-After": "60"})
    jam = Jam({"session": proxied.settings})
    proxied.proxy.refuse()
    start = asked(SessionMiddleware(bare, jam=jam, unavailable=page), cookie=f"{COOKIE}=eHg")
    headers = dict(start["headers"])
    assert start["status"] == 503
    assert headers[b"retry-after"] == b"60"
    assert headers[b"content-type"].startswith(b"text/html")


def test_a_handler_for_outages_of_the_applications_own_is_not_in_the_way(proxied: Proxied) -> None:
    """It answers where the handler asks; where the answer is to leave, it would be too late."""

    async def write(request: Request) -> Response:
        request.session["a"] = 1
        return PlainTextResponse("done")

    async def complain(_: Request, __: Exception) -> Response:
        return PlainTextResponse("ours", 503)

    jam = Jam({"session": proxied.settings})
    proxied.proxy.refuse()
    app = Starlette(
        routes=[Route("/", write)],
        middleware=[Middleware(SessionMiddleware, jam=jam)],
        exception_handlers={JamStoreUnavailable: complain},
    )
    assert asked(app)["status"] == 503
    assert asked(app, cookie=f"{COOKIE}=eHg")["status"] == 503


def test_an_answer_by_another_middleware_stores_too() -> None:
    class Stops(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, _: RequestResponseEndpoint) -> Response:
            request.session["refused"] = 1
            return PlainTextResponse("no", 403)

    app = Starlette(middleware=[Middleware(SessionMiddleware, jam=MEMORY), Middleware(Stops)])
    start = asked(app)
    assert start["status"] == 403
    assert b"set-cookie" in dict(start["headers"])


def test_a_jam_of_its_own_is_closed_when_the_server_stops() -> None:
    class Closing(MemorySessions):
        closed = False

        def close(self) -> None:
            type(self).closed = True

    async def live() -> None:
        events = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

        async def receive() -> Message:
            return next(events)

        async def send(message: Message) -> None:
            assert message["type"].endswith("complete")

        await app({"type": "lifespan", "asgi": {}, "state": {}}, receive, send)

    async def write(request: Request) -> Response:
        request.session["a"] = 1
        return PlainTextResponse("done")

    jam = {"session": {"session_type": Closing}}
    app = SessionMiddleware(Starlette(routes=[Route("/", write)]), jam=jam)
    assert asked(app)["status"] == 200
    assert not Closing.closed
    asyncio.run(live())
    assert Closing.closed


def test_one_middleware_serves_any_number_of_loops(store_in_file: Settings) -> None:
    app = SessionMiddleware(bare, jam={"session": store_in_file})
    start = asked(app)
    cookie = dict(start["headers"])[b"set-cookie"].partition(b";")[0].decode()
    assert b"set-cookie" not in dict(asked(app, cookie=cookie)["headers"])


@pytest.fixture
def store_in_file(tmp_path: Any) -> Settings:
    return {"session_type": "json", "json_path": str(tmp_path / "sessions.json")}


@pytest.mark.exhaustive
def test_ten_thousand_requests_at_once(redis_uri: str) -> None:
    session = {"session_type": "redis", "redis_uri": redis_uri, "socket_timeout": PATIENCE}
    jam = Jam({"session": session})
    app = SessionMiddleware(bare, jam=jam)
    site = ASGISite(app)
    try:
        first = site.begin("/", {}, "").answer()
        cookie = first.all("set-cookie")[0].partition(";")[0]
        pending = [site.begin("/", {}, "" if n % 10 else cookie) for n in range(10_000)]
        statuses = Counter(one.answer().status for one in pending)
    finally:
        site.run(jam.close())
        site.close()
    assert statuses == {200: 10_000}  # also those, a thousand, that change the same session


@pytest.mark.parametrize("module", ["jam_web", "jam_web.asgi", "jam_web.testing"])
def test_no_framework_is_imported(module: str) -> None:
    script = f"""
import sys, {module}
frameworks = ("starlette", "fastapi", "flask", "django", "anyio", "redis", "sqlalchemy")
print([name for name in frameworks if name in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
