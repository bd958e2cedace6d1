-- Writes keys together with their stamps, each only where all that it was worked out from still is so.
--
-- KEYS: for each key six: the key, `._add-set`, `._rem-set`, `._add-set_<key>`, `._rem-set_<key>`, `._counts_<key>`;
--       behind them the marker, where there is one.
-- ARGV: for each key: its place in the marker's mask, its questions and its commands, each list behind its length. A
--       command is its words behind their number. A question is a command, and what it must answer: the number of
--       values, and for each '' absent, '=...' exactly that, '#...' that number.
--
-- Answers for each key 1, 0 where an answer is another, or words where a set of stamps is none; behind them the marker,
-- in which the places of all keys that were written are set. A key is written whole or not at all: every question is
-- asked before the first command, and no command can fail where all were answered as they must be, but the first: a
-- counter that is increased may have become something else, and what was built aside may be gone.
local at = 1

local function take()
  at = at + 1
  return ARGV[at - 1]
end

local function take_words()
  local words = {}
  for i = 1, tonumber(take()) do words[i] = take() end
  return words
end

local function take_questions()
  local questions = {}
  for i = 1, tonumber(take()) do questions[i] = { command = take_words(), must = take_words() } end
  return questions
end

local function take_commands()
  local commands = {}
  for i = 1, tonumber(take()) do commands[i] = take_words() end
  return commands
end

local function is_as(now, must)
  if must == '' then return not now end
  if not now then return false end
  if must:sub(1, 1) == '#' then return tonumber(now) == tonumber(must:sub(2)) end
  return now == must:sub(2)
end

-- Older servers look for one element at a time.
local single = { ZMSCORE = 'ZSCORE', SMISMEMBER = 'SISMEMBER' }

local function ask(command)
  if command[1] == 'PEXPIRETIME' then return ends_at(command[2]) end
  if not single[command[1]] then return redis.call(unpack(command)) end
  local all = redis.pcall(unpack(command))
  if not all.err then return all end
  local answers = {}
  for i = 3, #command do answers[i - 2] = redis.call(single[command[1]], command[2], command[i]) end
  return answers
end

-- Older servers do not know GT.
local function execute(command)
  if command[1] ~= 'ZADD' or command[3] ~= 'GT' then return redis.call(unpack(command)) end
  local raised = redis.pcall(unpack(command))
  if type(raised) ~= 'table' or not raised.err then return end
  local now = redis.call('ZSCORE', command[2], command[5])
  if not now or tonumber(now) < tonumber(command[4]) then redis.call('ZADD', command[2], command[4], command[5]) end
end

local function is_answered(question)
  local answer = ask(question.command)
  if type(answer) ~= 'table' then answer = { answer } end
  if answer.ok then answer = { answer.ok } end
  for i, must in ipairs(question.must) do
    if not is_as(answer[i], must) then return false end
  end
  return true
end

-- A set of stamps that is something else: the key is left alone.
local function misused(first)
  for i = first, first + 3 do
    local kind = redis.call('TYPE', KEYS[i]).ok
    if kind ~= 'zset' and kind ~= 'none' then return KEYS[i] .. ' holds a ' .. kind .. ' and no stamps' end
  end
end

-- Who may not send one of the commands must not have sent those before it. Older servers cannot tell.
local function refused(commands)
  if not redis.acl_check_cmd then return end
  for _, command in ipairs(commands) do
    local known, may = pcall(redis.acl_check_cmd, unpack(command))
    if not known then return 'the server does not know ' .. command[1] .. ' as it is needed here' end
    if not may then return 'NOPERM the user may not send ' .. command[1] .. ' for ' .. command[2] end
  end
end

local function write(first, questions, commands)
  local words = misused(first + 1) or refused(commands)
  if words then return words end
  for _, question in ipairs(questions) do
    if not is_answered(question) then return 0 end
  end
  for i, command in ipairs(commands) do
    if i == 1 and (command[1]:find('INCRBY$') or command[1] == 'RENAME') then
      local answer = redis.pcall(unpack(command))
      if type(answer) == 'table' and answer.err then return 0 end
    else
      execute(command)
    end
  end
  return 1
end

local answers, written = {}, {}
for i = 1, math.floor(#KEYS / 6) do
  local place = tonumber(take())
  local questions = take_questions()
  answers[i] = write(6 * i - 5, questions, take_commands())
  if answers[i] == 1 then written[#written + 1] = place end
end
if #KEYS % 6 == 1 then
  local marker = redis.call('GET', KEYS[#KEYS])
  local head, mask = marker:match('^(.* )(%x+)$')
  local digits = {}
  for digit in (('0'):rep(16 - #mask) .. mask):gmatch('%x') do digits[#digits + 1] = tonumber(digit, 16) end
  for _, place in ipairs(written) do
    local digit = #digits - math.floor(place / 4)
    digits[digit] = digits[digit] + 2 ^ (place % 4)
  end
  for i, digit in ipairs(digits) do digits[i] = string.format('%x', digit) end
  local text = head .. table.concat(digits):gsub('^0+(%x)', '%1')
  redis.call('SET', KEYS[#KEYS], text)
  answers[#answers + 1] = text
end
return answers
