"""The application's requests in ASGI, all in one event loop of a thread's."""

import asyncio
import json
import queue
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, ClassVar

from jam_web.asgi import ASGIApp, Message, SessionMiddleware
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from jam.aio import Jam

from .site import PATIENCE, PLAN, Answer, Commands, Gates, Pending, Site, perform, plan_of

if TYPE_CHECKING:
    from concurrent.futures import Future


class ASGIPending(Pending):
    def __init__(
        self, app: ASGIApp, scope: dict[str, Any], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.sent: list[Message] = []
        self._app, self._scope, self._loop = app, scope, loop
        self._said: queue.Queue[Message] = queue.Queue()
        self._gone = asyncio.Event()
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        self._future: Future[Answer] = asyncio.run_coroutine_threadsafe(self._run(), loop)

    async def _run(self) -> Answer:
        async def receive() -> Message:
            return await self._to_app.get()

        async def send(message: Message) -> None:
            if self._gone.is_set() and self._scope["type"] == "http":
                raise OSError("the client has gone")
            self.sent.append(message)
            self._said.put(message)

        try:
            await self._app(self._scope, receive, send)
        except Exception:
            if not self.sent:  # as a server does
                return Answer(500, [], b"Internal Server Error")
        return self._answer()

    def _answer(self) -> Answer:
        starts = [one for one in self.sent if one["type"].endswith("http.response.start")]
        assert len(starts) <= 1, "the answer began twice"
        start: Message = starts[0] if starts else {"status": 0}
        body = b"".join(one.get("body", b"") for one in self.sent if one["type"].endswith("body"))
        if self._scope.get("method") == "HEAD":  # a server does not send it
            body = b""
        given = start.get("headers", ())
        headers = [(name.decode(), value.decode("latin-1")) for name, value in given]
        return Answer(start["status"], headers, body)

    def tell(self, message: Message) -> None:
        self._loop.call_soon_threadsafe(self._to_app.put_nowait, message)

    def next_sent(self) -> Message:
        """Wait for what the application says next."""
        return self._said.get(timeout=PATIENCE)

    def answer(self) -> Answer:
        return self._future.result(PATIENCE)

    def disconnect(self) -> None:
        self._loop.call_soon_threadsafe(self._gone.set)
        self.tell({"type": "http.disconnect"})

    def cancel(self) -> None:
        self._future.cancel()


class ASGISite(Site):
    """An ASGI application."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self.extra: dict[str, Any] = {}

    def begin(
        self, path: str, plan: Mapping[str, Any], cookie: str, method: str = "GET"
    ) -> ASGIPending:
        pending = self.open(self._scope("http", path, plan, cookie) | {"method": method})
        pending.tell({"type": "http.request", "body": b"", "more_body": False})
        return pending

    def connect(self, plan: Mapping[str, Any], cookie: str) -> ASGIPending:
        """Open a WebSocket; what it is told are steps, what it says their results."""
        scope = self._scope("websocket", "/socket", plan, cookie)
        pending = self.open(scope | {"scheme": "wss", "subprotocols": []})
        pending.tell({"type": "websocket.connect"})
        return pending

    def open(self, scope: dict[str, Any]) -> ASGIPending:
        return ASGIPending(self.app, scope, self.loop)

    def _scope(self, kind: str, path: str, plan: Mapping[str, Any], cookie: str) -> dict[str, Any]:
        headers = [(b"host", b"example.org"), (PLAN.encode(), json.dumps(plan).encode())]
        if cookie:
            headers.append((b"cookie", cookie.encode("latin-1")))
        return {
            "type": kind,
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "https",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": headers,
            "server": ("example.org", 443),
            "client": ("127.0.0.1", 1),
            "state": {},
            **self.extra,
        }

    def run(self, awaitable: Any) -> Any:
        """Await something in the event loop."""
        return asyncio.run_coroutine_threadsafe(awaitable, self.loop).result(PATIENCE)

    def close(self) -> None:
        self.run(_end_of_loop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


async def _end_of_loop() -> None:
    """End what still runs, as `asyncio.run` does."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for other in others:
        other.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.sleep(0)  # what is closed has to hear of it


def answered(results: list[Any], plan: dict[str, Any], background: BackgroundTask) -> Response:
    if plan["status"] == 304:
        return Response(None, 304, headers=plan["headers"], background=background)
    return JSONResponse(results, plan["status"], headers=plan["headers"], background=background)


def starlette_app(gates: Gates, **options: Any) -> Starlette:
    """The application in Starlette."""

    async def endpoint(request: Request) -> Response:
        plan, session = plan_of(request.headers), request.session
        results = await perform(session, plan["steps"], gates.hold)
        background = BackgroundTask(perform, session, plan["background"], gates.hold)
        if not plan["chunks"]:
            return answered(results, plan, background)

        async def stream() -> AsyncIterator[str]:
            yield json.dumps(results) + "\n"
            for steps in plan["chunks"]:
                yield json.dumps(await perform(session, steps, gates.hold)) + "\n"

        return StreamingResponse(stream(), plan["status"], background=background)

    async def plain(_: Request) -> Response:
        return PlainTextResponse("plain")

    async def socket(websocket: WebSocket) -> None:
        session = websocket.session
        await perform(session, plan_of(websocket.headers)["steps"], gates.hold)
        await websocket.accept()
        try:
            while True:
                steps = await websocket.receive_json()
                await websocket.send_json(await perform(session, steps, gates.hold))
        except WebSocketDisconnect:
            pass

    middleware = [Middleware(SessionMiddleware, **options)]
    routes = [
        Route("/", endpoint, methods=["GET", "POST"]),
        Route("/plain", plain),
        WebSocketRoute("/socket", socket),
    ]
    mounted = Starlette(routes=[Route("/", endpoint)], middleware=middleware)
    return Starlette(routes=[*routes, Mount("/mounted", mounted)], middleware=middleware)


class ASGICases:
    """Makes the site; `app_of` says of what framework."""

    app_of: ClassVar[Any]

    def make_site(
        self,
        stack: ExitStack,
        configuration: dict[str, Any],
        commands: Commands,
        gates: Gates,
        **options: Any,
    ) -> ASGISite:
        jam = Jam(configuration, wrappers=[commands])
        site = ASGISite(type(self).app_of(gates, jam=jam, **options))
        stack.callback(site.close)
        stack.callback(lambda: site.run(jam.close()))
        return site
