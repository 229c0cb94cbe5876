"""For the tests of applications: a client that is logged in, without going through the log-in page.

    client = TestClient(app, base_url="https://testserver")
    log_in(client, jam, "ann", {"name": "Ann"})

It takes the clients of Starlette and FastAPI, httpx, Flask and Django. Give them an https address:
over http they do not send the application's cookies.
"""

import asyncio
from collections.abc import Mapping
from threading import Thread
from typing import TYPE_CHECKING, Any, Unpack

from jam_core import STORE_DEFAULT, Jam, JamConfigurationError, Seconds
from jam_web.driving import finish
from jam_web.settings import WebOptions
from jam_web.state import WebSessions

if TYPE_CHECKING:
    from jam_core.aio import Jam as AwaitedJam


def log_in(
    client: Any,
    jam: "Jam | AwaitedJam",
    key: str,
    data: Mapping[str, Any] | None = None,
    *,
    ttl: Seconds = STORE_DEFAULT,
    max_age: Seconds = STORE_DEFAULT,
    **options: Unpack[WebOptions],
) -> None:
    """Begin a session of a user, and give its cookie to a test client.

    Args:
        client: The client.
        jam: The application's.
        key: The user's session key.
        data: What the session holds.
        ttl: As for `Session.login`.
        max_age: As for `Session.login`.
        **options: Those that the application's sessions have, see `WebSettings`.

    Raises:
        JamConfigurationError: This client is not known.
    """
    state = WebSessions(jam, **options).open([])

    async def begin() -> None:
        await state.login(key, ttl=ttl, max_age=max_age)
        state.use().update(data or {})
        await state.respond(failed=False)

    if isinstance(jam, Jam):
        finish(begin())
    else:  # not in the event loop that the test may run in
        failed: list[BaseException] = []

        def run() -> None:
            try:
                asyncio.run(begin())
            except BaseException as error:
                failed.append(error)

        thread = Thread(target=run)
        thread.start()
        thread.join()
        for error in failed:
            raise error
    for line in state.cookies.set_cookies:
        name, _, value = line.partition(";")[0].partition("=")
        _give(client, name, value)


def _give(client: Any, name: str, value: str) -> None:
    cookies = getattr(client, "cookies", None)
    if hasattr(client, "set_cookie"):  # Flask's
        client.set_cookie(name, value)
    elif hasattr(client, "base_url") and hasattr(cookies, "set"):  # httpx's, and so Starlette's
        host = client.base_url.host or "localhost"
        # As `http.cookiejar` calls a host, or the application's next cookie would be a second one.
        client.cookies.set(name, value, domain=host if "." in host else f"{host}.local")
    elif hasattr(cookies, "output"):  # Django's
        client.cookies[name] = value
    else:
        raise JamConfigurationError(
            f"log_in does not know the test client {type(client).__name__!r}: it takes those of "
            "Starlette, FastAPI, httpx, Flask and Django."
        )
