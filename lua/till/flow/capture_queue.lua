-- till/flow/capture_queue - money is captured as goods are handed over.
--
--   handed_over(tx, order, fulfilment, actor) -> true | nil, err    in its transaction, after it is
--       written: queues what its units come to, where the payment's policy says "fulfilment"
--   cancelled(tx, order, cancellation) -> true | nil, err    in its transaction, at the end: queues
--       what is left where nothing is to be sent any more, and a part of the order was
--   added(tx, order, payment) -> true | nil, err    in the transaction that makes it one of the
--       order's: queues what the units come to that were sent before
--   let_go(tx, payment) -> true | nil, err     less will be captured of it than was, for a part was
--       taken: its provider is told once nothing is left to be captured
--   work(payload), release(payload) -> true | nil, err     the jobs workers' side of both
--
-- What units come to is what is left of the payment less what those come to that are still to be
-- sent, as a cancellation of them would find it: tax and discounts with each unit, the shipping
-- with the first. So the last one takes exactly the rest, and what is cancelled is never captured.
--
-- A provider that captures a payment once is asked when the last unit goes, one that takes all or
-- nothing with the first (docs/payments.md).
local capabilities = require "till.flow.capabilities"
local capture_alerts = require "till.flow.capture_alerts"
local captures = require "till.flow.captures"
local err = require "till.util.err"
local figures = require "till.flow.cancellation_figures"
local kept = require "till.flow.payment_kept"
local order_flow = require "till.flow.order"
local orders = require "till.store.orders"
local outbox = require "till.prim.outbox"
local parts = require "till.flow.capture_parts"
local payment_events = require "till.store.payment_events"
local payments = require "till.store.payments"
local sql = require "till.prim.sql"
local states = require "till.flow.order_states"
local store = require "till.store.captures"

local capture_queue = {}


-- Packed is not handed over.
local function not_sent(order)
  local units, out = {}, {}
  for _, f in ipairs(order.fulfilments) do
    for _, l in ipairs(f.status == "pending" and f.lines or {}) do
      units[l.line_id] = (units[l.line_id] or 0) + l.quantity
    end
  end
  for _, line in ipairs(order.lines) do
    local n = states.left(line) + (units[line.id] or 0)
    if n > 0 then out[#out + 1] = { line_id = line.id, quantity = n } end
  end
  return out
end


-- -> what of it is neither captured nor queued nor asked for, and what is asked for | nil, err
local function free_of(tx, p)
  local queued, e = store.queued(tx, p.id)
  if not queued then return nil, e end
  local busy, e2 = store.asked(p.id, tx)
  if busy == nil then return nil, e2 end
  local left = math.max(0, payments.left(p) - queued)
  local open = busy and busy.amount or p.state == "authorized" and p.capture_amount or 0
  return math.max(0, left - open), math.min(left, open)
end


-- -> what is due now, is it all | nil, err     of `free` in all
local function due_of(tx, order, rest, free)
  if #rest == 0 then return free, true end
  local found, e = figures.of(tx, order, rest, false, function() return { total = 0 } end)
  if not found then return nil, e end
  return math.max(0, free - found.total), false
end


-- -> amount, is it the last one
local function share_of(p, free, due, is_all)
  if is_all or not capabilities.can(p.provider, "partial_capture") then return free, true end
  if not capabilities.can(p.provider, "multiple_captures") then return 0 end
  return math.min(free, due), false
end


local function put(tx, order, request, p, actor, amount, is_last)
  if amount == 0 then return true end
  local c, e = store.create(tx, { payment_id = p.id, order_id = order.id, request = request,
    amount = amount, final = is_last, state = "queued", actor = actor })
  if not c then return nil, e end
  return captures.go_on_later(tx, c)
end


-- What is asked for may be declined still, and nobody comes after the last: it waits for the
-- outcome, and then takes what is left.
local function is_for_all(p, rest)
  return #rest == 0 or not capabilities.can(p.provider, "partial_capture")
end


-- Of several payments the first-made one first.
local function queue(tx, order, request, list, actor)
  local free, sum, rest = {}, 0, not_sent(order)
  for i, p in ipairs(list) do
    local n, open = free_of(tx, p)
    if not n then return nil, open end
    if is_for_all(p, rest) then n = n + open end
    free[i], sum = n, sum + n
  end
  if sum == 0 then return true end
  local due, is_all = due_of(tx, order, rest, sum)
  if not due then return nil, is_all end
  for i, p in ipairs(list) do
    local amount, is_last = share_of(p, free[i], due, is_all)
    local ok, e = put(tx, order, request, p, actor, amount, is_last)
    if not ok then return nil, e end
    due = math.max(0, due - amount)
  end
  return true
end


-- -> those that are captured as goods are sent, the first-made first | nil, err
local function due_payments(tx, order)
  local all, e = payments.of_order(order.id, tx)
  if not all then return nil, e end
  local out = {}
  for _, p in ipairs(all) do
    local policy = kept.policy(p)
    if policy and policy.capture == "fulfilment" and payments.left(p) > 0 then
      table.insert(out, 1, p)
    end
  end
  return out
end


function capture_queue.handed_over(tx, order, f, actor)
  if f.status ~= "shipped" then return true end
  local list, e = due_payments(tx, order)
  if not list then return nil, e end
  return queue(tx, order, f.id, list, actor)
end


local function is_any_sent(order)
  for _, line in ipairs(order.lines) do
    if line.fulfilled_quantity > 0 then return true end
  end
  return false
end


function capture_queue.cancelled(tx, order, c)
  if not is_any_sent(order) or #not_sent(order) > 0 then return true end
  local list, e = due_payments(tx, order)
  if not list then return nil, e end
  return queue(tx, order, c.id, list, c.actor)
end


function capture_queue.added(tx, order, p)
  if (kept.policy(p) or {}).capture ~= "fulfilment" or not is_any_sent(order) then return true end
  local list, e = due_payments(tx, order)
  if not list then return nil, e end
  return queue(tx, order, p.id, list, "system")
end


-- Staff are told where what was sent is not paid for by it.
local function drop(tx, c, p)
  local ok, e = store.drop(tx, c.id)
  if ok and payments.left(p) > 0 then
    ok, e = capture_alerts.refused(tx, p, c.amount, "the payment is " .. p.state)
  end
  return ok, e
end


-- As far as it is there still: -> capture | false: another has no outcome yet | nil, err
local function begin(tx, c)
  local order, e = order_flow.locked(tx, c.order_id)
  if not order then return nil, e end
  local now, e2 = store.get(c.id, tx)
  if not now or now.state ~= "queued" then return now, e2 end
  local p, e3 = payments.get(c.payment_id, tx)
  if not p then return nil, e3 end
  local busy, e4 = captures.is_busy(tx, p)
  if busy == nil then return nil, e4 end
  if busy then return false end
  local left = payments.left(p)
  local amount = now.final and left or math.min(now.amount, left)
  local ok, e5
  if amount == 0 or not captures.takes(p) then
    ok, e5 = drop(tx, now, p)
  else
    local since, why = payment_events.last(tx, p.id)
    if not since then return nil, why end
    ok, e5 = store.ask(tx, c.id, amount, since)
    if ok then ok, e5 = captures.intend(tx, p, amount) end
  end
  if not ok then return nil, e5 end
  return store.get(c.id, tx)
end


local function begun(c)
  local now, e = sql.transaction(function(tx) return begin(tx, c) end)
  if now ~= false then return now, e end
  local p, e2 = payments.get(c.payment_id)
  if not p then return nil, e2 end
  local ok, e3 = captures.end_open(p)
  if not ok then return nil, e3 end
  return nil, err.new("busy", "another capture of this payment had no outcome yet",
    { retryable = true })
end


--- Payload { capture_id, order_id, payment_id }.
function capture_queue.work(payload)
  local c, e = store.get(payload.capture_id)
  if c and c.state == "queued" then c, e = begun(c) end
  if c == nil then return nil, e end
  if not c or c.state ~= "asked" then return true end
  local ok, e2 = captures.go_on(c, sql.transaction, true)
  if ok or err.is(e2, "payment_declined") then return true end
  return nil, e2
end


function capture_queue.let_go(tx, p)
  if not payments.was_captured(p) or payments.left(p) > 0 then return true end
  return outbox.append(tx, { { aggregate = "payment:" .. p.id, type = "payment.release",
    payload = { payment_id = p.id, order_id = p.order_id } } })
end


-- Our books have it let go of: where the provider refuses it is he who knows why, and staff are
-- told. Nothing of it is captured any more.
function capture_queue.release(payload)
  local p, e = payments.get(payload.payment_id)
  if not p then return p == false and true or nil, e end
  local ok, e2 = parts.ask_release(p)
  if ok then return true end
  if not err.is(e2, "payment_declined") then return nil, e2 end
  return orders.event(nil, payload.order_id, "release_refused", "system",
    { payment_id = p.id, reason = e2.message })
end


return capture_queue
