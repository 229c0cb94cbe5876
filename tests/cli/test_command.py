"""The frame of the command: arguments, output, exit codes; and the small commands."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from jam_core import Jam
from tests.cli.running import JAM, ROOT, in_a_terminal, jam, jam_process

COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3\d|9\d)(?:;\d+)*m")
ESCAPE = "\x1b"


@pytest.fixture
def configured(tmp_path: Path) -> Path:
    text = '[jam.session]\nsession_type = "json"\njson_path = "sessions.json"\nttl = "none"\n'
    (tmp_path / "config.toml").write_text(text)
    return tmp_path


# --- arguments -------------------------------------------------------------------------------


def test_the_version_is_that_of_the_distribution(tmp_path: Path) -> None:
    ran = jam("--version", cwd=tmp_path)
    assert (ran.code, ran.err) == (0, "")
    assert re.fullmatch(r"jam-core \d+\.\d+\.\d+\S*\n", ran.out)


def test_help_lists_every_command(tmp_path: Path) -> None:
    ran = jam("--help", cwd=tmp_path)
    assert ran.code == 0
    for name in ("check", "keygen", "new-store", "plugins"):
        assert re.search(rf"^  {name} +\w", ran.out, re.MULTILINE)


@pytest.mark.parametrize("group", [(), ("sessions",), ("plugins",)])
def test_no_summary_is_cut(tmp_path: Path, group: tuple[str, ...]) -> None:
    out = jam(*group, "--help", cwd=tmp_path, COLUMNS="60").out
    summaries = re.findall(
        r"^  ([a-z-]+)  +(.+(?:\n {10,}.+)*)", out.partition("Commands:")[2], re.M
    )
    assert summaries
    for name, summary in summaries:
        assert "..." not in summary
        helped = " ".join(jam(*group, name, "--help", cwd=tmp_path).out.split())
        assert " ".join(summary.split()) in helped


def test_help_points_to_nothing_that_is_not_installed(tmp_path: Path) -> None:
    lines = ["check", "keygen", "migrate", "new-store", "plugins", "plugins show", "rekey"]
    lines += [f"sessions {one}" for one in ("count", "list", "find", "revoke", "clear", "purge")]
    for line in lines:
        assert ".md" not in jam(*line.split(), "--help", cwd=tmp_path).out


def test_a_usage_error_breaks_no_word_in_a_terminal(tmp_path: Path) -> None:
    shown = in_a_terminal("chek", cwd=tmp_path, columns=45, NO_COLOR="1")
    rows = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", shown).splitlines()
    words = {"chek", "check", "keygen", "migrate", "new-store", "plugins", "rekey", "sessions"}
    assert words <= set(re.findall(r"[\w-]+", " ".join(rows)))
    assert all(len(row) <= 45 for row in rows)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("chek", "There is no command 'chek'. Did you mean 'check'?"),
        ("keygen now", "unexpected extra argument"),
        ("new-store", "Missing argument 'NAME'"),
        ("check --confg x", "No such option"),
        ("plugins --timeout soon", "'soon' is not a valid float"),
    ],
)
def test_a_wrong_command_line_is_told_on_standard_error(
    tmp_path: Path, line: str, words: str
) -> None:
    ran = jam(*shlex.split(line), cwd=tmp_path)
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err
    told = jam(*shlex.split(line), "--json", cwd=tmp_path)
    assert told.code == 2
    assert told.document["error"]["code"] == "usage"
    assert words in told.document["error"]["message"]


def test_json_may_stand_before_the_command(tmp_path: Path) -> None:
    assert jam("--json", "keygen", cwd=tmp_path).document.keys() == {"key"}


def test_an_error_of_the_configuration_lists_its_problems(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[jam.session]\nsession_type = "json"\nttl = "x"\na = 1')
    ran = jam("check", "--config", "config.toml", "--json", cwd=tmp_path)
    assert ran.code == 3
    assert len(ran.document["error"]["problems"]) == 2


def test_without_a_configuration_it_says_how_to_name_one(tmp_path: Path) -> None:
    ran = jam("check", cwd=tmp_path)
    assert (ran.code, ran.out) == (3, "")
    assert "--config FILE" in ran.err
    assert "JAM_CONFIG" in ran.err


# --- the core without the command --------------------------------------------------------------


def test_an_application_does_not_import_what_the_command_needs() -> None:
    script = (
        "import sys; from jam import Jam; "
        "jam = Jam({'session': {'session_type': 'jam_testing.memory.MemorySessions'}}); "
        "jam.session_create('user1', {}); print({'click', 'rich'} & set(sys.modules))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout == "set()\n"


# --- output ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "check --config config.toml",
        "chek",
        "plugins show json",
        pytest.param("plugins", marks=pytest.mark.exhaustive),
    ],
)
def test_what_goes_to_a_file_has_no_escape_codes(configured: Path, line: str) -> None:
    ran = jam(*line.split(), cwd=configured, TERM="xterm-256color")
    assert ESCAPE not in ran.out + ran.err


def test_a_terminal_is_given_colours_unless_it_wants_none(configured: Path) -> None:
    arguments = ("check", "--config", "config.toml")
    assert COLOUR.search(in_a_terminal(*arguments, cwd=configured, columns=80))
    plain = in_a_terminal(*arguments, cwd=configured, columns=80, NO_COLOR="1")
    assert not COLOUR.search(plain)


@pytest.mark.parametrize(
    "columns", [40, *(pytest.param(n, marks=pytest.mark.exhaustive) for n in (80, 200))]
)
@pytest.mark.parametrize(
    "line",
    [
        "check --config config.toml",
        *(
            pytest.param(line, marks=pytest.mark.exhaustive)
            for line in ("plugins", "plugins show redis", "new-store x")
        ),
    ],
)
def test_no_line_is_wider_than_the_terminal(configured: Path, line: str, columns: int) -> None:
    shown = in_a_terminal(*line.split(), cwd=configured, columns=columns, NO_COLOR="1")
    rows = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", shown).splitlines()
    assert rows
    assert max(len(row) for row in rows) <= columns


@pytest.mark.exhaustive
def test_a_stream_that_knows_no_such_signs_gets_others(tmp_path: Path) -> None:
    ran = jam_process("plugins", cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert "? json" in ran.out


def test_a_reader_that_stops_reading_is_no_error(tmp_path: Path) -> None:
    script = (
        f"{shlex.quote(str(JAM))} plugins show json --json | head -c 1; echo ${{PIPESTATUS[0]}}"
    )
    ran = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env={}, capture_output=True, text=True, check=True
    )
    assert ran.stderr == ""


def test_what_failed_is_said_once(tmp_path: Path) -> None:
    session = {"session_type": "redis", "redis_uri": "redis://127.0.0.1:1/0"}
    (tmp_path / "config.json").write_text(json.dumps({"jam": {"session": session}}))
    line = ("sessions", "list", "ann", "--config", "config.json")
    ran = jam_process(*line, cwd=tmp_path)
    assert (ran.code, ran.err.count("refused the connection")) == (4, 1), ran.err


def test_an_unforeseen_error_is_told_without_its_words_and_without_a_traceback(
    tmp_path: Path,
) -> None:
    (tmp_path / "project.py").write_text(
        "from jam_testing.memory import MemorySessions\n"
        "class Store(MemorySessions):\n"
        "    @property\n"
        "    def capabilities(self): raise ValueError('hunter2')\n"
    )
    (tmp_path / "config.toml").write_text('[jam.session]\nsession_type = "project:Store"\n')
    ran = jam("check", "--config", "config.toml", cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert ran.code == 1
    assert "ValueError in project.py, line 4" in ran.err
    assert "hunter2" not in ran.err


# --- completion ------------------------------------------------------------------------------


def completed(tmp_path: Path, words: str, number: int) -> list[str]:
    environment = {
        "_JAM_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(number),
    }
    return re.findall(r"^plain,(.*)$", jam_process(cwd=tmp_path, **environment).out, re.MULTILINE)


def test_the_shell_completes_commands_options_and_plugins(tmp_path: Path) -> None:
    assert completed(tmp_path, "jam ke", 1) == ["keygen"]
    assert completed(tmp_path, "jam check --po", 2) == ["--pointer"]
    assert "redis" in completed(tmp_path, "jam plugins show re", 3)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_documented_lines_print_a_script_for_the_shell(tmp_path: Path, shell: str) -> None:
    script = jam_process(cwd=tmp_path, _JAM_COMPLETE=f"{shell}_source", PATH="/usr/bin:/bin").out
    assert f"_JAM_COMPLETE={shell}_complete" in script
    assert f"_JAM_COMPLETE={shell}_source" in (ROOT / "docs" / "cli.md").read_text()


# --- keygen, new-store -----------------------------------------------------------------------


def test_keygen_prints_a_key_that_works_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = jam("keygen", cwd=tmp_path), jam("keygen", cwd=tmp_path)
    assert re.fullmatch(r"[\w-]{43}=\n", first.out)
    assert first.err == ""
    assert first.out != second.out
    monkeypatch.setenv("JAM_SESSION_AES_SECRET", f"{second.out},{first.out}")
    store = "jam_testing.memory.MemorySessions"
    session = {"session_type": store, "is_session_crypt": True}
    with Jam({"session": session}) as opened:
        assert opened.session_get(opened.session_create("user1", {"a": 1})) == {"a": 1}


def test_new_store_writes_a_distribution_and_says_how_to_go_on(tmp_path: Path) -> None:
    ran = jam("new-store", "toydb", "--directory", str(tmp_path), "--json", cwd=tmp_path)
    assert ran.code == 0
    folder = tmp_path / "jam-toydb"
    assert ran.document["directory"] == str(folder)
    assert all((folder / file).is_file() for file in ran.document["files"])
    assert "jam_toydb/sessions.py" in ran.document["files"]


def test_new_store_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "jam-toydb").mkdir()
    ran = jam("new-store", "toydb", cwd=tmp_path)
    assert ran.code == 1
    assert "exists already" in ran.err
    assert list((tmp_path / "jam-toydb").iterdir()) == []
