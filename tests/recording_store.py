"""A store that shows what it was configured with."""

from typing import Any, Unpack

from jam_testing.memory import MemorySessions

from jam_core import SessionOptions


class RecordingSessions(MemorySessions):
    """Keeps its options as attributes."""

    def __init__(
        self,
        *,
        text: str = "",
        table: dict[str, Any] | None = None,
        items: list[Any] | None = None,
        anything: Any = None,
        **options: Unpack[SessionOptions],
    ) -> None:
        super().__init__(**options)
        self.text = text
        self.table = table
        self.items = items
        self.anything = anything
