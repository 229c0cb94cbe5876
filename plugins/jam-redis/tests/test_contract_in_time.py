"""What the contract says of time, on every server side by side: they also have to agree.

The servers keep the time, so these clauses wait; together they wait once.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from jam_redis import RedisSessions
from jam_testing import SessionContract, StoreFactory

from jam_core import STORE_DEFAULT, BaseSession, Seconds, SessionInfo

from .conftest import KINDS, OpenerOf
from .test_contract import WAITING


class SideBySide(BaseSession):
    """Several stores that have to do the same; an id of it is theirs, one after the other."""

    guarantees = frozenset({"durable", "shared"})

    def __init__(self, stores: list[RedisSessions]) -> None:
        super().__init__(logger=None)
        self._stores = stores

    def create(
        self,
        session_key: str,
        data: dict[str, Any],
        *,
        ttl: Seconds = STORE_DEFAULT,
        max_age: Seconds = STORE_DEFAULT,
    ) -> str:
        limits = {"ttl": ttl, "max_age": max_age}
        return "|".join(store.create(session_key, data, **limits) for store in self._stores)

    def get(self, session_id: str) -> dict[str, Any] | None:
        data: dict[str, Any] | None = self._each("get", session_id)
        return data

    def update(
        self, session_id: str, data: dict[str, Any], *, seen: SessionInfo | None = None
    ) -> None:
        assert seen is None, "each store has seen something else"
        self._each("update", session_id, data)

    def delete(self, session_id: str) -> None:
        self._each("delete", session_id)

    def clear(self, session_key: str) -> None:
        for store in self._stores:
            store.clear(session_key)

    def rework(
        self,
        session_id: str,
        session_key: str | None = None,
        *,
        ttl: Seconds = STORE_DEFAULT,
        max_age: Seconds = STORE_DEFAULT,
    ) -> str:
        pairs = zip(self._stores, session_id.split("|"), strict=True)
        calls: list[Callable[[], Any]] = [
            partial(store.rework, one_id, session_key, ttl=ttl, max_age=max_age)
            for store, one_id in pairs
        ]
        return "|".join(self._agree(calls))

    def touch(self, session_id: str) -> None:
        self._each("touch", session_id)

    def mutate(
        self, session_id: str, change: Callable[[dict[str, Any]], dict[str, Any] | None]
    ) -> dict[str, Any]:
        data: dict[str, Any] = self._each("mutate", session_id, change)
        return data

    def close(self) -> None:
        for store in self._stores:
            store.close()

    def _each(self, operation: str, session_id: str, *arguments: Any) -> Any:
        pairs = zip(self._stores, session_id.split("|"), strict=True)
        answers = self._agree(
            [partial(getattr(store, operation), one_id, *arguments) for store, one_id in pairs]
        )
        assert all(answer == answers[0] for answer in answers), f"they disagree: {answers}"
        return answers[0]

    @staticmethod
    def _agree(calls: list[Callable[[], Any]]) -> list[Any]:
        answers, errors = [], []
        for call in calls:
            try:
                answers.append(call())
            except Exception as error:
                errors.append(error)
        assert not (answers and errors), f"they disagree: {answers}, {errors}"
        if errors:
            raise errors[0]
        return answers


@pytest.mark.exhaustive
class TestContractInTime(SessionContract):
    @pytest.fixture
    def store_factory(self, opener: OpenerOf) -> StoreFactory:
        openers = []
        for name in KINDS:
            with suppress(pytest.skip.Exception):  # test_contract.py says why
                openers.append(opener(name))
        return lambda **options: SideBySide([open_store(**options) for open_store in openers])


for _name in dir(SessionContract):
    if _name.startswith("test_") and _name not in WAITING:
        setattr(TestContractInTime, _name, None)
