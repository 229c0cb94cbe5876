"""Sessions in FastAPI: the cases of every adapter, in `async def` and in `def` endpoints."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, assert_type

import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, HTTPException, Request, WebSocket
from fastapi.responses import PlainTextResponse, StreamingResponse
from jam_web import AsyncSession, finish
from jam_web import Session as PlainSession
from jam_web.fastapi import Session, SessionMiddleware, SyncSession
from starlette.responses import Response
from starlette.testclient import TestClient

from jam.aio import Jam

from .asgi_site import ASGICases, answered
from .cases import StreamCases, WebCases
from .site import COOKIE, MEMORY, Browser, Commands, Gates, perform, plan_of


def fastapi_app(gates: Gates, **options: Any) -> FastAPI:
    """The application in `async def` endpoints."""

    async def endpoint(request: Request, session: Session, later: BackgroundTasks) -> Response:
        plan = plan_of(request.headers)
        results = await perform(session, plan["steps"], gates.hold)
        later.add_task(perform, session, plan["background"], gates.hold)
        if not plan["chunks"]:
            return answered(results, plan, later)

        async def stream() -> AsyncIterator[str]:
            yield json.dumps(results) + "\n"
            for steps in plan["chunks"]:
                yield json.dumps(await perform(session, steps, gates.hold)) + "\n"

        return StreamingResponse(stream(), plan["status"], background=later)

    return application(endpoint, options)


def sync_app(gates: Gates, **options: Any) -> FastAPI:
    """The application in `def` endpoints."""

    def endpoint(request: Request, session: SyncSession, later: BackgroundTasks) -> Response:
        plan = plan_of(request.headers)
        results = finish(perform(session, plan["steps"], gates.block))
        later.add_task(lambda: finish(perform(session, plan["background"], gates.block)))
        if not plan["chunks"]:
            return answered(results, plan, later)

        def stream() -> Iterator[str]:
            yield json.dumps(results) + "\n"
            for steps in plan["chunks"]:
                yield json.dumps(finish(perform(session, steps, gates.block))) + "\n"

        return StreamingResponse(stream(), plan["status"], background=later)

    return application(endpoint, options)


def application(endpoint: Any, options: dict[str, Any]) -> FastAPI:
    app = FastAPI()
    app.add_middleware(SessionMiddleware, **{"preload": False, **options})
    router = APIRouter()
    router.add_api_route("/", endpoint, methods=["GET", "POST", "HEAD"], response_model=None)
    app.include_router(router)

    @app.get("/plain")
    async def plain() -> Response:
        return PlainTextResponse("plain")

    return app


class TestFastAPI(ASGICases, WebCases, StreamCases):
    default_store = "sqlite"
    app_of = fastapi_app

    def test_a_page_without_the_session_sends_no_command(
        self, browser: Browser, commands: Commands
    ) -> None:
        browser.log_in()
        commands.made.clear()
        assert browser.ask(path="/plain").status == 200
        assert commands.made == []

    def test_a_background_task_changes_the_session(self, browser: Browser) -> None:
        browser.log_in()
        browser.ask(background=[["put", "a", 1]])
        assert browser.data == {"a": 1}


@pytest.mark.exhaustive
class TestSyncEndpoints(ASGICases, WebCases, StreamCases):
    default_store = "json"
    app_of = sync_app

    def test_a_background_task_changes_the_session(self, browser: Browser) -> None:
        browser.log_in()
        browser.ask(background=[["put", "a", 1]])
        assert browser.data == {"a": 1}


def client_of(app: FastAPI, **options: Any) -> TestClient:
    app.add_middleware(SessionMiddleware, jam=Jam(MEMORY), preload=False, **options)
    return TestClient(app, base_url="https://example.org")


def test_the_types_of_the_session_are_known() -> None:
    async def awaited(session: Session) -> None:
        assert_type(session, AsyncSession)
        assert_type(await session.revoke("x"), bool)

    def plain(session: SyncSession) -> None:
        assert_type(session, PlainSession)
        assert_type(session.logout_others(), int)

    assert awaited.__name__ != plain.__name__


def test_a_dependency_with_yield_may_use_the_session() -> None:
    app = FastAPI()
    seen: list[Any] = []

    async def counted(session: Session) -> AsyncIterator[int]:
        session["count"] = session.get("count", 0) + 1
        yield session["count"]
        seen.append(session["count"])

    @app.get("/")
    async def start(count: Annotated[int, Depends(counted)], session: Session) -> int:
        session["page"] = "start"
        return count

    client = client_of(app)
    assert [client.get("/").json() for _ in range(3)] == [1, 2, 3]
    assert seen == [1, 2, 3]


def test_an_endpoint_that_refuses_stores_what_it_changed() -> None:
    """An HTTPException below 500 is an answer like any other."""
    app = FastAPI()

    @app.get("/")
    async def refuse(session: Session) -> None:
        session["tries"] = session.get("tries", 0) + 1
        raise HTTPException(403, str(session["tries"]))

    client = client_of(app)
    assert [client.get("/").json()["detail"] for _ in range(2)] == ["1", "2"]


def test_a_websocket_has_the_session() -> None:
    app = FastAPI()

    @app.websocket("/")
    async def talk(websocket: WebSocket, session: Session) -> None:
        await session.login("ann")
        await websocket.accept()
        await websocket.send_text(session.key or "")
        await websocket.close()

    with client_of(app).websocket_connect("/") as socket:
        assert socket.receive_text() == "ann"


def test_a_sync_session_in_a_coroutine_is_told_so() -> None:
    app = FastAPI()

    @app.get("/")
    async def wrong(session: SyncSession) -> None:
        session.login("ann")

    with pytest.raises(Exception, match="use Session in `async def`"):
        client_of(app).get("/")


def test_without_the_middleware_the_line_to_add_is_said() -> None:
    app = FastAPI()

    @app.get("/")
    async def start(session: Session) -> int:
        return len(session)

    with pytest.raises(Exception, match="add_middleware"):
        TestClient(app).get("/")


def test_a_framework_that_notes_log_ins_in_its_request_session_is_followed() -> None:
    """As authlib and sqladmin do, which know Starlette's session only."""
    app = FastAPI()

    @app.get("/login")
    async def log_in(request: Request, session: Session) -> None:
        assert request.session is session
        request.session["user"] = {"sub": 7}

    client = client_of(app, principal=("user",))
    client.get("/login")
    assert COOKIE in client.cookies
