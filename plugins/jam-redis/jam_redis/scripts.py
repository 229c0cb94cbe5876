"""The Lua scripts: each is one operation, atomic on the server.

Three keys belong to a session key; `commands.keys_of` names them:

* KEYS[1], a hash: session id -> data. The only one where the server expires hash fields.
* KEYS[2], a sorted set: session id -> when it ends. On servers that do not.
* KEYS[3], a hash: session id -> when `max_age` ends it. For sessions that have a `max_age`.

Times are milliseconds since the epoch by the server's clock. A session is gone at the very
moment of its end. One that has no end in either place has none: another program wrote it, or
its ttl is None.
"""

from hashlib import sha1

Argument = bytes | int

FIELDS = b"fields"
# What a script answers; OUTCOMES more if the server expires hash fields.
GONE, DONE, REFUSED = range(3)
OUTCOMES = 3

_BATCH = 1000

# Every script asks the server that runs it, before it changes anything, whether that server
# expires hash fields: a failover or an upgrade may have put another one behind the connection.
# ARGV[1], what the last answer was, selects the question that is cheap if the answer is the same.
_LOOK = """\
local sessions, ends, deadlines = KEYS[1], KEYS[2], KEYS[3]
local ttl, id = tonumber(ARGV[2]), ARGV[3]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function moment(milliseconds)
  return string.format('%.0f', milliseconds)
end

local function ask_for_field_expiry()
  if ARGV[1] ~= 'fields' then
    local known = redis.pcall('COMMAND', 'INFO', 'HPEXPIREAT')
    if type(known[1]) ~= 'table' then return false end
  end
  local answer = redis.pcall('HPEXPIRETIME', sessions, 'FIELDS', 1, '')
  return not (type(answer) == 'table' and answer.err)
end

local by_field = ask_for_field_expiry()

local function answer(outcome)
  return by_field and outcome + 3 or outcome
end

-- When a session ends, wherever the server that stored it last keeps that; nil: never.
local function ends_of(session)
  local ends_at = redis.call('ZSCORE', ends, session)
  if ends_at then return tonumber(ends_at) end
  local last = by_field and redis.call('HPEXPIRETIME', sessions, 'FIELDS', 1, session)[1]
  -- The server keeps a field until after the millisecond it is given.
  return last and last >= 0 and last + 1 or nil
end

"""

_CHANGE = (
    _LOOK
    + """\
local function remove(ids)
  redis.call('HDEL', sessions, unpack(ids))
  redis.call('ZREM', ends, unpack(ids))
  redis.call('HDEL', deadlines, unpack(ids))
end

local function expire_field(key, field, last)
  redis.call('HPEXPIREAT', key, moment(last), 'FIELDS', 1, field)
end

-- An older server served this hash before: give its sessions their ends as the new one keeps them.
local function take_over(most)
  for _, key in ipairs(KEYS) do redis.call('PERSIST', key) end
  if most == 0 then return end
  local left = redis.call('ZRANGE', ends, 0, most - 1, 'WITHSCORES')
  for n = 1, #left, 2 do
    for _, key in ipairs({sessions, deadlines}) do
      expire_field(key, left[n], tonumber(left[n + 1]) - 1)
    end
    redis.call('ZREM', ends, left[n])
  end
end

-- Remove what has expired and the server has not removed itself; a bounded number at a time.
local function tidy(most)
  if by_field and redis.call('EXISTS', ends) == 0 and redis.call('PTTL', sessions) < 0 then
    return 0
  end
  local expired = redis.call('ZRANGEBYSCORE', ends, '-inf', moment(now), 'LIMIT', 0, most)
  if #expired > 0 then remove(expired) end
  if by_field then take_over(most - #expired) end
  return #expired
end

-- Where fields do not expire, the keys do, with their last session: nothing is left behind.
local function expire_keys()
  if by_field then return end
  local last = redis.call('ZREVRANGE', ends, 0, 0, 'WITHSCORES')[2]
  local every = last and redis.call('HLEN', sessions) == redis.call('ZCARD', ends)
  for _, key in ipairs(KEYS) do
    if every then
      redis.call('PEXPIREAT', key, moment(tonumber(last)))
    else
      redis.call('PERSIST', key)
    end
  end
end

local function lives(session)
  if redis.call('HEXISTS', sessions, session) == 0 then return false end
  local ends_at = redis.call('ZSCORE', ends, session)
  return not ends_at or tonumber(ends_at) > now
end

local function deadline_of(session)
  return tonumber(redis.call('HGET', deadlines, session) or '')
end

local function place(session, ends_at, deadline)
  if deadline then redis.call('HSET', deadlines, session, moment(deadline)) end
  if not by_field then
    if ends_at then
      redis.call('ZADD', ends, moment(ends_at), session)
    else
      redis.call('ZREM', ends, session)
    end
    return expire_keys()
  end
  redis.call('ZREM', ends, session)
  if ends_at then
    expire_field(sessions, session, ends_at - 1)
    if deadline then expire_field(deadlines, session, ends_at - 1) end
  else
    redis.call('HPERSIST', sessions, 'FIELDS', 1, session)
  end
end

local function restart(session, deadline)
  local ends_at = ttl and now + ttl
  if deadline and not (ends_at and ends_at < deadline) then ends_at = deadline end
  place(session, ends_at, deadline)
end

"""
)
_PRELUDE = _CHANGE + "tidy(32)\n"

# What most sessions need, before the rest of the script: the server expires fields, there is no
# deadline, and no older server has left its ends, nor an end of the whole hash. If the server turns
# out not to expire fields, `brief_restart` fails, and the rest finds everything as if this had not
# been.
_BRIEF = """\
local brief = ARGV[1] == 'fields' and ARGV[2] ~= ''
  and redis.call('EXISTS', KEYS[2], KEYS[3]) == 0 and redis.call('PTTL', KEYS[1]) < 0
local function brief_restart(session)
  -- The server keeps a field until after the millisecond it is given.
  local set = redis.pcall('HPEXPIRE', KEYS[1], ARGV[2] - 1, 'FIELDS', 1, session)
  return set[1] == 1
end
"""


def pack(arguments: tuple[Argument, ...]) -> bytes:
    """Return arguments of a command as they go over the wire."""
    packed = []
    for argument in arguments:
        raw = argument if isinstance(argument, bytes) else b"%d" % argument
        packed.append(b"$%d\r\n%b\r\n" % (len(raw), raw))
    return b"".join(packed)


def pack_command(name: bytes, key: bytes, field: bytes) -> bytes:
    """Return a command about a field of a key as it goes over the wire."""
    words = (len(name), name, len(key), key, len(field), field)
    return b"*3\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % words


class Script:
    """A Lua script.

    Attributes:
        text: Its source.
        sha: The hash by which a server that has seen it knows it.
        packed_text: EVAL and the text, as they go over the wire.
        packed_sha: EVALSHA and the hash, likewise.
        repeatable: Whether it may be sent again when it is unknown if it was carried out.
    """

    def __init__(self, text: str, *, repeatable: bool) -> None:
        self.text = text.encode()
        self.sha = sha1(self.text, usedforsecurity=False).hexdigest().encode()
        self.packed_text = pack((b"EVAL", self.text))
        self.packed_sha = pack((b"EVALSHA", self.sha))
        self.repeatable = repeatable


# Whatever the server: between an upgrade and the next write to a hash, the ends of its sessions are
# where the older server kept them.
GET = Script(
    """\
local data = redis.call('HGET', KEYS[1], ARGV[1])
local ends_at = data and redis.call('ZSCORE', KEYS[2], ARGV[1])
if ends_at then
  local clock = redis.call('TIME')
  if clock[1] * 1000 + math.floor(clock[2] / 1000) >= tonumber(ends_at) then return false end
end
return data
""",
    repeatable=True,
)

# Sent again, it would find its own id taken, and leave a session that nobody knows the id of.
CREATE = Script(
    _BRIEF
    + """
if brief and ARGV[5] == '' then
  if redis.call('HSETNX', KEYS[1], ARGV[3], ARGV[4]) == 0 then return 5 end
  if brief_restart(ARGV[3]) then return 4 end
  redis.call('HDEL', KEYS[1], ARGV[3])
end
"""
    + _PRELUDE
    + """
local data, max_age = ARGV[4], tonumber(ARGV[5])
if redis.call('HEXISTS', sessions, id) == 1 then return answer(2) end
redis.call('HSET', sessions, id, data)
restart(id, max_age and now + max_age)
return answer(1)
""",
    repeatable=False,
)

UPDATE = Script(
    _BRIEF
    + """
if brief and redis.call('HEXISTS', KEYS[1], ARGV[3]) == 1 then
  redis.call('HSET', KEYS[1], ARGV[3], ARGV[4])
  if brief_restart(ARGV[3]) then return 4 end
end
"""
    + _PRELUDE
    + """
if not lives(id) then return answer(0) end
redis.call('HSET', sessions, id, ARGV[4])
restart(id, deadline_of(id))
return answer(1)
""",
    repeatable=True,
)

# Sent again, it would not find what it compares with, and the change would be made twice.
SWAP = Script(
    _BRIEF
    + """
if brief and redis.call('HGET', KEYS[1], ARGV[3]) == ARGV[4] then
  redis.call('HSET', KEYS[1], ARGV[3], ARGV[5])
  if brief_restart(ARGV[3]) then return 4 end
  redis.call('HSET', KEYS[1], ARGV[3], ARGV[4])
end
"""
    + _PRELUDE
    + """
local expected, data = ARGV[4], ARGV[5]
if not lives(id) then return answer(0) end
if redis.call('HGET', sessions, id) ~= expected then return answer(2) end
redis.call('HSET', sessions, id, data)
restart(id, deadline_of(id))
return answer(1)
""",
    repeatable=False,
)

TOUCH = Script(
    _BRIEF
    + """
if brief and brief_restart(ARGV[3]) then return 4 end
"""
    + _PRELUDE
    + """
if not lives(id) then return answer(0) end
restart(id, deadline_of(id))
return answer(1)
""",
    repeatable=True,
)

# Sent again, it would find the old id dead, and the session would be lost to its user.
REWORK = Script(
    _BRIEF
    + """
local moved = brief and redis.call('HGET', KEYS[1], ARGV[3])
if moved then
  if redis.call('HSETNX', KEYS[1], ARGV[4], moved) == 0 then return 5 end
  if brief_restart(ARGV[4]) then
    redis.call('HDEL', KEYS[1], ARGV[3])
    return 4
  end
  redis.call('HDEL', KEYS[1], ARGV[4])
end
"""
    + _PRELUDE
    + """
local new = ARGV[4]
if not lives(id) then return answer(0) end
if redis.call('HEXISTS', sessions, new) == 1 then return answer(2) end
local data, deadline = redis.call('HGET', sessions, id), deadline_of(id)
remove({id})
redis.call('HSET', sessions, new, data)
restart(new, deadline)
return answer(1)
""",
    repeatable=False,
)

DELETE = Script(
    """\
redis.call('HDEL', KEYS[1], ARGV[3])
local told = ARGV[1] == 'fields' and 4 or 1
if redis.call('EXISTS', KEYS[2], KEYS[3]) == 0 then return told end
redis.call('ZREM', KEYS[2], ARGV[3])
redis.call('HDEL', KEYS[3], ARGV[3])
-- Where the keys expire with a last session, they do so as well without this one.
if redis.call('PTTL', KEYS[1]) ~= -1 then return told end
"""
    + _PRELUDE
    + """
expire_keys()
return answer(1)
""",
    repeatable=True,
)

CLEAR = Script("redis.call('UNLINK', unpack(KEYS))", repeatable=True)

# Returns how many sessions it removed, and whether there may be more.
PURGE = Script(
    _CHANGE
    + f"""
local removed = tidy({_BATCH})
expire_keys()
local more = removed == {_BATCH} or (by_field and redis.call('EXISTS', ends) == 1)
return {{removed, more and 1 or 0}}
""",
    repeatable=True,
)

# Returns sessions: all of the hash, or a page of it and where the next begins. Writes nothing.
PAGE = Script(
    _LOOK
    + """
local cursor, size = ARGV[4], ARGV[5]
local fields
if size == '' then
  cursor, fields = '0', redis.call('HGETALL', sessions)
else
  local page = redis.call('HSCAN', sessions, cursor, 'COUNT', size)
  cursor, fields = page[1], page[2]
end
local found = {}
for n = 1, #fields, 2 do
  local session, ends_at = fields[n], ends_of(fields[n])
  if not ends_at or ends_at > now then
    local deadline = redis.call('HGET', deadlines, session)
    found[#found + 1] = {session, fields[n + 1], ends_at and moment(ends_at) or '', deadline or ''}
  end
end
return {cursor, found}
""",
    repeatable=True,
)

# Sent again, it would not find the session that it ended: it is gone either way.
REVOKE = Script(
    _PRELUDE
    + """
if not lives(id) then return answer(0) end
remove({id})
expire_keys()
return answer(1)
""",
    repeatable=True,
)

CLEAR_OTHERS = Script(
    _PRELUDE
    + f"""
if not lives(id) then return answer(0) end
local others, ended = {{}}, 0
for _, session in ipairs(redis.call('HKEYS', sessions)) do
  if session ~= id then
    if lives(session) then ended = ended + 1 end
    others[#others + 1] = session
  end
end
for n = 1, #others, {_BATCH} do
  remove({{unpack(others, n, math.min(n + {_BATCH - 1}, #others))}})
end
expire_keys()
return {{answer(1), ended}}
""",
    repeatable=True,
)

RESTORE = Script(
    _PRELUDE
    + """
local data, ends_at, deadline = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
if ends_at and ends_at <= now then return answer(0) end
if redis.call('HEXISTS', sessions, id) == 1 then return answer(2) end
redis.call('HSET', sessions, id, data)
place(id, ends_at, deadline)
return answer(1)
""",
    repeatable=True,
)

# A field that is written anew forgets its end.
REPLACE = Script(
    _PRELUDE
    + """
local expected, data = ARGV[4], ARGV[5]
if not lives(id) then return answer(0) end
if redis.call('HGET', sessions, id) ~= expected then return answer(2) end
local ends_at = ends_of(id)
redis.call('HSET', sessions, id, data)
place(id, ends_at, deadline_of(id))
return answer(1)
""",
    repeatable=False,
)

SCRIPTS = (
    GET,
    CREATE,
    UPDATE,
    SWAP,
    TOUCH,
    REWORK,
    DELETE,
    CLEAR,
    PURGE,
    PAGE,
    REVOKE,
    CLEAR_OTHERS,
    RESTORE,
    REPLACE,
)
