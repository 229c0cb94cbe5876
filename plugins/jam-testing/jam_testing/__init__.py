"""The contract suite: what a store must promise, as tests that its author inherits.

    from jam_testing import SessionContract, StoreFactory

    class TestMyStore(SessionContract):
        @pytest.fixture
        def store_factory(self, tmp_path) -> StoreFactory:
            return lambda **options: MySessions(tmp_path / "sessions", **options)

Needs `pip install 'jam-core[testing]'`. `python -m jam_testing` prints every promise and the
clause that checks it; `CONTRACT_VERSION` goes up when a clause is added or becomes stricter.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jam_testing.suite import *  # noqa: F403


def __getattr__(name: str) -> Any:
    """Import the suite when it is first needed: pytest imports this package in every run."""
    from importlib import import_module

    if name.startswith("__") and name != "__all__":
        raise AttributeError(name)
    try:
        return getattr(import_module("jam_testing.suite"), name)
    except AttributeError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
