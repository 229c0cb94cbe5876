"""What the tests of the core share."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.distributions import Site
from tests.places import configure

__all__ = ["configure"]


def pytest_itemcollected(item: pytest.Item) -> None:
    """Leave what needs a browser to CI."""
    if "open_another" in getattr(item, "fixturenames", ()):
        item.add_marker(pytest.mark.exhaustive)


@pytest.fixture(autouse=True)
def no_settings_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JAM_CONFIG", "JAM_SESSION_AES_SECRET"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A directory to install toy distributions in; nothing else is installed."""
    path = tmp_path / "site"
    path.mkdir()
    before = set(sys.modules)
    bare = [entry for entry in sys.path if not any(Path(entry).glob("*.dist-info"))]
    monkeypatch.setattr(sys, "path", [str(path), *bare])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    importlib.invalidate_caches()
    yield Site(path)
    for name in set(sys.modules) - before:
        if name.startswith("toy_"):
            del sys.modules[name]
