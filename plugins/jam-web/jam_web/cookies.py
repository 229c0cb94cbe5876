"""Cookies: session ids in them, read by their exact names, and written."""

import base64
import binascii
import math
from collections.abc import Iterable, Sequence

from jam_core import JamSessionError
from jam_web.settings import WebSettings

LONGEST = 4096  # characters of a name and a value that browsers keep (RFC 6265bis, 5.7)
LONGEST_LIFE = 400 * 86400  # seconds; browsers keep none longer (RFC 6265bis, 5.6.2)

PRIVATE = 'private, no-cache="Set-Cookie"'
_SHARED = frozenset({"public", "s-maxage"})  # directives that let a shared cache keep an answer


def private_cache_control(given: str | None) -> str:
    """Return the Cache-Control of an answer with a cookie, which no shared cache may keep.

    Args:
        given: What the application has set, if anything.
    """
    if not given:
        return PRIVATE
    directives = [one.strip() for one in given.split(",")]
    names = [one.partition("=")[0].rstrip().lower() for one in directives]
    kept = [one for one, name in zip(directives, names, strict=True) if name not in _SHARED]
    # With a list of headers, private="...", it is about those only.
    if "no-store" not in names and "private" not in map(str.lower, kept):
        kept.insert(0, "private")
    return ", ".join(kept)


def encode_id(session_id: str) -> str:
    """Return a session id as a cookie's value: any id fits, whatever characters it has."""
    raw = session_id.encode("utf-8", "surrogatepass")
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode_id(value: str) -> str | None:
    """Return the session id of which this is the value; None if it is of none."""
    if len(value) > LONGEST:
        return None
    try:
        padded = value.encode("ascii") + b"=" * (-len(value) % 4)
        session_id = base64.urlsafe_b64decode(padded).decode("utf-8", "surrogatepass")
    except (binascii.Error, ValueError):
        return None
    # Python reads over what is no base64, and there must be no second spelling of an id.
    return session_id if encode_id(session_id) == value else None


def values_of(headers: Iterable[str], names: Sequence[str]) -> dict[str, str]:
    """Return the values of the cookies that have exactly these names, in the names' order.

    Of one name with two values there is none: one of them is planted, and nothing tells which.
    Frameworks take away more around a name than browsers do, so that a name which a subdomain may
    set passes for one with the prefix.

    Args:
        headers: The values of the request's Cookie headers.
        names: The whole names.
    """
    values: dict[str, str | None] = dict.fromkeys(names)
    planted = set()
    for header in headers:
        for cookie in header.split(";"):
            name, equals, value = cookie.strip(" \t").partition("=")
            if equals and name in values:
                if values[name] not in (None, value):
                    planted.add(name)
                values[name] = value
    return {
        name: value for name, value in values.items() if value is not None and name not in planted
    }


def set_cookie(settings: WebSettings, name: str, value: str, life: float | None) -> str:
    """Return a Set-Cookie header's value.

    Args:
        settings: How cookies are protected.
        name: The whole name.
        value: The value; "" to delete the cookie.
        life: Seconds that the browser keeps it; None: until it is closed.
    """
    parts = [f"{name}={value}", "Path=/"]
    if life is not None:
        parts.append(f"Max-Age={min(int(life), LONGEST_LIFE)}")
    parts.append("HttpOnly")
    if not value:
        parts.append("Expires=Thu, 01 Jan 1970 00:00:00 GMT")
    if settings.secure:
        parts.append("Secure")
    parts.append(f"SameSite={settings.samesite.capitalize()}")
    return "; ".join(parts)


class Cookies:
    """The cookies of one request and of its response.

    Args:
        settings: How they are protected.
        names: The whole names of those that may hold a session's id.
        headers: The values of the request's Cookie headers.

    Attributes:
        names: As given.
        came: The values of those that the request has, by name.
        have_left: Whether the response's headers have left, so that it is too late to set one.
        are_kept: False: the browser is to forget a session's id when it is closed.
    """

    def __init__(
        self, settings: WebSettings, names: tuple[str, str], headers: Sequence[str]
    ) -> None:
        self.names = names
        self.came = values_of(headers, names) if headers else {}
        self.have_left = False
        self.are_kept = True
        self._settings = settings
        self._headers = headers
        self._ids: dict[str, tuple[str, float | None]] = {}  # and the sessions' deadlines
        self._others: dict[str, str] = {}

    @property
    def set_cookies(self) -> list[str]:
        """The values of the response's Set-Cookie headers."""
        ids = [
            set_cookie(self._settings, name, value, self._life_until(deadline))
            for name, (value, deadline) in self._ids.items()
        ]
        return ids + list(self._others.values())

    def value(self, name: str) -> str | None:
        """Return the value of any cookie that the request has; None if it has none."""
        return values_of(self._headers, [name]).get(name)

    def set(self, name: str, value: str) -> None:
        """Set a cookie that holds no session's id, for as long as browsers keep any."""
        self._others[name] = set_cookie(self._settings, name, value, LONGEST_LIFE)

    def set_id(self, name: str, session_id: str, deadline: float | None) -> bool:
        """Set the cookie of a session; return False if it is too long for browsers to keep.

        Args:
            name: The cookie's whole name.
            session_id: What it tells.
            deadline: When the session ends in any case, in seconds since the epoch; None: never.
        """
        value = encode_id(session_id)
        if len(name) + len(value) > LONGEST:
            return False
        self._others.pop(name, None)
        self._ids[name] = (value, deadline)
        return True

    def withdraw_id(self, session_id: str) -> None:
        """Do not tell of this session after all; what the browser has stays."""
        value = encode_id(session_id)
        self._ids = {name: held for name, held in self._ids.items() if held[0] != value}

    def delete(self, name: str) -> None:
        """Have the browser forget a cookie, if it has it."""
        self._ids.pop(name, None)
        self._others.pop(name, None)
        if name in self.came and not self.have_left:
            self._others[name] = set_cookie(self._settings, name, "", 0)

    def delete_ids(self) -> None:
        """Have the browser forget its session."""
        for name in self.names:
            self.delete(name)

    def need_headers(self, purpose: str) -> None:
        """Refuse what needs a cookie when it is too late to set one.

        Raises:
            JamSessionError: The headers have left.
        """
        if self.have_left:
            raise JamSessionError(
                f"To {purpose}, a cookie has to be set, but the headers of the response have left: "
                "do it before the response starts."
            )

    def _life_until(self, deadline: float | None) -> float | None:
        if not self.are_kept:
            return None
        left = LONGEST_LIFE if deadline is None else deadline - self._settings.clock()
        return max(1, math.ceil(left))
