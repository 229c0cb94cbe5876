"""What stands on the disk: readable, private, and nothing that opens a session."""

import json
import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jam_json import JSONSessions
from jam_testing import ManualClock, run_in_processes

from jam_core import (
    JamConfigurationError,
    JamSessionCorrupt,
    JamStoreUnavailable,
    MsgspecJsonEncoder,
)

Opener = Callable[..., JSONSessions]


def files_in(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def content_of(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in files_in(directory))


@pytest.mark.parametrize(
    ("name", "is_directory"),
    [
        ("a.json", False),
        ("a", True),
        ("a.db", True),
        ("deep/er/a.json", False),
        ("deep/er/a", True),
    ],
)
def test_an_absent_path_that_ends_in_json_is_a_file_else_a_directory(
    tmp_path: Path, open_store: Opener, name: str, is_directory: bool
) -> None:
    open_store(tmp_path / name).create("ann", {})
    assert (tmp_path / name).is_dir() == is_directory


def test_what_exists_decides(tmp_path: Path, open_store: Opener) -> None:
    (tmp_path / "empty-file").touch()
    (tmp_path / "directory.json").mkdir()
    for name in ("empty-file", "directory.json"):
        session_id = open_store(tmp_path / name).create("ann", {"n": 1})
        assert open_store(tmp_path / name).get(session_id) == {"n": 1}
    assert (tmp_path / "empty-file").is_file()
    assert (tmp_path / "directory.json").is_dir()


def test_a_relative_path_holds_when_the_working_directory_changes(
    tmp_path: Path, open_store: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store(Path("sessions.json"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    session_id = store.create("ann", {"n": 1})
    assert open_store(tmp_path / "sessions.json").get(session_id) == {"n": 1}


def test_a_link_to_the_document_stays_a_link(tmp_path: Path, open_store: Opener) -> None:
    (tmp_path / "data").mkdir()
    link = tmp_path / "sessions.json"
    link.symlink_to(tmp_path / "data" / "real.json")
    store = open_store(link)
    store.create("ann", {})
    store.close()
    assert link.is_symlink()
    assert "ann" in (tmp_path / "data" / "real.json").read_text()


def test_files_and_directories_are_for_their_owner_only(path: Path, open_store: Opener) -> None:
    former = os.umask(0)
    try:
        store = open_store(
            path / "below" if path.suffix == "" else path.parent / "below" / path.name
        )
        store.rework(store.create("ann", {"n": 1}))
        store.purge()
        store.create("ann", {"n": 2})
    finally:
        os.umask(former)
    below = next(found for found in path.parent.rglob("below"))
    for found in [below, *below.rglob("*")]:
        mode = stat.S_IMODE(found.stat().st_mode)
        assert mode == (0o700 if found.is_dir() else 0o600), found


def test_no_id_is_on_the_disk(path: Path, open_store: Opener) -> None:
    store = open_store(path)
    ids = [store.create("ann", {"n": n}) for n in range(3)]
    ids.append(store.rework(ids[0]))
    store.delete(ids[1])
    store.get("presented-but-never-issued")
    content = content_of(path.parent) + "".join(map(str, files_in(path.parent))).encode()
    for session_id in [*ids, "presented-but-never-issued"]:
        assert session_id.encode() not in content


@pytest.mark.parametrize(
    "key", ["../../escape", "/absolute", "CON", "a\0b", "\ud800", "x" * 10_000]
)
def test_no_name_on_the_disk_is_made_of_what_a_user_gave(
    path: Path, open_store: Opener, key: str
) -> None:
    store = open_store(path, id_factory=lambda: f"{key}-{os.urandom(4).hex()}")
    store.update(store.create(key, {"n": 1}), {"n": 2})
    for found in path.parent.rglob("*"):
        name = found.name.replace(path.name, "")
        assert set(name) <= set("0123456789abcdefghijklmnopqrstuvwxyz."), found


def test_encrypted_data_is_not_readable_on_the_disk(path: Path, open_store: Opener) -> None:
    store = open_store(path, is_session_crypt=True, session_aes_secret="A" * 43 + "=")
    store.create("ann", {"card": "4711-0815"})
    assert b"4711-0815" not in content_of(path.parent)


def test_the_document_is_readable_by_people_and_programs(
    document: Path, open_store: Opener
) -> None:
    clock = ManualClock(1000.0)
    store = open_store(document, clock=clock, ttl=60, max_age=90)
    store.create("ann", {"role": "admin"})
    store.close()
    (record,) = json.loads(document.read_text())["sessions"].values()
    assert record == {
        "session_key": "ann",
        "created_at": 1000.0,
        "expires_at": 1060.0,
        "deadline": 1090.0,
        "data": {"role": "admin"},
    }
    assert len(document.read_text().splitlines()) > 5, "one session a line"


def test_a_session_file_is_one_json_object(tmp_path: Path, open_store: Opener) -> None:
    open_store(tmp_path / "sessions").create("ann", {"role": "admin"})
    (file,) = (tmp_path / "sessions" / "sessions").rglob("*.json")
    assert json.loads(file.read_text())["data"] == {"role": "admin"}


@pytest.mark.parametrize(
    "options", [{}, {"serializer": MsgspecJsonEncoder}], ids=["json", "msgspec"]
)
def test_after_close_the_document_alone_is_the_whole_truth(
    document: Path, tmp_path: Path, open_store: Opener, options: dict[str, Any]
) -> None:
    store = open_store(document, **options)
    ids = {store.create("ann", {"n": n, "text": "é\ud800"[:1]}): n for n in range(50)}
    store.close()
    copy = tmp_path / "copy.json"
    copy.write_bytes(document.read_bytes())
    again = open_store(copy, **options)
    for session_id, n in ids.items():
        assert again.get(session_id) == {"n": n, "text": "é"}


def test_data_nested_deeply_does_not_hurt_other_sessions(
    document: Path, open_store: Opener
) -> None:
    store = open_store(document)
    deep: dict[str, Any] = {}
    for _ in range(250):
        deep = {"deeper": deep}
    ids = [store.create("ann", {"n": 1}), store.create("bob", deep)]
    store.close()
    again = open_store(document)
    assert again.get(ids[0]) == {"n": 1}
    assert again.get(ids[1]) == deep


@pytest.mark.parametrize("name", ["sessions.json", "sessions"])
def test_records_of_other_options_survive_in_a_store_that_cannot_read_them(
    tmp_path: Path, open_store: Opener, name: str
) -> None:
    path = tmp_path / name
    secret = {"is_session_crypt": True, "session_aes_secret": "A" * 43 + "="}
    encrypted = open_store(path, **secret)
    kept, moved = encrypted.create("ann", {"n": 1}), encrypted.create("ann", {"n": 2})
    encrypted.close()
    plain = open_store(path)
    plain.touch(kept)
    moved = plain.rework(moved)
    own = plain.create("bob", {"n": 3})
    with pytest.raises(JamSessionCorrupt, match="is_session_crypt"):
        plain.get(kept)
    plain.purge()
    plain.close()
    assert open_store(path).get(own) == {"n": 3}
    assert open_store(path, **secret).get(kept) == {"n": 1}


@pytest.mark.exhaustive
def test_processes_that_open_a_fresh_path_at_once_share_it(path: Path) -> None:
    def task(here: Path, n: int) -> Callable[[], str]:
        return lambda: JSONSessions(here).create("ann", {"n": n})

    for attempt in range(10):
        here = path.with_name(f"{attempt}-{path.name}")
        ids = run_in_processes([task(here, n) for n in range(6)])
        store = JSONSessions(here)
        assert [store.get(session_id) for session_id in ids] == [{"n": n} for n in range(6)]
        store.close()


only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@only_root
def test_what_root_does_leaves_files_and_directories_to_the_application(
    path: Path, open_store: Opener
) -> None:
    here = path.parent / "app" / path.name
    open_store(here).create("ann", {})
    for found in [here.parent, *here.parent.rglob("*")]:
        os.chown(found, 12345, 12345)
    by_root = open_store(here)
    for n in range(20):
        by_root.create(f"user{n}", {})
    by_root.purge()
    by_root.close()
    assert {found.stat().st_uid for found in here.parent.rglob("*")} == {12345}


@only_root
@pytest.mark.parametrize("plant", [Path.symlink_to, Path.hardlink_to])
def test_root_gives_away_no_file_that_the_application_linked(
    tmp_path: Path, open_store: Opener, plant: Callable[[Path, Path], None]
) -> None:
    here, victim = tmp_path / "app", tmp_path / "victim"
    victim.write_text("root's")
    open_store(here).create("ann", {})
    for found in [here, *here.rglob("*")]:
        os.chown(found, 12345, 12345)
    (listing,) = (here / "keys").glob("*/*")
    listing.unlink()
    plant(listing, victim)
    with pytest.raises(JamStoreUnavailable):
        open_store(here).create("ann", {})
    assert victim.read_text() == "root's"
    assert victim.stat().st_uid == 0


def test_with_fsync_every_file_and_every_new_name_is_synced(
    path: Path, open_store: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[int] = set()
    fsync = os.fsync

    def note(file: int) -> None:
        fsync(file)
        synced.add(os.fstat(file).st_ino)

    monkeypatch.setattr(os, "fsync", note)
    here = path.parent / "new" / path.name
    store = open_store(here, fsync=True)
    store.rework(store.create("ann", {}))
    after_a_cut = [
        found
        for found in [path.parent, *path.parent.rglob("*")]
        if "lock" not in found.name and "locks" not in found.parts and found.name != "tmp"
    ]
    for found in after_a_cut:
        empty = found.is_dir() and not any(found.iterdir())
        assert empty or found.stat().st_ino in synced, found


def test_what_has_ended_by_one_hosts_clock_is_deleted_for_all(
    path: Path, open_store: Opener
) -> None:
    ahead = ManualClock(time.time() + 90)
    store = open_store(path, ttl=60)
    session_id = store.create("ann", {})
    open_store(path, clock=ahead).delete(session_id)
    assert store.get(session_id) is None


def test_what_is_not_ours_in_the_directory_is_left_alone(
    tmp_path: Path, open_store: Opener
) -> None:
    store = open_store(tmp_path / "sessions", ttl=None)
    session_id = store.create("ann", {"n": 1})
    (session_file,) = (tmp_path / "sessions" / "sessions").rglob("*.json")
    (listing,) = (tmp_path / "sessions" / "keys").rglob("*/*")
    foreign = [
        session_file.with_name(session_file.name + ".kept-for-analysis"),
        session_file.with_name("notes.json"),
        listing.with_name(".nfs0001"),
    ]
    for file in foreign:
        file.touch()
        os.utime(file, (0, 0))
    session_file.with_name("directory.json").mkdir()
    assert store.purge() == 0
    assert all(file.exists() for file in foreign)
    assert store.get(session_id) == {"n": 1}


@pytest.mark.parametrize("damage", [b"\xff" * 65, b"\0" * 65])
def test_a_damaged_list_of_a_key_is_said_and_not_passed_over(
    tmp_path: Path, open_store: Opener, damage: bytes
) -> None:
    store = open_store(tmp_path / "sessions")
    session_id = store.create("ann", {})
    (listing,) = (tmp_path / "sessions" / "keys").rglob("*/*")
    with listing.open("ab") as file:
        file.write(damage)
    store.purge()
    with pytest.raises(JamSessionCorrupt, match="damaged"):
        store.clear("ann")
    assert store.get(session_id) is None, "what it still names is ended"
    assert damage in listing.read_bytes()


def test_links_that_somebody_planted_are_not_followed(tmp_path: Path, open_store: Opener) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    document = tmp_path / "sessions.json"
    for name in ("sessions.json.tmp", "sessions.json.journal.tmp"):
        (tmp_path / name).symlink_to(victim)
    store = open_store(document)
    store.create("ann", {})
    store.purge()
    assert victim.read_text() == "untouched"
    assert not document.is_symlink()
    (tmp_path / "other.json.lock").symlink_to(victim)
    with pytest.raises(JamStoreUnavailable):
        JSONSessions(tmp_path / "other.json")


@pytest.mark.parametrize("wrong", [b"bytes", 5, "a\0b"])
def test_a_path_that_is_none_is_refused(wrong: Any) -> None:
    with pytest.raises(JamConfigurationError, match="json_path"):
        JSONSessions(wrong)


@pytest.mark.parametrize("wrong", [0, -5, float("nan"), float("inf")])
def test_a_lock_timeout_that_is_none_is_refused(document: Path, wrong: float) -> None:
    with pytest.raises(JamConfigurationError, match="lock_timeout"):
        JSONSessions(document, lock_timeout=wrong)


def test_several_threads_may_close_a_store(path: Path) -> None:
    for _ in range(20):
        store = JSONSessions(path)
        store.create("ann", {})
        errors: list[BaseException] = []

        def close(store: JSONSessions = store, errors: list[BaseException] = errors) -> None:
            try:
                store.close()
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=close) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors


def test_a_directory_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(JamConfigurationError, match=r"notes\.txt"):
        JSONSessions(tmp_path)
    assert [found.name for found in tmp_path.iterdir()] == ["notes.txt"]


def test_an_empty_path_is_refused() -> None:
    with pytest.raises(JamConfigurationError, match="json_path"):
        JSONSessions("")


@pytest.mark.parametrize(
    "content", ['{"_default": {}}', "[]", '{"jam_json": 2, "generation": 0, "sessions": {}}']
)
def test_a_file_that_is_no_session_document_is_refused_and_left_alone(
    document: Path, content: str
) -> None:
    document.write_text(content)
    with pytest.raises(JamSessionCorrupt, match=r"sessions\.json"):
        JSONSessions(document)
    assert document.read_text() == content


def test_a_closed_store_says_so(path: Path, open_store: Opener) -> None:
    store = open_store(path)
    session_id = store.create("ann", {})
    store.close()
    for use in (store.get, store.delete, store.rework, store.touch):
        with pytest.raises(JamStoreUnavailable, match="closed"):
            use(session_id)


@pytest.mark.parametrize("fsync", [False, True])
def test_reads_and_deletes_of_unknown_ids_leave_the_disk_as_it_is(
    path: Path, open_store: Opener, fsync: bool
) -> None:
    store = open_store(path, fsync=fsync)
    store.create("ann", {"n": 1})
    before = {found: found.stat().st_mtime_ns for found in path.parent.rglob("*")}
    for n in range(5_000):
        assert store.get(f"unknown {n}") is None
        store.delete(f"unknown {n}")
    store.clear("nobody")
    after = {found: found.stat().st_mtime_ns for found in path.parent.rglob("*")}
    new = {found for found in after if "lock" not in str(found.relative_to(path.parent))} - set(
        before
    )
    assert not new
    assert all(after[found] == before[found] for found in before if found.is_file())


def test_purge_of_a_directory_removes_what_interrupted_operations_left(
    tmp_path: Path, open_store: Opener
) -> None:
    path = tmp_path / "sessions"
    store = open_store(path)
    kept = store.create("ann", {"n": 1})
    gone = store.create("bob", {"n": 2})
    session_file = next(
        found for found in (path / "sessions").rglob("*.json") if '"bob"' in found.read_text()
    )
    session_file.unlink()
    abandoned = path / "tmp" / "abandoned"
    abandoned.touch()
    os.utime(abandoned, (0, 0))
    in_progress = path / "tmp" / "in-progress"
    in_progress.touch()
    assert store.purge() == 0
    assert not abandoned.exists()
    assert in_progress.exists()
    assert len(list((path / "keys").rglob("*/*"))) == 1
    assert store.get(kept) == {"n": 1}
    assert store.get(gone) is None


def test_the_list_of_a_key_stays_short_and_complete(tmp_path: Path, open_store: Opener) -> None:
    store = open_store(tmp_path / "sessions")
    living: list[str] = []
    for _ in range(300):
        living.append(store.create("ann", {}))
        if len(living) > 10:
            store.delete(living.pop(0))
    (listing,) = (tmp_path / "sessions" / "keys").rglob("*/*")
    assert len(listing.read_text().splitlines()) < 200
    with listing.open("a") as file:
        file.write("torn")
    living += [store.create("ann", {}), store.rework(living.pop())]
    assert all(store.get(session_id) == {} for session_id in living)
    store.clear("ann")
    assert all(store.get(session_id) is None for session_id in living)
