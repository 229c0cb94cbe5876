import ast
import copy
import importlib
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import jam
import jam.encoders
import jam.exceptions
import jam.logger
import jam.sessions
import jam.sessions.json
import jam.utils
import jam_core
import jam_core.exceptions
import jam_core.hosting

ROOT = Path(__file__).parent.parent
HEAVY = ["redis", "sqlalchemy", "cryptography", "yaml", "portalocker", "msgspec", "pytest"]

ERRORS: list[Any] = [
    found
    for found in vars(jam_core.exceptions).values()
    if isinstance(found, type) and issubclass(found, BaseException)
]


def printed(script: str) -> str:
    """Return what a script prints in a fresh process."""
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert ran.stderr == ""
    return ran.stdout.strip()


# --- jam_core --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", jam_core.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    found = getattr(jam_core, name)
    assert getattr(found, "__name__", name) == name


def test_the_public_names_are_all_that_dir_shows() -> None:
    assert dir(jam_core) == sorted(jam_core.__all__)
    assert len(set(jam_core.__all__)) == len(jam_core.__all__)


def test_every_public_name_is_there_in_a_fresh_process() -> None:
    script = "from jam_core import *; import jam_core; print(set(jam_core.__all__) - set(dir()))"
    assert printed(script) == "set()"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'jam_core' has no attribute 'Jma'"):
        _ = jam_core.Jma
    with pytest.raises(ImportError):
        importlib.import_module("jam_core.jma")


def test_every_error_is_a_public_name() -> None:
    names = {error.__name__ for error in ERRORS}
    assert names <= set(jam_core.__all__)
    assert names == set(jam.exceptions.__all__)


# --- the specification's paths ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (jam.Jam, jam_core.Jam),
        (jam.sessions.BaseSession, jam_core.BaseSession),
        (jam.utils.generate_aes_key, jam_core.generate_aes_key),
        (jam.encoders.BaseEncoder, jam_core.BaseEncoder),
        (jam.encoders.JsonEncoder, jam_core.JsonEncoder),
        (jam.encoders.MsgspecJsonEncoder, jam_core.MsgspecJsonEncoder),
        (jam.logger.BaseLogger, jam_core.BaseLogger),
        (jam.logger.JamLogger, jam_core.JamLogger),
        *((getattr(jam.exceptions, error.__name__), error) for error in ERRORS),
    ],
)
def test_the_specifications_paths_lead_to_the_names_of_the_core(
    found: object, expected: object
) -> None:
    assert found is expected


def test_the_json_store_is_under_the_specifications_path() -> None:
    assert jam.sessions.json.JSONSessions.__name__ == "JSONSessions"
    assert issubclass(jam.sessions.json.JSONSessions, jam_core.BaseSession)


def test_the_redis_store_is_under_both_of_the_specifications_names() -> None:
    pytest.importorskip("jam_redis", reason="jam-redis is not installed")
    module = importlib.import_module("jam.sessions.redis")
    assert module.Redis is module.RedisSessions
    assert issubclass(module.RedisSessions, jam_core.BaseSession)


@pytest.mark.parametrize("store", ["json", "redis"])
def test_the_path_of_a_store_that_is_not_installed_names_the_package_to_install(
    monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    monkeypatch.setitem(sys.modules, f"jam_{store}", None)
    monkeypatch.delitem(sys.modules, f"jam.sessions.{store}", raising=False)
    with pytest.raises(ImportError, match=f"pip install jam-{store}$"):
        importlib.import_module(f"jam.sessions.{store}")


def test_the_path_of_a_store_whose_driver_is_missing_names_the_driver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in sys.modules if name.startswith("jam_json")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "jam.sessions.json")
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with pytest.raises(ModuleNotFoundError, match="fcntl"):
        importlib.import_module("jam.sessions.json")


# --- errors ----------------------------------------------------------------------------------


def test_every_error_is_a_jam_error() -> None:
    assert len(ERRORS) > 1
    assert all(issubclass(error, jam_core.JamError) for error in ERRORS)


def test_every_error_has_a_code_of_its_own() -> None:
    assert len({error.error_code for error in ERRORS}) == len(ERRORS)
    assert all(error.error_code.partition(".")[2] for error in ERRORS)


def test_the_codes_of_the_errors_stay() -> None:
    assert {error.__name__: error.error_code for error in ERRORS} == {
        "JamError": "jam.error",
        "JamConfigurationError": "jam.configuration",
        "JamPluginNotFound": "plugins.not_found",
        "JamPluginConflict": "plugins.conflict",
        "JamPluginLoadError": "plugins.load",
        "JamStoreMissing": "sessions.store_missing",
        "JamSessionError": "sessions.error",
        "JamSessionNotFound": "sessions.not_found",
        "JamSessionConflict": "sessions.conflict",
        "JamSessionUnsupported": "sessions.unsupported",
        "JamSessionDataError": "sessions.data",
        "JamSessionCorrupt": "sessions.corrupt",
        "JamStoreUnavailable": "sessions.store_unavailable",
        "JamSessionEmptyAESKey": "sessions.empty_aes_key",
        "JamSessionInvalidAESKey": "sessions.invalid_aes_key",
    }


@pytest.mark.parametrize(
    ("parent", "children"),
    [
        ("JamConfigurationError", ["JamPluginNotFound", "JamPluginConflict", "JamPluginLoadError"]),
        ("JamConfigurationError", ["JamSessionEmptyAESKey", "JamSessionInvalidAESKey"]),
        ("JamSessionError", ["JamSessionEmptyAESKey", "JamSessionInvalidAESKey"]),
        ("JamSessionError", ["JamSessionNotFound", "JamSessionConflict", "JamSessionUnsupported"]),
        ("JamSessionError", ["JamSessionDataError", "JamSessionCorrupt", "JamStoreUnavailable"]),
    ],
)
def test_errors_can_be_caught_by_their_kind(parent: str, children: list[str]) -> None:
    for child in children:
        assert issubclass(getattr(jam_core, child), getattr(jam_core, parent))


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_has_a_message_of_its_own_or_the_given_one(error: Any) -> None:
    assert str(error()) == error().message
    assert error().message.endswith(".")
    assert str(error("What is wrong.")) == error("What is wrong.").message == "What is wrong."


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("duplicate", [lambda one: pickle.loads(pickle.dumps(one)), copy.copy])
def test_an_error_survives_the_way_to_another_process(error: Any, duplicate: Any) -> None:
    found = duplicate(error("What is wrong."))
    assert type(found) is error
    assert (str(found), found.message) == ("What is wrong.", "What is wrong.")


def test_the_problems_of_a_configuration_survive_the_way_to_another_process() -> None:
    error = jam_core.JamConfigurationError("Two problems.", ["one", "two"])
    assert error.problems == ("one", "two")
    assert pickle.loads(pickle.dumps(error)).problems == ("one", "two")


def test_a_single_problem_of_a_configuration_is_its_message() -> None:
    assert jam_core.JamConfigurationError("One problem.").problems == ("One problem.",)


# --- what importing costs --------------------------------------------------------------------


@pytest.mark.parametrize("statement", ["import jam", "from jam import Jam", "import jam_core"])
def test_importing_jam_imports_nothing_heavy(statement: str) -> None:
    assert printed(f"import sys; {statement}; print([m for m in {HEAVY} if m in sys.modules])") == (
        "[]"
    )


def test_opening_a_store_imports_no_driver_but_its_own() -> None:
    script = f"""
import sys
from jam import Jam
jam = Jam({{"session": {{"session_type": "jam_testing.memory.MemorySessions"}}}})
jam.session_get(jam.session_create("user1", {{"a": 1}}))
print([name for name in {HEAVY} if name in sys.modules])
"""
    assert printed(script) == "[]"


# --- what tools and plugins stand on ---------------------------------------------------------


@pytest.mark.parametrize("name", jam_core.hosting.__all__)
def test_every_name_for_tools_is_there(name: str) -> None:
    assert hasattr(jam_core.hosting, name)
    assert not name.startswith("_")


def test_no_name_is_public_in_two_places() -> None:
    assert not set(jam_core.hosting.__all__) & set(jam_core.__all__)


DOORS = ("jam_core", "jam_core.aio", "jam_core.hosting")
MODULES_OF_PLUGINS = sorted(ROOT.glob("plugins/*/jam_*/**/*.py"))


def is_ours(module: str) -> bool:
    return module.partition(".")[0] in ("jam", "jam_core")


@pytest.mark.parametrize("file", MODULES_OF_PLUGINS, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_plugin_imports_public_names_only(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and is_ours(node.module or ""):
            assert node.module in DOORS, ast.unparse(node)
            public = importlib.import_module(node.module).__all__
            for alias in node.names:
                path = f"{node.module}.{alias.name}"
                assert alias.name in public or path in DOORS, ast.unparse(node)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                assert not is_ours(alias.name) or alias.name in DOORS, ast.unparse(node)
