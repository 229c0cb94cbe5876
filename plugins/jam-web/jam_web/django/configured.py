"""Django's settings, and the sessions that they make."""

from functools import cache
from typing import Any, NamedTuple

from django.conf import settings
from django.core.signals import setting_changed

from jam_core import Jam, JamConfigurationError
from jam_core.aio import Jam as AwaitedJam
from jam_core.hosting import ConfiguredStore, configured_store
from jam_web.driving import finish
from jam_web.settings import HOST_PREFIX, WebOptions, WebSettings
from jam_web.state import WebSessions

_USER = "_auth_user_id"  # where django.contrib.auth keeps who is logged in
# What Django's own cookie may be and this one not, and what it has to be.
_FIXED = {
    "SESSION_COOKIE_DOMAIN": (None, "no other host may get this cookie: remove the setting."),
    "SESSION_COOKIE_PATH": ("/", 'browsers take the prefix __Host- with "/" only.'),
    "SESSION_COOKIE_HTTPONLY": (True, "no script may read this cookie: remove the setting."),
    "SESSION_SERIALIZER": (
        "django.contrib.sessions.serializers.JSONSerializer",
        "sessions are JSON: remove the setting.",
    ),
}
_OF_DJANGOS_OWN = {  # options of jam_web that have a setting of Django's
    "cookie": "SESSION_COOKIE_NAME",
    "secure": "SESSION_COOKIE_SECURE",
    "samesite": "SESSION_COOKIE_SAMESITE",
}


class Problem(NamedTuple):
    """What is wrong with the settings.

    Attributes:
        setting: Its name.
        said: What is wrong, and what to do.
    """

    setting: str
    said: str


@cache
def sessions() -> WebSessions:
    """Return the sessions that the settings make.

    Raises:
        JamConfigurationError: The settings cannot be used.
        JamStoreUnavailable: The store cannot be opened.
    """
    problems = problems_of_settings()
    if problems:
        told = [f"{setting}: {said}" for setting, said in problems]
        raise JamConfigurationError(f"Django's settings: {' '.join(told)}", told)
    configured = configuration()
    jam = Jam(configured)
    wrappers = [make() for make in configured.wrappers]
    awaited = AwaitedJam({"session": {"session_type": jam.store}}, wrappers=wrappers)
    return WebSessions(jam, awaited=awaited, **_options())


def configuration() -> ConfiguredStore:
    """Return what JAM_CONFIG, or the environment variable of that name, says.

    Raises:
        JamConfigurationError: It cannot be used.
    """
    return configured_store(getattr(settings, "JAM_CONFIG", None), "jam")


def problems_of_settings() -> list[Problem]:
    """Return what is wrong with Django's settings and with JAM_OPTIONS."""
    problems = [
        Problem(name, f"{getattr(settings, name)!r} cannot be: {said}")
        for name, (needed, said) in _FIXED.items()
        if getattr(settings, name) != needed
    ]
    name, secure = settings.SESSION_COOKIE_NAME, settings.SESSION_COOKIE_SECURE
    if secure and not name.startswith(HOST_PREFIX):
        safe = f"{HOST_PREFIX}{name}"
        said = f'with SESSION_COOKIE_SECURE write "{safe}": other hosts cannot set it then.'
        problems.append(Problem("SESSION_COOKIE_NAME", said))
    elif not secure and name.startswith("__"):
        problems.append(Problem("SESSION_COOKIE_SECURE", f"must be True for a cookie {name!r}."))
    given = getattr(settings, "JAM_OPTIONS", {})
    problems += [
        Problem("JAM_OPTIONS", f"{option} is Django's {setting}: set that.")
        for option, setting in _OF_DJANGOS_OWN.items()
        if option in given
    ]
    if not problems:
        try:
            WebSettings.of(_options())
        except JamConfigurationError as error:
            problems += [Problem("SESSION_COOKIE_*, JAM_OPTIONS", one) for one in error.problems]
    return problems


def _options() -> WebOptions:
    options: Any = {
        "cookie": settings.SESSION_COOKIE_NAME.removeprefix(HOST_PREFIX),
        "secure": settings.SESSION_COOKIE_SECURE,
        "samesite": (settings.SESSION_COOKIE_SAMESITE or "lax").lower(),
        "principal": (_USER,),
        **getattr(settings, "JAM_OPTIONS", {}),
    }
    made: WebOptions = options
    return made


def _forget(*, setting: str, **_: object) -> None:
    if setting.startswith(("JAM_", "SESSION_")) and sessions.cache_info().currsize:
        made_before = sessions()
        sessions.cache_clear()  # first: closing may fail
        finish(made_before.jam.close())


setting_changed.connect(_forget)  # by the tests of a project
