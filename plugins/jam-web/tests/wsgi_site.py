"""The application's requests in WSGI, each in a thread of its own."""

import json
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from io import BytesIO
from typing import Any

from .site import PATIENCE, PLAN, Answer, Pending, Site

WSGIApp = Callable[[dict[str, Any], Any], Any]

_MOST = 64  # requests at once


class WSGIPending(Pending):
    def __init__(self, future: "Future[Answer]") -> None:
        self._future = future

    def answer(self) -> Answer:
        return self._future.result(PATIENCE)


class WSGISite(Site):
    """A WSGI application, and a server that does to it what the specification asks for."""

    def __init__(self, app: WSGIApp) -> None:
        self.app = app
        self._threads = ThreadPoolExecutor(_MOST)

    def begin(
        self, path: str, plan: Mapping[str, Any], cookie: str, method: str = "GET"
    ) -> WSGIPending:
        environ = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": "",
            "SERVER_NAME": "example.org",
            "SERVER_PORT": "443",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": "example.org",
            f"HTTP_{PLAN.upper().replace('-', '_')}": json.dumps(plan),
            "wsgi.url_scheme": "https",
            "wsgi.input": BytesIO(),
            "wsgi.errors": BytesIO(),
            "wsgi.multithread": True,
        }
        if cookie:
            environ["HTTP_COOKIE"] = cookie
        return WSGIPending(self._threads.submit(self._serve, environ))

    def _serve(self, environ: dict[str, Any]) -> Answer:
        started: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], *_: Any) -> None:
            stripped = [(name, value.strip()) for name, value in headers]  # as a client does
            started[:] = [int(status.split(maxsplit=1)[0]), stripped]

        parts = self.app(environ, start_response)
        body = b""
        try:
            for part in parts:
                body += part
        except ZeroDivisionError:  # as a server does: the connection breaks off
            pass
        finally:
            if hasattr(parts, "close"):
                parts.close()
        status, headers = started
        has_body = environ["REQUEST_METHOD"] != "HEAD" and status != 304
        return Answer(status, headers, body if has_body else b"")

    def close(self) -> None:
        self._threads.shutdown()
