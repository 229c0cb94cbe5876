"""The contract suite on MovingSessions: to an application it is one store like any other."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jam_json import JSONSessions
from jam_sqlalchemy import SQLAlchemySessions
from jam_testing import SessionContract, StoreFactory

from jam_core import MovingSessions

pytestmark = pytest.mark.exhaustive


class TwoStores(MovingSessions):
    """From a JSON document to SQLite, with the options of both."""

    def __init__(
        self,
        folder: Path,
        prepare: bool,
        *,
        clock: Callable[[], float] = time.time,
        **options: Any,
    ) -> None:
        options["clock"] = clock
        new = SQLAlchemySessions(f"sqlite:///{folder}/sessions.db", **options)
        old = JSONSessions(folder / "sessions.json", **options)
        super().__init__({"session_type": new}, {"session_type": old}, prepare=prepare)


class Contract(SessionContract):
    """Both stores in one; what ends sessions goes through the one, and then the other."""

    in_steps = ("clear", "clear_others", "list_sessions")
    histories = 5
    prepare = False

    @pytest.fixture
    def store_factory(self, tmp_path: Path) -> StoreFactory:
        return lambda **options: TwoStores(tmp_path, self.prepare, **options)


class TestMoving(Contract):
    pass


class TestPreparing(Contract):
    prepare = True
