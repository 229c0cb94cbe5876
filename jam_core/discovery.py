"""Plugins: which are installed, and which one is chosen. Only that one is imported."""

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jam_core.exceptions import (
    JamConfigurationError,
    JamPluginConflict,
    JamPluginLoadError,
    JamPluginNotFound,
)
from jam_core.hooks import check_store
from jam_core.importing import import_failure, import_object, is_importable, package_lacking
from jam_core.problems import close_match
from jam_core.session import BaseSession

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

STORES = "jam.session_types"
WRAPPERS = "jam.wrappers"
MOVING = "moving"
FORMER_WRAPPERS = "jam.plugins"
# What just reading a distribution's metadata can raise.
_DAMAGE = (ValueError, TypeError, LookupError, AttributeError, OSError)


class InstalledPlugin(NamedTuple):
    """A plugin as its distribution announces it, not imported yet.

    Attributes:
        name: What the configuration calls it.
        value: Where it is, as "package.module:name".
        distribution: The distribution that provides it.
        version: That distribution's version.
    """

    name: str
    value: str
    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.name!r} ({self.distribution} {self.version}, {self.value})"

    def load(self) -> Any:
        """Import the plugin and return it.

        Raises:
            JamPluginLoadError: It fails to import.
        """
        from importlib.metadata import EntryPoint

        try:
            return EntryPoint(self.name, self.value, group="").load()
        except (Exception, SystemExit) as error:
            failure = import_failure(f"Plugin {self}", error)
            remedy = f"Reinstall or update {self.distribution}, or tell its maintainers."
            lacking = package_lacking(error)
            if lacking and lacking != re.split("[.:]", self.value)[0]:
                remedy = f"Install it: pip install {lacking}."
            raise JamPluginLoadError(f"{failure.message} {remedy}") from error


class DamagedDistribution(NamedTuple):
    """A distribution whose entry points cannot be read, so that its plugins cannot be found.

    Attributes:
        name: Its name.
        version: Its version.
        reason: What is wrong, as a sentence without its subject.
    """

    name: str
    version: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} {self.version} {self.reason}"


def installed_stores() -> list[InstalledPlugin]:
    """Return every installed store without importing any."""
    return _look(STORES)[0]


def installed_wrappers() -> list[InstalledPlugin]:
    """Return every installed wrapper without importing any."""
    return _look(WRAPPERS)[0]


def damaged_distributions() -> list[DamagedDistribution]:
    """Return every distribution that was skipped in the search for plugins."""
    return _look(STORES)[1]


def find_store(
    session_type: object, custom_module: object = None
) -> type[BaseSession] | BaseSession:
    """Return the store that a configuration chooses.

    Args:
        session_type: The name of an installed store, "custom", "moving", an import path, a class,
            or a ready store.
        custom_module: With "custom": the import path of the class.

    Raises:
        JamConfigurationError: Nothing is chosen.
        JamPluginNotFound: No distribution provides the store.
        JamPluginConflict: More than one does.
        JamPluginLoadError: It fails to import, is not a BaseSession, or lacks operations.
    """
    if isinstance(session_type, BaseSession):
        check_store(type(session_type), f"The store {type(session_type).__qualname__}")
        return session_type
    if isinstance(session_type, type):
        return _checked(session_type, f"The class {session_type.__qualname__}")
    if not isinstance(session_type, str) or not session_type:
        installed = installed_stores()
        example = f'"{installed[0].name}"' if installed else '"json"'
        fault = (
            "must be the name of an installed store, an import path, a class, or a ready store."
            if session_type
            else f"is not set. Write this in the session's table: session_type = {example}."
        )
        raise JamConfigurationError(f"session_type {fault} {_available(installed)}")
    if session_type == "custom":
        if not isinstance(custom_module, str) or not custom_module:
            raise JamConfigurationError(
                'session_type "custom" needs custom_module, the import path of your class: '
                'custom_module = "package.module.Class".'
            )
        return _checked(import_object(custom_module), f"custom_module {custom_module!r}")
    if session_type == MOVING:
        from jam_core.moving import MovingSessions  # it uses two stores, and this to find them

        return MovingSessions
    if ":" in session_type or "." in session_type:
        return _checked(import_object(session_type), f"session_type {session_type!r}")
    plugin = _the_one_named(session_type, STORES, "session_type")
    return _checked(plugin.load(), f"Plugin {plugin}")


def find_wrapper(name: str) -> Any:
    """Return the wrapper with a name, or at an import path: a class, an instance or a module.

    Raises:
        JamPluginNotFound: No distribution provides it.
        JamPluginConflict: More than one does.
        JamPluginLoadError: It fails to import.
    """
    if ":" in name or "." in name:
        return import_object(name)
    return _the_one_named(name, WRAPPERS, "wrapper").load()


def _look(group: str) -> tuple[list[InstalledPlugin], list[DamagedDistribution]]:
    """Return the plugins of a group, and the distributions that cannot be read."""
    found, damaged = _looked(group, *map(_state_of, sys.path))
    return [*found], [*damaged]


def _state_of(place: str) -> tuple[object, ...]:
    """Return what changes when something is installed in a place of the import path."""
    try:
        now = Path(place).stat()
    except OSError:
        return (place,)
    return place, now.st_dev, now.st_ino, now.st_mtime_ns


@lru_cache(maxsize=8)  # looking can take 20 ms, for which every test would wait
def _looked(group: str, *_path: object) -> tuple[list[InstalledPlugin], list[DamagedDistribution]]:
    from importlib.metadata import entry_points

    damaged: list[DamagedDistribution] = []
    found: Iterable[EntryPoint]
    try:
        found = entry_points(group=group)
    except _DAMAGE:  # with one damaged distribution, looking at all of them fails
        found = list(_one_by_one(group, damaged))
    # An interrupted installation can leave two copies of a distribution's metadata.
    by_place = {
        (plugin.name, plugin.value): plugin
        for plugin in sorted(_described(entry_point) for entry_point in found)
    }
    return list(by_place.values()), damaged


def _one_by_one(group: str, damaged: list[DamagedDistribution]) -> "Iterator[EntryPoint]":
    """Yield the entry points of every distribution that can be read; note those that cannot."""
    from importlib.metadata import distributions

    seen = set()
    for distribution in distributions():
        name, version = _name_and_version(distribution)
        if name in seen:  # the first on the path hides the others
            continue
        seen.add(name)
        try:
            yield from distribution.entry_points.select(group=group)
        except _DAMAGE as error:
            reason = f"has an entry_points.txt that cannot be read ({type(error).__name__})"
            damaged.append(DamagedDistribution(name, version, reason))


def _name_and_version(distribution: "Distribution | None") -> tuple[str, str]:
    try:
        name, version = (
            (distribution and distribution.name),
            (distribution and distribution.version),
        )
    except Exception:  # its METADATA is damaged as well
        name, version = None, None
    return name or "unknown distribution", version or "unknown version"


def _described(entry_point: "EntryPoint") -> InstalledPlugin:
    return InstalledPlugin(
        entry_point.name, entry_point.value, *_name_and_version(entry_point.dist)
    )


def _the_one_named(name: str, group: str, setting: str) -> InstalledPlugin:
    installed, damaged = _look(group)
    for distribution in damaged:
        _warn(f"{distribution}: skipped. Reinstall it.")
    found = [plugin for plugin in installed if plugin.name == name]
    if not found:
        _looked.cache_clear()  # it may be half installed at this moment
        raise JamPluginNotFound(
            f"{setting} {name!r} is not installed.{_remedy(name, group, installed, damaged)}"
        )
    if len(found) > 1:
        raise JamPluginConflict(
            f"{setting} {name!r} is provided by {len(found)} distributions: "
            f"{' and '.join(str(plugin) for plugin in found)}. Uninstall all but one, or choose "
            f"by import path: {setting} = {found[0].value!r}."
        )
    return found[0]


def _remedy(
    name: str,
    group: str,
    installed: Sequence[InstalledPlugin],
    damaged: Sequence[DamagedDistribution],
) -> str:
    """Say what is known about a plugin that is not installed."""
    match = close_match(name, [plugin.name for plugin in installed])
    text = f"{match} {_available(installed)}"
    former = _look(FORMER_WRAPPERS)[0] if group == WRAPPERS else []
    for plugin in former:
        if plugin.name == name:
            return (
                f"{text} {plugin.distribution} {plugin.version} provides it in the group "
                f"{FORMER_WRAPPERS}, which is now called {WRAPPERS}: update {plugin.distribution}."
            )
    if damaged:
        text += f" Skipped: {', '.join(map(str, damaged))}. Reinstall it."
    if not match:  # after a typo, that package could be a stranger's
        package = f"jam-{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}"
        module = package.replace("-", "_")
        if getattr(sys, "frozen", False) or is_importable(module):
            return (
                f"{text} Jam finds plugins by the metadata of their packages, and that of "
                f"{package} is missing: build the program with it (PyInstaller: --copy-metadata "
                f"{package}), "
                f'or choose by import path, "{module}:Class".'
            )
        text += f" By convention the package {package} provides it: pip install {package}"
    return text


def _warn(text: str) -> None:
    import logging

    logging.getLogger("jam").warning(text)


def _available(installed: Iterable[InstalledPlugin]) -> str:
    names = ", ".join(dict.fromkeys(repr(plugin.name) for plugin in installed))
    return f"Installed: {names}." if names else "No plugin of this kind is installed."


def _checked(store: object, what: str) -> type[BaseSession]:
    """Return `store` if it is a class that can be a store."""
    if not isinstance(store, type) or not issubclass(store, BaseSession):
        raise JamPluginLoadError(f"{what} is not a subclass of jam_core.BaseSession.")
    lacking: list[str] = sorted(getattr(store, "__abstractmethods__", ()))
    if lacking:
        raise JamPluginLoadError(
            f"{what} is not a complete store: it lacks {', '.join(lacking)}. "
            "Every store implements all abstract methods of jam_core.BaseSession."
        )
    check_store(store, what)
    return store
