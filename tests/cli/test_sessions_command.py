"""`jam sessions`: counting, listing and ending sessions."""

import re
from pathlib import Path

import pytest

from jam_core import Jam, generate_aes_key
from tests.cli.running import in_a_terminal, jam
from tests.places import Configure

KINDS = ["document", "directory", "redis", "sqlite"]
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-|J\$_")


@pytest.fixture(params=KINDS)
def config(request: pytest.FixtureRequest, configure: Configure) -> str:
    return configure("config", request.param, max_age=86400)


def test_sessions_are_counted(config: str, tmp_path: Path) -> None:
    with Jam(str(tmp_path / config)) as opened:
        for n in range(3):
            opened.session_create("ann", {"n": n})
        opened.session_create("bob", {})
    ran = jam("sessions", "count", "--config", config, cwd=tmp_path)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == "4 live sessions of 2 session keys.\n"
    told = jam("sessions", "count", "--config", config, "--json", cwd=tmp_path)
    assert told.document == {"sessions": 4, "session_keys": 2, "endless": 0}


def test_one_device_of_somebody_is_logged_out(config: str, tmp_path: Path) -> None:
    with Jam(str(tmp_path / config)) as opened:
        kept, lost = opened.session_create("ann", {}), opened.session_create("ann", {})
        other = opened.session_create("bob", {})
        before = {one.handle for one in opened.session_list("ann")}
        opened.session_delete(kept)
        (handle,) = {one.handle for one in opened.session_list("ann")}
        assert handle in before
    listed = jam("sessions", "list", "ann", "--config", config, cwd=tmp_path)
    assert handle in listed.out
    assert not ID.search(listed.out)
    revoke = ("sessions", "revoke", "ann", handle, "--config", config)
    assert jam(*revoke, "--dry-run", cwd=tmp_path).out == "The session would be ended.\n"
    with Jam(str(tmp_path / config)) as opened:
        assert opened.session_get(lost) == {}
    assert jam(*revoke, cwd=tmp_path).out == "The session is ended.\n"
    with Jam(str(tmp_path / config)) as opened:
        assert opened.session_get(lost) is None
        assert opened.session_get(other) == {}
    again = jam(*revoke, "--json", cwd=tmp_path)
    assert (again.code, again.document) == (1, {"found": False, "dry_run": False})


def test_everything_of_somebody_is_ended(config: str, tmp_path: Path) -> None:
    with Jam(str(tmp_path / config)) as opened:
        ids = [opened.session_create("ann", {}) for _ in range(2)]
        other = opened.session_create("ann2", {})
    clear = ("sessions", "clear", "ann", "--config", config)
    assert jam(*clear, "--dry-run", cwd=tmp_path).out == "2 sessions would be ended.\n"
    assert jam(*clear, cwd=tmp_path).out == "2 sessions ended.\n"
    with Jam(str(tmp_path / config)) as opened:
        assert [opened.session_get(one) for one in ids] == [None, None]
        assert opened.session_get(other) == {}
    assert jam("sessions", "purge", "--config", config, cwd=tmp_path).code == 0


def test_no_id_is_shown_whatever_the_store_keeps(configure: Configure, tmp_path: Path) -> None:
    for options in ({}, {"is_session_crypt": True, "session_aes_secret": [KEY]}):
        config = configure("config", "redis", **options)
        with Jam(str(tmp_path / config)) as opened:
            session_id = opened.session_create("ann", {"secret": "hunter2"})
        for form in ((), ("--json",)):
            ran = jam("sessions", "list", "ann", *form, "--config", config, cwd=tmp_path)
            assert ran.code == 0
            assert not ID.search(ran.out)
            assert session_id[-12:] not in ran.out
            assert "hunter2" not in ran.out


def test_the_list_has_a_table_in_a_terminal(configure: Configure, tmp_path: Path) -> None:
    config = configure("config", "document", max_age=86400)
    with Jam(str(tmp_path / config)) as opened:
        opened.session_create("ann", {})
    shown = in_a_terminal(
        *("sessions", "list", "ann", "--config", config), cwd=tmp_path, columns=120, NO_COLOR="1"
    )
    rows = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", shown).splitlines()
    header = next(row for row in rows if "handle" in row)
    assert re.search(r"handle +created +ends if idle +ends at last", header)
    assert "1 live session." in rows


KEY = generate_aes_key().decode()
