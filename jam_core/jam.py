"""Jam: what an application uses."""

import os  # noqa: TC003  (get_type_hints of the constructor needs it)
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from jam_core.exceptions import JamError, JamSessionNotFound, JamStoreUnavailable
from jam_core.lifetimes import STORE_DEFAULT

if TYPE_CHECKING:
    from jam_core.lifetimes import Seconds
    from jam_core.logger import Outage
    from jam_core.opening import ConfiguredStore
    from jam_core.records import SessionInfo
    from jam_core.session import BaseSession


class Jam:
    """Sessions in the store that the configuration chooses.

    Args:
        config: The path of a TOML, YAML or JSON file, or a dict. Default: the path in the
            environment variable JAM_CONFIG.
        pointer: The dotted path of Jam's table in the file.
        wrappers: Wrappers, or names of installed ones, around those that the configuration names;
            the first is the outermost.

    Attributes:
        store: The store itself.

    Raises:
        JamConfigurationError: The configuration cannot be used; its `problems` list everything that
            is wrong with it.
        JamStoreUnavailable: The store cannot be opened.
    """

    def __init__(
        self,
        config: "str | os.PathLike[str] | Mapping[str, Any] | ConfiguredStore | None" = None,
        pointer: str = "jam",
        *,
        wrappers: Sequence[object] = (),
    ) -> None:
        from jam_core.hooks import bound_operations, not_blocking
        from jam_core.logger import LogNames, Outage
        from jam_core.opening import configured_store

        self._log_names = LogNames()
        configured = configured_store(config, pointer, wrappers)
        around = [make() for make in configured.wrappers]
        self.store: BaseSession = configured.open()
        try:
            self._hooks = self._plain_hooks = bound_operations(self.store, around)
        except JamError:
            if self.store is not configured.store:
                self.store.close()
            raise
        self._outage = Outage(self.store.logger)
        self._close = not_blocking(self.store.close, self.store)
        self._logs = self.store.logger.logs_event

    def session_create(
        self,
        session_key: str,
        data: dict[str, Any],
        *,
        ttl: "Seconds" = STORE_DEFAULT,
        max_age: "Seconds" = STORE_DEFAULT,
    ) -> str:
        """Start a session and return its id.

        Args:
            session_key: Whose session it is, a user's name for example; any characters.
            data: What to keep, a JSON object.
            ttl: Seconds until this session ends while nobody uses it, instead of the store's ttl;
                None: no limit. It keeps this until it ends, or the next log-in.
            max_age: Seconds until this session ends, whatever happens, instead of the store's
                max_age; None: no limit.

        Raises:
            JamSessionDataError: The key is empty, the data is not a JSON object, or a time is not a
                positive whole number.
            JamSessionUnsupported: In this store, sessions cannot have their own ttl or max_age.
            JamStoreUnavailable: The store cannot be reached.
        """
        try:
            session_id: str = self._hooks.create(
                session_key=session_key, data=data, **_own_limits(ttl, max_age)
            )
        except JamStoreUnavailable as error:
            self._note(error)
            raise
        if self._logs("created"):
            self._log("created", session_id, session_key=self._log_names.of_key(session_key))
        return session_id

    def session_get(self, session_id: str) -> dict[str, Any] | None:
        """Return a session's data, or None if there is no such session.

        Also None for anything but a string: the None of a request without a cookie, for example.

        Raises:
            JamSessionCorrupt: What is stored cannot be decoded.
            JamStoreUnavailable: The store cannot be reached.
        """
        data: dict[str, Any] | None = None
        if isinstance(session_id, str):
            try:
                data = self._hooks.get(session_id=session_id)
            except JamStoreUnavailable as error:
                self._note(error)
                raise
        if data is None and self._logs("rejected"):
            self._log("rejected", session_id, operation="get")
        return data

    def session_info(self, session_id: str) -> "SessionInfo | None":
        """Return a session's data and what is known about it: whose it is, how long it has left.

        It costs as much as `session_get`, and returns None where that does.

        Raises:
            JamSessionCorrupt: What is stored cannot be decoded.
            JamSessionUnsupported: The store cannot do this.
            JamStoreUnavailable: The store cannot be reached.
        """
        info: SessionInfo | None = None
        if isinstance(session_id, str):
            try:
                info = self._hooks.info(session_id=session_id)
            except JamStoreUnavailable as error:
                self._note(error)
                raise
        if info is None and self._logs("rejected"):
            self._log("rejected", session_id, operation="info")
        if info is not None and info.new_id is not None and self._logs("rotated"):
            self._log("rotated", info.new_id, old=self._log_names.of_session(session_id))
        return info

    def session_update(
        self, session_id: str, data: dict[str, Any], *, seen: "SessionInfo | None" = None
    ) -> None:
        """Replace all of a session's data and restart its ttl.

        Args:
            session_id: The session.
            data: A JSON object.
            seen: What `session_info` returned: the data is replaced only if it is still as shown
                there.

        Raises:
            JamSessionNotFound: There is no such session.
            JamSessionConflict: The data is no longer what `seen` showed; nothing was stored.
            JamSessionDataError: The data is not a JSON object, or the id is not a string.
            JamSessionUnsupported: The store cannot do this with `seen`.
            JamStoreUnavailable: The store cannot be reached.
        """
        given = {} if seen is None else {"seen": seen}
        self._change("update", session_id, data=data, **given)
        if self._logs("updated"):
            self._log("updated", session_id, operation="update")

    def session_delete(self, session_id: str) -> None:
        """End a session; silent if it was gone already.

        Raises:
            JamSessionDataError: The id is not a string.
            JamStoreUnavailable: The store cannot be reached.
        """
        self._call("delete", session_id=session_id)
        if self._logs("deleted"):
            self._log("deleted", session_id)

    def session_clear(self, session_key: str) -> None:
        """End every session of a key.

        Raises:
            JamSessionDataError: The key is empty or not a string.
            JamStoreUnavailable: The store cannot be reached.
        """
        self._call("clear", session_key=session_key)
        if self._logs("cleared"):
            self._log("cleared", session_key=self._log_names.of_key(session_key))

    def session_rework(
        self,
        old_session_id: str,
        session_key: str | None = None,
        *,
        ttl: "Seconds" = STORE_DEFAULT,
        max_age: "Seconds" = STORE_DEFAULT,
    ) -> str:
        """Give a session a new id and return it; the old id is dead.

        With a `session_key` this is the log-in: the visitor's session becomes that user's. It
        begins now and keeps its data.

        Args:
            old_session_id: The session.
            session_key: The user who logged in. Default: the session keeps its key.
            ttl: At log-in, as in `session_create`.
            max_age: At log-in, as in `session_create`.

        Raises:
            JamSessionNotFound: There is no such session.
            JamSessionDataError: The id is not a string, the key is empty, or a time is not a
                positive whole number.
            JamSessionUnsupported: The store does not support log-in, or a session's own limits.
            JamStoreUnavailable: The store cannot be reached.
        """
        given = _own_limits(ttl, max_age)
        if session_key is not None:
            given["session_key"] = session_key
        session_id: str = self._change("rework", old_session_id, **given)
        if self._logs("rotated"):
            facts = {"old": self._log_names.of_session(old_session_id)}
            if session_key is not None:
                facts["session_key"] = self._log_names.of_key(session_key)
            self._log("rotated", session_id, **facts)
        return session_id

    def session_touch(self, session_id: str) -> None:
        """Restart a session's ttl without rewriting its data.

        Raises:
            JamSessionNotFound: There is no such session.
            JamSessionUnsupported: The store cannot do this.
            JamSessionDataError: The id is not a string.
            JamStoreUnavailable: The store cannot be reached.
        """
        self._change("touch", session_id)
        if self._logs("updated"):
            self._log("updated", session_id, operation="touch")

    def session_mutate(
        self, session_id: str, change: Callable[[dict[str, Any]], dict[str, Any] | None]
    ) -> dict[str, Any]:
        """Apply a function to a session's data without losing any other request's change.

        Args:
            session_id: The session.
            change: Gets the data; returns the new data, or changes what it got and returns None.
                May be called several times.

        Returns:
            The data as stored.

        Raises:
            JamSessionNotFound: There is no such session.
            JamSessionConflict: Others were faster at every attempt; nothing was stored.
            JamSessionDataError: The new data is not a JSON object, or the id is not a string.
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
        count: int = self._call("purge")
        return count

    def session_list(self, session_key: str) -> "list[SessionInfo]":
        """Return the live sessions of a key: what a "my devices" page shows.

        `session_handle` of the request's own id tells which of them is the current one.

        Raises:
            JamSessionDataError: The key is empty.
            JamSessionUnsupported: The store cannot do this.
            JamStoreUnavailable: The store cannot be reached.
        """
        sessions: list[SessionInfo] = self._call("list_sessions", session_key=session_key)
        return sessions

    def session_revoke(self, session_key: str, handle: str) -> bool:
        """End one of a key's sessions.

        Args:
            session_key: Whose session it is: the user who is logged in, never what a form sends.
            handle: Which one, as `session_list` shows it.

        Returns:
            Whether there was one.

        Raises:
            JamSessionDataError: The key is empty, or it or the handle is not a string.
            JamSessionUnsupported: The store cannot do this.
            JamStoreUnavailable: The store cannot be reached.
        """
        revoked: bool = self._call("revoke", session_key=session_key, handle=handle)
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
            JamSessionDataError: The id is not a string.
            JamStoreUnavailable: The store cannot be reached.
        """
        count: int = self._change("clear_others", session_id)
        if self._logs("cleared"):
            self._log("cleared", session_id, operation="clear_others", count=count)
        return count

    def close(self) -> None:
        """Release what the store opened. May be called again."""
        self._close()

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
        """Call a hook that needs a session; if there is none, that is an event, too."""
        try:
            return getattr(self._hooks, operation)(session_id=session_id, **arguments)
        except JamSessionNotFound:
            if self._logs("rejected"):
                self._log("rejected", session_id, operation=operation)
            raise
        except JamStoreUnavailable as error:
            self._note(error)
            raise

    def _call(self, operation: str, **arguments: Any) -> Any:
        try:
            return getattr(self._hooks, operation)(**arguments)
        except JamStoreUnavailable as error:
            self._note(error)
            raise

    def _note(self, error: JamStoreUnavailable) -> None:
        """Note an outage; until it is over, and only until then, each success is checked."""
        self._outage.note(error)
        if self._hooks is self._plain_hooks:
            self.watch(self._outage)

    def watch(self, outage: "Outage") -> None:
        """For the core: check each success until this outage is over."""
        from types import SimpleNamespace

        self._outage = outage
        hooks = {name: self._watched(hook) for name, hook in vars(self._plain_hooks).items()}
        self._hooks = SimpleNamespace(**hooks)

    def _watched(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        def watched(**arguments: Any) -> Any:
            outcome = hook(**arguments)
            if self._outage.is_over():
                self._hooks = self._plain_hooks
                if not self._outage.is_over():  # another thread has noted the next one meanwhile
                    self.watch(self._outage)
            return outcome

        return watched

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


def _own_limits(ttl: "Seconds", max_age: "Seconds") -> dict[str, Any]:
    """Return the limits that were given: an older store need not know the others."""
    given = {"ttl": ttl, "max_age": max_age}
    return {name: limit for name, limit in given.items() if limit is not STORE_DEFAULT}
