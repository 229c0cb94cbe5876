"""jamlib. Its import package is called `jam` as ours is: ours is never imported beside it."""

import importlib
import sys
from importlib import metadata
from typing import Any

from benchmarks.contenders.contender import Contender, UnableError
from benchmarks.places import Place
from benchmarks.workload import TTL


def _imported(module: str) -> Any:
    """Import a module of jamlib, wherever our own `jam` is on the path."""
    root = str(metadata.distribution("jamlib").locate_file(""))
    sys.path.insert(0, root)
    try:
        loaded = importlib.import_module(module)
    finally:
        sys.path.remove(root)
    if not str(loaded.__file__).startswith(root):
        raise UnableError("its package jam is hidden by ours, which is imported already")
    return loaded


def _redis(place: Place) -> Any:
    return _imported("jam.sessions.redis").RedisSessions(redis_uri=place.url, ttl=TTL)


def _json(place: Place) -> Any:
    sessions = _imported("jam.sessions.json").JSONSessions(
        json_path=f"{place.directory}/jamlib.json"
    )

    def fill(count: int, first: int) -> list[str]:
        """Insert at once what `create` inserts one by one, rewriting the file each time."""
        from dataclasses import asdict

        from benchmarks.workload import DATA, SESSIONS_PER_KEY

        text = sessions._serializer.dumps(DATA).decode()
        rows = [
            sessions._SessionDoc(f"user{n // SESSIONS_PER_KEY}", sessions.id, text)
            for n in range(first, first + count)
        ]
        sessions._db.insert_multiple([asdict(row) for row in rows])
        return [row.session_id for row in rows]

    sessions.fill = fill
    sessions.close = sessions._db.close
    return sessions


REDIS = Contender(
    "jamlib, Redis",
    "peer",
    _redis,
    "jamlib",
    lacks=("one-step ttl", "no comeback", "one-step rework", "touch"),
)
JSON = Contender(
    "jamlib, JSON",
    "peer",
    _json,
    "jamlib",
    lacks=(
        "ttl",
        "touch",
        "no comeback",
        "one-step rework",
        "whole or not",
        "processes",
        "ids hashed",
    ),
    note="filled in one insert, as its create takes time by the number of sessions",
)
