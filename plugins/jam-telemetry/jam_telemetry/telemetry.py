"""Telemetry: a wrapper that observes every operation of a store.

It names no parameter of any operation, and of the results it only checks whether `get` and `info`
found something: no session id, session key or data can get into what is emitted.
"""

from collections.abc import Callable, Generator
from importlib.metadata import version
from time import perf_counter_ns, time_ns
from typing import Any

from opentelemetry import context, metrics, trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import INVALID_SPAN, SpanKind, StatusCode, TracerProvider

from jam_core import JamError, hookimpl

_SCOPE = "jam_telemetry"
_CONVENTIONS = "https://opentelemetry.io/schemas/1.33.0"  # the first with stable database names
_BOUNDARIES = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)  # seconds; the conventions' own
_ERROR = "error.type"
_FOUND = "jam.session.found"

_Wrapped = Generator[None, Any, Any]


def _observed(operation: str) -> Callable[["Telemetry"], _Wrapped]:
    """Return the wrapper for an operation, built once as far as possible."""
    name = f"{operation} sessions"
    plain: dict[str, str | bool] = {
        "db.system.name": "jam",
        "db.collection.name": "sessions",
        "db.operation.name": operation,
    }
    hit, miss = {**plain, _FOUND: True}, {**plain, _FOUND: False}

    @hookimpl(wrapper=True, optionalhook=True)  # an older jam-core may not know it
    def observe(self: "Telemetry") -> _Wrapped:
        start, started = perf_counter_ns(), time_ns()
        span = self._tracer.start_span(
            name, kind=SpanKind.CLIENT, attributes=plain, start_time=started
        )
        # Even a span that is sampled out must be the parent of the driver's spans.
        token = None if span is INVALID_SPAN else context.attach(trace.set_span_in_context(span))
        attributes = plain
        try:
            result = yield
        except BaseException as error:
            attributes = {**plain, _ERROR: _kind_of(error)}
            span.set_attribute(_ERROR, attributes[_ERROR])
            span.set_status(StatusCode.ERROR)  # no message: a driver's may contain anything
            raise
        else:
            if operation in ("get", "info"):
                attributes = miss if result is None else hit
                span.set_attribute(_FOUND, attributes is hit)
            return result
        finally:
            took = perf_counter_ns() - start
            self._duration.record(took / 1e9, attributes)
            if token is not None:
                context.detach(token)
            span.end(started + took)

    return observe


class Telemetry:
    """A wrapper: OpenTelemetry spans and metrics for every operation of any store.

    Each operation is a span and a point of the histogram db.client.operation.duration. Without an
    OpenTelemetry SDK nothing is emitted.

    Args:
        tracer_provider: Where spans go. Default: the application's, even if set later.
        meter_provider: Where metrics go. Default: the application's, even if set later.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        release = version("jam-telemetry")
        self._tracer = trace.get_tracer(_SCOPE, release, tracer_provider, _CONVENTIONS)
        meter = metrics.get_meter(_SCOPE, release, meter_provider, _CONVENTIONS)
        self._duration = meter.create_histogram(
            "db.client.operation.duration",
            unit="s",
            description="Duration of database client operations.",
            explicit_bucket_boundaries_advisory=_BOUNDARIES,
        )

    create = _observed("create")
    get = _observed("get")
    update = _observed("update")
    delete = _observed("delete")
    clear = _observed("clear")
    rework = _observed("rework")
    info = _observed("info")
    touch = _observed("touch")
    mutate = _observed("mutate")
    purge = _observed("purge")
    ping = _observed("ping")
    list_sessions = _observed("list_sessions")
    revoke = _observed("revoke")
    clear_others = _observed("clear_others")


def _kind_of(error: BaseException) -> str:
    """Return a stable name for the kind of error, and nothing of its message."""
    if isinstance(error, JamError):
        return error.error_code
    kind = type(error)
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
