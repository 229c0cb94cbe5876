"""Applications under the servers that they are run with: whose session does a worker return?

The application and its Jam are made before the workers are forked. uWSGI forks in C, where
Python's fork hooks do not run; gunicorn with `--preload` and gevent patches what is imported
already.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlencode

import pytest
from jam_testing import time_limit

from tests.places import Configure

pytestmark = pytest.mark.exhaustive

WORKERS = 4
CLIENTS = 6
REQUESTS = 60  # of each client

APPLICATION = """
import json, os
from urllib.parse import parse_qs

from jam import Jam

jam = Jam(os.environ["SERVED_CONFIG"])
before = jam.session_create("before", {"user": "before"})  # a connection is open at the fork
assert jam.session_get(before) == {"user": "before"}


def answer(path, user="", id=""):
    if path == "/create":
        return jam.session_create(user, {"user": user, "n": 0})
    if path == "/get":
        return jam.session_get(id)
    if path == "/add":
        return jam.session_mutate(id, lambda data: {**data, "n": data["n"] + 1})
    if path == "/rework":
        return jam.session_rework(id)
    if path == "/before":
        return jam.session_get(before)
    return None


def application(environ, start_response):
    query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
    try:
        status, body = "200 OK", answer(environ["PATH_INFO"], **query)
    except Exception as error:
        status, body = "500 Error", f"{type(error).__name__}: {error}"
    start_response(status, [("Content-Type", "application/json"), ("Worker", str(os.getpid()))])
    return [json.dumps(body).encode()]
"""

SERVERS = {
    "uwsgi": [],
    "uwsgi --lazy-apps": ["--lazy-apps"],
    "gunicorn --preload sync": ["-k", "sync"],
    "gunicorn --preload gthread": ["-k", "gthread", "--threads", "3"],
    "gunicorn --preload gevent": ["-k", "gevent"],
}


class UnixConnection(HTTPConnection):
    """A connection to a server at a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=20)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Client:
    """Uses sessions of its own, and compares every answer."""

    def __init__(self, path: str, name: str, seen: Counter[str]) -> None:
        self._path = path
        self._name = name
        self._seen = seen

    def ask(self, what: str, **query: str) -> Any:
        connection = UnixConnection(self._path)
        try:
            connection.request("GET", f"/{what}?{urlencode(query)}")
            response = connection.getresponse()
            body = json.loads(response.read())
        except OSError as error:
            self._seen[f"no answer: {type(error).__name__}"] += 1
            return None
        finally:
            connection.close()
        self._seen[f"worker {response.getheader('Worker')}"] += 1
        if response.status != 200:
            self._seen[f"failed: {body[:120]}"] += 1
            return None
        return body

    def run(self) -> None:
        random = Random(self._name)
        sessions: dict[str, tuple[str, int]] = {}
        for number in range(REQUESTS):
            if number % 5 == 0 or not sessions:
                user = f"{self._name} {number}"
                session_id = self.ask("create", user=user)
                if session_id is not None:
                    sessions[session_id] = (user, 0)
                continue
            session_id = random.choice(list(sessions))
            user, n = sessions[session_id]
            what = random.choice(["get", "get", "get", "add", "rework", "before"])
            found = self.ask(what, **({} if what == "before" else {"id": session_id}))
            if what == "before":
                self.compare(found, {"user": "before"})
            elif what == "rework":
                if found is not None:
                    sessions[found] = sessions.pop(session_id)
            else:
                n += what == "add"
                sessions[session_id] = (user, n)
                self.compare(found, {"user": user, "n": n})

    def compare(self, found: Any, expected: dict[str, Any]) -> None:
        if found == expected:
            self._seen["right"] += 1
        elif found is None:
            self._seen["lost"] += 1
        elif found.get("user") != expected["user"]:
            self._seen["FOREIGN"] += 1
        else:
            self._seen["of another moment"] += 1


@contextmanager
def served(server: str, config: str, directory: Path) -> Iterator[str]:
    """Run the application, and yield the path of its socket."""
    (directory / "served.py").write_text(APPLICATION)
    path = str(directory / "server.sock")
    script = str(Path(sys.executable).parent / server.split(maxsplit=1)[0])
    if server.startswith("uwsgi"):
        command = [script, "--http-socket", path, "--wsgi-file", "served.py", "--master"]
        command += ["--processes", str(WORKERS), "--need-app", "--die-on-term", *SERVERS[server]]
    else:
        command = [script, "--preload", "-w", str(WORKERS), "-b", f"unix:{path}"]
        command += [*SERVERS[server], "served:application"]
    with (directory / "server.log").open("w") as log:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env={**os.environ, "SERVED_CONFIG": config, "PYTHONPATH": str(directory)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_until_served(process, path, directory / "server.log")
        yield path
    finally:
        process.terminate()
        try:
            with suppress(subprocess.TimeoutExpired):  # a worker hangs: the comparison has told
                process.wait(15)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_until_served(process: "subprocess.Popen[bytes]", path: str, log: Path) -> None:
    with time_limit(60, "the start of the server"):
        while True:
            assert process.poll() is None, log.read_text()
            try:
                connection = UnixConnection(path)
                connection.request("GET", "/")
                connection.getresponse().read()
            except OSError:
                time.sleep(0.05)
            else:
                return
            finally:
                connection.close()


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize(
    "place", ["document", "directory", "sqlite", "postgresql-machine", "mariadb", "redis"]
)
def test_every_worker_returns_the_session_that_was_asked_for(
    server: str, place: str, configure: Configure, tmp_path: Path
) -> None:
    program = Path(sys.executable).parent / server.split(maxsplit=1)[0]
    if not program.exists():
        pytest.skip(f"{program.name} is not installed")
    config = str(tmp_path / configure("served", place))
    seen: Counter[str] = Counter()
    with served(server, config, tmp_path) as path, ThreadPoolExecutor(CLIENTS) as clients:
        ours = [Client(path, f"client {number}", seen) for number in range(CLIENTS)]
        for future in [clients.submit(client.run) for client in ours]:
            future.result()
        with time_limit(60, "an answer from a second worker"):  # on a busy machine one may do all
            while sum(what.startswith("worker") for what in seen) < 2:
                list(clients.map(lambda client: client.ask("before"), ours))
    workers = [what for what in seen if what.startswith("worker")]
    for worker in workers:
        del seen[worker]
    assert set(seen) == {"right"}, f"under {server} on {place}: {dict(seen)}"
