"""A project of Django's: what its settings say, and the requests that the cases make."""

import atexit
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any

import django
from django.conf import settings
from django.contrib.sessions.backends.base import UpdateError
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import path
from jam_web import AsyncSession, finish
from jam_web import django as jam_django

from .site import MEMORY, PLAN, Gates, perform, plan_of

OURS = f"{__package__}.django_project" if __package__ else "django_project"
MIDDLEWARE = [
    "jam_web.django.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

gates = Gates()
"""Where the requests of the cases wait; each site puts its own here."""


def set_up() -> None:
    """Set Django up, once a process, with a database for its users."""
    if settings.configured:
        return
    directory = tempfile.TemporaryDirectory()
    atexit.register(directory.cleanup)
    template = {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
    settings.configure(
        ALLOWED_HOSTS=["*"],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": f"{directory.name}/users.db",
                "TEST": {"NAME": f"{directory.name}/users.db"},
            }
        },
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=[
            "django.contrib.admin",
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.messages",
            "jam_web.django",
        ],
        JAM_CONFIG=MEMORY,
        MESSAGE_STORAGE="django.contrib.messages.storage.session.SessionStorage",
        MIDDLEWARE=MIDDLEWARE,
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        ROOT_URLCONF=OURS,
        SECRET_KEY="for tests",
        SESSION_ENGINE="jam_web.django",
        TEMPLATES=[template],
        USE_TZ=True,
    )
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


# --- the requests of the cases -------------------------------------------------------------------


class SessionStore(jam_django.SessionStore):
    """The engine, but for what Django's interface asks and the cases do not: who saves what has
    ended meanwhile gets an exception.
    """

    def save(self, must_create: bool = False) -> None:
        with suppress(UpdateError):
            super().save(must_create)


def endpoint(request: HttpRequest) -> HttpResponseBase:
    plan = plan_of({PLAN: request.headers[PLAN]})

    def results(steps: list[Any]) -> str:
        return json.dumps(finish(perform(request.session, steps, gates.block))) + "\n"

    before = results(plan["steps"])

    def stream() -> Iterator[str]:
        yield before
        for steps in plan["chunks"]:
            yield results(steps)

    made: Callable[..., HttpResponseBase] = HttpResponse
    if plan["chunks"]:
        made = StreamingHttpResponse
    body: Any = stream() if plan["chunks"] else before
    if plan["status"] == 304:  # of which this server makes no empty answer
        body = b""
    return made(body, status=plan["status"], headers=plan["headers"])


async def awaited_endpoint(request: HttpRequest) -> HttpResponseBase:
    plan = plan_of({PLAN: request.headers[PLAN]})
    await request.session.aload()
    session = AsyncSession(request.session.state)

    async def results(steps: list[Any]) -> str:
        return json.dumps(await perform(session, steps, gates.hold)) + "\n"

    before = await results(plan["steps"])

    async def stream() -> AsyncIterator[str]:
        yield before
        for steps in plan["chunks"]:
            yield await results(steps)

    made: Callable[..., HttpResponseBase] = HttpResponse
    if plan["chunks"]:
        made = StreamingHttpResponse
    body: Any = stream() if plan["chunks"] else before
    if plan["status"] == 304:  # of which this server makes no empty answer
        body = b""
    return made(body, status=plan["status"], headers=plan["headers"])


def plain(_: HttpRequest) -> HttpResponse:
    return HttpResponse("plain")


urlpatterns = [path("", endpoint), path("plain", plain)]


set_up()
