"""Jam: what an application holds."""

import os
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from jam_core.exceptions import JamSessionNotFound

if TYPE_CHECKING:
    from jam_core.records import SessionInfo
    from jam_core.session import BaseSession


class Jam:
    """Sessions in the store that the configuration chooses.

    Args:
        config: The path of a TOML, YAML or JSON file, or a dict. Default: the path in the
            environment variable JAM_CONFIG.
        pointer: The dotted path of Jam's table in the file.
        plugins: Wrapping plugins, or names of installed ones, outside of those that the
            configuration names; the first is the outermost.

    Attributes:
        store: The store itself.

    Raises:
        JamConfigurationError: The configuration cannot be used; its `problems` are all that is
            wrong with it.
        JamStoreUnavailable: The store cannot be opened.
    """

    def __init__(
        self,
        config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
        pointer: str = "jam",
        *,
        plugins: Sequence[object] = (),
    ) -> None:
        from jam_core.logger import LogNames
        from jam_core.opening import open_store

        self.store: BaseSession
        self.store, self._hooks = open_store(config, pointer, plugins)
        self._logs = self.store.logger.logs_event
        self._log_names = LogNames()

    def session_create(self, session_key: str, data: dict[str, Any]) -> str:
        """Start a session and return its id.

        Args:
            session_key: Whose session it is, a user's name for example; any characters.
            data: What to keep, a JSON object.

        Raises:
            JamSessionDataError: The key is empty, or the data is no JSON object.
            JamStoreUnavailable: The store cannot be reached.
        """
        session_id: str = self._hooks.create(session_key=session_key, data=data)
        if self._logs("created"):
            self._log("created", session_id, session_key=self._log_names.of_key(session_key))
        return session_id

    def session_get(self, session_id: str) -> dict[str, Any] | None:
        """Return a session's data, or None if there is no such session.

        Raises:
            JamSessionCorrupt: What is stored cannot be decoded.
            JamStoreUnavailable: The store cannot be reached.
        """
        data: dict[str, Any] | None = self._hooks.get(session_id=session_id)
        if data is None and self._logs("rejected"):
            self._log("rejected", session_id, operation="get")
        return data

    def session_update(self, session_id: str, data: dict[str, Any]) -> None:
        """Replace a session's data whole and restart its ttl.

        Raises:
            JamSessionNotFound: There is no such session.
            JamSessionDataError: The data is no JSON object.
            JamStoreUnavailable: The store cannot be reached.
        """
        self._change("update", session_id, data=data)
        if self._logs("updated"):
            self._log("updated", session_id, operation="update")

    def session_delete(self, session_id: str) -> None:
        """End a session; silent if it was gone already.

        Raises:
            JamStoreUnavailable: The store cannot be reached.
        """
        self._hooks.delete(session_id=session_id)
        if self._logs("deleted"):
            self._log("deleted", session_id)

    def session_clear(self, session_key: str) -> None:
        """End every session of a key.

        Raises:
            JamStoreUnavailable: The store cannot be reached.
        """
        self._hooks.clear(session_key=session_key)
        if self._logs("cleared"):
            self._log("cleared", session_key=self._log_names.of_key(session_key))

    def session_rework(self, old_session_id: str) -> str:
        """Give a session a new id, as after a login, and return it; the old id is dead.

        Raises:
            JamSessionNotFound: There is no such session.
            JamStoreUnavailable: The store cannot be reached.
        """
        session_id: str = self._change("rework", old_session_id)
        if self._logs("rotated"):
            self._log("rotated", session_id, old=self._log_names.of_session(old_session_id))
        return session_id

    def session_touch(self, session_id: str) -> None:
        """Restart a session's ttl without rewriting its data.

        Raises:
            JamSessionNotFound: There is no such session.
            JamSessionUnsupported: The store cannot do this.
            JamStoreUnavailable: The store cannot be reached.
        """
        self._change("touch", session_id)
        if self._logs("updated"):
            self._log("updated", session_id, operation="touch")

    def session_mutate(
        self, session_id: str, change: Callable[[dict[str, Any]], dict[str, Any] | None]
    ) -> dict[str, Any]:
        """Apply a function to a session's data so that no other request's change is lost.

        Args:
            session_id: The session.
            change: Gets the data; returns the new data, or changes what it got and returns None.
                May be called several times.

        Returns:
            The data as stored.

        Raises:
            JamSessionNotFound: There is no such session.
            JamSessionConflict: Others were faster at every attempt; nothing was stored.
            JamSessionDataError: The new data is no JSON object.
            JamSessionUnsupported: The store cannot do this.
            JamStoreUnavailable: The store cannot be reached.
        """
        data: dict[str, Any] = self._change("mutate", session_id, change=change)
        if self._logs("updated"):
            self._log("updated", session_id, operation="mutate")
        return data

    def session_purge(self) -> int:
        """Remove expired sessions from the store and return how many.

        Raises:
            JamSessionUnsupported: The store cannot do this.
            JamStoreUnavailable: The store cannot be reached.
        """
        count: int = self._hooks.purge()
        return count

    def session_list(self, session_key: str) -> "list[SessionInfo]":
        """Return the live sessions of a key: what a page "my devices" shows.

        `session_handle` of the id that the request came with tells which of them is this one.

        Raises:
            JamSessionDataError: The key is empty.
            JamSessionUnsupported: The store cannot do this.
            JamStoreUnavailable: The store cannot be reached.
        """
        sessions: list[SessionInfo] = self._hooks.list_sessions(session_key=session_key)
        return sessions

    def session_revoke(self, session_key: str, handle: str) -> bool:
        """End one of a key's sessions.

        Args:
            session_key: Whose session it is: the user who is logged in, never what a form says.
            handle: Which one, as `session_list` shows it.

        Returns:
            Whether there was one.

        Raises:
            JamSessionDataError: The key is empty.
            JamSessionUnsupported: The store cannot do this.
            JamStoreUnavailable: The store cannot be reached.
        """
        revoked: bool = self._hooks.revoke(session_key=session_key, handle=handle)
        if revoked and self._logs("deleted"):
            self._log("deleted", handle=handle, operation="revoke")
        return revoked

    def session_clear_others(self, session_id: str) -> int:
        """End every other session of this session's key: "log out everywhere else".

        Returns:
            How many ended.

        Raises:
            JamSessionNotFound: There is no such session; nobody was logged out.
            JamSessionUnsupported: The store cannot do this.
            JamStoreUnavailable: The store cannot be reached.
        """
        count: int = self._change("clear_others", session_id)
        if self._logs("cleared"):
            self._log("cleared", session_id, operation="clear_others", count=count)
        return count

    def close(self) -> None:
        """Release what the store opened. May be called again."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _change(self, operation: str, session_id: str, **arguments: Any) -> Any:
        """Call a hook that needs a session; that there is none is an event, too."""
        try:
            return getattr(self._hooks, operation)(session_id=session_id, **arguments)
        except JamSessionNotFound:
            if self._logs("rejected"):
                self._log("rejected", session_id, operation=operation)
            raise

    def _log(
        self,
        event: str,
        session_id: object = None,
        *,
        handle: str | None = None,
        **facts: str | int,
    ) -> None:
        """Log an event under the names that log records may hold."""
        if handle is not None:
            facts["session"] = self._log_names.of_handle(handle)
        elif session_id is not None:
            facts["session"] = self._log_names.of_session(session_id)
        self.store.logger.event(event, facts)

    def __repr__(self) -> str:
        return f"<Jam with {self.store!r}>"
