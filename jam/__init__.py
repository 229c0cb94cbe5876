"""The import paths of the specification; everything is defined in `jam_core` and the stores.

PYTEST_DONT_REWRITE: nothing here asserts, and a program may import Jam before it calls pytest.
"""

from jam_core.jam import Jam

__all__ = ["Jam"]
