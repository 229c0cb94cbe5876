"""Flask with sessions: a cart, log-in with "remember me", my devices, log-out everywhere.

pip install 'jam-web[flask]' jam-json
flask --app flask_app run
"""

import os
from html import escape

from flask import Flask, abort, redirect, request
from flask.typing import ResponseReturnValue
from jam_web.flask import JamSessions, session

JSON = {"session": {"session_type": "json", "json_path": "sessions.json", "max_age": 43200}}
DAYS = 86400  # seconds
PASSWORDS = {"ann": "strawberry", "bob": "raspberry"}  # yours are hashed, and somewhere else

app = Flask(__name__)
JamSessions(app, os.environ.get("JAM_CONFIG") or JSON)


@app.errorhandler(503)
def back_in_a_moment(_: Exception) -> ResponseReturnValue:
    return "<p>Back in a moment. Nobody has been logged out.</p>", 503


@app.before_request
def check_form() -> None:
    if request.method == "POST" and not session.check_csrf(request.form.get("csrf")):
        abort(403, "This form is not ours, or is too old.")


def need_log_in() -> None:
    if session.key is None:
        abort(401, "Please log in.")


def form(action: str, button: str, fields: str = "") -> str:
    token = f'<input type="hidden" name="csrf" value="{session.csrf_token}">'
    return f'<form method="post" action="{action}">{token}{fields}<button>{button}</button></form>'


def back() -> ResponseReturnValue:
    return redirect("/", 303)


@app.get("/")
def start() -> str:
    said = "".join(f"<p role=status>{escape(flash.message)}</p>" for flash in session.flashes())
    cart = "".join(f"<li>{escape(item)}" for item in session.get("cart", []))
    page = said + f"<ul>{cart}</ul>" + form("/cart", "Add", '<input name="item">')
    if session.key is None:
        fields = '<input name="user"><input name="password" type="password">'
        remember = '<label><input name="remember" type="checkbox"> Remember me</label>'
        return page + form("/login", "Log in", fields + remember)
    for one in session.devices():
        page += f"<p>{escape(one.data.get('device', ''))} {'(this one)' if one.is_this else ''}</p>"
        handle = f'<input type="hidden" name="handle" value="{one.handle}">'
        page += form("/revoke", "Log it out", handle)
    return page + form("/logout", "Log out") + form("/everywhere", "Everywhere")


@app.post("/cart")
def add() -> ResponseReturnValue:
    session.setdefault("cart", []).append(request.form["item"][:100])
    return back()


@app.post("/login")
def log_in() -> ResponseReturnValue:
    user, password = request.form["user"], request.form["password"]
    if PASSWORDS.get(user) != password:
        session.flash("This name and this password do not belong together.")
        return back()
    if "remember" in request.form:
        session.login(user, ttl=14 * DAYS, max_age=90 * DAYS)
    else:
        session.login(user)
    session["device"] = request.headers.get("User-Agent", "")[:100]
    session.flash(f"Hello {user}")
    return back()


@app.post("/logout")
def log_out() -> ResponseReturnValue:
    session.logout()
    return back()


@app.post("/everywhere")
def log_out_everywhere() -> ResponseReturnValue:
    need_log_in()
    session.logout_everywhere()
    return back()


@app.post("/revoke")
def revoke() -> ResponseReturnValue:
    need_log_in()
    session.revoke(request.form["handle"])
    return back()
