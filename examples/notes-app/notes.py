"""Notes: an application whose users log in, see where else they are logged in, and log out there.

python -m uvicorn notes:app

config.toml, or the file that JAM_CONFIG names, says where the sessions are. Users and notes are in
notes.db, in the working directory.
"""

import hashlib
import hmac
import os
import secrets
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from urllib.parse import parse_qsl

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse
from jam_web.fastapi import SessionMiddleware, SyncSession
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from jam.aio import Jam

# --- Users and notes: what an application has anyway ------------------------------------------


class User(NamedTuple):
    """A user; the salt belongs to the password, and no two passwords share one."""

    number: int
    name: str
    salt: bytes


def query(statement: str, *values: object) -> list[Any]:
    with closing(sqlite3.connect("notes.db")) as db, db:
        return db.execute(statement, values).fetchall()


def add_user(name: str, password: str) -> None:
    salt = secrets.token_bytes(16)
    hashed = hash_password(password, salt)
    query("INSERT INTO users (name, salt, hash) VALUES (?, ?, ?)", name, salt, hashed)


def replace_password(user: User, password: str) -> User | None:
    """Store a new password, unless the user's has been replaced in the meantime."""
    salt = secrets.token_bytes(16)
    change = "UPDATE users SET salt = ?, hash = ? WHERE number = ? AND salt = ? RETURNING number"
    changed = query(change, salt, hash_password(password, salt), user.number, user.salt)
    return user._replace(salt=salt) if changed else None


def hash_password(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=5)


def user_with(name: str, password: str) -> User | None:
    """Return the user, if the password is right."""
    rows = query("SELECT hash, number, name, salt FROM users WHERE name = ?", name)
    # The same work for an unknown name: the time it takes must not tell who has an account.
    expected, *user = rows[0] if rows else (b"", 0, "", b"0" * 16)
    found = User(*user)
    is_right = hmac.compare_digest(hash_password(password, found.salt), expected)
    return found if is_right else None


def user_of(key: str | None) -> User | None:
    rows = query("SELECT number, name, salt FROM users WHERE 'user-' || number = ?", key)
    return User(*rows[0]) if rows else None


def notes_of(user: User) -> list[str]:
    rows = query("SELECT text FROM notes WHERE user = ? ORDER BY rowid DESC", user.name)
    return [text for (text,) in rows]


def make_database() -> None:
    Path("notes.db").touch(mode=0o600)
    columns = "number INTEGER PRIMARY KEY, name TEXT UNIQUE, salt BLOB, hash BLOB"
    query("CREATE TABLE IF NOT EXISTS notes (user TEXT, text TEXT)")
    query(f"CREATE TABLE IF NOT EXISTS users ({columns})")
    if not query("SELECT 1 FROM users"):
        add_user("ann", "strawberry")
        add_user("bob", "raspberry")


# --- Pages ------------------------------------------------------------------------------------

HERE = Path(__file__).parent
templates = Environment(loader=FileSystemLoader(HERE / "pages"), autoescape=True)
templates.filters["moment"] = lambda at: f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
HEADERS = {  # nothing is kept by browser or proxy, nothing is loaded from elsewhere or frames us
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
}


def page(name: str, session: SyncSession, status: int = 200, **values: object) -> Response:
    token = Markup('<input type="hidden" name="csrf" value="{}">').format(session.csrf_token)
    return HTMLResponse(templates.get_template(f"{name}.html").render(values, csrf=token), status)


def redirect(path: str) -> Response:
    return RedirectResponse(path, status_code=303)


# --- The application --------------------------------------------------------------------------

Form = dict[str, str]
LONGEST_FORM = 10_000  # bytes


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    make_database()
    async with jam:
        yield


jam = Jam(os.environ.get("JAM_CONFIG", HERE / "config.toml"))
unavailable = HTMLResponse(templates.get_template("unavailable.html").render(), 503)
app = FastAPI(lifespan=lifespan)
app.add_middleware(SessionMiddleware, jam=jam, preload=False, unavailable=unavailable)


@app.middleware("http")
async def with_headers(request: Request, answer: Any) -> Response:
    response: Response = await answer(request)
    response.headers.update(HEADERS)
    return response


class NotLoggedIn(Exception):
    """The visitor has to log in first."""


@app.exception_handler(NotLoggedIn)
def show_login_instead(_: Request, __: Exception) -> Response:
    return redirect("/login")


def logged_in(session: SyncSession) -> User:
    user = user_of(session.key)
    # A log-in that was under way when the password changed must not outlive it.
    if user is None or session.get("password_mark") != user.salt.hex():
        raise NotLoggedIn
    return user


async def form_of(request: Request) -> Form:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST_FORM:
            raise HTTPException(413, "This form is too long.")
    return dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))


def our_form(form: Annotated[Form, Depends(form_of)], session: SyncSession) -> Form:
    """Return a form, unless another site may have made it."""
    if not session.check_csrf(form.get("csrf")):
        raise HTTPException(403, "This form is not ours, or is too old.")
    return form


OurForm = Annotated[Form, Depends(our_form)]
LoggedIn = Annotated[User, Depends(logged_in)]


@app.get("/")
def show_notes(session: SyncSession, user: LoggedIn) -> Response:
    return page("notes", session, user=user.name, notes=notes_of(user))


@app.post("/notes")
def add_note(form: OurForm, user: LoggedIn) -> Response:
    query("INSERT INTO notes VALUES (?, ?)", user.name, form.get("text", "")[:500])
    return redirect("/")


@app.get("/style.css")
def style() -> Response:
    return FileResponse(HERE / "pages" / "style.css")


@app.get("/login")
def show_login(session: SyncSession) -> Response:
    return page("login", session)


@app.post("/login")
def log_in(request: Request, form: OurForm, session: SyncSession) -> Response:
    user = user_with(form.get("user", ""), form.get("password", ""))
    if user is None:
        problem = "This name and this password do not belong together."
        return page("login", session, 401, problem=problem)
    session.login(f"user-{user.number}")  # ids in Redis begin with it, so it is not a name
    session["password_mark"] = user.salt.hex()
    session["device"] = device_of(request)
    return redirect("/")


@app.post("/logout")
def log_out(_: OurForm, session: SyncSession) -> Response:
    session.logout()
    return redirect("/login")


@app.get("/devices")
def show_devices(session: SyncSession, user: LoggedIn) -> Response:
    return devices_page(session, user)


def devices_page(
    session: SyncSession, user: User, problem: str = "", status: int = 200
) -> Response:
    mark = user.salt.hex()
    devices = [one for one in session.devices() if one.data.get("password_mark") == mark]
    return page("devices", session, status, user=user.name, devices=devices, problem=problem)


@app.post("/devices/{which}")
def log_out_devices(which: str, form: OurForm, session: SyncSession, _: LoggedIn) -> Response:
    match which:
        case "revoke":
            session.revoke(form.get("handle", ""))
        case "others":
            session.logout_others()
        case "all":
            session.logout_everywhere()
    return redirect("/devices")


@app.post("/password")
def change_password(form: OurForm, session: SyncSession, user: LoggedIn) -> Response:
    known = user_with(user.name, form.get("old", ""))
    if known is None:
        return devices_page(session, user, "That is not your old password.", 403)
    if len(form.get("new", "")) < 8:  # noqa: PLR2004  (said in the next line)
        return devices_page(session, user, "It needs at least 8 characters.", 422)
    changed = replace_password(known, form["new"])
    if changed is None:
        raise NotLoggedIn  # another change was faster: this session belongs to an old password
    # From here on no session counts, whatever fails. This one gets a new id before it counts
    # again: whoever knew the old password may know the old id as well.
    session.rotate()
    session["password_mark"] = changed.salt.hex()
    session.logout_others()
    return redirect("/devices")


def device_of(request: Request) -> str:
    agent = request.headers.get("user-agent", "")
    systems = ("iPhone", "iPad", "Android", "Windows", "Mac OS", "Linux")
    browsers = ("Firefox", "Edg", "Chrome", "Safari")
    system = next((name for name in systems if name in agent), "unknown system")
    browser = next((name for name in browsers if name in agent), "unknown browser")
    return f"{browser} on {system}"
