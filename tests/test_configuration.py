import copy
import json
import os
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from jam_core import Jam, JamConfigurationError
from tests.recording_store import RecordingSessions

STORE = "tests.recording_store:RecordingSessions"
SECRET = "hunter2hunter2"

type_of_config = str | os.PathLike[str] | Mapping[str, Any] | None
Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


def configured(config: type_of_config = None, pointer: str = "jam") -> RecordingSessions:
    """Return the store that a configuration opens."""
    store = Jam(config, pointer).store
    assert isinstance(store, RecordingSessions)
    return store


def session(**options: object) -> dict[str, Any]:
    """Return a configuration dict with these options of the store."""
    return {"session": {"session_type": STORE, **options}}


def refused(config: type_of_config = None, pointer: str = "jam") -> JamConfigurationError:
    """Return the error that a configuration is answered with."""
    with pytest.raises(JamConfigurationError) as caught:
        Jam(config, pointer)
    return caught.value


TOML = f'[jam.session]\nsession_type = "{STORE}"\ntext = "from the file"\nttl = 60\n'
JSON = json.dumps({"jam": session(text="from the file", ttl=60)})
YAML = f"""
jam:
  session:
    session_type: {STORE}
    text: from the file
    ttl: 60
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("jam.toml", TOML),
        ("jam.json", JSON),
        ("jam.yaml", YAML),
        ("jam.yml", YAML),
        ("JAM.TOML", TOML),
        ("with-byte-order-mark.toml", "\ufeff" + TOML),
        ("with-byte-order-mark.json", "\ufeff" + JSON),
    ],
)
@pytest.mark.parametrize("as_given", [str, Path])
def test_a_file_configures_the_store(
    write: Write, name: str, text: str, as_given: Callable[[Path], str | Path]
) -> None:
    store = configured(as_given(write(name, text)))
    assert (store.text, store.ttl) == ("from the file", 60)


def test_any_path_like_object_is_a_path(write: Write) -> None:
    path = write("jam.toml", TOML)

    class Place(os.PathLike[str]):
        def __fspath__(self) -> str:
            return str(path)

    assert configured(Place()).text == "from the file"


def test_a_dict_is_the_table_itself() -> None:
    assert configured(session(text="from the dict")).text == "from the dict"


@pytest.mark.parametrize(
    ("pointer", "path"), [("jam", ["jam"]), ("services.web", ["services", "web"])]
)
def test_a_dict_may_be_wrapped_in_the_name_of_the_pointer(pointer: str, path: list[str]) -> None:
    config = session(text="wrapped")
    for name in reversed(path):
        config = {name: config}
    assert configured(config, pointer).text == "wrapped"


def test_a_wrapped_dict_may_hold_tables_of_other_programs_too() -> None:
    assert configured({"jam": session(text="ours"), "other": {}}).text == "ours"


def test_any_mapping_is_a_dict() -> None:
    from types import MappingProxyType

    assert configured(MappingProxyType(session(text="read-only"))).text == "read-only"


def test_without_arguments_the_environment_names_the_file(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAM_CONFIG", str(write("jam.toml", TOML)))
    assert configured().text == "from the file"


def test_what_is_passed_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAM_CONFIG", "/nowhere/jam.toml")
    assert configured(session(text="passed")).text == "passed"


@pytest.mark.parametrize("value", [None, ""])
def test_no_configuration_at_all_is_an_error_that_says_how_to_give_one(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    if value is not None:
        monkeypatch.setenv("JAM_CONFIG", value)
    message = refused().message
    assert "no configuration" in message
    assert "JAM_CONFIG" in message


@pytest.mark.parametrize(
    ("pointer", "header"),
    [
        ("jam", "[jam.session]"),
        ("tool.web.jam", "[tool.web.jam.session]"),
        ("", "[session]"),
    ],
)
def test_the_pointer_chooses_the_table_of_a_file(write: Write, pointer: str, header: str) -> None:
    path = write("jam.toml", TOML.replace("[jam.session]", header))
    assert configured(path, pointer).text == "from the file"


def test_tables_beside_the_pointer_are_not_looked_at(write: Write) -> None:
    other = '[other]\npassword = "${NOT_SET_ANYWHERE}"\nwrappers = 5\n'
    assert configured(write("jam.toml", TOML + other)).text == "from the file"


@pytest.mark.parametrize(
    ("text", "pointer", "tables"),
    [
        ("[server]\nport = 1\n[client]\n", "jam", "server, client"),
        ("[tool.web]\n[tool.worker]\n", "tool.jam", "tool.web, tool.worker"),
        ("name = 1\n", "jam", "none"),
        ("", "jam", "none"),
    ],
)
def test_a_pointer_to_nothing_lists_the_tables_that_are_there(
    write: Write, text: str, pointer: str, tables: str
) -> None:
    path = write("jam.toml", text)
    message = refused(path, pointer).message
    assert f"{path} has no table [{pointer}]" in message
    assert f"Its tables: {tables}." in message
    assert "pointer" in message


@pytest.mark.parametrize("pointer", ["jam", "jam.session"])
def test_a_pointer_to_something_else_than_a_table_is_an_error(write: Write, pointer: str) -> None:
    path = write("jam.toml", f'{pointer} = "{SECRET}"\n')
    message = refused(path, pointer).message
    assert f"{path}: {pointer} must be a table" in message
    assert SECRET not in message


@pytest.mark.parametrize("text", ["[]", "3", f'"{SECRET}"', "null"])
@pytest.mark.parametrize("name", ["jam.json", "jam.yaml"])
def test_a_file_that_holds_no_table_is_an_error(write: Write, name: str, text: str) -> None:
    path = write(name, text)
    message = refused(path).message
    assert str(path) in message
    assert "table at its top level" in message
    assert SECRET not in message


@pytest.mark.parametrize("wrong", [5, "text", ["list"]])
def test_a_session_that_is_no_table_is_an_error(wrong: object) -> None:
    assert "jam.session must be a table" in refused({"session": wrong}).message


@pytest.mark.parametrize("wrong", ["audit", [1], {"audit": True}])
def test_wrappers_that_are_no_list_of_names_are_an_error(wrong: object) -> None:
    message = refused({**session(), "wrappers": wrong}).message
    assert "jam.wrappers must be a list of names" in message


# --- variables -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("${WORD}", "word"),
        ("$WORD", "word"),
        ("<${WORD}-$WORD>", "<word-word>"),
        ("${WORD}s", "words"),
        ("$WORD.example", "word.example"),
        ("${WORD:-default}", "word"),
        ("${MISSING:-default}", "default"),
        ("${MISSING:-}", ""),
        ("${EMPTY:-default}", "default"),
        ("${EMPTY}", ""),
        ("${MISSING:-redis://host:6379/0}", "redis://host:6379/0"),
        ("$$WORD", "$WORD"),
        ("$${WORD}", "${WORD}"),
        ("$$$WORD", "$word"),
        ("5$ or $5", "5$ or $5"),
        ("$", "$"),
        ("${WITH_DOLLAR}", "$WORD ${WORD}"),
        ("no variable", "no variable"),
    ],
)
def test_variables_in_texts_are_filled_in(
    monkeypatch: pytest.MonkeyPatch, text: str, filled: str
) -> None:
    monkeypatch.setenv("WORD", "word")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.setenv("WITH_DOLLAR", "$WORD ${WORD}")
    monkeypatch.delenv("MISSING", raising=False)
    assert configured(session(text=text)).text == filled


def test_variables_are_filled_in_below_tables_and_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORD", "word")
    table = {"a": {"b": ["$WORD", {"c": "${WORD}"}]}, "number": 1}
    store = configured(session(table=table, items=["$WORD", ["$WORD"], 2]))
    assert store.table == {"a": {"b": ["word", {"c": "word"}]}, "number": 1}
    assert store.items == ["word", ["word"], 2]


def test_variables_are_filled_in_after_parsing_so_that_no_value_can_add_settings(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    injected = '"\nttl = 1\n'
    monkeypatch.setenv("WORD", injected)
    path = write("jam.toml", f'[jam.session]\nsession_type = "{STORE}"\ntext = "$WORD"\n')
    store = configured(path)
    assert (store.text, store.ttl) == (injected.strip(), 3600)


def test_variables_are_filled_in_for_numbers_and_for_the_store_itself(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORE", STORE)
    monkeypatch.setenv("TTL", "60")
    path = write("jam.toml", '[jam.session]\nsession_type = "$STORE"\nttl = "${TTL}"\n')
    assert configured(path).ttl == 60


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"text": "redis://:${MISSING}@host"}, "jam.session.text"),
        ({"text": "$MISSING"}, "jam.session.text"),
        ({"table": {"a": {"b": "$MISSING"}}}, "jam.session.table.a.b"),
        ({"items": ["fine", "$MISSING"]}, "jam.session.items[1]"),
        ({"items": [["$MISSING"]]}, "jam.session.items[0][0]"),
    ],
)
def test_a_variable_that_is_not_set_is_named_with_its_file_and_key(
    write: Write, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], key: str
) -> None:
    monkeypatch.delenv("MISSING", raising=False)
    path = write("jam.json", json.dumps({"jam": session(**options)}))
    message = refused(path).message
    assert f"{path}: {key} uses the environment variable MISSING, which is not set" in message
    assert "${MISSING:-default}" in message


@pytest.mark.parametrize("text", ["${", "${}", "${1}", "${NAME", "${NAME:default}", "${A B}"])
def test_a_malformed_variable_is_an_error_that_shows_how_to_write_one(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("NAME", "word")
    message = refused(session(text=SECRET + text)).message
    assert "jam.session.text" in message
    assert "${NAME}" in message
    assert "$$" in message
    assert SECRET not in message


def test_the_callers_dict_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORD", "word")
    config = session(text="$WORD", table={"a": ["$WORD"]}, items=[["$WORD"]], default_ttl="60")
    before = copy.deepcopy(config)
    store = configured(config)
    assert store.table is not None
    assert store.items is not None
    store.table["a"].append("changed by the store")
    store.items[0].append("changed by the store")
    assert config == before


# --- files that cannot be read ---------------------------------------------------------------


def test_a_missing_file_is_named_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    message = refused("nowhere.toml").message
    assert str(tmp_path / "nowhere.toml") in message
    assert "No such file" in message


def test_a_missing_file_of_the_environment_is_named_with_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAM_CONFIG", str(tmp_path / "nowhere.toml"))
    message = refused().message
    assert str(tmp_path / "nowhere.toml") in message
    assert "JAM_CONFIG" in message


def test_a_directory_is_no_configuration(tmp_path: Path) -> None:
    directory = tmp_path / "jam.toml"
    directory.mkdir()
    message = refused(directory).message
    assert str(directory) in message
    assert "directory" in message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_read_permission_is_an_error(write: Write) -> None:
    path = write("jam.toml", TOML)
    path.chmod(0)
    message = refused(path).message
    assert str(path) in message
    assert "Permission denied" in message


@pytest.mark.parametrize("name", ["jam.ini", "jam", ".toml", "jam.toml.bak"])
def test_a_file_of_another_kind_is_an_error_that_lists_the_kinds(write: Write, name: str) -> None:
    path = write(name, TOML)
    message = refused(path).message
    assert str(path) in message
    for kind in (".toml", ".yaml", ".yml", ".json"):
        assert kind in message.removeprefix(str(path))


@pytest.mark.parametrize("name", ["jam.toml", "jam.json", "jam.yaml"])
def test_a_file_that_is_not_utf_8_is_an_error(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(f"# {SECRET} ".encode() + b"\xff\xfe")
    message = refused(path).message
    assert f"{path} is not UTF-8" in message
    assert SECRET not in message


INVALID = [
    ("jam.toml", f'[jam]\na = "{SECRET}"\nb = = "{SECRET}"\n', 3),
    ("jam.toml", f'[jam]\na = "{SECRET}\nb = 1\n', 2),
    ("jam.toml", f"[jam]\na = '{SECRET}", 2),
    ("jam.toml", f"[jam]\na = {SECRET}\n", 2),
    ("jam.toml", f"[jam\na = '{SECRET}'\n", 1),
    ("jam.toml", f"[jam]\na = 1\na = '{SECRET}'\n", 3),
    ("jam.toml", f'[jam]\na = "{SECRET}" "{SECRET}"\n', 2),
    ("jam.toml", f'[jam]\na = "\\{SECRET}"\n', 2),
    ("jam.toml", f"[jam]\n{SECRET}\n", 2),
    ("jam.toml", f"[jam]\na = ['{SECRET}', 'b'\n", 2),
    ("jam.json", f'{{\n"a": "{SECRET}",\n"b": {SECRET}}}', 3),
    ("jam.json", f'{{\n"a": "{SECRET}', 2),
    ("jam.json", f'{{\n"a": "{SECRET}" "b"}}', 2),
    ("jam.json", "", 1),
    ("jam.yaml", f"jam:\n  a: '{SECRET}\n", 3),
    ("jam.yaml", f"jam:\n  a: *{SECRET}\n", 2),
    ("jam.yaml", f"jam:\n  a: !{SECRET} x\n", 2),
    ("jam.yaml", f"jam:\n  a: !{SECRET}!x x\n", 2),
    ("jam.yaml", f"jam:\n  a: @{SECRET}\n", 2),
    ("jam.yaml", f"jam:\n  a: {SECRET}: {SECRET}\n", 2),
    ("jam.yaml", f"jam:\n\ta: {SECRET}\n", 2),
    ("jam.yaml", f"jam: [{SECRET}, b\n", 2),
]


@pytest.mark.parametrize(("name", "text", "line"), INVALID)
def test_an_invalid_file_is_named_with_the_line_and_without_a_value(
    write: Write, name: str, text: str, line: int
) -> None:
    path = write(name, text)
    error = refused(path)
    assert f"{path}, line {line}" in error.message
    assert "not valid" in error.message
    assert SECRET not in "".join(traceback.format_exception(error))


TWICE = {
    "JSON": ("jam.json", '{"jam": {"session": {"ttl": 1, "ttl": 2}}}', "ttl appears twice"),
    "JSON table": ("jam.json", '{"jam": {}, "jam": {}}', "jam appears twice"),
    "YAML": (
        "jam.yaml",
        "jam:\n  ttl: 1\n  ttl: 2\n",
        "line 3: not valid YAML: ttl appears twice",
    ),
    "YAML table": (
        "jam.yaml",
        "jam: {}\nb: 1\njam: {}\n",
        "line 3: not valid YAML: jam appears twice",
    ),
    "no name": ("jam.json", f'{{"{SECRET}!": 1, "{SECRET}!": 2}}', "a key appears twice"),
}


@pytest.mark.parametrize(("name", "text", "words"), TWICE.values(), ids=TWICE)
def test_a_key_that_is_there_twice_is_named(write: Write, name: str, text: str, words: str) -> None:
    message = refused(write(name, text)).message
    assert words in message
    assert SECRET not in message


def test_a_key_of_yaml_may_be_one_that_was_merged(write: Write) -> None:
    base = "base: &base {ttl: 1, text: a}\n"
    table = f"jam:\n  session: {{<<: *base, ttl: 2, session_type: '{STORE}'}}\n"
    store = configured(write("jam.yaml", base + table))
    assert (store.ttl, store.text) == (2, "a")


@pytest.mark.parametrize("blank", ["", "   # in seconds"])
def test_a_setting_of_yaml_that_was_left_blank_is_named(write: Write, blank: str) -> None:
    head = f"other:\njam:\n  session:\n    session_type: '{STORE}'\n"
    message = refused(write("jam.yaml", f"{head}    ttl:{blank}\n")).message
    assert "jam.session.ttl has no value: give it one, write none, or remove the line." in message
    for none in ("none", "null", "~"):
        assert configured(write("jam.yaml", f"{head}    ttl: {none}\n")).ttl is None


@pytest.mark.parametrize("key", ["SESSION_TYPE", "session-type", "sessions_type", "Session-Type"])
def test_a_key_that_was_meant_to_be_session_type_is_named(key: str) -> None:
    message = refused({"session": {key: STORE}}).message
    assert "session_type is not set." in message
    assert f"Write session_type instead of {key!r}." in message


@pytest.mark.parametrize("default", ["${B}", "$B", "a${B:-c}", "$"])
def test_a_variable_in_a_default_is_an_error(monkeypatch: pytest.MonkeyPatch, default: str) -> None:
    table = {"session": {"session_type": STORE, "text": f"${{JAM_TEST_A:-{default}}}"}}
    assert "session.text has a variable inside a default" in refused(table).message
    monkeypatch.setenv("JAM_TEST_A", "set")
    assert "session.text has a variable inside a default" in refused(table).message


def test_a_dollar_in_a_default_is_written_twice_as_everywhere() -> None:
    table = {"session": {"session_type": STORE, "text": "${JAM_TEST_A:-a$$b}"}}
    assert configured(table).text == "a$b"


@pytest.mark.parametrize("around", ["\r", "\n", " ", "\t", "\r\n"])
def test_blanks_around_what_the_environment_holds_are_no_part_of_it(
    monkeypatch: pytest.MonkeyPatch, around: str
) -> None:
    monkeypatch.setenv("JAM_TEST_A", f"{around}a b{around}")
    table = {"session": {"session_type": STORE, "text": "$JAM_TEST_A/c"}}
    assert configured(table).text == "a b/c"


def test_a_line_end_after_a_text_is_no_part_of_it() -> None:
    assert configured({"session": {"session_type": STORE, "text": "a b \r\n"}}).text == "a b "


@pytest.mark.parametrize("quote", ["'", '"'])
def test_quotes_that_are_kept_around_a_value_are_an_error(
    monkeypatch: pytest.MonkeyPatch, quote: str
) -> None:
    quoted = f"{quote}{SECRET}{quote}"
    monkeypatch.setenv("JAM_TEST_A", quoted)
    for text, words in (
        ("$JAM_TEST_A", "session.text uses the environment variable JAM_TEST_A, whose value has"),
        ("${JAM_TEST_A:-b}", "session.text uses the environment variable JAM_TEST_A, whose value"),
        (quoted, "session.text has quotes around its value: remove them."),
    ):
        message = refused({"session": {"session_type": STORE, "text": text}}).message
        assert words in message
        assert SECRET not in message
    assert configured({"session": {"session_type": STORE, "text": quote}}).text == quote


# Python 3.13 reads JSON of 5,000 levels; the time that PyYAML takes grows with their square.
@pytest.mark.parametrize(
    ("deep", "levels"), [("deep.json", 100_000), ("deep.toml", 5_000), ("deep.yaml", 500)]
)
def test_a_file_that_is_nested_too_deeply_is_named(write: Write, deep: str, levels: int) -> None:
    nested = "[" * levels + "]" * levels
    text = {"deep.json": f'{{"jam": {nested}}}', "deep.toml": f"jam = {nested}"}
    message = refused(write(deep, text.get(deep, f"jam: {nested}"))).message
    assert f"{deep} is nested too deeply." in message


def test_a_table_that_aliases_make_enormous_is_refused_at_once(write: Write) -> None:
    lines = ["jam:", "  session:", "    a0: &a0 [x]"]
    lines += [f"    a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    message = refused(write("jam.yaml", "\n".join(lines))).message
    assert "repeats tables too often by aliases" in message


def test_a_table_that_contains_itself_is_refused(write: Write) -> None:
    text = "jam:\n  session: &a\n    again: *a\n"
    assert "jam contains itself" in refused(write("jam.yaml", text)).message
    table: dict[str, Any] = {"session": {"session_type": STORE}}
    table["session"]["again"] = [table]
    assert "contains itself" in refused(table).message


@pytest.mark.parametrize("name", ["jam.toml", "jam.json", "jam.yaml"])
def test_a_number_of_thousands_of_digits_is_refused(write: Write, name: str) -> None:
    number = "7" * 5_000
    text = {"jam.toml": f"ttl = {number}", "jam.json": f'{{"ttl": {number}}}'}
    message = refused(write(name, text.get(name, f"ttl: {number}"))).message
    assert name in message
    assert "number in it" in message
    assert "777" not in message


@pytest.mark.parametrize("text", ["a: 2024-99-99\n", "a: \x00\n", "a: !!int x\n"])
def test_yaml_that_only_its_own_rules_forbid_is_an_invalid_file_too(
    write: Write, text: str
) -> None:
    path = write("jam.yaml", text)
    message = refused(path).message
    assert f"{path}" in message
    assert "not valid YAML" in message


def test_the_specifications_redis_sample_is_answered_with_the_line_of_its_unclosed_quote(
    write: Write,
) -> None:
    sample = (
        "[jam.session]\n"
        'session_type = "redis"\n'
        'redis_uri = "redis://0.0.0.0:6379/0"\n'
        "ttl = 3600\n"
        'session_path = "sessions\n'
    )
    path = write("config.toml", sample)
    error = refused(path)
    assert error.message == (
        f"{path}, line 5, at session_path: not valid TOML: the text after = has no closing quote."
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[jam\n", "expected ']'"),
        ("[jam.session]\n[jam.session]\n", "cannot declare jam.session twice"),
        ("[jam]\nsession_type 'json'\n", "expected '=' after a key"),
        ("[jam]\nttl = 60 seconds\n", "expected newline"),
        ("[jam]\nttl = sixty\n", "invalid value"),
    ],
)
def test_invalid_toml_says_what_is_wrong(write: Write, text: str, reason: str) -> None:
    assert reason in refused(write("jam.toml", text)).message


# --- what is wrong inside of a file that can be read -----------------------------------------


@pytest.mark.parametrize(
    ("key", "match"), [("sesion", "session"), ("wrapers", "wrappers"), ("sessions", "session")]
)
def test_an_unknown_table_is_named_with_the_one_that_was_meant(key: str, match: str) -> None:
    message = refused({**session(), key: {}}).message
    assert f"jam.{key} is not a setting" in message
    assert f"Did you mean '{match}'?" in message


def test_an_unknown_table_that_resembles_nothing_is_named_with_all_that_there_are() -> None:
    message = refused({**session(), "colour": {}}).message
    assert "jam.colour is not a setting" in message
    assert "session, wrappers, wrapper" in message


def test_a_session_type_outside_of_the_session_table_is_told_where_it_belongs(
    write: Write,
) -> None:
    path = write("jam.toml", f'[jam]\nsession_type = "{STORE}"\n')
    error = refused(path)
    assert f"{path}" in error.message
    assert any(
        "jam.session_type belongs in the table" in problem and "[jam.session]" in problem
        for problem in error.problems
    )


@pytest.mark.parametrize(
    ("pointer", "key"),
    [("jam", "jam.session.ttl"), ("", "session.ttl"), ("a.b", "a.b.session.ttl")],
)
def test_a_wrong_value_is_named_with_its_file_and_whole_key(
    write: Write, pointer: str, key: str
) -> None:
    document: dict[str, Any] = session(ttl="soon")
    for name in reversed(pointer.split(".") if pointer else []):
        document = {name: document}
    path = write("jam.json", json.dumps(document))
    assert refused(path, pointer).message.startswith(f"{path}: {key} must be a whole number")


@pytest.mark.parametrize("ttl", [0, -1])
def test_a_value_that_the_store_refuses_is_named_with_the_file(write: Write, ttl: int) -> None:
    path = write("jam.toml", TOML.replace("ttl = 60", f"ttl = {ttl}"))
    message = refused(path).message
    assert message.startswith(f"{path}: ")
    assert "ttl must be" in message


def test_everything_that_is_wrong_with_a_file_is_said_at_once(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MISSING", raising=False)
    path = write(
        "jam.toml",
        "[jam]\n"
        'wrappers = ["absent"]\n'
        'colour = "red"\n'
        "[jam.session]\n"
        f'session_type = "{STORE}"\n'
        'text = "$MISSING"\n'
        'ttl = "soon"\n'
        "max_aeg = 5\n",
    )
    error = refused(path)
    expected = [
        "jam.session.text uses the environment variable MISSING",
        "jam.colour is not a setting",
        "jam.session.ttl must be a whole number",
        "jam.session.max_aeg is not an option of RecordingSessions. Did you mean 'max_age'?",
        "wrapper 'absent' is not installed",
    ]
    assert len(error.problems) == len(expected)
    for text in expected:
        assert [text in problem for problem in error.problems].count(True) == 1, text
    assert error.message.count(str(path)) == 1
    assert all(problem.startswith(f"{path}: ") for problem in error.problems)


def test_a_single_problem_is_the_message_itself() -> None:
    error = refused(session(ttl="soon"))
    assert error.problems == (error.message,)


@pytest.mark.parametrize(
    "options",
    [
        {"ttl": SECRET},
        {"is_session_crypt": SECRET},
        {"session_aes_secret": {"key": SECRET}},
        {"session_aes_secret": SECRET, "is_session_crypt": True},
        {"session_aes_secret": [SECRET, SECRET], "is_session_crypt": True},
        {"sesion_aes_secret": SECRET},
        {"default_ttl": SECRET, "ttl": SECRET},
        {"text": [SECRET]},
        {"table": SECRET},
        {"text": f"{SECRET}${{"},
        {"text": f"{SECRET}$MISSING_VARIABLE"},
        {"text": f"${{MISSING_VARIABLE-{SECRET}}}"},
        {"max_age": {SECRET: SECRET}},
    ],
)
def test_no_error_about_the_configuration_shows_a_value_of_it(options: dict[str, Any]) -> None:
    error = refused(session(**options))
    assert SECRET not in "".join(traceback.format_exception(error))
    assert SECRET not in repr(error)
    assert not any(SECRET in problem for problem in error.problems)


@pytest.mark.parametrize("begin", ["redis://:pa", "redis://:p!", "$$", ""])
def test_a_password_with_a_dollar_is_not_taken_for_a_variable_and_shown(begin: str) -> None:
    for part in ("ecretpart", "ECRETPART") if begin else ("ecretpart",):
        message = refused(session(text=f"{begin}${part}@host")).message
        assert "jam.session.text has a '$'" in message
        assert "write $$ for a dollar sign" in message
        assert part not in message


def test_a_key_without_quotes_is_not_taken_for_a_setting_and_shown(write: Write) -> None:
    """A key ends in the sign that stands behind a setting's name."""
    key = "vjcmCGw4NwLPymy9juKH7hPmmLVOfPv_EctkC6UGTIs"
    message = refused(write("jam.toml", f"[jam.session]\nkeys = [\n  {key}=,\n]\n")).message
    assert "jam.toml, line 3: not valid TOML: invalid value." in message


def test_no_repr_shows_a_value_of_the_configuration() -> None:
    jam = Jam(session(text=SECRET, session_aes_secret=None))
    assert SECRET not in repr(jam)
    assert "RecordingSessions" in repr(jam)


def test_yaml_without_its_package_says_what_to_install(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "yaml", None)
    message = refused(write("jam.yaml", YAML)).message
    assert "pip install 'jam-core[yaml]'" in message


def test_a_configuration_without_a_session_type_lists_what_is_installed() -> None:
    message = refused({"session": {}}).message
    assert "session_type is not set" in message
    assert "'json'" in message
