"""Test clients that are logged in without a page of a log-in."""

from typing import Any

import flask
import httpx2
import pytest
from django.test import Client
from fastapi import FastAPI
from jam_web import Session as PlainSession
from jam_web import WebSessions
from jam_web.fastapi import Session, SessionMiddleware
from jam_web.testing import log_in
from starlette.testclient import TestClient

from jam import Jam as PlainJam
from jam.aio import Jam
from jam_core import JamConfigurationError

from . import django_project  # noqa: F401  (sets Django up)
from .site import COOKIE, MEMORY


def application(jam: Jam, **options: Any) -> FastAPI:
    app = FastAPI()
    app.add_middleware(SessionMiddleware, jam=jam, **options)

    @app.get("/")
    async def start(session: Session) -> dict[str, Any]:
        return {"key": session.key, **session}

    @app.get("/{power}")
    async def use(session: Session, power: str) -> None:
        await getattr(session, power)()

    return app


@pytest.mark.parametrize("host", ["testserver", "shop.example.org"])
def test_a_client_of_starlette_is_logged_in(host: str) -> None:
    jam = Jam(MEMORY)
    client = TestClient(application(jam), base_url=f"https://{host}")
    log_in(client, jam, "ann", {"name": "Ann"})
    assert client.get("/").json() == {"key": "ann", "name": "Ann"}
    client.get("/rotate")
    assert client.get("/").json() == {"key": "ann", "name": "Ann"}
    assert len(client.cookies) == 1
    client.get("/logout")
    assert client.get("/").json() == {"key": None}


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_client_of_httpx_is_logged_in_within_a_loop(anyio_backend: str) -> None:
    jam = Jam(MEMORY)
    transport = httpx2.ASGITransport(application(jam, cookie="shop"))
    async with httpx2.AsyncClient(transport=transport, base_url="https://testserver") as client:
        log_in(client, jam, "ann", cookie="shop")
        assert (await client.get("/")).json() == {"key": "ann"}


def key_of(jam: PlainJam, header: str) -> str | None:
    return PlainSession(WebSessions(jam).open([header])).key


def test_a_client_of_flask_is_logged_in() -> None:
    jam, app = PlainJam(MEMORY), flask.Flask(__name__)

    @app.get("/")
    def start() -> str:
        return key_of(jam, flask.request.headers["Cookie"]) or ""

    client = app.test_client()
    log_in(client, jam, "ann")
    assert client.get("/", base_url="https://localhost").text == "ann"


def test_a_client_of_django_is_logged_in() -> None:
    jam, client = PlainJam(MEMORY), Client()
    log_in(client, jam, "ann")
    assert key_of(jam, f"{COOKIE}={client.cookies[COOKIE].value}") == "ann"


def test_what_cannot_be_stored_is_said() -> None:
    client = TestClient(FastAPI(), base_url="https://testserver")
    for jam in (Jam(MEMORY), PlainJam(MEMORY)):
        with pytest.raises(Exception, match="empty"):
            log_in(client, jam, "")


def test_an_unknown_client_is_refused() -> None:
    with pytest.raises(JamConfigurationError, match="object"):
        log_in(object(), PlainJam(MEMORY), "ann")
