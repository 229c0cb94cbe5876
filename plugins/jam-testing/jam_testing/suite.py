"""Everything that a store's test module imports, in one place."""

import pytest

pytest.register_assert_rewrite(
    "jam_testing.concurrency",
    "jam_testing.devices",
    "jam_testing.encryption",
    "jam_testing.eventloops",
    "jam_testing.expiry",
    "jam_testing.faults",
    "jam_testing.histories",
    "jam_testing.lifetimes",
    "jam_testing.operations",
    "jam_testing.optional",
    "jam_testing.records",
)

from jam_testing.awaiting import awaited_factory  # noqa: E402
from jam_testing.clients import Client, WrongAnswer  # noqa: E402
from jam_testing.concurrency import ConcurrencyContract  # noqa: E402
from jam_testing.devices import DevicesContract  # noqa: E402
from jam_testing.encryption import EncryptionContract  # noqa: E402
from jam_testing.eventloops import AsyncioContract  # noqa: E402
from jam_testing.expiry import ExpiryContract  # noqa: E402
from jam_testing.faults import FaultsContract  # noqa: E402
from jam_testing.fixtures import BreakBackend, Damage, Snapshot, StoreFactory  # noqa: E402
from jam_testing.histories import HistoriesContract  # noqa: E402
from jam_testing.interrupts import (  # noqa: E402
    SoftTimeLimit,
    Survived,
    survive_interrupts,
)
from jam_testing.lifetimes import LifetimesContract  # noqa: E402
from jam_testing.linearizability import (  # noqa: E402
    NotLinearizable,
    Operation,
    check_linearizable,
    explain,
)
from jam_testing.operations import OperationsContract  # noqa: E402
from jam_testing.optional import OptionalOperationsContract  # noqa: E402
from jam_testing.processes import (  # noqa: E402
    UnseenChild,
    fork_unseen,
    run_in_processes,
    survive_forks,
)
from jam_testing.promises import (  # noqa: E402
    CONTRACT_VERSION,
    BrokenPromise,
    Promise,
    clauses_of,
)
from jam_testing.proxy import TCPProxy  # noqa: E402
from jam_testing.records import RecordsContract  # noqa: E402
from jam_testing.timekeeping import ManualClock, time_limit  # noqa: E402


class SessionContract(
    OperationsContract,
    OptionalOperationsContract,
    DevicesContract,
    RecordsContract,
    ExpiryContract,
    LifetimesContract,
    EncryptionContract,
    ConcurrencyContract,
    AsyncioContract,
    FaultsContract,
    HistoriesContract,
):
    """The whole contract: inherit it and define one fixture, `store_factory`."""


__all__ = [
    "CONTRACT_VERSION",
    "AsyncioContract",
    "BreakBackend",
    "BrokenPromise",
    "Client",
    "ConcurrencyContract",
    "Damage",
    "ManualClock",
    "NotLinearizable",
    "Operation",
    "Promise",
    "SessionContract",
    "Snapshot",
    "SoftTimeLimit",
    "StoreFactory",
    "Survived",
    "TCPProxy",
    "UnseenChild",
    "WrongAnswer",
    "awaited_factory",
    "check_linearizable",
    "clauses_of",
    "explain",
    "fork_unseen",
    "run_in_processes",
    "survive_forks",
    "survive_interrupts",
    "time_limit",
]
