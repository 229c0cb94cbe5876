"""FastAPI with sessions: a cart, log-in with "remember me", my devices, log-out everywhere.

pip install 'jam-web[fastapi]' jam-json python-multipart uvicorn
uvicorn fastapi_app:app
"""

import os
from html import escape
from typing import Annotated

from fastapi import Depends, FastAPI, Form, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from jam_web.fastapi import Session, SessionMiddleware

from jam.aio import Jam

JSON = {"session": {"session_type": "json", "json_path": "sessions.json", "max_age": 43200}}
DAYS = 86400  # seconds
PASSWORDS = {"ann": "strawberry", "bob": "raspberry"}  # yours are hashed, and somewhere else

jam = Jam(os.environ.get("JAM_CONFIG") or JSON)
app = FastAPI()
page_of_outage = HTMLResponse("<p>Back in a moment. Nobody has been logged out.</p>", 503)
app.add_middleware(SessionMiddleware, jam=jam, preload=False, unavailable=page_of_outage)


async def our_form(session: Session, csrf: Annotated[str, Form()] = "") -> None:
    if not session.check_csrf(csrf):
        raise HTTPException(403, "This form is not ours, or is too old.")


async def logged_in(session: Session) -> str:
    if session.key is None:
        raise HTTPException(401, "Please log in.")
    return session.key


User = Annotated[str, Depends(logged_in)]
OURS = [Depends(our_form)]


def form(session: Session, action: str, button: str, fields: str = "") -> str:
    token = f'<input type="hidden" name="csrf" value="{session.csrf_token}">'
    return f'<form method="post" action="{action}">{token}{fields}<button>{button}</button></form>'


def back() -> RedirectResponse:
    return RedirectResponse("/", 303)


@app.get("/", response_class=HTMLResponse)
async def start(session: Session) -> str:
    said = "".join(f"<p role=status>{escape(flash.message)}</p>" for flash in session.flashes())
    cart = "".join(f"<li>{escape(item)}" for item in session.get("cart", []))
    page = said + f"<ul>{cart}</ul>" + form(session, "/cart", "Add", '<input name="item">')
    if session.key is None:
        fields = '<input name="user"><input name="password" type="password">'
        remember = '<label><input name="remember" type="checkbox"> Remember me</label>'
        return page + form(session, "/login", "Log in", fields + remember)
    for one in await session.devices():
        page += f"<p>{escape(one.data.get('device', ''))} {'(this one)' if one.is_this else ''}</p>"
        handle = f'<input type="hidden" name="handle" value="{one.handle}">'
        page += form(session, "/revoke", "Log it out", handle)
    return page + form(session, "/logout", "Log out") + form(session, "/everywhere", "Everywhere")


@app.post("/cart", dependencies=OURS)
async def add(session: Session, item: Annotated[str, Form()]) -> RedirectResponse:
    session.setdefault("cart", []).append(item[:100])
    return back()


@app.post("/login", dependencies=OURS)
async def log_in(
    request: Request,
    session: Session,
    user: Annotated[str, Form()],
    password: Annotated[str, Form()],
    remember: Annotated[bool, Form()] = False,
) -> RedirectResponse:
    if PASSWORDS.get(user) != password:
        session.flash("This name and this password do not belong together.")
        return back()
    if remember:
        await session.login(user, ttl=14 * DAYS, max_age=90 * DAYS)
    else:
        await session.login(user)
    session["device"] = request.headers.get("user-agent", "")[:100]
    session.flash(f"Hello {user}")
    return back()


@app.post("/logout", dependencies=OURS)
async def log_out(session: Session) -> RedirectResponse:
    await session.logout()
    return back()


@app.post("/everywhere", dependencies=OURS)
async def log_out_everywhere(session: Session, _: User) -> RedirectResponse:
    await session.logout_everywhere()
    return back()


@app.post("/revoke", dependencies=OURS)
async def revoke(session: Session, _: User, handle: Annotated[str, Form()]) -> RedirectResponse:
    await session.revoke(handle)
    return back()
