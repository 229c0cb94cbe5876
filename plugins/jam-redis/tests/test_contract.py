"""The contract suite on every kind of server."""

import inspect

import pytest

from jam_core.testing import SessionContract, StoreFactory

from .conftest import BACKENDS, OpenerOf

WAITING = [
    name
    for name, clause in inspect.getmembers(SessionContract, inspect.isfunction)
    if name.startswith("test_") and "time" in inspect.signature(clause).parameters
]


class TestContract(SessionContract):
    @pytest.fixture(params=BACKENDS)
    def store_factory(self, request: pytest.FixtureRequest, opener: OpenerOf) -> StoreFactory:
        return opener(request.param)


# What waits in real time runs on all servers side by side, in test_contract_in_time.py.
for _name in WAITING:
    setattr(TestContract, _name, None)
