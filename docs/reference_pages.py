"""A page of the reference for each public name, made of the code when the site is built.

MkDocs calls `on_files`: https://www.mkdocs.org/dev-guide/plugins/#events.
"""

import importlib
import inspect
from collections.abc import Iterator
from typing import NamedTuple

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

MODULES = {
    "jam_core": "the framework; `jam` has the same objects at the import paths of applications",
    "jam_core.testing": "the contract suite, for authors of stores",
    "jam_json": "sessions in JSON files",
    "jam_redis": "sessions in Redis",
    "jam_sqlalchemy": "sessions in an SQL table",
    "jam_telemetry": "spans and metrics",
}


class PublicName(NamedTuple):
    """A public name.

    Attributes:
        module: Where it is imported from.
        name: The name.
        summary: The first line of its docstring.
    """

    module: str
    name: str
    summary: str

    @property
    def page(self) -> str:
        """Its page, within the reference."""
        return f"{self.module}.{self.name}.md"


def public_names(module: str) -> Iterator[PublicName]:
    """Yield what a module exports."""
    exported = importlib.import_module(module)
    for name in sorted(exported.__all__):
        docstring = inspect.getdoc(getattr(exported, name)) or ""
        yield PublicName(module, name, docstring.partition("\n")[0])


def index() -> str:
    """Return the page that leads to the others."""
    lines = ["# Reference", "", "Every public name; what is not here may change in any release."]
    for module, what in MODULES.items():
        lines += ["", f"## {module}", "", f"{what[0].upper()}{what[1:]}.", ""]
        lines += ["| name | what |", "| --- | --- |"]
        lines += [f"| [`{one.name}`]({one.page}) | {one.summary} |" for one in public_names(module)]
    return "\n".join(lines) + "\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the reference."""
    files.append(File.generated(config, "reference/index.md", content=index()))
    for module in MODULES:
        for one in public_names(module):
            content = f"---\nsearch: {{boost: 0.5}}\n---\n\n::: {one.module}.{one.name}\n"
            files.append(File.generated(config, f"reference/{one.page}", content=content))
    return files
