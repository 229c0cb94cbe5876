"""What jam-telemetry adds to a call, in microseconds.

    python benchmarks/telemetry_overhead.py

`session_get` on a store that has nothing to do, so that what is left is the price of Jam, of
wrapping and of OpenTelemetry: the processor's time, so that other processes do not show. The
variants take turns, block by block; a figure is the median of the blocks. Needs opentelemetry-sdk.
"""

import gc
import statistics
import time
from collections.abc import Callable, Generator
from typing import Any

from jam_telemetry import Telemetry
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from jam_core import BaseSession, Jam, hookimpl

ROUNDS = 200
CALLS = 1000
DATA = {"role": "admin"}


class NothingToDo(BaseSession):
    """Answers at once."""

    def create(self, session_key: str, data: dict[str, Any]) -> str:  # noqa: ARG002
        return "id"

    def get(self, session_id: str) -> dict[str, Any] | None:  # noqa: ARG002
        return DATA

    def update(self, session_id: str, data: dict[str, Any]) -> None:
        pass

    def delete(self, session_id: str) -> None:
        pass

    def clear(self, session_key: str) -> None:
        pass

    def rework(self, session_id: str) -> str:
        return session_id


class DoesNothing:
    """The least that a wrapping plugin can cost."""

    @hookimpl(wrapper=True)
    def get(self) -> Generator[None, Any, Any]:
        return (yield)


EXPORTER = InMemorySpanExporter()


def spans(**options: Any) -> TracerProvider:
    """Return what collects spans in memory."""
    provider = TracerProvider(shutdown_on_exit=False, **options)
    provider.add_span_processor(SimpleSpanProcessor(EXPORTER))
    return provider


def points() -> MeterProvider:
    """Return what collects metrics in memory."""
    return MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)


VARIANTS: dict[str, Callable[[], list[object]]] = {
    "no plugin": list,
    "a wrapping plugin that does nothing": lambda: [DoesNothing()],
    "telemetry, no SDK": lambda: [Telemetry()],
    "telemetry, metrics in memory": lambda: [Telemetry(None, points())],
    "telemetry, metrics, spans sampled out": lambda: [
        Telemetry(spans(sampler=ALWAYS_OFF), points())
    ],
    "telemetry, spans in memory": lambda: [Telemetry(spans())],
    "telemetry, metrics and spans in memory": lambda: [Telemetry(spans(), points())],
}


def block(jam: Jam) -> float:
    """Return the microseconds of a call."""
    get = jam.session_get
    gc.disable()
    begin = time.thread_time_ns()
    for _ in range(CALLS):
        get("id")
    spent = time.thread_time_ns() - begin
    gc.enable()
    EXPORTER.clear()
    return spent / CALLS / 1000


def main() -> None:
    opened = {
        name: Jam({"session": {"session_type": NothingToDo}}, plugins=plugins())
        for name, plugins in VARIANTS.items()
    }
    figures: dict[str, list[float]] = {name: [] for name in opened}
    for _ in range(ROUNDS):
        for name, jam in opened.items():
            figures[name].append(block(jam))
    base = statistics.median(figures["no plugin"])
    for name, spent in figures.items():
        median = statistics.median(spent)
        print(f"{name:40}{median:8.2f} µs a call  {median - base:+8.2f}")


if __name__ == "__main__":
    main()
