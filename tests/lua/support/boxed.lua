-- boxed - tables of what rules may try, and what comes of it.
--
--   ask(text [, input [, args [, more]]]) -> the answer of that one rule
--   try(cases)   each { why =, text =, [input =, args =, more =], is = value }, or with `code =
--                [, says = pattern]` instead of `is`; after each the box must answer an honest rule
--   of(expression), run(statements)  -> the text of a rule
--
-- Time is given with open hands, for what is to end by its budget has to also where sanitizers make
-- our half of the work ten times as long.
local t = require "till.test"
local box = require "till.prim.box"

local boxed = {}

local HONEST = "return function(_, input) return input.n end"


function boxed.ask(text, input, args, more)
  local ask = { hook = "promo.evaluate", input = input or {}, rule_ms = 5000, deadline_ms = 20000,
    rules = { { name = "tried", text = text, args = args or {} } } }
  for key, value in pairs(more or {}) do ask[key] = value end
  return assert(box.evaluate(ask))[1]
end


local function outcome(case)
  local answer = boxed.ask(case.text, case.input, case.args, case.more)
  if case.code then
    local failure = answer.failure or t.fail("it answered " .. tostring(answer.value))
    t.equal(failure.code, case.code, failure.message)
    if case.says then t.ok(failure.message:find(case.says), failure.message) end
    return
  end
  if answer.failure then t.fail(answer.failure.code .. ": " .. answer.failure.message) end
  t.same(answer.value, case.is)
end


function boxed.try(cases)
  t.table(cases, function(case)
    outcome(case)
    t.equal(boxed.ask(HONEST, { n = 7 }).value, 7, "an honest rule afterwards")
  end)
end


function boxed.of(expression)
  return "return function(args, input) return " .. expression .. " end"
end


function boxed.run(statements)
  return "return function(args, input) " .. statements .. " end"
end


return boxed
