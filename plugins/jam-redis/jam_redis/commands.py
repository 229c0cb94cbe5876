"""What is sent to the server and what its answers mean; nothing here sends."""

from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from itertools import count
from math import ceil
from typing import Any, NamedTuple

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from jam_core import STORE_DEFAULT, Change, Seconds, SessionRecord, hash_id, pack_ttl, unpack_ttl
from jam_redis.scripts import (
    CLEAR,
    CLEAR_OTHERS,
    COPY,
    CREATE,
    DELETE,
    DONE,
    FIELDS,
    GET,
    INFO,
    LOGIN,
    OUTCOMES,
    PAGE,
    PURGE,
    REPLACE,
    RESTORE,
    REVOKE,
    REWORK,
    SUPERSEDE,
    SWAP,
    TOUCH,
    UPDATE,
    Argument,
    Script,
    pack,
    pack_command,
)

_SUFFIX = b":expires"
_OWN_TTL = b":ttl"
_SCAN_COUNT = 1000
_CREATED = 2  # arguments of CREATE without limits: an id and data
_COPY_LIVES = 60_000  # milliseconds
_PATTERN_CHARACTERS = b"\\*?[]"


class Keys(NamedTuple):
    """The Redis keys that belong to a session key; all in one slot of a cluster.

    Attributes:
        sessions: The hash of the sessions, in the same layout as jamlib's.
        ends: The sorted set of their ends.
        deadlines: The hash of their `max_age` deadlines and their own ttls.
    """

    sessions: bytes
    ends: bytes
    deadlines: bytes


class Place(NamedTuple):
    """Where a session is.

    Attributes:
        keys: The Redis keys of its session key.
        session_id: The field.
    """

    keys: Keys
    session_id: str


class Command(NamedTuple):
    """A call of a script.

    Attributes:
        script: The script.
        key: One of its keys: all are in one slot of a cluster.
        arguments: What follows the script in the command.
        plain: Commands that do the same without the script, as they go over the wire, sent in one
            go to a server that has all the keys; their answers are a list. Empty: there are none.
    """

    script: Script
    key: bytes
    arguments: tuple[Argument, ...]
    plain: tuple[bytes, ...] = ()

    def by_script(self) -> "Command":
        """Return the command without its plain commands."""
        return self._replace(plain=())

    def packed(self, *, known: bool) -> bytes:
        """Return what goes over the wire: redis-py would take several times as long to pack it.

        Args:
            known: Whether the server knows the script; if not, it learns it from this.
        """
        head = self.script.packed_sha if known else self.script.packed_text
        return b"*%d\r\n%b%b" % (2 + len(self.arguments), head, pack(self.arguments))


class Narrow(NamedTuple):
    """A command that names one key only.

    Attributes:
        command: The command.
        absent: The keys that must not exist, or it would not do all that is needed.
    """

    command: Command
    absent: tuple[bytes, ...]


def narrow(command: Command) -> Narrow | None:
    """Return a command that names only the key it needs if there are no companion keys.

    A node that is giving a slot away refuses any command that names a key it does not have. Most
    sessions have no companion keys where the server expires fields.
    """
    if not command.script.may_be_narrow:
        return None
    _, sessions, ends, deadlines, hint, ttl, *rest = command.arguments
    has_limits = command.script is CREATE and len(rest) > _CREATED
    if hint != FIELDS or has_limits or (ttl == b"" and command.script not in (PAGE, INFO)):
        return None
    alone = command._replace(arguments=(1, sessions, hint, ttl, *rest))
    return Narrow(alone, (as_bytes(ends), as_bytes(deadlines)))


def apart(command: Command) -> tuple[tuple[bytes, ...], Callable[[list[Any]], Any]] | None:
    """Return commands about one key each that do the same, and what combines their answers.

    For a slot that is moving: it takes several steps, each of which may find its key elsewhere.
    """
    if command.script is GET:
        _, sessions, ends, field = map(as_bytes, command.arguments)
        return _questions(sessions, ends, field), _data_unless_over
    if command.script is INFO:
        _, sessions, ends, deadlines, hint, _, field = map(as_bytes, command.arguments)
        more = [
            pack_words(b"HGET", deadlines, field),
            pack_words(b"HGET", deadlines, field + _OWN_TTL),
        ]
        if hint == FIELDS:
            more.append(pack_words(b"HPEXPIRETIME", sessions, b"FIELDS", 1, field))
        return (*_questions(sessions, ends, field), *more), partial(_found_unless_over, field)
    if command.script is DELETE:
        # Its end stays, to be tidied up later: if none were left, the others' would seem lost.
        _, sessions, _, deadlines, _, _, field = map(as_bytes, command.arguments)
        steps = (
            pack_words(b"HDEL", sessions, field),
            pack_words(b"HDEL", deadlines, field, field + _OWN_TTL),
        )
        return steps, lambda _: DONE
    if command.script is CLEAR:
        _, *keys = map(as_bytes, command.arguments)
        return tuple(pack_words(b"UNLINK", key) for key in keys), lambda _: None
    return None


def _questions(sessions: bytes, ends: bytes, field: bytes) -> tuple[bytes, ...]:
    return (
        pack_words(b"HGET", sessions, field),
        pack_words(b"ZSCORE", ends, field),
        pack_words(b"PTTL", sessions),
        pack_words(b"EXISTS", ends),
        pack_words(b"TIME"),
    )


def _data_unless_over(answers: list[Any]) -> bytes | None:
    data, ends_at, left, has_ends, time = answers
    if data is None:
        return None
    if ends_at is None:  # see `ends_are_lost` in the scripts
        return data if has_ends or int(left) == -1 else None
    return data if _milliseconds_of(time) < float(ends_at) else None


def _found_unless_over(field: bytes, answers: list[Any]) -> list[bytes] | None:
    _, ends_at, _, _, time, deadline, own_ttl, *expiries = answers
    data = _data_unless_over(answers[:5])
    if data is None:
        return None
    if ends_at is not None:
        end = b"%d" % ceil(float(ends_at))
    else:  # the server keeps a field until after the millisecond it was given
        end = b"".join(b"%d" % (last + 1) for (last,) in expiries if last >= 0)
    return [field, data, end, deadline or b"", own_ttl or b"", b"%d" % _milliseconds_of(time)]


def _milliseconds_of(time: list[bytes]) -> int:
    seconds, microseconds = time
    return int(seconds) * 1000 + int(microseconds) // 1000


class Commands:
    """Builds the commands of a store.

    Args:
        session_path: The prefix of the hashes' names.
        ttl: Seconds until an idle session ends, or None.

    Attributes:
        server_expires_fields: What the last server that was asked said: a hint, by which a faster
            way is tried first. If it is wrong, the answers are still right.
    """

    def __init__(self, session_path: str, ttl: int | None) -> None:
        self._path = encode(session_path)
        self._ttl = _milliseconds(ttl)
        self.server_expires_fields = False

    def keys_of(self, session_key: str) -> Keys:
        """Return the Redis keys that belong to a session key."""
        return keys_of(self._path + b":" + encode(session_key))

    def locate(self, session_id: str, opened_id: str) -> Place | None:
        """Return where a session is, or None if this cannot be an id.

        Args:
            session_id: The id.
            opened_id: The id as the codec opened it: the session key, a colon, and the random
                part, which has no colon.
        """
        session_key, _, random_part = opened_id.rpartition(":")
        if session_key and random_part:
            return Place(self.keys_of(session_key), session_id)
        return None

    def prefix_of(self, keys: Keys) -> str:
        """Return what an id of a session under these keys begins with."""
        return keys.sessions[len(self._path) + 1 :].decode("utf-8", "surrogatepass") + ":"

    def create(
        self, place: Place, data: str, deadline: float | None, ttl: Seconds = STORE_DEFAULT
    ) -> Command:
        """Store a new session; REFUSED if the id is taken.

        Args:
            place: Where to store it.
            data: The text.
            deadline: Seconds from now until it ends, whatever happens.
            ttl: Its own ttl.
        """
        return self._command(CREATE, place, encode(data), *_limits(deadline, ttl))

    def get(self, place: Place) -> Command:
        """Read a session's data; `parse_get` reads the answer.

        Where the server expires fields, plain commands in one go are enough: nobody puts an end
        into the sorted set there, so if it has none, the field alone says whether the session is
        live.
        """
        keys, field = place.keys, encode(place.session_id)
        plain: tuple[bytes, ...] = ()
        if self.server_expires_fields:
            plain = (
                pack_command(b"ZSCORE", keys.ends, field),
                pack_command(b"HGET", keys.sessions, field),
            )
        return Command(GET, keys.sessions, (2, keys.sessions, keys.ends, field), plain)

    def parse_get(self, answer: Any) -> tuple[bytes | None, bool]:
        """Return a session's data, and whether only the script can tell if the session has ended.

        That is so if an older server kept the end, or has taken over: then the hint is dropped.
        """
        if not isinstance(answer, list):
            return answer, False
        ends_at, data = answer
        if ends_at is None or data is None:
            return data, False
        self.server_expires_fields = False
        return None, True

    def info(self, place: Place) -> Command:
        """Read a session; `parse_record` and `parse_moment` read the answer."""
        return self._command(INFO, place)

    def write(self, place: Place, change: Change) -> Command:
        """Change a session; REFUSED if its data is not what is expected."""
        if change.data is None:
            return self.touch(place)
        data = encode(change.data)
        if change.former is None:
            return self._command(UPDATE, place, data)
        script = SWAP if change.restart else REPLACE
        return self._command(script, place, encode(change.former), data)

    def rework(self, place: Place, new_id: str) -> Command:
        """Move a session to a new id; REFUSED if that is taken."""
        return self._command(REWORK, place, encode(new_id))

    def login(self, place: Place, new: Place, deadline: float | None, ttl: Seconds) -> Command:
        """Give a session to a user whose keys are in the same slot; REFUSED if the id is taken.

        Args:
            place: The session.
            new: Where it will be.
            deadline: As in `create`.
            ttl: As in `create`.
        """
        limits = _limits(deadline, ttl)
        command = self._command(LOGIN, place, encode(new.session_id), *limits)
        count = len(place.keys)
        _, *rest = command.arguments
        keys = (*rest[:count], *new.keys)
        return command._replace(arguments=(len(keys), *keys, *rest[count:]))

    def copy(self, found: list[bytes], new: Place, deadline: float | None, ttl: Seconds) -> Command:
        """Store what `info` found for another user, for a minute unless it is touched.

        REFUSED if the id is taken. For the rest see `create`.
        """
        limits = _moment(deadline), _milliseconds(pack_ttl(ttl))
        return self._command(COPY, new, found[1], _COPY_LIVES, *limits)

    def supersede(self, place: Place, found: list[bytes]) -> Command:
        """End a session if its data is still what `info` found; else REFUSED, or GONE."""
        return self._command(SUPERSEDE, place, found[1])

    def touch(self, place: Place) -> Command:
        """Restart a session's ttl."""
        return self._command(TOUCH, place)

    def delete(self, place: Place) -> Command:
        """End a session.

        Where the server expires fields, plain commands in one go are enough: the first ends it, the
        others remove what an older server or the session's own limits left behind.
        """
        command = self._command(DELETE, place)
        if not self.server_expires_fields:
            return command
        keys, field = place.keys, encode(place.session_id)
        return command._replace(
            plain=(
                pack_command(b"HDEL", keys.sessions, field),
                pack_command(b"ZREM", keys.ends, field),
                pack_words(b"HDEL", keys.deadlines, field, field + _OWN_TTL),
            )
        )

    def clear(self, session_key: str) -> Command:
        """End every session of a key."""
        keys = self.keys_of(session_key)
        return Command(CLEAR, keys.sessions, (len(keys), *keys))

    def page(self, keys: Keys, cursor: int, size: int) -> Command:
        """Read all sessions of a key, or about `size` of them if it has more; see `parse_page`."""
        return self._command(PAGE, Place(keys, ""), cursor, size)

    def parse_page(self, keys: Keys, answer: Any) -> tuple[int, list[SessionRecord]]:
        """Return where the next page begins, 0 if there is none, and the sessions on this one."""
        cursor, found = answer
        records = []
        for one in found:
            with suppress(UnicodeDecodeError):  # not a session id
                records.append(self.parse_record(keys, one))
        return int(cursor), records

    def parse_record(self, keys: Keys, found: list[bytes]) -> SessionRecord:
        """Return the session that `page` or `info` found."""
        session_id = found[0].decode("utf-8", "surrogatepass")
        _, data, expires_at, deadline, own_ttl, *_ = found
        return SessionRecord(
            session_key=self.prefix_of(keys)[:-1],
            id_hash=hash_id(session_id),
            data=parse_text(data),
            session_id=session_id,
            expires_at=_seconds(expires_at),
            deadline=_seconds(deadline),
            ttl=unpack_ttl(int(own_ttl) // 1000 if own_ttl else None),
        )

    def revoke(self, place: Place) -> Command:
        """End a session; GONE if there is none."""
        return self._command(REVOKE, place)

    def clear_others(self, place: Place) -> Command:
        """End every session of a key but this one; `parse_count` reads the answer."""
        command = self._command(CLEAR_OTHERS, place)
        _, *rest = command.arguments
        never = place.keys.ends.removesuffix(_SUFFIX) + b":never"
        return command._replace(arguments=(4, *rest[:3], never, *rest[3:]))

    def restore(self, place: Place, record: SessionRecord) -> Command:
        """Store a session as it is; REFUSED if its id is taken, GONE if it has ended."""
        ends = _moment(record.expires_at), _moment(record.deadline)
        own_ttl = _milliseconds(pack_ttl(record.ttl))
        return self._command(RESTORE, place, encode(record.data), *ends, own_ttl)

    def purge(self, keys: Keys) -> Command:
        """Remove expired sessions of a key; `parse_purge` reads the answer."""
        return self._command(PURGE, Place(keys, ""))

    def scan(self, cursor: int) -> bytes:
        """Look for sorted sets of ends; `parse_scan` reads the answer."""
        pattern = b"*" + self._path_in_pattern() + b":*" + _SUFFIX
        return _pack_scan(cursor, pattern, b"zset")

    def scan_sessions(self, cursor: int) -> bytes:
        """Look for hashes of sessions; `parse_sessions_scan` reads the answer."""
        pattern = self._path_in_pattern() + b":*"
        return _pack_scan(cursor, pattern, b"hash")

    def parse_sessions_scan(self, answer: Any) -> list[Keys]:
        """Return the keys found that can be this store's."""
        return [keys_of(name) for name in answer[1]]

    def parse_scan(self, answer: Any) -> list[Keys]:
        """Return the keys found that are this store's."""
        found = (keys_of_ends(name) for name in answer[1])
        begin = self._path + b":"
        return [keys for keys in found if keys and keys.sessions.startswith(begin)]

    def probe(self, tag: bytes) -> tuple[bytes, bytes]:
        """Return a key with this hash tag that does not exist, and a command that writes nothing.

        It fails where writing would.
        """
        key = _base_of(tag, self._path + b":") + b":ping"
        return key, pack_words(b"SETRANGE", key, 0, b"")

    def parse_outcome(self, answer: Any) -> int:
        """Return GONE, DONE or REFUSED, and update the hint."""
        by_field, outcome = divmod(int(answer), OUTCOMES)
        self.server_expires_fields = bool(by_field)
        return outcome

    def parse_count(self, answer: Any) -> int | None:
        """Return how many sessions ended, or None if the one that should stay is gone."""
        outcome, *count = answer if isinstance(answer, list) else [answer]
        return int(count[0]) if self.parse_outcome(outcome) == DONE else None

    def _path_in_pattern(self) -> bytes:
        return b"".join(
            b"\\" + character if character in _PATTERN_CHARACTERS else character
            for character in (self._path[n : n + 1] for n in range(len(self._path)))
        )

    def _command(self, script: Script, place: Place, *arguments: Argument) -> Command:
        keys, session_id = place
        hint = FIELDS if self.server_expires_fields else b""
        fixed = (len(keys), *keys, hint, self._ttl, encode(session_id))
        return Command(script, keys.sessions, (*fixed, *arguments))


def keys_of(sessions: bytes) -> Keys:
    """Return the keys that go with a hash of sessions, in the same slot.

    Usually `{<hash>}:expires`. A brace in the hash's own name needs care: the first pair of braces
    selects the slot. And none of the names may begin as a hash's does, or some session key could
    make the two collide.
    """
    if b"{" not in sessions and b"}" not in sessions:
        base = b"{" + sessions + b"}"
    else:
        base = _base_of(_tag_of(sessions), sessions)
    return Keys(sessions, base + _SUFFIX, base + b":deadlines")


def keys_of_ends(ends: bytes) -> Keys | None:
    """Return the keys that `ends` belongs to, or None if it is not one of ours."""
    base = ends.removesuffix(_SUFFIX)
    head, _, sessions = base.partition(b"}:")
    keys = keys_of(sessions if sessions else head.removesuffix(b"}").removeprefix(b"{"))
    return keys if keys.ends == ends else None


def parse_text(answer: bytes) -> str:
    """Return stored data as text."""
    try:
        return answer.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        # No serializer or cipher reads a string that begins like this, so the codec reports it.
        return "\ufffd" + answer.decode("utf-8", "replace")


def parse_purge(answer: Any) -> tuple[int, bool]:
    """Return how many sessions were removed, and whether there may be more."""
    removed, more = answer
    return int(removed), bool(more)


def parse_info(answer: bytes) -> dict[str, str]:
    """Return what a server says of itself."""
    lines = answer.decode("utf-8", "replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def pack_words(*words: Argument) -> bytes:
    """Return a command as it goes over the wire."""
    return b"*%d\r\n%b" % (len(words), pack(words))


def encode(text: str) -> bytes:
    """Return a string as it is stored; any string, even with lone surrogates."""
    return text.encode("utf-8", "surrogatepass")


def _pack_scan(cursor: int, pattern: bytes, kind: bytes) -> bytes:
    options = (b"MATCH", pattern, b"COUNT", _SCAN_COUNT, b"TYPE", kind)
    return pack_words(b"SCAN", cursor, *options)


def as_bytes(argument: Argument) -> bytes:
    """Return an argument as it goes over the wire."""
    return argument if isinstance(argument, bytes) else b"%d" % argument


def _moment(seconds: float | None) -> Argument:
    return b"" if seconds is None else round(seconds * 1000)


def _seconds(moment: bytes) -> float | None:
    return int(moment) / 1000 if moment else None


def _limits(deadline: float | None, ttl: Seconds) -> tuple[Argument, ...]:
    if deadline is None and ttl is STORE_DEFAULT:
        return ()
    return _moment(deadline), _milliseconds(pack_ttl(ttl))


def _milliseconds(seconds: int | None) -> Argument:
    return b"" if seconds is None else seconds * 1000


def _base_of(tag: bytes, sessions: bytes) -> bytes:
    lead = b"jam:" if sessions.startswith(b"{") else b""
    return lead + b"{" + tag + b"}:" + sessions


def _tag_of(key: bytes) -> bytes:
    """Return what to put in braces to get the slot of a key that has a brace itself."""
    start = key.find(b"{")
    end = key.find(b"}", start + 1)
    if start >= 0 and end > start + 1:
        return key[start + 1 : end]
    if b"}" not in key:
        return key
    return _tag_by_slot()[key_slot(key)]


@cache
def _tag_by_slot() -> dict[int, bytes]:
    """Return for each slot the smallest number that hashes to it; computed once, if ever."""
    tags: dict[int, bytes] = {}
    for n in count():
        tags.setdefault(key_slot(b"%d" % n), b"%d" % n)
        if len(tags) == REDIS_CLUSTER_HASH_SLOTS:
            break
    return tags
