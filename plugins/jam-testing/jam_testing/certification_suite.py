"""What pytest collects for --jam-store: the contract suite on the store of a configuration."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jam_core import BaseSession
from jam_testing import SessionContract, StoreFactory
from jam_testing.certification import CERTIFICATION

# What the clauses would do that need one of the optional fixtures.
_HARM = {
    "break_backend": "stop your backend",
    "hang_backend": "keep your backend from answering",
    "snapshot": "read all that your backend holds",
    "damage": "damage a record in your backend",
}


class TestStore(SessionContract):
    """The contract, in the place where real sessions live."""

    @staticmethod
    def takes_clock(store: BaseSession) -> bool:  # noqa: ARG004
        """Use real time: with the clock set ahead, everybody's sessions would have expired."""
        return False

    @classmethod
    def need(cls, store: BaseSession, *capabilities: str) -> None:
        """Skip what only a settable clock could show."""
        if "clock" in capabilities:
            pytest.skip("time is real: setting the clock ahead would end other people's sessions")
        super().need(store, *capabilities)

    @classmethod
    def why_without(cls, fixture: str) -> str:
        """Say what a certification leaves alone; the author's own tests may try it."""
        return f"not tried here: it would {_HARM[fixture]}"

    @pytest.fixture
    def store_factory(
        self, request: pytest.FixtureRequest, tmp_path: Path
    ) -> Iterator[StoreFactory]:
        """Open the configured store, under names that nobody else has; clear them afterwards."""
        with request.config.stash[CERTIFICATION].clause(request.node.name, tmp_path) as open_store:
            yield open_store
