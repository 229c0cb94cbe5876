"""A store whose annotations are texts, one of them of a name that only type checkers know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jam_testing.memory import MemorySessions

if TYPE_CHECKING:
    from decimal import Decimal


class LateSessions(MemorySessions):
    def __init__(
        self, *, number: int, price: Decimal | None = None, path: str = "", **options: Any
    ) -> None:
        super().__init__(**options)
        self.number = number
        self.price = price
        self.path = path
