"""Jam: what an application holds."""

import os
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from jam_core.config import Configuration, read_configuration
from jam_core.exceptions import JamConfigurationError, JamError, JamPluginLoadError
from jam_core.options import bind_options, close_match
from jam_core.plugins import find_store, find_wrapper, hook_relay
from jam_core.session import BaseSession

_SETTINGS = ("session", "plugins")


class Jam:
    """Sessions in the store that the configuration chooses.

    Args:
        config: The path of a TOML, YAML or JSON file, or a dict. Default: the path in the
            environment variable JAM_CONFIG.
        pointer: The dotted path of Jam's table in the file.
        plugins: Wrapping plugins, outside of those that the configuration names; the first is
            the outermost.

    Attributes:
        store: The store itself.

    Raises:
        JamConfigurationError: The configuration cannot be used; its `problems` are all that is
            wrong with it.
        JamStoreUnavailable: The store cannot be opened.
    """

    def __init__(
        self,
        config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
        pointer: str = "jam",
        *,
        plugins: Sequence[object] = (),
    ) -> None:
        configuration = read_configuration(config, pointer)
        problems = [*configuration.problems, *_unknown_settings(configuration)]
        store, options = _choose_store(configuration, problems)
        wrappers = [*plugins, *_named_wrappers(configuration, problems)]
        if store is None or problems:
            raise _all_in_one(configuration.source, problems)
        self.store = store if isinstance(store, BaseSession) else _build(store, options)
        self._hooks = hook_relay(self.store, wrappers)

    def session_create(self, session_key: str, data: dict[str, Any]) -> str:
        """Start a session and return its id.

        Args:
            session_key: Whose session it is, a user's name for example; any characters.
            data: What to keep, a JSON object.

        Raises:
            JamSessionDataError: The key is empty, or the data is no JSON object.
            JamStoreUnavailable: The store cannot be reached.
        """
        session_id: str = self._hooks.create(session_key=session_key, data=data)
        return session_id

    def session_get(self, session_id: str) -> dict[str, Any] | None:
        """Return a session's data, or None if there is no such session.

        Raises:
            JamSessionCorrupt: What is stored cannot be decoded.
            JamStoreUnavailable: The store cannot be reached.
        """
        data: dict[str, Any] | None = self._hooks.get(session_id=session_id)
        return data

    def session_update(self, session_id: str, data: dict[str, Any]) -> None:
        """Replace a session's data whole and restart its ttl.

        Raises:
            JamSessionNotFound: There is no such session.
            JamSessionDataError: The data is no JSON object.
            JamStoreUnavailable: The store cannot be reached.
        """
        self._hooks.update(session_id=session_id, data=data)

    def session_delete(self, session_id: str) -> None:
        """End a session; silent if it was gone already.

        Raises:
            JamStoreUnavailable: The store cannot be reached.
        """
        self._hooks.delete(session_id=session_id)

    def session_clear(self, session_key: str) -> None:
        """End every session of a key.

        Raises:
            JamStoreUnavailable: The store cannot be reached.
        """
        self._hooks.clear(session_key=session_key)

    def session_rework(self, old_session_id: str) -> str:
        """Give a session a new id, as after a login, and return it; the old id is dead.

        Raises:
            JamSessionNotFound: There is no such session.
            JamStoreUnavailable: The store cannot be reached.
        """
        session_id: str = self._hooks.rework(session_id=old_session_id)
        return session_id

    def session_touch(self, session_id: str) -> None:
        """Restart a session's ttl without rewriting its data.

        Raises:
            JamSessionNotFound: There is no such session.
            JamSessionUnsupported: The store cannot do this.
            JamStoreUnavailable: The store cannot be reached.
        """
        self._hooks.touch(session_id=session_id)

    def session_mutate(
        self, session_id: str, change: Callable[[dict[str, Any]], dict[str, Any] | None]
    ) -> dict[str, Any]:
        """Apply a function to a session's data so that no other request's change is lost.

        Args:
            session_id: The session.
            change: Gets the data; returns the new data, or changes what it got and returns None.
                May be called several times.

        Returns:
            The data as stored.

        Raises:
            JamSessionNotFound: There is no such session.
            JamSessionConflict: Others were faster at every attempt; nothing was stored.
            JamSessionDataError: The new data is no JSON object.
            JamSessionUnsupported: The store cannot do this.
            JamStoreUnavailable: The store cannot be reached.
        """
        data: dict[str, Any] = self._hooks.mutate(session_id=session_id, change=change)
        return data

    def session_purge(self) -> int:
        """Remove expired sessions from the store and return how many.

        Raises:
            JamSessionUnsupported: The store cannot do this.
            JamStoreUnavailable: The store cannot be reached.
        """
        count: int = self._hooks.purge()
        return count

    def close(self) -> None:
        """Release what the store opened. May be called again."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Jam with {self.store!r}>"


def _unknown_settings(configuration: Configuration) -> list[JamConfigurationError]:
    problems = []
    for key in configuration.table:
        if key == "session_type":
            problems.append(configuration.problem(key, "belongs in the table `session`."))
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
    texts = [problem.message.removeprefix(f"{source}: ") for problem in problems]
    listed = "".join(f"\n  - {text}" for text in texts)
    error = JamConfigurationError(f"{source}: {len(problems)} problems:{listed}", texts)
    error.__cause__ = next((one.__cause__ for one in problems if one.__cause__), None)
    return error


def _build(store: type[BaseSession], options: dict[str, Any]) -> BaseSession:
    try:
        return store(**options)
    except JamError:
        raise
    except Exception as error:
        raise JamPluginLoadError(
            f"The store {store.__module__}.{store.__qualname__} failed to start: "
            f"{type(error).__name__}."
        ) from error
