-- till/rule/price - what a cart costs: the one entry to the rules of price, discount and tax.
--
--   price.calculate(given) -> result
-- Pure: no I/O, no clock, no globals; `given` is not changed, and equal input gives equal figures
-- whatever the order of its lines, promotions and codes.
--
-- given = {
--   currency, exponent, prices_include_tax, date (ISO 8601 UTC; needed where a window is given),
--   rounding = { mode = "half_up" | "half_even", tax_level = "line" | "unit" | "order" },
--   lines = { { id, sku, qty, unit_price, tax_class?, tags?, discountable?, prices? } },
--   promotions = { ... }, codes = { ... }, customer = { group?, tax_exempt? }, region?,
--   shipping = { amount, tax_class? }, tax_rates = { [class] = { { code, rate, compound?, from?,
--   to? } } } or the same below [region], strip_included_tax?, fx = { rate, direction,
--   from_exponent }?, store_credits = { { id, balance } }?, tender = { type, increment? }?,
--   refunds = { { lines = { { id, qty } }, shipping = amount | "all" } }?
-- }
-- Money is a whole number of minor units, rates are decimal strings. A promotion is { id, level,
-- type, value, filter?, conditions?, priority?, code?, starts_at?, ends_at?, exclusive?, group?,
-- combines_with?, stop?, basis?, max_discount?, budget_remaining?, usage_remaining?,
-- customer_usage_remaining?, tiers? } and by type buy, get, n, m, price, components,
-- max_applications, selection; and, where a merchant's rule made it, `rule` = { name, version,
-- hash }, with which the lines that it lowered are marked. conditions = { min_subtotal?,
-- min_subtotal_basis?, min_qty?, customer_groups?, regions? } (customer_group and region for a
-- single one).
--
-- result = { status = "ok", lines, shipping, tax_summary, order, applied, rejected, unknown_codes,
-- refunds? }, or { status = "error", error = code }: invalid_quantity, invalid_price,
-- duplicate_line_id, invalid_promotion, invalid_rounding, amount_overflow,
-- refund_exceeds_remaining. An unmet promotion or a bad code is never an error.
-- `combination_limited = true` is there only when more sets of conflicting promotions were
-- possible than till.rule.combine looks at: the price is then valid but perhaps not the lowest.
--
-- given.op = "fx" converts one amount (till.rule.fx). Refunds of an order long frozen go straight
-- to till.rule.refund. An absent field is nil; a JSON reader's mark for null is not understood.
local check = require "till.rule.check"
local combine = require "till.rule.combine"
local effect = require "till.rule.effect"
local exact = require "till.util.exact"
local fx = require "till.rule.fx"
local multibuy = require "till.rule.multibuy"
local order = require "till.rule.order"
local promo = require "till.rule.promo"
local refund = require "till.rule.refund"
local result = require "till.rule.result"
local shelf = require "till.rule.shelf"
local simple = require "till.rule.simple"
local tax = require "till.rule.tax"

local price = {}

local NO_SET = { promotions = {}, indexes = {} }


local function failed(code)
  return { status = "error", error = code }
end


local function by_kind(promotions)
  local kinds = { multibuy = {}, line = {}, order = {}, shipping = {} }
  for _, promotion in ipairs(promotions) do
    local kind = kinds[promotion.multibuy and "multibuy" or promotion.level]
    kind[#kind + 1] = promotion
  end
  return kinds
end


-- A sum that leaves the range shows as more than exact.MAX and stays so: nothing is subtracted.
local function add_totals(run)
  local goods, taxes = run.shipping_left, 0
  for i, entry in ipairs(run.line_entries) do
    goods = goods + run.left[i]
    for k = 1, #entry.taxes do taxes = taxes + entry.taxes[k] end
  end
  for _, entry in ipairs(run.shipping_entries) do
    for k = 1, #entry.taxes do taxes = taxes + entry.taxes[k] end
  end
  run.tax_total = taxes
  run.grand_total = run.cart.inclusive and goods or goods + taxes
end


local function add_taxes(run)
  local cart = run.cart
  local entries = {}
  for i, line in ipairs(cart.lines) do
    entries[i] = { profile = line.profile, amount = run.left[i], qty = line.qty }
  end
  run.line_entries = entries
  run.shipping_entries = tax.shipping_entries(cart, run.left, run.shipping_left)
  if cart.tax_level == "order" then entries = effect.copy(entries) end
  if cart.tax_level ~= "order" then
    tax.assess(run.shipping_entries, cart.tax_level, cart.mode)
  else
    for _, entry in ipairs(run.shipping_entries) do entries[#entries + 1] = entry end
  end
  tax.assess(entries, cart.tax_level, cart.mode)
  add_totals(run)
end


local function apply_all(run, kinds)
  for _, promotion in ipairs(kinds.multibuy) do multibuy.apply(run, promotion) end
  simple.apply(run, kinds.line)
  order.apply(run, kinds.order)
  order.apply_to_shipping(run, kinds.shipping)
end


-- One set of promotions carried through to the grand total.
local function attempt(cart, set, work)
  local run = effect.new_run(cart, work)
  if set.promotions[1] then apply_all(run, by_kind(set.promotions)) end
  add_taxes(run)
  run.set = set
  return run
end


local function is_better(a, b)
  if a.grand_total ~= b.grand_total then return a.grand_total < b.grand_total end
  if a.applied_count ~= b.applied_count then return a.applied_count < b.applied_count end
  return combine.is_smaller(a.set.indexes, b.set.indexes)
end


-- The best set for the shopper; what is not in it could not be combined.
local function choose(cart, candidates)
  local work = combine.new_work()
  if not candidates[1] then return attempt(cart, NO_SET, work), false end
  local best
  for _, set in ipairs(combine.maximal_sets(candidates, combine.is_hard, work)) do
    local steps = 16 * (#cart.lines + 1) * (#set.promotions + 1)
    if best and not combine.spend(work, steps) then break end
    local run = attempt(cart, set, work)
    if not best or is_better(run, best) then best = run end
  end
  local member = {}
  for _, promotion in ipairs(best.set.promotions) do member[promotion] = true end
  for _, promotion in ipairs(candidates) do
    if not member[promotion] then best.rejected[promotion.id] = "not_combinable" end
  end
  return best, work.limited
end


local function calculate_order(given)
  local cart, code = shelf.build(given)
  if not cart then return failed(code) end
  local compiled = promo.compile(given, cart)
  for _, promotion in ipairs(compiled.candidates) do
    if promotion.multibuy then multibuy.prepare(promotion, cart) end
  end
  local run, limited = choose(cart, compiled.candidates)
  if run.grand_total > exact.MAX then return failed("amount_overflow") end
  local out = result.build(run, given)
  for id, reason in pairs(compiled.rejected) do out.rejected[id] = reason end
  out.unknown_codes = compiled.unknown_codes
  if limited then out.combination_limited = true end
  return out
end


function price.calculate(given)
  if given.op == "fx" then return fx.calculate(given) end
  local code = check.given(given)
  if code then return failed(code) end
  local out = calculate_order(given)
  if out.status ~= "ok" or not given.refunds then return out end
  out.refunds, code = refund.calculate(out, given.refunds, given.tender)
  if code then return failed(code) end
  return out
end


return price
