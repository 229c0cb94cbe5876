"""Log-in, a ttl of a session's own, and files of before: what they are on the disk."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from jam_json import JSONSessions
from jam_testing import run_in_processes

from jam_core import JamSessionCorrupt, JamSessionNotFound, hash_id, session_handle

Opener = Callable[..., JSONSessions]

MADE_BEFORE = Path(__file__).with_name("made_before")
DATA = {"n": 1}


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self, now: float = 1_764_000_060.25) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def on_disk(path: Path, session_id: str) -> dict[str, Any]:
    """Return a session's record as it stands in a file, in the document once it is folded."""
    name = hash_id(session_id)
    if path.is_dir():
        (file,) = path.rglob(f"{name}.json")
        record: dict[str, Any] = json.loads(file.read_text())
        return record
    JSONSessions(path).close()  # folds
    found: dict[str, Any] = json.loads(path.read_text())["sessions"][name]
    return found


def live_ids(store: JSONSessions) -> set[str]:
    return {record.id_hash for record in store.records()}


def listed(store: JSONSessions, *keys: str) -> list[str]:
    """Return the handles that the lists of keys show, sorted."""
    return sorted(info.handle for key in keys for info in store.list_sessions(key))


# What is stored


def test_only_a_ttl_of_its_own_is_kept_with_a_session(path: Path, open_store: Opener) -> None:
    store = open_store(path, ttl=60)
    usual, own = store.create("ann", DATA), store.create("ann", DATA, ttl=1_209_600)
    endless = store.create("ann", DATA, ttl=None)
    for session_id in (usual, own, endless):
        store.touch(session_id)
        store.update(session_id, {"n": 2})
    own = store.rework(own)
    assert "ttl" not in on_disk(path, usual)
    assert on_disk(path, own)["ttl"] == 1_209_600
    assert on_disk(path, endless)["ttl"] is None
    other = open_store(path, ttl=5)
    shown = {info.handle: info.ttl for info in other.list_sessions("ann")}
    assert sorted(shown.values(), key=str) == [1_209_600, 5, None]


@pytest.mark.parametrize("wrong", ["60", 0, -1, 1.5, True, [], 10**12])
def test_a_ttl_that_is_none_damages_its_session_and_no_other(
    path: Path, open_store: Opener, wrong: object
) -> None:
    with JSONSessions(path) as store:
        kept, damaged = store.create("ann", DATA), store.create("ann", DATA, ttl=77)
    files = [path] if path.is_file() else list(path.rglob(f"{hash_id(damaged)}.json"))
    (file,) = files
    file.write_text(file.read_text().replace('"ttl": 77', f'"ttl": {json.dumps(wrong)}'))
    store = open_store(path)
    assert store.get(kept) == DATA
    for refused in (store.get, store.touch, store.rework):
        with pytest.raises(JamSessionCorrupt, match="is not a session record"):
            refused(damaged)
    assert on_disk(path, damaged)["ttl"] == wrong, "it is left as it is"
    store.delete(damaged)
    assert store.get(damaged) is None


def test_max_age_of_its_own_ends_to_the_millisecond(path: Path, open_store: Opener) -> None:
    clock = Clock(1000.0)
    store = open_store(path, clock=clock, ttl=None, max_age=1000)
    session_id = store.create("visitor", DATA)
    clock.now = 1500.0
    session_id = store.rework(session_id, "ann", max_age=30)
    clock.now = 1529.999
    store.update(session_id, {"n": 2})
    session_id = store.rework(session_id)
    assert store.get(session_id) == {"n": 2}
    clock.now = 1530.0
    assert store.get(session_id) is None
    with pytest.raises(JamSessionNotFound):
        store.update(session_id, DATA)
    assert store.list_sessions("ann") == []


def test_a_log_in_is_one_line_of_the_journal(document: Path, open_store: Opener) -> None:
    store = open_store(document)
    visitor = store.create("visitor", DATA)
    journal = document.with_name("sessions.json.journal")
    before = len(journal.read_text())
    user = store.rework(visitor, "ann", ttl=None)
    (line,) = journal.read_text()[before:].splitlines()
    entry = json.loads(line)
    assert entry["del"] == [hash_id(visitor)]
    assert entry["put"][hash_id(user)]["session_key"] == "ann"


# Races


ROUNDS = pytest.mark.parametrize(
    "rounds",
    [
        60,
        pytest.param(300, marks=pytest.mark.exhaustive),
        pytest.param(5000, marks=pytest.mark.lengthy),
    ],
)


def visitors(path: Path, rounds: int) -> list[str]:
    with JSONSessions(path, ttl=None) as store:
        return [store.create("visitor", {"round": n}) for n in range(rounds)]


def log_in(path: Path, user: str, ids: list[str]) -> list[str | None]:
    """Log each visitor in; return the new ids, None where the visitor was gone."""
    store = JSONSessions(path, ttl=None)
    done: list[str | None] = []
    for session_id in ids:
        try:
            done.append(store.rework(session_id, user))
        except JamSessionNotFound:
            done.append(None)
    return done


def log_out(path: Path, ids: list[str]) -> None:
    store = JSONSessions(path, ttl=None)
    for session_id in ids:
        store.delete(session_id)


def clear(path: Path, key: str, times: int) -> None:
    store = JSONSessions(path, ttl=None)
    for _ in range(times):
        store.clear(key)


@ROUNDS
def test_of_two_log_ins_in_two_processes_one_wins(path: Path, rounds: int) -> None:
    ids = visitors(path, rounds)
    both = run_in_processes([partial(log_in, path, user, ids) for user in ("ann", "bob")])
    won = [
        one or other for one, other in zip(*both, strict=True) if (one is None) != (other is None)
    ]
    assert len(won) == rounds, "exactly one of each two is logged in"
    with JSONSessions(path) as store:
        assert live_ids(store) == {hash_id(one) for one in won if one is not None}


@ROUNDS
def test_a_log_out_in_another_process_ends_the_visitor_either_way(path: Path, rounds: int) -> None:
    ids = visitors(path, rounds)
    logged_in, _ = run_in_processes(
        [partial(log_in, path, "ann", ids), partial(log_out, path, ids)]
    )
    with JSONSessions(path) as store:
        assert live_ids(store) == {hash_id(one) for one in logged_in if one is not None}


@ROUNDS
@pytest.mark.parametrize("key", ["visitor", "ann"])
def test_a_log_in_that_races_a_clear_of_either_key_leaves_no_session_in_no_list(
    path: Path, rounds: int, key: str
) -> None:
    ids = visitors(path, rounds)
    run_in_processes([partial(log_in, path, "ann", ids), partial(clear, path, key, rounds // 10)])
    with JSONSessions(path, ttl=None) as store:
        assert not any(map(store.get, ids)), "logged in, or cleared"
        assert len(listed(store, "visitor", "ann")) == len(live_ids(store))
        store.clear("ann")
        assert live_ids(store) == set(), "a clear of the user's key ends every log-in"


def test_log_ins_from_each_of_two_keys_to_the_other_do_not_wait_for_each_other(
    path: Path,
) -> None:
    with JSONSessions(path) as store:
        mine = {key: store.create(key, DATA) for key in ("ann", "bob")}

    def swap(key: str, other: str) -> str:
        here, session_id = JSONSessions(path, lock_timeout=5), mine[key]
        for n in range(200):
            session_id = here.rework(session_id, other if n % 2 == 0 else key)
        return session_id

    ids = run_in_processes([partial(swap, "ann", "bob"), partial(swap, "bob", "ann")])
    with JSONSessions(path) as store:
        assert [store.get(session_id) for session_id in ids] == [DATA, DATA]
        assert live_ids(store) == set(map(hash_id, ids))


def test_what_ended_while_an_operation_waited_does_not_live_again(
    path: Path, open_store: Opener
) -> None:
    now = Clock(1000.0)
    other = open_store(path, clock=now, ttl=60)
    updated, moved = other.create("ann", DATA), other.create("ann", DATA)
    kept = other.create("ann", DATA, ttl=None)
    # Asked by the operation when it begins, and again when it has got the lock.
    times = iter([1059.0, 1060.0] * 4 + [1060.0])
    slow = open_store(path, clock=lambda: next(times), ttl=60)
    now.now = 1060.0
    assert other.get(updated) is None
    with pytest.raises(JamSessionNotFound):
        slow.update(updated, {"n": 2})
    with pytest.raises(JamSessionNotFound):
        slow.clear_others(updated)
    assert not slow.revoke("ann", session_handle(updated))
    with pytest.raises(JamSessionNotFound):
        slow.rework(moved)
    assert live_ids(other) == {hash_id(kept)}, "what is gone stays gone, and ends nobody"


# Files of before


@pytest.mark.parametrize("name", ["document.json", "directory"])
def test_files_of_before_are_read_and_worked_on(
    tmp_path: Path, open_store: Opener, name: str
) -> None:
    """Written on 25 November by the version before ttls of their own: id-1, 2 and 4 live."""
    path = tmp_path / name
    if (MADE_BEFORE / name).is_dir():
        shutil.copytree(MADE_BEFORE / name, path)
    else:
        for file in MADE_BEFORE.glob(f"{name}*"):
            shutil.copy(file, tmp_path)
    clock = Clock()
    store = open_store(path, clock=clock, ttl=600)
    assert store.get("id-1") == {"name": "Ann é", "n": 2}
    assert [store.get(gone) for gone in ("id-3", "id-5")] == [None, None]
    info = store.info("id-2")
    assert info is not None
    assert (info.data, info.created_at, info.ttl) == ({"second": {}}, 1764000000.25, 600)
    assert (info.expires_at, info.deadline) == (1764003660.25, 1764086400.25)
    assert len(store.list_sessions("ann")) == 2
    store.update("id-1", {"n": 3})
    store.touch("id-2")
    user = store.rework("id-4", "bob", ttl=1_209_600)
    clock.now += 600
    assert [store.get("id-1"), store.get("id-2")] == [None, None], "they have the store's ttl"
    assert store.get(user) == {}
    assert store.list_sessions("bob/../:") == []
    assert len(live_ids(store)) == 1
