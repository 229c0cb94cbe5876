from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jam_json import JSONSessions

Opener = Callable[..., JSONSessions]

LAYOUTS = {"document": "sessions.json", "directory": "sessions"}


@pytest.fixture(params=list(LAYOUTS))
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The json_path of each layout, in turn."""
    return tmp_path / LAYOUTS[request.param]


@pytest.fixture
def document(tmp_path: Path) -> Path:
    """The json_path of the file layout."""
    return tmp_path / "sessions.json"


@pytest.fixture
def open_store() -> Iterator[Opener]:
    """Opens stores, and closes them in the end."""
    opened: list[JSONSessions] = []

    def open_store(path: Path, **options: Any) -> JSONSessions:
        opened.append(JSONSessions(path, **options))
        return opened[-1]

    yield open_store
    for store in opened:
        store.close()
