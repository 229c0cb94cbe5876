"""The manual says what the code says."""

import re
from pathlib import Path

import pytest
from jam_json import JSONSessions
from jam_redis import RedisSessions
from jam_sqlalchemy import SQLAlchemySessions

from jam_core import BaseSession, exceptions
from jam_core.options import Option, options_of
from jam_core.session import aliases_of

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


def test_every_error_has_its_row_and_no_other() -> None:
    documented = table_rows(ROOT / "docs" / "errors.md", "error_code")
    classes = [
        found
        for found in vars(exceptions).values()
        if isinstance(found, type) and issubclass(found, exceptions.JamError)
    ]
    assert {code: cells[1] for code, cells in documented.items()} == {
        found.error_code: f"`{found.__name__}`" for found in classes
    }


OPTIONS_OF_EVERY_STORE = options_of(BaseSession)  # type: ignore[type-abstract]


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


def test_every_alias_is_documented() -> None:
    rows = table_rows(ROOT / "docs" / "configuration.md", "option")
    for alias, option in aliases_of(BaseSession).items():
        assert f"`{alias}`" in rows[option][0]


def test_links_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins/*/README.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"
