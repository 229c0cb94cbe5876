"""`jam rekey`: everything under the newest key, killed halfway and resumed."""

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from jam_core import Jam, generate_aes_key
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


@pytest.fixture(params=["document", "directory", "redis", "sqlite", "postgresql"])
def config(request: pytest.FixtureRequest, configure: Configure) -> str:
    options = {"is_session_crypt": True, "session_aes_secret": [OLD_KEY], "max_age": 9000}
    return configure("config", request.param, **options)


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


def test_it_can_be_killed_at_any_time(config: str, tmp_path: Path) -> None:
    with Jam(str(tmp_path / config)) as opened:
        ids = [opened.session_create(f"user {n}", {"n": n}) for n in range(MANY)]
    rotate(tmp_path, config, NEW_KEY, OLD_KEY)
    command = [str(JAM), "rekey", "--config", config]
    with Jam(str(tmp_path / config)) as opened:
        store = opened.store
        newest, _ = store.codec.key_marks

        def rewritten() -> int:
            return sum(store.codec.mark_of(record.data) == newest for record in store.records())

        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
        while not rewritten():
            assert process.poll() is None, "it was to be killed before it ends"
        process.send_signal(signal.SIGKILL)
        process.wait()
        done = rewritten()
        assert 0 < done < MANY
        code, told = rekey(tmp_path, config)
        assert (code, told["rewritten"]) == (0, MANY - done)
        assert [opened.session_get(one) for one in ids] == [{"n": n} for n in range(MANY)]


def test_what_no_key_decrypts_is_told_and_left(configure: Configure, tmp_path: Path) -> None:
    options = {"is_session_crypt": True, "session_aes_secret": [OLD_KEY]}
    config = configure("config", "document", **options)
    with Jam(str(tmp_path / config)) as opened:
        opened.session_create("ann", {})
    rotate(tmp_path, config, NEW_KEY)
    code, told = rekey(tmp_path, config)
    assert (code, told["unreadable"], told["sessions"]) == (0, 1, 0)
    rotate(tmp_path, config, NEW_KEY, OLD_KEY)
    assert rekey(tmp_path, config)[1]["rewritten"] == 1


def test_without_encryption_there_is_nothing_to_do(configure: Configure, tmp_path: Path) -> None:
    config = configure("config", "document")
    code, told = rekey(tmp_path, config)
    assert code == 3
    assert "is_session_crypt is off" in told["error"]["message"]
