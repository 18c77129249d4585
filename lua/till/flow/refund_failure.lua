-- till/flow/refund_failure - a refund that a provider had taken, and that did not get there: the
-- money is back with him, and the shopper has nothing.
--
--   refund_of(tx, payment, list, event) -> the event of the list that failed | false: it was never
--                       booked | nil, err     event as till.flow.booking has it; one that bore no
--                       name is given that
--   is_moot(tx, payment, list, event) -> true: it failed before it was booked, and its row was done
--                       by another refund, or by hand; or a server of before told staff of it,
--                       who have seen to it: nothing is booked | false | nil, err
--   follow(tx, payment, order or false, list, event) -> true | nil, err    after any event was
--                       booked: what else it means. Of most nothing
--   mark(tx, id, reference) -> true | nil, err    a cancellation, return or refund whose flow finds
--                       that its refund has failed
--   shown(c) -> { reference, reason, at, next_step } of a row that waits for staff | nil
--   begin_again(data)   of its flow: it is asked for anew, under a key that nobody was asked with
--
-- Whose it was is told by its reference, by the key that it was asked for under, by its flow, or,
-- where the provider tells neither, by its amount. That row is `pending` again and says why, its
-- flow is parked: staff retry it, and it is given again under the next key, or they settle it in
-- another way and resolve it as done. While its flow is at work the row is only marked: that
-- finds out by itself (till.flow.cancellation_flow). Until then the alert is open.
--
-- Of one that was made at the provider, or of which there is no order, no row is left: its alert
-- ends with the next refund of that payment that comes to as much, or staff end it.
local alerts = require "till.store.alerts"
local cancellations = require "till.store.cancellations"
local orders = require "till.store.orders"
local payment_events = require "till.store.payment_events"
local payments = require "till.store.payments"
local refunds = require "till.store.refunds"
local sagas = require "till.store.sagas"

local failure = { ALERT = "refund.failed" }

local FLOW, ULID_SIZE = "cancellation", 26
local TOLD_BEFORE = "webhook.parked" -- with the refund's name, until refunds that fail were booked


local function rows_of(tx, p)
  if not p.order_id then return {} end
  local list, e = cancellations.of_order(p.order_id, tx)
  if not list then return nil, e end
  local out = {}
  for _, c in ipairs(list) do
    if c.payment_id == p.id and c.money == "refund" then out[#out + 1] = c end
  end
  return out
end


-- The id of the row in the key of its refund (till.flow.payment_ask); "" of any other refund.
local function id_in(key)
  if type(key) ~= "string" then return nil end
  local id = key:match "%-refund%-(%w+)"
  return id and #id == ULID_SIZE and id or ""
end


local function by_flow(tx, rows, event)
  local nameless
  for _, c in ipairs(rows) do
    local row, e = sagas.find(FLOW, c.id, tx)
    if row == nil then return nil, e end
    local ref = c.refund_ref or row and row.data.refund_ref
    if ref == event.reference then return c end
    if not ref and c.state == "done" and c.refund_amount == event.amount then nameless = c end
  end
  return event.is_ours and nameless or false
end


-- -> row | false | nil, err
local function find(tx, p, event)
  local rows, e = rows_of(tx, p)
  if not rows then return nil, e end
  for _, c in ipairs(rows) do
    if c.refund_ref == event.reference then return c end
  end
  local id = id_in(event.key)
  for _, c in ipairs(rows) do
    if id and c.id:sub(-ULID_SIZE) == id then return c end
  end
  if id then return false end
  return by_flow(tx, rows, event)
end


local function name_of(c)
  return c.kind == "cancel" and "cancellation" or c.kind
end


local function named(tx, p, list, event)
  if not event.amount then return false end
  local done, e = payment_events.name(tx, p.id, { kind = "refunded", amount = event.amount,
    reference = event.reference })
  if not done then return done, e end
  for _, known in ipairs(list) do
    if known.event == "refunded" and not known.reference and known.amount == event.amount then
      known.reference = event.reference
      return known
    end
  end
  return false
end


function failure.is_moot(tx, p, list, event)
  local before, e0 = alerts.of(TOLD_BEFORE, (p.provider .. ":" .. event.reference):sub(1, 120),
    tx)
  if before == nil then return nil, e0 end
  if before then return true end
  event.is_ours = event.is_ours or event.key ~= nil
  for _, one in ipairs(list) do
    if one.event == "refunded" and one.reference == event.reference then return false end
  end
  local c, e = find(tx, p, event)
  if c == nil then return nil, e end
  if not c or c.state ~= "done" then return false end
  local row, e2 = sagas.find(FLOW, c.id, tx)
  if row == nil then return nil, e2 end
  local ref = c.refund_ref or row and row.data.refund_ref
  if ref then return ref ~= event.reference end
  if not row then return false end
  return sagas.was_resolved(row, tx)
end


-- What its flow has not written down yet bears no name that could be mistaken for another's.
function failure.refund_of(tx, p, list, event)
  local known
  for _, one in ipairs(list) do
    if one.event == "refunded" and one.reference == event.reference then known = one end
  end
  event.is_ours = event.is_ours or event.key ~= nil
    or known ~= nil and not known.actor:find "^provider:"
  local c, e = find(tx, p, event)
  if c == nil then return nil, e end
  event.row = c
  if c then event.about = { [name_of(c) .. "_id"] = c.part_of or c.id } end
  if known then return known end
  if not event.is_ours or c and c.state == "pending" then return false end
  return named(tx, p, list, event)
end


local function reason_of(event)
  return event.reason or ("the refund %s failed: the money is back at the provider")
    :format(event.reference)
end


local function detail_of(p, event, next_step)
  return { detail = { payment_id = p.id, order_id = p.order_id, cart_id = p.cart_id,
    provider = p.provider, amount = event.amount, currency = p.currency,
    reference = event.reference, reason = reason_of(event), next_step = next_step } }
end


local function raise(tx, subject, seen)
  local raised, e = alerts.raise(tx, failure.ALERT, subject, seen)
  if raised == nil then return nil, e end
  return true
end


local function next_step(id)
  return ("give it again: retry its flow (GET /admin/v1/sagas?aggregate=%s, then POST"
    .. " /admin/v1/sagas/{id}/retry); or give it in another way, and resolve that as done"):format(
    id)
end


local function mark_row(tx, p, c, event)
  local ok, e = cancellations.fail(tx, c.id, { reference = event.reference,
    reason = reason_of(event) })
  if ok and c.kind == "refund" then ok, e = refunds.set(tx, c.part_of or c.id, "failed") end
  if not ok then return nil, e end
  return raise(tx, c.id, detail_of(p, event, next_step(c.id)))
end


function failure.shown(c)
  if c.state ~= "pending" or not c.failed_at then return nil end
  return { reference = c.failed_ref, reason = c.failure, at = c.failed_at,
    next_step = not c.parts and next_step(c.id) or nil }
end


function failure.begin_again(data)
  data.refused = (data.refused or 0) + 1
  data.refund_ref, data.is_back, data.fresh = nil, nil, true
end


local function park(tx, p, c, event)
  local row, e = sagas.find(FLOW, c.id, tx)
  if row == nil then return nil, e end
  local since, e2 = payment_events.last(tx, p.id)
  if not since then return nil, e2 end
  local data = row and row.data or { order_id = c.order_id, payment_id = p.id, amount = c.amount,
    money = c.money, part_of = c.part_of }
  data.since = since -- nothing from before it is what staff give back after it
  failure.begin_again(data)
  local ok, e3 = sagas.park(tx, FLOW, c.id, data, reason_of(event))
  if not ok then return nil, e3 end
  local now, e4 = sagas.find(FLOW, c.id, tx)
  if not now then return nil, e4 end
  return sagas.note(now, "parked", event.actor, { error = reason_of(event) }, tx)
end


-- One that was given again meanwhile is not what failed.
local function reopen(tx, p, c, event)
  if c.state == "done" then
    if c.refund_ref and c.refund_ref ~= event.reference then return true end
    local ok, e = park(tx, p, c, event)
    if not ok then return nil, e end
  end
  return mark_row(tx, p, c, event)
end


local function subject_of(p, reference)
  return (p.id .. ":" .. reference):sub(1, 120)
end


local NO_ROW = "no order or refund of the shop waits for it: look whether the shopper is to have"
  .. " it, and give it back again there, or by a refund of the order; where it was settled in"
  .. " another way, or in several parts, close this alert (POST /admin/v1/alerts/{id}/close)"


local function end_alerts(tx, p, list, event)
  for _, known in ipairs(list) do
    if known.event == "refund_failed" and known.amount <= event.amount then
      local closed, e = alerts.close(failure.ALERT, subject_of(p, known.reference), tx)
      if closed == nil then return nil, e end
    end
  end
  return true
end


function failure.follow(tx, p, _, list, event)
  if event.kind == "refunded" then return end_alerts(tx, p, list, event) end
  if event.kind ~= "refund_failed" then return true end
  if event.row then return reopen(tx, p, event.row, event) end
  return raise(tx, subject_of(p, event.reference), detail_of(p, event, NO_ROW))
end


function failure.mark(tx, id, reference)
  local c, e = cancellations.get(id, tx)
  if not c then return nil, e end
  local order, e2 = orders.lock(tx, c.order_id)
  if not order then return nil, e2 end
  local p, e3 = payments.get(c.payment_id, tx)
  if not p then return nil, e3 end
  local now, e4 = cancellations.get(id, tx)
  if not now then return nil, e4 end
  if now.failed_ref == reference or now.state == "done" then return true end
  return mark_row(tx, p, now, { reference = reference, amount = now.refund_amount })
end


return failure
