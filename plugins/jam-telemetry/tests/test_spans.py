"""The spans of each operation, on each store."""

from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace.sampling import (
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
)
from opentelemetry.trace import SpanKind, StatusCode, get_current_span

from jam_core import (
    BaseSession,
    Jam,
    JamSessionNotFound,
    JamSessionUnsupported,
    JamStoreUnavailable,
)

from .backends import Backend
from .collector import Collector

OpenJam = Callable[..., Jam]

CALLS_WITH_AN_ID: dict[str, Callable[[Jam, str], object]] = {
    "update": lambda jam, session_id: jam.session_update(session_id, {"a": 2}),
    "rework": lambda jam, session_id: jam.session_rework(session_id),
    "touch": lambda jam, session_id: jam.session_touch(session_id),
    "mutate": lambda jam, session_id: jam.session_mutate(session_id, lambda data: data),
    "clear_others": lambda jam, session_id: jam.session_clear_others(session_id),
}


def test_every_operation_is_a_span_and_answers_as_ever(
    backend: Backend, collector: Collector, open_jam: OpenJam
) -> None:
    jam = open_jam(collector.plugin(), **backend.session)
    first = jam.session_create("user1", {"a": 1})
    assert jam.session_get(first) == {"a": 1}
    jam.session_update(first, {"a": 2}, seen=jam.session_info(first))
    jam.session_touch(first)
    assert jam.session_mutate(first, lambda data: {**data, "b": 3}) == {"a": 2, "b": 3}
    second = jam.session_rework(first)
    assert jam.session_get(second) == {"a": 2, "b": 3}
    jam.session_create("user1", {})
    (other,) = (one for one in jam.session_list("user1") if one.data == {})
    assert jam.session_revoke("user1", other.handle)
    assert jam.session_clear_others(second) == 0
    jam.session_delete(second)
    assert jam.session_get(second) is None
    jam.session_clear("user1")
    assert jam.session_purge() == 0

    operations = [
        *("create", "get", "info", "update", "touch", "mutate", "rework"),
        *("get", "create", "list_sessions", "revoke", "clear_others"),
        *("delete", "get", "clear", "purge"),
    ]
    assert [span.name for span in collector.spans()] == [f"{name} sessions" for name in operations]
    for span, operation in zip(collector.spans(), operations, strict=True):
        assert span.kind is SpanKind.CLIENT
        assert span.status.status_code is StatusCode.UNSET
        attributes = dict(span.attributes or {})
        assert ("jam.session.found" in attributes) is (operation in ("get", "info"))
        attributes.pop("jam.session.found", None)
        assert attributes == {
            "db.system.name": "jam",
            "db.collection.name": "sessions",
            "db.operation.name": operation,
        }


@pytest.mark.parametrize("call", [Jam.session_get, Jam.session_info])
def test_a_read_tells_a_hit_from_a_miss(
    call: Callable[[Jam, str], object], backend: Backend, collector: Collector, open_jam: OpenJam
) -> None:
    jam = open_jam(collector.plugin(), **backend.session)
    empty = jam.session_create("user1", {})
    for session_id in (empty, "unknown", empty):
        call(jam, session_id)
    found = [(span.attributes or {}).get("jam.session.found") for span in collector.spans()]
    assert found == [None, True, False, True]


@pytest.mark.parametrize("operation", CALLS_WITH_AN_ID)
def test_an_id_that_is_rejected(
    operation: str, backend: Backend, collector: Collector, open_jam: OpenJam
) -> None:
    jam = open_jam(collector.plugin(), **backend.session)
    with pytest.raises(JamSessionNotFound):
        CALLS_WITH_AN_ID[operation](jam, "unknown")
    span = collector.last()
    assert span.name == f"{operation} sessions"
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == "sessions.not_found"


def test_an_outage(backend: Backend, collector: Collector, open_jam: OpenJam) -> None:
    jam = open_jam(collector.plugin(), **backend.session)
    session_id = jam.session_create("user1", {"a": 1})
    backend.go_down()
    with pytest.raises(JamStoreUnavailable):
        jam.session_get(session_id)
    with pytest.raises(JamStoreUnavailable):
        jam.session_create("user1", {})
    for span in collector.spans()[1:]:
        assert span.status.status_code is StatusCode.ERROR
        assert (span.attributes or {})["error.type"] == "sessions.store_unavailable"
        assert "jam.session.found" not in (span.attributes or {})


class AppError(Exception):
    """An error of the application's own."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("user1 told us hunter2"), "ValueError"),
        (AppError("hunter2"), f"{AppError.__module__}.AppError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
    ],
)
def test_an_error_that_is_not_of_jam_is_passed_on_as_it_is(
    error: BaseException, kind: str, collector: Collector, open_jam: OpenJam
) -> None:
    jam = open_jam(collector.plugin())
    session_id = jam.session_create("user1", {})

    def change(_: dict[str, Any]) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        jam.session_mutate(session_id, change)
    assert caught.value is error
    span = collector.last()
    assert (span.attributes or {})["error.type"] == kind
    assert span.status.description is None
    assert span.events == ()


class SixOperations(BaseSession):
    """A store without any optional operation, and without sessions."""

    def create(self, session_key: str, data: dict[str, Any], **limits: Any) -> str:
        return "id"

    def get(self, session_id: str) -> None:
        return None

    def update(self, session_id: str, data: dict[str, Any], **seen: Any) -> None:
        raise JamSessionNotFound

    def delete(self, session_id: str) -> None: ...

    def clear(self, session_key: str) -> None: ...

    def rework(self, session_id: str, session_key: str | None = None, **limits: Any) -> str:
        raise JamSessionNotFound


def test_an_operation_that_the_store_lacks(collector: Collector, open_jam: OpenJam) -> None:
    jam = open_jam(collector.plugin(), session_type=SixOperations)
    with pytest.raises(JamSessionUnsupported, match="SixOperations does not support touch"):
        jam.session_touch("id")
    assert (collector.last().attributes or {})["error.type"] == "sessions.unsupported"


def test_a_span_is_between_its_caller_and_what_the_store_calls(
    backend: Backend, collector: Collector, open_jam: OpenJam
) -> None:
    jam = open_jam(collector.plugin(), **backend.session)
    session_id = jam.session_create("user1", {})
    tracer = collector.tracer_provider.get_tracer("test")

    def change(_: dict[str, Any]) -> None:
        tracer.start_span("inner").end()

    with tracer.start_as_current_span("outer") as outer:
        jam.session_mutate(session_id, change)
        assert get_current_span() is outer
        with pytest.raises(JamSessionNotFound):
            jam.session_update("unknown", {})
        assert get_current_span() is outer
        jam.session_get(session_id)

    inner, mutate, update, get, _ = collector.all_spans()[1:]
    for span in (mutate, update, get):
        assert span.parent == outer.get_span_context()
    assert inner.parent == mutate.context
    times: list[Any] = [mutate.start_time, inner.start_time, inner.end_time, mutate.end_time]
    assert times == sorted(times)


class DropsJam(Sampler):
    """Drops the spans of Jam that have no parent, and takes all others."""

    def should_sample(self, *arguments: Any, **named: Any) -> SamplingResult:
        name: str = (*arguments, *named.values())[2]
        is_of_jam = name.endswith(" sessions")
        return SamplingResult(Decision.DROP if is_of_jam else Decision.RECORD_AND_SAMPLE)

    def get_description(self) -> str:
        return "DropsJam"


def test_what_the_store_calls_in_a_span_that_is_sampled_out_is_sampled_out_too(
    open_jam: OpenJam,
) -> None:
    collector = Collector(ParentBased(DropsJam()))
    jam = open_jam(collector.plugin())
    session_id = jam.session_create("user1", {})
    tracer = collector.tracer_provider.get_tracer("test")
    tracer.start_span("by itself").end()
    jam.session_mutate(session_id, lambda _: tracer.start_span("of the driver").end())
    assert [span.name for span in collector.all_spans()] == ["by itself"]


def test_a_span_is_as_long_as_its_point_of_the_histogram_says(
    collector: Collector, open_jam: OpenJam
) -> None:
    open_jam(collector.plugin()).session_get("unknown")
    span, (point,) = collector.last(), collector.points()
    assert span.end_time is not None
    assert span.start_time is not None
    assert (span.end_time - span.start_time) / 1e9 == pytest.approx(point.sum, abs=1e-9)
