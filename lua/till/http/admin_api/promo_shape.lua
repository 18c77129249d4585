-- till/http/admin_api/promo_shape - terms of a promotion, as the rules of price read them.
--
-- Percentages are decimal strings ("12.5"), money is a whole number of minor units of
-- `terms.currency`: terms that name an amount need it, or they would mean yen to one cart and
-- pounds to another. What the shape cannot say is tried on the rules themselves.
local err = require "till.util.err"
local money = require "till.money"
local price = require "till.rule.price"
local s = require "till.util.schema"

local promo_shape = {}

local TEXTS = s.array(s.string { min = 1, max = 191 }, { max = 1000 })
local AMOUNT = s.integer { min = 0 }
local COUNT = s.integer { min = 1, max = 1000000 }
local PERCENT = s.string { pattern = "^%d+%.?%d*$", regex = "^[0-9]+(\\.[0-9]+)?$", max = 16,
  doc = "A decimal text: \"12.5\"." }
local VALUE = s.one_of { PERCENT, AMOUNT }

local filter = s.object({ skus = TEXTS, tags = TEXTS, exclude_skus = TEXTS, exclude_tags = TEXTS,
  exclude_on_sale = s.boolean {} }, { name = "PromotionFilter" })
local part = s.object({ filter = filter, qty = COUNT, percent = PERCENT, amount = AMOUNT,
  fixed_price = AMOUNT }, { name = "PromotionPart" })

promo_shape.terms = s.object({
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
}, { required = { "level", "type" }, name = "PromotionTerms" })


local MONEY = { max_discount = true, budget_remaining = true, price = true }
local BY_PERCENT = { percent = true }


local function names_money(terms)
  if not BY_PERCENT[terms.type] and terms.type ~= "free" and type(terms.value) == "number" then
    return true
  end
  for name in pairs(MONEY) do
    if terms[name] then return true end
  end
  local get = terms.get
  return terms.conditions and terms.conditions.min_subtotal ~= nil
    or get and (get.amount or get.fixed_price) ~= nil or terms.tiers ~= nil
end


local function refuse(pointer, detail)
  return nil, err.new("invalid_request", "these terms do not make a promotion", { errors = {
    { pointer = "/terms" .. pointer, detail = detail, code = "terms" } } })
end


function promo_shape.check(terms)
  if terms.type == "percent" and type(terms.value) ~= "string" and not terms.tiers then
    return refuse("/value", "a percentage is a decimal text, \"10\"")
  end
  if names_money(terms) and not terms.currency then
    return refuse("/currency", "is needed: the terms name an amount of money")
  end
  local promotion = {}
  for name, value in pairs(terms) do promotion[name] = value end
  promotion.id, promotion.currency = "P", nil
  local currency = terms.currency or "EUR"
  local tried = price.calculate { currency = currency, exponent = money.exponent(currency),
    prices_include_tax = false, rounding = { mode = "half_up", tax_level = "line" },
    tax_rates = {}, lines = {}, promotions = { promotion }, date = "2026-01-01T00:00:00Z" }
  if tried.status == "ok" then return true end
  return refuse("", "the rules of price refuse them: " .. tried.error)
end


return promo_shape
