-- till/flow/cancellation_figures - what belongs to units that are not sent or come back, from the
-- frozen figures of the order. Nothing is priced again.
--
--   of(tx, order, lines, whole, without_trace) -> found, frozen | nil, err
--                       lines { line_id, quantity }; found as till.rule.refund makes it, frozen
--                       { line id -> id in the price trace }; `whole` takes all of the shipping
--                       besides; without_trace(order, whole) finds it for an imported order
--   units_gone(order, tx) -> { line id -> units whose money went back, or is on its way }
--   add_to(lines, found, frozen)    writes amount, tax and net of each line beside it
--   reversed(found) -> entries      of the ledger: what the sale booked, the other way round
--   balance(tx, order_id, account) -> amount    of the order's entries: goodwill is what was given
--                       back of no unit, and not met by one since
--   owed(tx, order, payments) -> minor units    that nothing holds, and nothing is to bring; below
--                       zero where more is held than is owed
--   unpaid(tx, order) -> minor units
--   lost(tx, order, payments) -> minor units    of that, what no word of staff let go of either
--
-- Money of a unit goes back once: one that was refunded while the shopper kept it brings none when
-- it comes back. What was given as an amount is goodwill, an account of its own; when units come
-- back for which no money is left, their sale is booked back against it (`found.absorbed`), and
-- against what was lost in a dispute (`found.made_good`, of the account `found.losses`; of several
-- payments the entries are `found.losses_of`).
local cancellations = require "till.store.cancellations"
local err = require "till.util.err"
local ledger = require "till.store.ledger"
local orders = require "till.store.orders"
local payment_events = require "till.store.payment_events"
local payments = require "till.store.payments"
local refund = require "till.rule.refund"

local figures = {}


-- No more of a line than it had, whatever happened to a unit first.
local function taken(gone, sizes, line)
  local before = gone[line.line_id] or 0
  local n = math.min(line.quantity, sizes[line.line_id] - before)
  gone[line.line_id] = before + n
  return n
end


local function sizes_of(order)
  local out = {}
  for _, line in ipairs(order.lines) do out[line.id] = line.quantity end
  return out
end


local function to_asked(lines, frozen, gone, sizes)
  local out = {}
  for i, line in ipairs(lines) do
    out[i] = { id = frozen[line.line_id], qty = taken(gone, sizes, line) }
  end
  return out
end


function figures.units_gone(order, tx)
  local past, e = cancellations.of_order(order.id, tx)
  if not past then return nil, e end
  local gone, sizes = {}, sizes_of(order)
  for _, c in ipairs(past) do
    for _, line in ipairs(c.lines) do taken(gone, sizes, line) end
  end
  return gone
end


-- All cancellations and returns so far and this one: its figures are the last.
local function calculate(tx, order, trace, lines, whole)
  local frozen, past, e
  frozen, e = orders.frozen_ids(tx, order.id)
  if frozen then past, e = cancellations.of_order(order.id, tx) end
  if not past then return nil, e end
  local asked, gone, sizes = {}, {}, sizes_of(order)
  for i, c in ipairs(past) do
    asked[i] = { lines = to_asked(c.lines, frozen, gone, sizes),
      shipping = c.shipping and c.shipping.amount }
  end
  asked[#asked + 1] = { lines = to_asked(lines, frozen, gone, sizes),
    shipping = whole and "all" or nil }
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
  local absorbed, made_good = found.absorbed or 0, found.made_good or 0
  local out = { { "receivable", absorbed + made_good - found.total }, { "sales", goods },
    { "shipping", shipping }, { "tax", found.tax or 0 },
    { "goodwill", (found.goodwill or 0) - absorbed } }
  for _, entry in ipairs(found.losses_of or { { found.losses or "losses", -made_good } }) do
    out[#out + 1] = entry
  end
  return out
end


function figures.balance(tx, order_id, account)
  local entries, e = ledger.of_order(order_id, tx)
  if not entries then return nil, e end
  local sum = 0
  for _, entry in ipairs(entries) do
    if entry.account == account then sum = sum + entry.amount end
  end
  return sum
end


local LET_GO = { void = true, lowered = true }


-- Of what a payment has let go of: that which no cancellation did, or was decided about since.
local function lost_of(list, past)
  local lost = 0
  for _, p in ipairs(list) do lost = lost + (p.released_amount or 0) end
  for _, c in ipairs(past) do
    lost = lost - (LET_GO[c.money] and c.amount or c.released_amount)
  end
  return lost
end


function figures.owed(tx, order, list)
  local owed, e = figures.balance(tx, order.id, "receivable")
  if not owed then return nil, e end
  for _, p in ipairs(list) do
    local due, e2 = cancellations.due(tx, p.id)
    if not due then return nil, e2 end
    owed = owed + due - (p.refunded_amount or 0) - payments.left(p)
  end
  return owed
end


--- What of an order can never be captured, by no decision of the shop's, and is owed still.
function figures.unpaid(tx, order)
  local list, e = payments.of_order(order.id, tx)
  if not list then return nil, e end
  local past, e2 = cancellations.of_order(order.id, tx)
  if not past then return nil, e2 end
  local lost = lost_of(list, past)
  if lost <= 0 then return 0 end
  local owed, e3 = figures.owed(tx, order, list)
  if not owed then return nil, e3 end
  return math.max(0, math.min(lost, owed))
end


-- Of what this payment has let go of: what we did not, with a capture or a cancellation.
local function lost_at(tx, p, past)
  for _, c in ipairs(past) do
    if c.payment_id == p.id and c.money == "void" then return 0 end
  end
  local list, e = payment_events.of(p.id, tx)
  if not list then return nil, e end
  local lost = 0
  for _, event in ipairs(list) do
    local ours = event.event ~= "voided" or event.actor == "system"
    lost = lost + (ours and 0 or event.amount)
  end
  return lost
end


--- Staff who capture a part for the last time want no more for it. Where nothing was let go of,
--- nothing is asked.
function figures.lost(tx, order, list)
  local lost, past, e = 0, nil, nil
  for _, p in ipairs(list) do
    if (p.released_amount or 0) > 0 then
      if not past then past, e = cancellations.of_order(order.id, tx) end
      if not past then return nil, e end
      local n, e2 = lost_at(tx, p, past)
      if not n then return nil, e2 end
      lost = lost + n
    end
  end
  if lost == 0 then return 0 end
  local unpaid, e3 = figures.unpaid(tx, order)
  if not unpaid then return nil, e3 end
  return math.min(lost, unpaid)
end


return figures
