"""Loggers: `jam_core.logger` under the specification's path."""

from jam_core.logger import BaseLogger, JamLogger

__all__ = ["BaseLogger", "JamLogger"]
