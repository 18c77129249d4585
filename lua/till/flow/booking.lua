-- till/flow/booking - what a provider says has happened to a payment is written down, once.
--
--   book(tx, payment_id, event) -> payment | false | nil, err
--       event { kind = "captured" | "voided" | "refunded" | "disputed" | "won" | "lost" |
--       "authorized" | "declined" | …  (core/trade/attempt.h), amount = minor units, or nil: all
--       that is left for it; reference = the provider's id of this very thing, or nil; fee = minor
--       units, or nil; at_ms = when, by the provider, or nil; actor; reason or nil; is_ours, of a
--       refund: the provider knows that the shop asked for it }
--       false: booked before, under this kind and reference, or to be booked by who asked for it.
--       err: not_found; conflict, with
--       e.reason "impossible" | "no_amount" | "too_much" where it does not fit, and nothing is
--       changed; busy, where an order was placed with it just now
--   own(tx, payment_id, event) -> payment | nil, err    what the shop has asked for itself and was
--       granted; as book. event.since: the number of its newest event when that was
--       decided; event.since_ms: or when that was. Where a provider has told of it before we
--       came to write it down (by `reference`; where the answer had none: the same amount since
--       then) that is ours, and is not booked again. event.about: what its line in the timeline
--       tells besides. event.by_word, of a refund: staff say so; not of more than is held
--   all_back(payment, ref or nil) -> payment | nil, err    all that was left was given back; also
--       where that was booked before
--   to_order(payment) -> entries | nil, err    of the ledger, of the order that is placed with
--       it, less what was posted before. Of a payment as it was read; who places sees if it is so
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
-- Money without an order is on `suspense:<provider>`; the order it pays for takes it from there
-- when it is placed (till.flow.place), with all that was booked before.
local attempt = require "till.prim.attempt"
local cancellations = require "till.store.cancellations"
local err = require "till.util.err"
local figures = require "till.flow.cancellation_figures"
local ledger = require "till.store.ledger"
local orders = require "till.store.orders"
local payment_events = require "till.store.payment_events"
local payment_status = require "till.flow.payment_status"
local payments = require "till.store.payments"
local records = require "till.store.records"
local restore = require "till.flow.booking_restore"
local sql = require "till.prim.sql"
local states = require "till.flow.order_states"

local booking = {}

local NOTHING = { captured = 0, refunded = 0, disputed = 0, lost = 0 }


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


local function amount_of(event, was)
  if event.amount then return event.amount end
  if FIRST[event.kind] and was.authorized == 0 then return was.amount end
  return REST[event.kind] and was[REST[event.kind]] or 0
end


local function is_known(list, event)
  for _, known in ipairs(list) do
    if known.event == event.kind and known.reference == event.reference then return true end
  end
  return false
end


-- What a provider has done is done; by the word of staff nothing goes back that a bank has.
local function fold_with(list, event)
  local all = {}
  for i, known in ipairs(list) do all[i] = known end
  all[#all + 1] = { event = event.kind, amount = event.amount }
  local now, refusal = attempt.fold(all)
  local is_more = event.by_word and event.amount > attempt.fold(list).held
  if not refusal and not is_more then return now end
  return nil, err.new("conflict", ("the payment is %s: %s of %d does not fit"):format(now.state,
    event.kind, event.amount), { reason = refusal and refusal.reason or "too_much" })
end


-- Each account moves by what its amount has moved.
local function entries_of(p, was, now, fee)
  local captured, refunded = now.captured - was.captured, now.refunded - was.refunded
  local disputed, lost = now.disputed - was.disputed, now.lost - was.lost
  fee = fee or 0
  return { { "cash:" .. p.provider, captured - refunded - disputed - lost - fee },
    { "receivable", refunded - captured }, { "disputed:" .. p.provider, disputed },
    { "losses:" .. p.provider, lost }, { "fees:" .. p.provider, fee } }
end


local function fees_of(list)
  local sum = 0
  for _, event in ipairs(list) do sum = sum + (event.fee or 0) end
  return sum
end


-- Whatever was posted before and by whom: up to what its events come to, against `counter`.
local function up_to(p, list, now, posted, counter)
  local wanted = {}
  for _, entry in ipairs(entries_of(p, NOTHING, now, fees_of(list))) do
    wanted[entry[1] == "receivable" and counter or entry[1]] = entry[2]
  end
  local suspense, out = "suspense:" .. p.provider, {}
  wanted[suspense] = wanted[suspense] or 0
  for account, amount in pairs(wanted) do
    out[#out + 1] = { account, amount - (posted[account] or 0) }
  end
  return out
end


local function suspend(tx, p, now)
  local posted, e = ledger.of_payment(p.id, tx)
  if not posted then return nil, e end
  local list, e2 = payment_events.of(p.id, tx) -- this one is among them
  if not list then return nil, e2 end
  return ledger.post(tx, nil, p.id, p.currency,
    up_to(p, list, now, posted, "suspense:" .. p.provider))
end


function booking.to_order(p)
  local posted, e = ledger.of_payment(p.id)
  if not posted then return nil, e end
  local list, e2 = events_of(p)
  if not list then return nil, e2 end
  return up_to(p, list, attempt.fold(list), posted, "receivable")
end


-- What moves the order's payment_status: a dispute is of what was paid, and pays no more of it.
local TOLD = { captured = "moves", voided = "moves", refunded = "moves", disputed = true,
  won = true, lost = true }


local function about_of(p, event)
  local out = { payment_id = p.id, amount = event.amount, reference = event.reference,
    fee = event.fee, reason = event.reason }
  for name, value in pairs(event.about or {}) do out[name] = value end
  return out
end


local function move_of(tx, order, event, list)
  if TOLD[event.kind] ~= "moves" then return nil end
  local lost, e = figures.lost(tx, order, list)
  if not lost then return nil, e end
  return payment_status.move(order, list, lost)
end


-- The order may have gone on, by itself or by staff: what its table does not have stays as it is.
-- list: the payments of it as they are now, where tx cannot read; nothing of them was let go of.
local function tell_order(tx, order, p, event, list)
  if not TOLD[event.kind] then return true end
  local e
  if not list then list, e = payments.of_order(order.id, tx) end
  if not list then return nil, e end
  local from, move, e2 = order.payment_status, move_of(tx, order, event, list)
  if e2 then return nil, e2 end
  local ok
  ok, e = states.change(tx, order, move and { { "payment_status", move } } or {})
  if ok then
    ok, e = orders.event(tx, order.id, event.kind == "captured" and "captured"
      or event.kind == "voided" and "voided" or event.kind == "refunded" and "refunded"
      or "dispute_" .. (event.kind == "disputed" and "opened" or event.kind),
      event.told_by or event.actor, about_of(p, event))
  end
  if not ok then return nil, e end
  for _, one in ipairs(list) do p = one.id == p.id and one or p end
  local told = payment_status.told(order, p, event.kind == "captured" and event.amount, from,
    move)
  return not told[1] or records.events(tx, told)
end


local function write(tx, p, order, event, was, now, list)
  local ok, e = payment_events.add(tx, p.id, event)
  if ok then ok, e = payments.project(tx, p.id, now) end
  if ok and order then
    ok, e = orders.ledger(tx, order.id, p.id, p.currency, entries_of(p, was, now, event.fee))
    if ok then ok, e = tell_order(tx, order, p, event, list) end
  elseif ok then
    ok, e = suspend(tx, p, now)
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
  if not event.reference then return false end
  if not is_known(list, event) then
    if event.kind == "refunded" and not event.is_ours then return false end
    local named, e = payment_events.name(tx, p.id, event)
    if named == nil then return nil, e end
    if not named then return cancellations.is_awaited(tx, p.id, event) end
  end
  local ok, e = charge(tx, p, event)
  if not ok then return nil, e end
  return true
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
  new.amount, new.actor = amount_of(event, was), event.actor or "provider:" .. p.provider
  local booked, e2 = is_before(tx, p, list, new)
  if booked == nil then return nil, e2 end
  if booked then return false, p, order, new end
  local now, e3 = fold_with(list, new)
  if not now then return nil, e3 end
  local ok, e4 = write(tx, p, order, new, was, now)
  if not ok then return nil, e4 end
  return payments.get(p.id, tx)
end


function booking.book(tx, payment_id, event)
  local done, e = book(tx, payment_id, event, is_booked)
  if done == nil then return nil, e end
  return done
end


-- Named by its reference it is that one, whoever had it before.
local function is_told(tx, p, list, event)
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
      ok, e = orders.event(tx, order.id, event.kind, new.told_by or new.actor, about_of(p, new))
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
