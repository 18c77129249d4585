-- till/rule/when - the conditions that a merchant's rule declares: the server decides them itself,
-- so that a rule which cannot apply to a cart is not called at all.
--
--   when.schema                     what `when` may hold; when.check(spec) -> nil, or errors
--   when.compile(spec) -> condition
--   when.facts(summary, customer)   of one cart, for all of its conditions
--   when.code_of(spec, codes), when.normal(code)
--   condition(facts) -> nil where all of it holds, else the name of the first that does not
--
-- All of what is declared must hold. A list is "one of these", `all_skus` and `all_tags` are "each
-- of these". Money is in minor units of the cart's currency, which must then be named. Amounts are
-- what the shelf says, sales included, before any promotion.
local s = require "till.util.schema"
local text = require "till.util.text"

local when = {}

local MAX_ENTRIES = 1000
local TEXTS = s.array(s.string { min = 1, max = 191 }, { min = 1, max = MAX_ENTRIES })
local AMOUNT = s.integer { min = 0 }
local COUNT = s.integer { min = 0, max = 1000000000 }


local function one_or_more(of)
  return s.one_of { of, s.array(of, { min = 1, max = 300 }) }
end


when.schema = s.object({
  currency = one_or_more(s.string { format = "currency" }),
  country = one_or_more(s.string { format = "country" }),
  customer_group = one_or_more(s.string { min = 1, max = 64 }),
  signed_in = s.boolean { doc = "The shopper has an account and is logged in, or the contrary." },
  codes = s.array(s.string { min = 1, max = 64, pattern = "%S" }, { min = 1, max = 100 }),
  any_sku = TEXTS, all_skus = TEXTS, any_tag = TEXTS, all_tags = TEXTS,
  min_subtotal = AMOUNT, max_subtotal = AMOUNT, min_quantity = COUNT, max_quantity = COUNT,
  min_lines = COUNT,
}, { name = "RuleConditions" })


--- Codes as they are compared.
function when.normal(code)
  return text.strip(code):upper()
end


local function set_of(list, as)
  local out = {}
  for _, value in ipairs(type(list) == "table" and list or { list }) do
    out[as and as(value) or value] = true
  end
  return out
end


local function fault(pointer, detail)
  return { { pointer = pointer, detail = detail, code = "conditions" } }
end


function when.check(spec)
  local _, errors = when.schema:check(spec)
  if errors then return errors end
  local currency = spec.currency
  local is_one = type(currency) == "string" or type(currency) == "table" and #currency == 1
  if (spec.min_subtotal or spec.max_subtotal) and not is_one then
    return fault("/currency", "is needed, one alone: the conditions name an amount of money")
  end
  for _, name in ipairs { "subtotal", "quantity" } do
    local min, max = spec["min_" .. name], spec["max_" .. name]
    if min and max and min > max then
      return fault("/min_" .. name, ("is above max_%s: it could never hold"):format(name))
    end
  end
end


-- What each looks at in the facts.
local function is_in(name, fact, as)
  return function(spec)
    local wanted = set_of(spec[name], as)
    return function(facts) return facts[fact] ~= nil and wanted[facts[fact]] == true end
  end
end


-- Sets are made when the first condition asks for them.
local function found_in(facts, kind)
  if not facts[kind] then facts[kind] = facts.make[kind]() end
  return facts[kind]
end


local function shares(name, kind, as)
  return function(spec)
    local wanted = {}
    for value in pairs(set_of(spec[name], as)) do wanted[#wanted + 1] = value end
    return function(facts)
      local set = found_in(facts, kind)
      for _, value in ipairs(wanted) do
        if set[value] then return true end
      end
      return false
    end
  end
end


local function has_all(name, kind)
  return function(spec)
    return function(facts)
      local set = found_in(facts, kind)
      for _, value in ipairs(spec[name]) do
        if not set[value] then return false end
      end
      return true
    end
  end
end


local function at_least(name, fact)
  return function(spec)
    return function(facts) return facts[fact] >= spec[name] end
  end
end


local function at_most(name, fact)
  return function(spec)
    return function(facts) return facts[fact] <= spec[name] end
  end
end


-- The cheap ones first.
local CONDITIONS = {
  { "currency", is_in("currency", "currency") },
  { "country", is_in("country", "country") },
  { "signed_in", function(spec)
    return function(facts) return facts.signed_in == spec.signed_in end
  end },
  { "customer_group", is_in("customer_group", "group") },
  { "min_lines", at_least("min_lines", "lines") },
  { "min_quantity", at_least("min_quantity", "quantity") },
  { "max_quantity", at_most("max_quantity", "quantity") },
  { "min_subtotal", at_least("min_subtotal", "subtotal") },
  { "max_subtotal", at_most("max_subtotal", "subtotal") },
  { "codes", shares("codes", "codes", when.normal) },
  { "any_sku", shares("any_sku", "skus") }, { "all_skus", has_all("all_skus", "skus") },
  { "any_tag", shares("any_tag", "tags") }, { "all_tags", has_all("all_tags", "tags") },
}


function when.compile(spec)
  local tests = {}
  for _, entry in ipairs(CONDITIONS) do
    if spec[entry[1]] ~= nil then
      tests[#tests + 1] = { name = entry[1], holds = entry[2](spec) }
    end
  end
  return function(facts)
    for i = 1, #tests do
      if not tests[i].holds(facts) then return tests[i].name end
    end
  end
end


--- The code of the cart on which a rule with `codes` hangs, as it is compared; nil without one.
function when.code_of(spec, codes)
  if not spec.codes then return nil end
  local wanted = set_of(spec.codes, when.normal)
  for _, code in ipairs(codes) do
    if wanted[when.normal(code)] then return when.normal(code) end
  end
end


function when.facts(summary, customer)
  local quantity = 0
  for _, line in ipairs(summary.lines) do quantity = quantity + line.quantity end
  return {
    currency = summary.currency, country = summary.country, subtotal = summary.subtotal,
    quantity = quantity, lines = #summary.lines, group = customer.group,
    signed_in = customer.id ~= nil,
    make = {
      codes = function() return set_of(summary.codes or {}, when.normal) end,
      skus = function()
        local out = {}
        for _, line in ipairs(summary.lines) do out[line.sku] = true end
        return out
      end,
      tags = function()
        local out = {}
        for _, line in ipairs(summary.lines) do
          for _, tag in ipairs(line.tags) do out[tag] = true end
        end
        return out
      end,
    },
  }
end


return when
