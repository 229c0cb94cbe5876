"""A real server, and a real client: what the network and the server's processes add."""

import http.client
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from jam_testing.timekeeping import wait_until

APPLICATION = """
import asyncio, os

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from jam_web.fastapi import Session, SessionMiddleware

app = FastAPI()
jam = {"session": {"session_type": "json", "json_path": os.environ["SESSIONS"]}}
app.add_middleware(SessionMiddleware, jam=jam, preload=False)


@app.get("/login/{user}")
async def log_in(session: Session, user: str) -> int:
    await session.login(user)
    return os.getpid()


@app.get("/count/{key}")
async def count(session: Session, key: str) -> str | None:
    session[key] = 1
    await asyncio.sleep(0.01)
    return session.key


@app.get("/all")
async def show(session: Session) -> dict[str, int]:
    return dict(session)


@app.get("/stream")
async def stream(session: Session) -> StreamingResponse:
    async def parts():
        yield "one"
        session["streamed"] = 1
        yield "two"

    return StreamingResponse(parts())
"""


@pytest.fixture(params=[1, pytest.param(2, marks=pytest.mark.exhaustive)])
def port(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    """Where uvicorn serves the application, with so many workers."""
    (tmp_path / "application.py").write_text(APPLICATION)
    options = ["--port", "0", "--workers", str(request.param), "--no-access-log"]
    with subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "application:app", *options],
        cwd=tmp_path,
        env={**os.environ, "SESSIONS": str(tmp_path / "sessions.json")},
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stderr
        said = []
        ready = 0
        found = 0
        for line in server.stderr:
            said.append(line)
            if "running on" in line:
                found = int(line.rpartition("http://")[2].partition(" ")[0].rpartition(":")[2])
            ready += "startup complete" in line
            if found and ready == request.param:
                break
        else:
            pytest.fail("".join(said))
        wait_until(lambda: listens(found), "the server listens")  # a moment after it has said so
        yield found
        server.terminate()
        rest = server.stderr.read()
    assert "Traceback" not in rest


def listens(port: int) -> bool:
    with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 20):
        return True
    return False


def ask(port: int, path: str, cookie: str = "") -> tuple[str, str]:
    """Return the body, and the cookie that was set."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
    answer = connection.getresponse()
    body = answer.read().decode()
    assert answer.status == 200, body
    connection.close()
    return body, (answer.headers["Set-Cookie"] or "").partition(";")[0]


def test_requests_at_once_on_a_real_server(port: int) -> None:
    cookie = ask(port, "/login/ann")[1]
    other = ask(port, "/login/bob")[1]
    with ThreadPoolExecutor(10) as clients:
        paths = [(f"/count/{number}", one) for number in range(10) for one in (cookie, other)]
        keys = list(clients.map(lambda each: ask(port, *each)[0], paths))
    assert keys == ['"ann"', '"bob"'] * 10
    expected = {f'"{number}":1' for number in range(10)}
    assert set(ask(port, "/all", cookie)[0].strip("{}").split(",")) == expected


def test_a_stream_stores_what_it_changed_after_its_headers(port: int) -> None:
    cookie = ask(port, "/login/ann")[1]
    assert ask(port, "/stream", cookie)[0] == "onetwo"
    # The answer is whole before its last change is stored.
    while ask(port, "/all", cookie)[0] != '{"streamed":1}':
        pass
