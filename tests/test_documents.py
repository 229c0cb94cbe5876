"""What `DocumentSessions` makes of compare-and-set: log-ins, races, long data, damage."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from jam_testing import ManualClock, run_in_processes
from jam_testing.concurrency import in_threads
from jam_testing.processes import run_in_a_process_that_dies

from jam_core import (
    DocumentSessions,
    JamSessionConflict,
    JamSessionCorrupt,
    JamSessionDataError,
    JamSessionNotFound,
    JamSessionUnsupported,
    JamStoreUnavailable,
    SessionRecord,
    hash_id,
)
from tests.document_stores import Shelf, ShelfSessions, TableSessions, count_of_rows

VISITOR, USER, OTHER = "visitor 1", "ann", "bob"
DATA = {"cart": [1, 2]}
LONG: dict[str, Any] = {"text": "é" * 100_000}
Action = Callable[[DocumentSessions, str], object]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def store(shelf: Shelf, clock: ManualClock) -> ShelfSessions:
    return ShelfSessions(shelf, clock=clock)


def living(store: DocumentSessions, *keys: str) -> list[Any]:
    """Return the data of the keys' sessions."""
    return [
        info.data for key in keys or (VISITOR, USER, OTHER) for info in store.list_sessions(key)
    ]


def outcome_of(action: Callable[[], object]) -> object:
    try:
        return action()
    except JamSessionNotFound:
        return "not found"


# Log-in


def test_a_log_in_takes_the_data_along_and_begins_a_session_of_the_user(
    store: ShelfSessions, clock: ManualClock
) -> None:
    visitor = store.create(VISITOR, DATA, max_age=50)
    clock.advance(10)
    user = store.rework(visitor, USER, ttl=1000, max_age=5000)
    assert store.get(visitor) is None
    info = store.info(user)
    assert info is not None
    assert (info.session_key, info.data, info.ttl) == (USER, DATA, 1000)
    assert info.created_at == clock.now
    assert info.expires_at == clock.now + 1000
    assert info.deadline == clock.now + 5000
    store.clear(VISITOR)
    assert store.get(user) == DATA
    store.clear(USER)
    assert store.get(user) is None


def test_a_log_in_as_the_same_user_is_one_step(store: ShelfSessions, shelf: Shelf) -> None:
    first = store.create(USER, DATA)
    swaps: list[str] = []
    store.before = lambda kind, name: swaps.append(name) if kind == "swap" else None
    second = store.rework(first, USER, ttl=9)
    assert len(swaps) == 1
    info = store.info(second)
    assert info is not None
    assert info.ttl == 9
    assert living(store) == [DATA]


def test_a_log_in_with_long_data_leaves_nothing_behind(store: ShelfSessions, shelf: Shelf) -> None:
    user = store.rework(store.create(VISITOR, LONG), USER)
    assert store.get(user) == LONG
    store.delete(user)
    assert shelf.values == {}


def test_a_log_in_into_a_full_document_leaves_the_visitor_as_he_was(
    store: ShelfSessions, shelf: Shelf
) -> None:
    store.longest_value = 3000
    fill(store, USER)
    visitor = store.create(VISITOR, DATA)
    with pytest.raises(JamSessionDataError, match="takes 3000"):
        store.rework(visitor, USER)
    assert store.get(visitor) == DATA


COMPETITORS: dict[str, Action] = {
    "delete": lambda store, old: store.delete(old),
    "clear of the visitor": lambda store, old: store.clear(VISITOR),
    "clear of the user": lambda store, old: store.clear(USER),
    "another log-in": lambda store, old: store.rework(old, OTHER),
    "the same log-in": lambda store, old: store.rework(old, USER),
    "update": lambda store, old: store.update(old, {"newer": True}),
}


@pytest.mark.parametrize("data", [DATA, LONG], ids=["short", "long"])
@pytest.mark.parametrize("competitor", list(COMPETITORS))
def test_a_log_in_and_what_happens_at_any_step_of_it(
    competitor: str, data: dict[str, Any], clock: ManualClock
) -> None:
    """Somebody else's whole operation is carried out before each load and swap of a log-in."""
    seen = set()
    for step in count():
        store = ShelfSessions(clock=clock)
        store.create(VISITOR, {"another": "visitor"})
        old = store.create(VISITOR, data)
        others = ShelfSessions(store.shelf, clock=clock)
        steps = count()
        competed: list[object] = []

        def compete(kind: str, name: str) -> None:
            if next(steps) == step:  # noqa: B023
                competed.append(outcome_of(lambda: COMPETITORS[competitor](others, old)))  # noqa: B023

        store.before = compete
        outcome = outcome_of(lambda: store.rework(old, USER))  # noqa: B023
        store.before = lambda kind, name: None
        if not competed:
            break
        (rival,) = competed
        assert store.get(old) is None
        seen.add(outcome == "not found")
        left = living(store, USER, OTHER)
        if competitor == "update" and rival is None:
            assert store.get(str(outcome)) == {"newer": True}  # no change is lost
        elif outcome != "not found":
            assert store.get(str(outcome)) == data
            assert left == [data]
            assert competitor not in ("another log-in", "the same log-in") or rival == "not found"
        elif isinstance(rival, str):
            assert store.get(rival) == data
            assert left == [data]
        else:
            assert left == []  # nobody is logged in who was logged out
    assert step >= 4
    assert seen == ({False} if competitor == "update" else {False, True})


def test_killed_at_any_step_of_a_log_in(tmp_path: Path, clock: ManualClock) -> None:
    """A process is killed before each load and swap: there is never more than one session."""
    after_the_old_one_ended = 0
    for step in count():
        path = str(tmp_path / f"{step}.db")
        store = TableSessions(path, clock=clock)
        old = store.create(VISITOR, DATA)

        def log_in() -> str:
            steps = count()

            def die(kind: str, name: str) -> None:
                if next(steps) == step:  # noqa: B023
                    os.kill(os.getpid(), signal.SIGKILL)

            return TableSessions(path, die, clock=clock).rework(old, USER)  # noqa: B023

        try:
            new = run_in_a_process_that_dies(log_in)
        except AssertionError:  # it ended without an answer
            pass
        else:
            assert store.get(new) == DATA
            break
        if store.get(old) is None:
            after_the_old_one_ended += 1
            assert living(store) == [DATA]
        else:
            assert store.get(old) == DATA
            clock.advance(61)
            assert living(store) == [DATA]  # the copy has ended by itself
            assert store.rework(old, USER)
            assert living(store) == [DATA]
    assert step >= 6
    assert after_the_old_one_ended


RACES: dict[str, tuple[Action, Action]] = {
    "two log-ins": (lambda s, old: s.rework(old, USER), lambda s, old: s.rework(old, USER)),
    "two users": (lambda s, old: s.rework(old, USER), lambda s, old: s.rework(old, OTHER)),
    "delete": (lambda s, old: s.rework(old, USER), lambda s, old: s.delete(old)),
    "clear": (lambda s, old: s.rework(old, USER), lambda s, old: s.clear(VISITOR)),
    "clear of the user": (lambda s, old: s.rework(old, USER), lambda s, old: s.clear(USER)),
    "update": (lambda s, old: s.rework(old, USER), lambda s, old: s.update(old, {"newer": True})),
}


def check_race(store: DocumentSessions, race: str, old: str, outcomes: list[object]) -> None:
    assert store.get(old) is None
    new = [one for one in outcomes if isinstance(one, str) and one != "not found"]
    if race in ("two log-ins", "two users"):
        assert len(new) == 1
    lives = [store.get(one) for one in new]
    if race == "clear of the user":
        assert lives in ([], [None], [DATA])
    else:
        newer = {"newer": True}
        assert lives in ([], [newer if race == "update" and outcomes[1] is None else DATA])
    assert living(store, USER, OTHER) == [one for one in lives if one is not None]
    store.clear(USER)
    store.clear(OTHER)


def run_in_threads(path: str, race: str, rounds: int) -> None:
    stores = [TableSessions(path) for _ in range(2)]
    for _ in range(rounds):
        old = stores[0].create(VISITOR, DATA)
        outcomes = in_threads(
            [
                lambda store=store, action=action, old=old: outcome_of(  # type: ignore[misc]
                    lambda: action(store, old)
                )
                for store, action in zip(stores, RACES[race], strict=True)
            ]
        )
        check_race(stores[0], race, old, outcomes)


@pytest.mark.parametrize("race", list(RACES))
def test_races_of_log_ins_in_threads(tmp_path: Path, race: str) -> None:
    run_in_threads(str(tmp_path / "table.db"), race, 60)


def run_rounds_in_processes(path: str, race: str, rounds: int) -> None:
    """Let two processes meet on a session in each round, which a third one checks."""
    import multiprocessing

    barrier = multiprocessing.get_context("fork").Barrier(3)
    mail = Path(path).parent

    def take_part(number: int) -> Callable[[], None]:
        def run() -> None:
            store = TableSessions(path)
            for _ in range(rounds):
                barrier.wait(60)
                old = (mail / "old").read_text()
                outcome = outcome_of(lambda: RACES[race][number](store, old))  # noqa: B023
                (mail / f"outcome {number}").write_text(json.dumps(outcome))
                barrier.wait(60)

        return run

    def check() -> None:
        store = TableSessions(path)
        for _ in range(rounds):
            old = store.create(VISITOR, DATA)
            (mail / "old").write_text(old)
            barrier.wait(60)
            barrier.wait(60)
            outcomes = [json.loads((mail / f"outcome {n}").read_text()) for n in range(2)]
            check_race(store, race, old, outcomes)

    run_in_processes([take_part(0), take_part(1), check])


@pytest.mark.parametrize("race", list(RACES))
def test_races_of_log_ins_in_processes(tmp_path: Path, race: str) -> None:
    run_rounds_in_processes(str(tmp_path / "table.db"), race, 60)


@pytest.mark.exhaustive
@pytest.mark.parametrize("times", [2, pytest.param(20, marks=pytest.mark.lengthy)])
@pytest.mark.parametrize("race", list(RACES))
def test_many_races_of_log_ins_in_processes(tmp_path: Path, race: str, times: int) -> None:
    for _ in range(times):  # each in its time limit, however busy the machine is
        run_rounds_in_processes(str(tmp_path / "table.db"), race, 250)


# What nobody knows whether it was carried out


class Unsure(ShelfSessions):
    """Its next swap is carried out, and not reported so.

    Attributes:
        meanwhile: What others do then; None: every swap is reported as it went.
        says: What is reported.
    """

    meanwhile: Callable[[], object] | None = None
    says: type[Exception] | bool = False

    def swap(self, name: str, text: str | None, token: int | None) -> bool:
        done = super().swap(name, text, token)
        meanwhile = self.meanwhile
        if meanwhile is None or not done:
            return done
        self.meanwhile = None
        meanwhile()
        if isinstance(self.says, bool):
            return self.says
        raise self.says


@pytest.fixture
def unsure(shelf: Shelf, clock: ManualClock) -> Unsure:
    return Unsure(shelf, clock=clock)


def test_an_update_is_not_repeated_over_what_others_did_since(
    unsure: Unsure, store: ShelfSessions
) -> None:
    session_id = unsure.create(USER, {"role": "admin"})
    unsure.meanwhile = lambda: store.mutate(session_id, lambda data: {"role": "banned"})
    unsure.update(session_id, {"role": "admin", "seen": 1})
    assert store.get(session_id) == {"role": "banned"}


def test_a_clear_is_not_repeated_over_a_log_in(unsure: Unsure, store: ShelfSessions) -> None:
    ended = unsure.create(USER, DATA)
    new: list[str] = []
    unsure.meanwhile = lambda: new.append(store.rework(store.create(VISITOR, DATA), USER))
    unsure.clear(USER)
    assert store.get(ended) is None
    assert store.get(new[0]) == DATA


def test_a_create_is_not_repeated(unsure: Unsure, store: ShelfSessions) -> None:
    unsure.create(USER, {"first": True})
    unsure.meanwhile = lambda: store.create(USER, {"of": "others"})
    session_id = unsure.create(USER, LONG)
    assert store.get(session_id) == LONG
    assert len(living(store)) == 3


@pytest.mark.parametrize("key", [None, USER], ids=["rework", "log-in"])
def test_a_rework_is_not_repeated(unsure: Unsure, store: ShelfSessions, key: str | None) -> None:
    old, other = (unsure.create(VISITOR, DATA) for _ in range(2))
    unsure.meanwhile = lambda: store.update(other, {"n": 1})
    new = unsure.rework(old, key)
    assert store.get(new) == DATA
    assert store.get(old) is None
    assert len(living(store)) == 2


def test_clear_others_is_not_repeated_over_a_log_in(unsure: Unsure, store: ShelfSessions) -> None:
    mine, _ = (unsure.create(USER, DATA) for _ in range(2))
    new: list[str] = []
    unsure.meanwhile = lambda: new.append(store.create(USER, {"new": True}))
    assert unsure.clear_others(mine) == 1
    assert store.get(new[0]) == {"new": True}


def test_what_may_have_been_carried_out_is_an_outage_and_happens_once(
    unsure: Unsure, store: ShelfSessions
) -> None:
    unsure.says = JamStoreUnavailable
    session_id = unsure.create(USER, {"n": 1})
    for operation in (
        lambda: unsure.create(USER, {"n": 1}),
        lambda: unsure.update(session_id, {"n": 2}),
        lambda: unsure.rework(session_id),
    ):
        swaps: list[str] = []
        unsure.meanwhile = lambda: swaps.append("done")  # noqa: B023
        before = store.shelf.values.copy()
        with pytest.raises(JamStoreUnavailable):
            operation()
        assert swaps == ["done"]
        assert store.shelf.values != before
        assert len(store.list_sessions(USER)) == 2


# Long data


def pieces_on(shelf: Shelf) -> list[str]:
    return [name for name in shelf.values if name.startswith("p.")]


def test_long_data_is_in_pieces_that_go_with_it(store: ShelfSessions, shelf: Shelf) -> None:
    session_id = store.create(USER, LONG)
    first = pieces_on(shelf)
    assert len(first) > 1
    assert all(len(text) <= store.longest_value for text, _ in shelf.values.values())
    store.touch(session_id)
    session_id = store.rework(session_id)
    assert pieces_on(shelf) == first  # not written again
    store.update(session_id, {**LONG, "n": 1})
    assert len(pieces_on(shelf)) == len(first)
    assert not set(first) & set(pieces_on(shelf))
    assert store.get(session_id) == {**LONG, "n": 1}
    store.mutate(session_id, lambda data: {"n": 2})
    assert pieces_on(shelf) == []
    assert store.get(session_id) == {"n": 2}


@pytest.mark.parametrize(
    "end",
    [
        lambda store, one: store.delete(one),
        lambda store, one: store.clear(USER),
        lambda store, one: store.clear_others(store.create(USER, {})),
        lambda store, one: store.revoke(USER, store.list_sessions(USER)[0].handle),
        lambda store, one: (store.clock.advance(3600), store.purge()),
        lambda store, one: (store.clock.advance(3600), store.create(USER, {})),
    ],
    ids=["delete", "clear", "clear_others", "revoke", "purge", "the next write"],
)
def test_long_data_ends_with_its_session(store: ShelfSessions, shelf: Shelf, end: Action) -> None:
    session_id = store.create(USER, LONG)
    end(store, session_id)
    assert store.get(session_id) is None
    assert pieces_on(shelf) == []


def test_what_is_refused_leaves_no_pieces(store: ShelfSessions, shelf: Shelf) -> None:
    session_id = store.create(USER, DATA)
    seen = store.info(session_id)
    store.update(session_id, {"n": 1})
    before = shelf.values.copy()
    with pytest.raises(JamSessionConflict):
        store.update(session_id, LONG, seen=seen)
    with pytest.raises(JamSessionNotFound):
        store.update(session_id[:-1] + "?", LONG)
    store.longest_value = 1000
    fill(store, OTHER)
    names = set(shelf.values)
    with pytest.raises(JamSessionDataError):
        store.create(OTHER, LONG)
    assert set(shelf.values) == names
    assert before.items() <= shelf.values.items()


class Interrupted(BaseException):
    """What a time limit or Ctrl-C raises."""


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_interrupted_at_any_step_nothing_is_half_done_and_purge_finds_the_pieces(
    clock: ManualClock, after: bool
) -> None:
    """An exception is raised before, or after, each load and swap of some operations."""
    longer = {**LONG, "n": 1}
    operations: dict[str, tuple[Action, list[dict[str, Any]]]] = {
        "update": (lambda store, one: store.update(one, longer), [LONG, longer]),
        "rework": (lambda store, one: store.rework(one), [LONG]),
        "log-in": (lambda store, one: store.rework(one, USER), [LONG]),
        "delete": (lambda store, one: store.delete(one), [LONG]),
        "clear": (lambda store, one: store.clear(VISITOR), [LONG]),
    }
    for name, (operation, possible) in operations.items():
        for step in count():
            store = Interrupting(clock=clock, ttl=None)
            one = store.create(VISITOR, LONG)
            store.countdown, store.after = step, after
            try:
                operation(store, one)
            except Interrupted:
                pass
            else:
                break
            store.countdown = -1
            clock.advance(61)
            left = living(store)
            # A log-in that was interrupted once the old id was dead: nobody knows the new one.
            assert left in [[data] for data in possible] or (
                left == [] and name in ("delete", "clear", "log-in")
            )
            assert store.purge() in (0, 1)
            young = pieces_on(store.shelf)
            clock.advance(3500)
            store.purge()
            assert len(pieces_on(store.shelf)) <= len(young)
            assert len(living(store)) == len(left)
            clock.advance(40)
            store.purge()
            assert len(pieces_on(store.shelf)) == 2 * len(living(store))  # what is named, no more
            assert living(store) == left
        assert step >= 2


class Interrupting(ShelfSessions):
    """Is interrupted at the call whose turn it is."""

    countdown = -1
    after = False

    def load(self, name: str) -> tuple[str, int] | None:
        with self.turn():
            return super().load(name)

    def swap(self, name: str, text: str | None, token: int | None) -> bool:
        with self.turn():
            return super().swap(name, text, token)

    @contextmanager
    def turn(self) -> Iterator[None]:
        is_due, self.countdown = self.countdown == 0, self.countdown - 1
        if is_due and not self.after:
            raise Interrupted
        yield
        if is_due:
            raise Interrupted


def test_the_pieces_of_a_write_under_way_are_left_alone(
    store: ShelfSessions, shelf: Shelf, clock: ManualClock
) -> None:
    session_id = store.create(USER, DATA)
    others = ShelfSessions(shelf, clock=clock)
    purged: list[int] = []

    def purge(kind: str, name: str) -> None:
        if kind == "swap" and name.startswith("s."):
            purged.append(others.purge())

    store.before = purge
    store.update(session_id, LONG)
    assert purged == [0]
    assert store.get(session_id) == LONG


@pytest.mark.parametrize("read", ["get", "list_sessions"])
def test_a_reader_whose_pieces_are_gone_looks_again(
    store: ShelfSessions, shelf: Shelf, clock: ManualClock, read: str
) -> None:
    session_id = store.create(USER, LONG)
    others = ShelfSessions(shelf, clock=clock)
    updates = iter([{**LONG, "n": 1}])

    def replace_pieces(kind: str, name: str) -> None:
        if name.startswith("p."):
            for data in updates:
                others.update(session_id, data)

    store.before = replace_pieces
    data = store.get(session_id) if read == "get" else store.list_sessions(USER)[0].data
    assert data == {**LONG, "n": 1}


def test_the_pieces_of_an_update_that_came_too_late_are_removed(
    store: ShelfSessions, shelf: Shelf, clock: ManualClock
) -> None:
    session_id, _ = store.create(USER, DATA), store.create(USER, DATA)
    others = ShelfSessions(shelf, clock=clock)

    def log_out(kind: str, name: str) -> None:
        if kind == "swap" and name.startswith("s."):
            others.delete(session_id)

    store.before = log_out
    with pytest.raises(JamSessionNotFound):
        store.update(session_id, LONG)
    assert pieces_on(shelf) == []


def test_a_reader_of_long_data_never_sees_it_torn(tmp_path: Path) -> None:
    path = str(tmp_path / "table.db")
    stores = [TableSessions(path) for _ in range(2)]
    session_id = stores[0].create(USER, {**LONG, "n": 0})
    rounds = 30

    def write() -> None:
        for n in range(rounds):
            stores[0].update(session_id, {**LONG, "n": n})

    def read() -> set[int]:
        seen = set()
        for _ in range(2 * rounds):
            data = stores[1].get(session_id)
            assert data is not None
            assert len(data["text"]) == len(LONG["text"])
            assert len(stores[1].list_sessions(USER)) == 1
            seen.add(data["n"])
        return seen

    written, seen = in_threads([write, read])
    assert written is None
    assert isinstance(seen, set)
    assert len(seen) > 1
    assert count_of_rows(path) == 3


# What is not as it should be


def fill(store: DocumentSessions, key: str) -> list[str]:
    """Create sessions until no other fits."""
    ids: list[str] = []
    while True:
        try:
            ids.append(store.create(key, {"n": len(ids)}))
        except JamSessionDataError:
            return ids


def test_a_document_that_is_full_says_so_and_can_be_emptied(store: ShelfSessions) -> None:
    store.longest_value = 2000
    ids = fill(store, USER)
    assert len(ids) > 5
    with pytest.raises(JamSessionDataError, match=r"would take \d+ characters.*takes 2000.*End"):
        store.create(USER, DATA)
    assert store.create(OTHER, DATA)  # another key is not concerned
    store.longest_value = 1000
    for session_id in ids:
        store.delete(session_id)
    assert living(store) == [DATA]


@pytest.mark.parametrize(
    "session_id",
    [
        "",
        ".",
        "../../etc/passwd",
        "s.0123456789abcdef0123456789abcdef",
        "0123456789ABCDEF0123456789ABCDEF.id",
        "0123456789abcdef0123456789abcde.id",
        "0123456789abcdef0123456789abcdef.",
        "0123456789abcdef0123456789abcdefg.id",
        "/0123456789abcdef0123456789abcdef.id",
        "0123456789abcdef0123456789abcde\n.id",
        "6ba7b810-9dad-41d1-80b4-00c04fd430c8",
        "user1:6ba7b810-9dad-41d1-80b4-00c04fd430c8",
    ],
    ids=repr,
)
def test_an_id_of_elsewhere_is_not_even_looked_for(store: ShelfSessions, session_id: Any) -> None:
    asked: list[str] = []
    store.before = lambda kind, name: asked.append(name)
    assert store.get(session_id) is None
    assert store.info(session_id) is None
    store.delete(session_id)
    for operation in (store.touch, store.rework, lambda one: store.update(one, {})):
        with pytest.raises(JamSessionNotFound):
            operation(session_id)
    assert asked == []


def document_of(shelf: Shelf, session_id: str) -> str:
    return f"s.{session_id.partition('.')[0]}"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"key": "ann"}', "[" * 100_000, '{"sessions": 7}', "9" * 5000]
)
def test_a_damaged_document_is_corrupt_left_alone_and_can_be_cleared(
    store: ShelfSessions, shelf: Shelf, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    session_id, other = store.create(USER, DATA), store.create(OTHER, DATA)
    name = document_of(shelf, session_id)
    shelf.values[name] = (text, -1)
    for operation in (
        lambda: store.get(session_id),
        lambda: store.update(session_id, {}),
        lambda: store.create(USER, DATA),
        lambda: store.list_sessions(USER),
        lambda: store.delete(session_id),
    ):
        with pytest.raises(JamSessionCorrupt, match="left as it is"):
            operation()
    assert [record.session_key for record in store.records()] == [OTHER]
    assert store.purge() == 0
    assert "Left out" in caplog.text
    assert shelf.values[name] == (text, -1)
    assert store.get(other) == DATA
    store.clear(USER)
    assert name not in shelf.values
    assert store.get(store.create(USER, DATA)) == DATA


@pytest.mark.parametrize(
    "entry",
    [
        None,
        7,
        {},
        {"text": 7},
        {"text": "{}", "expires": "soon"},
        {"text": "{}", "deadline": True},
        {"text": "{}", "created": float("nan")},
        {"text": "{}", "id_key": 7},
        {"pieces": ["../etc/passwd", 1]},
        {"pieces": []},
        {"pieces": [7, 7]},
    ],
    ids=repr,
)
def test_a_damaged_session_is_corrupt_left_alone_and_hides_no_other(
    store: ShelfSessions, shelf: Shelf, entry: object, caplog: pytest.LogCaptureFixture
) -> None:
    damaged, other = store.create(USER, DATA), store.create(USER, {"n": 1})
    name = document_of(shelf, damaged)
    document = json.loads(shelf.values[name][0])
    document["sessions"][hash_id(damaged)] = entry
    assert store.swap(name, json.dumps(document), shelf.values[name][1])
    for operation in (
        lambda: store.get(damaged),
        lambda: store.update(damaged, {}),
        lambda: store.touch(damaged),
        lambda: store.rework(damaged),
        lambda: store.rework(damaged, OTHER),
    ):
        with pytest.raises(JamSessionCorrupt):
            operation()
    store.update(other, {"n": 2})
    assert store.get(other) == {"n": 2}
    assert {info.handle: info.data for info in store.list_sessions(USER)} == {
        hash_id(damaged)[:16]: None,
        hash_id(other)[:16]: {"n": 2},
    }
    assert [json.loads(record.data) for record in store.records()] == [{"n": 2}]
    assert "Left out" in caplog.text
    stored = json.loads(shelf.values[name][0])["sessions"][hash_id(damaged)]
    assert json.dumps(stored) == json.dumps(entry)
    store.delete(damaged)
    assert store.get(damaged) is None
    assert living(store) == [{"n": 2}]


def test_data_of_which_a_piece_is_missing_is_corrupt(store: ShelfSessions, shelf: Shelf) -> None:
    damaged, other = store.create(USER, LONG), store.create(USER, DATA)
    del shelf.values[pieces_on(shelf)[-1]]
    with pytest.raises(JamSessionCorrupt):
        store.get(damaged)
    assert sorted(living(store), key=str) == [None, DATA]
    assert len(list(store.records())) == 1
    assert store.get(other) == DATA
    store.update(damaged, {"new": "data"})
    assert store.get(damaged) == {"new": "data"}
    assert pieces_on(shelf) == []


def test_what_is_not_of_this_store_is_left_alone(store: ShelfSessions, shelf: Shelf) -> None:
    foreign = ["s.", "s.notes", "p.", "p.1.2", "s/0", "settings", f"s.{'0' * 33}"]
    for name in foreign:
        shelf.values[name] = ("{}", 0)
    session_id = store.create(USER, DATA)
    assert store.purge() == 0
    store.ping()
    assert len(list(store.records())) == 1
    store.delete(session_id)
    assert sorted(shelf.values) == sorted(foreign)


def test_sessions_move_between_stores_of_documents_and_from_no_other(
    store: ShelfSessions, clock: ManualClock
) -> None:
    ids = [store.create(USER, DATA, ttl=9)]
    ids += [store.create(OTHER, LONG, max_age=7)]
    elsewhere = ShelfSessions(clock=clock)
    assert elsewhere.restore(list(store.records())) == 2
    assert [elsewhere.get(one) for one in ids] == [DATA, LONG]
    infos = [elsewhere.info(one) for one in ids]
    assert infos == [store.info(one) for one in ids]
    foreign = SessionRecord(USER, hash_id("an id of elsewhere"), "{}")
    with pytest.raises(JamSessionUnsupported, match="documents"):
        elsewhere.restore([foreign])


@pytest.mark.exhaustive  # 64 attempts, and random pauses between them
def test_too_many_writers_are_an_outage_that_ends(store: ShelfSessions, shelf: Shelf) -> None:
    session_id = store.create(USER, DATA)
    others = ShelfSessions(shelf, clock=store.clock)
    store.before = lambda kind, name: others.touch(session_id) if kind == "swap" else None
    with pytest.raises(JamStoreUnavailable, match="others changed"):
        store.update(session_id, {})
    store.before = lambda kind, name: None
    assert store.get(session_id) == DATA


# Powers that the contract suite does not know yet


def test_each_session_keeps_a_ttl_of_its_own(store: ShelfSessions, clock: ManualClock) -> None:
    brief = store.create(USER, DATA)
    lasting = store.create(USER, DATA, ttl=14 * 86400, max_age=30 * 86400)
    endless = store.create(USER, DATA, ttl=None)
    begun = clock.now
    clock.advance(1000)
    store.touch(brief)
    store.update(lasting, DATA)
    lasting = store.rework(lasting)
    store.mutate(endless, lambda data: {"n": 1})
    ends = {info.ttl: info.expires_at for info in store.list_sessions(USER)}
    assert ends == {3600: clock.now + 3600, 14 * 86400: clock.now + 14 * 86400, None: None}
    info = store.info(lasting)
    assert info is not None
    assert info.deadline == begun + 30 * 86400
    clock.advance(20 * 86400)
    assert living(store) == [{"n": 1}]


@pytest.mark.parametrize("data", [DATA, LONG], ids=["short", "long"])
def test_update_of_what_was_seen(store: ShelfSessions, data: dict[str, Any]) -> None:
    session_id = store.create(USER, data)
    seen = store.info(session_id)
    store.update(session_id, {"n": 1}, seen=seen)
    with pytest.raises(JamSessionConflict):
        store.update(session_id, {"n": 2}, seen=seen)
    assert store.get(session_id) == {"n": 1}
    store.delete(session_id)
    with pytest.raises(JamSessionNotFound):
        store.update(session_id, {"n": 2}, seen=seen)


def test_without_scan_purge_and_records_are_lacking() -> None:
    class Unscanned(ShelfSessions):
        scan = DocumentSessions.scan  # type: ignore[assignment]

    lacking = ShelfSessions().capabilities - Unscanned().capabilities
    assert lacking == {"purge", "records"}
    with pytest.raises(JamSessionUnsupported, match="purge"):
        Unscanned().purge()
    with pytest.raises(JamSessionUnsupported, match="records"):
        list(Unscanned().records())
