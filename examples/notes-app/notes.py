"""Notes: an application whose users log in, see where else they are logged in, and log out there.

python -m uvicorn notes:app

Where the sessions live says config.toml, or the file that JAM_CONFIG names. Users and notes are in
notes.db, in the working directory.
"""

import hashlib
import hmac
import os
import secrets
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from jinja2 import DictLoader, Environment
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jam import Jam
from jam.exceptions import JamSessionCorrupt, JamSessionNotFound, JamStoreUnavailable
from jam_core import session_handle

jam = Jam(os.environ.get("JAM_CONFIG", Path(__file__).with_name("config.toml")))

# --- Users and notes: what an application has anyway ------------------------------------------


class User(NamedTuple):
    """A user whose password was right.

    Attributes:
        number: Never changes.
        name: What the user is called.
        salt: Of the password; no two passwords have the same.
    """

    number: int
    name: str
    salt: bytes

    @property
    def password_mark(self) -> str:
        """What the sessions of this password have in common."""
        return self.salt.hex()


def database() -> sqlite3.Connection:
    return sqlite3.connect("notes.db")


def add_user(name: str, password: str) -> None:
    salt = secrets.token_bytes(16)
    with closing(database()) as db, db:
        values = (name, salt, hash_password(password, salt))
        db.execute("INSERT INTO users (name, salt, hash) VALUES (?, ?, ?)", values)


def replace_password(user: User, password: str) -> User | None:
    """Store a new password, unless another one has taken the place of the user's meanwhile."""
    salt = secrets.token_bytes(16)
    with closing(database()) as db, db:
        changed = db.execute(
            "UPDATE users SET salt = ?, hash = ? WHERE number = ? AND salt = ?",
            (salt, hash_password(password, salt), user.number, user.salt),
        )
        return user._replace(salt=salt) if changed.rowcount else None


def hash_password(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=5)


def user_with(name: str, password: str) -> User | None:
    """Return the user, if the password is right."""
    with closing(database()) as db:
        query = "SELECT hash, number, name, salt FROM users WHERE name = ?"
        row = db.execute(query, (name,)).fetchone()
    # The same work for an unknown name: the time it takes must not tell who has an account.
    expected, *user = row or (b"", 0, "", b"0" * 16)
    found = User(*user)
    is_right = hmac.compare_digest(hash_password(password, found.salt), expected)
    return found if is_right else None


def password_mark_of(number: int) -> str | None:
    """Return what the sessions of a user's present password have in common."""
    with closing(database()) as db:
        row = db.execute("SELECT salt FROM users WHERE number = ?", (number,)).fetchone()
        return str(row[0].hex()) if row else None


def notes_of(name: str) -> list[str]:
    with closing(database()) as db:
        rows = db.execute("SELECT text FROM notes WHERE user = ? ORDER BY rowid DESC", (name,))
        return [text for (text,) in rows]


def make_database() -> None:
    Path("notes.db").touch(mode=0o600)
    with closing(database()) as db, db:
        db.execute("CREATE TABLE IF NOT EXISTS notes (user TEXT, text TEXT)")
        db.execute(
            "CREATE TABLE IF NOT EXISTS users "
            "(number INTEGER PRIMARY KEY, name TEXT UNIQUE, salt BLOB, hash BLOB)"
        )
        (users,) = db.execute("SELECT count(*) FROM users").fetchone()
    if not users:
        add_user("ann", "strawberry")
        add_user("bob", "raspberry")


# --- Sessions -----------------------------------------------------------------------------------

# The prefix has the browser refuse a cookie of that name which a subdomain, or plain HTTP, sets.
COOKIE = "__Host-session"
VISITOR_COOKIE = "__Host-visitor"

Session = dict[str, Any]


def cookie_of(request: Request, name: str) -> str:
    """Return a cookie whose name is this one to the letter.

    Not `request.cookies`: it takes away more around a name than browsers do, so that another name,
    which a subdomain may set, would be taken for one with the prefix.
    """
    for header in request.headers.getlist("cookie"):
        for cookie in header.split(";"):
            found, _, value = cookie.strip(" ").partition("=")
            if found == name:
                return value.strip('"')
    return ""


def session_id_of(request: Request) -> str:
    return cookie_of(request, COOKIE)


def session_of(request: Request) -> Session:
    """Return the data of the session, and have its idle time start again."""
    session_id = session_id_of(request)
    try:
        data = jam.session_get(session_id)
    except JamSessionCorrupt as error:  # to log in again is the way out; it ends the damaged one
        complain(error)
        data = None
    # A log-in that was under way when the password changed, or a session that could not be ended
    # because the store was down just then: neither may outlive the old password.
    if data is None or data["password_mark"] != password_mark_of(data["number"]):
        raise JamSessionNotFound
    jam.session_touch(session_id)
    return data


def session_key_of(number: int) -> str:
    """Return whose session it is; ids in Redis begin with it, so it is no name."""
    return f"user-{number}"


def log_in(request: Request, user: User) -> Response:
    """Begin a session of the user, under an id that nobody has seen before."""
    session_id = jam.session_create(
        session_key=session_key_of(user.number),
        data={
            "user": user.name,
            "number": user.number,
            "password_mark": user.password_mark,
            "csrf": secrets.token_urlsafe(),
            "device": device_of(request),
            "since": time.time(),
        },
    )
    # Whoever planted the id that this browser came with knows it: it must open nothing any more.
    jam.session_delete(session_id_of(request))
    return with_cookie(redirect("/"), session_id)


def with_cookie(response: Response, value: str, name: str = COOKIE) -> Response:
    response.set_cookie(name, value, path="/", secure=True, httponly=True, samesite="lax")
    return response


def without_cookie(response: Response) -> Response:
    response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="lax")
    return response


def device_of(request: Request) -> str:
    agent = request.headers.get("user-agent", "")
    systems = ("iPhone", "iPad", "Android", "Windows", "Mac OS", "Linux")
    browsers = ("Firefox", "Edg", "Chrome", "Safari")
    system = next((name for name in systems if name in agent), "unknown system")
    browser = next((name for name in browsers if name in agent), "unknown browser")
    return f"{browser} on {system}"


# --- Pages --------------------------------------------------------------------------------------

TEMPLATES = {
    "base": """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/style.css">
<title>{% block title %}{% endblock %} - Notes</title>
<header>
  <strong>Notes</strong>
  {% if user %}
  <nav>
    <a href="/">My notes</a> <a href="/devices">My devices</a>
    <form method="post" action="/logout">{{ csrf }}<button>Log out</button></form>
  </nav>
  {% endif %}
</header>
<main>
<h1>{{ self.title() }}</h1>
{% block main %}{% endblock %}
</main>""",
    "login": """{% extends "base" %}
{% block title %}Log in{% endblock %}
{% block main %}
{% if problem %}<p role="alert">{{ problem }}</p>{% endif %}
<form method="post" action="/login">
  {{ csrf }}
  <label>Name <input name="user" autocomplete="username" autofocus required></label>
  <label>Password
    <input name="password" type="password" autocomplete="current-password" required></label>
  <button>Log in</button>
</form>
<p>Try <b>ann</b> with <b>strawberry</b>, or <b>bob</b> with <b>raspberry</b>.</p>
{% endblock %}""",
    "notes": """{% extends "base" %}
{% block title %}Notes of {{ user }}{% endblock %}
{% block main %}
<form method="post" action="/notes">
  {{ csrf }}
  <label>A new note <input name="text" maxlength="500" autofocus required></label>
  <button>Keep it</button>
</form>
<ul>{% for note in notes %}<li>{{ note }}</li>{% else %}<li>Nothing yet.</li>{% endfor %}</ul>
{% endblock %}""",
    "devices": """{% extends "base" %}
{% block title %}My devices{% endblock %}
{% block main %}
<ul>
{% for device in devices %}
  <li>
    <div>{{ device.name }}{% if device.is_this %} <b>(this one)</b>{% endif %}<br>
    <small>since {{ device.since }}</small></div>
    {% if not device.is_this %}
    <form method="post" action="/devices/revoke">
      {{ csrf }}<input type="hidden" name="handle" value="{{ device.handle }}">
      <button>Log it out</button>
    </form>
    {% endif %}
  </li>
{% endfor %}
</ul>
<form method="post" action="/devices/others">
  {{ csrf }}<button>Log out everywhere else</button></form>
<form method="post" action="/devices/all">{{ csrf }}<button>Log out everywhere</button></form>
<h2>Change my password</h2>
{% if problem %}<p role="alert">{{ problem }}</p>{% endif %}
<form method="post" action="/password">
  {{ csrf }}<input hidden autocomplete="username" value="{{ user }}">
  <label>The old one
    <input name="old" type="password" autocomplete="current-password" required></label>
  <label>The new one
    <input name="new" type="password" autocomplete="new-password" minlength="8" required></label>
  <button>Change it, and log out everywhere else</button>
</form>
{% endblock %}""",
    "unavailable": """{% extends "base" %}
{% block title %}Back in a moment{% endblock %}
{% block main %}<p>We cannot look after sessions just now. Whoever is logged in still is: please try
again in a few seconds.</p>{% endblock %}""",
}

STYLE = """
:root { color-scheme: light dark; font: 1.05rem/1.5 system-ui, sans-serif; }
body { margin: 0; }
header, main { max-width: 38rem; margin: auto; padding: 1rem; }
header, nav, li { display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: center;
  justify-content: space-between; }
ul { padding: 0; }
li { padding: .6rem 0; border-bottom: 1px solid color-mix(in srgb, currentColor 25%, transparent);
  overflow-wrap: anywhere; }
main form { margin: 1rem 0; }
li form { margin: 0; }
label { display: block; margin-bottom: .8rem; }
input { display: block; width: 100%; }
input, button { font: inherit; box-sizing: border-box; padding: .4rem .7rem; }
[hidden] { display: none; }
[role=alert] { color: light-dark(#a00, #f88); }
"""

templates = Environment(loader=DictLoader(TEMPLATES), autoescape=True)


def page(name: str, session: Session | None = None, status: int = 200, **values: Any) -> Response:
    session = session or {}
    token = Markup('<input type="hidden" name="csrf" value="{}">').format(session.get("csrf", ""))
    text = templates.get_template(name).render(values, user=session.get("user"), csrf=token)
    return HTMLResponse(text, status)


def redirect(path: str) -> Response:
    return RedirectResponse(path, status_code=303)


def style(_: Request) -> Response:
    return PlainTextResponse(STYLE, media_type="text/css")


def show_login(request: Request, problem: str = "", status: int = 200) -> Response:
    # A visitor has no session, or whoever asks often enough would fill the store. The token that
    # the form needs is in a cookie, which no other site can read or set.
    token = cookie_of(request, VISITOR_COOKIE) or secrets.token_urlsafe()
    answer = page("login", {"csrf": token}, status, problem=problem)
    return with_cookie(answer, token, VISITOR_COOKIE)


def show_notes(request: Request) -> Response:
    session = session_of(request)
    return page("notes", session, notes=notes_of(session["user"]))


def show_devices(request: Request, problem: str = "", status: int = 200) -> Response:
    session = session_of(request)
    this = session_handle(session_id_of(request))
    devices = [
        {
            "handle": one.handle,
            "name": one.data["device"],
            "since": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(one.data["since"])),
            "is_this": one.handle == this,
        }
        for one in jam.session_list(session_key_of(session["number"]))
        if one.data and one.data["password_mark"] == session["password_mark"]
    ]
    return page("devices", session, status, devices=devices, problem=problem)


# --- What is posted -----------------------------------------------------------------------------

Form = dict[str, str]
Handler = Callable[[Request, Form, Session], Response]
LONGEST_FORM = 10_000  # bytes
SHORTEST_PASSWORD = 8


def posted(handler: Handler) -> Callable[..., Awaitable[Response]]:
    """Call a handler with the form and the session, if the form carries that session's token."""

    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(checked, request, await form_of(request))

    def checked(request: Request, form: Form) -> Response:
        session = session_of(request)
        check_token(form, session["csrf"])
        return handler(request, form, session)

    return endpoint


async def form_of(request: Request) -> Form:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST_FORM:
            raise HTTPException(413, "This form is too long.")
    return dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))


def check_token(form: Form, expected: str) -> None:
    """Refuse a form that another site may have made."""
    given = form.get("csrf", "")
    if not expected or not hmac.compare_digest(given.encode(), expected.encode()):
        raise HTTPException(403, "This form is not ours, or is too old.")


async def try_login(request: Request) -> Response:
    form = await form_of(request)
    check_token(form, cookie_of(request, VISITOR_COOKIE))
    return await run_in_threadpool(log_in_with, request, form)


def log_in_with(request: Request, form: Form) -> Response:
    user = user_with(form.get("user", ""), form.get("password", ""))
    if user is None:
        return show_login(request, "This name and this password do not belong together.", 401)
    return log_in(request, user)


def log_out(request: Request, _: Form, __: Session) -> Response:
    jam.session_delete(session_id_of(request))
    return without_cookie(redirect("/login"))


def add_note(_: Request, form: Form, session: Session) -> Response:
    with closing(database()) as db, db:
        values = (session["user"], form.get("text", "")[:500])
        db.execute("INSERT INTO notes VALUES (?, ?)", values)
    return redirect("/")


def log_out_device(_: Request, form: Form, session: Session) -> Response:
    jam.session_revoke(session_key_of(session["number"]), form.get("handle", ""))
    return redirect("/devices")


def log_out_others(request: Request, _: Form, __: Session) -> Response:
    jam.session_clear_others(session_id_of(request))
    return redirect("/devices")


def log_out_everywhere(_: Request, __: Form, session: Session) -> Response:
    jam.session_clear(session_key_of(session["number"]))
    return without_cookie(redirect("/login"))


def change_password(request: Request, form: Form, session: Session) -> Response:
    user = user_with(session["user"], form.get("old", ""))
    if user is None:
        return show_devices(request, "That is not your old password.", 403)
    if len(form.get("new", "")) < SHORTEST_PASSWORD:
        return show_devices(request, f"It needs {SHORTEST_PASSWORD} characters at least.", 422)
    user = replace_password(user, form["new"])
    if user is None:
        raise JamSessionNotFound  # another change was faster: this session is one of the past
    # From here on no session counts, whatever fails. This one gets a new id before it counts
    # again: whoever knew the old password may know the old id as well.
    mark = user.password_mark
    try:
        session_id = jam.session_rework(session_id_of(request))
        jam.session_mutate(session_id, lambda data: {**data, "password_mark": mark})
        jam.session_clear_others(session_id)
    except (JamSessionNotFound, JamStoreUnavailable) as error:
        complain(error)
        return show_login(request, "Your password is changed. Please log in with it.")
    return with_cookie(redirect("/devices"), session_id)


# --- The application ----------------------------------------------------------------------------


def complain(error: Exception) -> None:
    print(f"sessions: {error}", file=sys.stderr)


def show_outage(_: Request, error: Exception) -> Response:
    # The cookie stays as it is: an outage is not a logout.
    complain(error)
    response = page("unavailable", status=503)
    response.headers["Retry-After"] = "5"
    return response


def show_login_instead(_: Request, __: Exception) -> Response:
    # The cookie stays: by now it may be the one of a new id, which another tab has just got.
    return redirect("/login")


class SafeHeaders:
    """Nothing is kept by browser or proxy, nothing is loaded from elsewhere, nothing frames us."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *HEADERS]
            await send(message)

        await self._app(scope, receive, send_with_headers)


HEADERS = [
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; "
        b"base-uri 'none'; frame-ancestors 'none'",
    ),
]


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    make_database()
    yield
    jam.close()


app = Starlette(
    routes=[
        Route("/", show_notes),
        Route("/style.css", style),
        Route("/login", show_login),
        Route("/login", try_login, methods=["POST"]),
        Route("/logout", posted(log_out), methods=["POST"]),
        Route("/notes", posted(add_note), methods=["POST"]),
        Route("/devices", show_devices),
        Route("/devices/revoke", posted(log_out_device), methods=["POST"]),
        Route("/devices/others", posted(log_out_others), methods=["POST"]),
        Route("/devices/all", posted(log_out_everywhere), methods=["POST"]),
        Route("/password", posted(change_password), methods=["POST"]),
    ],
    middleware=[Middleware(SafeHeaders)],
    exception_handlers={
        JamStoreUnavailable: show_outage,
        JamSessionCorrupt: show_outage,
        JamSessionNotFound: show_login_instead,
    },
    lifespan=lifespan,
)
