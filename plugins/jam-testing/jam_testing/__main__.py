"""`python -m jam_testing`: print every promise and the clause that checks it, as Markdown."""

from jam_testing import SessionContract, clauses_of
from jam_testing.promises import SECTIONS


def contract_tables() -> str:
    """Return a heading and a table for every section of the contract."""
    clauses = clauses_of(SessionContract)
    text = ""
    for section in SECTIONS:
        rows = [
            f"| {made.sentence} | `{name}` | {', '.join(made.needs)} |\n"
            for name, made in clauses.items()
            if made.section == section
        ]
        if rows:
            text += f"## {section}\n\n| promise | clause | needs |\n| --- | --- | --- |\n"
            text += "".join(rows) + "\n"
    return text.rstrip("\n") + "\n"


if __name__ == "__main__":
    print(contract_tables(), end="")  # noqa: T201
