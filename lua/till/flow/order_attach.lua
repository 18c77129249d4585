-- till/flow/order_attach - a payment that was begun for an order that is placed already, and that
-- succeeded, becomes one of its payments.
--
--   run(payment) -> true: it is one of them, or nothing of it is there
--                 | false, reason: the order takes it not, its money goes back | nil, err: later
--
-- Whoever hears that it succeeded comes here: the shopper's own request, a webhook, the sweep, a
-- reconciliation (till.flow.settled). Under the lock of the order it is looked at what is due
-- still; the order has it once, whoever is first, and never more than is owed.
--
-- What a bank had taken back for good is owed again with the payment that makes it good: it goes
-- from `losses:<provider>` to `receivable`.
local amount_due = require "till.flow.amount_due"
local booking = require "till.flow.booking"
local capture_queue = require "till.flow.capture_queue"
local err = require "till.util.err"
local figures = require "till.flow.cancellation_figures"
local kept = require "till.flow.payment_kept"
local orders = require "till.store.orders"
local parts = require "till.flow.payment_parts"
local payment = require "till.flow.payment"
local payment_marks = require "till.store.payment_marks"
local payment_status = require "till.flow.payment_status"
local payments = require "till.store.payments"
local records = require "till.store.records"
local requests = require "till.store.payment_requests"
local sql = require "till.prim.sql"
local states = require "till.flow.order_states"

local attach = {}

local WAITS = { requires_action = true, sending = true, unknown = true }


-- -> nil, or why the order takes it not
local function refusal(order, p, found)
  if kept.is_let_go(p) then return "it was let go of" end
  if order.status == "cancelled" then return "the order was cancelled" end
  if found.due < p.amount then
    return ("the order is owed %d by now, and the payment is of %d"):format(found.due, p.amount)
  end
end


local function take_from_losses(tx, order, p, found)
  local missing = p.amount - math.max(0, found.owed)
  if missing <= 0 then return true end
  local accounts, e = amount_due.losses(order.id, tx)
  if not accounts then return nil, e end
  local entries = { { "receivable", missing } }
  for account, lost in pairs(accounts) do
    local n = math.min(missing, lost)
    if n > 0 then entries[#entries + 1], missing = { account, -n }, missing - n end
  end
  return orders.ledger(tx, order.id, nil, order.currency, entries)
end


local function book_money(tx, order, p, found)
  local ok, e = take_from_losses(tx, order, p, found)
  if ok and payments.was_captured(p) then
    local entries, why = booking.to_order(p, tx)
    if not entries then return nil, why end
    ok, e = orders.ledger(tx, order.id, p.id, p.currency, entries)
  end
  if ok then ok, e = payment_marks.give_to(tx, p.id, order.id) end
  if ok then ok, e = requests.pay(tx, order.id, p.amount) end
  if ok then ok, e = requests.lower(tx, order.id, amount_due.most(found) - p.amount) end
  return ok, e
end


local function events_of(order, p, from, move)
  local captured = payments.was_captured(p) and p.amount or nil
  local list = payment_status.told(order, p, captured, from, move)
  if captured and not move and from == "captured" then -- and so it stays
    list[#list + 1] = payment_status.again(order, p)
  end
  list[#list + 1] = { aggregate = "order:" .. order.id, type = "order.payment_added",
    payload = { order_id = order.id, payment_id = p.id, amount = p.amount,
      currency = p.currency } }
  if (kept.policy(p) or {}).capture == "now" and payments.left(p) > 0 then
    list[#list + 1] = { aggregate = "payment:" .. p.id, type = "payment.capture",
      payload = { payment_id = p.id, order_id = order.id } }
  end
  return list
end


-- Of which something may be captured still.
local CAPTURES = { awaiting = true, authorized = true, partially_captured = true }


local function tell(tx, order, p)
  local list, e = payments.of_order(order.id, tx)
  if not list then return nil, e end
  local lost, e2 = figures.lost(tx, order, list)
  if not lost then return nil, e2 end
  local from, move = order.payment_status, payment_status.move(order, list, lost, true)
  if not move and payments.left(p) > 0 and not CAPTURES[from] then
    return nil, err.new("internal", ("an order that is %s has no move for payment %s, which is to"
      .. " be captured"):format(from, p.id))
  end
  local ok, e3 = states.change(tx, order, move and { { "payment_status", move } } or {})
  if ok then
    ok, e3 = orders.event(tx, order.id, "payment_added", order.customer_id or "shopper",
      { payment_id = p.id, provider = p.provider, amount = p.amount, state = p.state })
  end
  if ok then ok, e3 = records.events(tx, events_of(order, p, from, move)) end
  return ok, e3
end


-- -> true | false, reason | nil, err
local function take(tx, payment_id, order_id)
  local order, e = orders.lock(tx, order_id)
  if not order then return nil, e end
  local p, e2 = payments.lock(tx, payment_id)
  if not p then return nil, e2 end
  if p.order_id then return true end
  if not parts.PAID[p.state] then return false, "the payment is " .. p.state end
  local found, e3 = amount_due.of(order, tx)
  if not found then return nil, e3 end
  local why = refusal(order, p, found)
  if why then return false, why end
  local ok, e4 = book_money(tx, order, p, found)
  if ok then ok, e4 = tell(tx, order, p) end
  if ok then ok, e4 = capture_queue.added(tx, order, p) end
  if not ok then return nil, e4 end
  return true
end


-- A provider may have told of it before our row says so.
local function settled(p)
  if not WAITS[p.state] then return true end
  local ok, e = payment.settle(p)
  if ok or not WAITS[p.state] then return true end
  return nil, e
end


function attach.run(p)
  local known, e = settled(p)
  if not known then return nil, e end
  if not p.order_id and payment.states.final[p.state] then return true end
  local why
  local done, e2 = sql.transaction(function(tx)
    local taken, reason = take(tx, p.id, kept.order(p))
    why = reason
    return taken, reason
  end)
  if done == false then return false, why end
  return done, e2
end


return attach
