-- till/flow/booking - what a provider says has happened to a payment is written down, once.
--
--   book(tx, payment_id, event) -> payment | false | nil, err
--       event { kind = "captured" | "voided" | "refunded" | "disputed" | "won" | "lost" |
--       "refund_failed" | "authorized" | …  (core/trade/attempt.h), amount = minor units, or nil:
--       all that is left for it, or of what has its reference (won, lost, refund_failed);
--       reference = the provider's id of this very thing (of the refund that failed, of the dispute
--       that ended), or nil; fee = minor units, or nil; at_ms = when, by the provider, or nil;
--       actor; reason or nil; is_ours, of a refund: the provider knows that the shop asked for it,
--       and key: under which, where it tells that as well }
--       false: booked before, under this kind and reference, or to be booked by who asked for it.
--       err: not_found; conflict, with
--       e.reason "impossible" | "no_amount" | "too_much" where it does not fit, and nothing is
--       changed, "refund_failed" of `own`, where what went back is back at the provider by now;
--       busy, where an order was placed with it just now
--   own(tx, payment_id, event) -> payment | nil, err    what the shop has asked for itself and was
--       granted; as book. event.since: the number of its newest event when that was
--       decided; event.since_ms: or when that was. Where a provider has told of it before we
--       came to write it down (by `reference`; where the answer had none: the same amount since
--       then) that is ours, and is not booked again. event.about: what its line in the timeline
--       tells besides. event.by_word, of a refund: staff say so; not of more than is held
--   all_back(payment, ref or nil) -> payment | nil, err    all that was left was given back; also
--       where that was booked before
--   to_order(payment [, tx]) -> entries | nil, err    of the ledger, of the order that is placed
--       with it, less what was posted before. Of a payment as it was read; who places sees if it is
--       so
--   lock(tx, payment_id) -> payment, order or false | nil, err    both rows are ours
--   amounts(payment_id [, tx]) -> { state, amount, authorized, captured, voided, refunded,
--       disputed, lost, left, held, is_final } | nil, err    summed up from its events, whatever
--       the row says
--
-- All in the caller's transaction: the event, the row, the ledger, the order's payment_status, its
-- timeline and what is published. It locks the order's row first, then the payment's, as all do.
--
-- What the shop asked for itself it wrote down without a reference. When the provider tells of it
-- later, the event of that kind and amount is given the name, and nothing is booked again but the
-- fee, where it had none. A payment has many refunds of one amount: there it is so only of one that
-- the provider knows as ours (`event.is_ours`), and where that was not written down yet, who asked
-- for it will, as long as he waits for one of that amount.
--
-- A refund that failed, or a dispute that ended, is of what has its reference, and no more: of two
-- disputes each ends by itself, and once. Where a failure is heard of before its refund, that is
-- booked first: so whoever tells of it later finds it. till.flow.refund_failure has what follows.
--
-- Money without an order waits (till.flow.booking_entries); the order it pays for takes it from
-- there when it is placed (till.flow.place), with all that was booked before.
local attempt = require "till.prim.attempt"
local cancellations = require "till.store.cancellations"
local disputes = require "till.flow.booking_disputes"
local entries = require "till.flow.booking_entries"
local err = require "till.util.err"
local ledger = require "till.store.ledger"
local orders = require "till.store.orders"
local payment_events = require "till.store.payment_events"
local payments = require "till.store.payments"
local refund_failure = require "till.flow.refund_failure"
local restore = require "till.flow.booking_restore"
local sql = require "till.prim.sql"
local states = require "till.flow.order_states"
local told = require "till.flow.booking_told"

local booking = {}


-- What a server from before has not written of it stands among them; `keep`: it is written now.
local function events_of(p, tx, keep)
  local list, e = payment_events.of(p.id, tx)
  if not list then return nil, e end
  for _, event in ipairs(restore.missing(p, list)) do
    if keep then
      local ok, e2 = payment_events.add(tx, p.id, event)
      if not ok then return nil, e2 end
    end
    list[#list + 1] = { event = event.kind, amount = event.amount, reason = event.reason,
      actor = event.actor }
  end
  return list
end


function booking.amounts(payment_id, tx)
  local p, e0 = payments.get(payment_id, tx)
  if p == nil then return nil, e0 end
  if not p then return nil, err.new("not_found", "there is no such payment") end
  local list, e = events_of(p, tx)
  if not list then return nil, e end
  local seen, refusal = attempt.fold(list)
  if refusal then
    error(("event %d of payment %s does not fit: %s"):format(refusal.at, payment_id,
      refusal.reason))
  end
  return seen
end


function booking.lock(tx, payment_id)
  local p, e = payments.get(payment_id, tx)
  if p == nil then return nil, e end
  if not p then return nil, err.new("not_found", "there is no such payment") end
  local order, order_id = false, p.order_id
  if order_id then
    order, e = orders.lock(tx, order_id)
    if not order then return nil, e or err.new("internal", "a payment's order is not there") end
  end
  p, e = payments.lock(tx, payment_id)
  if not p then return nil, e end
  if p.order_id ~= order_id then
    return nil, err.new("busy", "an order was placed with this payment just now; try again",
      { retryable = true })
  end
  return p, order
end


local REST = { captured = "left", voided = "left", refunded = "held", disputed = "held" }
local FIRST = { authorized = true, captured = true }
local ENDS = { won = true, lost = true }


local function amount_of(event, was, list)
  if ENDS[event.kind] then return disputes.ended_by(list, event, was) end
  if event.amount or event.kind == "refund_failed" then return event.amount end
  if FIRST[event.kind] and was.authorized == 0 then return was.amount end
  return REST[event.kind] and was[REST[event.kind]] or 0
end


local function known_of(list, kind, reference)
  for _, known in ipairs(list) do
    if known.event == kind and known.reference == reference then return known end
  end
end


local function is_known(list, event)
  return known_of(list, event.kind, event.reference) ~= nil
end


local function misfit(now, event, reason)
  return nil, err.new("conflict", ("the payment is %s: %s of %s does not fit"):format(now.state,
    event.kind, tostring(event.amount)), { reason = reason })
end


-- What a provider has done is done; by the word of staff nothing goes back that a bank has.
local function fold_with(list, event)
  if not event.amount then return misfit(attempt.fold(list), event, "impossible") end
  local all = {}
  for i, known in ipairs(list) do all[i] = known end
  all[#all + 1] = { event = event.kind, amount = event.amount }
  local now, refusal = attempt.fold(all)
  local is_more = event.by_word and event.amount > attempt.fold(list).held
  if not refusal and not is_more then return now end
  return misfit(now, event, refusal and refusal.reason or "too_much")
end


function booking.to_order(p, tx)
  local posted, e = ledger.of_payment(p.id, tx)
  if not posted then return nil, e end
  local list, e2 = events_of(p, tx)
  if not list then return nil, e2 end
  return entries.up_to(p, list, attempt.fold(list), posted, "receivable")
end


local function write(tx, p, order, event, was, now, list)
  local ok, e = payment_events.add(tx, p.id, event)
  if ok then ok, e = payments.project(tx, p.id, now) end
  if ok and order then
    ok, e = orders.ledger(tx, order.id, p.id, p.currency, entries.of(p, was, now, event.fee))
    if ok then ok, e = told.order(tx, order, p, event, list) end
  elseif ok then
    ok, e = entries.suspend(tx, p, now)
  end
  if not ok then return nil, e end
  return true
end


-- For who has read payments, order and events by himself, and sees to it that they are so still: tx
-- may be a script then (till.flow.booking_script). write's last: all payments of the order, as they
-- will be.
booking.parts = { amount_of = amount_of, fold_with = fold_with, write = write }


-- We asked for it ourselves, and the provider says what he takes for it: once.
local function charge(tx, p, event)
  if not event.fee then return true end
  local is_new, e = payment_events.charge(tx, p.id, event)
  if is_new == nil then return nil, e end
  if not is_new or event.fee == 0 then return true end
  return ledger.post(tx, p.order_id, p.id, p.currency, { { "fees:" .. p.provider, event.fee },
    { "cash:" .. p.provider, -event.fee } })
end


-- -> true where it was written down before | false | nil, err
local function is_booked(tx, p, list, event)
  if event.kind == "voided" and p.state == "voided" then return true end -- by us meanwhile
  if not event.reference then return false end
  if not is_known(list, event) then
    if event.kind == "refund_failed" then return refund_failure.is_moot(tx, p, list, event) end
    if event.kind == "refunded" and not event.is_ours then return false end
    local named, e = payment_events.name(tx, p.id, event)
    if named == nil then return nil, e end
    if not named then return cancellations.is_awaited(tx, p.id, event) end
  end
  local ok, e = charge(tx, p, event)
  if not ok then return nil, e end
  return true
end


-- Of a failure: the refund that it is of, which is among the events from then on.
-- -> list, what it comes to | nil, err
local function with_refund(tx, p, order, list, was, event)
  local known, e = refund_failure.refund_of(tx, p, list, event)
  if known == nil then return nil, e end
  if known then
    event.amount = event.amount or known.amount
    if event.amount > known.amount then return misfit(was, event, "too_much") end
    return list, was
  end
  local refund = { kind = "refunded", amount = event.amount, reference = event.reference,
    actor = event.actor, reason = "told with its failure" }
  local now, e2 = fold_with(list, refund)
  if not now then return nil, e2 end
  local ok, e3 = write(tx, p, order, refund, was, now)
  if not ok then return nil, e3 end
  list[#list + 1] = { event = refund.kind, amount = refund.amount, reference = refund.reference,
    actor = refund.actor }
  return list, now
end


-- -> true | nil, err
local function write_down(tx, p, order, list, was, event)
  local e
  if event.kind == "refund_failed" then
    list, was = with_refund(tx, p, order, list, was, event)
    if not list then return nil, was end
  end
  local now, ok
  now, e = fold_with(list, event)
  if not now then return nil, e end
  ok, e = write(tx, p, order, event, was, now)
  if ok then ok, e = refund_failure.follow(tx, p, order, list, event) end
  return ok, e
end


-- -> payment | false | nil, err; is_before(tx, p, list, event): was it booked before?
local function book(tx, payment_id, event, is_before)
  local p, order = booking.lock(tx, payment_id)
  if not p then return nil, order end
  local list, e = events_of(p, tx, true)
  if not list then return nil, e end
  local was = attempt.fold(list)
  local new = {}
  for name, value in pairs(event) do new[name] = value end
  new.amount, new.actor = amount_of(event, was, list), event.actor or "provider:" .. p.provider
  local booked, e2 = is_before(tx, p, list, new)
  if booked == nil then return nil, e2 end
  if booked then return false, p, order, new end
  local ok, e3 = write_down(tx, p, order, list, was, new)
  if not ok then return nil, e3 end
  return payments.get(p.id, tx)
end


function booking.book(tx, payment_id, event)
  local done, e = book(tx, payment_id, event, is_booked)
  if done == nil then return nil, e end
  return done
end


-- Named by its reference it is that one, whoever had it before.
local function is_told(tx, p, list, event)
  if event.reference and known_of(list, "refund_failed", event.reference) then
    return nil, err.new("conflict", ("the refund %s failed at the provider: the money is back"
      .. " there"):format(event.reference), { reason = "refund_failed" })
  end
  local ours, e = payment_events.claim(tx, p.id, event)
  if ours == nil then return nil, e end
  return ours or event.reference ~= nil and is_known(list, event)
end


-- Its line in the timeline is written all the same: the provider's did not say whose it was.
function booking.own(tx, payment_id, event)
  local done, p, order, new = book(tx, payment_id, event, is_told)
  if done ~= false then return done, p end
  local ok, e = true, nil
  if order then
    ok, e = states.change(tx, order, {})
    if ok then
      new.about = new.about or {}
      new.about.told_before = true
      ok, e = orders.event(tx, order.id, event.kind, new.told_by or new.actor, told.about(p, new))
    end
  end
  if not ok then return nil, e end
  return p
end


function booking.all_back(p, ref)
  local done, e = sql.transaction(function(tx)
    return booking.own(tx, p.id, { kind = "refunded", reference = ref, actor = "system" })
  end)
  local now, e2 = payments.get(p.id)
  if not now then return nil, e2 end
  if not done and now.state ~= "refunded" then return nil, e end
  p.state = now.state
  return p
end


return booking
