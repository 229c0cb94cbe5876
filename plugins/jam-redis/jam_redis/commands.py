"""What is sent to the server and what its answers mean; nothing here sends.

An asyncio twin of the store can share all of it.
"""

from contextlib import suppress
from functools import cache
from itertools import count
from typing import Any, NamedTuple

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from jam_redis.scripts import (
    CLEAR,
    CLEAR_OTHERS,
    CREATE,
    DELETE,
    DONE,
    FIELDS,
    GET,
    OUTCOMES,
    PAGE,
    PURGE,
    REPLACE,
    RESTORE,
    REVOKE,
    REWORK,
    SWAP,
    TOUCH,
    UPDATE,
    Argument,
    Script,
    pack,
    pack_command,
)

_SUFFIX = b":expires"
_SCAN_COUNT = 1000
_PATTERN_CHARACTERS = b"\\*?[]"


class Keys(NamedTuple):
    """The Redis keys that belong to a session key; all in one slot of a cluster.

    Attributes:
        sessions: The hash of the sessions: the layout that jamlib has, too.
        ends: The sorted set of their ends.
        deadlines: The hash of their `max_age` deadlines.
    """

    sessions: bytes
    ends: bytes
    deadlines: bytes


class Stored(NamedTuple):
    """A session as it is stored.

    Attributes:
        session_id: Its id.
        data: The text that the codec made of the data.
        expires_at: When it ends, in seconds since the epoch; None: never.
        deadline: When `max_age` ends it; None: never.
    """

    session_id: str
    data: str
    expires_at: float | None
    deadline: float | None


class Command(NamedTuple):
    """A call of a script.

    Attributes:
        script: The script.
        key: One of its keys: all are in one slot of a cluster.
        arguments: What follows the script in the command.
        plain: Commands that do as much without the script, as they go over the wire, sent in one
            go to a server that has all the keys; their answers are a list. Empty: there are none.
    """

    script: Script
    key: bytes
    arguments: tuple[Argument, ...]
    plain: tuple[bytes, ...] = ()

    def words(self, *, known: bool) -> tuple[str | Argument, ...]:
        """Return the command for a server that knows the script, or that learns it from this."""
        head = ("EVALSHA", self.script.sha) if known else ("EVAL", self.script.text)
        return (*head, *self.arguments)

    def by_script(self) -> "Command":
        """Return the command without its plain commands."""
        return self._replace(plain=())

    def packed(self, *, known: bool) -> bytes:
        """Return `words` as they go over the wire; redis-py takes several times as long."""
        head = self.script.packed_sha if known else self.script.packed_text
        return b"*%d\r\n%b%b" % (2 + len(self.arguments), head, pack(self.arguments))


class Commands:
    """Builds the commands of a store.

    Args:
        session_path: What the hashes' names begin with.
        ttl: Seconds until an idle session ends, or None.
        max_age: Seconds from create until a session ends, or None.

    Attributes:
        server_expires_fields: What the last server asked said of itself: a hint, by which a
            faster way is tried first; none gives a wrong answer where it is wrong.
    """

    def __init__(self, session_path: str, ttl: int | None, max_age: int | None) -> None:
        self._path = encode(session_path)
        self._ttl = _milliseconds(ttl)
        self._max_age = _milliseconds(max_age)
        self.server_expires_fields = False

    def keys_of(self, session_key: str) -> Keys:
        """Return the Redis keys that belong to a session key."""
        return keys_of(self._path + b":" + encode(session_key))

    def locate(self, opened_id: str | None) -> Keys | None:
        """Return the Redis keys where a session is, or None if no id looks like this.

        Args:
            opened_id: The id as the codec opened it: the session key, a colon, and the random
                part, which has none.
        """
        session_key, _, random_part = (opened_id or "").rpartition(":")
        return self.keys_of(session_key) if session_key and random_part else None

    def prefix_of(self, keys: Keys) -> str:
        """Return what an id of a session under these keys begins with."""
        return keys.sessions[len(self._path) + 1 :].decode("utf-8", "surrogatepass") + ":"

    def create(self, keys: Keys, session_id: str, data: str) -> Command:
        """Store a new session; REFUSED if the id is taken."""
        return self._command(CREATE, keys, session_id, encode(data), self._max_age)

    def get(self, keys: Keys, session_id: str) -> Command:
        """Read a session; `parse_get` reads the answer.

        Where the server expires fields, by plain commands in one go: nobody puts an end into the
        sorted set there, so that if there is none, the field alone says whether the session lives.
        """
        field = encode(session_id)
        plain: tuple[bytes, ...] = ()
        if self.server_expires_fields:
            plain = (
                pack_command(b"ZSCORE", keys.ends, field),
                pack_command(b"HGET", keys.sessions, field),
            )
        return Command(GET, keys.sessions, (2, keys.sessions, keys.ends, field), plain)

    def parse_get(self, answer: Any) -> tuple[bytes | None, bool]:
        """Return a session's data, and whether only the script can tell if the session has ended.

        That is so where an older server kept the end, or has taken over: the hint is dropped.
        """
        if not isinstance(answer, list):
            return answer, False
        ends_at, data = answer
        if ends_at is None or data is None:
            return data, False
        self.server_expires_fields = False
        return None, True

    def update(self, keys: Keys, session_id: str, data: str) -> Command:
        """Replace a session's data."""
        return self._command(UPDATE, keys, session_id, encode(data))

    def swap(self, keys: Keys, session_id: str, expected: str, data: str) -> Command:
        """Replace a session's data; REFUSED if it is not what is expected."""
        return self._command(SWAP, keys, session_id, encode(expected), encode(data))

    def touch(self, keys: Keys, session_id: str) -> Command:
        """Restart a session's ttl."""
        return self._command(TOUCH, keys, session_id)

    def rework(self, keys: Keys, old_id: str, new_id: str) -> Command:
        """Move a session to a new id; REFUSED if that is taken."""
        return self._command(REWORK, keys, old_id, encode(new_id))

    def delete(self, keys: Keys, session_id: str) -> Command:
        """End a session.

        Where the server expires fields, by plain commands in one go: the first ends it, the others
        take away what an older server, or `max_age`, left beside.
        """
        command = self._command(DELETE, keys, session_id)
        if not self.server_expires_fields:
            return command
        field = encode(session_id)
        return command._replace(
            plain=(
                pack_command(b"HDEL", keys.sessions, field),
                pack_command(b"ZREM", keys.ends, field),
                pack_command(b"HDEL", keys.deadlines, field),
            )
        )

    def clear(self, session_key: str) -> Command:
        """End every session of a key."""
        keys = self.keys_of(session_key)
        return Command(CLEAR, keys.sessions, (len(keys), *keys))

    def page(self, keys: Keys, cursor: int = 0, size: int | None = None) -> Command:
        """Read about so many sessions of a key, or all; `parse_page` reads the answer."""
        return self._command(PAGE, keys, "", cursor, b"" if size is None else size)

    def revoke(self, keys: Keys, session_id: str) -> Command:
        """End a session; GONE if there is none."""
        return self._command(REVOKE, keys, session_id)

    def clear_others(self, keys: Keys, session_id: str) -> Command:
        """End every session of a key but this one; `parse_count` reads the answer."""
        return self._command(CLEAR_OTHERS, keys, session_id)

    def restore(self, keys: Keys, stored: Stored) -> Command:
        """Store a session as it is; REFUSED if its id is taken, GONE if it has ended."""
        ends = (_moment(stored.expires_at), _moment(stored.deadline))
        return self._command(RESTORE, keys, stored.session_id, encode(stored.data), *ends)

    def replace(self, keys: Keys, session_id: str, expected: str, data: str) -> Command:
        """Replace a session's data, but not its end; REFUSED if it is not what is expected."""
        return self._command(REPLACE, keys, session_id, encode(expected), encode(data))

    def purge(self, keys: Keys) -> Command:
        """Remove expired sessions of a key; `parse_purge` reads the answer."""
        return self._command(PURGE, keys, "")

    def scan(self, cursor: int) -> tuple[str | Argument, ...]:
        """Look for sorted sets of ends; `parse_scan` reads the answer."""
        pattern = b"*" + self._path_in_pattern() + b":*" + _SUFFIX
        return ("SCAN", cursor, "MATCH", pattern, "COUNT", _SCAN_COUNT, "TYPE", "zset")

    def scan_sessions(self, cursor: int) -> tuple[str | Argument, ...]:
        """Look for hashes of sessions; `parse_sessions_scan` reads the answer."""
        pattern = self._path_in_pattern() + b":*"
        return ("SCAN", cursor, "MATCH", pattern, "COUNT", _SCAN_COUNT, "TYPE", "hash")

    def parse_sessions_scan(self, answer: Any) -> list[Keys]:
        """Return the keys found that can be this store's."""
        return [keys_of(name) for name in answer[1]]

    def parse_scan(self, answer: Any) -> list[Keys]:
        """Return the keys found that are this store's."""
        found = (keys_of_ends(name) for name in answer[1])
        begin = self._path + b":"
        return [keys for keys in found if keys and keys.sessions.startswith(begin)]

    def probe(self, tag: bytes) -> tuple[str | Argument, ...]:
        """Write nothing to a key that does not exist: fails where writing would."""
        return ("SETRANGE", _base_of(tag, self._path + b":") + b":ping", 0, b"")

    def parse_outcome(self, answer: Any) -> int:
        """Return GONE, DONE or REFUSED, and take the hint."""
        by_field, outcome = divmod(int(answer), OUTCOMES)
        self.server_expires_fields = bool(by_field)
        return outcome

    def parse_count(self, answer: Any) -> int | None:
        """Return how many sessions ended, or None if there is none that could stay."""
        outcome, *count = answer if isinstance(answer, list) else [answer]
        return int(count[0]) if self.parse_outcome(outcome) == DONE else None

    def _path_in_pattern(self) -> bytes:
        return b"".join(
            b"\\" + character if character in _PATTERN_CHARACTERS else character
            for character in (self._path[n : n + 1] for n in range(len(self._path)))
        )

    def _command(
        self, script: Script, keys: Keys, session_id: str, *arguments: Argument
    ) -> Command:
        hint = FIELDS if self.server_expires_fields else b""
        fixed = (len(keys), *keys, hint, self._ttl, encode(session_id))
        return Command(script, keys.sessions, (*fixed, *arguments))


def keys_of(sessions: bytes) -> Keys:
    """Return the keys that go with a hash of sessions, in the same slot.

    Mostly `{<hash>}:expires`. A brace in the hash's own name needs care: what stands in the
    first pair of braces selects the slot. And no name may begin as a hash's does, lest some
    session key make the two meet.
    """
    if b"{" not in sessions and b"}" not in sessions:
        base = b"{" + sessions + b"}"
    else:
        base = _base_of(_tag_of(sessions), sessions)
    return Keys(sessions, base + _SUFFIX, base + b":deadlines")


def keys_of_ends(ends: bytes) -> Keys | None:
    """Return the keys of which `ends` is one, or None if there are none."""
    base = ends.removesuffix(_SUFFIX)
    head, _, sessions = base.partition(b"}:")
    keys = keys_of(sessions if sessions else head.removesuffix(b"}").removeprefix(b"{"))
    return keys if keys.ends == ends else None


def parse_text(answer: bytes) -> str:
    """Return stored data as text."""
    try:
        return answer.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        # No serializer and no cipher reads a text that begins like this: the codec says so.
        return "\ufffd" + answer.decode("utf-8", "replace")


def parse_page(answer: Any) -> tuple[int, list[Stored]]:
    """Return where the next page begins, 0 if there is none, and sessions."""
    cursor, found = answer
    stored = []
    for session_id, *rest in found:
        with suppress(UnicodeDecodeError):  # no id of a session
            text, expires_at, deadline = rest
            stored.append(
                Stored(
                    session_id.decode("utf-8", "surrogatepass"),
                    parse_text(text),
                    _seconds(expires_at),
                    _seconds(deadline),
                )
            )
    return int(cursor), stored


def parse_purge(answer: Any) -> tuple[int, bool]:
    """Return how many sessions were removed, and whether there may be more."""
    removed, more = answer
    return int(removed), bool(more)


def encode(text: str) -> bytes:
    """Return a text as it is stored; any text, lone surrogates too."""
    return text.encode("utf-8", "surrogatepass")


def _moment(seconds: float | None) -> Argument:
    return b"" if seconds is None else round(seconds * 1000)


def _seconds(moment: bytes) -> float | None:
    return int(moment) / 1000 if moment else None


def _milliseconds(seconds: int | None) -> Argument:
    return b"" if seconds is None else seconds * 1000


def _base_of(tag: bytes, sessions: bytes) -> bytes:
    lead = b"jam:" if sessions.startswith(b"{") else b""
    return lead + b"{" + tag + b"}:" + sessions


def _tag_of(key: bytes) -> bytes:
    """Return what to put in braces to get into the slot of a key that has a brace itself."""
    start = key.find(b"{")
    end = key.find(b"}", start + 1)
    if start >= 0 and end > start + 1:
        return key[start + 1 : end]
    if b"}" not in key:
        return key
    return _tag_by_slot()[key_slot(key)]


@cache
def _tag_by_slot() -> dict[int, bytes]:
    """Return for each slot the smallest number that is in it; made once, if ever."""
    tags: dict[int, bytes] = {}
    for n in count():
        tags.setdefault(key_slot(b"%d" % n), b"%d" % n)
        if len(tags) == REDIS_CLUSTER_HASH_SLOTS:
            break
    return tags
