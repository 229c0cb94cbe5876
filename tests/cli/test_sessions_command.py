"""`jam sessions`: counting, listing and ending sessions."""

import re
import shlex
from pathlib import Path

import pytest

from jam_core import Jam, generate_aes_key
from tests.cli.running import in_a_terminal, jam, jam_process
from tests.places import Configure

KINDS = ["document", "directory", "redis", "sqlite"]
LOG_KEY = "0123456789abcdef"
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
    assert told.document == {"sessions": 4, "session_keys": 2, "endless": 0, "lost": 0}


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


def test_the_list_shows_how_long_each_session_may_idle(
    configure: Configure, tmp_path: Path
) -> None:
    config = configure("config", "document", ttl=1800)
    listed = ("sessions", "list", "ann", "--config", config)
    with Jam(str(tmp_path / config)) as opened:
        opened.session_create("ann", {})
        assert "ttl" not in jam(*listed, cwd=tmp_path).out
        opened.session_create("ann", {}, ttl=1209600)
        opened.session_create("ann", {}, ttl=None)
    shown = jam(*listed, cwd=tmp_path).out
    assert re.search(r"ends at last +ttl", shown)
    assert re.findall(r"30 min|14 d|not set", shown) == ["30 min", "14 d", "not set"]
    told = jam(*listed, "--json", cwd=tmp_path).document
    assert [one["ttl"] for one in told["sessions"]] == [1800, 1209600, None]


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


@pytest.mark.parametrize(
    "locale",
    [
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"LC_ALL": "en_US.ISO-8859-1", "PYTHONUTF8": "0"},
        {"LC_ALL": "C.UTF-8"},
    ],
    ids=["ASCII", "Latin-1", "UTF-8"],
)
def test_a_key_is_found_whatever_the_locale(
    configure: Configure, tmp_path: Path, locale: dict[str, str]
) -> None:
    config = configure("config", "document")
    with Jam(str(tmp_path / config)) as opened:
        session_id = opened.session_create("josé", {})
    ran = jam_process("sessions", "clear", "josé", "--config", config, cwd=tmp_path, **locale)
    assert (ran.code, ran.out) == (0, "1 session ended.\n")
    with Jam(str(tmp_path / config)) as opened:
        assert opened.session_get(session_id) is None


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


def test_a_session_is_one_line_of_the_list(config: str, tmp_path: Path) -> None:
    with Jam(str(tmp_path / config)) as opened:
        opened.session_create("ann", {"device": "Firefox on Linux"})
        opened.session_create("ann", {"device": "iPhone"}, ttl=1209600)
    for more in ((), ("--show", "device")):
        shown = jam("sessions", "list", "ann", *more, "--config", config, cwd=tmp_path).out
        rows = [row for row in shown.splitlines() if re.match("[0-9a-f]{16} ", row)]
        assert len(rows) == 2
        assert len(shown.splitlines()) == 5
        assert "not known" not in shown


def test_a_field_that_is_named_tells_the_devices_apart(
    configure: Configure, tmp_path: Path
) -> None:
    config = configure("config", "redis", max_age=86400)
    nasty = "Fire\x1b[31mfox\n\u202eon Linux" + "x" * 200
    with Jam(str(tmp_path / config)) as opened:
        for device in (nasty, "iPhone", {"os": "Windows"}):
            opened.session_create("ann", {"device": device, "token": "hunter2"})
        opened.session_create("ann", {"token": "hunter2"})
    line = ("sessions", "list", "ann", "--show", "device", "--config", config)
    shown = jam(*line, cwd=tmp_path, COLUMNS="160").out
    assert re.search(r"^[0-9a-f]{16} +iPhone ", shown, re.MULTILINE)
    assert '{"os": "Windows"}' in shown
    assert "Fire\\x1b[31mfox\\x0a" in shown
    assert not {"\x1b", "\u202e"} & set(shown)
    assert "hunter2" not in shown
    told = jam(*line, "--json", cwd=tmp_path).document["sessions"]
    assert sorted(str(one["shown"].get("device", "")) for one in told) == sorted(
        ["", nasty, "iPhone", str({"os": "Windows"})]
    )


def test_everybody_is_logged_out(config: str, tmp_path: Path) -> None:
    with Jam(str(tmp_path / config)) as opened:
        ids = [opened.session_create(key, {}) for key in ("ann", "ann", "bob", "josé:1")]
    clear = ("sessions", "clear", "--all", "--config", config)
    assert jam(*clear, "--dry-run", cwd=tmp_path).out == "4 sessions would be ended.\n"
    with Jam(str(tmp_path / config)) as opened:
        assert [opened.session_get(one) for one in ids] == [{}] * 4
    assert jam(*clear, cwd=tmp_path).out == "4 sessions ended.\n"
    with Jam(str(tmp_path / config)) as opened:
        assert [opened.session_get(one) for one in ids] == [None] * 4
        kept = opened.session_create("ann", {})
    assert jam("sessions", "clear", "ann", "--all", "--config", config, cwd=tmp_path).code == 2
    assert jam("sessions", "clear", "--config", config, cwd=tmp_path).code == 2
    with Jam(str(tmp_path / config)) as opened:
        assert opened.session_get(kept) == {}
    assert jam(*clear, "--quiet", cwd=tmp_path).out == ""


def test_everybody_is_logged_out_whose_ids_nobody_can_use_any_more(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure("config", "redis", is_session_crypt=True, max_age=86400)
    other = generate_aes_key().decode()
    monkeypatch.setenv("JAM_SESSION_AES_SECRET", KEY)
    with Jam(str(tmp_path / config)) as opened:
        opened.session_create("ann", {})
    environment = {"JAM_SESSION_AES_SECRET": other}
    line = ("--config", config)
    assert jam("sessions", "count", *line, cwd=tmp_path, **environment).code == 1
    assert jam("sessions", "clear", "--all", *line, cwd=tmp_path, **environment).code == 0
    assert jam("sessions", "count", *line, cwd=tmp_path, **environment).code == 0


def test_a_purge_from_cron_sends_no_mail(config: str, tmp_path: Path) -> None:
    ran = jam("sessions", "purge", "--quiet", "--config", config, cwd=tmp_path)
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    unset = jam("sessions", "purge", "--quiet", "--config", "nowhere.toml", cwd=tmp_path)
    assert (unset.code, unset.out) == (3, "")
    assert "nowhere.toml" in unset.err


def test_the_log_leads_to_the_session(
    config: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAM_LOG_KEY", LOG_KEY)
    with caplog.at_level("INFO", "jam"), Jam(str(tmp_path / config)) as opened:
        opened.session_create("ann's", {})
        opened.session_create("ann's", {})
        opened.session_create("bob", {})
        handles = {one.handle for one in opened.session_list("ann's")}
    created = next(vars(one) for one in caplog.records if "jam_event" in vars(one))
    of_session, of_user = created["jam_session"], created["jam_session_key"]
    find = ("sessions", "find", "--config", config)
    told = jam(*find, of_session, "--json", cwd=tmp_path, JAM_LOG_KEY=LOG_KEY)
    (found,) = told.document["sessions"]
    assert found["session_key"] == "ann's"
    assert found["handle"] in handles
    of_key = jam(*find, of_user, cwd=tmp_path, JAM_LOG_KEY=LOG_KEY).out
    commands = [row for row in of_key.splitlines() if row.startswith("jam ")]
    assert {shlex.split(row)[-1] for row in commands} == handles
    with Jam(str(tmp_path / config)) as opened:
        line = shlex.split(commands[0])[1:]
        assert jam(*line, "--config", config, cwd=tmp_path).code == 0
        assert len(opened.session_list("ann's")) == 1
    for key in ({}, {"JAM_LOG_KEY": "another key of 16"}):
        lost = jam(*find, of_user, cwd=tmp_path, **key)
        assert lost.code == (1 if key else 3)
        assert "JAM_LOG_KEY" in lost.out + lost.err


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
    assert any(row.startswith("1 live session. Times are local") for row in rows)


KEY = generate_aes_key().decode()
