"""`jam rekey`: everything under the newest key, killed halfway and resumed."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jam_core import Jam, JamSessionConflict, JamSessionNotFound, generate_aes_key
from tests.cli.running import JAM, jam
from tests.places import Configure

OLD_KEY, NEW_KEY = (generate_aes_key().decode() for _ in range(2))
MANY = 1500


def rotate(directory: Path, config: str, *keys: str) -> None:
    file = directory / config
    table = json.loads(file.read_text())
    table["jam"]["session"]["session_aes_secret"] = list(keys)
    file.write_text(json.dumps(table))


def rekey(directory: Path, config: str, *arguments: str) -> Any:
    ran = jam("rekey", "--config", config, "--json", *arguments, cwd=directory)
    return ran.code, ran.document


@pytest.fixture(
    params=[
        *("document", "sqlite"),
        *(
            pytest.param(kind, marks=pytest.mark.exhaustive)
            for kind in ("directory", "redis", "postgresql")
        ),
    ]
)
def config(request: pytest.FixtureRequest, configure: Configure) -> str:
    options = {"is_session_crypt": True, "session_aes_secret": [OLD_KEY], "max_age": 9000}
    return configure("config", request.param, **options)


def test_what_was_seen_before_is_what_is_stored_after(config: str, tmp_path: Path) -> None:
    """Under another key, but the same: only what somebody else has changed is a conflict."""
    rotate(tmp_path, config, OLD_KEY, NEW_KEY)
    with Jam(str(tmp_path / config)) as opened:
        session_id = opened.session_create("ann", {"n": 1})
        seen = opened.session_info(session_id)
        rotate(tmp_path, config, NEW_KEY, OLD_KEY)
        assert rekey(tmp_path, config)[1]["rewritten"] == 1
        opened.session_update(session_id, {"n": 2}, seen=seen)
        assert opened.session_get(session_id) == {"n": 2}
        with pytest.raises(JamSessionConflict):
            opened.session_update(session_id, {"n": 3}, seen=seen)
        opened.session_delete(session_id)
        with pytest.raises(JamSessionNotFound):
            opened.session_update(session_id, {"n": 3}, seen=seen)


def test_a_key_is_retired_without_anybody_being_logged_out(config: str, tmp_path: Path) -> None:
    with Jam(str(tmp_path / config)) as opened:
        ids = [opened.session_create(f"user {n}", {"n": n}) for n in range(20)]
        before = {r.id_hash: (r.expires_at, r.deadline) for r in opened.store.records()}
    rotate(tmp_path, config, NEW_KEY, OLD_KEY)
    code, told = rekey(tmp_path, config, "--dry-run")
    assert (code, told["rewritten"], [key["data"] for key in told["keys"]]) == (0, 0, [0, 20])
    code, told = rekey(tmp_path, config)
    assert (code, told["rewritten"], told["retirable"]) == (0, 20, [])
    assert [(key["data"], key["ids"]) for key in told["keys"]] == [(20, 0), (0, 20)]
    with Jam(str(tmp_path / config)) as opened:
        after = {r.id_hash: (r.expires_at, r.deadline) for r in opened.store.records()}
        assert after == before
        assert [opened.session_get(one) for one in ids] == [{"n": n} for n in range(20)]
        ids = [opened.session_rework(one) for one in ids]
    _, told = rekey(tmp_path, config)
    assert told["retirable"] == [told["keys"][1]["mark"]]
    rotate(tmp_path, config, NEW_KEY)
    with Jam(str(tmp_path / config)) as opened:
        assert [opened.session_get(one) for one in ids] == [{"n": n} for n in range(20)]


def test_each_session_keeps_its_own_ttl(config: str, tmp_path: Path) -> None:
    with Jam(str(tmp_path / config)) as opened:
        ids = {ttl: opened.session_create("ann", {}, ttl=ttl) for ttl in (1209600, None)}
    rotate(tmp_path, config, NEW_KEY, OLD_KEY)
    code, told = rekey(tmp_path, config)
    assert (code, told["rewritten"]) == (0, 2)
    with Jam(str(tmp_path / config)) as opened:
        for ttl, session_id in ids.items():
            opened.session_touch(session_id)
            info = opened.session_info(session_id)
            assert info is not None
            assert info.ttl == ttl


@pytest.mark.exhaustive
def test_it_can_be_killed_at_any_time(config: str, tmp_path: Path) -> None:
    with Jam(str(tmp_path / config)) as opened:
        ids = [opened.session_create(f"user {n}", {"n": n}) for n in range(MANY)]
    rotate(tmp_path, config, NEW_KEY, OLD_KEY)
    command = [str(JAM), "rekey", "--config", config]
    with Jam(str(tmp_path / config)) as opened:
        store = opened.store
        newest, _ = store.codec.key_marks

        def are_rewritten() -> Iterator[bool]:
            return (store.codec.mark_of(record.data) == newest for record in store.records())

        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
        while not any(are_rewritten()):  # the first: the rest are rewritten meanwhile
            assert process.poll() is None, "it was to be killed before it ends"
        process.send_signal(signal.SIGKILL)
        process.wait()
        done = sum(are_rewritten())
        assert 0 < done < MANY
        code, told = rekey(tmp_path, config)
        # A server still carries out what it had been sent.
        assert (code, MANY - done - told["rewritten"]) in [(0, 0), (0, 1)]
        assert [opened.session_get(one) for one in ids] == [{"n": n} for n in range(MANY)]


def test_what_no_key_decrypts_is_told_and_left(configure: Configure, tmp_path: Path) -> None:
    options = {"is_session_crypt": True, "session_aes_secret": [OLD_KEY]}
    config = configure("config", "document", **options)
    with Jam(str(tmp_path / config)) as opened:
        opened.session_create("ann", {})
    rotate(tmp_path, config, NEW_KEY)
    code, told = rekey(tmp_path, config)
    assert (code, told["unreadable"], told["sessions"], told["lost"]) == (1, 1, 0, 1)
    rotate(tmp_path, config, NEW_KEY, OLD_KEY)
    assert rekey(tmp_path, config)[1]["rewritten"] == 1


@pytest.mark.parametrize(
    "kind",
    [
        *("document", "sqlite"),
        *(pytest.param(kind, marks=pytest.mark.exhaustive) for kind in ("directory", "postgresql")),
    ],
)  # Redis keeps the layout of jamlib, where data is not sealed to its session.
def test_data_that_was_copied_from_another_session_is_told_and_left(
    kind: str, configure: Configure, tmp_path: Path
) -> None:
    options = {"is_session_crypt": True, "session_aes_secret": [OLD_KEY]}
    config = configure("config", kind, **options)
    with Jam(str(tmp_path / config)) as opened:
        for n in range(2):
            opened.session_create(f"user {n}", {"n": n})
        own, copied = opened.store.records()
        assert opened.store.replace(own, copied.data)
    rotate(tmp_path, config, NEW_KEY, OLD_KEY)
    _, told = rekey(tmp_path, config)
    assert (told["rewritten"], told["unreadable"]) == (1, 1)
    _, told = rekey(tmp_path, config)
    assert (told["rewritten"], told["unreadable"]) == (0, 1)
    assert [key["data"] for key in told["keys"]] == [1, 0]


def test_ids_under_a_key_that_was_dropped_are_told(config: str, tmp_path: Path) -> None:
    with Jam(str(tmp_path / config)) as opened:
        ids = [opened.session_create(f"user {n}", {}) for n in range(3)]
    rotate(tmp_path, config, NEW_KEY, OLD_KEY)
    assert rekey(tmp_path, config)[1]["rewritten"] == 3
    rotate(tmp_path, config, NEW_KEY)
    with Jam(str(tmp_path / config)) as opened:
        used = opened.session_create("user 0", {})
        assert [opened.session_get(one) for one in (*ids, used)] == [None, None, None, {}]
    for arguments in ([], ["--dry-run"]):
        code, told = rekey(tmp_path, config, *arguments)
        assert (code, told["sessions"], told["lost"]) == (1, 4, 3)
    ran = jam("rekey", "--config", config, cwd=tmp_path)
    assert "Nobody can use 3 of them" in " ".join(ran.out.split())
    ran = jam("sessions", "count", "--config", config, cwd=tmp_path)
    assert (ran.code, "Nobody can use 3 of them" in ran.out) == (1, True)
    counted = jam("sessions", "count", "--config", config, "--json", cwd=tmp_path)
    assert (counted.document["sessions"], counted.document["lost"]) == (4, 3)
    checked = jam("check", "--config", config, "--json", cwd=tmp_path)
    assert checked.code == 1
    assert "lost-ids" in [one["code"] for one in checked.document["findings"]]
    rotate(tmp_path, config, NEW_KEY, OLD_KEY)
    code, told = rekey(tmp_path, config)
    assert (code, told["lost"]) == (0, 0), "the remedy that is told"
    with Jam(str(tmp_path / config)) as opened:
        assert [opened.session_get(one) for one in ids] == [{}, {}, {}]


def test_the_next_key_is_not_called_one_that_has_to_go(
    configure: Configure, tmp_path: Path
) -> None:
    options = {"is_session_crypt": True, "session_aes_secret": [OLD_KEY, NEW_KEY]}
    config = configure("config", "document", **options)
    with Jam(str(tmp_path / config)) as opened:
        opened.session_create("ann", {})
        _, next_mark = opened.store.codec.key_marks
    ran = jam("rekey", "--config", config, cwd=tmp_path)
    said = " ".join(ran.out.split())
    assert f"Nothing is under key {next_mark}. If it is an old one, remove it" in said
    assert "if it is the next one, which every process must know first, leave it" in said


def test_without_encryption_there_is_nothing_to_do(configure: Configure, tmp_path: Path) -> None:
    config = configure("config", "document")
    code, told = rekey(tmp_path, config)
    assert code == 3
    assert "is_session_crypt is off" in told["error"]["message"]
