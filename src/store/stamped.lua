-- Writes keys together with their stamps, each only where all that it was worked out from still is so.
--
-- KEYS: for each key five: the key, `._add-set`, `._rem-set`, `._add-set_<key>`, `._rem-set_<key>`; behind them the
--       marker, where there is one.
-- ARGV: for each key: its place in the marker's mask, its questions and its commands, each list behind its length. A
--       command is its words behind their number. A question is a command, and what it must answer: the number of
--       values, and for each '' absent, '=...' exactly that, '#...' that number.
--
-- Answers for each key 1, 0 where an answer is another, or words where a set of stamps is none; behind them the marker,
-- in which the places of all keys that were written are set. A key is written whole or not at all: every question is
-- asked before the first command, and no command can fail where all were answered as they must be.
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

local function is_answered(question)
  local answer = redis.call(unpack(question.command))
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

local function write(first, questions, commands)
  local words = misused(first + 1)
  if words then return words end
  for _, question in ipairs(questions) do
    if not is_answered(question) then return 0 end
  end
  for _, command in ipairs(commands) do redis.call(unpack(command)) end
  return 1
end

local answers, written = {}, {}
for i = 1, math.floor(#KEYS / 5) do
  local place = tonumber(take())
  local questions = take_questions()
  answers[i] = write(5 * i - 4, questions, take_commands())
  if answers[i] == 1 then written[#written + 1] = place end
end
if #KEYS % 5 == 1 then
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
