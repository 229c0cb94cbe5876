"""From a configuration to a store that is ready, and the wrappers around it."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from jam_core.config import Written, as_written, read_configuration
from jam_core.discovery import find_store, find_wrapper
from jam_core.exceptions import JamConfigurationError, JamError, JamPluginLoadError
from jam_core.hooks import name_of, not_blocking
from jam_core.logger import BaseLogger, JamLogger
from jam_core.options import bind_options, options_of
from jam_core.problems import Problems, close_match
from jam_core.session import BaseSession, logger_of

_SETTINGS = ("session", "wrappers", "wrapper")
_FORMER_WRAPPERS = "plugins"


class ConfiguredStore(NamedTuple):
    """What a configuration says: found and checked, but not opened.

    Attributes:
        source: Where it is: the file's path, or words for a dict.
        pointer: The dotted path of the table in it.
        session_type: What chooses the store, as it is written; "custom" if custom_module does.
        store: The store's class; or the ready store that a dict holds.
        options: What the store is constructed with, under the options' own names.
        written: The same options as they are written, before they are converted.
        wrappers: Each makes a wrapper; the outermost first.
    """

    source: str
    pointer: str
    session_type: object
    store: type[BaseSession] | BaseSession
    options: Mapping[str, Any]
    written: Mapping[str, Written]
    wrappers: Sequence[Callable[[], object]]

    @property
    def logger(self) -> BaseLogger:
        """Where the store logs, or would if it could be opened."""
        if isinstance(self.store, BaseSession):
            return self.store.logger
        return logger_of(self.options.get("logger", JamLogger))

    def open(self) -> BaseSession:
        """Construct the store.

        Raises:
            JamConfigurationError: The store cannot use its options.
            JamStoreUnavailable: The store cannot be reached.
        """
        if isinstance(self.store, BaseSession):
            return self.store
        where = f"{self.source}: {self.pointer and self.pointer + '.'}session"
        construct = partial(_constructed, kind=self.store, options=self.options, where=where)
        store: BaseSession = not_blocking(construct, self.store)()
        return store


def configured_store(
    config: str | os.PathLike[str] | Mapping[str, Any] | ConfiguredStore | None,
    pointer: str,
    wrappers: Sequence[object] = (),
) -> ConfiguredStore:
    """Read a configuration, and find and check what it names; open and construct nothing.

    Args:
        config: The path of a file, or a dict, as `Jam` takes it; or what this returned.
        pointer: The dotted path of the table in it.
        wrappers: Wrappers, or their names, around those that the configuration names.

    Raises:
        JamConfigurationError: It cannot be used; its `problems` list everything wrong with it.
    """
    if isinstance(config, ConfiguredStore):
        return config
    if not isinstance(wrappers, list | tuple):
        raise JamConfigurationError("wrappers must be a list of wrappers, or their names.")
    table, written, problems = read_configuration(config, pointer)
    _check_settings(table, problems)
    chosen = _choose_store(table, written, problems)
    found = _choose_wrappers(table, wrappers, problems)
    problems.raise_any()
    return ConfiguredStore(problems.source, problems.key, *chosen, found)


def _check_settings(table: Mapping[str, Any], problems: Problems) -> None:
    for key in map(str, table):
        if key == "session_type":
            problems.at(key).add(f"belongs in the table [{problems.at('session').key}].")
        elif key == _FORMER_WRAPPERS:
            problems.at(key).add('is now called wrappers: write wrappers = ["name", ...].')
        elif key not in _SETTINGS:
            hint = close_match(key, _SETTINGS) or f" Known: {', '.join(_SETTINGS)}."
            problems.at(key).add(f"is not a setting of jam.{hint}")


def _choose_store(
    table: Mapping[str, Any], written: Mapping[str, Any], problems: Problems
) -> tuple[Any, Any, dict[str, Any], dict[str, Written]]:
    """Return what chooses the store, the store, and its options, as bound and as written."""
    at = problems.at("session")
    session = table.get("session", {})
    if not isinstance(session, Mapping):
        at.add("must be a table.")
        return None, None, {}, {}
    given = dict(session)
    session_type, custom_module = given.pop("session_type", None), given.pop("custom_module", None)
    if custom_module is not None and session_type != "custom":
        at.at("custom_module").add('is only read with session_type = "custom".')
    try:
        store = find_store(session_type, custom_module)
    except JamConfigurationError as error:
        problems.add_error(error if session_type else _untold_type(error, given))
        return None, None, {}, {}
    if isinstance(store, BaseSession):
        if given:
            at.add(f"cannot be set: session_type is a ready store ({', '.join(given)} given).")
        return session_type, store, {}, {}
    options = bind_options(store, given, at)
    names = {alias: one.name for one in options_of(store).values() for alias in one.aliases}
    as_given = {names.get(key, key): as_written(written["session"][key]) for key in given}
    return session_type, store, options, as_given


def _untold_type(
    error: JamConfigurationError, given: Mapping[object, Any]
) -> JamConfigurationError:
    """Add to "session_type is not set" which key may have been meant for it."""
    for key in map(str, given):
        if close_match(key.lower().replace("-", "_"), ["session_type"]):
            return JamConfigurationError(f"{error.message} Write session_type instead of {key!r}.")
    return error


def _choose_wrappers(
    table: Mapping[str, Any], passed: Sequence[object], problems: Problems
) -> list[Callable[[], object]]:
    """Return what makes the wrappers that were passed and those that are named."""
    named = table.get("wrappers", [])
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        problems.at("wrappers").add(
            "must be a list of names; their options belong in tables like "
            f"[{problems.at('wrapper').at('NAME').key}]."
        )
        named = []
    at = problems.at("wrapper")
    tables = _table(table, "wrapper", problems)
    wrappers = []
    for wrapper in (*passed, *named):
        if not isinstance(wrapper, str):
            wrappers.append(_maker(wrapper, {}, problems.source))
            continue
        try:
            found = find_wrapper(wrapper)
        except JamConfigurationError as error:
            problems.add_error(error)
        else:
            options = _wrapper_options(found, _table(tables, wrapper, at), at.at(wrapper))
            wrappers.append(_maker(found, options, f"{problems.source}: {wrapper}"))
    names = [wrapper for wrapper in (*passed, *named) if isinstance(wrapper, str)]
    for key in map(str, tables):
        if key not in names:
            at.at(key).add(
                f"holds the options of a wrapper that is not used.{close_match(key, names)} Name "
                f"it in wrappers = [{key!r}], or remove the table."
            )
    return wrappers


def _table(table: Mapping[str, Any], key: str, problems: Problems) -> Mapping[str, Any]:
    """Return the table at a key of another table; an empty one if there is none."""
    found = table.get(key, {})
    if isinstance(found, Mapping):
        return found
    problems.at(key).add("must be a table.")
    return {}


def _wrapper_options(
    wrapper: object, given: Mapping[str, Any], problems: Problems
) -> dict[str, Any]:
    if isinstance(wrapper, type):
        return bind_options(wrapper, given, problems)
    if given:
        problems.add(f"cannot be set: {name_of(wrapper)} is not a class, and takes no options.")
    return {}


def _maker(wrapper: object, options: Mapping[str, Any], where: str) -> Callable[[], object]:
    """Return what makes a wrapper; one that is not a class is used as it is."""
    if isinstance(wrapper, type):
        return lambda: _constructed(wrapper, options, where)
    return lambda: wrapper


def _constructed(kind: type, options: Mapping[str, Any], where: str) -> Any:
    try:
        return kind(**options)
    except JamConfigurationError as error:
        raise type(error)(f"{where}: {error.message}") from error.__cause__
    except (JamError, MemoryError):
        raise
    except Exception as error:
        raise JamPluginLoadError(
            f"{where}: {name_of(kind)} failed to start: {type(error).__name__}, the cause of this "
            "error."
        ) from error
