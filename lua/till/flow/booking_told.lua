-- till/flow/booking_told - what an order is told of an event of one of its payments.
--
--   order(tx, order, payment, event, list) -> true | nil, err    its payment_status, its timeline
--                       and what is published; event as till.flow.booking has it. list: the
--                       payments of it as they are now, where tx cannot read
--   about(payment, event) -> what its line in the timeline says
--
-- The order may have gone on, by itself or by staff: what its table does not have stays as it is.
local amount_due = require "till.flow.amount_due"
local figures = require "till.flow.cancellation_figures"
local orders = require "till.store.orders"
local payment_status = require "till.flow.payment_status"
local payments = require "till.store.payments"
local records = require "till.store.records"
local states = require "till.flow.order_states"

local told = {}

-- What moves the order's payment_status on: a dispute is of what was paid, and pays no more.
local TOLD = { captured = "moves", voided = "moves", refunded = "moves", refund_failed = true,
  disputed = true, won = true, lost = true }
local NAMES = { disputed = "dispute_opened", won = "dispute_won", lost = "dispute_lost" }


function told.about(p, event)
  local out = { payment_id = p.id, amount = event.amount, reference = event.reference,
    fee = event.fee, reason = event.reason }
  for name, value in pairs(event.about or {}) do out[name] = value end
  return out
end


local function move_of(tx, order, event, list)
  if event.kind == "refund_failed" then return payment_status.move_back(order, list) end
  if TOLD[event.kind] ~= "moves" then return nil end
  local lost, e = figures.lost(tx, order, list)
  if not lost then return nil, e end
  return payment_status.move(order, list, lost)
end


-- Of a list that was given nothing was let go of. What the shopper is asked for follows what is
-- owed: it was captured late, or a refund of it did not get there.
function told.order(tx, order, p, event, list)
  if not TOLD[event.kind] then return true end
  local e
  if not list then list, e = payments.of_order(order.id, tx) end
  if not list then return nil, e end
  local from, move, e2 = order.payment_status, move_of(tx, order, event, list)
  if e2 then return nil, e2 end
  local ok
  ok, e = states.change(tx, order, move and { { "payment_status", move } } or {})
  if ok then
    ok, e = orders.event(tx, order.id, NAMES[event.kind] or event.kind,
      event.told_by or event.actor, told.about(p, event))
  end
  if not ok then return nil, e end
  local was = p
  for _, one in ipairs(list) do p = one.id == p.id and one or p end
  if amount_due.owes_less(was, p) then
    ok, e = amount_due.lower(tx, order)
    if not ok then return nil, e end
  end
  local published = payment_status.told(order, p, event.kind == "captured" and event.amount, from,
    move)
  return not published[1] or records.events(tx, published)
end


return told
