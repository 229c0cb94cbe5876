"""From a configuration to a store that is ready and the hooks that lead to it."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from pluggy import HookRelay

from jam_core.config import Configuration, read_configuration
from jam_core.exceptions import JamConfigurationError, JamError, JamPluginLoadError
from jam_core.options import bind_options, close_match
from jam_core.plugins import find_store, find_wrapper, hook_relay
from jam_core.session import BaseSession

_SETTINGS = ("session", "plugins")


def open_store(
    config: str | os.PathLike[str] | Mapping[str, Any] | None,
    pointer: str,
    plugins: Sequence[object],
) -> tuple[BaseSession, HookRelay]:
    """Open the store that a configuration chooses; parameters and errors are those of `Jam`."""
    if not isinstance(plugins, list | tuple):
        raise JamConfigurationError("plugins must be a list of wrapping plugins, or their names.")
    configuration = read_configuration(config, pointer)
    problems = [*configuration.problems, *_unknown_settings(configuration)]
    store, options = _choose_store(configuration, problems)
    wrappers = [
        *(find_wrapper(plugin) if isinstance(plugin, str) else plugin for plugin in plugins),
        *_named_wrappers(configuration, problems),
    ]
    if store is None or problems:
        raise _all_in_one(configuration.source, problems)
    if isinstance(store, BaseSession):
        return store, hook_relay(store, wrappers)
    opened = _build(store, options, configuration)
    try:
        return opened, hook_relay(opened, wrappers)
    except JamError:
        opened.close()
        raise


def _unknown_settings(configuration: Configuration) -> list[JamConfigurationError]:
    problems = []
    for key in configuration.table:
        if key == "session_type":
            table = configuration.key("session")
            problems.append(configuration.problem(key, f"belongs in the table [{table}]."))
        elif key not in _SETTINGS:
            hint = close_match(str(key), _SETTINGS) or f" Known: {', '.join(_SETTINGS)}."
            problems.append(configuration.problem(str(key), f"is no setting of jam.{hint}"))
    return problems


def _choose_store(
    configuration: Configuration, problems: list[JamConfigurationError]
) -> tuple[type[BaseSession] | BaseSession | None, dict[str, Any]]:
    """Return the chosen store and its arguments; add what is wrong to `problems`."""
    session = configuration.table.get("session", {})
    if not isinstance(session, Mapping):
        problems.append(configuration.problem("session", "must be a table."))
        return None, {}
    given = dict(session)
    session_type, custom_module = given.pop("session_type", None), given.pop("custom_module", None)
    if custom_module is not None and session_type != "custom":
        text = 'is only read with session_type = "custom".'
        problems.append(configuration.problem("session.custom_module", text))
    try:
        store = find_store(session_type, custom_module)
    except JamConfigurationError as error:
        problems.append(type(error)(f"{configuration.source}: {error.message}"))
        problems[-1].__cause__ = error.__cause__
        return None, {}
    if isinstance(store, BaseSession):
        if given:
            text = f"cannot be set: session_type is a ready store ({', '.join(given)} given)."
            problems.append(configuration.problem("session", text))
        return store, {}
    options, found = bind_options(
        store, given, lambda key, text: configuration.problem(f"session.{key}", text)
    )
    problems += found
    return store, options


def _named_wrappers(
    configuration: Configuration, problems: list[JamConfigurationError]
) -> list[object]:
    """Return the wrapping plugins that the configuration names; add what is wrong."""
    names = configuration.table.get("plugins", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        problems.append(configuration.problem("plugins", "must be a list of names."))
        return []
    wrappers = []
    for name in names:
        try:
            wrappers.append(find_wrapper(name))
        except JamConfigurationError as error:
            problems.append(type(error)(f"{configuration.source}: {error.message}"))
            problems[-1].__cause__ = error.__cause__
    return wrappers


def _all_in_one(source: str, problems: list[JamConfigurationError]) -> JamConfigurationError:
    if len(problems) == 1:
        return problems[0]
    texts = [problem.message for problem in problems]
    listed = "".join("\n  - " + text.removeprefix(f"{source}: ") for text in texts)
    error = JamConfigurationError(f"{source}: {len(problems)} problems:{listed}", texts)
    error.__cause__ = next((one.__cause__ for one in problems if one.__cause__), None)
    return error


def _build(
    store: type[BaseSession], options: dict[str, Any], configuration: Configuration
) -> BaseSession:
    try:
        return store(**options)
    except JamConfigurationError as error:
        where = f"{configuration.source}: {configuration.key('session')}"
        raise type(error)(f"{where}: {error.message}") from error.__cause__
    except JamError:
        raise
    except Exception as error:
        raise JamPluginLoadError(
            f"{configuration.source}: the store {store.__module__}.{store.__qualname__} failed to "
            f"start: {type(error).__name__}, the cause of this error."
        ) from error
