"""The databases of the tests: what is not there is skipped, what is promised must be there."""

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from jam_sqlalchemy import SQLAlchemySessions, metadata
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


@pytest.fixture(scope="session")
def start_postgresql() -> Callable[[Path], Any]:
    """Starts a PostgreSQL of the wheel's; skips the test where there is no such wheel."""

    def start(directory: Path) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # platformdirs, where XDG_RUNTIME_DIR is not set
            pgserver: Any = pytest.importorskip("pgserver", reason="the wheel pgserver is missing")
            return pgserver.get_server(directory, cleanup_mode="delete")

    return start


@pytest.fixture(scope="session")
def postgresql_wheel(
    start_postgresql: Callable[[Path], Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of a PostgreSQL of the tests' own."""
    server = start_postgresql(tmp_path_factory.mktemp("postgresql"))
    yield str(server.get_uri()).replace("postgresql://", "postgresql+psycopg://", 1)
    server.cleanup()


@pytest.fixture(params=DATABASES)
def database_uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of each database, in turn."""
    name = request.param
    if name == "sqlite-file":
        return f"sqlite:///{tmp_path}/sessions.db"
    if name == "sqlite-memory":
        return "sqlite://"
    if name == "postgresql-wheel":
        url: str = request.getfixturevalue("postgresql_wheel")
        return url
    if name in PROMISED:
        return PROMISED[name]
    try:
        _engine(ON_THIS_MACHINE[name]).connect().close()
    except (SQLAlchemyError, ImportError) as error:
        pytest.skip(f"{name} does not answer: {type(error).__name__}")
    return ON_THIS_MACHINE[name]


@pytest.fixture
def table_name(database_uri: str) -> Iterator[str]:
    """The name of a table of the test's own."""
    name = f"jam_{uuid4().hex[:12]}"
    yield name
    if make_url(database_uri).get_backend_name() != "sqlite":
        metadata(name).drop_all(_engine(database_uri))


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


def _engine(url: str) -> Engine:
    return create_engine(url, poolclass=NullPool)
