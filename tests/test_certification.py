"""`pytest --jam-store=... --jam-config=...`: what an operator sees, and what is left behind."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import pytest
from jam_testing import CONTRACT_VERSION

from jam_core import Jam, generate_aes_key
from tests.distributions import Site

ROOT = Path(__file__).parents[1]
WRONG = """
    from jam_testing.memory import MemorySessions

    class Store(MemorySessions):
        def rework(self, session_id):
            return session_id
"""
RECORDS = """
    import json
    from pathlib import Path
    from jam_testing.memory import MemorySessions

    class Store(MemorySessions):
        def __init__(self, record: Path, **options):
            super().__init__(**options)
            self._record = record

        def create(self, session_key, data):
            session_id = super().create(session_key, data)
            self._say("created", session_key, session_id)
            return session_id

        def clear(self, session_key):
            super().clear(session_key)
            self._say("cleared", session_key, "")

        def _say(self, *words):
            with self._record.open("a") as record:
                record.write(json.dumps(words) + chr(10))
"""
FAILS_WITH_A_PASSWORD = """
    from jam_testing.memory import MemorySessions

    class Store(MemorySessions):
        def __init__(self, password: str, **options):
            super().__init__(**options)
            self._password = password

        def create(self, session_key, data):
            self._log_in(self._password)

        def _log_in(self, password):
            secret = password
            raise ValueError("refused")
"""
FAILS_TO_ANSWER = """
    from jam_testing.memory import MemorySessions

    class Store(MemorySessions):
        def ping(self):
            raise ConnectionError("no answer from toy://ann:sesame@host")
"""


class Run(NamedTuple):
    """A finished run of pytest: its exit code, and all that it printed."""

    code: int
    text: str


class Operator:
    """Somebody with a directory of their own, and packages installed."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.directory = directory
        self.site = Site(directory.with_name("site"))

    def configure(self, text: str, name: str = "config.toml") -> None:
        (self.directory / name).write_text(text)

    def pytest(self, *arguments: str) -> Run:
        settings = {"PYTHONPATH": os.pathsep.join([str(self.site.path), str(ROOT)])}
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("JAM_", "PYTEST_"))}
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", *arguments],
            cwd=self.directory,
            env=kept | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return Run(ran.returncode, ran.stdout)

    def certify(self, store: str, *arguments: str) -> Run:
        return self.pytest(f"--jam-store={store}", "--jam-config=config.toml", *arguments)


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path / "work")


def with_toy(operator: Operator, source: str, *options: str) -> Operator:
    """Install the toy store, and configure it."""
    operator.site.install_store("toy", source)
    operator.configure("\n".join(['[jam.session]\nsession_type = "toy"', *options]))
    return operator


# --- a whole run, where real sessions live ---------------------------------------------------

REAL = ["ann@example.org", "ann", "bob@example.org", "history 0 ann", "thread 1"]


class WholeRun(NamedTuple):
    """A certification of a good store in a place that is in use."""

    run: Run
    directory: Path
    before: set[str]
    sessions: list[str]


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> WholeRun:
    operator = Operator(tmp_path_factory.mktemp("operator") / "work")
    operator.configure(
        '[jam.session]\nsession_type = "json"\njson_path = "sessions.json"\n'
        '[web.session]\nsession_type = "redis"\n'
    )
    for name in ("conftest.py", "test_application.py"):
        (operator.directory / name).write_text("raise RuntimeError('the application is broken')")
    with Jam({"session": {"session_type": "json", **place(operator.directory)}}) as jam:
        sessions = [jam.session_create(key, {"real": True}) for key in REAL]
    before = {path.name for path in operator.directory.iterdir()}
    return WholeRun(operator.certify("json"), operator.directory, before, sessions)


def place(directory: Path) -> dict[str, str]:
    return {"json_path": str(directory / "sessions.json")}


@pytest.mark.exhaustive
def test_a_good_store_is_certified_whatever_else_is_in_the_directory(whole_run: WholeRun) -> None:
    assert whole_run.run.code == 0, whole_run.run.text
    assert "verdict        certified: every clause that applies holds" in whole_run.run.text


@pytest.mark.exhaustive
def test_the_report_says_what_was_certified(whole_run: WholeRun) -> None:
    for line in (
        "store          jam_json.sessions:JSONSessions",
        f"distribution   jam-json {version('jam-json')}",
        f"jam-core       {version('jam-core')}, contract {CONTRACT_VERSION}",
        "configuration  config.toml [jam.session]",
        "capabilities   clear_others, durable, info, lifetimes, list_sessions, login, mutate, "
        "ping, purge, records, revoke, seen, shared, touch",
    ):
        assert line in whole_run.run.text
    assert re.search(
        r"^clauses        \d+ passed, 0 failed, \d+ skipped$", *whole_run.run[1:], re.M
    )
    assert "skipped      1 x " in whole_run.run.text or "skipped      2 x " in whole_run.run.text


@pytest.mark.exhaustive
def test_real_sessions_survive_a_certification(whole_run: WholeRun) -> None:
    with Jam({"session": {"session_type": "json", **place(whole_run.directory)}}) as jam:
        found = [jam.session_get(session_id) for session_id in whole_run.sessions]
    assert found == [{"real": True}] * len(REAL)


@pytest.mark.exhaustive
def test_nothing_is_left_behind_by_a_certification(whole_run: WholeRun) -> None:
    now = {path.name for path in whole_run.directory.iterdir()}
    assert now - whole_run.before <= {".pytest_cache", ".hypothesis"}
    for path in whole_run.directory.glob("sessions.json*"):
        assert "jam-certification" not in path.read_text()


# --- names -----------------------------------------------------------------------------------


@pytest.mark.exhaustive
def test_every_key_and_every_id_that_can_be_guessed_has_a_beginning_of_its_own(
    operator: Operator,
) -> None:
    import json

    record = operator.directory / "record"
    run = with_toy(operator, RECORDS, f'record = "{record}"').certify("toy", "-k", "clear or never")
    assert run.code == 0, run.text
    said = [json.loads(line) for line in record.read_text().splitlines()]
    keys = {what: {key for did, key, _ in said if did == what} for what in ("created", "cleared")}
    own = re.compile(r"jam-certification-[0-9a-f]{32}-.")
    assert len(keys["created"]) > 10
    assert all(own.match(key) for key in keys["created"] | keys["cleared"])
    assert keys["created"] <= keys["cleared"], "all that was created is cleared"
    uuid = re.compile(r"jam-certification-[0-9a-f]{32}-.|[0-9a-f]{8}-[0-9a-f-]{27}$")
    assert all(uuid.match(session_id) for did, _, session_id in said if did == "created")


LISTS_RECORDS = """
    from dataclasses import dataclass
    from jam_core import BaseSession, SessionRecord, hash_id

    class Store(BaseSession):
        kept = {}

        def create(self, session_key, data):
            text = self.codec.encode(data)
            session_id = self.codec.mint(lambda new: True)
            self.keep(session_key, session_id, text)
            return session_id

        def keep(self, session_key, session_id, text):
            hashed = hash_id(session_id)
            self.kept[hashed] = SessionRecord(session_key=session_key, id_hash=hashed, data=text)

        def get(self, session_id): ...
        def update(self, session_id, data): ...
        def delete(self, session_id): ...
        def clear(self, session_key): ...
        def rework(self, session_id): ...

        def list_sessions(self, session_key):
            return [one for one in self.kept.values() if one.session_key == session_key]

        def records(self):
            yield from self.kept.values()

        def restore(self, records):
            self.kept |= {record.id_hash: record for record in records}
            return len(records)

        def replace(self, record, data):
            self.keep(record.session_key, "x", data)
            return True
"""


def test_a_clause_sees_its_own_sessions_only(site: Site, tmp_path: Path) -> None:
    from jam_testing.certification import OwnNames, StoreUnderTest

    site.install_store("toy", LISTS_RECORDS)
    with Jam({"session": {"session_type": "toy"}}) as jam:
        jam.session_create("ann", {"real": True})
        real = list(jam.store.records())
        configured = StoreUnderTest(type(jam.store), {}, "", jam.store.capabilities)
        names = OwnNames(tmp_path / "session-keys")
        store = names.open(configured)
        assert list(store.records()) == []
        assert store.list_sessions("ann") == []
        store.create("ann", {"n": 1})
        (own,) = store.records()
        assert own.session_key == "ann"
        assert len(store.list_sessions("ann")) == 1
        store.restore([own])
        assert [record.session_key for record in store.records()] == ["ann"]
        assert [one for one in jam.store.records() if one.session_key == "ann"] == real


# --- what fails ------------------------------------------------------------------------------


def test_a_wrong_store_is_not_certified_and_its_clause_is_named(operator: Operator) -> None:
    run = with_toy(operator, WRONG).certify("toy", "-k", "test_rework_gives_a_new_id")
    assert run.code == 1
    assert "verdict        NOT CERTIFIED: 1 failed" in run.text
    assert "failed       test_rework_gives_a_new_id_and_the_old_one_is_dead: rework: " in run.text


@pytest.mark.exhaustive
def test_what_would_harm_the_backend_is_not_tried_and_the_report_says_so(
    operator: Operator,
) -> None:
    operator.configure('[jam.session]\nsession_type = "json"')
    run = operator.certify("json", "-k", "outage or silent or damaged or reads_write_nothing")
    assert run.code == 0, run.text
    assert "0 failed" in run.text
    for harm in (
        "stop your backend",
        "keep your backend from answering",
        "read all that your backend holds",
        "damage a record in your backend",
    ):
        assert f" x not tried here: it would {harm}\n" in run.text
    assert "fixture" not in run.text


def test_what_runs_the_suite_brings_what_the_clauses_on_asyncio_need() -> None:
    project = tomllib.loads((ROOT / "plugins" / "jam-testing" / "pyproject.toml").read_text())
    assert any(one.startswith("jam-core[aio]") for one in project["project"]["dependencies"])


@pytest.mark.exhaustive
def test_a_part_of_the_suite_is_no_verdict(operator: Operator) -> None:
    operator.configure('[jam.session]\nsession_type = "json"')
    run = operator.certify("json", "-k", "touch_leaves")
    assert run.code == 0
    assert re.search(r"1 passed, 0 failed, 0 skipped, \d+ not run", run.text)
    assert "verdict        none: only a run of the whole suite" in run.text


@pytest.mark.exhaustive
@pytest.mark.parametrize("wish", ["--showlocals", "--tb=auto", "--tb=long", "--full-trace"])
def test_a_failure_shows_no_secret_of_the_configuration(operator: Operator, wish: str) -> None:
    with_toy(operator, FAILS_WITH_A_PASSWORD, 'password = "sesame"')
    run = operator.certify("toy", "-k", "touch_leaves", wish)
    assert run.code == 1
    assert "ValueError" in run.text
    assert "sesame" not in run.text


# --- options ---------------------------------------------------------------------------------


@pytest.mark.exhaustive
def test_what_a_clause_asks_for_wins_over_the_configuration(operator: Operator) -> None:
    operator.configure(
        f"""
[jam.session]
session_type = "json"
default_ttl = 1
max_age = 1
is_session_crypt = true
session_aes_secret = "{generate_aes_key().decode()}"
"""
    )
    clauses = "without_ttl or keys_come_from_the_environment or no_key_is or positive_number"
    run = operator.certify("json", "-k", clauses)
    assert run.code == 0, run.text
    assert "0 failed, 0 skipped" in run.text


@pytest.mark.exhaustive
def test_the_pointer_chooses_the_table(operator: Operator) -> None:
    operator.configure(
        '[jam.session]\nsession_type = "json"\njson_path = "config.toml/sessions.json"\n'
        '[trial.session]\nsession_type = "json"\njson_path = "trial.json"\n'
    )
    run = operator.certify("json", "--jam-pointer=trial", "-k", "touch_leaves")
    assert run.code == 0, run.text
    assert "config.toml [trial.session]" in run.text


# --- what cannot begin -----------------------------------------------------------------------

JSON = '[jam.session]\nsession_type = "json"\n'


CANNOT_BEGIN: list[tuple[str, list[str], str]] = [
    (JSON, ["--jam-store=json"], "to certify a store, give both"),
    (JSON, ["--jam-config=config.toml"], "to certify a store, give both"),
    (JSON, ["--jam-pointer=jam"], "to certify a store, give both"),
    (
        JSON,
        ["--jam-store=redis", "--jam-config=config.toml"],
        "config.toml: jam.session.session_type is 'json', not 'redis'",
    ),
    (
        JSON,
        ["--jam-store=json", "--jam-config=config.toml", "tests"],
        "only runs the contract suite: leave out tests",
    ),
    (JSON, ["--jam-store=json", "--jam-config=conf.toml"], "conf.toml cannot be read"),
    (
        JSON + 'json_pat = "x"',
        ["--jam-store=json", "--jam-config=config.toml"],
        "Did you mean 'json_path'?",
    ),
    (
        JSON + 'json_path = "${JSON_PATH}"',
        ["--jam-store=json", "--jam-config=config.toml"],
        "uses the environment variable JSON_PATH, which is not set",
    ),
    (
        '[jam.session]\nsession_type = "mydb"',
        ["--jam-store=mydb", "--jam-config=config.toml"],
        "session_type 'mydb' is not installed",
    ),
    (
        JSON + 'json_path = "config.toml/sessions.json"',
        ["--jam-store=json", "--jam-config=config.toml"],
        "config.toml/sessions.json",
    ),
]
SAMPLE = CANNOT_BEGIN[::6]


@pytest.mark.parametrize(
    ("config", "arguments", "words"),
    [
        pytest.param(*case, marks=() if case in SAMPLE else pytest.mark.exhaustive)
        for case in CANNOT_BEGIN
    ],
)
def test_what_is_wrong_is_said_in_a_sentence_before_anything_runs(
    operator: Operator, config: str, arguments: list[str], words: str
) -> None:
    operator.configure(config)
    run = operator.pytest(*arguments)
    assert run.code == pytest.ExitCode.USAGE_ERROR, run.text
    assert run.text.startswith("ERROR: ")
    assert words in run.text
    assert "Traceback" not in run.text


def test_a_backend_that_does_not_answer_is_said_without_its_secrets(operator: Operator) -> None:
    run = with_toy(operator, FAILS_TO_ANSWER).certify("toy")
    assert run.code == pytest.ExitCode.USAGE_ERROR
    assert "ERROR: the store 'toy' raised ConnectionError" in run.text
    assert "sesame" not in run.text


# --- not asked -------------------------------------------------------------------------------


@pytest.mark.exhaustive
def test_a_run_that_asks_for_no_certification_imports_nothing_for_it(operator: Operator) -> None:
    (operator.directory / "test_application.py").write_text(
        "import sys\n\n"
        "def test_it():\n"
        "    ours = {name for name in sys.modules if name.startswith('jam')}\n"
        "    assert ours == {'jam_testing', 'jam_testing.pytest_plugin'}\n"
        "    assert 'hypothesis.core' not in sys.modules\n"
    )
    run = operator.pytest()
    assert run.code == 0, run.text
    assert "certif" not in run.text
