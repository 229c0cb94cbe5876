"""Jam for asyncio: the same operations, awaited.

Nothing is written twice: each call runs the plain `Jam`, its wrappers and its store in a greenlet,
which is suspended where the store waits for its server (see `jam_core.waiting`). A store that
cannot wait like this runs in threads.
"""

import asyncio
import copy
import inspect
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from jam_core.exceptions import JamConfigurationError, JamError, JamStoreUnavailable
from jam_core.jam import Jam as PlainJam
from jam_core.lifetimes import STORE_DEFAULT, Seconds
from jam_core.logger import Outage
from jam_core.opening import configured_store
from jam_core.records import SessionInfo
from jam_core.waiting import running_loop, wait

try:
    from jam_core.greenlets import run
except ModuleNotFoundError as error:
    raise JamConfigurationError(
        "jam.aio needs the package greenlet, which is not installed: pip install 'jam-core[aio]'."
    ) from error

__all__ = ["Jam"]

Data = dict[str, Any]
ChangedData = Data | None


class Jam:
    """Sessions in the store that the configuration chooses, for asyncio.

    The configuration is read and checked here; the store is opened at the first await. One `Jam`
    serves any number of event loops, one after another or at once, and every forked process. Its
    methods are those of `jam.Jam`, awaited; they raise what those raise.

    A call that is cancelled while it waits may or may not have been carried out, as when a
    connection breaks. Nothing else is affected.

    Args:
        config: The path of a TOML, YAML or JSON file, or a dict. Default: the path in the
            environment variable JAM_CONFIG.
        pointer: The dotted path of Jam's table in the file.
        wrappers: Wrappers, or names of installed ones, plain ones as for `jam.Jam`.

    Raises:
        JamConfigurationError: The configuration cannot be used; its `problems` list everything that
            is wrong with it.
    """

    _jam: PlainJam | None = None  # until it is open
    _outage: Outage | None = None  # that kept it from being opened

    def __init__(
        self,
        config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
        pointer: str = "jam",
        *,
        wrappers: Sequence[object] = (),
    ) -> None:
        self._configured = configured_store(config, pointer, wrappers)
        self._opening: dict[asyncio.AbstractEventLoop, asyncio.Task[PlainJam]] = {}

    async def session_create(
        self,
        session_key: str,
        data: Data,
        *,
        ttl: Seconds = STORE_DEFAULT,
        max_age: Seconds = STORE_DEFAULT,
    ) -> str:
        """Start a session and return its id, as `jam.Jam.session_create` does."""
        jam = self._jam or await self._opened()
        return await run(jam.session_create, session_key, data, ttl=ttl, max_age=max_age)

    async def session_get(self, session_id: str) -> Data | None:
        """Return a session's data, or None, as `jam.Jam.session_get` does."""
        jam = self._jam or await self._opened()
        return await run(jam.session_get, session_id)

    async def session_info(self, session_id: str) -> SessionInfo | None:
        """Return a session's data and what is known about it, as `jam.Jam.session_info` does."""
        jam = self._jam or await self._opened()
        return await run(jam.session_info, session_id)

    async def session_update(
        self, session_id: str, data: Data, *, seen: SessionInfo | None = None
    ) -> None:
        """Replace a session's data whole, as `jam.Jam.session_update` does."""
        jam = self._jam or await self._opened()
        await run(jam.session_update, session_id, data, seen=seen)

    async def session_delete(self, session_id: str) -> None:
        """End a session, as `jam.Jam.session_delete` does."""
        jam = self._jam or await self._opened()
        await run(jam.session_delete, session_id)

    async def session_clear(self, session_key: str) -> None:
        """End every session of a key, as `jam.Jam.session_clear` does."""
        jam = self._jam or await self._opened()
        await run(jam.session_clear, session_key)

    async def session_rework(
        self,
        old_session_id: str,
        session_key: str | None = None,
        *,
        ttl: Seconds = STORE_DEFAULT,
        max_age: Seconds = STORE_DEFAULT,
    ) -> str:
        """Give a session a new id, or log its user in, as `jam.Jam.session_rework` does."""
        jam = self._jam or await self._opened()
        return await run(jam.session_rework, old_session_id, session_key, ttl=ttl, max_age=max_age)

    async def session_touch(self, session_id: str) -> None:
        """Restart a session's ttl, as `jam.Jam.session_touch` does."""
        jam = self._jam or await self._opened()
        await run(jam.session_touch, session_id)

    async def session_mutate(
        self,
        session_id: str,
        change: Callable[[Data], ChangedData] | Callable[[Data], Awaitable[ChangedData]],
    ) -> Data:
        """Apply a function to a session's data, as `jam.Jam.session_mutate` does.

        Args:
            session_id: The session.
            change: As there; may also be a coroutine function. It runs in this event loop.
        """
        jam = self._jam or await self._opened()
        return await run(jam.session_mutate, session_id, _plain(change))

    async def session_purge(self) -> int:
        """Remove expired sessions from the store, as `jam.Jam.session_purge` does."""
        jam = self._jam or await self._opened()
        return await run(jam.session_purge)

    async def session_list(self, session_key: str) -> list[SessionInfo]:
        """Return the live sessions of a key, as `jam.Jam.session_list` does."""
        jam = self._jam or await self._opened()
        return await run(jam.session_list, session_key)

    async def session_revoke(self, session_key: str, handle: str) -> bool:
        """End one of a key's sessions, as `jam.Jam.session_revoke` does."""
        jam = self._jam or await self._opened()
        return await run(jam.session_revoke, session_key, handle)

    async def session_clear_others(self, session_id: str) -> int:
        """End every other session of this session's key, as `jam.Jam.session_clear_others` does."""
        jam = self._jam or await self._opened()
        return await run(jam.session_clear_others, session_id)

    async def close(self) -> None:
        """Release what the store opened, in this event loop. The next call opens it again.

        Calls under way still get their answers. May be called again. What another event loop has
        opened is released when that loop ends.
        """
        jam = vars(self).pop("_jam", None)
        if jam is not None:
            await run(jam.close)

    aclose = close

    async def __aenter__(self) -> Self:
        await self._opened()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _opened(self) -> PlainJam:
        """Return the plain `Jam`, opened once for all first callers, even if one is cancelled."""
        loop = running_loop()
        opening = self._opening.get(loop)
        if opening is None:
            opening = self._opening[loop] = loop.create_task(self._open())
            opening.add_done_callback(lambda done: self._forget(loop, done))
        try:
            return await asyncio.shield(opening)
        except JamError as error:  # each has a traceback of its own
            raise copy.copy(error) from error.__cause__

    async def _open(self) -> PlainJam:
        try:
            opened = await run(PlainJam, self._configured)
        except JamStoreUnavailable as error:
            if self._outage is None:
                self._outage = Outage(self._configured.logger)
            self._outage.note(error)
            raise
        if self._outage is not None:
            opened.watch(self._outage)
        kept: PlainJam = vars(self).setdefault("_jam", opened)  # in one step: there may be threads
        if kept.store is not opened.store:  # another event loop was faster
            await run(opened.close)
        return kept

    def _forget(self, loop: asyncio.AbstractEventLoop, opening: "asyncio.Task[PlainJam]") -> None:
        self._opening.pop(loop, None)
        if not opening.cancelled():
            opening.exception()  # retrieved: asyncio must not warn if all callers were cancelled

    def __repr__(self) -> str:
        return f"<Jam for asyncio with {self._configured.session_type!r}>"


def _plain(
    change: Callable[[Data], ChangedData] | Callable[[Data], Awaitable[ChangedData]],
) -> Callable[[Data], ChangedData]:
    """Return `change` as a plain function, which waits if it must."""

    def changed(data: Data) -> ChangedData:
        outcome = change(data)
        return wait(outcome) if inspect.isawaitable(outcome) else outcome

    return changed
