"""Pages of the reference for the public names, made from the code when the site is built.

MkDocs calls the functions `on_...`: https://www.mkdocs.org/dev-guide/plugins/#events.
"""

import importlib
import inspect
from collections.abc import Iterator
from typing import Any, NamedTuple

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

MODULES = {
    "jam_core": "the framework; `jam` has the same objects at the import paths of applications",
    "jam.aio": "the same for asyncio",
    "jam_core.hosting": "for tools that work with stores and configurations, such as jam-cli",
    "jam_testing": "the contract suite, for authors of stores",
    "jam_testing.memory": "sessions in memory, for the tests of an application",
    "jam_json": "sessions in JSON files",
    "jam_redis": "sessions in Redis",
    "jam_sqlalchemy": "sessions in an SQL table",
    "jam_telemetry": "spans and metrics",
    "jam_web": "sessions in web frameworks: what their adapters share",
    "jam_web.asgi": "sessions in ASGI",
    "jam_web.flask": "sessions in Flask",
    "jam_web.django": "sessions in Django",
}
UNSEARCHED = {"benchmarks.md", "figures/report.md", "performance-notes.md", "wrong-stores.md"}
"""Pages of figures and lists, which would crowd out the answers in a search."""
FOUND_LAST = {
    *("changelog.md", "contract.md", "contributing.md", "how-to.md", "tutorial.md"),
    *("deployment/docker.md", "deployment/managed-redis.md", "web/others.md"),
}
"""Pages for few, with words of others: in a search they come after those."""
_FOR_TOOLS = ("jam_core.hosting",)
_BOOST = 0.1
_TO_THE_TOP = "<!-- this goes below the heading, which mkdocstrings makes -->"
EXAMPLE = """\
```python
from jam import Jam

with Jam("config.toml") as jam:
    session_id = jam.session_create("user1", {"role": "admin"})
    jam.session_get(session_id)  # {"role": "admin"}; None if there is none
    jam.session_delete(session_id)
```
"""
FIRST = f"""\
# Reference

An application needs one class, [`Jam`](jam_core.Jam.md). For asyncio,
[`jam.aio.Jam`](jam.aio.Jam.md) has the same methods, awaited.

{EXAMPLE}
Below is every public name. What is not listed may change in any release.
"""


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

    @property
    def content(self) -> str:
        """What is on its page."""
        search = "{exclude: true}" if self.module in _FOR_TOOLS else f"{{boost: {_BOOST}}}"
        use = f"```python\nfrom {self.module} import {self.name}\n```\n"
        return (
            f"---\ntitle: {self.name}\nsearch: {search}\n---\n\n"
            f"::: {self.module}.{self.name}\n\n{_TO_THE_TOP}\n\n"
            f"{EXAMPLE if self.page == 'jam_core.Jam.md' else use}"
        )


def public_names(module: str) -> Iterator[PublicName]:
    """Yield what a module exports, `Jam` first."""
    exported = importlib.import_module(module)
    for name in sorted(exported.__all__, key=lambda name: (name != "Jam", name)):
        thing = getattr(exported, name)
        docstring = inspect.getdoc(thing) or ""
        if isinstance(thing, str | int | tuple):  # theirs would be that of the type
            docstring = f"`{thing!r}`"
        elif docstring in ("", inspect.getdoc(type(thing))):
            docstring = "A type, for annotations."
        yield PublicName(module, name, docstring.partition("\n")[0])


def index() -> str:
    """Return the page that leads to the others."""
    lines = [FIRST]
    for module, what in MODULES.items():
        lines += ["", f"## {module}", "", f"{what[0].upper()}{what[1:]}.", ""]
        lines += ["| name | what |", "| --- | --- |"]
        lines += [f"| [`{one.name}`]({one.page}) | {one.summary} |" for one in public_names(module)]
    return "\n".join(lines) + "\n"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages of the reference into the menu."""
    (reference,) = (one["Reference"] for one in config.nav or [] if "Reference" in one)
    for module in MODULES:
        pages = [{one.name: f"reference/{one.page}"} for one in public_names(module)]
        reference.append({module: pages})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the reference."""
    files.append(File.generated(config, "reference/index.md", content=index()))
    for module in MODULES:
        for one in public_names(module):
            files.append(File.generated(config, f"reference/{one.page}", content=one.content))
    return files


def on_page_content(html: str, **_: Any) -> str:
    """Show how to import a name at the top of its page."""
    page, _found, use = html.partition(_TO_THE_TOP)
    return page.replace("</h1>", f"</h1>{use}", 1)


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Keep pages that answer no question out of the search, and others behind."""
    if page.file.src_uri in UNSEARCHED:
        page.meta["search"] = {"exclude": True}
    elif page.file.src_uri in FOUND_LAST:
        page.meta["search"] = {"boost": _BOOST}
    return markdown
