-- till/flow/booking_batch - as till.flow.booking, for what is plain and for many payments at once:
-- read in few statements, thought about, and written in few statements.
--
--   read(tx, payment_ids) -> { id -> seen } | nil, err    seen { payment, order, list, now,
--                       batch }, `now` as booking.amounts has it; it is nil where only the careful
--                       way (booking.book) knows what to do, as of an order with several payments,
--                       or of which a part was let go of. One without an order is not among them.
--                       The rows of the orders and of all their payments are ours from then on
--   add(seen, event) -> "booked" | "known" | nil: the careful way
--                       event as booking.book takes it. Later events of the same `seen` see those
--                       before them. It is noted in seen.batch, of till.store.batch
--   PLAIN[kind]         may it be added at all?
--
-- What an event means is booking's business: this is another way to write the same.
local attempt = require "till.prim.attempt"
local batch = require "till.store.batch"
local booking = require "till.flow.booking"
local ledger = require "till.store.ledger"
local orders = require "till.store.orders"
local payment_events = require "till.store.payment_events"
local payments = require "till.store.payments"
local restore = require "till.flow.booking_restore"

local booking_batch = {}

booking_batch.PLAIN = { captured = true, refunded = true }


local function has_failure(list)
  for _, event in ipairs(list) do
    if event.event == "refund_failed" then return true end
  end
  return false
end


local function see(p, order, all, list)
  local seen = { payment = p, order = order, list = list, batch = batch.new() }
  local last = list[#list]
  local is_plain = not all[2] and (p.released_amount or 0) == 0 and not has_failure(list)
  if not is_plain or restore.missing(p, list)[1] or last.seq ~= #list then return seen end
  local now, refusal = attempt.fold(list)
  if not refusal then seen.now = now end
  return seen
end


-- Orders before payments, as all do. Which payment is of which order is asked without holding it:
-- one that has got its order just now is not found among those of the orders.
local function lock(tx, payment_ids)
  local order_of, e = payments.orders_of(tx, payment_ids)
  if not order_of then return nil, e end
  local order_ids, is_there = {}, {}
  for _, order_id in pairs(order_of) do
    if not is_there[order_id] then order_ids[#order_ids + 1] = order_id end
    is_there[order_id] = true
  end
  if not order_ids[1] then return {}, {} end
  local held, e2 = orders.lock_all(tx, order_ids)
  if not held then return nil, e2 end
  local of_orders, e3 = payments.lock_of_orders(tx, order_ids)
  if not of_orders then return nil, e3 end
  return held, of_orders
end


function booking_batch.read(tx, payment_ids)
  local held, of_orders = lock(tx, payment_ids)
  if not held then return nil, of_orders end
  if not next(held) then return {} end
  local lists, e = payment_events.of_all(tx, payment_ids)
  if not lists then return nil, e end
  local out = {}
  for order_id, order in pairs(held) do
    for _, p in ipairs(of_orders[order_id] or {}) do
      if lists[p.id] then out[p.id] = see(p, order, of_orders[order_id], lists[p.id]) end
    end
  end
  return out
end


local function find(list, event, is_it)
  for _, known in ipairs(list) do
    if known.event == event.kind and is_it(known, event) then return known end
  end
end


local function has_its_name(known, event)
  return known.reference == event.reference
end


local function may_be_it(known, event)
  return known.reference == nil and known.amount == event.amount
end


-- The shop's own, which the provider now names, or says what he takes for it.
local function complete(seen, known, event)
  local p, fee = seen.payment, known.fee == nil and event.fee or nil
  if known.reference ~= nil and not fee then return "known" end
  payment_events.complete(seen.batch, p.id, known, { reference = event.reference, fee = fee })
  known.reference, known.fee = event.reference, known.fee or fee
  if fee and fee ~= 0 then
    ledger.post(seen.batch, p.order_id, p.id, p.currency, { { "fees:" .. p.provider, fee },
      { "cash:" .. p.provider, -fee } })
  end
  return "known"
end


-- -> the event of the list that this is | nil: there is none, or who asked for it will write it
local function known_of(list, event)
  local known = find(list, event, has_its_name)
  if known then return known end
  if event.kind == "refunded" and not event.is_ours then return nil end
  return find(list, event, may_be_it)
end


local function copy_of(seen, event)
  local new = {}
  for name, value in pairs(event) do new[name] = value end
  new.actor = event.actor or "provider:" .. seen.payment.provider
  new.amount, new.seq = booking.parts.amount_of(event, seen.now), #seen.list + 1
  return new
end


function booking_batch.add(seen, event)
  if not booking_batch.PLAIN[event.kind] or not event.reference then return nil end
  local new = copy_of(seen, event)
  local known = known_of(seen.list, new)
  if known then return complete(seen, known, new) end
  if new.is_ours then return nil end -- is it waited for?
  local now = booking.parts.fold_with(seen.list, new)
  if not now then return nil end
  local all = { payments.projected(seen.payment, now) }
  if not booking.parts.write(seen.batch, seen.payment, seen.order, new, seen.now, now, all) then
    return nil
  end
  seen.now = now
  seen.list[new.seq] = { seq = new.seq, event = new.kind, amount = new.amount,
    reference = new.reference, fee = new.fee }
  return "booked"
end


return booking_batch
