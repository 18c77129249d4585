-- till/flow/cancellation_figures - what belongs to units that are not sent or come back, from the
-- frozen figures of the order. Nothing is priced again.
--
--   of(tx, order, lines, whole, without_trace) -> found, frozen | nil, err
--                       lines { line_id, quantity }; found as till.rule.refund makes it, frozen
--                       { line id -> id in the price trace }; `whole` takes all of the shipping
--                       besides; without_trace(order, whole) finds it for an imported order
--   add_to(lines, found, frozen)    writes amount, tax and net of each line beside it
--   reversed(found) -> entries      of the ledger: what the sale booked, the other way round
local cancellations = require "till.store.cancellations"
local err = require "till.util.err"
local orders = require "till.store.orders"
local refund = require "till.rule.refund"

local figures = {}


local function to_asked(lines, frozen)
  local out = {}
  for i, line in ipairs(lines) do out[i] = { id = frozen[line.line_id], qty = line.quantity } end
  return out
end


-- All cancellations and returns so far and this one: its figures are the last.
local function calculate(tx, order, trace, lines, whole)
  local frozen, past, e
  frozen, e = orders.frozen_ids(tx, order.id)
  if frozen then past, e = cancellations.of_order(order.id, tx) end
  if not past then return nil, e end
  local asked = {}
  for i, c in ipairs(past) do
    asked[i] = { lines = to_asked(c.lines, frozen), shipping = c.shipping and c.shipping.amount }
  end
  asked[#asked + 1] = { lines = to_asked(lines, frozen), shipping = whole and "all" or nil }
  local list, code = refund.calculate(trace.result, asked, trace.given.tender)
  if not list then
    return nil, err.new("internal", "the refund cannot be worked out: " .. tostring(code))
  end
  return list[#list], frozen
end


function figures.of(tx, order, lines, whole, without_trace)
  local trace, e = orders.trace(order.id, tx)
  if not trace then return nil, e end
  if not trace.result then
    local found, why = without_trace(order, whole)
    return found, found and {} or why
  end
  return calculate(tx, order, trace, lines, whole)
end


function figures.add_to(lines, found, frozen)
  local by_id = {}
  for _, f in ipairs(found.lines) do by_id[f.id] = f end
  for _, line in ipairs(lines) do
    local f = by_id[frozen[line.line_id]]
    if f then line.amount, line.tax, line.net = f.amount, f.tax, f.net end
  end
end


-- What the sale booked, the other way round.
function figures.reversed(found)
  local goods, shipping = 0, found.shipping and found.shipping.net or 0
  for _, line in ipairs(found.lines) do goods = goods + line.net end
  return { { "receivable", -found.total }, { "sales", goods }, { "shipping", shipping },
    { "tax", found.tax or 0 } }
end


return figures
