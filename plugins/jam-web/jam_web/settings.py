"""The settings of an application's web sessions."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, TypedDict

from jam_core import JamConfigurationError

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
HOST_PREFIX = "__Host-"


class WebOptions(TypedDict, total=False):
    """The options of every adapter, as keyword arguments; `WebSettings` describes them."""

    cookie: str
    visitor_cookie: str
    csrf_cookie: str
    secure: bool
    samesite: Literal["lax", "strict", "none"]
    principal: tuple[str, ...]
    retry_after: int
    clock: Callable[[], float]


@dataclass(frozen=True, kw_only=True, slots=True)
class WebSettings:
    """The settings of an application's web sessions, whatever its framework.

    Attributes:
        cookie: The name of the cookie of logged-in users; with `secure`, it gets the prefix
            `__Host-`.
        visitor_cookie: The same, for visitors who are not logged in.
        csrf_cookie: The same, for the forms of visitors who have no session.
        secure: False for http in development: then browsers protect the cookies less.
        samesite: With which requests from other sites browsers send the cookies: "lax", with
            links; "strict", with none; "none", with all.
        principal: Keys of the data in which a framework or library stores by itself who is logged
            in, for example ("user_id",). When one of them changes, the session gets a new id; the
            first one names the user, who then owns the session.
        retry_after: Seconds after which a client may try again in an outage.
        clock: Returns the time in seconds since the epoch.
    """

    cookie: str = "session"
    visitor_cookie: str = "visitor"
    csrf_cookie: str = "csrf"
    secure: bool = True
    samesite: Literal["lax", "strict", "none"] = "lax"
    principal: tuple[str, ...] = ()
    retry_after: int = 5
    clock: Callable[[], float] = time.time

    @classmethod
    def of(cls, options: WebOptions) -> "WebSettings":
        """Return the settings that an adapter was given.

        Raises:
            JamConfigurationError: An option is unknown, or cannot be used.
        """
        known = cls.__dataclass_fields__
        problems = [_unknown(name, list(known)) for name in options if name not in known]
        given: Any = {name: value for name, value in options.items() if name in known}
        settings = cls(**given)
        problems += settings._problems()
        if problems:
            raise JamConfigurationError(
                f"The settings of the web sessions cannot be used: {' '.join(problems)}", problems
            )
        return settings

    def name_of(self, cookie: str) -> str:
        """Return the full name of one of the cookies."""
        return HOST_PREFIX + cookie if self.secure else cookie

    def _problems(self) -> list[str]:
        problems = []
        names: tuple[object, ...] = (self.cookie, self.visitor_cookie, self.csrf_cookie)
        principal: object = self.principal
        retry_after: object = self.retry_after
        for name in names:
            if not isinstance(name, str) or _TOKEN.fullmatch(name) is None:
                problems.append(f"{name!r} cannot be a cookie's name: use letters, digits and -.")
            elif name.startswith("__"):
                problems.append(
                    f"The cookie name {name!r} must not have the prefix {HOST_PREFIX}: it is added."
                )
        if len(set(names)) < len(names):
            problems.append("cookie, visitor_cookie and csrf_cookie must be three different names.")
        if not isinstance(self.secure, bool):
            problems.append("secure must be True or False.")
        if self.samesite not in ("lax", "strict", "none"):
            problems.append('samesite must be "lax", "strict" or "none".')
        elif self.samesite == "none" and not self.secure:
            problems.append('samesite="none" needs secure=True: browsers refuse it otherwise.')
        if not isinstance(principal, tuple) or not all(isinstance(key, str) for key in principal):
            problems.append('principal must be a tuple of keys of the data, such as ("user_id",).')
        if not isinstance(retry_after, int) or retry_after < 1:
            problems.append("retry_after must be a whole number of seconds, at least 1.")
        return problems


def _unknown(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, 1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}."
    return f"There is no option {name!r}; {hint}"
