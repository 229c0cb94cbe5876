"""RedisSessions: sessions in Redis or Valkey."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Unpack, cast

from redis import Redis, RedisCluster

from jam_core import (
    BaseSession,
    JamConfigurationError,
    JamSessionCorrupt,
    JamSessionNotFound,
    SessionOptions,
    check_session_key,
    hash_id,
)
from jam_redis.clients import read_uri
from jam_redis.commands import Command, Commands, Keys, parse_purge, parse_text
from jam_redis.scripts import DONE, GONE
from jam_redis.sending import Sender

_LONGEST = 10_000_000_000  # seconds; the server counts milliseconds in 46 bits


class RedisSessions(BaseSession):
    """Sessions in Redis or Valkey: one server, Sentinel, or a cluster.

    Args:
        redis_uri: The server: redis://, rediss://, unix://, redis+cluster:// or
            redis+sentinel://; or a client of redis-py, which the store does not close.
        session_path: What the names of the Redis keys begin with. Another name:
            redis_sessions_key.
        connect_timeout: Seconds to wait for a connection; a client brings its own.
        socket_timeout: Seconds to wait for an answer; a client brings its own.
        **options: The options of every store, see `BaseSession`.

    Raises:
        JamConfigurationError: An option cannot be used.
    """

    aliases: ClassVar[Mapping[str, str]] = {"redis_sessions_key": "session_path"}
    guarantees = frozenset({"durable", "shared"})

    def __init__(
        self,
        redis_uri: str | Redis | RedisCluster,
        session_path: str = "sessions",
        *,
        connect_timeout: float = 2.0,
        socket_timeout: float = 2.0,
        **options: Unpack[SessionOptions],
    ) -> None:
        if "id_factory" in options:
            options["id_factory"] = _without_colons(options["id_factory"])
        super().__init__(**options)
        for name, seconds in (
            ("connect_timeout", connect_timeout),
            ("socket_timeout", socket_timeout),
        ):
            _check_timeout(name, seconds)
        _check_length("ttl", self.ttl)
        _check_length("max_age", self.max_age)
        self._commands = Commands(session_path, self.ttl, self.max_age)
        self._sender = Sender(
            read_uri(redis_uri, connect_timeout, socket_timeout)
            if isinstance(redis_uri, str)
            else _checked_client(redis_uri)
        )

    def create(self, session_key: str, data: dict[str, Any]) -> str:
        """Store a new session and return its id."""
        check_session_key(session_key)
        text = self.codec.encode(data)
        keys = self._commands.keys_of(session_key)
        return self.codec.mint(
            lambda new_id: self._change(self._commands.create(keys, new_id, text)),
            prefix=f"{session_key}:",
        )

    def get(self, session_id: str) -> dict[str, Any] | None:
        """Return the session's data, or None if there is no such session."""
        keys = self._locate(session_id)
        text = None if keys is None else self._read(keys, session_id)
        if text is None:
            return None
        try:
            return self.codec.decode(text, "A session")
        except JamSessionCorrupt:  # to say where takes a hash, which not every read has to pay
            return self.codec.decode(text, self._where(session_id))

    def update(self, session_id: str, data: dict[str, Any]) -> None:
        """Replace the session's data and restart its ttl."""
        text = self.codec.encode(data)
        self._change(self._commands.update(self._known(session_id), session_id, text))

    def delete(self, session_id: str) -> None:
        """End the session."""
        keys = self._locate(session_id)
        if keys is not None:
            self._change(self._commands.delete(keys, session_id))

    def clear(self, session_key: str) -> None:
        """End every session of the key."""
        check_session_key(session_key)
        self._sender.call(self._commands.clear(session_key))

    def rework(self, session_id: str) -> str:
        """Give the session a new id and return it."""
        keys = self._known(session_id)
        return self.codec.mint(
            lambda new_id: self._change(self._commands.rework(keys, session_id, new_id)),
            prefix=self._commands.prefix_of(keys),
        )

    def touch(self, session_id: str) -> None:
        """Restart the session's ttl."""
        self._change(self._commands.touch(self._known(session_id), session_id))

    def mutate(
        self, session_id: str, change: Callable[[dict[str, Any]], dict[str, Any] | None]
    ) -> dict[str, Any]:
        """Apply a function to the session's data by compare-and-set."""
        keys = self._known(session_id)
        return self.change_data(
            change,
            read=lambda: self._read(keys, session_id),
            swap=lambda old, new: self._change(self._commands.swap(keys, session_id, old, new)),
            where=self._where(session_id),
        )

    def purge(self) -> int:
        """Remove the expired sessions that the server has not removed yet."""
        removed = 0
        for answer in self._sender.on_each_server(self._commands.scan):
            for keys in self._commands.parse_scan(answer):
                more = True
                while more:
                    count, more = parse_purge(self._sender.call(self._commands.purge(keys)))
                    removed += count
        return removed

    def ping(self) -> None:
        """Look whether every server answers, and would write."""
        self._sender.on_each_slot_owner(self._commands.probe)

    def close(self) -> None:
        """Close the connections, unless the client is the caller's."""
        self._sender.close()

    def __repr__(self) -> str:
        return f"<RedisSessions at {self._sender.address}>"

    def _locate(self, session_id: str) -> Keys | None:
        return self._commands.locate(self.codec.open_id(session_id))

    def _known(self, session_id: str) -> Keys:
        keys = self._locate(session_id)
        if keys is None:
            raise JamSessionNotFound
        return keys

    def _read(self, keys: Keys, session_id: str) -> str | None:
        answer = self._sender.call(self._commands.get(keys, session_id))
        return None if answer is None else parse_text(answer)

    def _change(self, command: Command) -> bool:
        """Carry out a change; return False if it was refused."""
        outcome = self._commands.parse_outcome(self._sender.call(command))
        if outcome == GONE:
            raise JamSessionNotFound
        return outcome == DONE

    def _where(self, session_id: str) -> str:
        return f"Redis at {self._sender.address}, session {hash_id(session_id)[:12]}..."


def _without_colons(id_factory: Callable[[], str]) -> Callable[[], str]:
    """Return a factory that refuses what would be taken for a part of the session key."""

    def checked_id() -> str:
        new_id: object = id_factory()
        if isinstance(new_id, str) and ":" in new_id:
            raise JamConfigurationError(
                "id_factory returned an id with a colon: in Redis it stands between the session "
                "key and the id, so that the session would not be found. Use other characters."
            )
        return cast(str, new_id)  # if it is none, the codec says so

    return checked_id


def _check_timeout(name: str, seconds: object) -> None:
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not seconds > 0:
        raise JamConfigurationError(f"{name} must be a number of seconds above 0.")


def _check_length(name: str, seconds: int | None) -> None:
    if seconds is not None and seconds > _LONGEST:
        raise JamConfigurationError(
            f"{name} is longer than Redis can count (at most {_LONGEST} seconds): None is no limit."
        )


def _checked_client(client: object) -> Redis | RedisCluster:
    if isinstance(client, Redis | RedisCluster):
        return client
    kind = f"{type(client).__module__}.{type(client).__qualname__}"
    raise JamConfigurationError(
        f"redis_uri must be a URI or a client, redis.Redis or redis.RedisCluster, not {kind}."
    )
