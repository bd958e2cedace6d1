-- Increases counters that are still integers in keys with the expiry that is expected, whatever their numbers are by now.
--
-- KEYS: the counters, and hashes and sorted sets of such, and behind them the marker, where there is one.
-- ARGV: the marker's text before its mask, and the mask in 16 hexadecimal digits. Then for each key: its expiry as
--       PEXPIRETIME answers it, the expiry that it gets ('' keeps it), its place in the mask, the number of its steps;
--       and for each step: the command, the element, what it gets, and what it must be: '' absent, '#' an integer,
--       '=...' exactly that.
--
-- Answers for each key 1, or 0 where it is not as it must be or would overflow, or the server's words; behind them the
-- marker that was set, with the places of all keys that were written. A key is written whole or not at all: every step
-- is looked at before the first is taken, and increases come last, so that none happened where one could not.
local mask, answers, at = {}, {}, 3
for digit in ARGV[2]:gmatch('%x') do mask[#mask + 1] = tonumber(digit, 16) end

local function take()
  at = at + 1
  return ARGV[at - 1]
end

-- INCRBY itself takes canonical integers only, and refuses to overflow.
local function declines(words)
  return words:find('WRONGTYPE', 1, true) or words:find('not an integer', 1, true) or words:find('overflow', 1, true)
end

-- An element as it is now; false where it is absent. Older servers do not know ZMSCORE.
local function held(key, verb, element)
  if verb:sub(1, 1) == 'H' then return redis.call('HMGET', key, element)[1] end
  local scores = redis.pcall('ZMSCORE', key, element)
  if scores.err then return redis.call('ZSCORE', key, element) end
  return scores[1]
end

-- Of fields whatever has few enough digits not to overflow, of scores what a double holds exactly.
local function is_integer(verb, text)
  local digits = verb == 'HINCRBY' and 17 or 15
  return text == '0' or text == '-0' and verb == 'ZINCRBY' or text:find('^%-?[1-9]%d*$') and #text <= digits
end

local function is_ready(key, step)
  if step.verb == 'INCRBY' then return true end
  local now, must = held(key, step.verb, step.element), step.must
  if must == '' then return not now end
  if not now then return false end
  if must == '#' then return is_integer(step.verb, now) end
  if step.verb:sub(1, 1) == 'Z' then return tonumber(now) == tonumber(must:sub(2)) end
  return now == must:sub(2)
end

local function execute(key, step)
  local verb, element, to = step.verb, step.element, step.to
  if verb == 'INCRBY' then return redis.pcall(verb, key, to) end
  if verb == 'HDEL' or verb == 'ZREM' then return redis.pcall(verb, key, element) end
  if verb == 'ZADD' or verb == 'ZINCRBY' then return redis.pcall(verb, key, to, element) end
  return redis.pcall(verb, key, element, to)
end

local function is_refused(answer) return type(answer) == 'table' and answer.err end

local function write(key, expiry, later, place, steps)
  if ends_at(key) ~= tonumber(expiry) then return 0 end
  local kind = redis.call('TYPE', key).ok
  local wanted = { H = 'hash', Z = 'zset', I = 'string' }
  for _, step in ipairs(steps) do
    if kind ~= wanted[step.verb:sub(1, 1)] or not is_ready(key, step) then return 0 end
  end
  for _, step in ipairs(steps) do
    local words = is_refused(execute(key, step))
    if words then return declines(words) and 0 or words end
  end
  local digit = #mask - math.floor(place / 4)
  mask[digit] = mask[digit] + 2 ^ (place % 4)
  local expired = 1
  if later == '-1' then expired = redis.pcall('PERSIST', key)
  elseif later ~= '' then expired = redis.pcall('PEXPIREAT', key, later) end
  return is_refused(expired) or 1
end

for i = 1, #KEYS do
  if at > #ARGV then break end
  local expiry, later, place, steps = take(), take(), tonumber(take()), {}
  for step = 1, tonumber(take()) do
    local verb, element, to, must = take(), take(), take(), take()
    steps[step] = { verb = verb, element = element, to = to, must = must }
  end
  answers[i] = write(KEYS[i], expiry, later, place, steps)
end
if #answers < #KEYS then
  for i, digit in ipairs(mask) do mask[i] = string.format('%x', digit) end
  local text = ARGV[1] .. table.concat(mask):gsub('^0+(%x)', '%1')
  redis.call('SET', KEYS[#KEYS], text)
  answers[#KEYS] = text
end
return answers
