"""The Lua scripts: each is one operation, atomic on the server.

Three keys belong to a session key; `commands.keys_of` names them:

* KEYS[1], a hash: session id -> data. Where the server expires hash fields, most sessions need
  only this one.
* KEYS[2], a sorted set: session id -> when it ends. On servers that do not expire hash fields.
* KEYS[3], a hash: session id -> when `max_age` ends it, for sessions that have a `max_age`; and
  session id and ":ttl" -> its own ttl, 0 for no limit, for sessions that have one. No id ends like
  that. (The ttl has a field of its own because versions that do not know it could not read a
  deadline with a ttl in the same value.)

Times are milliseconds since the epoch by the server's clock. A session is gone at the very
moment of its end. A session with no end in either place never ends: another program wrote it, or
its ttl is None.

A server that runs short of memory may drop any of these keys and keep the others. So it must be
possible to see what is missing:

* Where KEYS[2] keeps ends, KEYS[1] always expires: with its last session, or, if it has sessions
  without an end, in the year 4188. A hash that expires but has no KEYS[2] has lost the ends of its
  sessions: they count as ended. One that does not expire never had any ends.
* An end in KEYS[2] is half a millisecond early if there is a deadline with it. If that deadline is
  lost, the session is never extended again. If a session's own ttl is lost, the store's applies.

In a cluster, a slot may be moving to another node. A key that is not there, or that a script has
just emptied, can then no longer be used: the node sends the caller to the other one. So the
scripts write first and remove afterwards, and use pcall for any key they may have emptied.
"""

from hashlib import sha1

Argument = bytes | int

FIELDS = b"fields"
# What a script returns; plus OUTCOMES if the server expires hash fields.
GONE, DONE, REFUSED = range(3)
OUTCOMES = 3

_BATCH = 1000

# Before it changes anything, every script asks the server it runs on whether that server expires
# hash fields: a failover or an upgrade may have put another one behind the connection. ARGV[1],
# the last answer, selects the question that is cheap if the answer is still the same.
_LOOK = """\
local sessions, ends, deadlines = KEYS[1], KEYS[2], KEYS[3]
local ttl, id = tonumber(ARGV[2]), ARGV[3]  -- the store's ttl
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

-- KEYS[1] expires then, so that its sessions are not taken for ones that never end.
local year_4188, far_off = 70000000000000, 20000000000000

-- Whether the server has dropped the sorted set of ends alone.
local function ends_are_lost()
  if not ends then return false end
  local left = redis.call('PTTL', sessions)
  -- Where fields expire, a delete may have removed the last end: sessions without one are kept.
  return left >= 0 and not (by_field and left > far_off) and redis.call('EXISTS', ends) == 0
end

-- When a session ends, wherever the server that last stored it keeps that; nil: never.
local function ends_of(session)
  local ends_at = ends and redis.call('ZSCORE', ends, session)
  if ends_at then return math.ceil(tonumber(ends_at)) end
  local last = by_field and redis.call('HPEXPIRETIME', sessions, 'FIELDS', 1, session)[1]
  -- The server keeps a field until after the millisecond it is given.
  return last and last >= 0 and last + 1 or nil
end

-- What a caller is told about a live session; nil if it has ended.
local function shown(session, data)
  local ends_at = ends_of(session)
  if ends_at and ends_at <= now then return nil end
  local deadline = deadlines and redis.call('HGET', deadlines, session)
  local own_ttl = deadlines and redis.call('HGET', deadlines, session .. ':ttl')
  return {session, data, ends_at and moment(ends_at) or '', deadline or '', own_ttl or ''}
end

"""

_CHANGE = (
    _LOOK
    + """\
local function remove(ids)
  redis.pcall('ZREM', ends, unpack(ids))
  local limits = {}
  for n, session in ipairs(ids) do
    limits[2 * n - 1], limits[2 * n] = session, session .. ':ttl'
  end
  redis.pcall('HDEL', deadlines, unpack(limits))
  redis.call('HDEL', sessions, unpack(ids))
end

local function expire_field(key, field, last)
  redis.call('HPEXPIREAT', key, moment(last), 'FIELDS', 1, field)
end

-- An older server wrote this hash: keep its sessions' ends the way this server does.
local function take_over(most)
  for _, key in ipairs({sessions, ends, deadlines}) do redis.call('PERSIST', key) end
  if most == 0 then return end
  local left = redis.call('ZRANGE', ends, 0, most - 1, 'WITHSCORES')
  for n = 1, #left, 2 do
    local last = math.ceil(tonumber(left[n + 1])) - 1
    expire_field(sessions, left[n], last)
    expire_field(deadlines, left[n], last)
    expire_field(deadlines, left[n] .. ':ttl', last)
    redis.call('ZREM', ends, left[n])
  end
end

-- Where fields do not expire, the keys do, with their last session: nothing is left behind.
local function expire_keys()
  if by_field then return end
  local with_end = redis.pcall('ZCARD', ends)
  if type(with_end) ~= 'number' or with_end == 0 then
    redis.pcall('PERSIST', sessions)
    redis.pcall('PERSIST', deadlines)
  elseif redis.pcall('HLEN', sessions) == with_end then
    local last = redis.call('ZREVRANGE', ends, 0, 0, 'WITHSCORES')[2]
    for _, key in ipairs({sessions, ends, deadlines}) do
      redis.pcall('PEXPIREAT', key, moment(math.ceil(tonumber(last))))
    end
  else
    redis.pcall('PEXPIREAT', sessions, moment(year_4188))
    redis.pcall('PERSIST', ends)
    redis.pcall('PERSIST', deadlines)
  end
end

-- Remove expired sessions that the server has not removed itself; a bounded number at a time.
local function tidy(most)
  if redis.call('EXISTS', ends) == 0 then
    if ends_are_lost() then
      redis.call('UNLINK', sessions, deadlines)
    elseif by_field and redis.call('PTTL', sessions) >= 0 then
      take_over(0)
    end
    return 0
  end
  local expired = redis.call('ZRANGEBYSCORE', ends, '-inf', moment(now), 'LIMIT', 0, most)
  if #expired > 0 then
    remove(expired)
    expire_keys()
  end
  if by_field then take_over(most - #expired) end
  return #expired
end

local function lives(session)
  if redis.call('HEXISTS', sessions, session) == 0 then return false end
  local ends_at = redis.call('ZSCORE', ends, session)
  return not ends_at or tonumber(ends_at) > now
end

-- A session's deadline and its own ttl; nil: it has none.
local function limits_of(session)
  local own_ttl = tonumber(redis.call('HGET', deadlines, session .. ':ttl') or '')
  local deadline = tonumber(redis.call('HGET', deadlines, session) or '')
  if deadline then return deadline, own_ttl end
  local ends_at = tonumber(redis.call('ZSCORE', ends, session) or '')
  return ends_at and ends_at % 1 ~= 0 and math.ceil(ends_at) or nil, own_ttl
end

-- Store a session, its end and limits before its data: a session without an end would stay forever.
local function place(session, data, ends_at, deadline, own_ttl)
  local limits = {}
  if deadline then limits[session] = moment(deadline) end
  if own_ttl then limits[session .. ':ttl'] = moment(own_ttl) end
  for field, value in pairs(limits) do redis.call('HSET', deadlines, field, value) end
  if not by_field then
    if ends_at then
      local score = deadline and string.format('%.1f', ends_at - 0.5) or moment(ends_at)
      redis.call('ZADD', ends, score, session)
    else
      redis.call('ZREM', ends, session)
    end
    if data then redis.call('HSET', sessions, session, data) end
    return
  end
  if data then redis.call('HSET', sessions, session, data) end
  redis.call('ZREM', ends, session)
  if ends_at then
    expire_field(sessions, session, ends_at - 1)
    for field in pairs(limits) do expire_field(deadlines, field, ends_at - 1) end
  else
    redis.call('HPERSIST', sessions, 'FIELDS', 1, session)
  end
end

-- Store a session with its ttl starting now; without data, its data stays.
local function restart(session, data, deadline, own_ttl)
  local lasts = own_ttl or ttl
  local ends_at = lasts and lasts > 0 and now + lasts
  if deadline and not (ends_at and ends_at < deadline) then ends_at = deadline end
  place(session, data, ends_at, deadline, own_ttl)
end

"""
)
_PRELUDE = _CHANGE + "tidy(32)\n"

# A short cut before the rest of the script, enough for most sessions: the server expires fields,
# there is no deadline, and no older server has left ends, or an expiry of the whole hash. If the
# server turns out not to expire fields, `brief_restart` fails, and the rest finds everything as it
# was before. A caller that names only one key has seen that the others do not exist.
_BRIEF = """\
local brief = ARGV[1] == 'fields' and ARGV[2] ~= ''
  and (#KEYS == 1 or redis.call('EXISTS', KEYS[2], KEYS[3]) == 0)
  and redis.call('PTTL', KEYS[1]) < 0
local function brief_restart(session)
  -- The server keeps a field until after the millisecond it is given.
  local set = redis.pcall('HPEXPIRE', KEYS[1], ARGV[2] - 1, 'FIELDS', 1, session)
  if set.err then brief = false end
  return set[1] == 1
end
"""
_OR_GONE = """
if #KEYS == 1 then
  return brief and 3 or redis.error_reply('TRYAGAIN all keys are needed')
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
        repeatable: Whether it may be sent again when it is unknown if it was carried out: it must
            not undo what others did meanwhile.
        may_be_narrow: Whether it works with the first key alone if the others do not exist.
    """

    def __init__(self, text: str, *, repeatable: bool, may_be_narrow: bool = False) -> None:
        self.may_be_narrow = may_be_narrow
        self.text = text.encode()
        self.sha = sha1(self.text, usedforsecurity=False).hexdigest().encode()
        self.packed_text = pack((b"EVAL", self.text))
        self.packed_sha = pack((b"EVALSHA", self.sha))
        self.repeatable = repeatable


# Looks in both places on any server: between an upgrade and the next write to a hash, the ends of
# its sessions are where the older server kept them.
GET = Script(
    """\
local data = redis.call('HGET', KEYS[1], ARGV[1])
local ends_at = data and redis.call('ZSCORE', KEYS[2], ARGV[1])
if ends_at then
  local clock = redis.call('TIME')
  if clock[1] * 1000 + math.floor(clock[2] / 1000) >= tonumber(ends_at) then return false end
elseif data and redis.call('PTTL', KEYS[1]) >= 0 and redis.call('EXISTS', KEYS[2]) == 0 then
  return false
end
return data
""",
    repeatable=True,
)

# Returns everything about a session, and the current time. Writes nothing.
INFO = Script(
    _LOOK
    + """
local data = redis.call('HGET', sessions, id)
local found = data and not ends_are_lost() and shown(id, data)
if found then found[#found + 1] = moment(now) end
return found or false
""",
    repeatable=True,
    may_be_narrow=True,
)

# ARGV[5] and ARGV[6], if given, are its own limits, from now: max_age and ttl, '' for none. Sent
# again, it would find its own id taken, and leave behind a session whose id nobody knows.
CREATE = Script(
    _BRIEF
    + """
if brief and #ARGV == 4 then
  if redis.call('HSETNX', KEYS[1], ARGV[3], ARGV[4]) == 0 then return 5 end
  if brief_restart(ARGV[3]) then return 4 end
  redis.call('HDEL', KEYS[1], ARGV[3])
end
"""
    + _OR_GONE
    + _PRELUDE
    + """
local max_age, own_ttl = tonumber(ARGV[5] or ''), tonumber(ARGV[6] or '')
if redis.call('HEXISTS', sessions, id) == 1 then return answer(2) end
restart(id, ARGV[4], max_age and now + max_age, own_ttl)
expire_keys()
return answer(1)
""",
    repeatable=False,
    may_be_narrow=True,
)

# Sent again, it would undo what others have written meanwhile.
UPDATE = Script(
    _BRIEF
    + """
if brief and redis.call('HEXISTS', KEYS[1], ARGV[3]) == 1 then
  redis.call('HSET', KEYS[1], ARGV[3], ARGV[4])
  if brief_restart(ARGV[3]) then return 4 end
end
"""
    + _OR_GONE
    + _PRELUDE
    + """
if not lives(id) then return answer(0) end
restart(id, ARGV[4], limits_of(id))
expire_keys()
return answer(1)
""",
    repeatable=False,
    may_be_narrow=True,
)

# Sent again, it would not find the data it expects, and the caller would make the change twice.
SWAP = Script(
    _BRIEF
    + """
if brief and redis.call('HGET', KEYS[1], ARGV[3]) == ARGV[4] then
  redis.call('HSET', KEYS[1], ARGV[3], ARGV[5])
  if brief_restart(ARGV[3]) then return 4 end
  redis.call('HSET', KEYS[1], ARGV[3], ARGV[4])
end
if #KEYS == 1 and brief and redis.call('HEXISTS', KEYS[1], ARGV[3]) == 1 then return 5 end
"""
    + _OR_GONE
    + _PRELUDE
    + """
local expected, data = ARGV[4], ARGV[5]
if not lives(id) then return answer(0) end
if redis.call('HGET', sessions, id) ~= expected then return answer(2) end
restart(id, data, limits_of(id))
expire_keys()
return answer(1)
""",
    repeatable=False,
    may_be_narrow=True,
)

TOUCH = Script(
    _BRIEF
    + """
if brief and brief_restart(ARGV[3]) then return 4 end
"""
    + _OR_GONE
    + _PRELUDE
    + """
if not lives(id) then return answer(0) end
restart(id, nil, limits_of(id))
expire_keys()
return answer(1)
""",
    repeatable=True,
    may_be_narrow=True,
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
    + _OR_GONE
    + _PRELUDE
    + """
local new = ARGV[4]
if not lives(id) then return answer(0) end
if redis.call('HEXISTS', sessions, new) == 1 then return answer(2) end
restart(new, redis.call('HGET', sessions, id), limits_of(id))
remove({id})
expire_keys()
return answer(1)
""",
    repeatable=False,
    may_be_narrow=True,
)

# The user's keys are KEYS[4] to KEYS[6]; ARGV[5] and ARGV[6] are as in CREATE. Sent again, it
# would find the visitor's id dead, and the session would be lost to its user.
LOGIN = Script(
    _PRELUDE
    + """
local new, max_age, own_ttl = ARGV[4], tonumber(ARGV[5] or ''), tonumber(ARGV[6] or '')
if not lives(id) then return answer(0) end
local data = redis.call('HGET', sessions, id)
sessions, ends, deadlines = KEYS[4], KEYS[5], KEYS[6]
tidy(32)
if redis.call('HEXISTS', sessions, new) == 1 then return answer(2) end
restart(new, data, max_age and now + max_age, own_ttl)
expire_keys()
sessions, ends, deadlines = KEYS[1], KEYS[2], KEYS[3]
remove({id})
expire_keys()
return answer(1)
""",
    repeatable=False,
)

DELETE = Script(
    """\
local told = ARGV[1] == 'fields' and 4 or 1
if redis.call('EXISTS', KEYS[2], KEYS[3]) > 0 then
  redis.pcall('ZREM', KEYS[2], ARGV[3])
  redis.pcall('HDEL', KEYS[3], ARGV[3], ARGV[3] .. ':ttl')
  redis.call('HDEL', KEYS[1], ARGV[3])
  local left = redis.pcall('PTTL', KEYS[1])
  -- Keys that expire with their last session still do so without this one.
  if type(left) ~= 'number' or left == -2 or (left >= 0 and left < 20000000000000) then
    return told
  end
else
  redis.call('HDEL', KEYS[1], ARGV[3])
  return told
end
"""
    + _CHANGE
    + """
expire_keys()
return answer(1)
""",
    repeatable=True,
)

# Sent again, it would end a session that began meanwhile.
CLEAR = Script("redis.call('UNLINK', unpack(KEYS))", repeatable=False)

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

# Returns sessions: all of the hash if they fit on a page, otherwise a page and where the next one
# begins. Writes nothing.
PAGE = Script(
    _LOOK
    + """
local cursor, size = ARGV[4], tonumber(ARGV[5])
local fields
if cursor == '0' and redis.call('HLEN', sessions) <= size then
  fields = redis.call('HGETALL', sessions)
else
  local page = redis.call('HSCAN', sessions, cursor, 'COUNT', size)
  cursor, fields = page[1], page[2]
end
local found = {}
if #fields > 0 and ends_are_lost() then fields = {} end
for n = 1, #fields, 2 do
  found[#found + 1] = shown(fields[n], fields[n + 1])
end
return {cursor, found}
""",
    repeatable=True,
    may_be_narrow=True,
)

_END = (
    _PRELUDE
    + """
if not lives(id) then return answer(0) end
if ARGV[4] and redis.call('HGET', sessions, id) ~= ARGV[4] then return answer(2) end
remove({id})
expire_keys()
return answer(1)
"""
)
# Sent again, it would not find the session that it ended: it is gone either way.
REVOKE = Script(_END, repeatable=True)
# A caller that ends a session to put another in its place must know whether this call ended it.
SUPERSEDE = Script(_END, repeatable=False)

# A key may have any number of sessions, and all clients wait while a script runs: so all are
# dropped at once, and the one that stays is stored again. KEYS[4] never exists: so a node that is
# giving the slot away does not even start. Sent again, it would end a session that began meanwhile.
CLEAR_OTHERS = Script(
    _PRELUDE
    + f"""
if not lives(id) then return answer(0) end
local ended = redis.call('HLEN', sessions) - 1
if ended < {_BATCH} then
  ended = 0
  for _, session in ipairs(redis.call('HKEYS', sessions)) do
    if session ~= id and lives(session) then ended = ended + 1 end
  end
end
local data, ends_at = redis.call('HGET', sessions, id), ends_of(id)
local deadline, own_ttl = limits_of(id)
place(id, data, ends_at, deadline, own_ttl)  -- if this is refused, nothing has been removed yet
redis.call('UNLINK', sessions, ends, deadlines)
place(id, data, ends_at, deadline, own_ttl)
expire_keys()
return {{answer(1), ended}}
""",
    repeatable=False,
)

# Sent again, it would bring back a session that was ended meanwhile.
RESTORE = Script(
    _PRELUDE
    + """
local ends_at, deadline, own_ttl = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
if ends_at and ends_at <= now then return answer(0) end
if redis.call('HEXISTS', sessions, id) == 1 then return answer(2) end
place(id, ARGV[4], ends_at, deadline, own_ttl)
expire_keys()
return answer(1)
""",
    repeatable=False,
)

# The session lives for ARGV[5] unless it is extended; for the rest see CREATE. All are
# durations: the session comes from another node, which has its own clock.
COPY = Script(
    _PRELUDE
    + """
local lives, max_age, own_ttl = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
if redis.call('HEXISTS', sessions, id) == 1 then return answer(2) end
local lasting = math.min(lives, max_age or lives)
place(id, ARGV[4], now + lasting, max_age and now + max_age, own_ttl)
expire_keys()
return answer(1)
""",
    repeatable=False,
)

# Writing a field again drops its expiry.
REPLACE = Script(
    _PRELUDE
    + """
local expected, data = ARGV[4], ARGV[5]
if not lives(id) then return answer(0) end
if redis.call('HGET', sessions, id) ~= expected then return answer(2) end
place(id, data, ends_of(id), limits_of(id))
expire_keys()
return answer(1)
""",
    repeatable=False,
)
