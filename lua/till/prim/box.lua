-- till/prim/box - merchants' rules, run in a locked-up process beside this one.
--
--   evaluate { hook =, rules =, input = [, budget =, rule_ms =, deadline_ms =] }  waits
--       -> answers | nil, err(unavailable, overloaded, timeout)
--     rules     a list of { name =, text =, args = }; a text returns `function(args, input)`
--     input     data, the same for all of them; what one does to it no other sees
--     budget    1000000: instructions (and what costs as much) of each rule
--     rule_ms   20: of the processor's time, for each rule
--     deadline_ms  500: for all of them; then the box is replaced. One that had no processor
--               meanwhile gets five times as long.
--     answers[i]   { value = what it returned or nil, us =, fuel = }, or
--                  { failure = { code =, message =, line =, column = } }, code being one of
--                  syntax contract budget deadline memory depth error answer crash
--   check { hook =, name =, text = }  waits -> true | nil, { code, message, line, column }, or an
--     err of evaluate's; parses it and sees that it returns a function, which is not called
--
-- One exchange is for all rules of a cart. Each rule finds the same world, whatever ran before it.
-- A rule that takes the box with it (a crash, a loop that nothing inside could end) is named, and
-- the others are asked again without it. When that has taken twice the deadline, those that have no
-- answer yet fail too, `unavailable` and with `not_run = true`: it was no fault of theirs.
-- core/vm/box/ says how all that is done; what a rule may use is in docs/security.md.
local c = require "till.c.box"
local log = require "till.prim.log"
local metrics = require "till.prim.metrics"
local time = require "till.prim.time"

local box = {}

local BUDGET, RULE_MS, DEADLINE_MS = 1000000, 20, 500
local KILLS = { budget = true, deadline = true, memory = true, depth = true, crash = true }


local function count_kill(hook, name, failure)
  metrics.add("till_box_kills_total", { rule = name, reason = failure.code })
  log.warn("rule.killed", { rule = name, hook = hook, reason = failure.code,
    message = failure.message, line = failure.line })
end


local function settle(ask, rule, answer)
  local failure = answer.failure
  if failure and KILLS[failure.code] then count_kill(ask.hook, rule.name, failure) end
  return answer
end


local function lost(ask, rule, code, how)
  metrics.add("till_box_replaced_total")
  local failure = { code = code, message = "its box had to be replaced: " .. how }
  return settle(ask, rule, { failure = failure })
end


local NOT_RUN = { code = "unavailable", not_run = true,
  message = "not run: other rules of the same cart have taken all the time there is" }


-- `places[i]` is where the answer of the i-th rule that is still to be asked belongs.
local function without(rules, places, culprit)
  local rest, at = {}, {}
  for i, rule in ipairs(rules) do
    if i ~= culprit then
      rest[#rest + 1], at[#at + 1] = rule, places[i]
    end
  end
  return rest, at
end


local function exchange(ask, what)
  local deadline_ms = ask.deadline_ms or DEADLINE_MS
  local rules, places, answers = ask.rules, {}, {}
  local until_ms = time.mono_ms() + 2 * deadline_ms
  for i = 1, #rules do places[i] = i end
  while #rules > 0 and time.mono_ms() < until_ms do
    local got, culprit, code, how = c.exchange(what, rules, ask.input, ask.budget or BUDGET,
      (ask.rule_ms or RULE_MS) * 1000, deadline_ms)
    if got == nil then return nil, culprit end
    if got then
      metrics.observe("till_box_duration_seconds", nil, culprit)
      for i, answer in ipairs(got) do answers[places[i]] = settle(ask, rules[i], answer) end
      return answers
    end
    answers[places[culprit]] = lost(ask, rules[culprit], code, how)
    rules, places = without(rules, places, culprit)
  end
  for _, at in ipairs(places) do answers[at] = { failure = NOT_RUN } end
  return answers
end


local function part_of(ask, from, to)
  local part = {}
  for key, value in pairs(ask) do part[key] = value end
  part.rules = { unpack(ask.rules, from, to) }
  return part
end


-- What does not go over in one piece goes in two.
local function evaluate(ask)
  local answers, err = exchange(ask, "E")
  local n = #ask.rules
  if answers or err.code ~= "body_too_large" or n == 1 then return answers, err end
  local middle = math.floor(n / 2)
  answers, err = evaluate(part_of(ask, 1, middle))
  if not answers then return nil, err end
  local rest
  rest, err = evaluate(part_of(ask, middle + 1, n))
  for i = 1, rest and #rest or 0 do answers[middle + i] = rest[i] end
  return rest and answers, err
end


box.evaluate = evaluate


function box.check(ask)
  local answers, err = exchange({ hook = ask.hook, rules = { ask } }, "C")
  if not answers then return nil, err end
  local failure = answers[1].failure
  if failure then return nil, failure end
  return true
end


return box
