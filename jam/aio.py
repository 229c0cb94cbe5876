"""Jam for asyncio."""

from jam_core.aio import Jam

__all__ = ["Jam"]
