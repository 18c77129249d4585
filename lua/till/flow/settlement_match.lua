-- till/flow/settlement_match - one movement of money at a provider: what is it in our books?
--
--   run(s, item [, may_wait]) -> verdict | nil, err     s a settlement (till.store.settlements),
--                            item as `payment.settlement` of the plugin gives it
--   LATER                    a verdict as well: nothing was written. It does not fit, and what it
--                            belongs to may come yet: where it may_wait it is to be judged once
--                            more; what moved after the period is left to the next run, for its
--                            payment may be under way just now
--
-- matched        it is an event of ours: under its source (the provider's id of charge, refund or
--                dispute), else of this payment, kind and amount. The event is given the id, so it
--                is found by that from now on
-- other_currency it is that event, on an account that is kept in another currency: amounts and fee
--                are not comparable, and the fee is not posted
-- differs        it is that event, but amount, fee or date are others. Nothing is changed
-- missing_here   we do not know it, and could not book it. Staff are told; what was taken of a
--                payment that was given up is let go of (till.flow.late_payment)
-- other          fees by themselves, payouts: they are of no payment, and are booked as they are
--                (till.flow.settlement_alone)
--
-- What was done at the provider by hand, and what we were never told of, is booked as a webhook
-- would have it (till.flow.booking). A fee is posted once for each movement: that it was is written
-- in the same transaction, under the locks of order and payment. Fees of a payment that has no
-- order yet wait for the next run.
local alerts = require "till.store.alerts"
local alone = require "till.flow.settlement_alone"
local booking = require "till.flow.booking"
local cancellations = require "till.store.cancellations"
local captures = require "till.flow.captures"
local err = require "till.util.err"
local items = require "till.store.settlement_items"
local late_payment = require "till.flow.late_payment"
local ledger = require "till.store.ledger"
local log = require "till.prim.log"
local metrics = require "till.prim.metrics"
local orders = require "till.store.orders"
local payment_events = require "till.store.payment_events"
local payments = require "till.store.payments"
local sql = require "till.prim.sql"
local time = require "till.prim.time"

local match = { LATER = "later" }

local ALERT = "settlement.missing_here"
local EVENT = { charge = "captured", refund = "refunded", refund_failure = "refund_failed",
  dispute = "disputed", dispute_reversal = "won" }
local APART_MS = 8 * 86400000 -- an authorization may be captured a week after it
local BOOKED = { authorized = true, captured = true, refunded = true, disputed = true, won = true,
  lost = true }


-- -> payment | false
local function find(s, item)
  if item.payment_id and item.payment_id:find "^pay_%w+$" and #item.payment_id == 30 then
    local p, e = payments.get(item.payment_id)
    if p == nil then return nil, e end
    if p then return p.provider == s.provider and p end
  end
  if not item.provider_ref then return false end
  return payments.by_ref(s.provider, item.provider_ref)
end


-- What bears the name of a payment of ours, and is another one. While that is paid on a page of the
-- provider's it has that page's reference.
local function is_another(item, p)
  local ref, there, page = p.provider_ref, item.provider_ref, item.page_prefix
  if not ref or not there or ref == there then return false end
  return not page or ref:sub(1, #page) ~= page
end


-- The order's row first, then the payment's, as all do.
local function lock(tx, p)
  if p.order_id then
    local order, e = orders.lock(tx, p.order_id)
    if not order then return nil, e or err.new("internal", "a payment's order is not there") end
  end
  local now, e = payments.lock(tx, p.id)
  if not now then return nil, e end
  if now.order_id ~= p.order_id then
    return nil, err.new("busy", "an order was placed with this payment just now",
      { retryable = true })
  end
  return now
end


-- By its id; else of this amount, the oldest that bears no id; else one that bears none. Amounts of
-- different currencies say nothing: there it has to be the only one.
local function pick(events, item, is_exchanged)
  local amount, n = math.abs(item.amount), 0
  local equal, any
  local prefix = item.source and item.source .. ":"
  for _, event in ipairs(events) do
    if item.source and event.reference == item.source then return event end
    if event.reference == nil or prefix and event.reference:sub(1, #prefix) == prefix then
      if event.amount == amount then equal = equal or event end
      any, n = any or event, n + 1
    end
  end
  if item.kind == "refund_failure" then return nil end -- it always bears the refund's name
  if is_exchanged then return n == 1 and any or nil end
  if item.kind == "refund" then return equal end -- there are many, each of its own amount
  return equal or any
end


-- -> nil, or both amounts
local function exchanged(item, event, p)
  if p.currency == item.currency then return nil end
  return { here = { amount = event.amount, currency = p.currency },
    there = { amount = math.abs(item.amount), currency = item.currency, fee = item.fee } }
end


local function differences(item, event, is_exchanged)
  local out = {}
  local amount = math.abs(item.amount)
  local apart = math.abs(time.parse(event.at) - item.at_ms)
  if event.amount ~= amount and item.kind ~= "dispute_reversal" and not is_exchanged then
    out.amount = { here = event.amount, there = amount }
  end
  if event.fee and event.fee ~= item.fee and not is_exchanged then
    out.fee = { here = event.fee, there = item.fee }
  end
  if apart > APART_MS then
    out.at = { here = event.at, there = time.rfc3339(item.at_ms) }
  end
  return next(out) and out or nil
end


local function post_fee(tx, s, item, p)
  return ledger.post(tx, p and p.order_id, p and p.id, item.currency,
    { { "fees:" .. s.provider, item.fee }, { "cash:" .. s.provider, -item.fee } })
end


-- -> is it in the books? An event that has its fee was booked with it.
local function book_fee(tx, s, item, event, p)
  if event.fee or item.fee == 0 then return true end
  if not p.order_id and p.state ~= "refunded" then return false end
  local done, e = items.set_fee(tx, p.id, event.seq, item.fee)
  if not done then return nil, e end
  if done.affected ~= 1 then return true end
  local ok, e2 = post_fee(tx, s, item, p)
  if not ok then return nil, e2 end
  return true
end


-- What bears no name may be what the shop asks for just now. Nothing would say that both are one:
-- who asked for it books it.
local function is_in_hand(tx, item, p)
  local kind = not item.source and EVENT[item.kind]
  if kind == "captured" then return captures.is_busy(tx, p) end
  if kind ~= "refunded" then return false end
  return cancellations.is_awaited(tx, p.id, { is_ours = true, amount = math.abs(item.amount) })
end


-- -> true | false, why not | nil, err
local function book(tx, item, p)
  local kind = EVENT[item.kind]
  local is_ours, e2 = item.is_ours, nil
  if not is_ours then is_ours, e2 = is_in_hand(tx, item, p) end
  if is_ours == nil then return nil, e2 end
  if is_ours then return false, "the shop asked for it, and its own flow books it" end
  if item.currency ~= p.currency then return false, "it is settled in another currency" end
  if kind == "captured" and late_payment.is_given_up(p) then
    return false, ("the payment is %s: it was given up here, and what is held of it is let go of")
      :format(p.state)
  end
  if not p.order_id and kind ~= "refund_failed" or not BOOKED[p.state] then
    return false, ("the payment is %s and has no order"):format(p.state)
  end
  if kind == "captured" and p.state == "authorized"
    and math.abs(item.amount) ~= payments.to_capture(p) then
    return false, ("%d was captured, and %d was to be: the order is not paid by that")
      :format(math.abs(item.amount), payments.to_capture(p))
  end
  -- that a dispute was won is an event without an amount: all of it comes back
  local amount = kind ~= "won" and math.abs(item.amount) or nil
  local booked, e = booking.book(tx, p.id, { kind = kind, amount = amount,
    reference = item.source, key = item.key, fee = item.fee ~= 0 and item.fee or nil,
    at_ms = item.at_ms, reason = "found by reconciliation" })
  if booked then return true end
  if booked == false then return false, "it is booked as another movement" end
  if err.is(e, "conflict") then return false, e.message end
  return nil, e
end


local function row_of(s, item, verdict, more)
  local row = { provider = s.provider, settlement_id = s.id, verdict = verdict }
  for _, name in ipairs { "reference", "kind", "source", "currency", "amount", "fee", "at_ms" } do
    row[name] = item[name]
  end
  for name, value in pairs(more or {}) do row[name] = value end
  return row
end


local function put(tx, row)
  local ok, e = items.put(tx, row)
  if not ok then return nil, e end
  return row.verdict
end


local function missing(tx, s, item, p, why)
  if item.at_ms >= s.to_ms or p and item.may_wait then return match.LATER end
  local raised, e = alerts.raise(tx, ALERT, s.provider .. ":" .. item.reference, { detail = {
    provider = s.provider, kind = item.kind, amount = item.amount, currency = item.currency,
    reference = item.source or item.reference, payment_id = p and p.id or nil,
    order_id = p and p.order_id or nil, reason = why } })
  if raised == nil then return nil, e end
  return put(tx, row_of(s, item, "missing_here", { payment_id = p and p.id,
    detail = { reason = why } }))
end


-- It is let go of once it is told of, not while it may fit yet.
local function unbooked(tx, s, item, p, why)
  local verdict, e = missing(tx, s, item, p, why)
  if verdict ~= "missing_here" or item.kind ~= "charge" or not late_payment.is_given_up(p) then
    return verdict, e
  end
  local ok, e2 = late_payment.found(tx, p, item.provider_ref)
  if not ok then return nil, e2 end
  return verdict
end


local function as_event(tx, s, item, p, event)
  local other = exchanged(item, event, p)
  local differs = differences(item, event, other ~= nil)
  local verdict = differs and "differs" or other and "other_currency" or "matched"
  if differs and item.may_wait then return match.LATER end
  local named, e = true, nil
  if not differs and item.source and not event.reference then
    named, e = payment_events.name(tx, p.id, { kind = EVENT[item.kind], amount = event.amount,
      reference = item.source })
  end
  if named == nil then return nil, e end
  local has_fee, e2 = false, nil
  if verdict == "matched" then has_fee, e2 = book_fee(tx, s, item, event, p) end
  if has_fee == nil then return nil, e2 end
  return put(tx, row_of(s, item, verdict, { payment_id = p.id, seq = event.seq,
    fee_booked = has_fee, detail = differs or other }))
end


local function is_done(known)
  return known and known.verdict == "matched" and known.fee_booked == 1
end


-- Whoever is at the same movement, for he was thought dead, has the payment before us or after us:
-- what he has written is read under its lock.
local function of_payment(tx, s, item, p)
  local now, e = lock(tx, p)
  if not now then return nil, e end
  local known, e3 = items.lock(tx, s.provider, item.reference)
  if known == nil then return nil, e3 end
  if is_done(known) then return "matched" end
  local kind, item_id = EVENT[item.kind], known and known.id
  local is_exchanged = item.currency ~= now.currency
  local events, e2 = items.events(tx, p.id, kind, item_id)
  if not events then return nil, e2 end
  local event = pick(events, item, is_exchanged)
  if event then return as_event(tx, s, item, now, event) end
  local booked, why = book(tx, item, now)
  if booked == nil then return nil, why end
  if not booked then return unbooked(tx, s, item, now, why) end
  metrics.add("till_settlement_booked_total", { provider = s.provider, kind = kind }, 1)
  log.warn("settlement.booked", { provider = s.provider, payment_id = p.id, kind = kind,
    amount = item.amount, reference = item.source })
  events, e2 = items.events(tx, p.id, kind, item_id)
  if not events then return nil, e2 end
  event = pick(events, item, is_exchanged)
  if not event then return nil, err.new("internal", "what was booked is not there") end
  return as_event(tx, s, item, now, event)
end


local function judge(tx, s, item, p)
  if alone.KINDS[item.kind] then return alone.run(tx, s, item) end
  local known, e = items.lock(tx, s.provider, item.reference)
  if known == nil then return nil, e end
  if is_done(known) then return "matched" end
  if not p then return missing(tx, s, item, nil, "it names no payment of ours") end
  if is_another(item, p) then
    return missing(tx, s, item, p, ("it is of %s, another reference than that of the payment"
      .. " that its metadata name"):format(item.provider_ref))
  end
  if not EVENT[item.kind] then
    return missing(tx, s, item, p, "a movement that our books have no event for")
  end
  return of_payment(tx, s, item, p)
end


function match.run(s, item, may_wait)
  local p, e = find(s, item)
  if p == nil then return nil, e end
  item.may_wait = may_wait
  local verdict, e2 = sql.transaction(function(tx) return judge(tx, s, item, p) end)
  if not verdict then return nil, e2 end
  if verdict ~= "missing_here" and verdict ~= match.LATER then
    alerts.close(ALERT, s.provider .. ":" .. item.reference)
  end
  return verdict
end


return match
