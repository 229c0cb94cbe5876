"""Test clients that know the cookie of a visitor, too.

    class TestShop(django.test.TestCase):
        client_class = Client

Django's own clients look for the session in one cookie, which here is that of logged-in users.
"""

from typing import Any

from django import test
from django.conf import settings

from jam_web.django.configured import sessions
from jam_web.django.store import SessionStore


class _KnowsVisitors:
    cookies: Any

    @property
    def session(self) -> Any:
        """The session that the next request comes with; a new one, if it would come without."""
        return self._visitors() or super().session  # type: ignore[misc]  # Django's

    async def asession(self) -> Any:
        """Return the session that the next request comes with, as `session` does."""
        return self._visitors() or await super().asession()  # type: ignore[misc]  # Django's

    def _visitors(self) -> SessionStore | None:
        options = sessions().settings
        logged_in = self.cookies.get(settings.SESSION_COOKIE_NAME)
        visitors = self.cookies.get(options.name_of(options.visitor_cookie))
        if (logged_in and logged_in.value) or not (visitors and visitors.value):
            return None
        return SessionStore(visitors.value)


class Client(_KnowsVisitors, test.Client):  # type: ignore[misc]  # Django has no types
    """`django.test.Client`, whose `session` is a visitor's, too."""


class AsyncClient(_KnowsVisitors, test.AsyncClient):  # type: ignore[misc]  # Django has no types
    """`django.test.AsyncClient`, whose `asession` is a visitor's, too."""
