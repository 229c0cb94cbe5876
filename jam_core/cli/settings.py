"""The settings that a configuration comes to, and where each value comes from."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from jam_core.cli.values import MASK, holds_secret, shown
from jam_core.codec import SECRET_VARIABLE
from jam_core.config import (
    CONFIG_VARIABLE,
    VARIABLE,
    Configuration,
    parse_file,
    read_configuration,
    table_at,
)
from jam_core.options import bind_options, options_of
from jam_core.plugins import find_store
from jam_core.session import BaseSession, aliases_of

Source = Literal["file", "environment", "default"]


class Setting(NamedTuple):
    """A setting of the store.

    Attributes:
        name: Its name.
        value: Its value as the store gets it, secrets masked.
        source: Where the value comes from.
        variables: With "environment": the variables.
        secret_in_file: Whether a secret of it stands in the file.
    """

    name: str
    value: Any
    source: Source
    variables: tuple[str, ...] = ()
    secret_in_file: bool = False

    @property
    def document(self) -> dict[str, Any]:
        """What `jam check --json` prints of it."""
        return {
            "name": self.name,
            "value": self.value,
            "source": self.source,
            "variables": list(self.variables),
        }


class Settings(NamedTuple):
    """Everything that a configuration says of the store.

    Attributes:
        file: The configuration's file.
        pointer: The table in it.
        session_type: The text that chooses the store.
        store: The store's class.
        options: Its options: the given ones, then those that have their defaults.
    """

    file: str
    pointer: str
    session_type: str
    store: type[BaseSession]
    options: list[Setting]


def read_settings(config: str | None, pointer: str) -> Settings:
    """Read a configuration that `Jam` accepts.

    Args:
        config: The file, or None: the one in JAM_CONFIG.
        pointer: The table in it.

    Raises:
        JamConfigurationError: `Jam` would not accept it.
    """
    configuration = read_configuration(config, pointer)
    file = Path(config or os.environ[CONFIG_VARIABLE])
    written: Mapping[str, Any] = table_at(parse_file(file), pointer)["session"]
    given = dict(configuration.table["session"])
    session_type, custom_module = given.pop("session_type"), given.pop("custom_module", None)
    store = find_store(session_type, custom_module)
    assert isinstance(store, type)  # noqa: S101  (a file holds no ready store)
    options = [*_given(store, given, written, configuration), *_defaults(store, given)]
    return Settings(str(file), pointer, custom_module or session_type, store, options)


def _given(
    store: type[BaseSession],
    given: Mapping[str, Any],
    written: Mapping[str, Any],
    configuration: Configuration,
) -> Iterator[Setting]:
    aliases = aliases_of(store)
    arguments, _ = bind_options(store, given, configuration.problem)
    for key in given:
        name = aliases.get(key, key)
        variables = tuple(dict.fromkeys(_variables_in(written[key])))
        yield Setting(
            name,
            shown(name, arguments[name]),
            "environment" if variables else "file",
            variables,
            holds_secret(name, _as_in_file(written[key])),
        )


def _defaults(store: type[BaseSession], given: Mapping[str, Any]) -> Iterator[Setting]:
    aliases = aliases_of(store)
    names = {aliases.get(key, key) for key in given}
    for name, option in options_of(store).items():
        if name in names or option.required:
            continue
        if name == "session_aes_secret" and os.environ.get(SECRET_VARIABLE):
            yield Setting(name, MASK, "environment", (SECRET_VARIABLE,))
        else:
            yield Setting(name, shown(name, option.default), "default")


def _variables_in(value: Any) -> Iterator[str]:
    """Yield the environment variables that are set and used in a value of the file."""
    if isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _variables_in(item)
    elif isinstance(value, str):
        for match in VARIABLE.finditer(value):
            name = match["braced"] or match["bare"]
            if name and os.environ.get(name):
                yield name


def _as_in_file(value: Any) -> Any:
    """Return a value without what comes from variables; their defaults stand in the file."""
    if isinstance(value, Mapping):
        return {key: _as_in_file(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_in_file(item) for item in value]
    if isinstance(value, str):
        return VARIABLE.sub(lambda match: match["default"] or "", value)
    return value
