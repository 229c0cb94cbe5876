"""Applications under their servers, and a browser without a window that uses them."""

import html
import http.client
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

from jam_testing import time_limit


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@contextmanager
def served(
    command: Sequence[str], port: int, cwd: Path, environment: Mapping[str, str], within: float = 60
) -> Iterator[None]:
    """Run a server until the end of the block, which begins when it answers."""
    log = cwd / "server.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        with time_limit(within, "the start of the server"):
            while True:
                written = log.read_text()
                # Django's survives in order to start again when a file changes.
                assert server.poll() is None and "Traceback" not in written, written  # noqa: PT018
                with suppress(OSError):
                    Browser(port, "nobody's")
                    break
                time.sleep(0.05)
        yield
    finally:
        server.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.wait(15)
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    assert "Traceback" not in log.read_text()


class Page(NamedTuple):
    status: int
    text: str


class Browser:
    """A browser on localhost, where it takes cookies that are `Secure`."""

    def __init__(self, port: int, name: str) -> None:
        self._port, self._name = port, name
        self.cookies: dict[str, str] = {}
        self.page = self.get("/").text

    def get(self, path: str) -> Page:
        return self._ask("GET", path, None)

    def submit(self, action: str, **fields: str) -> None:
        form = self.page.partition(f'action="{action}"')[2].partition("</form>")[0]
        hidden = re.findall(r'type="hidden" name="([^"]*)" value="([^"]*)"', form)
        page = self._ask("POST", action, urlencode({**dict(hidden), **fields}))
        assert page.status == 200, page.text
        self.page = page.text

    def log_in(self, **fields: str) -> None:
        self.submit("/login", user="ann", password="strawberry", **fields)

    def _ask(self, method: str, path: str, body: str | None) -> Page:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = {"Cookie": cookies, "User-Agent": self._name, "Connection": "close"}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        for line in answer.headers.get_all("Set-Cookie") or []:
            name, _, value = line.partition(";")[0].partition("=")
            if "Max-Age=0" in line:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        if answer.status in (302, 303):
            return self._ask("GET", answer.headers["Location"], None)
        return Page(answer.status, html.unescape(text))
