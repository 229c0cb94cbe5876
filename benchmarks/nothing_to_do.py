"""A store that has nothing to do: what is left of a call is the price of everything else."""

from collections.abc import Generator
from typing import Any

from jam_core import BaseSession, Seconds, SessionInfo, hookimpl

DATA = {"role": "admin"}


class Looks:
    """The least that a wrapper can cost."""

    @hookimpl(wrapper=True)
    def get(self) -> Generator[None, Any, Any]:
        return (yield)


class NothingToDo(BaseSession):
    """Answers at once."""

    def create(self, session_key: str, data: dict[str, Any], **limits: Seconds) -> str:  # noqa: ARG002
        return "id"

    def get(self, session_id: str) -> dict[str, Any] | None:  # noqa: ARG002
        return DATA

    def update(
        self, session_id: str, data: dict[str, Any], *, seen: SessionInfo | None = None
    ) -> None:
        pass

    def delete(self, session_id: str) -> None:
        pass

    def clear(self, session_key: str) -> None:
        pass

    def rework(
        self,
        session_id: str,
        session_key: str | None = None,  # noqa: ARG002
        **limits: Seconds,  # noqa: ARG002
    ) -> str:
        return session_id
