"""What every part of the contract suite stands on: opening stores, and watching their words."""

import logging
from collections.abc import Callable, Iterator
from typing import Any, Protocol
from uuid import uuid4

import pytest

from jam_core.options import options_of
from jam_core.session import OPERATIONS, BaseSession
from jam_core.testing.timekeeping import ManualClock, Timekeeper

KEY = "ann@example.org"
DATA = {"role": "admin", "cart": [1, 2.5, None, True], "name": "Ænn ☃"}


class StoreFactory(Protocol):
    """Opens the store under test; called again, opens the same backend once more."""

    def __call__(self, **options: Any) -> BaseSession:
        """Open it with these options of `BaseSession`, and `clock` if it takes one."""


class Watch:
    """Remembers what must never be seen, and what was said."""

    def __init__(self) -> None:
        self._secrets: set[str] = {KEY}
        self._said: set[str] = set()

    def keep_secret(self, secret: str) -> str:
        """Remember a secret and return it."""
        self._secrets.add(secret)
        return secret

    def hear(self, error: BaseException | None) -> None:
        """Remember what an error, and the errors behind it, say."""
        while error is not None:
            self._said.add(f"{error!s} {error!r} {error.args!r}")
            error = error.__cause__ or error.__context__

    def hear_text(self, text: str) -> None:
        """Remember a text."""
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


class StoreContract:
    """The base of every part of the suite."""

    @pytest.fixture
    def store_factory(self) -> StoreFactory:
        """Return what opens the store under test: the one thing its author gives."""
        raise NotImplementedError(
            f"{type(self).__name__} must define the fixture store_factory: "
            "a function that takes options and opens your store."
        )

    @pytest.fixture
    def watch(self, caplog: pytest.LogCaptureFixture) -> Iterator[Watch]:
        """Let no id, key or secret be said in a log record, a repr or an error."""
        watch = Watch()
        with caplog.at_level(logging.DEBUG):
            yield watch
        watch.hear_text(caplog.text)
        assert not watch.indiscretions(), "an id, a session key or a secret was given away"

    @pytest.fixture
    def clock(self) -> ManualClock:
        """Return the clock of stores that take one."""
        return ManualClock()

    @pytest.fixture
    def open_store(
        self, store_factory: StoreFactory, clock: ManualClock, watch: Watch
    ) -> Iterator[StoreFactory]:
        """Open stores, with the clock if they take one, and close them in the end."""
        opened: list[BaseSession] = []

        def open_store(**options: Any) -> BaseSession:
            mint = options.pop("id_factory", lambda: str(uuid4()))
            options["id_factory"] = lambda: watch.keep_secret(mint())
            options = self.with_clock(store_factory, options, clock)
            store = store_factory(**options)
            opened.append(store)
            watch.hear_text(repr(store))
            for name in OPERATIONS:
                setattr(store, name, _watched(getattr(store, name), watch))
            for name in ("create", "rework"):
                setattr(store, name, _secret(getattr(store, name), watch))
            return store

        yield open_store
        for store in opened:
            store.close()

    @pytest.fixture
    def store(self, open_store: StoreFactory) -> BaseSession:
        """Open one store with its defaults."""
        return open_store()

    @pytest.fixture
    def time(self, open_store: StoreFactory, clock: ManualClock) -> Timekeeper:
        """Let time pass."""
        return Timekeeper(clock if self.takes_clock(open_store()) else None)

    @staticmethod
    def takes_clock(store: BaseSession) -> bool:
        """Tell whether a store keeps the time itself."""
        return "clock" in options_of(type(store))

    _has_clock: bool | None = None

    def with_clock(
        self, factory: StoreFactory, options: dict[str, Any], clock: ManualClock
    ) -> dict[str, Any]:
        """Return the options with the clock, if the store takes one."""
        if self._has_clock is None:
            probe = factory()
            self._has_clock = self.takes_clock(probe)
            probe.close()
        return {"clock": clock, **options} if self._has_clock else options

    @staticmethod
    def need(store: BaseSession, *capabilities: str) -> None:
        """Skip the clause if the store lacks what it is about."""
        for capability in capabilities:
            if capability not in store.capabilities:
                pytest.skip(f"{type(store).__name__} does not declare {capability!r}")
