"""Sessions in Django: the cases of every adapter, and what is Django's own."""

import gc
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.test import override_settings

from jam_core.hosting import configured_store

from . import django_project
from .asgi_site import ASGISite
from .cases import CutOffCases, StreamCases, WebCases
from .site import COOKIE, Commands, Gates, Pending, Site
from .wsgi_site import WSGISite

PACKAGE = django_project.__name__.rpartition(".")[0]


class DjangoCases:
    """Makes the site."""

    urls: str

    def make_site(
        self,
        stack: ExitStack,
        configuration: dict[str, Any],
        commands: Commands,
        gates: Gates,
        **options: Any,
    ) -> Site:
        settings: dict[str, Any] = {
            "SESSION_ENGINE": django_project.__name__,
            "SESSION_COOKIE_NAME": options.pop("cookie", COOKIE),
            "SESSION_COOKIE_SECURE": options.pop("secure", True),
            "SESSION_COOKIE_SAMESITE": options.pop("samesite", "lax").capitalize(),
            "JAM_CONFIG": configured_store(configuration, "", [commands]),
            "JAM_OPTIONS": options,
            "MIDDLEWARE": django_project.MIDDLEWARE[:1],
            "ROOT_URLCONF": self.urls,
        }
        stack.enter_context(override_settings(**settings))
        django_project.gates = gates
        site = type(self).site_of()
        stack.callback(site.close)
        return site

    @staticmethod
    def site_of() -> Site:
        raise NotImplementedError


class TestDjango(DjangoCases, WebCases, StreamCases):
    default_store = "json"
    urls = django_project.__name__

    @staticmethod
    def site_of() -> Site:
        return WSGISite(WSGIHandler())


# Django leaves the body of a request open if its answer breaks off.
@pytest.mark.filterwarnings("ignore:.*SpooledTemporaryFile:pytest.PytestUnraisableExceptionWarning")
class UnderASGI(DjangoCases):
    @staticmethod
    def site_of() -> Site:
        django = ASGIHandler()

        async def application(scope: Any, receive: Any, send: Any) -> None:
            async def send_if_there(message: Any) -> None:
                # As uvicorn does. After any error of a server's, Django
                # does not close the response, and nothing is stored of what a stream has changed.
                with suppress(OSError):
                    await send(message)

            await django(scope, receive, send_if_there)

        return ASGISite(application)

    @pytest.fixture(autouse=True)
    def nothing_left_to_other_tests(self) -> Iterator[None]:
        yield
        gc.collect()


@pytest.mark.exhaustive
class TestAwaitedDjango(UnderASGI, WebCases, StreamCases, CutOffCases):
    default_store = "redis"
    urls = f"{PACKAGE}.django_awaited_urls"

    @staticmethod
    def cut_off(pending: Pending) -> None:
        """Go away: Django then cancels the request itself."""
        pending.disconnect()
        pending.answer()


@pytest.mark.exhaustive
class TestPlainUnderASGI(UnderASGI, WebCases):
    default_store = "redis"
    stores = ("redis",)
    urls = django_project.__name__


@pytest.mark.exhaustive
class TestAwaitedUnderWSGI(DjangoCases, WebCases):
    default_store = "redis"
    stores = ("redis",)
    urls = f"{PACKAGE}.django_awaited_urls"

    @staticmethod
    def site_of() -> Site:
        return WSGISite(WSGIHandler())
