"""Strangers who copy what the manual says, from an empty environment to their users' devices."""

import re
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.isolated import ROOT, blocks_of, build_as_documented, environment_of_others, script_of
from tests.serving import Browser, free_port, served

pytestmark = pytest.mark.exhaustive
DOCS = ROOT / "docs"
MINUTES = 5


class Way(NamedTuple):
    """What a stranger chooses.

    Attributes:
        page: The framework's page.
        store: The store's page.
        server: The last command of the set-up.
        on_port: What to add to it, for a port of one's own.
    """

    page: str
    store: str
    server: str
    on_port: str


WAYS = {
    "FastAPI on Redis": Way("fastapi", "redis", "uvicorn app:app", "--port"),
    "Flask on a JSON file": Way("flask", "json", "flask run", "--port"),
    "Django on PostgreSQL": Way("django", "sqlalchemy", "python -m django runserver", ""),
}


def commands_in(page: str, program: str) -> list[str]:
    """Return the commands that the prose of a page names."""
    return re.findall(rf"`({program} [^`]+)`", (DOCS / page).read_text())


def script_until_served(way: Way, port: int) -> str:
    """Return what a stranger does, for bash, up to the command that starts the server."""
    store = f"stores/{way.store}.md"
    configuration = next(block for language, block in blocks_of(DOCS / store) if language == "toml")
    commands = [commands_in("install.md", "python3 -m venv")[0], commands_in(store, "pip")[0]]
    done = [("sh", f"{command}\n") for command in commands]
    for language, block in blocks_of(DOCS / "web" / f"{way.page}.md"):
        if block.endswith(f"{way.server}\n"):
            return script_of([*done, (language, f"{block.rstrip()} {way.on_port} {port}\n")])
        done.append((language, configuration if language == "toml" else block))
    pytest.fail(f"{way.page}.md does not say: {way.server}")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_as_documented(tmp_path_factory.mktemp("home"))


def fill_in(browser: Browser, user: str, password: str) -> None:
    """Fill in the two fields of the log-in form, whatever they are called."""
    fields = re.findall(r'<input name="(\w+)"', browser.page)
    browser.submit("/login", **dict(zip(fields, (user, password), strict=True)))


def handle_of(device: str, page: str) -> str:
    """Return what the form next to a device sends."""
    form = page.partition(f"<p>{device}")[2]
    return form.partition('name="handle" value="')[2].partition('"')[0]


@pytest.mark.parametrize("way", WAYS.values(), ids=list(WAYS))
def test_copying_leads_to_log_in_log_out_and_my_devices(
    way: Way, packages: Path, tmp_path: Path, redis_uri: str, postgresql_url: str
) -> None:
    port = free_port()
    environment = environment_of_others(
        PATH=f"{sys.base_prefix}/bin:/usr/bin:/bin",  # without the programs of the tests
        PIP_FIND_LINKS=packages,  # as install.md exports it
        REDIS_URL=redis_uri,
        DATABASE_URL=postgresql_url,
    )
    command = ["bash", "-c", script_until_served(way, port)]
    with served(command, port, tmp_path, environment, within=60 * MINUTES):
        phone, laptop = Browser(port, "phone"), Browser(port, "laptop")
        assert "Visitor, visit 1" in phone.page
        fill_in(phone, "ann", "strawberry")
        assert "ann, visit 2" in phone.page
        fill_in(laptop, "ann", "strawberry")
        assert "laptop (this one)" in laptop.page
        phone.page = phone.get("/").text
        assert "phone (this one)" in phone.page
        phone.submit("/revoke", handle=handle_of("laptop", phone.page))
        assert "laptop" not in phone.page
        assert "Visitor" in laptop.get("/").text
        assert "ann" in phone.page
        stolen = dict(phone.cookies)
        phone.submit("/logout")
        assert "Visitor" in phone.page
        phone.cookies |= stolen
        assert "Visitor" in phone.get("/").text
