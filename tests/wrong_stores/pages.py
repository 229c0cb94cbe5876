"""The pages of the manual that are made from the suite and from the wrong stores."""

from collections.abc import Callable
from pathlib import Path

from jam_testing import SessionContract, clauses_of
from jam_testing.__main__ import contract_tables

from tests.wrong_stores import SUBJECTS
from tests.wrong_stores.catalogue import UNPROVEN, WRONG_STORES

DOCS = Path(__file__).parents[2] / "docs"
CONTRACT, WRONG = DOCS / "contract.md", DOCS / "wrong-stores.md"
MARK = "<!-- From here on: python -m jam_testing -->\n\n"

HEAD = """\
# The wrong stores

A test suite is only as good as what it catches. The contract suite runs against {stores} stores
that each do something wrong on purpose; each is caught by exactly the clause that it breaks, and
each of the suite's {clauses} clauses catches at least one. The correct stores pass all of them:
one in memory, one in a file, the dict of [Write a store](writing-a-store.md), and every store
that Jam ships.

The stores are in `tests/wrong_stores`, most of them one overridden method.
`python -m tests.wrong_stores` writes this page.
"""


def contract_page() -> str:
    """Return docs/contract.md: its beginning as it stands, and the tables as the suite has them."""
    beginning, _, _ = CONTRACT.read_text(encoding="utf-8").partition(MARK)
    return beginning + MARK + contract_tables()


def wrong_stores_page() -> str:
    """Return docs/wrong-stores.md."""
    text = HEAD.format(stores=len(WRONG_STORES), clauses=len(clauses_of(SessionContract)))
    for subject in SUBJECTS:
        rows = [
            f"| `{wrong.store.__name__}` | {wrong.fault} | {_names(wrong.clauses)} |\n"
            for wrong in WRONG_STORES
            if wrong.store.__module__ == subject.__name__
        ]
        name = subject.__name__.rpartition(".")[2]
        text += f"\n## {name}\n\n| store | what it does wrong | caught by |\n| --- | --- | --- |\n"
        text += "".join(rows)
    if UNPROVEN:
        text += "\n## clauses that no wrong store proves\n\n| clause | why |\n| --- | --- |\n"
        text += "".join(f"| `{clause}` | {why} |\n" for clause, why in UNPROVEN.items())
    return text


def _names(clauses: tuple[str, ...]) -> str:
    return ", ".join(f"`{clause}`" for clause in clauses)


PAGES: dict[Path, Callable[[], str]] = {CONTRACT: contract_page, WRONG: wrong_stores_page}
