"""The site of the documentation: it is built without a warning, and nothing public is missing."""

import importlib
import json
import sys
import tomllib
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import quote, urlsplit

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.expected_conditions import presence_of_element_located
from selenium.webdriver.support.ui import WebDriverWait

from tests.browser import complaints_of, open_browser, set_colours, too_wide
from tests.isolated import ROOT, done

pytestmark = pytest.mark.exhaustive
PACKAGES = [
    "jam_core",
    "jam.aio",
    "jam_core.hosting",
    "jam_testing",
    "jam_json",
    "jam_redis",
    "jam_sqlalchemy",
]


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


# What somebody types into the search, and the page that has the answer.
ANSWERS = {
    "asyncio": "asyncio.html",
    "backup": "operations.html",
    "cookie": "web/csrf-and-cookies.html",
    "csrf": "web/csrf-and-cookies.html",
    "devices": "devices.html",
    "django": "web/django.html",
    "docker": "deployment/docker.html",
    "encryption": "configuration.html",
    "eviction": "stores/redis.html",
    "failover": "stores/redis.html",
    "fastapi": "web/fastapi.html",
    "fixation": "security.html",
    "flash": "reference/jam_web.Flash.html",
    "flask": "web/flask.html",
    "freezing": "deployment/frozen.html",
    "gunicorn": "deployment/gunicorn.html",
    "install": "install.html",
    "jamlib": "coming-from-jamlib.html",
    "kubernetes": "deployment/kubernetes.html",
    "migrate": "cli.html",
    "performance": "performance.html",
    "redis": "stores/redis.html",
    "remember me": "web/log-in.html",
    "rotation": "configuration.html",
    "session_rework": "using-sessions.html",
    "sqlite": "stores/sqlalchemy.html",
    "telemetry": "telemetry.html",
    "uwsgi": "deployment/uwsgi.html",
}


def test_the_search_leads_to_the_answer(address: str, tmp_path: Path) -> None:
    first = (By.CSS_SELECTOR, ".md-search-result__link")
    with open_browser(tmp_path / "profile") as browser:
        found = {}
        for words in ANSWERS:
            browser.get(f"{address}/index.html?q={quote(words)}")
            link = WebDriverWait(browser, 20).until(presence_of_element_located(first))
            page = urlsplit(link.get_attribute("href") or "").path
            found[words] = page.removeprefix("/")
    assert found == ANSWERS


def test_the_search_leaves_out_what_answers_no_question(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text())
    pages = {entry["location"].partition("#")[0] for entry in index["docs"]}
    assert pages.isdisjoint({"benchmarks.html", "figures/report.html", "wrong-stores.html"})
    assert set(ANSWERS.values()) <= pages


@pytest.mark.parametrize("module", PACKAGES)
def test_every_public_name_has_its_page(site: Path, module: str) -> None:
    for name in importlib.import_module(module).__all__:
        page = site / "reference" / f"{module}.{name}.html"
        assert page.exists()
        assert len(page.read_text().partition('class="doc doc-contents')[2]) > 0, name
        assert f'href="{page.name}"' in (site / "reference" / "index.html").read_text()


def test_every_plugin_of_ours_is_in_the_reference(site: Path) -> None:
    ours = [
        value
        for project in ROOT.glob("plugins/*/pyproject.toml")
        for group, entries in tomllib.loads(project.read_text())["project"]
        .get("entry-points", {})
        .items()
        if group in ("jam.session_types", "jam.wrappers")
        for value in entries.values()
    ]
    assert len(ours) >= 4
    for value in ours:
        package, _, name = value.partition(":")
        assert (site / "reference" / f"{package}.{name}.html").exists()
