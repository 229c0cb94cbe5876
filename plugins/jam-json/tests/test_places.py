"""Places that are not what a store needs: mounts, volumes, FIFOs, cleaners, power cuts."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jam_json import JSONSessions
from jam_testing import run_in_processes

from jam_core import (
    JamConfigurationError,
    JamSessionDataError,
    JamStoreUnavailable,
)

Opener = Callable[..., JSONSessions]

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can do that")


def can_mount() -> bool:
    unshare = shutil.which("unshare")
    return (
        unshare is not None and not subprocess.run([unshare, "-m", "true"], check=False).returncode
    )


@pytest.mark.skipif(not can_mount(), reason="needs the right to mount")
@pytest.mark.parametrize("mounted", ["sessions.json", "sessions.json.journal", "a b.json"])
def test_a_file_that_is_mounted_by_itself_is_refused(tmp_path: Path, mounted: str) -> None:
    path = tmp_path / mounted.removesuffix(".journal")
    JSONSessions(path).close()
    source, target = tmp_path / "on the host", tmp_path / mounted
    source.write_bytes(target.read_bytes())
    mount = 'mount --bind "$1" "$2" && exec "$3" -c "$4" "$5"'
    code = "import sys, jam_json; jam_json.JSONSessions(sys.argv[1])"
    ran = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount, "", source, target, sys.executable, code, path],
        check=False,
        capture_output=True,
        text=True,
    )
    assert "JamConfigurationError" in ran.stderr
    assert "Mount a directory" in ran.stderr
    assert source.read_bytes() == target.read_bytes(), "nothing was changed"


@pytest.mark.parametrize("name", ["sessions.json", "sessions.json.journal", "sessions.json.lock"])
def test_a_fifo_is_refused_and_not_waited_for(tmp_path: Path, name: str) -> None:
    path = tmp_path / "sessions.json"
    if name != path.name:
        JSONSessions(path).close()
        (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(JamStoreUnavailable, match="not a regular file"):
        JSONSessions(path)
    assert (tmp_path / name).is_fifo()


@pytest.mark.parametrize("name", ["jam.json", "jam.lock"])
def test_a_fifo_in_a_directory_is_refused_and_not_waited_for(tmp_path: Path, name: str) -> None:
    path = tmp_path / "sessions"
    path.mkdir()
    os.mkfifo(path / name)
    with pytest.raises(JamStoreUnavailable, match="not a regular file"):
        JSONSessions(path)


def test_fifos_among_the_sessions_are_none(tmp_path: Path, open_store: Opener) -> None:
    store = open_store(tmp_path / "sessions")
    session_id = store.create("ann", {})
    (session,) = (tmp_path / "sessions" / "sessions").rglob("*.json")
    (listing,) = (tmp_path / "sessions" / "keys").rglob("*/*")
    for file in (session, listing):
        file.unlink()
        os.mkfifo(file)
    for use in (store.get, store.touch, store.delete):
        with pytest.raises(JamStoreUnavailable, match="not a regular file"):
            use(session_id)
    with pytest.raises(JamStoreUnavailable):
        store.create("ann", {})


def test_a_volume_without_hard_links(
    tmp_path: Path, open_store: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    ids = iter(["one", "one", "two"])
    store = open_store(tmp_path / "sessions", id_factory=lambda: next(ids))
    assert [store.create("ann", {"n": 1}), store.create("ann", {"n": 2})] == ["one", "two"]
    assert [store.get("one"), store.get("two")] == [{"n": 1}, {"n": 2}]
    assert not list((tmp_path / "sessions" / "tmp").iterdir())


@only_root
def test_a_volume_that_refuses_to_give_files_away(
    path: Path, open_store: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fchown(*_: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", fchown)
    os.chown(path.parent, 12345, 12345)
    here = path.parent / "below" / path.name
    store = open_store(here)
    os.chown(here.parent, 12345, 12345)
    session_id = store.create("ann", {"n": 1})
    store.purge()
    assert store.get(session_id) == {"n": 1}


def test_a_cleaner_that_took_the_mark_is_told_with_the_remedy(
    tmp_path: Path, open_store: Opener
) -> None:
    path = tmp_path / "sessions"
    store = open_store(path)
    session_id = store.create("ann", {"n": 1})
    (path / "jam.json").unlink()
    for use in (lambda: JSONSessions(path), lambda: store.get("unknown")):
        with pytest.raises(JamStoreUnavailable, match=r"echo .* > .*jam\.json") as told:
            use()
    subprocess.run(["sh", "-c", told.value.message.partition("put it back: ")[2]], check=True)
    assert store.get("unknown") is None
    assert open_store(path).get(session_id) == {"n": 1}


def test_a_power_cut_at_the_first_start_leaves_a_directory_that_opens(
    tmp_path: Path, open_store: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[int] = set()
    fsync = os.fsync

    def note(file: int) -> None:
        fsync(file)
        synced.add(os.fstat(file).st_ino)

    monkeypatch.setattr(os, "fsync", note)
    path = tmp_path / "sessions"
    open_store(path)
    assert {(path / "jam.json").stat().st_ino, path.stat().st_ino} <= synced
    (path / "jam.json").write_bytes(b"")  # as an older version left it
    session_id = open_store(path).create("ann", {})
    assert open_store(path).get(session_id) == {}


def test_a_new_name_is_on_the_disk_before_the_old_one_is_gone(
    tmp_path: Path, open_store: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path / "sessions", fsync=True)
    old_id = store.create("ann", {})
    (old,) = (tmp_path / "sessions" / "sessions").iterdir()
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_ino))
    new = old
    new_id = old_id
    while new == old:  # until chance puts the session into another directory
        new_id = store.rework(new_id)
        (session,) = (tmp_path / "sessions" / "sessions").rglob("*.json")
        new = session.parent
    assert synced[-2:] == [new.stat().st_ino, old.stat().st_ino]


def test_a_number_that_others_cannot_read_hurts_no_other_session(
    path: Path, open_store: Opener
) -> None:
    def write() -> None:
        sys.set_int_max_str_digits(0)
        with pytest.raises(JamSessionDataError, match="digits"):
            JSONSessions(path).create("bob", {"n": 10**5000})

    store = open_store(path)
    kept = store.create("ann", {"n": 1})
    run_in_processes([write])
    assert store.get(kept) == {"n": 1}
    store.purge()
    assert open_store(path).get(kept) == {"n": 1}


def test_a_session_key_is_kept_exactly_or_refused(path: Path, open_store: Opener) -> None:
    store = open_store(path)
    for key in ("\ud83d\ude00", "\U0001f600", "\ud83d", "é", "a\udcff"):
        try:
            session_id = store.create(key, {"n": 1})
        except JamSessionDataError:
            continue
        with JSONSessions(path) as other:
            assert [record.session_key for record in other.records()] == [key]
            other.clear(key)
        assert store.get(session_id) is None


def test_sessions_that_another_process_folded_twice_are_ended_by_clear_others(
    document: Path, open_store: Opener
) -> None:
    sleeper, other = open_store(document), open_store(document)
    for _ in range(3):
        other.purge()  # what follows is not in the journal that the sleeper knows
        mine, thief = other.create("ann", {}), other.create("ann", {})
        for _ in range(2):
            other.purge()
        assert sleeper.clear_others(mine) == 1
        assert other.get(thief) is None
        sleeper.clear("ann")


def test_a_directory_of_something_else_is_still_refused(tmp_path: Path) -> None:
    (tmp_path / "sessions").touch()
    with pytest.raises(JamConfigurationError, match="something else"):
        JSONSessions(tmp_path)
