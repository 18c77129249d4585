-- till/flow/rulebook - the merchants' rules of this generation, asked about carts.
--
--   rulebook.setup(list)              once, by main.lua, with what till.plugin.rules found
--   rulebook.all() -> the list;  rulebook.get(name) -> rule | nil
--   rulebook.has_code(code) -> does a rule hang on that code?
--   rulebook.case(summary, customer, date [, trial]) -> one cart, to be asked about
--   rulebook.promotions(case) -> list of { rule =, value = terms }     who fails is passed over
--   rulebook.objections(case) -> list of { code, message, pointer } | nil, err(rule_failed)
--   rulebook.unmet(rule, case) -> nil, or why it is not called: "not_started", "expired", or the
--                                 name of a condition that does not hold
--
-- A rule whose conditions do not hold, whose time has not come, or which is set aside is not
-- called, and none is for an empty cart: one that none is left for never touches the box. All that
-- are left go to the box in one exchange, which waits: no transaction may be open, nor a no_wait be
-- around it.
--
-- A trial is { rules = list } instead of those of the generation: nothing is counted, and what each
-- rule did is left in trial.done[name] = { value | failure, us, fuel }.
local box = require "till.prim.box"
local conf = require "till.prim.conf"
local err = require "till.util.err"
local guard = require "till.flow.rule_guard"
local log = require "till.prim.log"
local metrics = require "till.prim.metrics"
local rate = require "till.rule.rate"
local s = require "till.util.schema"
local terms = require "till.rule.terms"
local when = require "till.rule.when"

local rulebook = {}

local NONE = {}
local PROMO, VALIDATE = "promo.evaluate", "cart.validate"
local FUEL = { [PROMO] = "rules.promo_fuel", [VALIDATE] = "rules.validate_fuel" }
local TOO_EARLY_OR_LATE = { before = "not_started", after = "expired" }

local all, by_hook, by_name, codes = {}, {}, {}, {}


function rulebook.setup(list)
  all, by_hook, by_name, codes = list, {}, {}, {}
  for _, rule in ipairs(list) do
    by_name[rule.name] = rule
    by_hook[rule.hook] = by_hook[rule.hook] or {}
    table.insert(by_hook[rule.hook], rule)
    for _, code in ipairs(rule.when.codes or NONE) do codes[when.normal(code)] = true end
  end
end


function rulebook.all()
  return all
end


function rulebook.get(name)
  return by_name[name]
end


function rulebook.has_code(code)
  return codes[code] == true
end


function rulebook.case(summary, customer, date, trial)
  return { summary = summary, customer = customer, date = date, trial = trial }
end


local function rules_of(case, hook)
  if not case.trial then return by_hook[hook] or NONE end
  local out = {}
  for _, rule in ipairs(case.trial.rules) do
    if rule.hook == hook then out[#out + 1] = rule end
  end
  return out
end


function rulebook.unmet(rule, case)
  local place = rate.place(case.date, rule.starts_at, rule.ends_at)
  if place ~= "within" then return TOO_EARLY_OR_LATE[place] end
  case.facts = case.facts or when.facts(case.summary, case.customer)
  return rule.condition(case.facts)
end


local labels = {}
for hook in pairs(FUEL) do labels[hook] = { hook = hook } end


local function is_called(rule, case, aside)
  return case.trial and case.trial.subject == rule.name or not aside[rule.hash]
end


-- -> those to be called, those that are set aside
local function due(hook, case)
  local list = rules_of(case, hook)
  if #list == 0 or #case.summary.lines == 0 then return NONE, NONE end
  local out, kept_off = {}, {}
  for _, rule in ipairs(list) do
    if not rulebook.unmet(rule, case) then out[#out + 1] = rule end
  end
  if not case.trial then
    metrics.add("till_rules_passed_over_total", labels[hook], #list - #out)
  end
  if #out == 0 then return NONE, NONE end
  local aside, left = guard.aside(), {}
  for _, rule in ipairs(out) do
    local to = is_called(rule, case, aside) and left or kept_off
    to[#to + 1] = rule
  end
  return left, kept_off
end


-- What a rule is told of a cart: nothing that says who somebody is, and nothing that is made anew
-- each time, so that the same cart gives the same answer.
local function input_of(case)
  if case.input then return case.input end
  local from, lines = case.summary, {}
  for i, line in ipairs(from.lines) do
    lines[i] = { sku = line.sku, title = line.title, tags = line.tags, quantity = line.quantity,
      unit_price = line.unit_price, subtotal = line.unit_price * line.quantity,
      weight_g = line.weight_g, tax_class = line.tax_class, product_id = line.product_id }
  end
  case.input = { currency = from.currency, country = from.country, subtotal = from.subtotal,
    weight_g = from.weight_g, codes = from.codes, lines = lines,
    customer = { group = case.customer.group, signed_in = case.customer.id ~= nil } }
  return case.input
end


local function ask_box(hook, list, case)
  local ask = {}
  for i, rule in ipairs(list) do
    ask[i] = { name = rule.name, text = rule.text, args = rule.args }
  end
  if not case.trial then metrics.add("till_rules_called_total", labels[hook], #list) end
  return box.evaluate { hook = hook, budget = conf.get(FUEL[hook]), rules = ask,
    deadline_ms = conf.get("rules.deadline_ms"), input = input_of(case) }
end


local function failed(rule, failure, case)
  if case.trial then return end
  if guard.is_kill(failure) then return guard.killed(rule, failure) end -- the box has told of it
  metrics.add("till_rule_failures_total", { rule = rule.name, code = failure.code }, 1)
  log.warn("rule.failed", { rule = rule.name, hash = rule.hash, hook = rule.hook,
    code = failure.code, error = failure.message, line = failure.line })
end


local objection = s.object({
  code = s.string { min = 1, max = 64, pattern = "^[%l%d_]+$" },
  message = s.string { min = 1, max = 500 },
  pointer = s.string { max = 255, pattern = "^/[%w_/~-]*$" },
}, { required = { "code", "message" } })


local function check_objection(value)
  local _, errors = objection:check(value)
  if not errors then return true end
  return nil, (errors[1].pointer .. " " .. errors[1].detail):match("^%s*(.*)$")
end


local CHECKS = { [PROMO] = terms.answer, [VALIDATE] = check_objection }


-- -> value | nil, failure
local function checked(hook, answer)
  if answer.failure then return nil, answer.failure end
  if answer.value == nil then return nil end
  local ok, why = CHECKS[hook](answer.value)
  if ok then return answer.value end
  return nil, { code = "answer", message = "it answered what cannot be used: " .. why }
end


local function note(case, rule, answer, failure)
  if not case.trial then return end
  case.trial.done[rule.name] = { value = answer.value, failure = failure, us = answer.us,
    fuel = answer.fuel }
end


-- -> answers { rule, value }, the first rule that failed
local function ask(hook, list, case)
  local answers, e = ask_box(hook, list, case)
  if not answers then
    log.error("rules.box", { hook = hook, error = tostring(e) })
    if case.trial then case.trial.failure = e end
    return NONE, list[1]
  end
  local out, first = {}, nil
  for i, rule in ipairs(list) do
    local value, failure = checked(hook, answers[i])
    note(case, rule, answers[i], failure)
    if failure then
      failed(rule, failure, case)
      first = first or rule
    elseif value ~= nil then
      out[#out + 1] = { rule = rule, value = value }
    end
  end
  return out, first
end


function rulebook.promotions(case)
  local list = due(PROMO, case)
  if #list == 0 then return NONE end
  return (ask(PROMO, list, case))
end


local function closed(rule)
  return nil, err.new("rule_failed", ("%s could not be checked, so nothing was ordered and nothing"
    .. " was charged. Try again in a moment."):format(rule.title), { rule = rule.name })
end


--- Who may object and cannot be asked keeps the door shut.
function rulebook.objections(case)
  local list, kept_off = due(VALIDATE, case)
  if kept_off[1] then return closed(kept_off[1]) end
  if #list == 0 then return NONE end
  local answers, first = ask(VALIDATE, list, case)
  if first then return closed(first) end
  local out = {}
  for i, answer in ipairs(answers) do out[i] = answer.value end
  return out
end


return rulebook
