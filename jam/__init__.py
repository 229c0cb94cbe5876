"""The import paths of the specification; everything is defined in `jam_core` and the stores."""

from jam_core.jam import Jam

__all__ = ["Jam"]
