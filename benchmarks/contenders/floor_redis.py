"""The floors of Redis: one command or one script of the same promise, by plain redis-py."""

import json
from typing import Any
from uuid import uuid4

from benchmarks.contenders.contender import Contender
from benchmarks.places import Place
from benchmarks.workload import TTL

_TTL_MS = TTL * 1000

# For servers whose hash fields expire: what is not one command is one script.
_REWORK_FIELD = """\
local data = redis.call('HGET', KEYS[1], ARGV[1])
if not data then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HSETEX', KEYS[1], 'FNX', 'PX', ARGV[3], 'FIELDS', 1, ARGV[2], data)
return 1
"""

# For the others: the ends stand in a sorted set, and both keys expire with their last session.
_NOW = """\
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
"""
_LIVES = """\
local ends = redis.call('ZSCORE', KEYS[2], ARGV[1])
if not ends or tonumber(ends) <= now or redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
  return 0
end
"""
_RESTART = """\
redis.call('ZADD', KEYS[2], now + {ttl}, {session})
redis.call('PEXPIRE', KEYS[1], {ttl})
redis.call('PEXPIRE', KEYS[2], {ttl})
return 1
"""
_CREATE = (
    _NOW
    + "if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end\n"
    + _RESTART.format(ttl="ARGV[3]", session="ARGV[1]")
)
_UPDATE = (
    _NOW
    + _LIVES
    + "redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])\n"
    + _RESTART.format(ttl="ARGV[3]", session="ARGV[1]")
)
_TOUCH = _NOW + _LIVES + _RESTART.format(ttl="ARGV[2]", session="ARGV[1]")
_REWORK = (
    _NOW
    + _LIVES
    + """\
local data = redis.call('HGET', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HSET', KEYS[1], ARGV[2], data)
"""
    + _RESTART.format(ttl="ARGV[3]", session="ARGV[2]")
)


class _BareRedis:
    """What both have in common: an id leads to its hash, and reading is HGET."""

    def __init__(self, place: Place) -> None:
        from redis import Redis

        self._client = Redis.from_url(place.url, protocol=2)

    def get(self, session_id: str) -> Any:
        text: Any = self._client.hget(_hash_of(session_id), session_id)
        return None if text is None else json.loads(text)

    def delete(self, session_id: str) -> None:
        self._client.hdel(_hash_of(session_id), session_id)

    def clear(self, session_key: str) -> None:
        self._client.delete(f"bare:{session_key}")

    def close(self) -> None:
        self._client.close()

    def _known(self, script: str) -> str:
        return str(self._client.script_load(script))


class _TwoKeys(_BareRedis):
    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._create, self._update = self._known(_CREATE), self._known(_UPDATE)
        self._touch, self._rework = self._known(_TOUCH), self._known(_REWORK)

    def create(self, session_key: str, data: object) -> str:
        session_id = f"{session_key}:{uuid4()}"
        self._call(self._create, session_id, json.dumps(data), _TTL_MS)
        return session_id

    def update(self, session_id: str, data: object) -> None:
        self._call(self._update, session_id, json.dumps(data), _TTL_MS)

    def touch(self, session_id: str) -> None:
        self._call(self._touch, session_id, _TTL_MS)

    def rework(self, session_id: str) -> str:
        new_id = f"{session_id.rpartition(':')[0]}:{uuid4()}"
        self._call(self._rework, session_id, new_id, _TTL_MS)
        return new_id

    def _call(self, sha: str, session_id: str, *arguments: str | int) -> None:
        sessions = _hash_of(session_id)
        if not self._client.evalsha(
            sha, 2, sessions, f"{{{sessions}}}:ends", session_id, *map(str, arguments)
        ):
            raise KeyError


class _FieldExpiry(_BareRedis):
    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._rework = self._known(_REWORK_FIELD)

    def create(self, session_key: str, data: object) -> str:
        session_id = f"{session_key}:{uuid4()}"
        self._set("FNX", session_id, json.dumps(data))
        return session_id

    def update(self, session_id: str, data: object) -> None:
        self._set("FXX", session_id, json.dumps(data))

    def touch(self, session_id: str) -> None:
        answer: Any = self._client.hpexpire(_hash_of(session_id), _TTL_MS, session_id)
        if answer != [1]:
            raise KeyError

    def rework(self, session_id: str) -> str:
        sessions = _hash_of(session_id)
        new_id = f"{session_id.rpartition(':')[0]}:{uuid4()}"
        if not self._client.evalsha(self._rework, 1, sessions, session_id, new_id, str(_TTL_MS)):
            raise KeyError
        return new_id

    def _set(self, condition: str, session_id: str, text: str) -> None:
        if not self._client.execute_command(
            "HSETEX",
            _hash_of(session_id),
            condition,
            "PX",
            _TTL_MS,
            "FIELDS",
            1,
            session_id,
            text,
        ):
            raise KeyError


def _hash_of(session_id: str) -> str:
    return f"bare:{session_id.rpartition(':')[0]}"


TWO_KEYS = Contender(
    "floor: redis-py, one command or script",
    "floor",
    _TwoKeys,
    "redis",
    note="HGET, HDEL, DEL; else one EVALSHA",
)
FIELD_EXPIRY = Contender(
    "floor: redis-py, one command or script",
    "floor",
    _FieldExpiry,
    "redis",
    note="HGET, HDEL, DEL, HSETEX, HPEXPIRE; rework one EVALSHA",
)
