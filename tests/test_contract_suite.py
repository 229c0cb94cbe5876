"""The contract suite on stores that are correct: it passes whole."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from jam_testing import (
    BreakBackend,
    Damage,
    SessionContract,
    Snapshot,
    StoreFactory,
    clauses_of,
)
from jam_testing.fixtures import Watch
from jam_testing.memory import MemorySessions

from jam_core import JamStoreUnavailable, SessionRecord, hash_id
from tests.wrong_stores.file_store import FileContract


class TestMemorySessions(SessionContract):
    @pytest.fixture
    def opened(self) -> list[MemorySessions]:
        return []

    @pytest.fixture
    def store_factory(self, opened: list[MemorySessions]) -> StoreFactory:
        def open_store(**options: object) -> MemorySessions:
            opened.append(MemorySessions(**options))  # type: ignore[arg-type]
            return opened[-1]

        return open_store

    @pytest.fixture
    def snapshot(self, opened: list[MemorySessions]) -> Snapshot:
        return lambda: [dict(store.kept) for store in opened]

    @pytest.fixture
    def damage(self, opened: list[MemorySessions]) -> Damage:
        def damage(session_id: str) -> None:
            for store in opened:
                if hash_id(session_id) in store.kept:
                    record = store.kept[hash_id(session_id)]
                    store.kept[hash_id(session_id)] = record._replace(data="damaged")

        return damage


@pytest.mark.exhaustive
class TestFileSessions(FileContract):
    pass


class Server:
    """Keeps sessions in its memory, and loses them when it is stopped."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.kept: dict[str, SessionRecord] = {}
        self.is_up = True

    def stop(self) -> None:
        self.is_up = False
        self.kept.clear()

    def start(self) -> None:
        self.is_up = True

    def __enter__(self) -> None:
        if not self.is_up:
            raise JamStoreUnavailable("The server is down.")
        self.lock.acquire()

    def __exit__(self, *_: object) -> None:
        self.lock.release()


class ServedSessions(MemorySessions):
    def __init__(self, server: Server, **options: Any) -> None:
        super().__init__(**options)
        self._lock = server
        self.kept = server.kept

    def look(self) -> None:
        with self._lock:
            pass


class TestServedSessions(SessionContract):
    """A correct store that is not durable, and the break_backend of the documentation."""

    @pytest.fixture
    def server(self) -> Server:
        return Server()

    @pytest.fixture
    def store_factory(self, server: Server) -> StoreFactory:
        return lambda **options: ServedSessions(server, **options)

    @pytest.fixture
    def break_backend(self, server: Server) -> BreakBackend:
        @contextmanager
        def unreachable() -> Iterator[None]:
            server.stop()
            try:
                yield
            finally:
                server.start()

        return unreachable


for _name in clauses_of(SessionContract):
    if "outage" not in _name:
        setattr(TestServedSessions, _name, None)


@pytest.mark.exhaustive
def test_the_ids_of_the_clauses_are_the_same_in_every_run() -> None:
    def collect(seed: str) -> list[str]:
        command = [sys.executable, "-m", "pytest", "--collect-only", "-q", __file__]
        collected = subprocess.run(
            command,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        return [line for line in collected.stdout.splitlines() if "::" in line]

    first = collect("1")
    assert len(first) > 100
    assert first == collect("2")


@pytest.mark.parametrize("need", ["shared", "durable", "a power of tomorrow"])
def test_a_clause_that_a_store_has_no_use_for_is_skipped_with_its_reason(need: str) -> None:
    with pytest.raises(pytest.skip.Exception, match=f"MemorySessions does not declare '{need}'"):
        SessionContract.need(MemorySessions(), need)


def error_behind(words: str) -> Exception:
    error = ValueError("well said")
    error.__cause__ = KeyError(words)
    return error


@pytest.mark.parametrize(
    "error", [ValueError("open sesame"), KeyError("sesame"), error_behind("sesame")], ids=repr
)
def test_the_watch_hears_what_an_error_says(error: Exception) -> None:
    watch = Watch()
    watch.keep_secret("sesame")
    watch.hear(ValueError("open it"))
    assert not watch.indiscretions()
    watch.hear(error)
    assert watch.indiscretions()
