#!lua name=reknit_1
-- Writes with stamps: each function is the plain command and the stamps of what it wrote, in one step.
--
--   ._add-set        key     -> its last write             ._rem-set        key     -> its removal
--   ._add-set_<key>  element -> its last write             ._rem-set_<key>  element -> its removal
--   ._counts_<key>   hash: `since` and `base`, what the counter began from, and per replica `+NAME` and `-NAME`, the
--                    sums of what was added and taken away there
--
-- A stamp is a hybrid logical clock: milliseconds, and a counter of 1/2048 where the clock did not move on, so that it
-- is later than every stamp that it replaces. Both fit a double. The clock itself is kept nowhere: what must be later
-- than what stands in the stamps.
--
-- The plain command comes first and raises its own errors; behind it nothing can fail. Deliberately absent: options
-- whose outcome depends on what is there (NX, XX, GET, INCR), for they mean something else at each replica.

local REPLICA = '@REPLICA@'
local ADDED, REMOVED, COUNTS = '._add-set', '._rem-set', '._counts'
local STEP = 1 / 2048
-- A Lua stack holds not many more words at once.
local MOST_WORDS = 3000
local EXPIRES = { EX = 2, PX = 2, EXAT = 2, PXAT = 2, KEEPTTL = 1 }

local function of(set, key)
  return set .. '_' .. key
end

local function text(stamp)
  return string.format('%.17g', stamp)
end

-- The latest of a stamp and of scores, some of which are missing.
local function latest(stamp, scores)
  for i = 1, #scores do
    local score = scores[i] and tonumber(scores[i])
    if score and score > stamp then stamp = score end
  end
  return stamp
end

-- The stamp of now, later than the one that is given.
local function stamp_behind(past, key)
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  if now > past then return now end
  local next = past + STEP
  if next == past then error({ err = 'ERR a stamp of ' .. key .. ' lies too far in the future, see to the clock that gave it' }) end
  return next
end

-- Raises an error where one of these is no set of stamps, before anything is written.
local function must_hold_stamps(...)
  for _, set in ipairs({ ... }) do redis.call('ZCARD', set) end
end

local function newest(set)
  return redis.call('ZREVRANGE', set, 0, 0, 'WITHSCORES')[2] or false
end

-- The latest stamp of a key: what is listed as added was added after it was removed, and after all its elements. A
-- collection that was emptied element by element is listed no more: its last element was removed later.
local function past_of_key(key)
  local added = redis.call('ZSCORE', ADDED, key)
  if added then return added, tonumber(added) end
  local removed = redis.call('ZSCORE', REMOVED, key)
  return false, latest(tonumber(removed or 0), { newest(of(REMOVED, key)) }), removed
end

local function is_any(list)
  for i = 1, #list do
    if list[i] then return true end
  end
  return false
end

-- A time is never lowered.
local function list_all(set, names, stamp)
  local at = text(stamp)
  if #names == 1 then return redis.call('ZADD', set, 'GT', at, names[1]) end
  local words = {}
  for i = 1, #names do
    words[2 * i - 1], words[2 * i] = at, names[i]
  end
  redis.call('ZADD', set, 'GT', unpack(words))
end

local function complaint(words)
  return redis.error_reply('ERR ' .. words)
end

-- Why a key cannot be written: it is stamps or reknit's, or the user may not write stamps. Servers before 7.0 cannot tell
-- the last.
local function unwritable(key)
  for _, set in ipairs({ ADDED, REMOVED, COUNTS }) do
    if key == set or key:sub(1, #set + 1) == set .. '_' then return complaint(key .. ' holds stamps, and no data') end
  end
  if key:sub(1, 7) == 'reknit:' then return complaint(key .. ' is a key of reknit itself') end
  if redis.acl_check_cmd and not redis.acl_check_cmd('ZADD', ADDED, '0', key) then
    return redis.error_reply('NOPERM the user may not write stamps, give it +zadd ~._*')
  end
end

local function count_of_keys(keys, args)
  if #keys ~= 1 then return complaint('one key at a time') end
  local refusal = unwritable(keys[1])
  if refusal then return refusal end
  if #args > MOST_WORDS then return complaint('at most ' .. MOST_WORDS .. ' words at a time') end
end

local commands = {}

local function refuse_options(args)
  local i = 2
  while i <= #args do
    local length = EXPIRES[args[i]:upper()]
    if not length then return complaint('reknit_set knows EX, PX, EXAT, PXAT and KEEPTTL, not ' .. args[i]) end
    i = i + length
  end
end

-- KEYS: the key. ARGV: the value, and EX seconds, PX milliseconds, EXAT, PXAT or KEEPTTL.
function commands.set(keys, args)
  local refusal = count_of_keys(keys, args) or refuse_options(args)
  if refusal then return refusal end
  local key = keys[1]
  local kind = redis.call('TYPE', key).ok
  local added, past = past_of_key(key)
  must_hold_stamps(REMOVED)
  local elements = kind ~= 'none' and kind ~= 'string'
  if elements then past = latest(past, { newest(of(ADDED, key)), newest(of(REMOVED, key)) }) + STEP end
  local stamp = stamp_behind(past, key)
  local answer = redis.call('SET', key, unpack(args))
  redis.call('ZADD', ADDED, text(stamp), key)
  if elements then
    -- Its elements are removed just before.
    redis.call('ZADD', REMOVED, text(stamp - STEP), key)
    redis.call('UNLINK', of(COUNTS, key), of(ADDED, key), of(REMOVED, key))
  else
    if added then redis.call('UNLINK', of(COUNTS, key)) else redis.call('ZREM', REMOVED, key) end
  end
  return answer
end

-- KEYS: the keys. Answers how many were there; what was not is listed as removed, too.
function commands.del(keys)
  local count = 0
  for _, key in ipairs(keys) do
    local refusal = unwritable(key)
    if refusal then return refusal end
    must_hold_stamps(of(ADDED, key), of(REMOVED, key))
  end
  must_hold_stamps(REMOVED)
  for _, key in ipairs(keys) do
    local added, past = past_of_key(key)
    past = latest(past, { newest(of(ADDED, key)), newest(of(REMOVED, key)) })
    local stamp = stamp_behind(past, key)
    count = count + redis.call('DEL', key)
    redis.call('UNLINK', of(COUNTS, key), of(ADDED, key), of(REMOVED, key))
    if added then redis.call('ZREM', ADDED, key) end
    redis.call('ZADD', REMOVED, text(stamp), key)
  end
  return count
end

-- The words at every `step`th place from `first` on.
local function every(args, first, step)
  local names = {}
  for i = first, #args, step do names[#names + 1] = args[i] end
  return names
end

local function add(command, first, step)
  return function(keys, args)
    local refusal = count_of_keys(keys, args)
    if refusal then return refusal end
    local key, names = keys[1], every(args, first, step)
    if command == 'ZADD' and not tonumber(args[1] or '0') then return complaint('reknit_zadd takes scores and members, no options') end
    if #args % step ~= 0 or #names == 0 then return complaint('wrong number of arguments for ' .. command) end
    must_hold_stamps(of(ADDED, key))
    local gone = redis.call('ZMSCORE', of(REMOVED, key), unpack(names))
    local _, past = past_of_key(key)
    local stamp = stamp_behind(latest(past, gone), key)
    local answer = redis.call(command, key, unpack(args))
    if is_any(gone) then redis.call('ZREM', of(REMOVED, key), unpack(names)) end
    list_all(of(ADDED, key), names, stamp)
    redis.call('ZADD', ADDED, text(stamp), key)
    -- A removal of the key stays listed beside: it is older, and says that older elements are gone.
    return answer
  end
end

local function remove(command)
  return function(keys, args)
    local refusal = count_of_keys(keys, args)
    if refusal then return refusal end
    local key, names = keys[1], args
    if #names == 0 then return complaint('wrong number of arguments for ' .. command) end
    must_hold_stamps(of(ADDED, key), of(REMOVED, key))
    local added, past = past_of_key(key)
    local stamp = stamp_behind(past, key)
    local answer = redis.call(command, key, unpack(names))
    if added then redis.call('ZREM', of(ADDED, key), unpack(names)) end
    list_all(of(REMOVED, key), names, stamp)
    if added and answer > 0 and redis.call('EXISTS', key) == 0 then redis.call('ZREM', ADDED, key) end
    return answer
  end
end

-- KEYS: the key. ARGV: fields and values; fields; members; members; scores and members; members.
commands.hset, commands.hdel = add('HSET', 1, 2), remove('HDEL')
commands.sadd, commands.srem = add('SADD', 1, 1), remove('SREM')
commands.zadd, commands.zrem = add('ZADD', 2, 2), remove('ZREM')

-- What a counter begins from that has no counts yet: since when, and with which number. Every replica finds the same:
-- the latest write or removal of the whole key; '' is before all.
local function beginning(key, before, since, added, removed)
  if not before then
    -- Counts without a key are those of one that has expired.
    if since then return text((tonumber(since) or -STEP) + STEP) end
    return removed or ''
  end
  local past, gone = tonumber(added or '-inf'), tonumber(removed or '-inf')
  if removed and gone >= past then return text(gone + STEP), before end
  return added or '', before
end

-- KEYS: the key. ARGV: by how much, negative to decrease. Beyond 2^53 the answer is rounded, and the data is exact.
function commands.incrby(keys, args)
  if #keys ~= 1 or #args ~= 1 then return complaint('reknit_incrby takes one key and one number') end
  local key, by, counts = keys[1], args[1], of(COUNTS, keys[1])
  local sign, amount = '+', by
  if by:sub(1, 1) == '-' then sign, amount = '-', by:sub(2) end
  local refusal = unwritable(key)
  if refusal then return refusal end
  local known = redis.call('HMGET', counts, 'since', sign .. REPLICA)
  local before = redis.call('GET', key)
  local added, past, removed = past_of_key(key)
  if added and not (known[1] and before) then
    removed = redis.call('ZSCORE', REMOVED, key)
    past = latest(past, { removed })
  end
  local stamp = stamp_behind(past, key)
  if (tonumber(known[2] or '0') or 0) + (tonumber(amount) or 0) >= 9.2e18 then
    return complaint('increment or decrement would overflow what this replica has counted')
  end
  local value = redis.call('INCRBY', key, by)
  if not known[1] or not before then
    local since, base = beginning(key, before, known[1], added, removed)
    if known[1] then redis.call('UNLINK', counts) end
    redis.call('HSET', counts, 'since', since)
    if base then redis.call('HSET', counts, 'base', base) end
  end
  redis.call('HINCRBY', counts, sign .. REPLICA, amount)
  redis.call('ZADD', ADDED, text(stamp), key)
  if removed then redis.call('ZREM', REMOVED, key) end
  return value
end

-- Answers the version of these functions and the name under which this server counts.
function commands.version()
  return { '1', REPLICA }
end

--@ELSEWHERE@ return commands['@COMMAND@'](KEYS, ARGV)
local NAMES = { 'set', 'del', 'hset', 'hdel', 'sadd', 'srem', 'zadd', 'zrem', 'incrby', 'version' }
for i = 1, #NAMES do redis.register_function('reknit_' .. NAMES[i], commands[NAMES[i]]) end
