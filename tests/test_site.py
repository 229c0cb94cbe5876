"""The site of the documentation: it is built without a warning, and nothing public is missing."""

import importlib
import sys
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import entry_points
from pathlib import Path
from threading import Thread

import pytest

from tests.browser import complaints_of, open_browser, set_colours, too_wide
from tests.isolated import ROOT, done

PACKAGES = ["jam_core", "jam_core.testing", "jam_json", "jam_redis", "jam_sqlalchemy"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as for publishing."""
    pytest.importorskip("mkdocs", reason="mkdocs-material is not installed")
    directory = tmp_path_factory.mktemp("site")
    build = (sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", directory)
    done(*build, cwd=ROOT, NO_MKDOCS_2_WARNING="1")
    return directory


class Page(HTMLParser):
    """What a page links to, and what can be linked to in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := given.get(name))}
        self.targets += [value for name in ("href", "src") if (value := given.get(name))]


def outside(target: str) -> bool:
    return target.startswith(("http:", "https:", "mailto:", "data:"))


def broken_links(site: Path) -> Iterator[str]:
    pages = {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}
    for path, page in pages.items():
        for target in page.targets:
            name, _, anchor = target.partition("#")
            file = (path.parent / name).resolve() if name else path
            if file.is_dir():
                file /= "index.html"
            if outside(target):
                continue
            if not file.exists() or (
                anchor and file in pages and anchor not in pages[file].anchors
            ):
                yield f"{path.relative_to(site)}: {target}"


def test_no_link_of_the_built_pages_is_broken(site: Path) -> None:
    assert list(broken_links(site)) == []


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    for path in site.rglob("*.html"):
        for tag in ("<script src=", '<link rel="stylesheet" href='):
            for part in path.read_text().split(tag)[1:]:
                assert not part.lstrip("\"'").startswith(("http", "//")), path


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    """Where the site is served."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site)) as server:
        Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(("width", "colours"), [(390, "dark"), (1280, "light")])
def test_pages_fit_the_screen_and_the_console_stays_empty(
    site: Path, address: str, tmp_path: Path, width: int, colours: str
) -> None:
    with open_browser(tmp_path / "profile", width) as browser:
        set_colours(browser, colours)
        for path in sorted(site.rglob("*.html")):
            if path.name != "404.html":
                browser.get(f"{address}/{path.relative_to(site)}")
                assert not too_wide(browser), path
                assert complaints_of(browser) == [], path


@pytest.mark.parametrize("module", PACKAGES)
def test_every_public_name_has_its_page(site: Path, module: str) -> None:
    for name in importlib.import_module(module).__all__:
        page = site / "reference" / f"{module}.{name}.html"
        assert page.exists()
        assert len(page.read_text().partition('class="doc doc-contents')[2]) > 0, name
        assert f'href="{page.name}"' in (site / "reference" / "index.html").read_text()


def test_every_plugin_of_ours_is_in_the_reference(site: Path) -> None:
    ours = [
        plugin
        for group in ("jam.session_types", "jam.plugins")
        for plugin in entry_points(group=group)
        if plugin.value.startswith(("jam_json", "jam_redis", "jam_sqlalchemy", "jam_telemetry"))
    ]
    assert len(ours) == len(list(ROOT.glob("plugins/*")))
    for plugin in ours:
        package, _, name = plugin.value.partition(":")
        assert (site / "reference" / f"{package}.{name}.html").exists()
