"""Plugins: which are installed, which one is chosen, and the pluggy manager that calls them."""

import re
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import pluggy

from jam_core.exceptions import (
    JamConfigurationError,
    JamPluginConflict,
    JamPluginLoadError,
    JamPluginNotFound,
)
from jam_core.options import close_match, import_failure, import_object
from jam_core.session import OPERATIONS, PROJECT, BaseSession

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from pluggy import HookimplOpts

STORES = "jam.session_types"
WRAPPERS = "jam.plugins"


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
            raise JamPluginLoadError(f"{failure.message} {remedy}") from error


def installed_stores() -> list[InstalledPlugin]:
    """Return every installed store, importing none."""
    return _installed(STORES)


def installed_wrappers() -> list[InstalledPlugin]:
    """Return every installed wrapping plugin, importing none."""
    return _installed(WRAPPERS)


def find_store(
    session_type: object, custom_module: object = None
) -> type[BaseSession] | BaseSession:
    """Return the store that a configuration chooses.

    Args:
        session_type: The name of an installed store, "custom", an import path, a class, or a
            ready store.
        custom_module: With "custom": the import path of the class.

    Raises:
        JamConfigurationError: Nothing is chosen.
        JamPluginNotFound: No distribution provides the store.
        JamPluginConflict: More than one does.
        JamPluginLoadError: It fails to import, is no BaseSession, or lacks operations.
    """
    if isinstance(session_type, BaseSession):
        return session_type
    if isinstance(session_type, type):
        return _checked(session_type, f"The class {session_type.__qualname__}")
    if not isinstance(session_type, str) or not session_type:
        fault = (
            "must be the name of an installed store, an import path, a class, or a ready store"
            if session_type
            else "is not set"
        )
        raise JamConfigurationError(f"session_type {fault}. {_available(installed_stores())}")
    if session_type == "custom":
        if not isinstance(custom_module, str) or not custom_module:
            raise JamConfigurationError(
                'session_type "custom" needs custom_module, the import path of your class: '
                'custom_module = "package.module.Class".'
            )
        return _checked(import_object(custom_module), f"custom_module {custom_module!r}")
    if ":" in session_type or "." in session_type:
        return _checked(import_object(session_type), f"session_type {session_type!r}")
    plugin = _the_one_named(session_type, installed_stores(), "session_type")
    return _checked(plugin.load(), f"Plugin {plugin}")


def find_wrapper(name: str) -> object:
    """Return the installed wrapping plugin of a name; a class is instantiated.

    Raises:
        JamPluginNotFound: No distribution provides it.
        JamPluginConflict: More than one does.
        JamPluginLoadError: It fails to import, or to instantiate.
    """
    plugin = _the_one_named(name, installed_wrappers(), "plugin")
    return _instance(plugin.load(), f"Plugin {plugin}")


def hook_relay(store: BaseSession, wrappers: Sequence[object]) -> pluggy.HookRelay:
    """Return the hooks through which the store is called, inside the wrapping plugins.

    Args:
        store: The one store that answers.
        wrappers: The wrapping plugins, the outermost first; a class is instantiated.

    Raises:
        JamPluginLoadError: A plugin implements what is no hook, with other parameters than the
            hook has, or not as a wrapper.
    """
    instances = [_instance(wrapper, _name_of(wrapper)) for wrapper in wrappers]
    manager = _PluginManager(PROJECT)
    manager.add_hookspecs(BaseSession)
    for plugin in (store, *reversed(instances)):
        name = _name_of(plugin)
        if manager.is_registered(plugin):
            raise JamPluginLoadError(f"{name} is given twice.")
        try:
            manager.register(plugin, name=f"{name} {id(plugin)}")
            manager.check_pending()
        except pluggy.PluginValidationError as error:
            reason = str(error).removeprefix(f"Plugin {f'{name} {id(plugin)}'!r} for ")
            reason = " ".join(reason.replace(f" in plugin {plugin!r}", "").split())
            raise JamPluginLoadError(
                f"{name} does not fit the hooks of jam: {reason}. "
                "The hooks and their parameters are the methods of jam_core.BaseSession."
            ) from error
        if not manager.get_hookcallers(plugin):
            raise JamPluginLoadError(
                f"{name} implements no hook of jam: mark its methods with "
                "@jam_core.hookimpl(wrapper=True)."
            )
    _check_that_only_the_store_answers(manager.hook, store)
    return manager.hook


class _PluginManager(pluggy.PluginManager):
    """Takes a store's plain methods for hook implementations."""

    def parse_hookimpl_opts(self, plugin: object, name: str) -> "HookimplOpts | None":
        if not isinstance(plugin, BaseSession):
            return super().parse_hookimpl_opts(plugin, name)
        if name not in OPERATIONS:
            return None
        return {
            "wrapper": False,
            "hookwrapper": False,
            "optionalhook": False,
            "tryfirst": False,
            "trylast": False,
            "specname": None,
        }


def _check_that_only_the_store_answers(hooks: pluggy.HookRelay, store: BaseSession) -> None:
    """Make sure that None from a hook can only be the store's own answer."""
    for operation in OPERATIONS:
        implementations = getattr(hooks, operation).get_hookimpls()
        answering = [one.plugin for one in implementations if not (one.wrapper or one.hookwrapper)]
        if store not in answering:
            raise JamPluginLoadError(f"{_name_of(store)} does not implement {operation}.")
        for plugin in answering:
            if plugin is not store:
                raise JamPluginLoadError(
                    f"{_name_of(plugin)} implements {operation} as a store would: only the store "
                    "answers. Mark it with @jam_core.hookimpl(wrapper=True)."
                )


def _instance(plugin: object, what: str) -> object:
    """Return a wrapping plugin, instantiated if it is a class."""
    if not isinstance(plugin, type):
        return plugin
    try:
        return plugin()
    except Exception as error:
        raise JamPluginLoadError(
            f"{what} cannot be instantiated: {type(error).__name__}, the cause of this error."
        ) from error


def _name_of(plugin: object) -> str:
    if isinstance(plugin, ModuleType):
        return f"Plugin {plugin.__name__}"
    kind = plugin if isinstance(plugin, type) else type(plugin)
    return f"Plugin {kind.__module__}.{kind.__qualname__}"


def _installed(group: str) -> list[InstalledPlugin]:
    from importlib.metadata import entry_points

    # An interrupted installation can leave a distribution's metadata twice.
    by_place = {
        (plugin.name, plugin.value): plugin
        for plugin in sorted(_described(entry_point) for entry_point in entry_points(group=group))
    }
    return list(by_place.values())


def _described(entry_point: "EntryPoint") -> InstalledPlugin:
    distribution = entry_point.dist
    return InstalledPlugin(
        entry_point.name,
        entry_point.value,
        (distribution and distribution.name) or "unknown distribution",
        (distribution and distribution.version) or "unknown version",
    )


def _the_one_named(name: str, installed: Sequence[InstalledPlugin], what: str) -> InstalledPlugin:
    found = [plugin for plugin in installed if plugin.name == name]
    if not found:
        match = close_match(name, [plugin.name for plugin in installed])
        package = f"jam-{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}"
        # After a slip of the pen, that package would be a stranger's.
        install = f" By convention the package {package} provides it: pip install {package}"
        raise JamPluginNotFound(
            f"{what} {name!r} is not installed.{match} {_available(installed)}"
            f"{'' if match else install}"
        )
    if len(found) > 1:
        raise JamPluginConflict(
            f"{what} {name!r} is provided by {len(found)} distributions: "
            f"{' and '.join(str(plugin) for plugin in found)}. Uninstall all but one"
            + (
                f", or choose by import path: {what} = {found[0].value!r}."
                if what != "plugin"
                else "."
            )
        )
    return found[0]


def _available(installed: Iterable[InstalledPlugin]) -> str:
    names = ", ".join(dict.fromkeys(repr(plugin.name) for plugin in installed))
    return f"Installed: {names}." if names else "No plugin of this kind is installed."


def _checked(store: object, what: str) -> type[BaseSession]:
    """Return `store` if it is a class that can be a store."""
    if not isinstance(store, type) or not issubclass(store, BaseSession):
        raise JamPluginLoadError(f"{what} is no subclass of jam_core.BaseSession.")
    lacking: list[str] = sorted(getattr(store, "__abstractmethods__", ()))
    if lacking:
        raise JamPluginLoadError(
            f"{what} is no complete store: it lacks {', '.join(lacking)}. "
            "Every store implements all abstract methods of jam_core.BaseSession."
        )
    return store
