"""`jam check` on stores that work, and on some that do not."""

import base64
import json
from contextlib import chdir
from pathlib import Path
from textwrap import dedent
from typing import Any
from uuid import uuid4

import pytest

from jam_core import Jam, JamStoreMissing, JamStoreUnavailable, generate_aes_key
from tests.cli.running import ROOT, Ran, jam
from tests.servers import StartRedis

SECRET = "hunter2hunter2"
SOUND = 'session_type = "json"\njson_path = "sessions.json"\nmax_age = 604800\n'
PUBLISHED = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4="


def check(directory: Path, session: str, *arguments: str, **environment: str) -> Ran:
    (directory / "config.toml").write_text(f"[jam.session]\n{dedent(session)}")
    if "--read-only" not in arguments:
        arguments = ("--create", *arguments)
    return jam("check", "--config", "config.toml", *arguments, cwd=directory, **environment)


def document(directory: Path, session: str, **environment: str) -> Any:
    return check(directory, session, "--json", **environment).document


def found(directory: Path, session: str, **environment: str) -> set[str]:
    return {one["code"] for one in document(directory, session, **environment)["findings"]}


def write_store(directory: Path, body: str) -> str:
    """Write a store of the project's own into the working directory; return its settings."""
    head = "from jam_testing.memory import MemorySessions\nclass Store(MemorySessions):\n"
    lines = dedent(body).strip().splitlines()
    (directory / "project.py").write_text(head + "".join(f"    {line}\n" for line in lines))
    return 'session_type = "project:Store"\nmax_age = 86400\n'


# --- a configuration that is sound -----------------------------------------------------------


def test_a_sound_configuration_leaves_nothing_to_say(tmp_path: Path) -> None:
    ran = check(tmp_path, SOUND)
    assert (ran.code, ran.err) == (0, "")
    assert "nothing is left to do" in ran.out


def test_it_says_whether_the_store_is_awaited_under_asyncio(tmp_path: Path) -> None:
    assert "Under jam.aio: runs in threads" in check(tmp_path, SOUND).out
    awaited = write_store(tmp_path, 'guarantees = frozenset({"asyncio"})')
    assert "Under jam.aio: awaited in the event loop" in check(tmp_path, awaited).out


def test_the_store_is_opened_and_a_session_taken_through_its_life(tmp_path: Path) -> None:
    steps = document(tmp_path, SOUND)["steps"]
    assert [step["name"] for step in steps] == [
        *("open", "ping", "create", "get", "update", "touch", "mutate", "rework", "delete"),
        *("clear", "diagnose", "close"),
    ]
    assert all(step["ok"] and step["reason"] is None for step in steps)


def test_nothing_of_it_stays(tmp_path: Path) -> None:
    check(tmp_path, SOUND)
    assert json.loads((tmp_path / "sessions.json").read_text())["sessions"] == {}


def test_the_configuration_may_be_named_by_the_environment(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(f"[tool.jam.session]\n{SOUND}")
    ran = jam("check", "--pointer", "tool.jam", cwd=tmp_path, JAM_CONFIG="config.toml")
    assert ran.code == 0
    assert "config.toml [tool.jam]" in ran.out


# --- what it leaves alone ---------------------------------------------------------------------

MISSING = {
    "document": 'session_type = "json"\njson_path = "deep/sessions.json"\n',
    "directory": 'session_type = "json"\njson_path = "deep/sessions"\n',
    "sqlite": 'session_type = "sqlalchemy"\ndatabase_uri = "sqlite:///deep/sessions.db"\n',
}


@pytest.mark.parametrize("kind", MISSING)
@pytest.mark.parametrize("option", [(), ("--read-only",)])
def test_what_is_missing_is_told_and_not_created(
    tmp_path: Path, kind: str, option: tuple[str, ...]
) -> None:
    (tmp_path / "config.toml").write_text(f"[jam.session]\n{MISSING[kind]}max_age = 86400\n")
    line = ("check", "--config", "config.toml", *option)
    ran = jam(*line, cwd=tmp_path)
    assert ran.code == 0
    assert "`jam check --create`" in " ".join(ran.out.split())
    assert [one["code"] for one in jam(*line, "--json", cwd=tmp_path).document["facts"]] == [
        "missing"
    ]
    assert [one.name for one in tmp_path.iterdir()] == ["config.toml"]
    assert jam("check", "--config", "config.toml", "--create", cwd=tmp_path).code == 0
    assert (tmp_path / "deep").is_dir()
    assert "nothing is left to do" in jam(*line, cwd=tmp_path).out


@pytest.mark.parametrize("kind", MISSING)
def test_what_the_application_would_not_create_either_is_an_error(
    tmp_path: Path, kind: str
) -> None:
    option = "create_table" if kind == "sqlite" else "create"
    text = f"[jam.session]\n{MISSING[kind]}max_age = 86400\n{option} = false\n"
    (tmp_path / "config.toml").write_text(text)
    ran = jam("check", "--config", "config.toml", cwd=tmp_path)
    assert ran.code == 3
    assert "is mounted" in ran.err
    with pytest.raises(JamStoreMissing), chdir(tmp_path):
        Jam("config.toml")
    assert [one.name for one in tmp_path.iterdir()] == ["config.toml"]
    assert jam("check", "--config", "config.toml", "--create", cwd=tmp_path).code == 0
    assert jam("check", "--config", "config.toml", "--quiet", cwd=tmp_path).code == 0


def test_a_table_is_created_only_if_asked_for(tmp_path: Path, postgresql_url: str) -> None:
    name = f"jam_{uuid4().hex[:12]}"
    session = f"""
        session_type = "sqlalchemy"
        database_uri = "{postgresql_url}"
        table_name = "{name}"
        max_age = 86400
    """
    (tmp_path / "config.toml").write_text(f"[jam.session]\n{dedent(session)}")
    line = ("check", "--config", "config.toml", "--accept", "secret-in-file")
    for _ in range(2):
        ran = jam(*line, cwd=tmp_path)
        assert (ran.code, "There is no table" in ran.out) == (0, True)
    assert "nothing is left to do" in jam(*line, "--create", cwd=tmp_path).out
    assert "nothing is left to do" in jam(*line, cwd=tmp_path).out


def test_a_check_that_only_reads_stores_no_session(tmp_path: Path) -> None:
    check(tmp_path, SOUND)
    ran = check(tmp_path, SOUND, "--read-only", "--json")
    assert ran.code == 0
    names = [step["name"] for step in ran.document["steps"]]
    assert names == ["open", "ping", "diagnose", "close"]


def test_quiet_is_silent_if_all_is_well(tmp_path: Path) -> None:
    ran = check(tmp_path, SOUND, "--quiet")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    assert "! no-max-age" in check(tmp_path, 'session_type = "json"', "-q").out


# --- where a value comes from ----------------------------------------------------------------


def test_every_value_is_shown_with_where_it_comes_from(tmp_path: Path) -> None:
    session = """
        session_type = "json"
        json_path = "${DIRECTORY}/${NAME:-sessions}.json"
        default_ttl = "${TTL:-600}"
        max_age = 60
    """
    answer = document(tmp_path, session, DIRECTORY=str(tmp_path))
    settings = {setting.pop("name"): setting for setting in answer["settings"]}
    assert settings["json_path"] == {
        "value": f"{tmp_path}/sessions.json",
        "source": "environment",
        "variables": ["DIRECTORY"],
    }
    assert settings["ttl"] == {"value": 600, "source": "file", "variables": []}
    assert settings["max_age"] == {"value": 60, "source": "file", "variables": []}
    assert settings["fsync"] == {"value": False, "source": "default", "variables": []}
    assert answer["times"] == {"ttl": 600, "max_age": 60, "lock_timeout": 10.0}


def test_a_key_from_the_environment_is_told_by_its_variable(tmp_path: Path) -> None:
    key = generate_aes_key().decode()
    session = SOUND + "is_session_crypt = true\n"
    answer = document(tmp_path, session, JAM_SESSION_AES_SECRET=key)
    settings = {setting.pop("name"): setting for setting in answer["settings"]}
    assert settings["session_aes_secret"] == {
        "value": "***",
        "source": "environment",
        "variables": ["JAM_SESSION_AES_SECRET"],
    }
    assert answer["findings"] == []


OPTIONS = """
    def __init__(self, *, url="", nested=None, api_token="", servers=(), **options):
        super().__init__(**options)
"""


@pytest.mark.parametrize(
    "setting",
    [
        f'url = "redis://user:{SECRET}@localhost/0"',
        f'url = "redis://user:p@ss/{SECRET}@localhost/0"',
        f'url = "postgresql://localhost/db?user=jam&password={SECRET}"',
        f'url = "host=localhost password={SECRET} dbname=jam"',
        f'nested = {{ password = "{SECRET}" }}',
        f'api_token = "{SECRET}"',
        f'servers = ["redis://:{SECRET}@one", "redis://two"]',
        'url = "redis://:${PASSWORD}@localhost"',
    ],
)
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_no_secret_is_shown(tmp_path: Path, setting: str, form: tuple[str, ...]) -> None:
    session = write_store(tmp_path, OPTIONS) + setting
    ran = check(tmp_path, session, *form, PYTHONPATH=str(ROOT), PASSWORD=SECRET)
    assert "***" in ran.out
    assert SECRET not in ran.out + ran.err


# --- what one regrets later ------------------------------------------------------------------


def test_findings_are_told_with_their_remedy_until_they_are_accepted(tmp_path: Path) -> None:
    session = 'session_type = "json"\nttl = "none"\n'
    ran = check(tmp_path, session)
    assert ran.code == 1
    assert "! no-ttl" in ran.out
    assert "ttl = 3600" in ran.out
    assert "! no-max-age" in ran.out
    assert check(tmp_path, session, "--accept", "no-ttl").code == 1
    accepted = check(tmp_path, session, "--accept", "no-ttl", "--accept", "no-max-age", "--json")
    assert accepted.code == 0
    assert {one["code"]: one["accepted"] for one in accepted.document["findings"]} == {
        "no-ttl": True,
        "no-max-age": True,
    }


@pytest.mark.parametrize(
    ("setting", "warns"),
    [
        (f'url = "redis://:{SECRET}@localhost"', True),
        ('url = "redis://:${PASSWORD}@localhost"', False),
        (f'url = "${{URL:-redis://:{SECRET}@localhost}}"', True),
        ('url = "redis://user@localhost"', False),
        ('url = "redis://localhost/0?client_name=jam"', False),
        (f'url = "postgresql://localhost/db?password={SECRET}"', True),
        (f'nested = {{ password = "{SECRET}" }}', True),
        ('nested = { password = "$PASSWORD" }', False),
        (f'api_token = "{SECRET}"', True),
        ('api_token = ""', False),
        (f'servers = ["redis://one", "redis://:{SECRET}@two"]', True),
    ],
)
def test_a_secret_belongs_in_the_environment(tmp_path: Path, setting: str, warns: bool) -> None:
    session = write_store(tmp_path, OPTIONS) + setting
    codes = found(tmp_path, session, PYTHONPATH=str(ROOT), PASSWORD=SECRET)
    assert ("secret-in-file" in codes) == warns


@pytest.mark.parametrize(
    "key",
    [
        PUBLISHED,
        "A" * 43 + "=",
        base64.urlsafe_b64encode(b"my very secret pass phrase, yes!").decode(),
        base64.urlsafe_b64encode(bytes([1, 2, 3, 255] * 8)).decode(),
    ],
)
def test_a_key_that_others_can_guess_is_found(tmp_path: Path, key: str) -> None:
    session = SOUND + "is_session_crypt = true\n"
    good = generate_aes_key().decode()
    ran = check(tmp_path, session, "--json", JAM_SESSION_AES_SECRET=f"{good},{key}")
    assert [one["code"] for one in ran.document["findings"]] == ["guessable-key"]
    assert "Key 2" in ran.document["findings"][0]["text"]
    assert key not in ran.out


@pytest.mark.parametrize(
    ("ttl", "max_age", "warns"), [("7200", 3600, True), ("3600", 3600, False), ("none", 3600, None)]
)
def test_a_ttl_that_max_age_cuts_off(
    tmp_path: Path, ttl: str, max_age: int, warns: bool | None
) -> None:
    codes = found(tmp_path, f'session_type = "json"\nttl = "{ttl}"\nmax_age = {max_age}')
    assert codes == ({"no-ttl"} if warns is None else {"ttl-beyond-max-age"} if warns else set())


def test_of_what_is_left_out_it_shows_what_holds(tmp_path: Path) -> None:
    session = MISSING["sqlite"] + "max_age = 86400\n"
    assert "pool_timeout 30 s" in check(tmp_path, session).out
    told = document(tmp_path, session)
    assert told["times"]["pool_timeout"] == 30
    settings = {one["name"]: (one["value"], one["source"]) for one in told["settings"]}
    assert settings["pool_size"] == (5, "default")
    assert settings["max_overflow"] == (10, "default")


def test_of_a_store_that_did_not_open_it_does_not_say_what_it_can_do(tmp_path: Path) -> None:
    session = 'session_type = "sqlalchemy"\ndatabase_uri = "postgresql+psycopg://127.0.0.1:1/a"\n'
    ran = check(tmp_path, session)
    assert ran.code == 4
    assert "Can do" not in ran.out
    assert "pool_timeout" not in ran.out.partition("Times:")[2].partition("\n\n")[0]


def test_a_store_that_forgets_or_is_not_shared_is_found(tmp_path: Path) -> None:
    session = write_store(tmp_path, "pass")
    assert found(tmp_path, session, PYTHONPATH=str(ROOT)) == {"not-durable", "not-shared"}


def test_a_store_may_tell_facts_and_findings_of_its_own(tmp_path: Path) -> None:
    session = write_store(
        tmp_path,
        """
        guarantees = frozenset({"durable", "shared"})

        def diagnose(self):
            return [
                ("server", "Toy 1.0 on this host."),
                ("toy-eviction", "The server forgets sessions.", "Set toy-memory."),
            ]
        """,
    )
    ran = check(tmp_path, session, "--json", PYTHONPATH=str(ROOT))
    assert ran.document["facts"] == [{"code": "server", "text": "Toy 1.0 on this host."}]
    assert [one["code"] for one in ran.document["findings"]] == ["toy-eviction"]
    assert ran.code == 1


# --- stores that do not work -----------------------------------------------------------------


def failed_step(ran: Ran) -> tuple[str, str]:
    step = next(step for step in ran.document["steps"] if not step["ok"])
    return step["name"], step["reason"]


def test_a_store_that_loses_an_update_is_found_out(tmp_path: Path) -> None:
    session = write_store(tmp_path, "def update(self, session_id, data): pass")
    ran = check(tmp_path, session, "--json", PYTHONPATH=str(ROOT))
    assert ran.code == 1
    name, reason = failed_step(ran)
    assert name == "update"
    assert "get does not return what update stored" in reason


def test_an_error_that_is_none_of_ours_is_told_without_its_words(tmp_path: Path) -> None:
    body = f'def get(self, session_id): raise ValueError("{SECRET}")'
    ran = check(tmp_path, write_store(tmp_path, body), "--json", PYTHONPATH=str(ROOT))
    assert ran.code == 1
    name, reason = failed_step(ran)
    assert name == "get"
    assert "builtins.ValueError" in reason
    assert SECRET not in ran.out + ran.err


def test_the_innermost_cause_of_an_outage_is_told_without_a_secret(tmp_path: Path) -> None:
    body = f"""
        def ping(self):
            from jam_core import JamStoreUnavailable
            try:
                try:
                    raise OSError("no route to db://ann:{SECRET}@host\\nINSERT {SECRET}")
                except OSError as cause:
                    raise ValueError("wrapped") from cause
            except ValueError as cause:
                raise JamStoreUnavailable("The store is down.") from cause
    """
    ran = check(tmp_path, write_store(tmp_path, body), "--json", PYTHONPATH=str(ROOT))
    assert ran.code == 4
    name, reason = failed_step(ran)
    assert name == "ping"
    assert reason == "The store is down. Cause: OSError: no route to db://***@host"
    assert SECRET not in ran.out + ran.err


def test_the_scratch_session_is_removed_although_a_step_failed(tmp_path: Path) -> None:
    body = """
        def rework(self, session_id):
            self.reworked = session_id
            assert self.get(session_id) is not None
            raise RuntimeError

        def close(self):
            print(f"left over: {self.get(self.reworked)}")
    """
    ran = check(tmp_path, write_store(tmp_path, body), PYTHONPATH=str(ROOT))
    assert ran.code == 1
    assert "left over: None" in ran.err


def test_what_a_plugin_prints_is_no_part_of_the_answer(tmp_path: Path) -> None:
    body = 'print("}{ on import")\ndef ping(self): print("}{ noise")'
    ran = check(tmp_path, write_store(tmp_path, body), "--json", PYTHONPATH=str(ROOT))
    assert ran.document["steps"][1] | {"milliseconds": 0} == {
        "name": "ping",
        "ok": True,
        "milliseconds": 0,
        "reason": None,
    }
    assert "noise" in ran.err


# --- what the stores say ---------------------------------------------------------------------


def test_files_that_others_can_read(tmp_path: Path) -> None:
    check(tmp_path, SOUND)
    assert found(tmp_path, SOUND) == set()
    (tmp_path / "sessions.json").chmod(0o644)
    assert found(tmp_path, SOUND) == {"open-to-others"}


def test_a_server_that_drops_sessions(tmp_path: Path, start_redis: StartRedis) -> None:
    server = start_redis("--maxmemory-policy", "allkeys-lru")
    session = f"""
        session_type = "redis"
        redis_uri = "{server.uri}"
        max_age = 86400
    """
    answer = document(tmp_path, session)
    server.client.config_set("maxmemory-policy", "noeviction")
    mended = document(tmp_path, session)
    assert [one["code"] for one in answer["findings"]] == ["evicting"]
    assert {"code": "server", "text": "Redis 6.2.14"} in answer["facts"]
    assert mended["findings"] == []


@pytest.mark.parametrize(
    ("uri", "plain"),
    [
        ("redis://cache.example/0", True),
        ("redis+cluster://127.0.0.1,cache.example/", True),
        ("redis://127.0.0.1:1/0", False),
        ("unix:///run/redis.sock", False),
    ],
)
def test_ids_that_go_to_another_host_in_the_open(uri: str, plain: bool) -> None:
    with Jam({"session": {"session_type": "redis", "redis_uri": uri}}) as jam_:
        try:
            first = next(jam_.store.diagnose())[0]
        except JamStoreUnavailable:  # it has nothing to say before it asks the server
            first = ""
        assert (first == "plaintext") == plain


def test_a_key_that_hundreds_of_sessions_share(tmp_path: Path) -> None:
    session = SOUND.replace("sessions.json", f"{tmp_path}/sessions.json")
    check(tmp_path, session)
    with Jam(str(tmp_path / "config.toml")) as jam_:
        for _ in range(300):
            jam_.session_create("everybody", {})
    answer = document(tmp_path, session)
    assert [one["code"] for one in answer["findings"]] == ["shared-key"]
    assert "everybody" not in json.dumps(answer)
