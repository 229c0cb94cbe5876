"""What pytest collects for --jam-store: the contract suite on the store of a configuration."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jam_core.session import BaseSession
from jam_core.testing import SessionContract, StoreFactory
from jam_core.testing.certification import CERTIFICATION


class TestStore(SessionContract):
    """The contract, at the place where real sessions live."""

    @staticmethod
    def takes_clock(store: BaseSession) -> bool:  # noqa: ARG004
        """Let time be real: under a clock set ahead, everybody's sessions have expired."""
        return False

    @classmethod
    def need(cls, store: BaseSession, *capabilities: str) -> None:
        """Skip what only a clock that can be set could show."""
        if "clock" in capabilities:
            pytest.skip("time is real: a clock set ahead would end the sessions of others")
        super().need(store, *capabilities)

    @pytest.fixture
    def store_factory(
        self, request: pytest.FixtureRequest, tmp_path: Path
    ) -> Iterator[StoreFactory]:
        """Open the configured store, under names that nobody else has, and clear them after."""
        with request.config.stash[CERTIFICATION].clause(request.node.name, tmp_path) as open_store:
            yield open_store
