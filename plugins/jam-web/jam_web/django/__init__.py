"""Sessions for Django.

SESSION_ENGINE = "jam_web.django"
JAM_CONFIG = BASE_DIR / "config.toml"
MIDDLEWARE = [..., "jam_web.django.SessionMiddleware", ...]  # instead of Django's
INSTALLED_APPS = [..., "jam_web.django"]  # for `manage.py check` and `clearsessions`
"""

from jam_web.django.middleware import SessionMiddleware
from jam_web.django.store import SessionStore, logout_everywhere

__all__ = ["SessionMiddleware", "SessionStore", "logout_everywhere"]
