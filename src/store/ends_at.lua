-- When a key ends, as PEXPIRETIME answers it; on a server without it, by what is left of one millisecond.
local function ends_at(key)
  local at = redis.pcall('PEXPIRETIME', key)
  if type(at) == 'number' then return at end
  while true do
    local before, left, now = redis.call('TIME'), redis.call('PTTL', key), redis.call('TIME')
    local function ms(time) return time[1] * 1000 + math.floor(time[2] / 1000) end
    if left < 0 then return left end
    if ms(before) == ms(now) then return ms(now) + left end
  end
end

