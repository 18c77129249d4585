-- till/rule/terms - terms of a promotion, as the rules of price read them, before anything is
-- priced with them.
--
--   terms.schema                  of what staff write;  terms.check(value) -> true | nil, err
--   terms.answer(value) -> true | nil, sentence     what a merchant's rule answers: a list of such
--                                 terms, each with an `id` and a `label` if it likes
--
-- Percentages are decimal strings ("12.5"), money is a whole number of minor units of
-- `terms.currency`: terms that name an amount need it, or they would mean yen to one cart and
-- pounds to another. What the shape cannot say is tried on the rules themselves.
local check = require "till.rule.check"
local err = require "till.util.err"
local money = require "till.money"
local price = require "till.rule.price"
local s = require "till.util.schema"

local terms = {}

local MAX_TERMS = 20
local TEXTS = s.array(s.string { min = 1, max = 191 }, { max = 1000 })
local AMOUNT = s.integer { min = 0 }
local COUNT = s.integer { min = 1, max = 1000000 }
-- linear: of 16 bytes at most
local PERCENT = s.string { pattern = "^%d+%.?%d*$", regex = "^[0-9]+(\\.[0-9]+)?$", max = 16,
  doc = "A decimal text: \"12.5\"." }
local VALUE = s.one_of { PERCENT, AMOUNT }

local filter = s.object({ skus = TEXTS, tags = TEXTS, exclude_skus = TEXTS, exclude_tags = TEXTS,
  exclude_on_sale = s.boolean {} }, { name = "PromotionFilter" })
local part = s.object({ filter = filter, qty = COUNT, percent = PERCENT, amount = AMOUNT,
  fixed_price = AMOUNT }, { name = "PromotionPart" })

local FIELDS = {
  level = s.string { enum = { "line", "order", "shipping" } },
  type = s.string { enum = { "percent", "amount", "amount_per_unit", "fixed_price", "free",
    "buy_x_get_y", "n_for_m", "bundle_price", "multi_price" } },
  value = VALUE, currency = s.string { format = "currency" }, filter = filter,
  conditions = s.object { min_subtotal = AMOUNT, min_qty = COUNT,
    min_subtotal_basis = s.string { enum = { "before_discounts", "after_discounts" } },
    customer_groups = TEXTS, regions = TEXTS },
  priority = s.integer { min = 0, max = 100000 }, exclusive = s.boolean {},
  group = s.string { min = 1, max = 64 },
  combines_with = s.array(s.string { enum = { "line", "order", "shipping" } }, { max = 3 }),
  stop = s.boolean {}, basis = s.string { enum = { "original", "current" } },
  max_discount = AMOUNT, budget_remaining = AMOUNT, buy = part, get = part, n = COUNT, m = COUNT,
  price = AMOUNT, components = s.array(part, { max = 50 }), max_applications = COUNT,
  selection = s.string { enum = { "cheapest", "most_expensive" } },
  tiers = s.array(s.object({ min_subtotal = AMOUNT, value = VALUE },
    { required = { "min_subtotal", "value" } }), { max = 50 }),
}
local NEEDED = { "level", "type" }

-- What is left of a budget is for who keeps count of it, as a plugin may: the shop keeps none.
local function of_staff()
  local fields = {}
  for name, schema in pairs(FIELDS) do fields[name] = schema end
  fields.budget_remaining = nil
  return fields
end


terms.schema = s.object(of_staff(), { required = NEEDED, name = "PromotionTerms" })


local function of_rules()
  local fields = { id = s.string { min = 1, max = 64, pattern = "^[%w_.-]+$",
    regex = "^[A-Za-z0-9_.-]+$" }, label = s.string { min = 1, max = 120 } }
  for name, schema in pairs(FIELDS) do fields[name] = schema end
  return s.array(s.object(fields, { required = NEEDED, name = "RuleTerms" }), { max = MAX_TERMS })
end


terms.answered = of_rules()


local MONEY = { max_discount = true, budget_remaining = true, price = true }
local BY_PERCENT = { percent = true }


local function names_money(given)
  if not BY_PERCENT[given.type] and given.type ~= "free" and type(given.value) == "number" then
    return true
  end
  for name in pairs(MONEY) do
    if given[name] then return true end
  end
  local get = given.get
  return given.conditions and given.conditions.min_subtotal ~= nil
    or get and (get.amount or get.fixed_price) ~= nil or given.tiers ~= nil
end


local function refuse(pointer, detail)
  return nil, err.new("invalid_request", "these terms do not make a promotion", { errors = {
    { pointer = "/terms" .. pointer, detail = detail, code = "terms" } } })
end


function terms.check(given)
  if given.type == "percent" and type(given.value) ~= "string" and not given.tiers then
    return refuse("/value", "a percentage is a decimal text, \"10\"")
  end
  if names_money(given) and not given.currency then
    return refuse("/currency", "is needed: the terms name an amount of money")
  end
  local promotion = {}
  for name, value in pairs(given) do promotion[name] = value end
  promotion.id, promotion.currency = "P", nil
  local currency = given.currency or "EUR"
  local tried = price.calculate { currency = currency, exponent = money.exponent(currency),
    prices_include_tax = false, rounding = { mode = "half_up", tax_level = "line" },
    tax_rates = {}, lines = {}, promotions = { promotion }, date = "2026-01-01T00:00:00Z" }
  if tried.status == "ok" then return true end
  return refuse("", "the rules of price refuse them: " .. tried.error)
end


local function first_of(errors)
  local e = errors[1]
  return (e.pointer == "" and "" or e.pointer .. " ") .. e.detail
end


--- Without a currency they are of the cart's, which the rule has seen.
function terms.answer(value)
  if type(value) ~= "table" then return nil, "must be a list of terms, not a " .. type(value) end
  if next(value) == nil then return true end
  local _, errors = terms.answered:check(value)
  if errors then return nil, first_of(errors) end
  local seen = {}
  for i, one in ipairs(value) do
    local id = one.id or tostring(i)
    if seen[id] then return nil, ("/%d/id is there twice"):format(i - 1) end
    seen[id] = true
    if not check.promotion(one) then
      return nil, ("/%d: the rules of price refuse these terms of %s %s"):format(i - 1, one.level,
        one.type)
    end
  end
  return true
end


return terms
