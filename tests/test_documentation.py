"""The manual says what the code says."""

import re
from inspect import formatannotation, signature
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
from jam_json import JSONSessions
from jam_redis import RedisSessions
from jam_sqlalchemy import SQLAlchemySessions

from docs.figures.draw import PICTURES
from jam_core import BaseSession, Jam, JamError, exceptions
from jam_core.hosting import OPERATIONS, Option, options_of

ROOT = Path(__file__).parents[1]


def table_rows(page: Path, first_cell: str) -> dict[str, list[str]]:
    """Return the rows of the tables whose header begins with a cell, by their first word."""
    rows: dict[str, list[str]] = {}
    inside = False
    for line in page.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            inside = False
        elif cells[0] == first_cell:
            inside = True
        elif inside and not set(cells[0]) <= {"-", " "}:
            rows[cells[0].split("`")[1]] = cells
    return rows


ERRORS = [
    found
    for found in vars(exceptions).values()
    if isinstance(found, type) and issubclass(found, JamError)
]
ERRORS_PAGE = ROOT / "docs" / "errors.md"


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MkDocs make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_error_has_its_row_and_no_other() -> None:
    documented = table_rows(ERRORS_PAGE, "error_code")
    assert {code: cells[1] for code, cells in documented.items()} == {
        error.error_code: f"`{error.__name__}`" for error in ERRORS
    }


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_leads_to_its_entry(error: type[JamError]) -> None:
    (note,) = error("what was wrong").__notes__
    page, _, anchor = note.removeprefix("What to do: ").partition("#")
    address = urlsplit(page)
    assert (address.scheme, address.netloc) == ("file", "")
    assert Path(url2pathname(address.path)).samefile(ERRORS_PAGE)
    assert anchor in anchors_of(ERRORS_PAGE)
    entry = ERRORS_PAGE.read_text().partition(f"\n## {error.error_code}\n\n`{error.__name__}`")[2]
    assert entry


OPTIONS_OF_EVERY_STORE = options_of(BaseSession)


def own_options_of(store: type[BaseSession]) -> dict[str, Option]:
    """Return the options that a store has beyond those of every store."""
    every = OPTIONS_OF_EVERY_STORE
    return {name: option for name, option in options_of(store).items() if name not in every}


@pytest.mark.parametrize(
    ("page", "options"),
    [
        ("docs/configuration.md", OPTIONS_OF_EVERY_STORE),
        ("plugins/jam-json/README.md", own_options_of(JSONSessions)),
        ("plugins/jam-redis/README.md", own_options_of(RedisSessions)),
        ("plugins/jam-sqlalchemy/README.md", own_options_of(SQLAlchemySessions)),
    ],
)
def test_every_option_has_its_row_with_its_default(page: str, options: dict[str, Option]) -> None:
    documented = table_rows(ROOT / page, "option")
    assert list(documented) == list(options)
    for name, option in options.items():
        shown = documented[name][2].strip("`")
        if option.required:
            assert shown == ""
        elif option.default is None:
            assert shown in ("none", "JAM_SESSION_AES_SECRET")
        elif isinstance(option.default, bool | int | float | str):
            assert shown == str(option.default).lower()


def test_every_call_of_an_application_is_explained() -> None:
    page = (ROOT / "docs" / "using-sessions.md").read_text()
    calls = {
        f"{name}({', '.join(list(signature(method).parameters)[1:])})"
        for name, method in vars(Jam).items()
        if name.startswith("session_")
    }
    assert set(re.findall(r"`(session_\w+\(.*?\))`", page)) == calls


def test_every_alias_is_documented() -> None:
    rows = table_rows(ROOT / "docs" / "configuration.md", "option")
    aliases = {alias: one.name for one in options_of(BaseSession).values() for alias in one.aliases}
    for alias, option in aliases.items():
        assert f"`{alias}`" in rows[option][0]


def test_every_hook_has_its_row_with_its_signature() -> None:
    documented = table_rows(ROOT / "docs" / "wrappers.md", "operation")
    assert tuple(documented) == OPERATIONS
    for operation, (_, parameters, returns) in documented.items():
        hook = signature(getattr(BaseSession, operation))
        assert ["self", *re.findall(r"`(\w+)`", parameters)] == list(hook.parameters), operation
        annotation = re.sub(r"[\w.]+\.", "", formatannotation(hook.return_annotation))
        assert " | ".join(re.findall(r"`([^`]+)`", returns)) == annotation, operation


STORES: dict[str, type[BaseSession]] = {
    "json": JSONSessions,
    "redis": RedisSessions,
    "sqlalchemy": SQLAlchemySessions,
}


def test_the_table_of_what_stores_can_do_says_what_they_can(tmp_path: Path) -> None:
    documented = table_rows(ROOT / "docs" / "choosing-a-store.md", "the store")
    opened: dict[str, BaseSession] = {
        "json": JSONSessions(tmp_path / "sessions.json"),
        "redis": RedisSessions("redis://127.0.0.1:1"),
        "sqlalchemy": SQLAlchemySessions(f"sqlite+aiosqlite:///{tmp_path}/sessions.db"),
    }
    for name, store in opened.items():
        with store:
            words = set(re.findall(r"`(\w+)`", "".join(documented[name][1:])))
            assert words == store.capabilities
    assert documented.keys() == opened.keys()


def test_the_time_limits_are_those_of_the_stores() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    limits = re.findall(r"^\| (\w+) \| .* \| ([\d.]+) s \| `(\w+)` \|$", page, re.MULTILINE)
    documented = {(store.lower(), option): float(seconds) for store, seconds, option in limits}
    for store, kind in STORES.items():
        for name, option in own_options_of(kind).items():
            if name.endswith("timeout") and option.default is not None:
                assert documented[store, name] == option.default


HEADINGS = ["Set-up", "Example", "Options", "How expiry works", "What is stored", "Outages"]


@pytest.mark.parametrize("store", STORES)
def test_the_pages_of_the_stores_have_the_same_headings(store: str) -> None:
    page = (ROOT / "docs" / "stores" / f"{store}.md").read_text()
    headings = re.findall(r"^##+ (.*)$", page, re.MULTILINE)
    assert [heading for heading in headings if heading in HEADINGS] == HEADINGS


@pytest.mark.parametrize("name", PICTURES)
def test_the_pictures_are_as_they_are_drawn(name: str) -> None:
    drawn = (ROOT / "docs" / "figures" / f"{name}.svg").read_text()
    assert drawn == PICTURES[name]().svg(), "python -m docs.figures.draw writes it again"


def test_what_is_said_to_show_a_promise_is_a_test() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "security.md").read_text()))
    tests = [
        *(ROOT / "tests").rglob("*.py"),
        *ROOT.glob("plugins/*/tests/*.py"),
        *ROOT.glob("plugins/jam-testing/jam_testing/*.py"),
    ]
    there = {name for file in tests for name in re.findall(r"def (test_\w+)", file.read_text())}
    assert named - there == set()


def test_links_lead_somewhere() -> None:
    pages = [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("plugins/*/README.md"),
        *ROOT.glob("examples/*/README.md"),
    ]
    for page in pages:
        for target, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", page.read_text()):
            if target.startswith(("http", "reference/")):  # the reference is made with the site
                continue
            file = page.parent / target if target else page
            assert file.exists(), f"{page.name} links to {target}"
            if anchor:
                assert anchor in anchors_of(file), f"{page.name} links to {target}#{anchor}"
