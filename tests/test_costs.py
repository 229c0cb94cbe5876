"""What each operation costs in things that can be counted: a slower way of doing it fails here.

The figures are what the operations take today; a change that needs more has to say why. How many
round trips and statements they take is counted beside each store. What they take in time is
measured by `benchmarks/`.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest

from jam_core import Jam


class Cost(NamedTuple):
    """The cost of an operation.

    Attributes:
        parses: JSON texts parsed.
        dumps: JSON texts written.
        opens: Files opened.
    """

    parses: int = 0
    dumps: int = 0
    opens: int = 0


OPERATIONS: dict[str, Callable[[Jam, str], object]] = {
    "create": lambda jam, _: jam.session_create("user1", {"role": "admin"}),
    "get": lambda jam, session_id: jam.session_get(session_id),
    "update": lambda jam, session_id: jam.session_update(session_id, {"role": "user"}),
    "touch": lambda jam, session_id: jam.session_touch(session_id),
    "rework": lambda jam, session_id: jam.session_rework(session_id),
    "delete": lambda jam, session_id: jam.session_delete(session_id),
    "clear": lambda jam, _: jam.session_clear("user1"),
}
COSTS: dict[str, dict[str, Cost]] = {
    "document": {
        "create": Cost(dumps=2),
        "get": Cost(parses=1),
        "update": Cost(dumps=2),
        "touch": Cost(dumps=1),
        "rework": Cost(dumps=2),
        "delete": Cost(dumps=1),
        "clear": Cost(dumps=1),
    },
    "directory": {
        "create": Cost(dumps=2, opens=2),  # a new directory is given to its owner
        "get": Cost(parses=2, opens=1),
        "update": Cost(parses=2, dumps=3, opens=3),
        "touch": Cost(parses=2, dumps=2, opens=3),
        "rework": Cost(parses=2, dumps=2, opens=6),
        "delete": Cost(parses=1, opens=1),
        "clear": Cost(parses=1, dumps=1, opens=2),
    },
    "sqlite": {
        "create": Cost(dumps=1),
        "get": Cost(parses=1),
        "update": Cost(dumps=1),
        "touch": Cost(),
        "rework": Cost(),
        "delete": Cost(),
        "clear": Cost(),
    },
    "redis": {
        "create": Cost(dumps=1),
        "get": Cost(parses=1),
        "update": Cost(dumps=1),
        "touch": Cost(),
        "rework": Cost(),
        "delete": Cost(),
        "clear": Cost(),
    },
}

_opened: list[str] = []
_listening = False


def _note_opened(event: str, arguments: tuple[Any, ...]) -> None:
    if _listening and event == "open":
        _opened.append(str(arguments[0]))


sys.addaudithook(_note_opened)


def cost_of(operation: Callable[[], object]) -> Cost:
    """Return what an operation costs."""
    global _listening  # noqa: PLW0603  (an audit hook cannot be removed)
    counts: Counter[str] = Counter()
    parse, dump = json.JSONDecoder.decode.__code__, json.JSONEncoder.encode.__code__

    def count(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            counts["parses"] += frame.f_code is parse
            counts["dumps"] += frame.f_code is dump

    _opened.clear()
    _listening = True
    sys.setprofile(count)
    try:
        operation()
    finally:
        sys.setprofile(None)
        _listening = False
    return Cost(counts["parses"], counts["dumps"], len(_opened))


@pytest.fixture(params=["document", "directory", "sqlite", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, Any]]:
    sessions: dict[str, Any] = {
        "document": {"session_type": "json", "json_path": str(tmp_path / "sessions.json")},
        "directory": {"session_type": "json", "json_path": str(tmp_path / "sessions")},
        "sqlite": {
            "session_type": "sqlalchemy",
            "database_uri": f"sqlite:///{tmp_path}/sessions.db",
        },
    }
    if request.param == "redis":
        uri = request.getfixturevalue("redis_uri")
        return "redis", {"session": {"session_type": "redis", "redis_uri": uri}}
    return request.param, {"session": sessions[request.param]}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_costs_no_more_than_it_did(
    place: tuple[str, dict[str, Any]], name: str
) -> None:
    store, configuration = place
    operation = OPERATIONS[name]
    with Jam(configuration) as jam:
        for _ in range(3):  # what is made once is made now
            operation(jam, jam.session_create("user1", {"role": "admin"}))
        session_id = jam.session_create("user1", {"role": "admin"})
        cost = cost_of(lambda: operation(jam, session_id))
    limit = COSTS[store][name]
    assert all(measured <= most for measured, most in zip(cost, limit, strict=True)), cost
