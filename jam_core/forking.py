"""What a process must not share with the one that forked it.

uWSGI forks in C, where Python's fork hooks do not run. So the owner is checked before each use; a
hook alone is never trusted.
"""

import os
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

_Resource = TypeVar("_Resource")


class PerProcess(Generic[_Resource]):
    """A resource that each process needs for itself: a connection, a pool, a file, a lock.

    Call it before each use: it returns what this process made, and makes it at the first use,
    even in a child that was forked unseen. Never keep what it returned across operations.

    Args:
        make: Makes the resource.
        let_go: Gets what a child inherited, and must release it without telling the server or
            unlocking the file: the parent goes on using both. The child keeps a reference, so that
            no destructor does that either. It is called again if it is interrupted by an exception.
    """

    def __init__(
        self,
        make: Callable[[], _Resource],
        let_go: Callable[[_Resource], object] | None = None,
    ) -> None:
        self._make = make
        self._let_go = let_go
        self._held: tuple[int, _Resource] | None = None
        self._inherited: list[_Resource] = []
        self._locks: dict[int, Lock] = {}

    def __call__(self) -> _Resource:
        """Return this process's own."""
        held = self._held
        if held is not None and held[0] == os.getpid():
            return held[1]
        return self._made()

    def discard(self) -> _Resource | None:
        """Forget this process's own, so that the next use makes another; return what it was."""
        held = self._held
        if held is None or held[0] != os.getpid():
            return None  # what is inherited stays, until it is let go
        self._held = None
        return held[1]

    def _made(self) -> _Resource:
        process = os.getpid()
        # A lock that some thread held at the fork stays locked in the child, where that thread
        # does not exist. So each process has its own; setdefault is atomic.
        with self._locks.setdefault(process, Lock()):
            held = self._held
            if held is not None and held[0] == process:
                return held[1]
            if held is not None:
                if self._let_go is not None:
                    self._let_go(held[1])
                self._inherited.append(held[1])
                self._held = None
            made = self._make()
            self._held = (process, made)
            return made
