"""Stores that stand on `DocumentSessions`: in NATS JetStream, and in memcached."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import nats
from nats.aio.client import Client
from nats.js.errors import (
    APIError,
    KeyNotFoundError,
    KeyWrongLastSequenceError,
    NotFoundError,
)
from nats.js.kv import KeyValue
from pymemcache.client.base import PooledClient
from pymemcache.exceptions import MemcacheError

from jam_core import DocumentSessions, JamStoreUnavailable, PerProcess, wait

Result = TypeVar("Result")
_WRONG_LAST_SEQUENCE = (10071, 10164)


class NatsSessions(DocumentSessions):
    """Sessions in a key-value bucket of NATS JetStream."""

    guarantees = frozenset({"durable", "shared"})
    longest_value = 1_000_000

    def __init__(self, url: str, bucket: str, **options: Any) -> None:
        super().__init__(**options)
        self._url, self._name = url, bucket
        # Of each event loop: a connection belongs to the one that it was made in.
        self._buckets = PerProcess[dict[asyncio.AbstractEventLoop, tuple[Client, KeyValue]]](dict)

    def load(self, name: str) -> tuple[str, int] | None:
        try:
            found = self._run(lambda bucket: bucket.get(name))
        except KeyNotFoundError:
            return None
        return (found.value or b"").decode(), found.revision or 0

    def swap(self, name: str, text: str | None, token: int | None) -> bool:
        value = (text or "").encode()

        def write(bucket: KeyValue) -> Coroutine[Any, Any, object]:
            if text is None:
                return bucket.delete(name, last=token)
            if token is None:
                return bucket.create(name, value)
            return bucket.update(name, value, last=token)

        try:
            self._run(write)
        except KeyWrongLastSequenceError:
            return False
        return True

    def scan(self, prefix: str) -> list[str]:
        # Not the bucket's `keys()`: it relies on the order of two answers of the server, and finds
        # nothing about once in 6,000 calls. This also lists removed names, which a scan may.
        async def subjects(_: KeyValue) -> dict[str, int]:
            client, _ = self._buckets()[asyncio.get_running_loop()]
            stream = client.jetstream(timeout=5)
            info = await stream.stream_info(f"KV_{self._name}", f"{bucket}{prefix}>")
            return info.state.subjects or {}

        bucket = f"$KV.{self._name}."
        return [subject.removeprefix(bucket) for subject in self._run(subjects)]

    def _run(self, work: Callable[[KeyValue], Coroutine[Any, Any, Result]]) -> Result:
        async def run() -> Result:
            return await work(await self._bucket())

        try:
            return wait(run())
        except (KeyNotFoundError, KeyWrongLastSequenceError):
            raise
        except APIError as error:
            if error.err_code in _WRONG_LAST_SEQUENCE:  # delete does not give it its name
                raise KeyWrongLastSequenceError(error.description) from error
            raise self._down(error) from error
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise self._down(error) from error

    def _down(self, error: Exception) -> JamStoreUnavailable:
        return JamStoreUnavailable(f"NATS at {self._url}: {error}.")

    async def _bucket(self) -> KeyValue:
        loop, buckets = asyncio.get_running_loop(), self._buckets()
        if loop not in buckets:
            client = await nats.connect(self._url, connect_timeout=2, max_reconnect_attempts=1)
            stream = client.jetstream(timeout=5)
            bucket = await stream.create_key_value(bucket=self._name, history=1)
            buckets[loop] = client, bucket
        return buckets[loop][1]

    def close(self) -> None:
        buckets = self._buckets.discard() or {}

        async def close() -> None:
            if asyncio.get_running_loop() in buckets:
                await buckets[asyncio.get_running_loop()][0].close()

        wait(close())


class MemcachedSessions(DocumentSessions):
    """Sessions in memcached, which cannot list what it holds."""

    guarantees = frozenset({"shared"})

    def __init__(self, server: str, prefix: str, **options: Any) -> None:
        super().__init__(**options)
        self._prefix = prefix
        self._client = PerProcess(lambda: PooledClient(server, connect_timeout=2, timeout=5))

    def load(self, name: str) -> tuple[str, bytes] | None:
        with self.unavailable(OSError, MemcacheError):
            text, token = self._client().gets(self._prefix + name)
            return None if text is None else (text.decode(), token)

    def swap(self, name: str, text: str | None, token: bytes | None) -> bool:
        key = self._prefix + name
        with self.unavailable(OSError, MemcacheError):
            client = self._client()
            if token is None:
                return bool(client.add(key, text, noreply=False))
            # There is no removal by compare-and-set: a value that has expired is stored.
            expire = -1 if text is None else 0
            return bool(client.cas(key, text or "", token, expire=expire, noreply=False))

    def close(self) -> None:
        client = self._client.discard()
        if client is not None:
            client.close()


def remove_bucket(url: str, name: str) -> None:
    """Remove a bucket of NATS."""

    async def remove() -> None:
        client = await nats.connect(url)
        with suppress(NotFoundError):  # no store was used
            await client.jetstream().delete_key_value(name)
        await client.close()

    asyncio.run(remove())
