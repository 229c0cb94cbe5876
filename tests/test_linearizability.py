"""The search for an order: it finds one where there is one, and none where there is none."""

import time
from pathlib import Path
from typing import Any

import pytest
from jam_testing import NotLinearizable, Operation, check_linearizable, explain
from jam_testing.memory import MemorySessions

from jam import Jam
from jam_core import BaseSession, session_handle
from tests.places import Configure
from tests.wrong_stores.concurrency import ReworkCreatesThenDeletes, UpdateReadsThenWrites
from tests.wrong_stores.file_store import FileSessions

A = "first id"


def op(name: str, began: int, ended: int | None, result: Any = None, write: int = 0) -> Operation:
    return Operation(0, name, A, write, began, ended, result)


CREATED = op("create", 1, 2, A, write=1)
SEEN_TOGETHER = [
    (session_handle(A), (1,)),
    (session_handle("second id"), (2,)),
    (session_handle("third id"), (3,)),
]


@pytest.mark.parametrize(
    "history",
    [
        pytest.param([op("get", 3, 4, (1,))], id="read"),
        pytest.param([op("update", 3, 6, None, 2), op("get", 4, 5, (1,))], id="read before"),
        pytest.param([op("update", 3, 6, None, 2), op("get", 4, 5, (2,))], id="read after"),
        pytest.param(
            [op("delete", 3, 9), op("update", 4, 8, None, 2), op("get", 10, 11, None)],
            id="update, then delete",
        ),
        pytest.param(
            [
                op("clear", 3, 9),
                op("create", 4, 5, "second id", 2),
                op("list_sessions", 6, 7, [(session_handle("second id"), (2,))]),
                op("list_sessions", 10, 11, []),
            ],
            id="clear looks again",
        ),
        pytest.param(
            [
                op("create", 3, 6, "second id", 2),
                op("create", 3, 6, "third id", 3),
                op("clear", 5, 13),
                op("list_sessions", 7, 8, SEEN_TOGETHER),
                op("list_sessions", 9, 10, SEEN_TOGETHER[1:]),
                op("list_sessions", 11, 12, SEEN_TOGETHER[2:]),
                op("list_sessions", 14, 15, []),
            ],
            id="clear looks again, for each that was created meanwhile",
        ),
        pytest.param([op("delete", 3, None), op("get", 4, 5, (1,))], id="killed before"),
        pytest.param(
            [op("delete", 3, None), op("get", 4, 5, (1,)), op("get", 6, 7, None)], id="killed later"
        ),
        pytest.param(
            [op("rework", 3, None), op("list_sessions", 4, 5, [("f" * 16, (1,))])],
            id="killed, under an id that nobody knows",
        ),
    ],
)
def test_there_is_an_order(history: list[Operation]) -> None:
    order = explain([CREATED, *history])
    assert order[0] == CREATED


@pytest.mark.parametrize(
    "history",
    [
        pytest.param([op("get", 3, 4, (2,))], id="nobody wrote it"),
        pytest.param([op("update", 3, 4, None, 2), op("get", 5, 6, (1,))], id="stale"),
        pytest.param(
            [op("update", 3, 9, None, 2), op("get", 4, 5, (2,)), op("get", 6, 7, (1,))],
            id="there and gone again",
        ),
        pytest.param([op("clear", 3, 6), op("get", 7, 8, (1,))], id="survives clear"),
        pytest.param(
            [
                op("clear", 3, 9),
                op("create", 4, 5, "second id", 2),
                op("get", 6, 7, (1,)),
                op("list_sessions", 10, 11, [(session_handle("second id"), (2,))]),
            ],
            id="seen with what clear ended, and survives it",
        ),
        pytest.param(
            [
                op("create", 3, 4, "second id", 2),
                op("clear", 5, 13),
                op("list_sessions", 9, 10, SEEN_TOGETHER[1:2]),
                op("list_sessions", 14, 15, []),
            ],
            id="clear ends one by one what was there before",
        ),
        pytest.param(
            [op("rework", 3, 9, "second id"), op("rework", 4, 8, "third id")], id="reworked twice"
        ),
        pytest.param(
            [op("rework", 3, 9, "second id"), op("list_sessions", 4, 8, [])],
            id="listed under neither id",
        ),
        pytest.param([op("update", 3, None, 2), op("get", 4, 5, None)], id="killed, and gone"),
    ],
)
def test_there_is_no_order(history: list[Operation]) -> None:
    with pytest.raises(NotLinearizable, match="no order explains this history"):
        explain([CREATED, *history])


def test_a_store_of_threads_is_linearizable() -> None:
    memory = MemorySessions()
    check_linearizable(lambda **_: memory, histories=100, processes=0, threads=3)


@pytest.mark.parametrize("kills", [False, True], ids=["unharmed", "killed"])
def test_a_store_of_processes_is_linearizable(tmp_path: Path, kills: bool) -> None:
    check_linearizable(
        lambda **_: FileSessions(tmp_path / "sessions.json"), histories=30, threads=1, kills=kills
    )


class ListsInPieces(FileSessions):
    """Reads the list of a key's sessions in two steps."""

    def list_sessions(self, session_key: str) -> list[Any]:
        first = super().list_sessions(session_key)
        time.sleep(0.002)
        second = super().list_sessions(session_key)
        return first[:1] + second[1:]


@pytest.mark.parametrize("wrong", [UpdateReadsThenWrites, ReworkCreatesThenDeletes, ListsInPieces])
def test_a_store_that_works_in_pieces_is_found(tmp_path: Path, wrong: type[FileSessions]) -> None:
    with pytest.raises((NotLinearizable, AssertionError), match=r"no order|history"):
        check_linearizable(lambda **_: wrong(tmp_path / "sessions.json"), histories=300)


@pytest.mark.exhaustive
@pytest.mark.parametrize("histories", [100, pytest.param(2000, marks=pytest.mark.lengthy)])
@pytest.mark.parametrize("kills", [False, True], ids=["unharmed", "killed"])
@pytest.mark.parametrize(
    "place", ["document", "directory", "sqlite", "postgresql-machine", "mariadb", "redis"]
)
def test_every_store_is_linearizable(
    place: str, kills: bool, configure: Configure, tmp_path: Path, histories: int
) -> None:
    config = str(tmp_path / configure("linear", place))

    def open_store(**_: Any) -> BaseSession:
        return Jam(config).store

    in_steps = ("clear", "clear_others", "list_sessions") if place == "directory" else ()
    check_linearizable(open_store, histories=histories, threads=1, kills=kills, in_steps=in_steps)
