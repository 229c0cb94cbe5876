"""The documentation of a store's options, from its docstrings."""

import inspect
import re
from collections.abc import Iterator

_SECTION = "Args:"
_ENTRY = re.compile(r" {4}\*{0,2}(\w+)(?: \([^)]*\))?:\s*(.*)")


def summary_of(thing: object) -> str:
    """Return the first line of a docstring, or nothing; an inherited one does not count."""
    documentation = getattr(thing, "__dict__", {}).get("__doc__") or ""
    return inspect.cleandoc(str(documentation)).partition("\n")[0]


def option_docs_of(store: type) -> dict[str, str]:
    """Return what the `Args:` sections of a class and its parents say, by option."""
    docs: dict[str, str] = {}
    for parent in store.__mro__:
        constructor = vars(parent).get("__init__")
        for documented in (parent, constructor):
            docstring = inspect.cleandoc(getattr(documented, "__doc__", None) or "")
            docs = dict(_arguments_in(docstring)) | docs
    return docs


def _arguments_in(docstring: str) -> Iterator[tuple[str, str]]:
    """Yield name and text of each entry of a Google-style docstring's `Args:` section."""
    name, words = "", list[str]()
    inside = False
    for line in docstring.splitlines():
        if not line.startswith(" "):
            inside = line == _SECTION or (inside and not line)
        elif inside:
            entry = _ENTRY.match(line)
            if entry:
                yield name, " ".join(words)
                name, words = entry[1], [entry[2]]
            else:
                words.append(line.strip())
    yield name, " ".join(words)
