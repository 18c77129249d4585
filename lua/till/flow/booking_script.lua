-- till/flow/booking_script - as till.flow.booking, for what is plain, without holding a row while it
-- is thought about: what is to be written, under the condition that all is still as it was read.
--
--   read(payment) -> seen | nil, err     of one with an order, which it pays for alone. seen { payment, order, list, now },
--                       `now` as booking.amounts has it; now is nil where only the careful way
--                       (booking.book) knows what to do
--   guard(script, seen)                  the script is refused (CHANGED) where anything of it has
--                       changed; its rows are locked then until it ends
--   add(script, seen, event) -> "booked" | "known" | nil: the careful way
--                       event as booking.book takes it. Later events of the same `seen` see those
--                       before them
--
-- Who was refused, or has heard nil, goes the careful way: the script has changed nothing. So the
-- scripts of many payments may be one transaction (till.store.script), and one that does not fit
-- takes itself out of it.
local attempt = require "till.prim.attempt"
local booking = require "till.flow.booking"
local ledger = require "till.store.ledger"
local orders = require "till.store.orders"
local payment_events = require "till.store.payment_events"
local payments = require "till.store.payments"
local restore = require "till.flow.booking_restore"

local booking_script = { CHANGED = "changed" }

local PLAIN = { captured = true, refunded = true }


function booking_script.read(p)
  local list, e = payment_events.of(p.id)
  if not list then return nil, e end
  local order, e2 = orders.get(p.order_id)
  if not order then return nil, e2 end
  local seen = { payment = p, order = order, list = list, count = #list }
  local all, e3 = payments.of_order(p.order_id)
  if not all then return nil, e3 end
  if all[2] or restore.missing(p, list)[1] then return seen end
  local now, refusal = attempt.fold(list)
  if not refusal then seen.now = now end
  return seen
end


-- The order's row first, then the payment's, as all do; what is counted after that stays so.
function booking_script.guard(script, seen)
  orders.is_still(script, seen.order, booking_script.CHANGED)
  payments.is_still(script, seen.payment, booking_script.CHANGED)
  payment_events.are_still(script, seen.payment.id, seen.count, booking_script.CHANGED)
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
local function complete(script, p, known, event)
  local fee = known.fee == nil and event.fee or nil
  if known.reference ~= nil and not fee then return "known" end
  if not known.seq then return nil end
  payment_events.complete(script, p.id, known, { reference = event.reference, fee = fee },
    booking_script.CHANGED)
  known.reference, known.fee = event.reference, known.fee or fee
  if fee and fee ~= 0 then
    ledger.post(script, p.order_id, p.id, p.currency, { { "fees:" .. p.provider, fee },
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


function booking_script.add(script, seen, event)
  if not PLAIN[event.kind] or not event.reference then return nil end
  local p, new = seen.payment, {}
  for name, value in pairs(event) do new[name] = value end
  new.actor = event.actor or "provider:" .. p.provider
  new.amount = booking.parts.amount_of(event, seen.now)
  local known = known_of(seen.list, new)
  if known then return complete(script, p, known, new) end
  if new.is_ours then return "known" end
  local now = booking.parts.fold_with(seen.list, new)
  if not now then return nil end
  local will_be = payments.projected(p, now)
  if not booking.parts.write(script, p, seen.order, new, seen.now, now, { will_be }) then
    return nil
  end
  seen.now = now
  seen.list[#seen.list + 1] = { event = new.kind, amount = new.amount, reference = new.reference,
    fee = new.fee }
  return "booked"
end


return booking_script
