"""OpenTelemetry for Jam: spans and metrics of every operation, whatever the store."""

from jam_telemetry.telemetry import Telemetry

__all__ = ["Telemetry"]
