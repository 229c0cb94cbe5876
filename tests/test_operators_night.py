"""The operator's night: what goes wrong is found by `jam check` or the log, and ended by a command.

docs/operations.md says the same, in its table of the night.
"""

import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from jam_testing.proxy import TCPProxy

from jam_core import Jam, JamError, JamStoreUnavailable, generate_aes_key
from tests.cli.running import Ran, jam
from tests.places import Configure
from tests.servers import RedisServer, StartRedis

SOUND = {"max_age": 86400}


def findings(ran: Ran) -> set[str]:
    return {one["code"] for one in ran.document["findings"]}


def outages(caplog: pytest.LogCaptureFixture) -> list[str]:
    events = (getattr(record, "jam_event", "") for record in caplog.records)
    return [event for event in events if event.startswith("outage")]


def until(condition: Callable[[], object]) -> None:
    give_up_at = time.monotonic() + 30
    while True:
        with suppress(JamError):
            if condition():
                return
        assert time.monotonic() < give_up_at
        time.sleep(0.05)


# --- a key is rotated, with a mistake in it --------------------------------------------------


def test_a_key_was_dropped_too_early(configure: Configure, tmp_path: Path) -> None:
    config = configure("config", "redis", is_session_crypt=True, **SOUND)
    old, new = (generate_aes_key().decode() for _ in range(2))
    line = ("--config", config)

    def run(*arguments: str, keys: str) -> Ran:
        return jam(*arguments, *line, cwd=tmp_path, JAM_SESSION_AES_SECRET=keys)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAM_SESSION_AES_SECRET", old)
        with Jam(str(tmp_path / config)) as app:
            session_id = app.session_create("ann", {"n": 1})

        # The mistake: the old key is dropped at once.
        patch.setenv("JAM_SESSION_AES_SECRET", new)
        with Jam(str(tmp_path / config)) as app:
            assert app.session_get(session_id) is None
        found = run("check", "--json", keys=new)
        assert found.code == 1
        assert findings(found) == {"lost-ids"}
        told = " ".join(run("check", keys=new).out.split())
        assert "Put that key back, after the newest" in told

        # What the finding says.
        keys = f"{new},{old}"
        assert run("check", "--quiet", keys=keys).code == 0
        assert run("rekey", "--quiet", keys=keys).out == ""
        patch.setenv("JAM_SESSION_AES_SECRET", keys)
        with Jam(str(tmp_path / config)) as app:
            assert app.session_get(session_id) == {"n": 1}


def test_a_key_was_cut_off_when_it_was_copied(configure: Configure, tmp_path: Path) -> None:
    config = configure("config", "document", is_session_crypt=True, **SOUND)
    key, good = generate_aes_key().decode(), generate_aes_key().decode()
    line = ("check", "--config", config, "--create")
    ran = jam(*line, cwd=tmp_path, JAM_SESSION_AES_SECRET=f"{good},{key[:-5]}")
    assert ran.code == 3
    assert "Key 2 of 2 in the environment variable JAM_SESSION_AES_SECRET" in ran.err
    assert "jam keygen" in ran.err
    again = jam("keygen", cwd=tmp_path).out.strip()
    assert jam(*line, cwd=tmp_path, JAM_SESSION_AES_SECRET=f"{again},{good}").code == 0


# --- a store is moved ------------------------------------------------------------------------


def test_somebody_logged_out_behind_the_copy(configure: Configure, tmp_path: Path) -> None:
    old = configure("old", "document", **SOUND)
    new = configure("new", "sqlite", **SOUND)
    migrate = ("migrate", "--from", old, "--to", new)
    with Jam(str(tmp_path / old)) as app:
        kept, ended = app.session_create("ann", {}), app.session_create("ann", {})
        assert jam(*migrate, cwd=tmp_path).code == 0
        app.session_delete(ended)
    # The mistake: the second run lacks --mirror.
    told = " ".join(jam(*migrate, cwd=tmp_path).out.split())
    assert "1 other sessions at the target" in told
    assert "run it again with --mirror" in told
    assert jam(*migrate, "--mirror", "--quiet", cwd=tmp_path).code == 0
    with Jam(str(tmp_path / new)) as app:
        assert (app.session_get(kept), app.session_get(ended)) == ({}, None)


def test_the_volume_is_not_mounted(tmp_path: Path) -> None:
    mounted, place = tmp_path / "mounted", tmp_path / "srv"
    session = {"session_type": "json", "json_path": "srv/sessions.json", "create": False, **SOUND}
    (tmp_path / "config.json").write_text(json.dumps({"jam": {"session": session}}))
    line = ("check", "--config", "config.json")
    place.mkdir()
    ran = jam(*line, cwd=tmp_path)
    assert ran.code == 3
    assert "Check that its volume is mounted" in ran.err
    assert list(place.iterdir()) == [], "no empty store, in which nobody is logged in"
    mounted.mkdir()
    (mounted / "sessions.json").touch()
    place.rmdir()
    mounted.rename(place)
    assert jam(*line, "--quiet", cwd=tmp_path).code == 0


# --- a Redis that fills ----------------------------------------------------------------------


@pytest.fixture
def small(start_redis: StartRedis) -> RedisServer:
    """A Redis with little memory, of which a tenth is left."""
    server = start_redis("--maxmemory-policy", "noeviction")
    used: dict[str, int] = server.client.info("memory")
    server.client.config_set("maxmemory", used["used_memory"] + 1_000_000)
    return server


def test_a_redis_fills_up(
    small: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session = {"session_type": "redis", "redis_uri": small.uri, **SOUND}
    (tmp_path / "config.json").write_text(json.dumps({"jam": {"session": session}}))
    line = ("check", "--config", "config.json")
    with Jam(str(tmp_path / "config.json")) as app:
        session_id = app.session_create("ann", {"n": 1})
        refused = []
        for n in range(300):
            try:
                app.session_create(f"user {n}", {"text": "x" * 10_000})
            except JamStoreUnavailable as error:
                refused.append(error.message)
        assert len(refused) > 100
        assert all("raise its maxmemory" in message for message in refused)
        assert outages(caplog) == ["outage_began"]
        assert "is out of memory: raise its maxmemory" in caplog.text
        ran = jam(*line, cwd=tmp_path)
        caplog.clear()  # of what the command met
        assert ran.code == 4
        assert "raise its maxmemory" in " ".join(ran.out.split())
        assert app.session_get(session_id) == {"n": 1}, "nobody is logged out"
        small.client.config_set("maxmemory", 0)  # redis-cli config set maxmemory 2gb
        until(lambda: app.session_create("bob", {}) and "outage_ended" in outages(caplog))
        assert outages(caplog) == ["outage_ended"]
    assert jam(*line, "--quiet", cwd=tmp_path).code == 0


# --- a failover ------------------------------------------------------------------------------


def test_the_primary_fails_and_its_replica_takes_over(
    start_redis: StartRedis, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    primary, replica = start_redis("--repl-diskless-sync-delay", "0"), start_redis()
    with TCPProxy(str(primary.path)) as name, TCPProxy(str(primary.path)) as link:
        replica.client.replicaof("127.0.0.1", str(link.port))
        uri = f"redis://127.0.0.1:{name.port}/0"
        session = {"session_type": "redis", "redis_uri": uri, **SOUND}
        (tmp_path / "config.json").write_text(json.dumps({"jam": {"session": session}}))
        line = ("check", "--config", "config.json")
        with Jam(str(tmp_path / "config.json")) as app:
            session_id = app.session_create("ann", {"n": 1})
            until(lambda: replica.client.exists("sessions:ann"))
            primary.stop()
            name.switch(str(replica.path))  # the name leads to the replica, which only reads
            name.cut()
            with pytest.raises(JamStoreUnavailable, match="read-only replica"):
                app.session_create("bob", {})
            assert outages(caplog) == ["outage_began"]
            ran = jam(*line, cwd=tmp_path)
            assert (ran.code, "read-only replica" in ran.out) == (4, True)
            replica.client.replicaof("no", "one")  # redis-cli replicaof no one, as Sentinel does it
            until(lambda: app.session_create("bob", {}) and "outage_ended" in outages(caplog))
            assert app.session_get(session_id) == {"n": 1}
        assert jam(*line, "--quiet", cwd=tmp_path).code == 0


# --- a leak ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["document", "sqlite", "redis"])
def test_after_a_leak_everybody_is_logged_out(
    configure: Configure, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "jam")
    published = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4="
    config = configure("config", kind, is_session_crypt=True, **SOUND)
    line = ("--config", config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAM_SESSION_AES_SECRET", published)
        with Jam(str(tmp_path / config)) as app:
            ids = [app.session_create(key, {}) for key in ("ann", "ann", "bob")]
        ran = jam("check", *line, "--json", cwd=tmp_path, JAM_SESSION_AES_SECRET=published)
        assert (ran.code, findings(ran)) == (1, {"guessable-key"})
        key = jam("keygen", cwd=tmp_path).out.strip()
        ended = jam("sessions", "clear", "--all", *line, cwd=tmp_path, JAM_SESSION_AES_SECRET=key)
        assert (ended.code, ended.out) == (0, "3 sessions ended.\n")
        patch.setenv("JAM_SESSION_AES_SECRET", f"{key},{published}")
        with Jam(str(tmp_path / config)) as app:
            assert [app.session_get(one) for one in ids] == [None] * 3
        patch.setenv("JAM_SESSION_AES_SECRET", key)
        with Jam(str(tmp_path / config)) as app:
            assert app.session_get(app.session_create("ann", {})) == {}
    ran = jam("check", *line, "--quiet", cwd=tmp_path, JAM_SESSION_AES_SECRET=key)
    assert ran.code == 0
