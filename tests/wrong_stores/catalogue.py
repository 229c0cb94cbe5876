"""The table of wrong stores: what each does wrong, and which clauses must say so."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from tests.wrong_stores.file_store import FileSessions

_Store = TypeVar("_Store", bound=type[FileSessions])


class WrongStore(NamedTuple):
    """A store that breaks a promise on purpose.

    Attributes:
        store: Its class; the docstring says what it does wrong.
        clauses: The clauses that must catch it.
    """

    store: type[FileSessions]
    clauses: tuple[str, ...]

    @property
    def fault(self) -> str:
        return (self.store.__doc__ or "").strip()


WRONG_STORES: list[WrongStore] = []

UNPROVEN: dict[str, str] = {}
"""The clauses that no wrong store proves, and why not."""


def caught_by(*clauses: str) -> Callable[[_Store], _Store]:
    """Put a store into the table."""

    def register(store: _Store) -> _Store:
        WRONG_STORES.append(WrongStore(store, clauses))
        return store

    return register
