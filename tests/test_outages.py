"""An outage of the store is a line in the log when it begins, and one when it ends."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from jam_testing.memory import MemorySessions
from jam_testing.proxy import TCPProxy

from jam import aio
from jam_core import BaseLogger, Jam, JamStoreUnavailable

BOTH = ["outage_began", "outage_ended"]
KEY = "ann@example.org"


class Switched(MemorySessions):
    """Can be cut off, as a whole or for one session key."""

    is_down = False
    without: str | None = None

    def create(self, session_key: str, *args: Any, **options: Any) -> str:
        if self.is_down or session_key == self.without:
            raise JamStoreUnavailable("Toy at host:1 refused the connection. Start it.")
        return super().create(session_key, *args, **options)

    def get(self, session_id: str) -> dict[str, Any] | None:
        if self.is_down:
            raise JamStoreUnavailable("Toy at host:1 refused the connection. Start it.")
        return super().get(session_id)


class Time:
    """Stands for the module `time`."""

    now = 1000.0

    @classmethod
    def monotonic(cls) -> float:
        return cls.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Time]:
    class Clock(Time):
        pass

    monkeypatch.setattr("jam_core.logger.time", Clock)
    return Clock


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the events of outages that were logged."""
    events = (getattr(record, "jam_event", "") for record in caplog.records)
    return [event for event in events if event.startswith("outage")]


def fails(call: Callable[..., object], *arguments: Any) -> None:
    with pytest.raises(JamStoreUnavailable):
        call(*arguments)


def test_each_outage_is_told_once_when_it_begins_and_once_when_it_ends(
    caplog: pytest.LogCaptureFixture, clock: type[Time]
) -> None:
    store = Switched()
    with Jam({"session": {"session_type": store}}) as jam:
        session_id = jam.session_create(KEY, {})
        for number in (1, 2):
            store.is_down = True
            for _ in range(3):
                fails(jam.session_get, session_id)
                fails(jam.session_create, KEY, {})
                clock.now += 20
            assert told(caplog) == [*BOTH * (number - 1), "outage_began"]
            store.is_down = False
            assert jam.session_get(session_id) == {}
            for _ in range(3):
                assert jam.session_get(session_id) == {}
            assert told(caplog) == BOTH * number
    began, ended = caplog.records[:2]
    assert began.levelno == logging.ERROR
    assert began.getMessage() == "outage began: Toy at host:1 refused the connection. Start it."
    assert vars(began)["jam_error_code"] == "sessions.store_unavailable"
    assert ended.levelno == logging.WARNING
    assert ended.getMessage() == "outage ended: it took 40.0 s"
    assert vars(ended)["jam_seconds"] == 40.0


def test_where_all_is_well_nothing_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with Jam({"session": {"session_type": Switched()}}) as jam:
        assert jam.session_get("unknown") is None
        jam.session_delete(jam.session_create(KEY, {}))
    assert told(caplog) == []


def test_a_store_that_is_half_down_is_no_line_for_each_call(
    caplog: pytest.LogCaptureFixture, clock: type[Time]
) -> None:
    store = Switched()
    store.without = "bob"
    with Jam({"session": {"session_type": store}}) as jam:
        for _ in range(50):
            fails(jam.session_create, "bob", {})
            jam.session_create(KEY, {})
            clock.now += 1
        assert told(caplog) == ["outage_began"]
        store.without = None
        clock.now += 5
        jam.session_create("bob", {})
        assert told(caplog) == BOTH


class Lines(BaseLogger):
    """A logger of one's own that knows nothing of outages."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def debug(self, message: str, *args: object) -> None:
        pass

    def info(self, message: str, *args: object) -> None:
        pass

    def warning(self, message: str, *args: object) -> None:
        self.lines.append(f"warning {message % args}")

    def error(self, message: str, *args: object) -> None:
        self.lines.append(f"error {message % args}")


def test_a_logger_of_ones_own_is_told_and_a_silent_one_says_nothing(
    caplog: pytest.LogCaptureFixture, clock: type[Time]
) -> None:
    lines = Lines()
    for logger in (lines, None):
        store = Switched(logger=logger)
        with Jam({"session": {"session_type": store}}) as jam:
            store.is_down = True
            fails(jam.session_get, "an id")
            store.is_down = False
            clock.now += 60
            assert jam.session_get("an id") is None
    assert lines.lines == [
        "error outage began: Toy at host:1 refused the connection. Start it.",
        "warning outage ended: it took 0.0 s",
    ]
    assert caplog.records == []


def test_an_outage_of_a_server_is_told_by_both_facades(
    caplog: pytest.LogCaptureFixture, redis_uri: str
) -> None:
    path = redis_uri.removeprefix("unix://").partition("?")[0]
    with TCPProxy(path) as proxy:
        uri = "redis://{}:{}/0".format(*proxy.address)
        session = {"session_type": "redis", "redis_uri": uri, "session_path": "outages"}
        jam = Jam({"session": session})

        async def awaited() -> None:
            async with aio.Jam({"session": session}) as awaited_jam:
                session_id = await awaited_jam.session_create(KEY, {})
                jam.session_get(session_id)
                proxy.refuse()
                proxy.cut()
                for _ in range(3):
                    fails(jam.session_get, session_id)
                    with pytest.raises(JamStoreUnavailable):
                        await awaited_jam.session_get(session_id)
                assert told(caplog) == ["outage_began"] * 2
                proxy.resume()
                ended = 0
                give_up_at = time.monotonic() + 20
                while ended < 2:
                    with suppress(JamStoreUnavailable):
                        assert jam.session_get(session_id) == {}
                        assert await awaited_jam.session_get(session_id) == {}
                    ended = told(caplog).count("outage_ended")
                    assert time.monotonic() < give_up_at
                    await asyncio.sleep(0.05)

        asyncio.run(awaited())
        jam.close()
    assert told(caplog) == ["outage_began"] * 2 + ["outage_ended"] * 2
    assert "refused the connection" in caplog.text


def test_a_store_that_cannot_be_opened_under_asyncio_is_an_outage(
    caplog: pytest.LogCaptureFixture, clock: type[Time], tmp_path: Any
) -> None:
    place = tmp_path / "disk"
    place.write_text("a file where a directory should be")
    session = {"session_type": "json", "json_path": str(place / "sessions.json")}

    async def work() -> None:
        jam = aio.Jam({"session": session})
        for _ in range(3):
            with pytest.raises(JamStoreUnavailable):
                await jam.session_get("an id")
        assert told(caplog) == ["outage_began"]
        place.unlink()
        clock.now += 60
        assert await jam.session_get("an id") is None
        assert told(caplog) == BOTH
        await jam.close()

    asyncio.run(work())


def test_an_outage_that_begins_as_another_is_over_ends_as_well(clock: type[Time]) -> None:
    class Interrupted(Lines):
        """While it tells that an outage is over, another thread has the next one."""

        def outage_ended(self, seconds: float) -> None:
            super().outage_ended(seconds)
            if len(self.lines) == 2:
                store.is_down = True
                fails(jam.session_get, "an id")
                store.is_down = False

    logger = Interrupted()
    store = Switched(logger=logger)
    with Jam({"session": {"session_type": store}}) as jam:
        store.is_down = True
        fails(jam.session_get, "an id")
        store.is_down = False
        for _ in range(2):
            clock.now += 20
            jam.session_get("an id")
    events = [line.partition(":")[0] for line in logger.lines]
    assert events == ["error outage began", "warning outage ended"] * 2
