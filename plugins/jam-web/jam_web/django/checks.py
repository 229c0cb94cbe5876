"""The system check: what is wrong with the settings, before somebody is logged out by it."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004
from django.utils.module_loading import import_string

from jam_core import JamError
from jam_core.hosting import LIFETIMES, LOGIN, SEEN, optional_operations_of
from jam_web.django.configured import configuration, problems_of_settings
from jam_web.django.middleware import SessionMiddleware
from jam_web.django.store import SessionStore

_NEEDED = {LIFETIMES, LOGIN, SEEN, "info", "touch", "mutate"}


def check_settings(**_: Any) -> list[CheckMessage]:
    """Return what is wrong with the settings of the sessions."""
    return [*_settings(), *_store(), *_engine(), *_middleware()]


def _settings() -> list[CheckMessage]:
    return [
        Error(f"{setting}: {said}", id="jam_web.E001") for setting, said in problems_of_settings()
    ]


def _store() -> list[CheckMessage]:
    try:
        store = configuration().store
    except JamError as error:
        problems = getattr(error, "problems", (error.message,))
        return [Error(f"JAM_CONFIG: {problem}", id="jam_web.E002") for problem in problems]
    kind = store if isinstance(store, type) else type(store)
    lacking = _NEEDED - optional_operations_of(kind)
    if not lacking:
        return []
    said = f"JAM_CONFIG: {kind.__name__} lacks {', '.join(sorted(lacking))}, which sessions need."
    return [Error(said, hint="Choose another session_type.", id="jam_web.E003")]


def _engine() -> list[CheckMessage]:
    try:
        engine = import_string(f"{settings.SESSION_ENGINE}.SessionStore")
    except ImportError as error:
        return [Error(f"SESSION_ENGINE: {error}", id="jam_web.E004")]
    if isinstance(engine, type) and issubclass(engine, SessionStore):
        return []
    said = f"jam_web.django is installed, but the sessions are in {settings.SESSION_ENGINE!r}."
    return [Error(said, hint='Set SESSION_ENGINE = "jam_web.django".', id="jam_web.E004")]


def _middleware() -> list[CheckMessage]:
    for path in settings.MIDDLEWARE:
        try:
            middleware = import_string(path)
        except ImportError:
            continue  # Django says so, when it starts
        if isinstance(middleware, type) and issubclass(middleware, SessionMiddleware):
            return []
    return [
        Warning(
            "MIDDLEWARE has no jam_web.django.SessionMiddleware. With Django's, a late response to "
            "a visitor can replace the cookie of a log-in, and an outage is an error page.",
            hint="Put it in place of django.contrib.sessions.middleware.SessionMiddleware.",
            id="jam_web.W001",
        )
    ]
