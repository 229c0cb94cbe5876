"""What is logged of the life of sessions: enough to follow one, and nothing that opens one."""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import pytest

from jam_core import (
    BaseLogger,
    Jam,
    JamConfigurationError,
    JamSessionDataError,
    JamSessionNotFound,
)
from tests.isolated import ROOT

KEY = "ann@example.org"
MEMORY = {"session": {"session_type": "jam_testing.memory:MemorySessions"}}


def facts_of(record: logging.LogRecord) -> dict[str, object]:
    return {
        name.removeprefix("jam_"): value
        for name, value in vars(record).items()
        if name.startswith("jam_")
    }


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Callable[[], list[dict[str, object]]]:
    """Returns what was logged of sessions since it was last asked."""
    caplog.set_level(logging.DEBUG, logger="jam")

    def seen() -> list[dict[str, object]]:
        records = [facts_of(record) for record in caplog.records]
        caplog.clear()
        return records

    return seen


def test_a_session_can_be_followed_through_its_life(
    log: Callable[[], list[dict[str, object]]],
) -> None:
    with Jam(MEMORY) as jam:
        first = jam.session_create(KEY, {})
        jam.session_update(first, {"n": 1})
        second = jam.session_rework(first)
        jam.session_create(KEY, {})
        (info,) = (one for one in jam.session_list(KEY) if one.data == {})
        jam.session_revoke(KEY, info.handle)
        jam.session_clear_others(second)
        jam.session_delete(second)
        jam.session_clear(KEY)
    events = log()
    assert [one["event"] for one in events] == [
        *("created", "updated", "rotated", "created", "deleted", "cleared", "deleted", "cleared"),
    ]
    created, updated, rotated = events[:3]
    assert created["session"] == updated["session"]
    assert created["session_key"] == events[3]["session_key"] == events[-1]["session_key"]
    assert created["session"] in rotated.values(), "where it comes from"
    assert events[6]["session"] in rotated.values(), "and what it is called now"
    assert events[4]["session"] == events[3]["session"], "revoked by its handle: the same name"


def test_a_log_in_tells_whose_the_session_is_now(
    log: Callable[[], list[dict[str, object]]],
) -> None:
    with Jam(MEMORY) as jam:
        user = jam.session_rework(jam.session_create("visitor 1", {}), KEY)
        jam.session_info(user)
        jam.session_info("unknown")
        jam.session_create(KEY, {})
    visitor, rotated, rejected, other = log()
    assert (rotated["event"], rotated["session_key"]) == ("rotated", other["session_key"])
    assert visitor["session"] == rotated["old"]
    assert (rejected["event"], rejected["operation"]) == ("rejected", "info")


@pytest.mark.parametrize("presented", ["unknown", "", "x" * 65_537], ids=["unknown", "", "long"])
def test_an_id_that_opens_nothing_is_told_with_the_operation(
    log: Callable[[], list[dict[str, object]]], presented: str
) -> None:
    with Jam(MEMORY) as jam:
        assert jam.session_get(presented) is None
        for call in (
            lambda: jam.session_update(presented, {}),
            lambda: jam.session_rework(presented),
            lambda: jam.session_touch(presented),
        ):
            with suppress(JamSessionNotFound):
                call()
    events = log()
    assert [(one["event"], one["operation"]) for one in events] == [
        ("rejected", operation) for operation in ("get", "update", "rework", "touch")
    ]


def test_what_is_no_id_is_none_and_logged_and_ends_nothing(
    log: Callable[[], list[dict[str, object]]],
) -> None:
    with Jam(MEMORY) as jam:
        session_id: Any = jam.session_create(KEY, {"n": 1})
        for no_id in cast(Any, (None, 7, session_id.encode())):
            assert jam.session_get(no_id) is None
            for end in (jam.session_delete, jam.session_rework, jam.session_touch):
                with pytest.raises(JamSessionDataError, match="id must be a string"):
                    end(no_id)
            with pytest.raises(JamSessionDataError, match="id must be a string"):
                jam.session_update(no_id, {})
            with pytest.raises(JamSessionDataError, match="id must be a string"):
                jam.session_mutate(no_id, dict)
            with pytest.raises(JamSessionDataError, match="id must be a string"):
                jam.session_clear_others(no_id)
            with pytest.raises(JamSessionDataError, match="handle must be a string"):
                jam.session_revoke(KEY, no_id)
            with pytest.raises(JamSessionDataError, match="session_key must be a string"):
                jam.session_clear(no_id)
        assert jam.session_get(session_id) == {"n": 1}
    told = [(one["event"], one.get("session")) for one in log()[1:]]
    assert told == [("rejected", None), ("rejected", "-"), ("rejected", "-")]


def test_nothing_that_opens_a_session_or_says_whose_it_is_is_logged() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        logging.Formatter("%(message)s %(jam_session)s", defaults={"jam_session": ""})
    )
    logger = logging.getLogger("jam")
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.DEBUG)
    try:
        with Jam(MEMORY) as jam:
            session_id = jam.session_create(KEY, {"secret": "hunter2"})
            jam.session_update(session_id, {"secret": "hunter3"})
            new_id = jam.session_rework(session_id)
            jam.session_get(session_id)
            (info,) = jam.session_list(KEY)
            jam.session_clear(KEY)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    said = stream.getvalue()
    assert said.count("session ") >= 5
    for word in (session_id, new_id, KEY, "hunter", info.handle):
        assert word not in said


def test_processes_that_share_a_log_key_give_a_session_one_name() -> None:
    script = (
        "import json, logging, sys; from jam_core import Jam\n"
        "records = []\n"
        "class Handler(logging.Handler):\n"
        "    def emit(self, record): records.append(record.jam_session)\n"
        "logging.getLogger('jam').addHandler(Handler()); logging.getLogger('jam').setLevel(10)\n"
        f"jam = Jam({MEMORY!r}); jam.session_get('some-id'); print(json.dumps(records))"
    )

    def name(**environment: str) -> str:
        ran = subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        (found,) = json.loads(ran.stdout)
        return str(found)

    one, two = "1" * 16, "2" * 16
    assert name(JAM_LOG_KEY=one) == name(JAM_LOG_KEY=one)
    assert len({name(JAM_LOG_KEY=one), name(JAM_LOG_KEY=two), name(), name()}) == 4


def test_a_log_key_that_can_be_guessed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAM_LOG_KEY", "hunter2")
    with pytest.raises(JamConfigurationError, match="JAM_LOG_KEY has fewer than 16") as caught:
        Jam(MEMORY)
    assert "hunter2" not in str(caught.value)


class Lines(BaseLogger):
    """A logger of the application's own."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def debug(self, message: str, *args: object) -> None:
        self.lines.append(message % args)

    info = warning = error = debug


def test_a_logger_of_ones_own_gets_lines() -> None:
    logger = Lines()
    with Jam({"session": {**MEMORY["session"], "logger": logger}}) as jam:
        jam.session_create(KEY, {})
    (line,) = logger.lines
    assert line.startswith("session created: ")


def test_a_logger_that_is_off_is_told_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="jam")
    with Jam(MEMORY) as jam:
        jam.session_delete(jam.session_create(KEY, {}))
        jam.session_get("unknown")
    assert caplog.records == []
