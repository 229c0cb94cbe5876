"""cachelib: a cache, used as a session store by hand: ids, and rework of get, set and delete."""

import secrets
from typing import Any

from benchmarks.contenders.contender import Contender
from benchmarks.places import Place
from benchmarks.workload import TTL


class _Cached:
    def __init__(self, cache: Any) -> None:
        self._cache = cache

    def create(self, _key: str, data: object) -> str:
        session_id = secrets.token_urlsafe(32)
        self._cache.set(session_id, data, TTL)
        return session_id

    def get(self, session_id: str) -> Any:
        return self._cache.get(session_id)

    def update(self, session_id: str, data: object) -> None:
        self._cache.set(session_id, data, TTL)

    def rework(self, session_id: str) -> str:
        data = self._cache.get(session_id)
        self._cache.delete(session_id)
        return self.create("", data)

    def delete(self, session_id: str) -> None:
        self._cache.delete(session_id)

    def close(self) -> None:
        pass


def _files(place: Place) -> Any:
    from cachelib import FileSystemCache

    return _Cached(FileSystemCache(f"{place.directory}/cachelib", threshold=0))


def _redis(place: Place) -> Any:
    from cachelib import RedisCache
    from redis import Redis

    return _Cached(RedisCache(Redis.from_url(place.url, protocol=2), key_prefix="cachelib:"))


_LACKS = ("no comeback", "one-step rework", "clear", "touch", "no pickle")
_NOTE = "driven by hand; without a threshold, as the default drops what is over 500"

FILES = Contender("cachelib, files", "peer", _files, "cachelib", lacks=_LACKS, note=_NOTE)
REDIS = Contender(
    "cachelib, Redis", "peer", _redis, "cachelib", lacks=_LACKS, note="driven by hand"
)
