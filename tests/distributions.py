"""Toy distributions, installed as pip would: modules, METADATA, entry_points.txt, RECORD."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent


class Site:
    """A directory of the import path into which distributions are installed.

    Attributes:
        path: The directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def install(
        self,
        name: str,
        modules: Mapping[str, str],
        entry_points: Mapping[str, Mapping[str, str]],
        version: str = "1.0",
    ) -> None:
        """Install a distribution.

        Args:
            name: Its name.
            modules: The source of each of its modules, by name.
            entry_points: By group: the value of each entry point, by name.
            version: Its version.
        """
        files = {f"{module}.py": dedent(source) for module, source in modules.items()}
        information = f"{name.replace('-', '_')}-{version}.dist-info"
        files[f"{information}/METADATA"] = (
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        files[f"{information}/entry_points.txt"] = "".join(
            f"[{group}]\n" + "".join(f"{entry} = {value}\n" for entry, value in entries.items())
            for group, entries in entry_points.items()
        )
        files[f"{information}/RECORD"] = "".join(f"{file},,\n" for file in files)
        for file, text in files.items():
            target = self.path / file
            target.parent.mkdir(exist_ok=True)
            target.write_text(text, encoding="utf-8")
        importlib.invalidate_caches()

    def install_store(
        self, session_type: str, source: str, *, module: str = "", name: str = ""
    ) -> None:
        """Install a distribution of one module, whose `Store` is the store `session_type`."""
        module = module or f"toy_{session_type}"
        self.install(
            name or f"jam-{session_type}",
            {module: source},
            {"jam.session_types": {session_type: f"{module}:Store"}},
        )

    def install_wrapper(self, plugin: str, source: str, attribute: str = "") -> None:
        """Install a distribution of one module, which is the plugin, or holds it."""
        module = f"toy_{plugin}"
        value = f"{module}:{attribute}" if attribute else module
        self.install(f"jam-{plugin}", {module: source}, {"jam.wrappers": {plugin: value}})
