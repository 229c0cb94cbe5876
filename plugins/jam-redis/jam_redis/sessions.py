"""RedisSessions: sessions in Redis or Valkey."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import ClassVar, Unpack, cast

from jam_core import (
    Change,
    JamConfigurationError,
    JamSessionConflict,
    JamSessionNotFound,
    JamSessionUnsupported,
    Move,
    Seconds,
    SessionOptions,
    SessionRecord,
    StorageSessions,
    hash_id,
)
from jam_redis.clients import Client, check_seconds, plaintext_hosts, read_client, read_uri
from jam_redis.commands import Command, Commands, Keys, Place, parse_purge, parse_text
from jam_redis.scripts import DONE, GONE
from jam_redis.sending import Sender

# Sessions that the server reads in one go; all other clients wait meanwhile.
_PAGE = 1000
_LONGEST_LIST = 10_000
_ATTEMPTS = 100  # at a log-in across slots, while others keep changing the session


class RedisSessions(StorageSessions[Place]):
    """Sessions in Redis or Valkey: one server, Sentinel, or a cluster.

    Args:
        redis_uri: The server: redis://, rediss://, unix://, redis+cluster:// or
            redis+sentinel://; or a client of redis-py, which the store does not close.
        session_path: The prefix of the Redis keys. Another name:
            redis_sessions_key.
        connect_timeout: Seconds to wait for a connection; a client has its own.
        socket_timeout: Seconds to wait for an answer; a client has its own.
        **options: The options of every store, see `BaseSession`.

    Raises:
        JamConfigurationError: An option cannot be used.
    """

    aliases: ClassVar[Mapping[str, str]] = {"redis_sessions_key": "session_path"}
    guarantees = frozenset({"asyncio", "durable", "shared"})
    keeps_ids = True
    seals_to_owner = False  # jamlib reads the same data

    def __init__(
        self,
        redis_uri: str | Client,
        session_path: str = "sessions",
        *,
        connect_timeout: float = 2.0,
        socket_timeout: float = 2.0,
        **options: Unpack[SessionOptions],
    ) -> None:
        if "id_factory" in options:
            options["id_factory"] = _without_colons(options["id_factory"])
        super().__init__(**options)
        check_seconds("connect_timeout", connect_timeout)
        check_seconds("socket_timeout", socket_timeout)
        self._commands = Commands(session_path, self.ttl)
        self._sender = Sender(
            read_uri(redis_uri, connect_timeout, socket_timeout)
            if isinstance(redis_uri, str)
            else read_client(_checked_client(redis_uri))
        )
        self._plaintext_hosts = plaintext_hosts(redis_uri) if isinstance(redis_uri, str) else []

    @staticmethod
    def clock() -> float:
        """Return 0: the server keeps the time, and counts from its own now."""
        return 0.0

    def insert(self, place: Place, record: SessionRecord) -> bool:
        """Store a new session."""
        command = self._commands.create(place, record.data, record.deadline, record.ttl)
        return self._outcome(command) == DONE

    def read(self, place: Place, now: float) -> SessionRecord | None:  # noqa: ARG002
        """Return a session; the server decides whether it has ended."""
        found = self._sender.call(self._commands.info(place))
        return None if found is None else self._commands.parse_record(place.keys, found)

    def read_data(self, place: Place, now: float) -> str | None:  # noqa: ARG002
        """Return a session's text."""
        command = self._commands.get(place)
        data, undecided = self._commands.parse_get(self._sender.call(command))
        if undecided:
            data, _ = self._commands.parse_get(self._sender.call(command.by_script()))
        return None if data is None else parse_text(data)

    def write(self, place: Place, change: Change) -> bool:
        """Change a session where it is."""
        return self._outcome(self._commands.write(place, change)) == DONE

    def move(self, place: Place, new_place: Place, move: Move) -> bool:
        """Move a session, with one script if all its keys are on one server."""
        login = move.login
        if login is None:
            command = self._commands.rework(place, move.session_id)
        elif self._sender.has_together(place.keys.sessions, new_place.keys.sessions):
            command = self._commands.login(place, new_place, login.deadline, login.ttl)
        else:
            return self._move_across(place, new_place, login.deadline, login.ttl)
        outcome = self._outcome(command)
        if outcome == GONE:
            raise JamSessionNotFound
        return outcome == DONE

    def remove(self, place: Place) -> None:
        """Remove a session."""
        self._sender.call(self._commands.delete(place))

    def remove_key(self, session_key: str) -> None:
        """Remove the Redis keys of a session key."""
        self._sender.call(self._commands.clear(session_key))

    def remove_one(self, session_key: str, handle: str, now: float) -> bool:  # noqa: ARG002
        """Remove the session that has a handle.

        Two round trips, and more for a key with over 1,000 sessions: the server cannot compute a
        handle. A handle never changes its meaning, so only the last round trip must be atomic.
        """
        keys = self._commands.keys_of(session_key)
        return any(
            self._outcome(self._commands.revoke(Place(keys, str(record.session_id)))) == DONE
            for record in self._found(keys)
            if record.handle == handle
        )

    def remove_others(self, place: Place, now: float) -> int | None:  # noqa: ARG002
        """Remove the other sessions of the key."""
        return self._commands.parse_count(self._sender.call(self._commands.clear_others(place)))

    def of_key(self, session_key: str, now: float) -> Iterator[SessionRecord]:  # noqa: ARG002
        """Return the live sessions of the key: at most 10,000 of them.

        Up to 1,000 are a snapshot of one moment; more are read in pages, and a session that is
        reworked meanwhile may be missing.
        """
        return islice(self._records_of(self._commands.keys_of(session_key)), _LONGEST_LIST)

    def remove_ended(self, now: float) -> int:  # noqa: ARG002
        """Remove the expired sessions that the server has not removed yet."""
        removed = 0
        for answer in self._sender.on_each_server(self._commands.scan):
            for keys in self._commands.parse_scan(answer):
                more = True
                while more:
                    count, more = parse_purge(self._sender.call(self._commands.purge(keys)))
                    removed += count
        return removed

    def look(self) -> None:
        """Check that every server answers and accepts writes."""
        self._sender.on_each_slot_owner(self._commands.probe)

    def records(self) -> Iterator[SessionRecord]:
        """Yield the live sessions of every key."""
        for answer in self._sender.on_each_server(self._commands.scan_sessions):
            for keys in self._commands.parse_sessions_scan(answer):
                yield from self._records_of(keys, lost=True)

    def restore(self, records: Sequence[SessionRecord]) -> int:
        """Store sessions as they are; only those whose ids are known."""
        commands = (self._commands.restore(self.place_of(record), record) for record in records)
        return sum(self._outcome(command) == DONE for command in commands)

    def place(self, session_id: str, opened_id: str) -> Place | None:
        """Return the Redis keys of the session key that an id begins with, and the field."""
        return self._commands.locate(session_id, opened_id)

    def place_of(self, record: SessionRecord) -> Place:
        """Return where a record belongs, if the session can be found there by its id."""
        if record.session_id is None:
            raise JamSessionUnsupported(
                "Redis keeps session ids. The store that this session comes from keeps only their "
                "hashes: only a store of the same kind can take it over."
            )
        place = Place(self._commands.keys_of(record.session_key), record.session_id)
        if self._place(record.session_id) != place:
            raise JamSessionUnsupported(
                "This session could not be found by its id: the store that it comes from encrypts "
                "ids with other keys, or only one of the two stores encrypts them."
            )
        return place

    def id_prefix(self, session_key: str) -> str:
        """Return the session key and the colon after it."""
        return f"{session_key}:"

    def id_prefix_at(self, place: Place) -> str:
        """Return the same for the session key that these Redis keys belong to."""
        return self._commands.prefix_of(place.keys)

    def where(self, place: Place) -> str:
        """Name the server, and the session by its hash."""
        return f"Redis at {self._sender.address}, session {hash_id(place.session_id)[:12]}..."

    def diagnose(self) -> Iterator[tuple[str, str, str]]:
        """Report which servers these are, and what endangers the sessions there."""
        for host in self._plaintext_hosts:
            yield (
                "plaintext",
                f"Ids and data go to {host} unencrypted: anybody who listens can take over "
                "sessions.",
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
                    f"When its memory is full, the server drops keys: maxmemory-policy {policy}. "
                    "All sessions of a session key end if its hash is dropped, and, without "
                    "hash-field expiry, if the sorted set of their ends is; where fields expire, "
                    "sessions that have a max_age lose it if the deadlines are dropped.",
                    "Set maxmemory-policy noeviction, and a large enough maxmemory.",
                )

    def close(self) -> None:
        """Close the connections, unless the client is the caller's."""
        self._sender.close()

    def __repr__(self) -> str:
        return f"<RedisSessions at {self._sender.address}>"

    def _move_across(
        self, place: Place, new_place: Place, deadline: float | None, ttl: Seconds
    ) -> bool:
        """Move a session to another slot of a cluster, where no script reaches both.

        The copy comes first; nobody knows its id yet. The caller that ends the old session while
        it is still what was copied wins; only then does the copy live longer than a minute.
        """
        for _ in range(_ATTEMPTS):
            found = self._sender.call(self._commands.info(place))
            if found is None:
                return False
            if self._outcome(self._commands.copy(found, new_place, deadline, ttl)) != DONE:
                return False
            ended = self._outcome(self._commands.supersede(place, found))
            if ended == DONE:
                return self._outcome(self._commands.touch(new_place)) == DONE
            self.remove(new_place)
            if ended == GONE:
                return False
        raise JamSessionConflict

    def _found(self, keys: Keys) -> Iterator[SessionRecord]:
        """Yield the live sessions of a key, a page at a time, each once."""
        seen: set[str] = set()
        cursor: int | None = None
        while cursor != 0:
            command = self._commands.page(keys, cursor or 0, _PAGE)
            cursor, page = self._commands.parse_page(keys, self._sender.call(command))
            for record in page:
                if record.id_hash not in seen:
                    seen.add(record.id_hash)
                    yield record

    def _records_of(self, keys: Keys, *, lost: bool = False) -> Iterator[SessionRecord]:
        """Yield what `_found` does, except fields that are not ids of the key.

        Args:
            keys: The Redis keys.
            lost: Whether to also yield sessions whose ids no encryption key opens: an operator
                must know about them.
        """
        for record in self._found(keys):
            session_id = str(record.session_id)
            id_key = self.codec.mark_of(session_id)
            if (lost and id_key == "") or self._place(session_id) == Place(keys, session_id):
                yield record._replace(id_key=id_key)

    def _outcome(self, command: Command) -> int:
        return self._commands.parse_outcome(self._sender.call(command))


def _without_colons(id_factory: Callable[[], str]) -> Callable[[], str]:
    """Return a factory that refuses ids that would be mistaken for part of the session key."""

    def checked_id() -> str:
        new_id: object = id_factory()
        if isinstance(new_id, str) and ":" in new_id:
            raise JamConfigurationError(
                "id_factory returned an id with a colon: in Redis a colon separates the session "
                "key from the id, so the session would not be found. Use other characters."
            )
        return cast(str, new_id)  # if it is not a string, the codec says so

    return checked_id


def _checked_client(client: object) -> Client:
    if isinstance(client, Client):
        return client
    kind = f"{type(client).__module__}.{type(client).__qualname__}"
    raise JamConfigurationError(
        "redis_uri must be a URI or a client, redis.Redis, redis.asyncio.Redis or "
        f"redis.RedisCluster, not {kind}."
    )
