"""Places for sessions, and configurations of them."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

Configure = Callable[..., str]


def machine_url(port: int, url: str) -> str:
    """Return the URL of a database that the machine runs, or skip the test."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        pytest.skip(f"no database listens on 127.0.0.1:{port}")
    return url


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
            case "postgresql-machine":
                url = machine_url(5432, "postgresql+psycopg://root@127.0.0.1:5432/test")
            case "mariadb":
                url = machine_url(
                    3306, "mariadb+pymysql://root@127.0.0.1:3306/test?charset=utf8mb4"
                )
            case _:
                url = f"sqlite:///{tmp_path}/{uuid4()}.db"
        table = f"jam_{uuid4().hex[:12]}"
        return {"session_type": "sqlalchemy", "database_uri": url, "table_name": table}

    def configure(name: str, kind: str, **options: Any) -> str:
        table = {"jam": {"session": {**settings_of(kind), **options}}}
        (tmp_path / f"{name}.conf.json").write_text(json.dumps(table))
        return f"{name}.conf.json"

    return configure
