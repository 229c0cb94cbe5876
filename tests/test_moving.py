"""From JSON or SQL to Redis, live: nobody is logged out, and nobody back in."""

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from jam_json import JSONSessions
from jam_testing.memory import MemorySessions
from jam_testing.proxy import TCPProxy

from jam import aio
from jam_core import (
    BaseSession,
    Change,
    Jam,
    JamConfigurationError,
    JamError,
    JamSessionConflict,
    JamSessionNotFound,
    JamStoreUnavailable,
    MovingSessions,
    SessionInfo,
    SessionRecord,
    generate_aes_key,
    session_handle,
)
from tests.cli.running import jam as command
from tests.document_stores import ShelfSessions

KEY = "ann: of example"
DATA = {"user": "ann", "cart": ["tea", {"n": 1}]}
ROUNDS = [6, pytest.param(400, marks=pytest.mark.exhaustive)]


@pytest.fixture(
    params=[
        "document",
        *(
            pytest.param(name, marks=pytest.mark.exhaustive)
            for name in ("directory", "redis", "sqlite")
        ),
    ]
)
def old_table(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    if request.param == "sqlite":
        uri = f"sqlite:///{tmp_path}/old.db"
        return {"session_type": "sqlalchemy", "database_uri": uri, "max_age": 9000}
    if request.param == "redis":
        uri = request.getfixturevalue("redis_uri")
        place = f"moving-from-{uuid4()}"
        return {"session_type": "redis", "redis_uri": uri, "session_path": place, "max_age": 9000}
    path = tmp_path / ("old.json" if request.param == "document" else "old")
    return {"session_type": "json", "json_path": str(path), "max_age": 9000}


@pytest.fixture
def new_table(redis_uri: str) -> dict[str, Any]:
    path = f"moving-{uuid4()}"
    return {"session_type": "redis", "redis_uri": redis_uri, "session_path": path, "max_age": 9000}


@pytest.fixture
def old(old_table: dict[str, Any]) -> Iterator[BaseSession]:
    """The old store by itself, as it was before the move."""
    with Jam({"session": old_table}) as jam:
        yield jam.store


@pytest.fixture
def new(new_table: dict[str, Any]) -> Iterator[BaseSession]:
    """The new store by itself, as it is after the move."""
    with Jam({"session": new_table}) as jam:
        yield jam.store


@pytest.fixture
def moving(
    new_table: dict[str, Any],
    old_table: dict[str, Any],
    old: BaseSession,
) -> Iterator[BaseSession]:
    table = {"session_type": "moving", "new": new_table, "old": old_table}
    with Jam({"session": table}) as jam:
        yield jam.store


def moved(store: BaseSession, session_id: str) -> str:
    info = store.info(session_id)
    assert info is not None
    assert info.new_id is not None
    return info.new_id


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Make calls at once; return what each returned or raised."""
    outcomes: list[Any] = [None] * len(calls)
    barrier = threading.Barrier(len(calls))

    def run(number: int, call: Callable[[], Any]) -> None:
        barrier.wait()
        try:
            outcomes[number] = call()
        except JamError as error:
            outcomes[number] = error

    threads = [threading.Thread(target=run, args=one) for one in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


# --- the move --------------------------------------------------------------------------------


def test_a_session_moves_when_it_is_read_and_both_ids_lead_to_it(
    moving: BaseSession, old: BaseSession, new: BaseSession
) -> None:
    old_id = old.create(KEY, DATA, ttl=5000)
    before = old.info(old_id)
    assert before is not None
    assert moving.get(old_id) == DATA
    assert new.list_sessions(KEY) == [], "reading data alone moves nothing"
    info = moving.info(old_id)
    assert info is not None
    assert info.data == DATA
    new_id = info.new_id
    assert new_id is not None
    assert new_id != old_id
    assert (info.session_key, info.ttl) == (KEY, 5000)
    assert before.expires_at is not None
    assert before.deadline is not None
    assert info.expires_at == pytest.approx(before.expires_at, abs=0.01)
    assert info.deadline == pytest.approx(before.deadline, abs=0.01)
    for _ in range(2):
        assert moved(moving, old_id) == new_id, "whoever still has the old id is told again"
        assert moving.get(old_id) == moving.get(new_id) == new.get(new_id) == DATA
    told = moving.info(new_id)
    assert told is not None
    assert told.new_id is None
    assert [one.handle for one in moving.list_sessions(KEY)] == [session_handle(new_id)]
    assert len(new.list_sessions(KEY)) == 1


def test_what_begins_now_begins_in_the_new_store(
    moving: BaseSession, old: BaseSession, new: BaseSession
) -> None:
    session_id = moving.create(KEY, DATA)
    assert new.get(session_id) == DATA
    assert old.get(session_id) is None
    info = moving.info(session_id)
    assert info is not None
    assert info.new_id is None


@pytest.mark.parametrize("has_moved", [False, True])
def test_every_change_reaches_the_session_by_its_old_id(
    moving: BaseSession, old: BaseSession, has_moved: bool
) -> None:
    old_id = old.create(KEY, {"n": 0})
    if has_moved:
        moved(moving, old_id)
    moving.update(old_id, {"n": 1})
    assert moving.get(old_id) == {"n": 1}
    assert moving.mutate(old_id, lambda data: {"n": data["n"] + 1}) == {"n": 2}
    moving.touch(old_id)
    seen = moving.info(old_id)
    assert seen is not None
    moving.update(old_id, {"n": 3}, seen=seen)
    with pytest.raises(JamSessionConflict):
        moving.update(old_id, {"n": 4}, seen=seen)
    assert moving.get(moved(moving, old_id)) == {"n": 3}


@pytest.mark.parametrize("has_moved", [False, True])
@pytest.mark.parametrize("user", [None, "bob"])
def test_a_rework_moves_and_the_old_id_is_dead(
    moving: BaseSession, old: BaseSession, new: BaseSession, has_moved: bool, user: str | None
) -> None:
    old_id = old.create(KEY, DATA)
    former = [old_id, moved(moving, old_id)] if has_moved else [old_id]
    new_id = moving.rework(old_id, user)
    assert new.get(new_id) == DATA
    assert [moving.get(one) for one in former] == [None] * len(former)
    assert len(new.list_sessions(user or KEY)) == 1
    with pytest.raises(JamSessionNotFound):
        moving.rework(old_id)


@pytest.mark.parametrize("use", ["info", "touch", "update"])
def test_who_keeps_the_old_id_uses_the_session_until_its_max_age(use: str) -> None:
    now = [1_800_000_000.0]

    def store() -> MemorySessions:
        return MemorySessions(clock=lambda: now[0], ttl=100, max_age=1000)

    old = store()
    session_id = old.create("ann", {"n": 1})
    moving = MovingSessions({"session_type": store()}, {"session_type": old})
    new_id = moved(moving, session_id)
    for _ in range(19):
        now[0] += 50
        moving.touch(new_id)
        if use == "update":
            moving.update(session_id, {"n": 1})
        else:
            getattr(moving, use)(session_id)
        assert moving.get(session_id) == {"n": 1}
    now[0] += 50
    assert moving.get(session_id) is None
    assert old.info(session_id) is None


def test_a_mark_is_not_kept_for_a_session_that_has_ended() -> None:
    now = [1_800_000_000.0]

    def store() -> MemorySessions:
        return MemorySessions(clock=lambda: now[0], ttl=100)

    old = store()
    session_id = old.create("ann", {})
    moving = MovingSessions({"session_type": store()}, {"session_type": old})
    moving.delete(moved(moving, session_id))
    now[0] += 50
    assert moving.info(session_id) is None
    now[0] += 50
    assert old.info(session_id) is None


def test_a_rework_that_is_refused_ends_nothing(moving: BaseSession, old: BaseSession) -> None:
    old_id = old.create(KEY, DATA)
    with pytest.raises(JamError):
        moving.rework(old_id, ttl=60)
    assert moving.get(old_id) == DATA


# --- log-out wins ----------------------------------------------------------------------------

LOG_OUTS: dict[str, Callable[[BaseSession, str], object]] = {
    "delete": lambda store, old_id: store.delete(old_id),
    "clear": lambda store, _: store.clear(KEY),
    "revoke": lambda store, old_id: store.revoke(KEY, session_handle(old_id)),
}


def nobody_is_logged_in(moving: BaseSession, new: BaseSession, *ids: str) -> None:
    assert [moving.get(one) for one in ids] == [None] * len(ids)
    assert [moving.info(one) for one in ids] == [None] * len(ids)
    assert moving.list_sessions(KEY) == []
    assert new.list_sessions(KEY) == []


@pytest.mark.parametrize("log_out", LOG_OUTS)
@pytest.mark.parametrize("has_moved", [False, True])
def test_a_log_out_ends_the_session_under_both_ids(
    moving: BaseSession, old: BaseSession, new: BaseSession, log_out: str, has_moved: bool
) -> None:
    old_id = old.create(KEY, DATA)
    ids = [old_id, moved(moving, old_id)] if has_moved else [old_id]
    LOG_OUTS[log_out](moving, old_id)
    nobody_is_logged_in(moving, new, *ids)


@pytest.mark.parametrize("by", ["delete", "revoke"])
def test_a_log_out_by_the_new_id_ends_the_old_one(
    moving: BaseSession, old: BaseSession, new: BaseSession, by: str
) -> None:
    old_id = old.create(KEY, DATA)
    new_id = moved(moving, old_id)
    LOG_OUTS[by](moving, new_id)
    nobody_is_logged_in(moving, new, old_id, new_id)


@pytest.mark.parametrize("own", ["old", "moved", "new"])
def test_log_out_everywhere_else_spares_the_caller_and_nobody_else(
    moving: BaseSession, old: BaseSession, own: str
) -> None:
    others = [old.create(KEY, {}), old.create(KEY, {}), moving.create(KEY, {})]
    moved(moving, others[0])
    caller = moving.create(KEY, DATA) if own == "new" else old.create(KEY, DATA)
    if own == "moved":
        moved(moving, caller)
    stranger = old.create("bob", {})
    assert moving.clear_others(caller) == 3
    assert moving.get(caller) == DATA
    assert [moving.get(one) for one in others] == [None] * 3
    assert moving.get(stranger) == {}


def test_a_session_that_ended_by_itself_does_not_move(
    moving: BaseSession, old: BaseSession, new: BaseSession
) -> None:
    kept, late = old.create(KEY, DATA, ttl=1), old.create(KEY, DATA, ttl=1)
    new_id = moved(moving, kept)
    give_up_at = time.monotonic() + 10
    while old.get(late) is not None or new.get(new_id) is not None:
        assert time.monotonic() < give_up_at
        time.sleep(0.05)
    nobody_is_logged_in(moving, new, kept, late, new_id)


# --- several at once -------------------------------------------------------------------------


@pytest.mark.parametrize("rounds", ROUNDS)
def test_of_many_requests_with_the_old_id_all_get_one_new_one(
    moving: BaseSession, old: BaseSession, new: BaseSession, rounds: int
) -> None:
    for _ in range(rounds):
        old_id = old.create(KEY, DATA)
        found = at_once(*[partial(moving.info, old_id)] * 4)
        assert all(isinstance(one, SessionInfo) and one.data == DATA for one in found)
        assert len({one.new_id for one in found}) == 1
        assert len(new.list_sessions(KEY)) == 1
        moving.clear(KEY)


@pytest.mark.parametrize("log_out", LOG_OUTS)
@pytest.mark.parametrize("rounds", ROUNDS)
def test_a_log_out_during_the_move_wins(
    moving: BaseSession, old: BaseSession, new: BaseSession, log_out: str, rounds: int
) -> None:
    for _ in range(rounds):
        old_id = old.create(KEY, DATA)
        _, *found = at_once(
            partial(LOG_OUTS[log_out], moving, old_id), *[partial(moving.info, old_id)] * 2
        )
        new_ids = [one.new_id for one in found if one is not None]
        nobody_is_logged_in(moving, new, old_id, *new_ids)


@pytest.mark.parametrize("rounds", ROUNDS)
def test_no_change_is_lost_during_the_move(
    moving: BaseSession, old: BaseSession, rounds: int
) -> None:
    def add(data: dict[str, Any]) -> dict[str, Any]:
        return {"n": data["n"] + 1}

    for _ in range(rounds):
        old_id = old.create(KEY, {"n": 0})
        outcomes = at_once(
            partial(moving.mutate, old_id, add),
            partial(moving.info, old_id),
            partial(moving.mutate, old_id, add),
        )
        assert not [one for one in outcomes if isinstance(one, JamError)]
        assert moving.get(old_id) == {"n": 2}
        updated = at_once(partial(moving.update, old_id, {"n": 7}), partial(moving.info, old_id))
        assert not [one for one in updated if isinstance(one, JamError)]
        assert moving.get(old_id) == {"n": 7}
        moving.clear(KEY)


@pytest.mark.parametrize("rounds", ROUNDS)
def test_a_log_in_during_the_move_leaves_one_session(
    moving: BaseSession, old: BaseSession, new: BaseSession, rounds: int
) -> None:
    for _ in range(rounds):
        old_id = old.create(KEY, DATA)
        reworked, found = at_once(
            partial(moving.rework, old_id, "bob"), partial(moving.info, old_id)
        )
        assert isinstance(reworked, str)
        assert new.get(reworked) == DATA
        assert moving.get(old_id) is None
        if found is not None and found.new_id:
            assert moving.get(found.new_id) is None, "who knew an id before does not share it"
        assert new.list_sessions(KEY) == []
        assert len(new.list_sessions("bob")) == 1
        moving.clear("bob")


class Overtaken(JSONSessions):
    """Lets somebody else act just after it has been read, once."""

    overtake: Callable[[], object] | None = None

    def read(self, place: str, now: float) -> SessionRecord | None:
        record = super().read(place, now)
        self._let_go()
        return record

    def of_key(self, session_key: str, now: float) -> list[SessionRecord]:
        records = list(super().of_key(session_key, now))
        self._let_go()
        return records

    def _let_go(self) -> None:
        overtake, self.overtake = self.overtake, None
        if overtake is not None:
            overtake()


class Race(NamedTuple):
    """Two processes on the same two stores, and a session of the old one.

    Attributes:
        slow: Whose old store lets the other one act in between.
        old: That store.
        fast: The other one.
        old_id: The session's id.
    """

    slow: MovingSessions
    old: Overtaken
    fast: MovingSessions
    old_id: str


@pytest.fixture
def race(tmp_path: Path, new_table: dict[str, Any]) -> Iterator[Race]:
    path = tmp_path / "old.json"
    old = Overtaken(path)
    slow = MovingSessions(new_table, {"session_type": old})
    fast = MovingSessions(new_table, {"session_type": "json", "json_path": str(path)})
    yield Race(slow, old, fast, old.create(KEY, {"n": 0}))
    slow.close()
    fast.close()


@pytest.mark.parametrize("log_out", ["delete", "revoke"])
def test_a_log_out_that_a_move_overtakes_ends_what_has_moved(
    race: Race, new: BaseSession, log_out: str
) -> None:
    ids = [race.old_id]
    race.old.overtake = lambda: ids.append(moved(race.fast, race.old_id))
    LOG_OUTS[log_out](race.slow, race.old_id)
    assert len(ids) == 2
    nobody_is_logged_in(race.fast, new, *ids)


@pytest.mark.parametrize("log_out", LOG_OUTS)
def test_a_move_that_a_log_out_overtakes_does_not_happen(
    race: Race, new: BaseSession, log_out: str
) -> None:
    race.old.overtake = lambda: LOG_OUTS[log_out](race.fast, race.old_id)
    assert race.slow.info(race.old_id) is None
    nobody_is_logged_in(race.fast, new, race.old_id)


def test_a_change_that_a_move_overtakes_goes_where_the_session_is(race: Race) -> None:
    ids: list[str] = []
    race.old.overtake = lambda: ids.append(moved(race.fast, race.old_id))
    race.slow.update(race.old_id, {"n": 1})
    assert race.fast.get(ids[0]) == race.fast.get(race.old_id) == {"n": 1}


def test_a_move_that_a_change_overtakes_moves_what_was_changed(race: Race) -> None:
    race.old.overtake = lambda: race.fast.update(race.old_id, {"n": 1})
    found = race.slow.info(race.old_id)
    assert found is not None
    assert found.data == {"n": 1}
    assert race.fast.list_sessions(KEY) == [replace(found, new_id=None)]


def test_a_log_in_that_a_move_overtakes_leaves_no_id_from_before(race: Race) -> None:
    ids: list[str] = []
    race.old.overtake = lambda: ids.append(moved(race.fast, race.old_id))
    logged_in = race.slow.rework(race.old_id, "bob")
    assert race.fast.get(logged_in) == {"n": 0}
    assert [race.fast.get(one) for one in (race.old_id, *ids)] == [None, None]
    assert race.fast.list_sessions(KEY) == []


def test_a_move_that_another_overtakes_is_the_other_one(race: Race, new: BaseSession) -> None:
    ids: list[str] = []
    race.old.overtake = lambda: ids.append(moved(race.fast, race.old_id))
    assert moved(race.slow, race.old_id) == ids[0]
    assert len(new.list_sessions(KEY)) == 1


# --- killed ----------------------------------------------------------------------------------


class Dies(JSONSessions):
    """Its process is killed when it would make a mark of a session, or just when it has."""

    when = ""

    def write(self, place: str, change: Change) -> bool:
        if "jam.moving" in str(change.data) and self.when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        written = super().write(place, change)
        if "jam.moving" in str(change.data) and self.when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return written


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("operation", ["info", "delete", "rework"])
def test_a_move_that_is_killed_harms_nobody(
    tmp_path: Path, new_table: dict[str, Any], when: str, operation: str
) -> None:
    path = tmp_path / "old.json"
    with JSONSessions(path) as old:
        old_id = old.create(KEY, DATA)
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            dies = Dies(path)
            dies.when = when
            store = MovingSessions(new_table, {"session_type": dies})
            getattr(store, operation)(old_id)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    old_table = {"session_type": "json", "json_path": str(path)}
    with MovingSessions(new_table, old_table) as store, Jam({"session": new_table}) as new:
        if when == "before" or operation == "info":
            assert store.get(old_id) == DATA
            new_id = moved(store, old_id)
            assert store.get(old_id) == store.get(new_id) == DATA
            store.delete(new_id)
        for _ in range(2):
            assert store.get(old_id) is None
            assert store.info(old_id) is None
        # At most a copy under an id that nobody got to know.
        store.clear(KEY)
        assert new.session_list(KEY) == []


# --- outages ---------------------------------------------------------------------------------


@pytest.mark.parametrize("down", ["old", "new"])
def test_an_outage_of_either_store_is_one_and_nobody_is_logged_out(
    tmp_path: Path, redis_uri: str, down: str
) -> None:
    place = tmp_path / "volume"
    place.mkdir()
    socket = redis_uri.removeprefix("unix://").partition("?")[0]
    with TCPProxy(socket) as proxy:
        uri = "redis://{}:{}/0".format(*proxy.address)
        new = {"session_type": "redis", "redis_uri": uri, "session_path": f"moving-{uuid4()}"}
        old = {"session_type": "json", "json_path": str(place / "old.json")}
        with Jam({"session": old}) as before:
            old_id, to_move = (before.session_create(KEY, DATA) for _ in range(2))
        with MovingSessions(new, old) as store:
            new_id = moved(store, to_move)
            if down == "old":
                elsewhere = place.rename(tmp_path / "elsewhere")
                place.touch()  # what was a directory is none
            else:
                proxy.refuse()
                proxy.cut()
            operations: list[Callable[[str], object]] = [
                *(store.get, store.info, store.touch, store.delete, store.rework),
                *(store.clear_others, lambda an_id: store.update(an_id, {})),
            ]
            for operation in operations:
                with pytest.raises(JamStoreUnavailable):
                    operation(to_move)
            for general in (store.ping, store.purge, partial(store.clear, KEY)):
                with pytest.raises(JamStoreUnavailable):
                    general()
            if down == "old":
                place.unlink()
                elsewhere.rename(place)
                assert store.get(new_id) == DATA
            else:
                proxy.resume()
            # What ends sessions ends them in the old store first, and was told that it failed.
            assert store.get(old_id) == (DATA if down == "old" else None)


# --- at rest ---------------------------------------------------------------------------------


def test_who_reads_the_old_store_learns_no_id(
    moving: BaseSession, old: BaseSession, tmp_path: Path
) -> None:
    if old.keeps_ids:
        pytest.skip("Redis keeps ids as they are")
    old_id = old.create(KEY, DATA)
    new_id = moved(moving, old_id)
    random_part = new_id.rpartition(":")[2]
    kept = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert session_handle(new_id).encode() in kept
    for text in (new_id, random_part, old_id, random_part.encode().hex()):
        assert text.encode() not in kept


@pytest.mark.parametrize(("old_crypt", "new_crypt"), [(False, True), (True, False), (True, True)])
def test_sessions_move_into_and_out_of_encryption(
    tmp_path: Path, new_table: dict[str, Any], old_crypt: bool, new_crypt: bool
) -> None:
    keys = [generate_aes_key().decode() for _ in range(2)]

    def encrypted(table: dict[str, Any], key: str, crypt: bool) -> dict[str, Any]:
        more = {"is_session_crypt": True, "session_aes_secret": [key]} if crypt else {}
        return {**table, **more}

    old_table = {"session_type": "json", "json_path": str(tmp_path / "old.json")}
    old_table = encrypted(old_table, keys[0], old_crypt)
    new_table = encrypted(new_table, keys[1], new_crypt)
    with Jam({"session": old_table}) as before:
        old_id = before.session_create(KEY, DATA)
    with MovingSessions(new_table, old_table) as store:
        new_id = moved(store, old_id)
        assert store.get(old_id) == store.get(new_id) == DATA
        store.update(old_id, {"n": 1})
    with Jam({"session": new_table}) as after:
        assert after.session_get(new_id) == {"n": 1}


@pytest.mark.parametrize(
    "data",
    [
        {"jam.moving": {"to": "zz", "handle": "0" * 16}},
        {"jam.moving": {"to": 7, "handle": "0" * 16}},
        {"jam.moving": {"to": "ff", "handle": ["x"]}},
        {"jam.moving": "x"},
        {"jam.moving": {}, "more": 1},
    ],
)
def test_data_that_looks_like_a_mark_is_data(
    moving: BaseSession, old: BaseSession, data: dict[str, Any]
) -> None:
    old_id = old.create(KEY, data)
    assert moving.get(old_id) == data
    assert moving.get(moved(moving, old_id)) == data


def test_a_forged_mark_leads_nowhere(moving: BaseSession, old: BaseSession) -> None:
    """A visitor who makes the application store a mark does not know whom it leads to."""
    victim = moving.create("victim", DATA)
    to = victim.encode().hex()
    forged = old.create(KEY, {"jam.moving": {"to": to, "handle": session_handle(victim)}})
    assert moving.get(forged) is None
    assert moving.info(forged) is None
    assert moving.revoke(KEY, session_handle(forged)) is False
    moving.delete(forged)
    assert moving.get(victim) == DATA


@pytest.mark.parametrize("name", ["clear", "rekey"])
def test_commands_work_on_both_stores(tmp_path: Path, new_table: dict[str, Any], name: str) -> None:
    keys = [generate_aes_key().decode() for _ in range(2)]
    new = {**new_table, "is_session_crypt": True}
    old = {
        "session_type": "json",
        "json_path": str(tmp_path / "old.json"),
        "is_session_crypt": True,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAM_SESSION_AES_SECRET", keys[0])
        for table in (old, new):
            with Jam({"session": table}) as jam:
                jam.session_create(KEY, DATA)
    table = {"session_type": "moving", "new": new, "old": old}
    lines = {"clear": "sessions clear --all", "rekey": "rekey"}
    line = (*lines[name].split(), "--json", "--config", write(tmp_path, table))
    both = ",".join(reversed(keys))
    told = command(*line, cwd=tmp_path, JAM_SESSION_AES_SECRET=both)
    assert told.code == 0, told.out
    assert told.document["sessions"] == 2
    if name == "rekey":
        assert told.document["rewritten"] == 2


# --- preparing -------------------------------------------------------------------------------


def test_processes_that_prepare_and_that_move_serve_the_same_sessions(
    moving: BaseSession, old: BaseSession, new: BaseSession, new_table: Any, old_table: Any
) -> None:
    with MovingSessions(new_table, old_table, prepare=True) as preparing:
        begun = preparing.create(KEY, DATA)
        assert old.get(begun) == DATA, "sessions begin where the other processes look"
        info = preparing.info(begun)
        assert info is not None
        assert info.new_id is None
        new_id = moved(moving, begun)
        ids = [begun, new_id]
        assert [preparing.get(one) for one in ids] == [DATA, DATA]
        preparing.update(begun, {"n": 1})
        assert moving.get(new_id) == {"n": 1}
        reworked = preparing.rework(begun)
        assert moving.get(reworked) == {"n": 1}
        assert [preparing.get(one) for one in ids] == [None, None]
        preparing.clear(KEY)
        nobody_is_logged_in(moving, new, reworked, *ids)
        stays = preparing.rework(preparing.create(KEY, DATA))
        assert old.get(stays) == DATA
        assert preparing.clear_others(stays) == 0


# --- configuration, command, log -------------------------------------------------------------


def write(folder: Path, table: dict[str, Any]) -> str:
    (folder / "moving.json").write_text(json.dumps({"jam": {"session": table}}))
    return "moving.json"


def test_the_check_says_how_far_the_move_is(
    tmp_path: Path, new_table: dict[str, Any], old_table: dict[str, Any]
) -> None:
    table = {"session_type": "moving", "new": new_table, "old": old_table}
    config = write(tmp_path, table)
    line = ("check", "--config", config)
    if old_table["session_type"] != "redis":  # which has nothing to be created
        missing = command(*line, "--json", cwd=tmp_path)
        assert [one["code"] for one in missing.document["facts"]] == ["missing"]
    assert {one.name for one in tmp_path.iterdir()} == {config}
    assert "The old store is empty" in command(*line, "--create", cwd=tmp_path).out
    with Jam({"session": old_table}) as jam:
        ids = [jam.session_create(KEY, DATA) for _ in range(3)]
    with Jam({"session": table}) as jam:
        moved(jam.store, ids[0])
    ran = command(*line, cwd=tmp_path)
    assert ran.code == 0, ran.out
    said = " ".join(ran.out.split())
    assert "The old store has 2 sessions, and 1 old ids of moved ones." in said
    count = command("sessions", "count", "--config", config, cwd=tmp_path)
    assert count.out == "3 live sessions of 1 session key.\n"
    assert command("sessions", "clear", "--all", "--config", config, cwd=tmp_path).code == 0
    with Jam({"session": table}) as jam:
        assert [jam.session_get(one) for one in ids] == [None] * 3


def test_a_mistake_names_the_table_that_it_is_in(tmp_path: Path, new_table: dict[str, Any]) -> None:
    table = {"session_type": "moving", "new": new_table, "old": {"session_type": "json", "jsn": 1}}
    ran = command("check", "--config", write(tmp_path, table), cwd=tmp_path)
    assert ran.code == 3
    assert "jam.session: old.jsn is not an option of JSONSessions" in ran.err
    with pytest.raises(JamConfigurationError, match="new is missing"):
        Jam({"session": {"session_type": "moving", "old": new_table}})


def test_no_secret_of_either_store_is_shown(tmp_path: Path, old_table: dict[str, Any]) -> None:
    uri = "redis://user:hunter2@127.0.0.1:1/0"
    table = {
        "session_type": "moving",
        "new": {"session_type": "redis", "redis_uri": uri},
        "old": old_table,
    }
    ran = command("check", "--create", "--config", write(tmp_path, table), cwd=tmp_path)
    assert ran.code == 4
    assert "***@127.0.0.1" in ran.out
    assert "hunter2" not in ran.out + ran.err


def test_the_move_is_in_the_log_and_under_asyncio(
    new_table: dict[str, Any],
    old_table: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Jam({"session": old_table}) as before:
        old_id = before.session_create(KEY, DATA)
    caplog.set_level("INFO", "jam")

    async def work() -> str:
        table = {"session_type": "moving", "new": new_table, "old": old_table}
        async with aio.Jam({"session": table}) as jam:
            found = await asyncio.gather(*[jam.session_info(old_id) for _ in range(8)])
            (new_id,) = {one.new_id for one in found if one is not None}
            assert new_id is not None
            assert await jam.session_get(old_id) == await jam.session_get(new_id) == DATA
            return new_id

    new_id = asyncio.run(work())
    rotated = [one for one in caplog.records if getattr(one, "jam_event", "") == "rotated"]
    assert rotated
    assert new_id not in caplog.text
    with Jam({"session": new_table}) as after:
        assert after.session_get(new_id) == DATA


class ByHand(BaseSession):
    """A store with every operation in its own hand."""

    def create(self, session_key: str, data: dict[str, Any], **_: Any) -> str:
        raise NotImplementedError

    def get(self, session_id: str) -> dict[str, Any] | None:
        raise NotImplementedError

    def update(self, session_id: str, data: dict[str, Any], **_: Any) -> None:
        raise NotImplementedError

    def delete(self, session_id: str) -> None:
        raise NotImplementedError

    def clear(self, session_key: str) -> None:
        raise NotImplementedError

    def rework(self, session_id: str, session_key: str | None = None, **_: Any) -> str:
        raise NotImplementedError


def test_a_store_that_cannot_move_sessions_is_refused(new_table: dict[str, Any]) -> None:
    with pytest.raises(JamConfigurationError, match="old: ByHand cannot move sessions"):
        MovingSessions(new_table, {"session_type": ByHand})


def test_a_store_cannot_move_to_its_own_place(new_table: dict[str, Any]) -> None:
    """Whoever ended the others' sessions would have ended their own."""
    encrypted = {"is_session_crypt": True, "session_aes_secret": generate_aes_key()}
    with pytest.raises(JamConfigurationError, match="new and old are the same place"):
        MovingSessions({**new_table, **encrypted, "ttl": 60}, new_table)


def test_sessions_move_into_documents(old: BaseSession, old_table: dict[str, Any]) -> None:
    documents = ShelfSessions()
    ids = [old.create(KEY, DATA) for _ in range(2)]
    with MovingSessions({"session_type": documents}, old_table) as store:
        new_ids = [moved(store, ids[0]), store.rework(ids[1], "ann")]
        assert [documents.get(one) for one in new_ids] == [DATA, DATA]
        assert store.get(ids[0]) == DATA
        store.delete(ids[0])
        assert documents.get(new_ids[0]) is None
