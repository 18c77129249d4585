-- till/rule/refund - what goes back for units and shipping, from the frozen figures of an order.
--
--   refund.calculate(frozen, refunds, tender) -> list | nil, error code
-- `frozen` is a result of price.calculate (only its lines, shipping and order are read), `refunds`
-- all refunds of the order so far in the order made, { lines = { { id=, qty= } }, shipping = amount
-- including tax | "all" }, `tender` what the order was paid with. Promotions and taxes are never
-- worked out again: unit m of a line carries part m of an even split, so any order of refunds comes
-- to the same total, and the last one takes what is left. A newly wanted refund is the last of the
-- list, and its figures are the last of the answer.
-- Errors: refund_exceeds_remaining, invalid_quantity, invalid_price.
local exact = require "till.util.exact"
local money = require "till.money"
local tender_rule = require "till.rule.tender"

local refund = {}

local NONE = {}


local function is_amount(value)
  return type(value) == "number" and value >= 0 and value % 1 == 0
end


-- A table's keys in an order of their own: taxes are keyed by code.
local function sorted_codes(taxes)
  local codes = {}
  for code in pairs(taxes) do codes[#codes + 1] = code end
  table.sort(codes)
  return codes
end


-- Tax is on top of the goods unless the total shows that it was inside.
local function refund_line(line, from, count)
  local goods = money.even_part(line.discounted_amount, line.qty, from, from + count)
  local taxes, tax = {}, 0
  for _, code in ipairs(sorted_codes(line.taxes)) do
    taxes[code] = money.even_part(line.taxes[code], line.qty, from, from + count)
    tax = tax + taxes[code]
  end
  local inside = line.total == line.discounted_amount
  local amount = inside and goods or goods + tax
  return { id = line.id, qty = count, amount = amount, taxes = taxes, tax = tax,
    net = amount - tax }
end


-- How many units of each line are asked for; an id of no line asks for more than there is.
local function wanted_units(frozen, asked)
  local known, wanted = {}, {}
  for _, line in ipairs(frozen.lines) do known[line.id] = true end
  for _, item in ipairs(asked or NONE) do
    if not is_amount(item.qty) then return nil, "invalid_quantity" end
    if not known[item.id] then return nil, "refund_exceeds_remaining" end
    wanted[item.id] = (wanted[item.id] or 0) + item.qty
  end
  return wanted
end


local function refund_lines(state, frozen, asked)
  local wanted, code = wanted_units(frozen, asked)
  if not wanted then return nil, code end
  local out = {}
  for _, line in ipairs(frozen.lines) do
    local count = wanted[line.id]
    if count then
      local from = state.units[line.id] or 0
      if from + count > line.qty then return nil, "refund_exceeds_remaining" end
      out[#out + 1] = refund_line(line, from, count)
      state.units[line.id] = from + count
    end
  end
  return out
end


-- The share of a tax that belongs to the first `so_far` of shipping's total.
local function tax_so_far(tax, so_far, total)
  if so_far == total then return tax end
  return exact.scale(tax, so_far, total)
end


local function refund_shipping(state, shipping, asked)
  local before, total = state.shipping, shipping.total
  local amount = asked == "all" and total - before or asked
  if not is_amount(amount) then return nil, "invalid_price" end
  if before + amount > total then return nil, "refund_exceeds_remaining" end
  local after = before + amount
  local taxes, tax = {}, 0
  for _, code in ipairs(sorted_codes(shipping.taxes)) do
    local whole = shipping.taxes[code]
    local now = tax_so_far(whole, after, total)
    local then_ = state.shipping_taxes[code] or 0
    taxes[code] = now - then_
    state.shipping_taxes[code] = now
    tax = tax + taxes[code]
  end
  state.shipping = after
  return { amount = amount, taxes = taxes, tax = tax, net = amount - tax }
end


local function add_up(out)
  local total, tax, taxes = 0, 0, {}
  local function add(part)
    total = total + part.amount
    tax = tax + part.tax
    for _, code in ipairs(sorted_codes(part.taxes)) do
      taxes[code] = (taxes[code] or 0) + part.taxes[code]
    end
  end
  for _, line in ipairs(out.lines) do add(line) end
  if out.shipping then add(out.shipping) end
  out.total, out.tax, out.taxes = total, tax, taxes
end


-- Cash goes out in steps that add up to the rounded sum of what is owed so far. When everything is
-- owed that sum is what the amount due was rounded from, so the last step ends at the amount due.
local function pay_cash(state, owed, increment)
  state.owed = state.owed + owed
  local target = money.round_to(state.owed, increment)
  local paid = target - state.paid
  state.paid = target
  return paid
end


-- To the payment first, up to what it bore, then to store credit.
local function add_tender(state, out, order, increment)
  local to_payment = out.total
  if order.store_credit > 0 then
    to_payment = math.min(out.total, order.grand_total - order.store_credit - state.to_payment)
    state.to_payment = state.to_payment + to_payment
    out.to_store_credit = out.total - to_payment
    if not increment then out.to_payment = to_payment end
  end
  if increment then out.cash_paid_out = pay_cash(state, to_payment, increment) end
end


local function refund_one(state, frozen, asked, increment)
  local lines, code = refund_lines(state, frozen, asked.lines)
  if not lines then return nil, code end
  local out = { lines = lines }
  if asked.shipping then
    out.shipping, code = refund_shipping(state, frozen.shipping, asked.shipping)
    if code then return nil, code end
  end
  add_up(out)
  add_tender(state, out, frozen.order, increment)
  return out
end


function refund.calculate(frozen, refunds, tender)
  local state = {
    units = {}, shipping = 0, shipping_taxes = {}, to_payment = 0, owed = 0, paid = 0,
  }
  local increment = tender_rule.increment(tender)
  local out = {}
  for k, asked in ipairs(refunds) do
    local one, code = refund_one(state, frozen, asked, increment)
    if not one then return nil, code end
    out[k] = one
  end
  return out
end


return refund
