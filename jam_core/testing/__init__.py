"""The contract suite: what a store has to promise, as tests that its author inherits.

    from jam_core.testing import SessionContract, StoreFactory

    class TestMyStore(SessionContract):
        @pytest.fixture
        def store_factory(self, tmp_path) -> StoreFactory:
            return lambda **options: MySessions(tmp_path / "sessions", **options)

Needs `pip install 'jam-core[testing]'`.
"""

import pytest

pytest.register_assert_rewrite(
    "jam_core.testing.concurrency",
    "jam_core.testing.encryption",
    "jam_core.testing.expiry",
    "jam_core.testing.operations",
)

from jam_core.testing.concurrency import ConcurrencyContract  # noqa: E402
from jam_core.testing.encryption import EncryptionContract  # noqa: E402
from jam_core.testing.expiry import ExpiryContract  # noqa: E402
from jam_core.testing.fixtures import StoreFactory  # noqa: E402
from jam_core.testing.operations import OperationsContract, OptionalOperationsContract  # noqa: E402
from jam_core.testing.processes import run_in_processes  # noqa: E402
from jam_core.testing.timekeeping import ManualClock  # noqa: E402


class SessionContract(
    OperationsContract,
    OptionalOperationsContract,
    ExpiryContract,
    EncryptionContract,
    ConcurrencyContract,
):
    """The whole contract: inherit it and give one fixture, `store_factory`."""


__all__ = [
    "ConcurrencyContract",
    "ManualClock",
    "SessionContract",
    "StoreFactory",
    "run_in_processes",
]
