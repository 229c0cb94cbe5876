"""What every part of the contract suite is built on: opening stores, and watching what they say."""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol
from uuid import uuid4

import pytest

from jam_core import BaseSession
from jam_core.hosting import OPERATIONS, options_of
from jam_testing.timekeeping import ManualClock, Timekeeper, time_limit

KEY = "ann@example.org"
PRIVATE = "what-ann-wrote-in-private"
DATA = {"role": "admin", "cart": [1, 2.5, None, True], "name": "Ænn ☃", "note": PRIVATE}

OPTIONAL_FIXTURES = ("break_backend", "hang_backend", "snapshot", "damage")


class StoreFactory(Protocol):
    """Opens the store under test; called again, it opens the same backend."""

    def __call__(self, **options: Any) -> BaseSession:
        """Open it with these options of `BaseSession`, and `clock` if it takes one."""


BreakBackend = Callable[[], AbstractContextManager[object]]
Snapshot = Callable[[], object]
Damage = Callable[[str], object]


_CLOCKED: dict[object, bool] = {}


class Watch:
    """Remembers what must never be seen, and what was said."""

    def __init__(self) -> None:
        self._secrets: set[str] = {KEY, PRIVATE}
        self._said: set[str] = set()

    def keep_secret(self, secret: str) -> str:
        """Remember a secret and return it."""
        self._secrets.add(secret)
        return secret

    def hear(self, error: BaseException | None) -> None:
        """Remember what an error and the errors behind it say."""
        heard: set[int] = set()
        behind = [error]
        while behind:
            error = behind.pop()
            if error is not None and id(error) not in heard:
                heard.add(id(error))
                notes = getattr(error, "__notes__", ())
                self._said.add(f"{error!s} {error!r} {error.args!r} {notes!r}")
                behind += [error.__cause__, error.__context__]

    def hear_text(self, text: str) -> None:
        """Remember a string."""
        self._said.add(text)

    def indiscretions(self) -> list[str]:
        """Return what was said and should not have been."""
        return [said for said in self._said if any(secret in said for secret in self._secrets)]


def _watched(operation: Callable[..., Any], watch: Watch) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return operation(*args, **kwargs)
        except Exception as error:
            watch.hear(error)
            raise

    return call


def _secret(operation: Callable[..., str], watch: Watch) -> Callable[..., str]:
    def call(*args: Any, **kwargs: Any) -> str:
        return watch.keep_secret(operation(*args, **kwargs))

    return call


def _row(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Return the parameters of a test that are not its clause's own: a factory may go by them."""
    clause, own = request.function, set()
    for mark in getattr(clause, "pytestmark", ()):
        if mark.name == "parametrize":
            names = mark.args[0]
            own |= {one.strip() for one in names.split(",")} if isinstance(names, str) else {*names}
    callspec = getattr(request.node, "callspec", None)
    given = {} if callspec is None else callspec.params
    return tuple(f"{name} {value!r}" for name, value in given.items() if name not in own)


class StoreContract:
    """The base of every part of the suite.

    Attributes:
        clause_limit: Seconds after which a clause that has not ended fails.
        many_sessions: How many sessions a key has where a store might read them in pieces.
        race_rounds: How often each race is run.
    """

    clause_limit = 120.0
    many_sessions = 150
    race_rounds = 25

    @pytest.fixture
    def store_factory(self) -> StoreFactory:
        """Return what opens the store under test: the one thing that its author must define."""
        raise NotImplementedError(
            f"{type(self).__name__} must define the fixture store_factory: "
            "a function that takes options and opens your store."
        )

    @pytest.fixture
    def break_backend(self) -> BreakBackend | None:
        """Return what makes the backend unreachable for as long as a `with` block lasts."""
        return None

    @pytest.fixture
    def hang_backend(self) -> BreakBackend | None:
        """Return what keeps the backend from answering for as long as a `with` block lasts."""
        return None

    @pytest.fixture
    def snapshot(self) -> Snapshot | None:
        """Return what returns all the backend holds, in a form that `==` can compare."""
        return None

    @pytest.fixture
    def damage(self) -> Damage | None:
        """Return what makes the stored record of a session id undecodable."""
        return None

    @pytest.fixture(autouse=True)
    def _is_switched_on(self, request: pytest.FixtureRequest) -> None:
        """Skip a clause if something it needs is missing, and say what would switch it on."""
        made = getattr(request.function, "promise", None)
        for need in () if made is None else made.needs:
            if need not in OPTIONAL_FIXTURES:
                self.need(request.getfixturevalue("store"), need)
            elif request.getfixturevalue(need) is None:
                pytest.skip(self.why_without(need))

    @classmethod
    def why_without(cls, fixture: str) -> str:
        """Say why clauses that need an optional fixture are skipped."""
        return (
            f"{cls.__name__} does not define the fixture {fixture!r}: "
            "docs/contract.md#fixtures says what it does"
        )

    @pytest.fixture
    def watch(self, caplog: pytest.LogCaptureFixture) -> Iterator[Watch]:
        """Fail if a log record, a repr or an error reveals an id, a key, a secret or data."""
        watch = Watch()
        with caplog.at_level(logging.DEBUG):
            yield watch
        watch.hear_text(caplog.text)
        assert not watch.indiscretions(), (
            "privacy: an id, a session key, a secret or data was given away"
        )

    @pytest.fixture
    def clock(self) -> ManualClock:
        """Return the clock of stores that take one."""
        return ManualClock()

    @pytest.fixture
    def open_store(
        self,
        request: pytest.FixtureRequest,
        store_factory: StoreFactory,
        clock: ManualClock,
        watch: Watch,
    ) -> Iterator[StoreFactory]:
        """Open stores, with the clock if they take one, and close them at the end."""
        opened: list[BaseSession] = []

        def open_store(**options: Any) -> BaseSession:
            mint = options.pop("id_factory", lambda: str(uuid4()))
            options["id_factory"] = lambda: watch.keep_secret(mint())
            if self._is_clocked(request, store_factory):
                options = {"clock": clock, **options}
            store = store_factory(**options)
            opened.append(store)
            watch.hear_text(repr(store))
            for name in OPERATIONS:
                setattr(store, name, _watched(getattr(store, name), watch))
            for name in ("create", "rework"):
                setattr(store, name, _secret(getattr(store, name), watch))
            return store

        yield open_store
        with time_limit(self.clause_limit, "close"):
            for store in opened:
                store.close()

    @pytest.fixture
    def store(self, open_store: StoreFactory) -> BaseSession:
        """Open one store with its defaults."""
        return open_store()

    @pytest.fixture
    def time(
        self, request: pytest.FixtureRequest, store_factory: StoreFactory, clock: ManualClock
    ) -> Timekeeper:
        """Let time pass."""
        return Timekeeper(clock if self._is_clocked(request, store_factory) else None)

    @staticmethod
    def takes_clock(store: BaseSession) -> bool:
        """Tell whether a store keeps the time itself."""
        return "clock" in options_of(type(store))

    def _is_clocked(self, request: pytest.FixtureRequest, factory: StoreFactory) -> bool:
        """Tell whether the stores take a clock; to find out, one is opened for each row."""
        row = type(self), _row(request)
        if row not in _CLOCKED:
            probe = factory()
            _CLOCKED[row] = self.takes_clock(probe)
            probe.close()
        return _CLOCKED[row]

    @classmethod
    def need(cls, store: BaseSession, *capabilities: str) -> None:
        """Skip the clause if the store lacks what the clause is about."""
        for capability in capabilities:
            if capability == "clock" and not cls.takes_clock(store):
                pytest.skip(f"{type(store).__name__} takes no clock: its server keeps the time")
            if capability != "clock" and capability not in store.capabilities:
                pytest.skip(f"{type(store).__name__} does not declare {capability!r}")
