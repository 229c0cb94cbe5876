"""The settings that result from a configuration, and where each value comes from."""

import os
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from jam_cli.values import MASK, holds_secret, shown
from jam_core import BaseSession
from jam_core.hosting import SECRET_VARIABLE, ConfiguredStore, options_of

Source = Literal["file", "environment", "default"]


class Setting(NamedTuple):
    """A setting of the store.

    Attributes:
        name: Its name.
        value: Its value as the store gets it, secrets masked.
        source: Where the value comes from.
        variables: With "environment": the variables.
        secret_in_file: Whether the file contains a secret of it.
    """

    name: str
    value: Any
    source: Source
    variables: tuple[str, ...] = ()
    secret_in_file: bool = False

    @property
    def document(self) -> dict[str, Any]:
        """What `jam check --json` prints for it."""
        return {
            "name": self.name,
            "value": self.value,
            "source": self.source,
            "variables": list(self.variables),
        }


class Settings(NamedTuple):
    """Everything that a configuration says about the store.

    Attributes:
        file: The configuration's file.
        pointer: The table in it.
        session_type: The string that chooses the store.
        store: The store's class.
        options: Its options: those that were given, then those with their defaults.
    """

    file: str
    pointer: str
    session_type: str
    store: type[BaseSession]
    options: list[Setting]


def settings_of(configured: ConfiguredStore, in_force: Mapping[str, Any]) -> Settings:
    """Return the settings of a configuration's file.

    Args:
        configured: What it says.
        in_force: The values in force of options left at None.
    """
    store = configured.store
    assert isinstance(store, type)  # noqa: S101  (a file holds no ready store)
    options = [*_given(configured), *_defaults(store, configured.options, in_force)]
    session_type = str(configured.session_type)
    if session_type == "custom":
        session_type = f"{store.__module__}:{store.__qualname__}"
    return Settings(configured.source, configured.pointer, session_type, store, options)


def _given(configured: ConfiguredStore) -> Iterator[Setting]:
    for name, written in configured.written.items():
        yield Setting(
            name,
            shown(name, configured.options[name]),
            "environment" if written.variables else "file",
            written.variables,
            holds_secret(name, written.value),
        )


def _defaults(
    store: type[BaseSession], given: Mapping[str, Any], in_force: Mapping[str, Any]
) -> Iterator[Setting]:
    for name, option in options_of(store).items():
        if name in given or option.required:
            continue
        if name == "session_aes_secret" and os.environ.get(SECRET_VARIABLE):
            yield Setting(name, MASK, "environment", (SECRET_VARIABLE,))
        else:
            value = in_force.get(name) if option.default is None else option.default
            yield Setting(name, shown(name, value), "default")
