"""The contract suite on stores that are correct: it passes whole."""

import pytest

from jam_core import hash_id
from jam_core.testing import Damage, SessionContract, Snapshot, StoreFactory
from jam_core.testing.fixtures import Watch
from tests.memory_store import MemorySessions
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
                    store.kept[hash_id(session_id)] = record._replace(text="damaged")

        return damage


class TestFileSessions(FileContract):
    pass


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
