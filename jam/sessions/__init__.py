"""`BaseSession` under the specification's path; stores are in the modules beside."""

from jam_core.session import BaseSession

__all__ = ["BaseSession"]
