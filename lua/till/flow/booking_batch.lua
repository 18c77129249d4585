-- till/flow/booking_batch - as till.flow.booking, for what is plain and for many payments at once:
-- thought about without holding a row, written in few statements where all is still as it was read.
--
--   read(payment) -> seen | nil, err     of one with an order. seen { payment, order, list, now,
--                       batch }, `now` as booking.amounts has it; it is nil where only the careful
--                       way (booking.book) knows what to do, as of an order with several payments,
--                       or of which a part was let go of
--   add(seen, event) -> "booked" | "known" | nil: the careful way
--                       event as booking.book takes it. Later events of the same `seen` see those
--                       before them. It is noted in seen.batch, of till.store.batch
--   lock(tx, list) -> { seen -> true } | nil, err    those of them that are still as they were
--                       read; their rows are ours until the end. All of different payments
--
-- What an event means is booking's business: this is another way to write the same.
local attempt = require "till.prim.attempt"
local batch = require "till.store.batch"
local booking = require "till.flow.booking"
local err = require "till.util.err"
local ledger = require "till.store.ledger"
local orders = require "till.store.orders"
local payment_events = require "till.store.payment_events"
local payments = require "till.store.payments"
local restore = require "till.flow.booking_restore"

local booking_batch = {}

local PLAIN = { captured = true, refunded = true }


function booking_batch.read(p)
  local list, e = payment_events.of(p.id)
  if not list then return nil, e end
  local order, e2 = orders.get(p.order_id)
  if not order then return nil, e2 or err.new("internal", "a payment's order is not there") end
  local seen = { payment = p, order = order, version = order.version, list = list,
    tally = payment_events.tally(list), batch = batch.new() }
  local all, e3 = payments.of_order(p.order_id)
  if not all then return nil, e3 end
  local last = list[#list]
  local is_plain = not all[2] and (p.released_amount or 0) == 0
  if not is_plain or restore.missing(p, list)[1] or last.seq ~= #list then return seen end
  local now, refusal = attempt.fold(list)
  if not refusal then seen.now = now end
  return seen
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
  if not PLAIN[event.kind] or not event.reference then return nil end
  local new = copy_of(seen, event)
  local known = known_of(seen.list, new)
  if known then return complete(seen, known, new) end
  if new.is_ours then return "known" end
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


-- ---- is it still so? -------------------------------------------------------------------------

local COMPARED = { "order_id", "state", "released_amount", "capture_amount", "refunded_amount",
  "disputed_amount", "lost_amount" }


local function is_same(a, b)
  if not b then return false end
  for _, name in ipairs(COMPARED) do
    if a[name] ~= b[name] then return false end
  end
  return true
end


local function all_of(list, fn)
  local out = {}
  for i, seen in ipairs(list) do out[i] = fn(seen) end
  return out
end


-- Orders before payments, as all do. Whoever adds an event, names one or posts its fee holds its
-- payment: so the tally is read last, and stays.
function booking_batch.lock(tx, list)
  local payment_ids = all_of(list, function(seen) return seen.payment.id end)
  local versions, e = orders.lock_versions(tx,
    all_of(list, function(seen) return seen.order.id end))
  if not versions then return nil, e end
  local rows, e2 = payments.lock_all(tx, payment_ids)
  if not rows then return nil, e2 end
  local tallies, e3 = payment_events.tallies(tx, payment_ids)
  if not tallies then return nil, e3 end
  local out = {}
  for _, seen in ipairs(list) do
    local p = seen.payment
    out[seen] = versions[seen.order.id] == seen.version and is_same(p, rows[p.id])
      and tallies[p.id] == seen.tally or nil
  end
  return out
end


return booking_batch
