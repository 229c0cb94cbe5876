"""Client and server on one core: where the system places them freely, figures swing twofold."""

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.places import Place

if TYPE_CHECKING:
    from collections.abc import Callable


def pin_client() -> int | None:
    """Bind this process, and those it will start, to one core; return it, or None if that fails."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return core


class PinnedServers:
    """Binds what serves us at a place to a core, and lets it free in the end.

    Args:
        place: The place.
        core: The core.
    """

    def __init__(self, place: Place, core: int | None) -> None:
        self._place = place
        self._core = core
        self._before: dict[int, set[int]] = {}
        self.failure = ""

    def pin(self) -> None:
        """Bind what serves our connections now: they may have been made again."""
        if self._core is None or self.failure:
            return
        try:
            for process in _serving(self._place):
                if process not in self._before:
                    self._before[process] = os.sched_getaffinity(process)
                    os.sched_setaffinity(process, {self._core})
        except (OSError, ImportError) as error:
            self.failure = f"{type(error).__name__}: {error}"

    def release(self) -> None:
        """Let them run where they ran before."""
        for process, cores in self._before.items():
            try:
                os.sched_setaffinity(process, cores)
            except ProcessLookupError:
                continue

    def describe(self) -> str:
        """Say what was pinned."""
        if self._core is None:
            return "nothing pinned: the system cannot"
        if self.failure:
            return f"client on core {self._core}; server not pinned ({self.failure})"
        if self._place.server_pid:
            return f"client and server on core {self._core}"
        if self._before:
            count = len(self._before)
            return f"client and the {count} server tasks that serve it on core {self._core}"
        return f"client on core {self._core}"


def _serving(place: Place) -> list[int]:
    """Return the processes, or threads, that serve our connections to a shared server."""
    questions: dict[str, tuple[str, Callable[[Any], int]]] = {
        "postgresql": ("SELECT pid, client_port FROM pg_stat_activity", int),
        "mariadb": ("SELECT tid, host FROM information_schema.processlist", _port_in),
    }
    if place.name not in questions:
        return []
    from sqlalchemy import create_engine, text

    question, port_of = questions[place.name]
    ours = _own_ports()
    engine = create_engine(place.url)
    with engine.connect() as connection:
        rows = connection.execute(text(question)).all()
    engine.dispose()
    return [task for task, client in rows if client and port_of(client) in ours]


def _port_in(host: str) -> int:
    return int(host.rpartition(":")[2] or 0)


def _own_ports() -> set[int]:
    """Return the local ports of this process's connections."""
    ports = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if not str(entry.readlink()).startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(entry.name))) as one:
                name = one.getsockname()
        except OSError:
            continue
        if isinstance(name, tuple) and name:
            ports.add(int(name[1]))
    return ports
