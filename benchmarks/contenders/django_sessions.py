"""Django's sessions: its SessionStore of each backend, without request and cookie."""

from typing import Any

from benchmarks.contenders.contender import Contender
from benchmarks.places import Place
from benchmarks.workload import TTL


class _Backend:
    def __init__(self, session_store: Any) -> None:
        self._session_store = session_store

    def create(self, _key: str, data: dict[str, Any]) -> str:
        session = self._session_store()
        session.update(data)
        session.save()
        return str(session.session_key)

    def get(self, session_id: str) -> Any:
        return self._session_store(session_id).load()

    def update(self, session_id: str, data: dict[str, Any]) -> None:
        session = self._session_store(session_id)
        session.clear()
        session.update(data)
        session.save()

    def rework(self, session_id: str) -> str:
        session = self._session_store(session_id)
        session.cycle_key()
        return str(session.session_key)

    def delete(self, session_id: str) -> None:
        self._session_store().delete(session_id)

    def close(self) -> None:
        from django.db import connections

        connections.close_all()


def _configure(**settings: Any) -> None:
    """Set Django up; a second contender at the place finds it done."""
    import django
    from django.conf import settings as configured

    if not configured.configured:
        configured.configure(
            SECRET_KEY="benchmark" * 6,
            INSTALLED_APPS=["django.contrib.sessions"],
            SESSION_COOKIE_AGE=TTL,
            **settings,
        )
        django.setup()


def _configure_files(place: Place) -> None:
    for name in ("django", "django_cache"):
        (place.directory / name).mkdir(exist_ok=True)
    cache = {
        "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
        "LOCATION": f"{place.directory}/django_cache",
        "OPTIONS": {"MAX_ENTRIES": 10_000_000},
    }
    _configure(SESSION_FILE_PATH=f"{place.directory}/django", CACHES={"default": cache})


def _files(place: Place) -> Any:
    _configure_files(place)
    from django.contrib.sessions.backends.file import SessionStore

    return _Backend(SessionStore)


def _cached_files(place: Place) -> Any:
    _configure_files(place)
    from django.contrib.sessions.backends.cache import SessionStore

    return _Backend(SessionStore)


def _redis(place: Place) -> Any:
    cache = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": place.url}
    _configure(CACHES={"default": {**cache, "OPTIONS": {"protocol": 2}}})
    from django.contrib.sessions.backends.cache import SessionStore

    return _Backend(SessionStore)


def _sql(place: Place) -> Any:
    _configure(DATABASES={"default": {**_database(place), "CONN_MAX_AGE": None}})
    from django.contrib.sessions.backends.db import SessionStore
    from django.contrib.sessions.models import Session
    from django.db import connection

    with connection.schema_editor() as editor:
        editor.create_model(Session)
    return _Backend(SessionStore)


def _database(place: Place) -> dict[str, Any]:
    """Return Django's settings for the database at a place."""
    from sqlalchemy import make_url

    if place.name == "sqlite":
        prepare = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL"
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": f"{place.directory}/django.db",
            "OPTIONS": {"init_command": prepare},
        }
    url = make_url(place.url)
    server = {
        "NAME": url.database,
        "USER": url.username or "",
        "PASSWORD": url.password or "",
        "HOST": url.host or "",
        "PORT": url.port or "",
    }
    if place.name == "mariadb":
        import pymysql

        pymysql.install_as_MySQLdb()  # type: ignore[no-untyped-call,unused-ignore]
        return {"ENGINE": "django.db.backends.mysql", **server}
    return {
        "ENGINE": "django.db.backends.postgresql",
        **server,
        "OPTIONS": dict(url.query),
    }


_LACKS = ("no comeback", "one-step rework", "clear", "touch")
_NOTE = "its SessionStore, without request and cookie"

FILES = Contender(
    "Django, files", "peer", _files, "Django", (*_LACKS, "pure reads", "ids hashed"), _NOTE
)
CACHED_FILES = Contender(
    "Django, cache in files",
    "peer",
    _cached_files,
    "Django",
    (*_LACKS, "no pickle"),
    f"{_NOTE}; MAX_ENTRIES raised, as the default drops what is over 300",
)
REDIS = Contender("Django, cache in Redis", "peer", _redis, "Django", (*_LACKS, "no pickle"), _NOTE)
SQL = Contender(
    "Django, database",
    "peer",
    _sql,
    "Django",
    ("one-step rework", "clear", "touch", "ids hashed"),
    _NOTE,
)
