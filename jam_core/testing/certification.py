"""Certifying an installed store at the very place that a configuration names.

Sessions of others may live there. So every session key of the suite, and every id that it makes up,
begins with something random; each clause's sessions are cleared when it is over; and no clock is
set: a store whose clock is ahead would take everybody's sessions for expired.
"""

import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from jam_core.codec import uuid4_id
from jam_core.config import read_configuration
from jam_core.jam import Jam
from jam_core.options import bind_options
from jam_core.records import SessionRecord
from jam_core.session import OPERATIONS, RECORDS, BaseSession, aliases_of
from jam_core.testing.fixtures import StoreFactory

# What a clause sets one of, it means as a whole: the configuration's other half is left out.
_TOGETHER = ({"ttl", "max_age"}, {"is_session_crypt", "session_aes_secret"})

_TAKING_A_KEY = tuple(
    name for name in OPERATIONS if "session_key" in signature(getattr(BaseSession, name)).parameters
)


class ConfiguredStore(NamedTuple):
    """A store's class, and its options as a configuration gives them.

    Attributes:
        kind: The class.
        options: What the configuration gives it.
        source: Where that stands.
        capabilities: What the store, opened so, can do.
    """

    kind: type[BaseSession]
    options: dict[str, Any]
    source: str
    capabilities: frozenset[str]

    def open(self, **asked: Any) -> BaseSession:
        """Open the store; what is asked for wins over the configuration."""
        aliases = aliases_of(self.kind)
        decided = {aliases.get(name, name) for name in asked}
        for group in _TOGETHER:
            if group & decided:
                decided |= group
        configured = {name: value for name, value in self.options.items() if name not in decided}
        return self.kind(**configured, **asked)


def configured_store(session_type: str, config: str, pointer: str) -> ConfiguredStore:
    """Read a configuration, open its store once, and see whether the backend answers.

    Args:
        session_type: The store that is meant.
        config: The path of the configuration.
        pointer: The dotted path of Jam's table in it.

    Raises:
        JamConfigurationError: The configuration cannot be used, or chooses another store.
        JamStoreUnavailable: The backend does not answer.
    """
    configuration = read_configuration(config, pointer)
    session = configuration.table.get("session")
    settings = dict(session) if isinstance(session, Mapping) else {}
    chosen = settings.pop("session_type", None)
    settings.pop("custom_module", None)
    if chosen and chosen != session_type and not configuration.problems:
        raise configuration.problem(
            "session.session_type",
            f"is {chosen!r}, not {session_type!r}: certify the store that the configuration "
            "chooses, or name another configuration.",
        )
    with Jam(config, pointer) as jam:
        kind, capabilities = type(jam.store), jam.store.capabilities
        if "ping" in capabilities:
            jam.store.ping()
        else:
            jam.store.get(uuid4_id())
    options, _ = bind_options(kind, settings, configuration.problem)
    source = f"{configuration.source} [{configuration.key('session')}]"
    return ConfiguredStore(kind, options, source, capabilities)


class OwnNames:
    """Gives the session keys of one clause, and the ids it makes up, names that nobody else has.

    Args:
        journal: The file in which the session keys are written down, by every process.
    """

    def __init__(self, journal: Path) -> None:
        self._beginning = f"jam-certification-{secrets.token_hex(16)}-"
        self._journal = journal
        self._journal.touch()
        self._written: set[str] = set()
        self._issued: set[str] = set()

    def own(self, name: Any) -> Any:
        """Return the name under the clause's own beginning; what is no name stays as it is."""
        # A store may call its own methods with names that have been here already.
        if not isinstance(name, str) or not name or name.startswith(self._beginning):
            return name
        return self._beginning + name

    def open(self, store: ConfiguredStore, **asked: Any) -> BaseSession:
        """Open the store so that it writes under these names only."""
        if "id_factory" in asked:
            mint: Callable[[], Any] = asked["id_factory"]
            asked["id_factory"] = lambda: self._own_id(mint())
        opened = store.open(**asked)
        for name in _TAKING_A_KEY:
            setattr(opened, name, self._under_own_key(getattr(opened, name)))
        opened.create = self._remembering(opened.create)  # type: ignore[method-assign]
        if RECORDS in opened.capabilities:
            self._hide_others(opened)
        return opened

    def _under_own_key(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def call(session_key: str, *arguments: Any, **named: Any) -> Any:
            own_key = self.own(session_key)
            self._write_down(own_key)
            return operation(own_key, *arguments, **named)

        return call

    def _remembering(self, create: Callable[..., str]) -> Callable[..., str]:
        def call(session_key: str, data: dict[str, Any]) -> str:
            session_id = create(session_key, data)
            self._issued.add(session_id)
            return session_id

        return call

    def _hide_others(self, store: BaseSession) -> None:
        """Let the clause see, move and replace the records of its own sessions only."""
        records, restore, replace_data = store.records, store.restore, store.replace

        def shown() -> Iterator[SessionRecord]:
            for record in records():
                if record.session_key.startswith(self._beginning):
                    name = record.session_key.removeprefix(self._beginning)
                    yield replace(record, session_key=name)

        def kept(record: SessionRecord) -> SessionRecord:
            own_key = self.own(record.session_key)
            self._write_down(own_key)
            return replace(record, session_key=own_key)

        for name, operation in (
            ("records", shown),
            ("restore", lambda given: restore([kept(record) for record in given])),
            ("replace", lambda record, data: replace_data(kept(record), data)),
        ):
            setattr(store, name, operation)

    def _own_id(self, made_up: Any) -> Any:
        """Return an id that nobody can guess; one that the store issued is that already."""
        issued = isinstance(made_up, str) and made_up in self._issued
        return made_up if issued else self.own(made_up)

    def session_keys(self) -> list[str]:
        """Return every session key that sessions were created under."""
        lines = self._journal.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in dict.fromkeys(lines)]

    def _write_down(self, session_key: Any) -> None:
        if isinstance(session_key, str) and session_key and session_key not in self._written:
            self._written.add(session_key)
            with self._journal.open("a", encoding="utf-8") as journal:
                journal.write(json.dumps(session_key) + "\n")


class Certification:
    """One run of the suite against a configured store.

    Args:
        session_type: The store's name.
        config: The path of the configuration.
        pointer: The dotted path of Jam's table in it.

    Attributes:
        session_type: The store's name.
        store: The store as configured.
        left_behind: How many session keys could not be cleared.

    Raises:
        JamConfigurationError: The configuration cannot be used, or chooses another store.
        JamStoreUnavailable: The backend does not answer.
    """

    def __init__(self, session_type: str, config: str, pointer: str) -> None:
        self.session_type = session_type
        self.store = configured_store(session_type, config, pointer)
        self.left_behind = 0

    @contextmanager
    def clause(self, name: str, directory: Path) -> Iterator[StoreFactory]:
        """Give one clause what opens the store, and clear its sessions when it is over.

        Args:
            name: The clause.
            directory: Where notes can be kept meanwhile.
        """
        if "purge" in name and "purge" in self.store.capabilities:
            # The clause counts: what others left expired is not its own.
            with self.store.open() as store:
                store.purge()
        names = OwnNames(directory / "session-keys")

        def open_store(**options: Any) -> BaseSession:
            return names.open(self.store, **options)

        yield open_store
        with self.store.open() as store:
            for session_key in names.session_keys():
                try:
                    store.clear(session_key)
                except Exception:
                    self.left_behind += 1


CERTIFICATION = pytest.StashKey[Certification]()
