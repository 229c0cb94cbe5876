"""`jam migrate`: live sessions between stores, on real servers, killed halfway and resumed."""

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from jam_core import STORE_DEFAULT, Jam, generate_aes_key
from tests.cli.running import JAM, jam
from tests.places import Configure

OLD_KEY, NEW_KEY = (generate_aes_key().decode() for _ in range(2))
MANY = 3000


def migrate(directory: Path, *arguments: str) -> Any:
    line = ("migrate", "--from", "old.conf.json", "--to", "new.conf.json", "--json", *arguments)
    ran = jam(*line, cwd=directory)
    return ran.code, ran.document


def crypt(*keys: str) -> dict[str, Any]:
    return {"is_session_crypt": True, "session_aes_secret": list(keys)} if keys else {}


PAIRS = [
    ("redis", "document"),
    ("document", "postgresql"),
    *(
        pytest.param(*pair, marks=pytest.mark.exhaustive)
        for pair in (
            ("document", "directory"),
            ("directory", "sqlite"),
            ("sqlite", "document"),
            ("redis", "redis"),
            ("redis", "postgresql"),
        )
    ),
]


@pytest.mark.parametrize(("source", "target"), PAIRS)
@pytest.mark.parametrize("keys", [(), (OLD_KEY,)], ids=["plain", "encrypted"])
def test_ids_work_at_the_target_and_end_when_they_would_have(
    configure: Configure, tmp_path: Path, source: str, target: str, keys: tuple[str, ...]
) -> None:
    old = configure("old", source, ttl=500, max_age=1000, **crypt(*keys))
    new = configure("new", target, ttl=9999, **crypt(*((NEW_KEY, *keys) if keys else ())))
    with Jam(str(tmp_path / old)) as jam_:
        ids = {
            n: jam_.session_create(f"user {n % 7}", {"n": n, "é": ["\U0001f600"]})
            for n in range(40)
        }
        gone = ids.pop(3)
        jam_.session_delete(gone)
        before = {one.handle: one for n in range(7) for one in jam_.session_list(f"user {n}")}
    code, dry = migrate(tmp_path, "--dry-run")
    assert (code, dry["found"], dry["stored"]) == (0, 39, 0)
    code, told = migrate(tmp_path)
    assert (code, told["stored"], told["verified"], told["complete"]) == (0, 39, 39, True)
    assert told["digest_source"] == told["digest_target"]
    with Jam(str(tmp_path / new)) as jam_:
        for n, session_id in ids.items():
            assert jam_.session_get(session_id) == {"n": n, "é": ["\U0001f600"]}
        assert jam_.session_get(gone) is None
        after = {one.handle: one for n in range(7) for one in jam_.session_list(f"user {n}")}
        assert after.keys() == before.keys()
        for handle, info in after.items():
            assert info.expires_at == pytest.approx(before[handle].expires_at, abs=1)
            assert info.deadline == pytest.approx(before[handle].deadline, abs=1)
        jam_.session_clear("user 1")
        assert jam_.session_get(ids[1]) is None, "what was moved is found by its key"


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_each_session_keeps_its_own_ttl(
    configure: Configure, tmp_path: Path, source: str, target: str
) -> None:
    old, new = configure("old", source, ttl=1800), configure("new", target, ttl=60)
    ttls = {1209600: 1209600, None: None, STORE_DEFAULT: 60}
    with Jam(str(tmp_path / old)) as jam_:
        ids = {ttl: jam_.session_create("ann", {}, ttl=ttl) for ttl in ttls}
    code, told = migrate(tmp_path)
    assert (code, told["verified"], told["complete"]) == (0, 3, True)
    with Jam(str(tmp_path / new)) as jam_:
        for ttl, session_id in ids.items():
            jam_.session_touch(session_id)
            info = jam_.session_info(session_id)
            assert info is not None
            assert info.ttl == ttls[ttl]
            left = None if info.expires_at is None else info.expires_at - time.time()
            assert left == (None if ttls[ttl] is None else pytest.approx(ttls[ttl], abs=30))


@pytest.mark.parametrize(
    ("source", "target"),
    [("document", "postgresql"), ("redis", "redis")],
)
@pytest.mark.exhaustive
def test_a_migration_that_is_killed_goes_on(
    configure: Configure, tmp_path: Path, source: str, target: str
) -> None:
    old, new = configure("old", source, ttl=5000), configure("new", target)
    with Jam(str(tmp_path / old)) as jam_:
        ids = [jam_.session_create(f"user {n // 3}", {"n": n}) for n in range(MANY)]
    command = [str(JAM), "migrate", "--from", old, "--to", new]
    with Jam(str(tmp_path / new)) as jam_:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
        while sum(1 for _ in jam_.store.records()) < 10:  # the first is a trial
            assert process.poll() is None, "it was to be killed before it ends"
        process.send_signal(signal.SIGKILL)
        process.wait()
        there = sum(1 for _ in jam_.store.records())
        assert 0 < there < MANY
        code, told = migrate(tmp_path)
        assert (code, told["stored"], told["verified"]) == (0, MANY - there, MANY)
        assert [jam_.session_get(one) for one in ids] == [{"n": n} for n in range(MANY)]
        assert sum(1 for _ in jam_.store.records()) == MANY
    assert migrate(tmp_path)[1]["stored"] == 0


def test_what_changed_at_the_source_is_told_and_mirrored(
    configure: Configure, tmp_path: Path
) -> None:
    old, new = configure("old", "document"), configure("new", "sqlite")
    with Jam(str(tmp_path / old)) as source:
        changed, ended, kept = (source.session_create("ann", {"n": n}) for n in range(3))
        migrate(tmp_path)
        source.session_update(changed, {"n": "newer"})
        source.session_delete(ended)
        fresh = source.session_create("ann", {"fresh": True})
    code, told = migrate(tmp_path)
    assert (code, told["different"], told["others"], told["stored"]) == (1, 1, 1, 1)
    code, told = migrate(tmp_path, "--mirror")
    assert (code, told["removed"], told["stored"], told["complete"]) == (0, 2, 1, True)
    with Jam(str(tmp_path / new)) as target:
        found = [target.session_get(one) for one in (changed, ended, kept, fresh)]
    assert found == [{"n": "newer"}, None, {"n": 2}, {"fresh": True}]


@pytest.mark.parametrize("kind", ["document", "directory", "redis", "sqlite", "postgresql"])
def test_one_place_under_two_configurations_is_refused(
    configure: Configure, tmp_path: Path, kind: str
) -> None:
    old = configure("old", kind, **crypt(OLD_KEY))
    table = json.loads((tmp_path / old).read_text())
    table["jam"]["session"]["session_aes_secret"] = [NEW_KEY, OLD_KEY]
    (tmp_path / "new.conf.json").write_text(json.dumps(table))
    with Jam(str(tmp_path / old)) as jam_:
        session_id = jam_.session_create("ann", {"n": 1})
    for arguments in ((), ("--mirror",)):
        code, told = migrate(tmp_path, *arguments)
        assert code == 3
        assert "--from and --to lead to the same sessions" in told["error"]["message"]
    with Jam(str(tmp_path / old)) as jam_:
        assert jam_.session_get(session_id) == {"n": 1}
        assert sum(1 for _ in jam_.store.records()) == 1, "the scratch session is gone"


@pytest.mark.parametrize("target", ["old.conf.json", "./old.conf.json", "link.conf.json"])
def test_one_configuration_on_both_sides_is_refused(
    configure: Configure, tmp_path: Path, target: str
) -> None:
    config = configure("old", "document")
    (tmp_path / "link.conf.json").symlink_to(tmp_path / config)
    ran = jam("migrate", "--from", config, "--to", target, "--dry-run", cwd=tmp_path)
    assert ran.code == 3
    assert "--from and --to are the same configuration" in ran.err


def test_what_nobody_can_use_at_the_source_is_left_out(
    configure: Configure, tmp_path: Path
) -> None:
    old, new = configure("old", "document", **crypt(OLD_KEY)), configure("new", "sqlite")
    with Jam(str(tmp_path / old)) as jam_:
        jam_.session_create("ann", {})
    for name in (old, new):
        table = json.loads((tmp_path / name).read_text())
        table["jam"]["session"] |= crypt(NEW_KEY)
        (tmp_path / name).write_text(json.dumps(table))
    with Jam(str(tmp_path / old)) as jam_:
        jam_.session_create("ann", {})
    code, told = migrate(tmp_path)
    assert (code, told["unreadable"], told["stored"]) == (1, 1, 1)


def test_an_empty_source_is_not_mirrored(configure: Configure, tmp_path: Path) -> None:
    configure("old", "document")
    new = configure("new", "sqlite")
    with Jam(str(tmp_path / new)) as target:
        session_id = target.session_create("ann", {})
    code, told = migrate(tmp_path, "--mirror")
    assert code == 3
    assert "has no live session" in told["error"]["message"]
    with Jam(str(tmp_path / new)) as target:
        assert target.session_get(session_id) == {}


def test_what_expired_is_not_brought_back(configure: Configure, tmp_path: Path) -> None:
    old, new = configure("old", "document", ttl=1), configure("new", "sqlite", ttl=None)
    with Jam(str(tmp_path / old)) as source:
        session_id = source.session_create("ann", {})
        migrate(tmp_path)
        while source.session_get(session_id) is not None:
            time.sleep(0.05)
        assert migrate(tmp_path)[1]["found"] == 0
    with Jam(str(tmp_path / new)) as target:
        assert target.session_get(session_id) is None


REFUSED: dict[str, tuple[str, tuple[str, ...], str, tuple[str, ...], int, str]] = {
    "hashes only": ("sqlite", (), "redis", (), 1, "keeps only their hashes"),
    "a key is missing": ("redis", (OLD_KEY,), "redis", (NEW_KEY,), 3, "lacks keys of the source"),
    "to encryption": ("redis", (), "sqlite", (OLD_KEY,), 3, "each as forged"),
    "from encryption": ("sqlite", (OLD_KEY,), "sqlite", (), 3, "would be readable"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_pair_that_cannot_work_is_refused_and_nothing_stored(
    configure: Configure, tmp_path: Path, name: str
) -> None:
    source, old_keys, target, new_keys, exit_code, words = REFUSED[name]
    old = configure("old", source, **crypt(*old_keys))
    new = configure("new", target, **crypt(*new_keys))
    with Jam(str(tmp_path / old)) as jam_:
        jam_.session_create("ann", {})
    for dry_run in (("--dry-run",), ()):
        code, told = migrate(tmp_path, *dry_run)
        assert code == exit_code
        assert words in told["error"]["message"]
        assert OLD_KEY not in json.dumps(told)
    with Jam(str(tmp_path / new)) as jam_:
        assert list(jam_.store.records()) == []
