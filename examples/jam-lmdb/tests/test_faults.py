"""What a real machine does to the store: forks that Python does not see, strange records."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from jam_core import JamSessionCorrupt, JamSessionNotFound, JamStoreMissing, hash_id, session_handle
from jam_testing import SoftTimeLimit, fork_unseen, survive_forks, survive_interrupts

from jam_lmdb import LmdbSessions

PUT = """
import lmdb, sys
with lmdb.open(sys.argv[1], max_readers=1024) as database, database.begin(write=True) as found:
    found.put(sys.argv[2].encode(), sys.argv[3].encode())
"""


def test_children_forked_unseen(tmp_path: Path) -> None:
    survive_forks(LmdbSessions(tmp_path / "sessions.lmdb"), children=3, operations=40)


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize(
    "kind", [SoftTimeLimit, pytest.param(KeyboardInterrupt, marks=pytest.mark.exhaustive)]
)
def test_interrupts_at_random_moments(
    tmp_path: Path, kind: type[BaseException], threads: int
) -> None:
    store = LmdbSessions(tmp_path / "sessions.lmdb")
    survived = survive_interrupts(store, 400, kind=kind, threads=threads)
    assert survived.interrupted > 0
    store.close()


def test_a_parent_that_has_read_goes_on_after_a_child_has_let_go(tmp_path: Path) -> None:
    store = LmdbSessions(tmp_path / "sessions.lmdb")
    session_id = store.create("ann", {"n": 1})
    assert store.get(session_id) == {"n": 1}
    assert fork_unseen(lambda: store.get(session_id)).result() == {"n": 1}
    assert store.get(session_id) == {"n": 1}
    store.update(session_id, {"n": 2})
    assert fork_unseen(lambda: store.get(session_id)).result() == {"n": 2}


@pytest.mark.parametrize(
    "record",
    [
        *({}, {"0": 1}, [], 7, ["ann", "{}"], [1, 2, 3, 4, 5, 6, 7]),
        ["ann", "0" * 64, "{}", None, 1, "soon", None, None, None],
        ["ann", "0" * 64, "{}", None, 1, 2, 3, "soon", None],
    ],
)
def test_a_record_of_another_shape_is_damaged_and_stops_no_purge(
    tmp_path: Path, record: object
) -> None:
    path = tmp_path / "sessions.lmdb"
    store = LmdbSessions(path)
    session_id, kept = store.create("ann", {}), store.create("ann", {"n": 1})
    put = [
        sys.executable,
        "-c",
        PUT,
        str(path),
        f"session:{hash_id(session_id)}",
        json.dumps(record),
    ]
    subprocess.run(put, check=True)
    with pytest.raises(JamSessionCorrupt):
        store.get(session_id)
    assert store.purge() == 0
    assert store.get(kept) == {"n": 1}
    assert [record.id_hash for record in store.records()] == [hash_id(kept)]
    store.clear("ann")
    assert store.get(session_id) is None


def test_what_ended_while_an_operation_waited_stays_ended(tmp_path: Path) -> None:
    store = LmdbSessions(tmp_path / "sessions.lmdb", clock=lambda: 1000.0)
    session_id, kept = store.create("ann", {}, ttl=60), store.create("ann", {})
    # Asked when an operation begins, and again when it may write.
    times = iter([1059.0, 1060.0] * 4)
    slow = LmdbSessions(tmp_path / "sessions.lmdb", clock=lambda: next(times))
    with pytest.raises(JamSessionNotFound):
        slow.touch(session_id)
    with pytest.raises(JamSessionNotFound):
        slow.clear_others(session_id)
    assert not slow.revoke("ann", session_handle(session_id))
    assert store.get(kept) == {}


def test_however_many_have_ended_are_removed(tmp_path: Path) -> None:
    now = 1000.0
    store = LmdbSessions(tmp_path / "sessions.lmdb", clock=lambda: now)
    for n in range(2001):
        store.create("ann", {}, ttl=60 if n else None)
    now += 60
    assert store.purge() == 2000
    assert len(store.list_sessions("ann")) == 1


def test_nothing_is_made_without_leave(tmp_path: Path) -> None:
    with pytest.raises(JamStoreMissing):
        LmdbSessions(tmp_path / "sessions.lmdb", create=False)
    assert list(tmp_path.iterdir()) == []
    session_id = LmdbSessions(tmp_path / "sessions.lmdb").create("ann", {"n": 1})
    assert LmdbSessions(tmp_path / "sessions.lmdb", create=False).get(session_id) == {"n": 1}


def test_all_that_is_made_is_for_its_owner_only(tmp_path: Path) -> None:
    former = os.umask(0)
    try:
        LmdbSessions(tmp_path / "new" / "sessions.lmdb").create("ann", {})
    finally:
        os.umask(former)
    for found in (tmp_path / "new").rglob("*"):
        assert stat.S_IMODE(found.stat().st_mode) & 0o77 == 0, found
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
