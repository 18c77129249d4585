-- till/rule/effect - the state of one attempt at pricing, and how a discount enters it.
--
-- run = { cart, work (of till.rule.combine), left[i] amount left of line i, available[i] units that
--   no multibuy took, free[i] units that one gave away, discounts[i] = { promotion id = amount },
--   shipping_left, shipping_discounts, applied = { id = total }, applied_count,
--   rejected = { id = reason }, line_discount, order_discount }
local money = require "till.money"

local effect = {}


function effect.new_run(cart, work)
  local run = {
    cart = cart, work = work, left = {}, available = {}, free = {}, discounts = {},
    shipping_left = cart.shipping, shipping_discounts = {},
    applied = {}, applied_count = 0, rejected = {},
    line_discount = 0, order_discount = 0,
    -- of till.rule.price, here so that the table need not grow
    line_entries = false, shipping_entries = false, tax_total = 0, grand_total = 0, set = false,
  }
  for i, line in ipairs(cart.lines) do
    run.left[i], run.available[i], run.free[i] = line.amount, line.qty, 0
    run.discounts[i] = {}
  end
  return run
end


function effect.copy(list)
  local out = {}
  for i = 1, #list do out[i] = list[i] end
  return out
end


local function sum_of(shares)
  local sum = 0
  for i = 1, #shares do sum = sum + shares[i] end
  return sum
end


-- What is left of a promotion's discount after its cap and its budget; nil when nothing is, the
-- reason then being noted.
local function limit(run, promotion, shares)
  local total = sum_of(shares)
  if promotion.max_discount and total > promotion.max_discount then
    total = promotion.max_discount
    shares = money.split(total, shares)
  end
  if total == 0 then
    run.rejected[promotion.id] = "no_effect"
    return nil
  end
  if promotion.budget and total > promotion.budget then
    run.rejected[promotion.id] = "budget_exceeded"
    return nil
  end
  return shares, total
end


local function note(run, promotion, total)
  run.applied[promotion.id] = total
  run.applied_count = run.applied_count + 1
end


-- `shares` holds one amount for each line. -> the amounts that were really taken, or nil.
function effect.take_from_lines(run, promotion, shares)
  local total
  shares, total = limit(run, promotion, shares)
  if not shares then return nil end
  for i = 1, #shares do
    if shares[i] > 0 then
      run.left[i] = run.left[i] - shares[i]
      run.discounts[i][promotion.id] = shares[i]
    end
  end
  local field = promotion.level .. "_discount"
  run[field] = run[field] + total
  note(run, promotion, total)
  return shares
end


function effect.take_from_shipping(run, promotion, amount)
  local shares, total = limit(run, promotion, { amount })
  if not shares then return end
  run.shipping_left = run.shipping_left - total
  run.shipping_discounts[promotion.id] = total
  note(run, promotion, total)
end


local function subtotal(run, promotion, amounts)
  local sum, qty = 0, 0
  for i, line in ipairs(run.cart.lines) do
    if promotion.on[i] then
      sum = sum + amounts[i]
      qty = qty + line.qty
    end
  end
  return sum, qty
end


local function reached_tier(tiers, sum)
  local best
  for _, tier in ipairs(tiers) do
    if sum >= tier.min_subtotal and (not best or tier.min_subtotal > best.min_subtotal) then
      best = tier
    end
  end
  return best
end


-- Whether a promotion's conditions hold on the amounts at the start of its level: for lines those
-- on the shelf, for the others what is left when this is asked.
-- -> terms { rate= | value= }, or nil with the reason noted.
function effect.terms(run, promotion)
  local conditions, tiers = promotion.conditions, promotion.tiers
  if not conditions and not tiers then return promotion end
  local on_shelf = promotion.level == "line" or conditions and conditions.on_shelf
  local sum, qty = subtotal(run, promotion, on_shelf and run.cart.no_discount or run.left)
  local reason, tier
  if conditions and conditions.min_subtotal and sum < conditions.min_subtotal then
    reason = "min_subtotal"
  elseif conditions and conditions.min_qty and qty < conditions.min_qty then
    reason = "min_qty"
  elseif tiers then
    tier = reached_tier(tiers, sum)
    if not tier then reason = "min_subtotal" end
  end
  run.rejected[promotion.id] = reason
  if reason then return nil end
  return tier or promotion
end


return effect
