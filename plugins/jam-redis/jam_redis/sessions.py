"""RedisSessions: sessions in Redis or Valkey."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Unpack, cast

from redis import Redis, RedisCluster

from jam_core import (
    BaseSession,
    JamConfigurationError,
    JamSessionCorrupt,
    JamSessionNotFound,
    JamSessionUnsupported,
    SessionInfo,
    SessionOptions,
    SessionRecord,
    check_session_key,
    hash_id,
    session_handle,
)
from jam_redis.clients import plaintext_hosts, read_uri
from jam_redis.commands import Command, Commands, Keys, Stored, parse_page, parse_purge, parse_text
from jam_redis.scripts import DONE, GONE
from jam_redis.sending import Sender

_PAGE = 500  # sessions read at a time
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
    keeps_ids = True

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
        self._plaintext_hosts = plaintext_hosts(redis_uri) if isinstance(redis_uri, str) else []

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
            self._sender.call(self._commands.delete(keys, session_id))

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

    def list_sessions(self, session_key: str) -> list[SessionInfo]:
        """Return the live sessions of the key."""
        check_session_key(session_key)
        records = self._records_of(self._commands.keys_of(session_key))
        return [info for info in map(self.info_of, records) if info is not None]

    def revoke(self, session_key: str, handle: str) -> bool:
        """End the key's session with this handle.

        Two round trips: the server cannot compute a handle. What a handle stands for never
        changes, so that what the second does is the whole of it.
        """
        check_session_key(session_key)
        keys = self._commands.keys_of(session_key)
        return any(
            self._outcome(self._commands.revoke(keys, stored.session_id)) == DONE
            for stored in self._stored(keys)
            if session_handle(stored.session_id) == handle
        )

    def clear_others(self, session_id: str) -> int:
        """End every other session of this session's key."""
        command = self._commands.clear_others(self._known(session_id), session_id)
        count = self._commands.parse_count(self._sender.call(command))
        if count is None:
            raise JamSessionNotFound
        return count

    def records(self) -> Iterator[SessionRecord]:
        """Yield the live sessions of every key."""
        for answer in self._sender.on_each_server(self._commands.scan_sessions):
            for keys in self._commands.parse_sessions_scan(answer):
                yield from self._records_of(keys, _PAGE)

    def restore(self, records: Sequence[SessionRecord]) -> int:
        """Store sessions as they are; only those whose ids are known."""
        return sum(self._outcome(self._restoring(record)) == DONE for record in records)

    def replace(self, record: SessionRecord, data: str) -> bool:
        """Replace a session's stored text by compare-and-set."""
        session_id, keys = self._place_of(record)
        return self._outcome(self._commands.replace(keys, session_id, record.data, data)) == DONE

    def diagnose(self) -> Iterator[tuple[str, str, str]]:
        """Tell which servers these are, and what may befall the sessions there."""
        for host in self._plaintext_hosts:
            yield (
                "plaintext",
                f"Ids and data go to {host} unencrypted: whoever listens can take sessions over.",
                "Use rediss:// and TLS.",
            )
        for info in self._sender.info():
            name = "Valkey" if info.get("valkey_version") else "Redis"
            version = info.get("valkey_version") or info.get("redis_version", "of unknown version")
            yield "server", f"{name} {version}", ""
            policy = info.get("maxmemory_policy", "noeviction")
            if policy != "noeviction":
                yield (
                    "evicting",
                    f"With its memory full the server drops sessions: maxmemory-policy {policy}.",
                    "Set maxmemory-policy noeviction, and enough maxmemory.",
                )

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
        command = self._commands.get(keys, session_id)
        data, undecided = self._commands.parse_get(self._sender.call(command))
        if undecided:
            data, _ = self._commands.parse_get(self._sender.call(command.by_script()))
        return None if data is None else parse_text(data)

    def _stored(self, keys: Keys, size: int | None = None) -> Iterator[Stored]:
        """Yield the live sessions of a key, read so many at a time; by default all at once."""
        cursor, stored = parse_page(self._sender.call(self._commands.page(keys, size=size)))
        yield from stored
        while cursor:
            command = self._commands.page(keys, cursor, size)
            cursor, stored = parse_page(self._sender.call(command))
            yield from stored

    def _records_of(self, keys: Keys, size: int | None = None) -> Iterator[SessionRecord]:
        """Yield what `_stored` does, but for fields that are no ids of the key."""
        session_key = self._commands.prefix_of(keys)[:-1]
        for stored in self._stored(keys, size):
            if self._locate(stored.session_id) == keys:
                yield SessionRecord(
                    session_key=session_key,
                    id_hash=hash_id(stored.session_id),
                    session_id=stored.session_id,
                    data=stored.data,
                    expires_at=stored.expires_at,
                    deadline=stored.deadline,
                    id_key=self.codec.mark_of(stored.session_id),
                )

    def _place_of(self, record: SessionRecord) -> tuple[str, Keys]:
        """Return a record's id and keys, if the session can be found by them."""
        if record.session_id is None:
            raise JamSessionUnsupported(
                "Redis keeps session ids. The store that this session comes from keeps only their "
                "hashes: no store but one of its kind can take it over."
            )
        keys = self._commands.keys_of(record.session_key)
        if self._locate(record.session_id) != keys:
            raise JamSessionUnsupported(
                "This session could not be found by its id: the store that it comes from encrypts "
                "ids with other keys, or does not where this one does."
            )
        return record.session_id, keys

    def _restoring(self, record: SessionRecord) -> Command:
        session_id, keys = self._place_of(record)
        stored = Stored(session_id, record.data, record.expires_at, record.deadline)
        return self._commands.restore(keys, stored)

    def _outcome(self, command: Command) -> int:
        return self._commands.parse_outcome(self._sender.call(command))

    def _change(self, command: Command) -> bool:
        """Carry out a change; return False if it was refused."""
        outcome = self._outcome(command)
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
