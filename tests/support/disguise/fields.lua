-- Does a command on a server without expiring hash fields, as one with them would.
--
-- ARGV: the database, the command and its words. When fields end is kept in database 15, in a hash named after database
-- and key; what stands there counts only as long as the field does, and no longer than its time.
local db, verb, key = ARGV[1], ARGV[2], ARGV[3]
local words = { unpack(ARGV, 2) }

local function beside(...)
  redis.call('SELECT', 15)
  local answer = redis.call(...)
  redis.call('SELECT', db)
  return answer
end

local function side(of) return 'ends:' .. db .. ':' .. of end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function purge(of)
  if redis.call('TYPE', of).ok ~= 'hash' then return end
  local ends = beside('HGETALL', side(of))
  for i = 1, #ends, 2 do
    if tonumber(ends[i + 1]) <= now then
      redis.call('HDEL', of, ends[i])
      beside('HDEL', side(of), ends[i])
    end
  end
end

-- Whoever watches the key is to see the change.
local function touch(field) redis.call('HSET', key, field, redis.call('HGET', key, field)) end

local function each(from, act)
  local answers = {}
  for i = from, #ARGV do
    if redis.call('HEXISTS', key, ARGV[i]) == 0 then answers[#answers + 1] = -2
    else answers[#answers + 1] = act(ARGV[i]) end
  end
  return answers
end

purge(key)
if verb == 'HPEXPIRETIME' then
  return each(6, function(field) return tonumber(beside('HGET', side(key), field) or -1) end)
elseif verb == 'HPEXPIREAT' then
  return each(7, function(field)
    if tonumber(ARGV[4]) <= now then
      redis.call('HDEL', key, field)
      return 2
    end
    beside('HSET', side(key), field, ARGV[4])
    touch(field)
    return 1
  end)
elseif verb == 'HPERSIST' then
  return each(6, function(field)
    if beside('HDEL', side(key), field) == 0 then return -1 end
    touch(field)
    return 1
  end)
end
local answer = redis.call(unpack(words))
if verb == 'HSET' then
  for i = 4, #ARGV, 2 do beside('HDEL', side(key), ARGV[i]) end
elseif verb == 'HDEL' then
  beside('HDEL', side(key), unpack(ARGV, 4))
elseif verb == 'UNLINK' or verb == 'DEL' then
  for i = 3, #ARGV do beside('UNLINK', side(ARGV[i])) end
elseif verb == 'RENAME' then
  beside('UNLINK', side(ARGV[4]))
  if beside('EXISTS', side(key)) == 1 then beside('RENAME', side(key), side(ARGV[4])) end
end
return answer
