-- till/flow/cancellation_short - money that was to go back, and that a bank has taken meanwhile.
--
--   book(tx, order, payment, c, wanted, event) -> true | nil, err    by the word of staff that it
--                       went back in another way: what is held of it is booked as refunded (event
--                       as till.flow.booking.own), and of the rest what was lost is owed no more:
--                       c, of till.store.cancellations, comes to less by that. wanted: minor units
--                       that were to go back. event.amount is what was booked, event.about.lost
--                       what was not. Refused (409) while the dispute goes on: it may be won
--
-- Under the lock of the order. The shopper has what his bank has taken, so units that were
-- cancelled or came back are made good by the loss, as if it had been known when they were; what
-- was to be given as goodwill was not given. What went back at the provider by hand is booked
-- already, and pays for the rest.
local amount_due = require "till.flow.amount_due"
local booking = require "till.flow.booking"
local cancellations = require "till.store.cancellations"
local figures = require "till.flow.cancellation_figures"
local orders = require "till.store.orders"
local states = require "till.flow.order_states"

local short = {}


-- Each up to what the order has on it.
local function accounts_of(c, p)
  local losses = "losses:" .. p.provider
  return c.kind == "refund" and { "goodwill", losses } or { losses }
end


local function entries_of(tx, order, c, p, missing)
  local entries, sum = {}, 0
  for _, account in ipairs(accounts_of(c, p)) do
    local there, e = figures.balance(tx, order.id, account)
    if not there then return nil, e end
    local n = math.min(missing - sum, math.max(0, there))
    entries[#entries + 1], sum = { account, -n }, sum + n
  end
  entries[#entries + 1] = { "receivable", sum }
  return entries, sum
end


local function owe_less(tx, order, c, p, missing)
  local entries, sum = entries_of(tx, order, c, p, missing)
  if not entries then return nil, sum end
  if sum == 0 then return 0 end
  local ok, e = cancellations.lower(tx, c.id, sum)
  if ok then ok, e = orders.ledger(tx, order.id, nil, order.currency, entries) end
  if ok then ok, e = amount_due.lower(tx, order) end
  if not ok then return nil, e end
  return sum
end


function short.book(tx, order, p, c, wanted, event)
  local now, e = booking.amounts(p.id, tx)
  if not now then return nil, e end
  if now.disputed > 0 and wanted > now.held then
    return states.refuse(order, ("payment %s is disputed at the shopper's bank: wait until the"
      .. " dispute is won or lost"):format(p.id))
  end
  event.amount = math.min(wanted, now.held)
  local missing = math.min(wanted, now.captured - now.refunded) - event.amount
  local lost, e2 = owe_less(tx, order, c, p, missing)
  if not lost then return nil, e2 end
  event.about.amount, event.about.lost = event.amount, lost > 0 and lost or nil
  if event.amount > 0 then return booking.own(tx, p.id, event) end
  local ok, e3 = states.change(tx, order, {})
  if not ok then return nil, e3 end
  return orders.event(tx, order.id, "refunded", event.told_by, event.about)
end


return short
