"""Django with sessions: a cart, log-in with "remember me", my devices, log-out everywhere.

pip install 'jam-web[django]' jam-json
python django_app.py migrate
python django_app.py createsuperuser
python django_app.py runserver
"""

import os
import sys
from datetime import timedelta

from django.conf import settings

JSON = {"session": {"session_type": "json", "json_path": "sessions.json"}}

settings.configure(
    ALLOWED_HOSTS=["localhost", "127.0.0.1"],
    CSRF_COOKIE_NAME="__Host-csrf",
    CSRF_COOKIE_SECURE=True,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "users.db"}},
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "django.contrib.staticfiles",
        "jam_web.django",
    ],
    JAM_CONFIG=os.environ.get("JAM_CONFIG") or JSON,
    MESSAGE_STORAGE="django.contrib.messages.storage.session.SessionStorage",
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "jam_web.django.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.environ.get("SECRET_KEY", "yours is a secret"),
    SESSION_COOKIE_AGE=12 * 3600,
    SESSION_COOKIE_NAME="__Host-session",
    SESSION_COOKIE_SECURE=True,
    SESSION_ENGINE="jam_web.django",
    STATIC_URL="static/",
    TEMPLATES=[
        {
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
    ],
    USE_TZ=True,
)

from django.core.asgi import get_asgi_application  # noqa: E402  (the settings come first)
from django.core.wsgi import get_wsgi_application  # noqa: E402

asgi, application = get_asgi_application(), get_wsgi_application()

from django.contrib import admin, auth, messages  # noqa: E402
from django.contrib.auth.decorators import login_required  # noqa: E402
from django.http import HttpRequest, HttpResponse, HttpResponseBase  # noqa: E402
from django.middleware.csrf import get_token  # noqa: E402
from django.shortcuts import redirect  # noqa: E402
from django.urls import path  # noqa: E402
from django.utils.html import format_html, format_html_join, mark_safe  # noqa: E402
from django.views.decorators.http import require_POST  # noqa: E402


def form(request: HttpRequest, action: str, button: str, fields: str = "") -> str:
    token = get_token(request)
    html = (
        '<form method="post" action="{}"><input type="hidden" name="csrfmiddlewaretoken" '
        'value="{}">{}<button>{}</button></form>'
    )
    # The fields are written here, and no visitor's.
    return str(format_html(html, action, token, mark_safe(fields), button))  # noqa: S308


def start(request: HttpRequest) -> HttpResponse:
    said = messages.get_messages(request)
    cart = request.session.get("cart", [])
    parts = [
        format_html_join("", "<p role=status>{}</p>", ((one,) for one in said)),
        format_html("<ul>{}</ul>", format_html_join("", "<li>{}", ((item,) for item in cart))),
        form(request, "/cart", "Add", '<input name="item">'),
    ]
    if not request.user.is_authenticated:
        fields = '<input name="user"><input name="password" type="password">'
        remember = '<label><input name="remember" type="checkbox"> Remember me</label>'
        return HttpResponse("".join([*parts, form(request, "/login", "Log in", fields + remember)]))
    for one in request.session.devices():
        this = "(this one)" if one.is_this else ""
        parts.append(format_html("<p>{} {}</p>", one.data.get("device", ""), this))
        handle = format_html('<input type="hidden" name="handle" value="{}">', one.handle)
        parts.append(form(request, "/revoke", "Log it out", handle))
    parts += [form(request, "/logout", "Log out"), form(request, "/everywhere", "Everywhere")]
    return HttpResponse("".join(parts))


@require_POST
def add(request: HttpRequest) -> HttpResponseBase:
    request.session.setdefault("cart", []).append(request.POST["item"][:100])
    return redirect("/")


@require_POST
def log_in(request: HttpRequest) -> HttpResponseBase:
    user = auth.authenticate(
        request, username=request.POST["user"], password=request.POST["password"]
    )
    if user is None:
        messages.error(request, "This name and this password do not belong together.")
        return redirect("/")
    auth.login(request, user)
    if "remember" in request.POST:
        request.session.set_expiry(timedelta(days=90))
    request.session["device"] = request.headers.get("User-Agent", "")[:100]
    messages.info(request, f"Hello {user}")
    return redirect("/")


@require_POST
def log_out(request: HttpRequest) -> HttpResponseBase:
    auth.logout(request)
    return redirect("/")


@require_POST
@login_required(login_url="/")
def log_out_everywhere(request: HttpRequest) -> HttpResponseBase:
    request.session.logout_everywhere()
    return redirect("/")


@require_POST
@login_required(login_url="/")
def revoke(request: HttpRequest) -> HttpResponseBase:
    request.session.revoke(request.POST["handle"])
    return redirect("/")


urlpatterns = [
    path("", start),
    path("cart", add),
    path("login", log_in),
    path("logout", log_out),
    path("everywhere", log_out_everywhere),
    path("revoke", revoke),
    path("admin/", admin.site.urls),
]

if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
