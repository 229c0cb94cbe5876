"""The session as a dependency of FastAPI's endpoints.

    app.add_middleware(SessionMiddleware, jam="config.toml", preload=False)

    @app.get("/")
    async def start(session: Session) -> str:
        ...

`Session` is for `async def`, `SyncSession` for `def`.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Annotated, Any

from anyio import from_thread
from fastapi import Depends
from starlette.requests import HTTPConnection

from jam_core import JamConfigurationError, JamSessionError
from jam_web import session as views
from jam_web.asgi import SessionMiddleware

__all__ = ["Session", "SessionMiddleware", "SyncSession"]


async def _session(connection: HTTPConnection) -> views.AsyncSession:
    session = connection.scope.get("session")
    if not isinstance(session, views.AsyncSession):
        raise JamConfigurationError(
            "There is no session of Jam's in this request: "
            'app.add_middleware(SessionMiddleware, jam="config.toml") first.'
        )
    await session.load()
    return session


async def _sync_session(
    session: Annotated[views.AsyncSession, Depends(_session)],
) -> views.Session:
    return views.Session(session.state, run=_in_the_event_loop)


def _in_the_event_loop(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine in the event loop that this thread works for."""

    async def outcome() -> Any:
        return await coroutine

    with suppress(RuntimeError):
        asyncio.get_running_loop()
        coroutine.close()
        raise JamSessionError("SyncSession is for `def` endpoints: use Session in `async def`.")
    return from_thread.run(outcome)


Session = Annotated[views.AsyncSession, Depends(_session)]
"""The session, in an `async def` endpoint: its powers are awaited."""

SyncSession = Annotated[views.Session, Depends(_sync_session)]
"""The session, in a `def` endpoint: nothing is awaited."""
