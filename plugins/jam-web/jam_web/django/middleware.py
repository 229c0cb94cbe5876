"""The middleware: cookies that no late answer replaces, and 503 in an outage."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.contrib.sessions.middleware import SessionMiddleware as DjangosSessionMiddleware
from django.core.handlers.exception import response_for_exception
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template import TemplateDoesNotExist, loader
from django.utils.cache import patch_vary_headers

from jam_core import JamStoreUnavailable
from jam_web.django.configured import sessions
from jam_web.django.store import SessionStore
from jam_web.driving import finish
from jam_web.state import FIRST_FAILURE, OUTAGES, TRY_AGAIN, UNAVAILABLE

_PAGE = "503.html"


class SessionMiddleware(DjangosSessionMiddleware):  # type: ignore[misc]  # Django has no types
    """Replaces Django's SessionMiddleware, and passes Django's checks as one.

    In an outage of the store, requests that use the session get the template 503.html, or a line of
    text.

    Raises:
        JamConfigurationError: The settings cannot be used.
        JamStoreUnavailable: The store cannot be opened.
    """

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        super().__init__(get_response)
        self._is_async = iscoroutinefunction(get_response)
        sessions()

    def __call__(self, request: HttpRequest) -> Any:
        """Answer a request."""
        if self._is_async:
            return self._answer(request)
        session = self._open(request)
        response = self.get_response(request)
        try:
            response = finish(self._stored(session, response))
        except Exception as error:
            response = self._with_headers(session, response_for_exception(request, error))
        return response

    async def _answer(self, request: HttpRequest) -> HttpResponseBase:
        session = self._open(request)
        response = await self.get_response(request)
        try:
            response = await self._stored(session, response)
        except Exception as error:
            failure = await sync_to_async(response_for_exception)(request, error)
            response = self._with_headers(session, failure)
        return response

    def process_exception(
        self, request: HttpRequest, exception: Exception
    ) -> HttpResponseBase | None:
        """Answer for a view that could not get at its session."""
        if not isinstance(exception, OUTAGES):
            return None
        request.session.met_outage = True
        return self._unavailable()

    def _open(self, request: HttpRequest) -> SessionStore:
        session: SessionStore = self.SessionStore()
        cookies = request.META.get("HTTP_COOKIE")
        session.state = sessions().open([cookies] if cookies else [])
        request.session = session
        return session

    async def _stored(self, session: SessionStore, response: HttpResponseBase) -> HttpResponseBase:
        """Store what has changed: the answer leaves, or a page that says why it cannot."""
        state = session.state
        failed = response.status_code >= FIRST_FAILURE
        if state.used:
            session.set_limits()
        try:
            await state.respond(failed=failed)
            if response.status_code == FIRST_FAILURE and session.met_outage:
                # Met by another middleware: for that, Django asks no `process_exception`.
                raise JamStoreUnavailable("A session could not be read.")
        except OUTAGES:
            failed = session.met_outage = True
            response = self._unavailable()
            await state.respond(failed=True)
        _finish_in_the_end(session, response, failed=failed)
        return self._with_headers(session, response)

    def _with_headers(self, session: SessionStore, response: HttpResponseBase) -> HttpResponseBase:
        state = session.state
        if state.used:
            patch_vary_headers(response, ("Cookie",))
        for line in state.cookies.set_cookies:
            response.cookies.load(line)
        is_refused = session.met_outage and response.status_code == UNAVAILABLE
        state.guard_caches(response.headers, is_refused=is_refused)
        return response

    def _unavailable(self) -> HttpResponse:
        try:
            # Without the request: context processors ask for the user, and so for the session.
            body = loader.get_template(_PAGE).render()
        except TemplateDoesNotExist:
            body = TRY_AGAIN
        return HttpResponse(body, status=UNAVAILABLE)


def _finish_in_the_end(session: SessionStore, response: HttpResponseBase, *, failed: bool) -> None:
    """Store what a stream still changes, unless it fails."""
    outcome = {"failed": failed}

    def watched(parts: Iterator[bytes]) -> Iterator[bytes]:
        try:
            yield from parts
        except Exception:
            outcome["failed"] = True
            raise

    async def watched_async(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        try:
            async for part in parts:
                yield part
        except Exception:
            outcome["failed"] = True
            raise

    if response.streaming and not hasattr(response, "file_to_stream"):
        watch = watched_async if response.is_async else watched
        response.streaming_content = watch(response.streaming_content)
    close = response.close

    def close_and_finish() -> None:
        close()
        if session.state.used:
            session.set_limits()
        finish(session.state.finish(**outcome))

    response.close = close_and_finish
