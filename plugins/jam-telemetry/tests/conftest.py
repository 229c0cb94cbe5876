from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from jam_core import Jam

from .backends import BACKENDS, Backend
from .collector import Collector

OpenJam = Callable[..., Jam]


@pytest.fixture(autouse=True)
def no_settings_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JAM_CONFIG", "JAM_SESSION_AES_SECRET", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """Each kind of store, in turn."""
    with ExitStack() as stack:
        yield BACKENDS[request.param](tmp_path, stack)


@pytest.fixture
def collector() -> Collector:
    return Collector()


@pytest.fixture
def open_jam(tmp_path: Path) -> Iterator[OpenJam]:
    """Opens Jam, on JSON files unless told otherwise, and closes it in the end."""
    with ExitStack() as stack:

        def open_jam(*plugins: object, **session: object) -> Jam:
            settings = session or {"session_type": "json", "json_path": str(tmp_path / "json")}
            return stack.enter_context(Jam({"session": settings}, wrappers=plugins))

        yield open_jam
