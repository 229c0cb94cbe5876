"""The stores of Jam, as an application gets them; called directly, but for "Jam over it"."""

from typing import Any

from benchmarks.contenders.contender import Contender
from benchmarks.places import Place
from benchmarks.workload import TTL


def _document(place: Place) -> Any:
    from jam_json import JSONSessions

    return JSONSessions(f"{place.directory}/jam/sessions.json", ttl=TTL)


def _directory(place: Place) -> Any:
    from jam_json import JSONSessions

    return JSONSessions(f"{place.directory}/jam_directory", ttl=TTL)


def _redis(place: Place) -> Any:
    from jam_redis import RedisSessions

    return RedisSessions(place.url, ttl=TTL)


def _sql(place: Place) -> Any:
    from jam_sqlalchemy import SQLAlchemySessions

    return SQLAlchemySessions(place.sqlalchemy_url("jam"), ttl=TTL)


def _encrypted(place: Place) -> Any:
    from jam_json import JSONSessions

    from jam_core import generate_aes_key

    return JSONSessions(
        f"{place.directory}/encrypted/sessions.json",
        ttl=TTL,
        is_session_crypt=True,
        session_aes_secret=generate_aes_key(),
    )


class _Facade:
    """`Jam`, with the names of a store's operations."""

    def __init__(self, place: Place) -> None:
        from jam_core import Jam

        path = f"{place.directory}/facade/sessions.json"
        self._jam = jam = Jam({"session": {"session_type": "json", "json_path": path, "ttl": TTL}})
        self.create = jam.session_create
        self.get = jam.session_get
        self.update = jam.session_update
        self.touch = jam.session_touch
        self.rework = jam.session_rework
        self.delete = jam.session_delete
        self.clear = jam.session_clear
        self.close = jam.close


DOCUMENT = Contender("Jam, JSON document", "jam", _document, "jam-json")
DIRECTORY = Contender("Jam, JSON directory", "jam", _directory, "jam-json")
REDIS = Contender("Jam, Redis", "jam", _redis, "jam-redis")
SQL = Contender("Jam, SQLAlchemy", "jam", _sql, "jam-sqlalchemy")

FACADE = Contender("Jam over the JSON document", "jam", _Facade, "jam-core")
ENCRYPTED = Contender("Jam, JSON document, encrypted", "jam", _encrypted, "jam-json")

FILES = (DOCUMENT, DIRECTORY)
CORE = (DOCUMENT, FACADE, ENCRYPTED)
