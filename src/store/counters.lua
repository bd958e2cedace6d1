-- Increases counters that are still integers with the expiry that is expected, whatever their numbers are by now.
--
-- KEYS: the counters, and behind them the marker, where there is one.
-- ARGV: the marker's text before its mask, and the mask in 16 hexadecimal digits. Then for each counter: by how much it
--       is increased, its expiry as PEXPIRETIME answers it, the expiry that it gets ('' keeps it), its place in the mask.
--
-- Answers for each counter 1, or 0 where it is no such integer or would overflow, or the server's words; behind them
-- the marker that was set, with the places of all counters that were increased.
local mask, answers = {}, {}
for digit in ARGV[2]:gmatch('%x') do mask[#mask + 1] = tonumber(digit, 16) end

-- INCRBY itself takes canonical integers only, and refuses to overflow.
local function declines(words)
  return words:find('WRONGTYPE', 1, true) or words:find('not an integer', 1, true) or words:find('overflow', 1, true)
end

local function increase(key, delta, expiry, later, place)
  if redis.call('PEXPIRETIME', key) ~= tonumber(expiry) then return 0 end
  local sum = redis.pcall('INCRBY', key, delta)
  if type(sum) ~= 'number' then return declines(sum.err) and 0 or sum.err end
  local digit = #mask - math.floor(place / 4)
  mask[digit] = mask[digit] + 2 ^ (place % 4)
  local expired = 1
  if later == '-1' then expired = redis.pcall('PERSIST', key)
  elseif later ~= '' then expired = redis.pcall('PEXPIREAT', key, later) end
  return type(expired) == 'number' and 1 or expired.err
end

local counters = (#ARGV - 2) / 4
for i = 1, counters do
  local at = 4 * i - 1
  answers[i] = increase(KEYS[i], ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3]))
end
if KEYS[counters + 1] then
  for i, digit in ipairs(mask) do mask[i] = string.format('%x', digit) end
  local marker = ARGV[1] .. table.concat(mask):gsub('^0+(%x)', '%1')
  redis.call('SET', KEYS[counters + 1], marker)
  answers[counters + 1] = marker
end
return answers
