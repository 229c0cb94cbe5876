"""Certifying an installed store in the very place that a configuration names.

Other people's sessions may live there. So every session key of the suite, and every id that it
makes up, begins with something random; each clause's sessions are cleared when it is over; and no
clock is set: a store whose clock is ahead would treat everybody's sessions as expired.
"""

import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from jam_core import BaseSession, JamConfigurationError, SessionInfo, SessionRecord
from jam_core.hosting import OPERATIONS, RECORDS, configured_store, options_of
from jam_testing.fixtures import StoreFactory

# A clause that sets one of a pair means the pair: the configuration's other one is left out.
_TOGETHER = ({"ttl", "max_age"}, {"is_session_crypt", "session_aes_secret"})

_PARAMETERS = {name: [*signature(getattr(BaseSession, name)).parameters][1:] for name in OPERATIONS}
# Where each operation that takes a session key takes it.
_PLACE_OF_THE_KEY = {
    name: parameters.index("session_key")
    for name, parameters in _PARAMETERS.items()
    if "session_key" in parameters
}


class StoreUnderTest(NamedTuple):
    """A store's class, and its options as a configuration gives them.

    Attributes:
        kind: The class.
        options: What the configuration gives it.
        source: Where that configuration is.
        capabilities: What the store can do, opened with these options.
    """

    kind: type[BaseSession]
    options: Mapping[str, Any]
    source: str
    capabilities: frozenset[str]

    def open(self, **asked: Any) -> BaseSession:
        """Open the store; what is asked for takes precedence over the configuration."""
        decided = set(asked)
        for option in options_of(self.kind).values():
            if decided.intersection(option.aliases):
                decided.add(option.name)
        for group in _TOGETHER:
            if group & decided:
                decided |= group
        configured = {name: value for name, value in self.options.items() if name not in decided}
        return self.kind(**configured, **asked)


def store_under_test(session_type: str, config: str, pointer: str) -> StoreUnderTest:
    """Read a configuration, open its store once, and check that the backend answers.

    Args:
        session_type: The store to certify.
        config: The path of the configuration.
        pointer: The dotted path of Jam's table in it.

    Raises:
        JamConfigurationError: The configuration cannot be used, or chooses another store.
        JamStoreUnavailable: The backend does not answer.
    """
    configured = configured_store(config, pointer)
    table = f"{pointer}.session" if pointer else "session"
    if configured.session_type != session_type:
        raise JamConfigurationError(
            f"{configured.source}: {table}.session_type is {configured.session_type!r}, not "
            f"{session_type!r}: certify the store that the configuration chooses, or name another "
            "configuration."
        )
    with configured.open() as store:
        kind, capabilities = type(store), store.capabilities
        if "ping" in capabilities:
            store.ping()
        else:
            store.get(str(uuid4()))
    return StoreUnderTest(kind, configured.options, f"{configured.source} [{table}]", capabilities)


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
        """Return the name with the clause's own prefix; anything else stays as it is."""
        # A store may call its own methods with names that have the prefix already.
        if not isinstance(name, str) or not name or name.startswith(self._beginning):
            return name
        return self._beginning + name

    def open(self, store: StoreUnderTest, **asked: Any) -> BaseSession:
        """Open the store so that it writes under these names only."""
        if "id_factory" in asked:
            mint: Callable[[], Any] = asked["id_factory"]
            asked["id_factory"] = lambda: self._own_id(mint())
        opened = store.open(**asked)
        for name, position in _PLACE_OF_THE_KEY.items():
            setattr(opened, name, self._under_own_key(getattr(opened, name), position))
        opened.create = self._remembering(opened.create)  # type: ignore[method-assign]
        info = opened.info
        opened.info = lambda session_id: self._shown(info(session_id))  # type: ignore[method-assign]
        if RECORDS in opened.capabilities:
            self._hide_others(opened)
        return opened

    def _under_own_key(self, operation: Callable[..., Any], position: int) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            by_position = list(arguments)
            if "session_key" in named:
                named["session_key"] = self._noted(named["session_key"])
            elif position < len(by_position):
                by_position[position] = self._noted(by_position[position])
            return operation(*by_position, **named)

        return call

    def _noted(self, session_key: Any) -> Any:
        """Return the session key with the clause's own prefix, and write it down."""
        own_key = self.own(session_key)
        self._write_down(own_key)
        return own_key

    def _shown(self, info: SessionInfo | None) -> SessionInfo | None:
        """Return what info shows, with the session key as the clause gave it."""
        if info is None:
            return None
        return replace(info, session_key=info.session_key.removeprefix(self._beginning))

    def _remembering(self, create: Callable[..., str]) -> Callable[..., str]:
        def call(*arguments: Any, **named: Any) -> str:
            session_id = create(*arguments, **named)
            self._issued.add(session_id)
            return session_id

        return call

    def _hide_others(self, store: BaseSession) -> None:
        """Let the clause see, move and replace only the records of its own sessions."""
        records, restore, replace_data = store.records, store.restore, store.replace
        rekeyed = store.rekeyed

        def shown() -> Iterator[SessionRecord]:
            for record in records():
                if record.session_key.startswith(self._beginning):
                    name = record.session_key.removeprefix(self._beginning)
                    yield record._replace(session_key=name)

        def kept(record: SessionRecord) -> SessionRecord:
            return record._replace(session_key=self._noted(record.session_key))

        for name, operation in (
            ("records", shown),
            ("restore", lambda given: restore([kept(record) for record in given])),
            ("replace", lambda record, data: replace_data(kept(record), data)),
            ("rekeyed", lambda record: rekeyed(kept(record))),
        ):
            setattr(store, name, operation)

    def _own_id(self, made_up: Any) -> Any:
        """Return an id that nobody can guess; one that the store issued already is one."""
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
        self.store = store_under_test(session_type, config, pointer)
        self.left_behind = 0

    @contextmanager
    def clause(self, name: str, directory: Path) -> Iterator[StoreFactory]:
        """Give a clause what opens the store, and clear its sessions when it is over.

        Args:
            name: The clause.
            directory: Where notes can be kept meanwhile.
        """
        if "purge" in name and "purge" in self.store.capabilities:
            # The clause counts: expired sessions that others left must not be among them.
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
