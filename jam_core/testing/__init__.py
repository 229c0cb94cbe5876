"""The contract suite: what a store has to promise, as tests that its author inherits.

    from jam_core.testing import SessionContract, StoreFactory

    class TestMyStore(SessionContract):
        @pytest.fixture
        def store_factory(self, tmp_path) -> StoreFactory:
            return lambda **options: MySessions(tmp_path / "sessions", **options)

Needs `pip install 'jam-core[testing]'`. `python -m jam_core.testing` prints every promise and the
clause that checks it; `CONTRACT_VERSION` rises when a clause is added or becomes stricter.
"""

import pytest

pytest.register_assert_rewrite(
    "jam_core.testing.concurrency",
    "jam_core.testing.devices",
    "jam_core.testing.encryption",
    "jam_core.testing.expiry",
    "jam_core.testing.faults",
    "jam_core.testing.histories",
    "jam_core.testing.operations",
    "jam_core.testing.optional",
    "jam_core.testing.records",
)

from jam_core.testing.concurrency import ConcurrencyContract  # noqa: E402
from jam_core.testing.devices import DevicesContract  # noqa: E402
from jam_core.testing.encryption import EncryptionContract  # noqa: E402
from jam_core.testing.expiry import ExpiryContract  # noqa: E402
from jam_core.testing.faults import FaultsContract  # noqa: E402
from jam_core.testing.fixtures import BreakBackend, Damage, Snapshot, StoreFactory  # noqa: E402
from jam_core.testing.histories import HistoriesContract  # noqa: E402
from jam_core.testing.operations import OperationsContract  # noqa: E402
from jam_core.testing.optional import OptionalOperationsContract  # noqa: E402
from jam_core.testing.processes import run_in_processes  # noqa: E402
from jam_core.testing.promises import (  # noqa: E402
    CONTRACT_VERSION,
    BrokenPromise,
    Promise,
    clauses_of,
)
from jam_core.testing.records import RecordsContract  # noqa: E402
from jam_core.testing.timekeeping import ManualClock  # noqa: E402


class SessionContract(
    OperationsContract,
    OptionalOperationsContract,
    DevicesContract,
    RecordsContract,
    ExpiryContract,
    EncryptionContract,
    ConcurrencyContract,
    FaultsContract,
    HistoriesContract,
):
    """The whole contract: inherit it and give one fixture, `store_factory`."""


__all__ = [
    "CONTRACT_VERSION",
    "BreakBackend",
    "BrokenPromise",
    "ConcurrencyContract",
    "Damage",
    "ManualClock",
    "Promise",
    "SessionContract",
    "Snapshot",
    "StoreFactory",
    "clauses_of",
    "run_in_processes",
]
