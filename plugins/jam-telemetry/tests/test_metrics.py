"""The metrics, on each store."""

import logging
from collections.abc import Callable

import pytest

from jam_core import Jam, JamSessionNotFound, JamStoreUnavailable

from .backends import Backend
from .collector import Collector

OpenJam = Callable[..., Jam]


def test_operations_hits_misses_rejected_ids_and_outages_are_counted_apart(
    backend: Backend, collector: Collector, open_jam: OpenJam
) -> None:
    jam = open_jam(collector.plugin(), **backend.session)
    session_id = jam.session_create("user1", {})
    for one in (session_id, "unknown", session_id):
        jam.session_get(one)
    jam.session_update(session_id, {"a": 1})
    for _ in range(2):
        with pytest.raises(JamSessionNotFound):
            jam.session_update("unknown", {})
    backend.go_down()
    with pytest.raises(JamStoreUnavailable):
        jam.session_get(session_id)

    assert collector.counts("db.operation.name", "jam.session.found", "error.type") == {
        ("create", None, None): 1,
        ("get", True, None): 2,
        ("get", False, None): 1,
        ("get", None, "sessions.store_unavailable"): 1,
        ("update", None, None): 1,
        ("update", None, "sessions.not_found"): 2,
    }
    assert collector.counts("db.system.name", "db.collection.name") == {("jam", "sessions"): 8}


def test_two_applications_count_together(
    collector: Collector, open_jam: OpenJam, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        for _ in range(2):
            open_jam(collector.plugin()).session_get("unknown")
    assert collector.counts("db.operation.name") == {("get",): 2}
    assert [one for one in caplog.records if one.name.startswith("opentelemetry")] == []
