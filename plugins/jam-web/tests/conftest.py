from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from jam_testing import TCPProxy

from jam_core import Jam

from .site import PATIENCE, Browser, Clock, Commands, Gates, Site

STORES = ("json", "redis", "sqlite")
Settings = dict[str, Any]
OpenSite = Callable[..., Site]


@pytest.fixture(autouse=True)
def no_settings_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JAM_CONFIG", "JAM_SESSION_AES_SECRET"):
        monkeypatch.delenv(name, raising=False)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each adapter's cases on one store, and on the others when CI does."""
    default = getattr(metafunc.cls, "default_store", None)
    if default and "store" in metafunc.fixturenames:
        stores = getattr(metafunc.cls, "stores", STORES)
        others = [
            pytest.param(name, marks=pytest.mark.exhaustive) for name in stores if name != default
        ]
        metafunc.parametrize("store", [default, *others], indirect=True)


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """The configuration of a new, empty place for sessions.

    No test is about this place's time limits, and hundreds of requests at once may take long.
    """
    match request.param:
        case "json":
            place = {"json_path": str(tmp_path / "sessions.json")}
            return {"session_type": "json", **place, "lock_timeout": PATIENCE}
        case "redis":
            uri = request.getfixturevalue("redis_uri")
            place = {"redis_uri": uri, "session_path": uuid4().hex}
            return {"session_type": "redis", **place, "socket_timeout": PATIENCE}
    url = f"sqlite:///{tmp_path}/sessions.db"
    return {"session_type": "sqlalchemy", "database_uri": url}


class Proxied(NamedTuple):
    """A store, and what stands between the application and it, and makes outages."""

    settings: Settings
    proxy: TCPProxy


@pytest.fixture
def proxied(redis_uri: str) -> Iterator[Proxied]:
    with TCPProxy(redis_uri.removeprefix("unix://")) as proxy:
        limits = {"socket_timeout": 0.3, "connect_timeout": 0.3}
        uri = f"redis://127.0.0.1:{proxy.port}"
        settings = {"session_type": "redis", "redis_uri": uri, "session_path": uuid4().hex}
        yield Proxied(settings | limits, proxy)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gates() -> Gates:
    return Gates()


@pytest.fixture
def commands() -> Commands:
    return Commands()


@pytest.fixture
def open_site(
    request: pytest.FixtureRequest, gates: Gates, commands: Commands
) -> Iterator[OpenSite]:
    """Opens the application in the framework of the test's class; see `WebCases.make_site`."""
    with ExitStack() as stack:

        def open_site(settings: Settings, **options: Any) -> Site:
            given = {"session": settings}
            site: Site = request.instance.make_site(stack, given, commands, gates, **options)
            return site

        yield open_site


@pytest.fixture
def site(open_site: OpenSite, store: Settings) -> Site:
    return open_site(store)


@pytest.fixture
def browser(site: Site) -> Browser:
    return Browser(site)


@pytest.fixture
def jam(store: Settings) -> Iterator[Jam]:
    """The same sessions, as an operator sees them."""
    with Jam({"session": store}) as jam:
        yield jam
