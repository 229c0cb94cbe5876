"""What jam-telemetry adds to a call, in microseconds.

    python -m benchmarks.telemetry_overhead

`session_get` on a store that has nothing to do, so that what is left is the price of Jam, of
wrapping and of OpenTelemetry: the processor's time, so that other processes do not show. The
variants take turns, block by block; a figure is the median of the blocks. Needs opentelemetry-sdk.
"""

import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

from jam_telemetry import Telemetry
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from benchmarks.nothing_to_do import Looks, NothingToDo
from jam_core import Jam

ROUNDS = 200
CALLS = 1000


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
    "no wrapper": list,
    "a wrapper that does nothing": lambda: [Looks()],
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
        name: Jam({"session": {"session_type": NothingToDo}}, wrappers=plugins())
        for name, plugins in VARIANTS.items()
    }
    figures: dict[str, list[float]] = {name: [] for name in opened}
    for _ in range(ROUNDS):
        for name, jam in opened.items():
            figures[name].append(block(jam))
    base = statistics.median(figures["no wrapper"])
    for name, spent in figures.items():
        median = statistics.median(spent)
        print(f"{name:40}{median:8.2f} µs a call  {median - base:+8.2f}")


if __name__ == "__main__":
    main()
