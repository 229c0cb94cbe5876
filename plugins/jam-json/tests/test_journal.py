"""The file layout's journal: what is torn, damaged, replayed, folded and followed."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from jam_json import JSONSessions
from jam_testing import ManualClock, run_in_processes

from jam_core import JamSessionCorrupt, JamStoreUnavailable, hash_id

Opener = Callable[..., JSONSessions]


@pytest.fixture
def journal(document: Path) -> Path:
    return document.with_name("sessions.json.journal")


_opened_files: list[str] = []
_listening = False


def _listen(event: str, arguments: tuple[object, ...]) -> None:
    if _listening and event == "open":
        _opened_files.append(str(arguments[0]))


sys.addaudithook(_listen)


@pytest.fixture
def opened_files() -> Iterator[list[str]]:
    """The files that this process opens while a test runs."""
    global _listening  # noqa: PLW0603  (an audit hook cannot be removed)
    _opened_files.clear()
    _listening = True
    yield _opened_files
    _listening = False


def test_a_torn_last_line_is_an_interrupted_write(
    document: Path, journal: Path, open_store: Opener
) -> None:
    store = open_store(document)
    empty = document.read_text()
    kept = store.create("ann", {"n": 1})
    before = journal.read_bytes()
    lost = store.create("bob", {"n": 2})
    whole = journal.read_bytes()
    for end in range(len(before), len(whole)):
        here = document.with_name(f"{end}.json")
        here.write_text(empty)
        here.with_name(f"{end}.json.journal").write_bytes(whole[:end])
        copy = open_store(here)
        assert copy.get(kept) == {"n": 1}
        assert copy.get(lost) is None
        third = copy.create("cyd", {"n": 3})
        assert open_store(here).get(third) == {"n": 3}, "what follows a torn line is whole"


def test_a_reader_passes_over_a_line_that_is_not_complete_yet(
    document: Path, journal: Path, open_store: Opener
) -> None:
    writer, reader = open_store(document), open_store(document)
    session_id = writer.create("ann", {"n": 1})
    line = journal.read_bytes().splitlines(keepends=True)[-1]
    whole = journal.read_bytes()
    os.truncate(journal, len(whole) - len(line))
    for end in range(len(line)):
        with journal.open("ab") as file:
            file.write(line[end : end + 1])
        found = reader.get(session_id)
        assert found == ({"n": 1} if end == len(line) - 1 else None)


def test_replaying_a_journal_twice_is_harmless(
    document: Path, journal: Path, open_store: Opener
) -> None:
    ids = iter(["first", "second", "third", "first", "fourth"])
    store = open_store(document, id_factory=lambda: next(ids))
    first = store.create("ann", {"n": 1})
    second = store.rework(first)
    store.update(second, {"n": 2})
    third = store.create("bob", {"n": 3})
    store.touch(second)
    again = store.create("ann", {"of": "an id that was used before"})
    store.delete(third)
    header, entries = journal.read_bytes().split(b"\n", 1)
    store.close()
    folded = document.read_bytes()

    def opened_with(name: str, content: bytes, generation_of_journal: bytes) -> JSONSessions:
        here = document.with_name(name)
        here.write_bytes(content)
        here.with_name(name + ".journal").write_bytes(generation_of_journal)
        return open_store(here)

    for copy in (
        opened_with("interrupted-fold.json", folded, header + b"\n" + entries),
        opened_with("twice.json", folded, header + b"\n" + entries + entries),
    ):
        assert copy.get(second) == {"n": 2}
        assert copy.get(third) is None
        assert copy.get(again) == {"of": "an id that was used before"}


def test_a_damaged_line_is_reported_by_its_place_and_nothing_is_overwritten(
    document: Path, journal: Path, open_store: Opener
) -> None:
    store = JSONSessions(document)
    ids = [store.create("ann", {"n": n}) for n in range(3)]
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[2] = b"\0" * 20 + b"\n"
    damaged = b"".join(lines)
    journal.write_bytes(damaged)
    with pytest.raises(JamSessionCorrupt, match=rf"journal, byte {len(lines[0] + lines[1])}"):
        JSONSessions(document)
    assert journal.read_bytes() == damaged
    journal.write_bytes(b"".join(lines[:2] + lines[3:]))
    repaired = open_store(document)
    assert [repaired.get(session_id) for session_id in ids] == [{"n": 0}, None, {"n": 2}]


HASH = "0" * 64


@pytest.mark.parametrize(
    "line",
    [
        b"7",
        b"{}",
        b'{"del": 7}',
        b'{"put": []}',
        f'{{"dem": ["{HASH}"]}}'.encode(),
        f'{{"del": ["{HASH[1:]}?"]}}'.encode(),
        f'{{"touch": {{"{HASH}": "b"}}}}'.encode(),
    ],
)
def test_a_line_of_another_shape_is_damaged_too(
    document: Path, journal: Path, open_store: Opener, line: bytes
) -> None:
    store = open_store(document)
    session_id = store.create("ann", {"n": 1})
    with journal.open("ab") as file:
        file.write(line + b"\n")
    for use in (store.get, store.rework):
        with pytest.raises(JamSessionCorrupt, match="journal, byte"):
            use(session_id)
    os.truncate(journal, journal.stat().st_size - len(line) - 1)
    assert store.get(session_id) == {"n": 1}


def test_a_damaged_record_in_the_document_hurts_no_other_and_stays(
    document: Path, open_store: Opener
) -> None:
    store = open_store(document)
    hurt, sound, third = (store.create(key, {"key": key}) for key in ("ann", "bob", "ann"))
    store.close()
    content = json.loads(document.read_text())
    damaged = content["sessions"][hash_id(hurt)]
    damaged["expires_at"] = "soon"
    document.write_text(json.dumps(content))
    again = open_store(document)
    with pytest.raises(JamSessionCorrupt, match=r"sessions\.json, record "):
        again.get(hurt)
    assert again.get(third) == {"key": "ann"}
    assert again.get(sound) == {"key": "bob"}
    again.purge()
    assert damaged in json.loads(document.read_text())["sessions"].values()
    again.clear("ann")
    assert [again.get(session_id) for session_id in (hurt, sound, third)] == [
        None,
        {"key": "bob"},
        None,
    ]


def test_a_damaged_document_is_reported_by_its_place_and_never_overwritten(
    document: Path, open_store: Opener
) -> None:
    store = open_store(document)
    store.create("ann", {"n": 1})
    store.close()
    for damage in (b'{"jam_json": 1,\n  oops', b"\xff\xfe\x00", b"\0" * 100):
        document.write_bytes(damage)
        with pytest.raises(JamSessionCorrupt, match=r"sessions\.json"):
            JSONSessions(document)
        assert document.read_bytes() == damage
    document.write_bytes(b'{"jam_json": 1,\n  oops')
    with pytest.raises(JamSessionCorrupt, match="line 2, column 3"):
        JSONSessions(document)


def test_a_document_of_another_time_than_its_journal_is_refused(
    document: Path, journal: Path, open_store: Opener
) -> None:
    store = open_store(document)
    ended = store.create("ann", {"n": 1})
    store.purge()
    backup = document.read_bytes()
    store.delete(ended)
    for _ in range(3):
        store.purge()
    store.create("bob", {"n": 2})
    document.write_bytes(backup)
    written = journal.read_bytes()
    with pytest.raises(JamSessionCorrupt, match="one backup"):
        JSONSessions(document)
    assert (document.read_bytes(), journal.read_bytes()) == (backup, written)
    document.unlink()
    with pytest.raises(JamSessionCorrupt, match="missing"):
        JSONSessions(document)


def test_an_older_document_is_taken_as_it_is_once_the_journal_is_away(
    document: Path, journal: Path, open_store: Opener
) -> None:
    store = JSONSessions(document)
    session_id = store.create("ann", {"n": 1})
    store.close()
    backup = document.read_bytes()
    later = JSONSessions(document)
    later.delete(session_id)
    later.purge()
    later.close()
    document.write_bytes(backup)
    with pytest.raises(JamSessionCorrupt, match="move the journal away"):
        JSONSessions(document)
    journal.unlink()
    assert open_store(document).get(session_id) == {"n": 1}


def test_a_backup_of_the_journal_first_and_then_the_document_is_whole(
    document: Path, journal: Path, open_store: Opener
) -> None:
    store = open_store(document)
    ended, living = store.create("ann", {"n": 1}), store.create("ann", {"n": 2})
    store.delete(ended)
    copy = document.with_name("backup.json")
    copy.with_name("backup.json.journal").write_bytes(journal.read_bytes())
    store.purge()
    copy.write_bytes(document.read_bytes())
    restored = open_store(copy)
    assert [restored.get(ended), restored.get(living)] == [None, {"n": 2}]


def test_a_process_that_outlived_its_files_does_not_bring_their_sessions_back(
    document: Path, journal: Path, open_store: Opener
) -> None:
    survivor = open_store(document)
    old = survivor.create("ann", {"n": 1})
    document.unlink()
    journal.unlink()
    fresh = open_store(document)
    new = fresh.create("bob", {"n": 2})
    fresh.purge()
    assert [survivor.get(old), survivor.get(new)] == [None, {"n": 2}]
    survivor.purge()
    again = open_store(document)
    assert [again.get(old), again.get(new)] == [None, {"n": 2}]


@pytest.mark.parametrize("lost", ["sessions.json", "sessions.json.journal", "directory"])
def test_files_that_disappear_are_an_outage_not_a_logout(
    tmp_path: Path, open_store: Opener, lost: str
) -> None:
    directory = tmp_path / "data"
    store = open_store(directory / "sessions.json")
    session_id = store.create("ann", {"n": 1})
    other = open_store(directory / "sessions.json")
    if lost == "directory":
        shutil.move(directory, tmp_path / "moved")
    else:
        shutil.move(directory / lost, tmp_path / "moved")
        if lost == "sessions.json":
            other.purge()
            (directory / "sessions.json").unlink()
            other.create("bob", {})
    if lost != "sessions.json":
        with pytest.raises(JamStoreUnavailable):
            store.get(session_id)
        with pytest.raises(JamStoreUnavailable):
            store.create("ann", {})
        shutil.move(tmp_path / "moved", directory if lost == "directory" else directory / lost)
    assert store.get(session_id) == {"n": 1}


def test_what_another_process_wrote_is_seen_without_reading_the_document_again(
    document: Path, open_store: Opener, opened_files: list[str]
) -> None:
    store = open_store(document)
    session_id = store.create("ann", {"n": 0})
    opened_files.clear()
    for n in range(1, 4):

        def write(n: int = n) -> str:
            other = JSONSessions(document)
            other.update(session_id, {"n": n})
            created = other.create("bob", {"n": n})
            other.purge()
            return created

        (created,) = run_in_processes([write])
        assert store.get(session_id) == {"n": n}
        assert store.get(created) == {"n": n}
    assert str(document) not in opened_files, "one fold at a time is followed by the journals"


def test_a_process_that_slept_through_several_folds_reads_anew(
    document: Path, open_store: Opener
) -> None:
    sleeper, other = open_store(document), open_store(document)
    ids = [other.create("ann", {"n": n}) for n in range(3)]
    for _ in range(3):
        other.purge()
    other.delete(ids[0])
    assert [sleeper.get(session_id) for session_id in ids] == [None, {"n": 1}, {"n": 2}]


def test_folds_drop_what_has_expired_in_every_process(document: Path, open_store: Opener) -> None:
    clock = ManualClock()
    here = open_store(document, clock=clock, ttl=10)
    there = open_store(document, clock=clock, ttl=10)
    there.create("ann", {"text": "x" * 1000})
    kept = there.create("ann", {"n": 1})
    clock.advance(9)
    there.touch(kept)
    clock.advance(2)
    assert here.get(kept) == {"n": 1}
    assert there.purge() == 1
    assert here.get(kept) == {"n": 1}
    assert here.purge() == 0, "this process knows that the session was dropped"


def test_files_stay_bounded_however_much_is_written(document: Path, open_store: Opener) -> None:
    store = open_store(document)
    ids = [store.create("ann", {"n": 0}) for _ in range(100)]
    largest = 0
    for n in range(20_000):
        store.update(ids[n % 100], {"n": n})
        if n % 100 == 0:
            largest = max(largest, sum(found.stat().st_size for found in document.parent.iterdir()))
    assert largest < 2 << 20, "20,000 writes of 250 bytes would be 5 MB"
    assert store.get(ids[99]) == {"n": 19_999}


def test_touch_and_delete_do_not_write_the_data_again(
    document: Path, journal: Path, open_store: Opener
) -> None:
    store = open_store(document)
    session_id = store.create("ann", {"text": "x" * 10_000})
    size = journal.stat().st_size
    store.touch(session_id)
    store.delete(session_id)
    assert journal.stat().st_size - size < 500
