"""A browser's requests as a server hands them to an application: no network is between."""

import io
from typing import Any
from urllib.parse import urlsplit


def scope_of(path: str, cookie: str = "") -> dict[str, Any]:
    """Return an ASGI scope.

    Args:
        path: The path, with its query if there is one.
        cookie: The Cookie header; "" for none.
    """
    url = urlsplit(path)
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https",
        "path": url.path,
        "raw_path": url.path.encode(),
        "root_path": "",
        "query_string": url.query.encode(),
        "headers": [(b"host", b"example.org")] + [(b"cookie", cookie.encode())] * bool(cookie),
        "server": ("example.org", 443),
        "client": ("127.0.0.1", 1),
        "state": {},
    }


async def receive() -> dict[str, Any]:
    """Return the body of the request: there is none."""
    return {"type": "http.request", "body": b"", "more_body": False}


def environ_of(path: str, cookie: str = "") -> dict[str, Any]:
    """Return a WSGI environment, as `scope_of` does a scope."""
    url = urlsplit(path)
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": url.path,
        "QUERY_STRING": url.query,
        "SERVER_NAME": "example.org",
        "SERVER_PORT": "443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "example.org",
        **({"HTTP_COOKIE": cookie} if cookie else {}),
        "wsgi.url_scheme": "https",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "wsgi.version": (1, 0),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
