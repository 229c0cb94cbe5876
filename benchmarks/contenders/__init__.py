"""Who takes part, at which place. Nothing of a peer is imported before it is opened."""

from collections.abc import Sequence

from benchmarks.contenders import (
    cachelib_caches,
    django_sessions,
    flask_sessions,
    floor_core,
    floor_files,
    floor_redis,
    floor_sql,
    jam_stores,
    jamlib_sessions,
    starsessions_stores,
)
from benchmarks.contenders.contender import Contender

# At each place the first floor is the one that ratios refer to.
CONTENDERS: dict[str, Sequence[Contender]] = {
    "core": (floor_core.FERNET, floor_core.JSON, *jam_stores.CORE),
    "files": (
        floor_files.BARE,
        *jam_stores.FILES,
        jamlib_sessions.JSON,
        cachelib_caches.FILES,
        flask_sessions.FILES,
        django_sessions.FILES,
        django_sessions.CACHED_FILES,
    ),
    "redis": (
        floor_redis.TWO_KEYS,
        jam_stores.REDIS,
        jamlib_sessions.REDIS,
        cachelib_caches.REDIS,
        flask_sessions.REDIS,
        starsessions_stores.REDIS,
        django_sessions.REDIS,
    ),
    "valkey": (
        floor_redis.FIELD_EXPIRY,
        jam_stores.REDIS,
        jamlib_sessions.REDIS,
        cachelib_caches.REDIS,
        flask_sessions.REDIS,
        starsessions_stores.REDIS,
        django_sessions.REDIS,
    ),
    "sqlite": (
        floor_sql.CORE,
        floor_sql.SQLITE3,
        jam_stores.SQL,
        flask_sessions.SQL,
        django_sessions.SQL,
    ),
    "postgresql": (
        floor_sql.CORE,
        jam_stores.SQL,
        flask_sessions.SQL,
        django_sessions.SQL,
    ),
    "mariadb": (
        floor_sql.CORE,
        jam_stores.SQL,
        flask_sessions.SQL,
        django_sessions.SQL,
    ),
}


def find(place_name: str, contender_name: str) -> Contender:
    """Return the contender of a name."""
    return next(one for one in CONTENDERS[place_name] if one.name == contender_name)
