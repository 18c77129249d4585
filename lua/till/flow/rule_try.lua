-- till/flow/rule_try - what a rule would do to a cart, without doing it.
--
--   rule_try.cart(given) -> cart, opts | nil, err    of a cart as JSON: { currency, country, codes,
--        customer_group, signed_in, lines = { { variant_id or sku, quantity } or
--        { sku, unit_price, quantity, tags, tax_class, weight_g, title } } }
--   rule_try.run(rule, cart, opts) -> report | nil, err    opts { variants =, customer =, at = }
--
-- report = { unmet =, answer =, failure =, us =, fuel =, without =, with =, difference = }: `unmet`
-- says why the rule would not be called; without and with are what till.flow.pricing makes of the
-- cart; difference is what the shopper pays less, in minor units. Nothing is written, and no kill
-- is counted.
local catalog = require "till.flow.catalog"
local err = require "till.util.err"
local pricing = require "till.flow.pricing"
local products = require "till.store.products"
local rulebook = require "till.flow.rulebook"

local rule_try = {}


-- A line with a price of its own is of a product that need not be there.
local function made_up(line, currency)
  return { id = "line-" .. line.sku, sku = line.sku, title = "", weight_g = line.weight_g or 0,
    prices = { { currency = currency, kind = "base", min_qty = 1, list = "",
      amount = line.unit_price } }, product_id = "made-up", product_title = line.title or line.sku,
    handle = line.sku, tax_class = line.tax_class or "standard", tags = line.tags or {},
    sellable = true }
end


local function wrong(i, name, detail)
  return nil, err.new("invalid_request", "the cart cannot be tried", { errors = { {
    pointer = ("/cart/lines/%d/%s"):format(i - 1, name), detail = detail, code = "line" } } })
end


local function look_up(lines)
  local skus = {}
  for _, line in ipairs(lines) do
    if not line.variant_id and not line.unit_price then skus[#skus + 1] = line.sku end
  end
  return products.ids_of_skus(skus)
end


-- -> ids of the variants that are in the catalogue, those that were made up by their id
local function variants_of(given)
  local by_sku, e = look_up(given.lines)
  if not by_sku then return nil, e end
  local ids, made = {}, {}
  for i, line in ipairs(given.lines) do
    if line.unit_price then
      if not line.sku then return wrong(i, "sku", "is needed beside unit_price") end
      local variant = made_up(line, given.currency)
      line.variant_id, made[variant.id] = variant.id, variant
    else
      line.variant_id = line.variant_id or line.sku and by_sku[line.sku]
      if not line.variant_id then return wrong(i, "sku", "there is no such product") end
      ids[#ids + 1] = line.variant_id
    end
  end
  return ids, made
end


function rule_try.cart(given)
  local ids, made = variants_of(given)
  if not ids then return nil, made end
  local variants, e = catalog.variants(ids)
  if not variants then return nil, e end
  local all, lines = {}, {}
  for id, variant in pairs(variants) do all[id] = variant end
  for id, variant in pairs(made) do all[id] = variant end
  for i, line in ipairs(given.lines) do
    if not all[line.variant_id] then return wrong(i, "variant_id", "there is no such product") end
    lines[i] = { id = ("line-%d"):format(i), variant_id = line.variant_id,
      quantity = line.quantity }
  end
  local cart = { currency = given.currency, country = given.country, codes = given.codes or {},
    lines = lines }
  return cart, { variants = all, customer = { group = given.customer_group,
    id = given.signed_in and "somebody" or nil } }
end


local function others(rule)
  local out = {}
  for _, other in ipairs(rulebook.all()) do
    if other.name ~= rule.name then out[#out + 1] = other end
  end
  return out
end


local function priced(cart, opts, trial)
  return pricing.price(cart, { variants = opts.variants, customer = opts.customer, date = opts.at,
    trial = trial })
end


local function objections(rule, quote)
  if rule.hook == "cart.validate" then rulebook.objections(quote.case) end
end


function rule_try.run(rule, cart, opts)
  local rest = others(rule)
  local without, e = priced(cart, opts, { rules = rest, done = {} })
  if not without then return nil, e end
  rest[#rest + 1] = rule
  local trial = { rules = rest, done = {}, subject = rule.name }
  local with, e2 = priced(cart, opts, trial)
  if not with then return nil, e2 end
  objections(rule, with)
  if trial.failure then return nil, trial.failure end
  local done = trial.done[rule.name] or {}
  return { unmet = rulebook.unmet(rule, with.case), answer = done.value, failure = done.failure,
    us = done.us, fuel = done.fuel, without = without.priced, with = with.priced,
    difference = without.priced.total - with.priced.total }
end


return rule_try
