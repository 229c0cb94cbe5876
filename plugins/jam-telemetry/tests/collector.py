"""What OpenTelemetry's SDK got to see, in memory."""

from collections import Counter
from typing import Any

from jam_telemetry import Telemetry
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, Metric
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import DEFAULT_ON, Sampler

SCOPE = "jam_telemetry"


class Collector:
    """An SDK whose exporters keep everything in memory."""

    def __init__(self, sampler: Sampler = DEFAULT_ON) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracer_provider = TracerProvider(sampler, shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.meter_provider = MeterProvider([self._reader], shutdown_on_exit=False)

    def plugin(self) -> Telemetry:
        return Telemetry(self.tracer_provider, self.meter_provider)

    def all_spans(self) -> list[ReadableSpan]:
        """Return every span, those of the tests too; the last to end is the last."""
        return list(self._exporter.get_finished_spans())

    def spans(self) -> list[ReadableSpan]:
        """Return the plugin's spans."""
        return [
            span
            for span in self.all_spans()
            if span.instrumentation_scope and span.instrumentation_scope.name == SCOPE
        ]

    def last(self) -> ReadableSpan:
        return self.spans()[-1]

    def metrics(self) -> list[Metric]:
        """Return the plugin's metrics."""
        data = self._reader.get_metrics_data()
        return [
            metric
            for resource in (data.resource_metrics if data else [])
            for scope in resource.scope_metrics
            if scope.scope.name == SCOPE
            for metric in scope.metrics
        ]

    def points(self) -> list[HistogramDataPoint]:
        """Return the points of every metric."""
        return [
            point
            for metric in self.metrics()
            for point in metric.data.data_points
            if isinstance(point, HistogramDataPoint)
        ]

    def counts(self, *names: str) -> dict[tuple[Any, ...], int]:
        """Return how often there was each combination of values of some attributes."""
        counts: Counter[tuple[Any, ...]] = Counter()
        for point in self.points():
            counts[tuple((point.attributes or {}).get(name) for name in names)] += point.count
        return dict(counts)

    def exported(self) -> str:
        """Return all that leaves the process, as JSON."""
        data = self._reader.get_metrics_data()
        spans = [span.to_json() for span in self.all_spans()]
        return "\n".join([*spans, data.to_json() if data else ""])
