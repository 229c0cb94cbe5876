"""Flask-Session, at its session interface: what a request costs beside it is left out."""

from datetime import timedelta
from typing import Any

from benchmarks.contenders.contender import Contender
from benchmarks.places import Place
from benchmarks.workload import TTL

_LIFETIME = timedelta(seconds=TTL)


class _Interface:
    def __init__(self, interface: Any) -> None:
        self._interface = interface

    def create(self, _key: str, data: dict[str, Any]) -> str:
        session_id = str(self._interface._generate_sid(self._interface.sid_length))
        self._store(session_id, data)
        return session_id

    def get(self, session_id: str) -> Any:
        return self._interface._retrieve_session_data(self._name(session_id))

    def update(self, session_id: str, data: dict[str, Any]) -> None:
        self._store(session_id, data)

    def rework(self, session_id: str) -> str:
        session = self._session(self.get(session_id), session_id)
        self._interface.regenerate(session)
        self._store(session.sid, session)
        return str(session.sid)

    def delete(self, session_id: str) -> None:
        self._interface._delete_session(self._name(session_id))

    def close(self) -> None:
        pass

    def _session(self, data: Any, session_id: str) -> Any:
        return self._interface.session_class(data, sid=session_id)

    def _store(self, session_id: str, data: dict[str, Any]) -> None:
        self._interface._upsert_session(_LIFETIME, data, self._name(session_id))

    def _name(self, session_id: str) -> str:
        return str(self._interface._get_store_id(session_id))


class _SqlInterface(_Interface):
    """Gives the connection back after each operation, as the end of a request does."""

    def __init__(self, place: Place) -> None:
        import sqlalchemy as sa
        from flask import Flask
        from flask_session.sqlalchemy import SqlAlchemySessionInterface
        from flask_sqlalchemy import SQLAlchemy

        from benchmarks.contenders.floor_sql import prepare_sqlite

        app = Flask("benchmark")
        app.config["SQLALCHEMY_DATABASE_URI"] = place.sqlalchemy_url("flask")
        database = SQLAlchemy(app)
        self._context = app.app_context()
        self._context.push()
        if place.name == "sqlite":
            sa.event.listen(database.engine, "connect", prepare_sqlite)
        self._end_request = database.session.remove
        super().__init__(SqlAlchemySessionInterface(app, client=database, key_prefix="flask:"))

    def create(self, _key: str, data: dict[str, Any]) -> str:
        session_id = super().create(_key, data)
        self._end_request()
        return session_id

    def get(self, session_id: str) -> Any:
        data = super().get(session_id)
        self._end_request()
        return data

    def update(self, session_id: str, data: dict[str, Any]) -> None:
        super().update(session_id, data)
        self._end_request()

    def rework(self, session_id: str) -> str:
        session = self._session(super().get(session_id), session_id)
        self._interface.regenerate(session)
        self._store(session.sid, session)
        self._end_request()
        return str(session.sid)

    def delete(self, session_id: str) -> None:
        super().delete(session_id)
        self._end_request()

    def close(self) -> None:
        self._context.pop()


def _redis(place: Place) -> Any:
    from flask import Flask
    from flask_session.redis import RedisSessionInterface
    from redis import Redis

    client = Redis.from_url(place.url, protocol=2)
    return _Interface(RedisSessionInterface(Flask("benchmark"), client, key_prefix="flask:"))


def _files(place: Place) -> Any:
    from cachelib import FileSystemCache
    from flask import Flask
    from flask_session.cachelib import CacheLibSessionInterface

    cache = FileSystemCache(f"{place.directory}/flask", threshold=0)
    # The interface hands no application on to its serializer, and never uses that one.
    return _Interface(CacheLibSessionInterface(Flask("benchmark"), cache))


_LACKS = ("no comeback", "one-step rework", "clear", "touch")
_NOTE = "at its session interface, without request and cookie"

REDIS = Contender("Flask-Session, Redis", "peer", _redis, "Flask-Session", _LACKS, _NOTE)
FILES = Contender(
    "Flask-Session, cachelib files",
    "peer",
    _files,
    "Flask-Session",
    (*_LACKS, "no pickle"),
    _NOTE,
)
SQL = Contender(
    "Flask-Session, SQLAlchemy",
    "peer",
    _SqlInterface,
    "Flask-Session",
    (*_LACKS, "pure reads", "ids hashed"),
    f"{_NOTE}; ends the SQLAlchemy session as a request does",
)
