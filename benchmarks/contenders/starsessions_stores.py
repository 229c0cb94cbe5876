"""starsessions, asynchronous: one event loop runs a block of calls, each timed inside it."""

from typing import Any

from benchmarks.contenders.contender import Contender
from benchmarks.places import Place
from benchmarks.workload import TTL


class _Store:
    def __init__(self, place: Place) -> None:
        from redis.asyncio import Redis
        from starsessions import JsonSerializer
        from starsessions.session import generate_session_id
        from starsessions.stores.redis import RedisStore

        self._client: Any = Redis.from_url(place.url, protocol=2)
        self._store = RedisStore(connection=self._client)
        self._new_id = generate_session_id
        self._serializer = JsonSerializer()

    async def create(self, _key: str, data: dict[str, Any]) -> str:
        return await self._write(str(self._new_id()), data)

    async def get(self, session_id: str) -> Any:
        text = await self._store.read(session_id, TTL)
        return self._serializer.deserialize(text)

    async def update(self, session_id: str, data: dict[str, Any]) -> None:
        await self._write(session_id, data)

    async def rework(self, session_id: str) -> str:
        data = await self.get(session_id)
        return await self._write(str(self._new_id()), data)

    async def delete(self, session_id: str) -> None:
        await self._store.remove(session_id)

    async def close(self) -> None:
        await self._client.aclose()

    async def _write(self, session_id: str, data: dict[str, Any]) -> str:
        text = self._serializer.serialize(data)
        return str(await self._store.write(session_id, text, lifetime=TTL, ttl=TTL))


REDIS = Contender(
    "starsessions, Redis",
    "peer",
    _Store,
    "starsessions",
    lacks=("no comeback", "one-step rework", "old id dies", "clear", "touch"),
    note="asynchronous: blocks in a running event loop; each call is timed inside it",
)
