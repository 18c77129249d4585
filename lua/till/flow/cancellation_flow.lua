-- till/flow/cancellation_flow - the money of a cancellation goes back: a saga of two steps, `money`
-- and `book`, that only goes forward. till.flow.cancellation says what holds where it breaks off.
--
--   run(id, env) -> state, err     env { transaction, respond(order, cancellation) }; env.answer is
--                                  what the transaction that booked it returned
--   enqueue(tx, rows)              of those that are pending, with what was decided
--   resume(saga_row)               by the jobs worker
--   by_hand(tx, saga_row, actor, reason) -> order | nil, err    the money went back in some other
--                                  way: books it; the caller ends the saga in the same transaction.
--                                  What a bank has taken meanwhile: till.flow.cancellation_short
--   found(id [, tx]) -> cancellation | nil, err
--   name_of(id) -> "cancellation" | "return" | "refund"    as its timeline says
--
-- The money of a return or a refund goes back by the same flow: it is the aggregate.
local alerts = require "till.store.alerts"
local booking = require "till.flow.booking"
local cancellations = require "till.store.cancellations"
local err = require "till.util.err"
local fault = require "till.prim.fault"
local figures = require "till.flow.cancellation_figures"
local log = require "till.prim.log"
local order_flow = require "till.flow.order"
local orders = require "till.store.orders"
local outbox = require "till.prim.outbox"
local payment = require "till.flow.payment"
local payment_events = require "till.store.payment_events"
local payment_marks = require "till.store.payment_marks"
local payment_status = require "till.flow.payment_status"
local payments = require "till.store.payments"
local refund_failure = require "till.flow.refund_failure"
local refunds = require "till.store.refunds"
local saga = require "till.flow.saga"
local sagas = require "till.store.sagas"
local short = require "till.flow.cancellation_short"
local sql = require "till.prim.sql"
local states = require "till.flow.order_states"
local time = require "till.prim.time"

local cancellation_flow = {}

local FIRST_LOOK_MS = 5000
local KEY_MS = 23 * 3600000 -- providers know a key for a day


function cancellation_flow.name_of(cancellation_id)
  if cancellation_id:find("^rfnd_") then return "refund" end
  return cancellation_id:find("^ret_") and "return" or "cancellation"
end


local function ask_refund(c, p, data)
  return payment.ask_refund(p, { id = c.id, amount = data.amount_back or c.refund_amount,
    again = data.refused, due = function() return cancellations.due(nil, p.id) end,
    old = time.now_ms() - (data.asked_ms or time.parse(c.created_at)) > KEY_MS })
end


-- What is written of it: that it was captured, and what of that went back already.
local function book_seen(tx, p, seen)
  local now, e = booking.amounts(p.id, tx)
  if not now then return nil, e end
  if now.state ~= "authorized" then return now end
  local captured = seen.captured_amount or now.left
  local ok, e2 = booking.own(tx, p.id, { kind = "captured", amount = captured })
  if ok and captured < now.left then ok, e2 = booking.own(tx, p.id, { kind = "voided" }) end
  if ok and seen.outcome == "refunded" then
    ok, e2 = booking.own(tx, p.id, { kind = "refunded" })
  end
  if not ok then return nil, e2 end
  return booking.amounts(p.id, tx)
end


-- Somebody has captured there by hand what was to be voided: it goes back instead. `data` says how
-- much, and whether all of it went back already.
local function turn_to_refund(c, p, env, seen)
  local data = env.saga.data
  local now, e = sql.transaction(function(tx)
    local order, e = order_flow.locked(tx, c.order_id)
    if not order then return nil, e end
    local now, e2 = book_seen(tx, p, seen)
    if not now then return nil, e2 end
    local ok, e3 = cancellations.to_refund(tx, c.id)
    if ok then ok, e3 = payment_marks.was_let_go(tx, p.id, now.voided) end
    if not ok then return nil, e3 end
    -- with it, so that whoever resumes asks for as much
    data.is_back = now.held == 0 or nil -- a deadlock runs it again
    data.amount_back = now.held > 0 and math.min(c.amount, now.held) or nil
    local saved, e4 = sagas.save(env.saga, {}, tx)
    if saved == nil then return nil, e4 end
    if not saved then return nil, err.new("busy", "another worker books this cancellation") end
    return now
  end)
  if not now then
    if e.reason then e.final = true end
    return nil, e
  end
  c.money = "refund"
  if now.held == 0 then return {} end
  local fresh, e2 = payments.get(p.id)
  if not fresh then return nil, e2 end
  return ask_refund(c, fresh, data)
end


local TAKEN = { captured = true, refunded = true }


local function ask(c, env)
  local data = env.saga.data
  local p, e = payments.get(c.payment_id)
  if not p then return nil, e or err.new("internal", "the payment of the cancellation is gone") end
  if c.money ~= "void" then
    if data.is_back then return {} end
    return ask_refund(c, p, data)
  end
  if payments.was_captured(p) then return turn_to_refund(c, p, env, {}) end
  local answer, e2, seen = payment.ask_void(p, data.refused)
  if not answer and seen and TAKEN[seen.outcome] then return turn_to_refund(c, p, env, seen) end
  return answer, e2
end


function cancellation_flow.found(id, tx)
  local c, e = cancellations.get(id, tx)
  if not c then return nil, e or err.new("internal", "the cancellation is not there") end
  return c
end


-- Under a key that nobody was ever asked with: when that is done first is written down before.
local function begin_anew(data, env)
  if not data.fresh then return true end
  data.fresh, data.asked_ms = nil, time.now_ms()
  local saved, e = sagas.save(env.saga, {})
  if saved == nil then return nil, e end
  if not saved then return nil, err.new("busy", "another worker gives this money back") end
  return true
end


local function ask_for_money(data, env)
  local c, e = cancellation_flow.found(env.saga.aggregate)
  if not c then return nil, e end
  if c.state == "done" then return true end
  local begun, e3 = begin_anew(data, env)
  if not begun then return nil, e3 end
  fault.crash "cancellation.after_decide"
  local answer, e2 = ask(c, env)
  if answer and c.money == "refund" then data.refund_ref = answer.refund_ref end
  if not answer then
    if err.is(e2, "payment_declined") then data.refused = (data.refused or 0) + 1 end
    return nil, e2
  end
  fault.crash "cancellation.after_money"
  return true
end


local function tell(tx, order, kind, actor, about)
  local ok, e = states.change(tx, order, {})
  if not ok then return nil, e end
  return orders.event(tx, order.id, kind, actor, about)
end


local SECOND_MS = 1000 -- providers tell when by the second


-- The provider may have told of it already: it is booked once. Where all of the payment went back
-- by what it told of, as other amounts than ours, nothing is left to be booked. `actor`: staff say
-- that it went back; where the provider has named its refund to us, that needs no word.
local function book_refund(tx, order, p, c, flow, actor, about)
  local told_by = actor or "provider:" .. p.provider
  if flow.is_back then return tell(tx, order, "refunded", told_by, about) end
  local amount = flow.amount_back or c.refund_amount
  if c.money == "void" then amount = nil end -- all that is held
  local event = { kind = "refunded", amount = amount, actor = c.actor or "system",
    reference = flow.refund_ref, since = flow.since,
    since_ms = math.floor(time.parse(c.created_at) / SECOND_MS) * SECOND_MS, about = about,
    told_by = told_by, by_word = actor ~= nil and not flow.refund_ref }
  local ok, e = booking.own(tx, p.id, event)
  if ok or not e.reason then return ok, e end
  if actor and e.reason == "refund_failed" then
    event.reference, event.by_word = nil, true
    event.since, e = payment_events.last(tx, p.id)
    if not event.since then return nil, e end
    return booking.own(tx, p.id, event)
  end
  if p.state == "refunded" and e.reason == "impossible" then
    return tell(tx, order, "refunded", told_by, about)
  end
  if not actor then return nil, e end
  return short.book(tx, order, p, c, amount or c.refund_amount, event)
end


-- What else of the order was captured may be all that is owed now. Its provider may have told
-- first.
local function book_void(tx, order, p, actor, about)
  if p.state ~= "voided" then
    local ok, e = payment.move(p, "voided", {}, tx)
    if not ok then return nil, e end
  end
  local list, e = payments.of_order(order.id, tx)
  if not list then return nil, e end
  local lost, e2 = figures.lost(tx, order, list)
  if not lost then return nil, e2 end
  local from, move = order.payment_status, payment_status.move(order, list, lost)
  local ok, e3 = states.change(tx, order, move and { { "payment_status", move } } or {})
  if ok then ok, e3 = outbox.append(tx, payment_status.told(order, p, nil, from, move)) end
  if not ok then return nil, e3 end
  return orders.event(tx, order.id, "voided", actor or "provider:" .. p.provider, about)
end


-- Of several payments it is done with the last.
local function end_refund(tx, c)
  local open, e = cancellations.is_open(tx, c)
  if open == nil then return nil, e end
  if open then return true end
  return refunds.set(tx, c.part_of or c.id, "done")
end


local function read(tx, order_id, id)
  local order, e = orders.get(order_id, tx)
  if not order then return nil, e end
  local c, e2 = cancellation_flow.found(id, tx)
  if not c then return nil, e2 end
  return order, c
end


-- Once: whoever finds it done has nothing to write. `flow`: what its saga knows. -> order,
-- cancellation
local function book(tx, id, actor, data, flow)
  local c, e = cancellation_flow.found(id, tx)
  if not c then return nil, e end
  local order, e2 = order_flow.locked(tx, c.order_id)
  if not order then return nil, e2 end
  local first, e3 = cancellations.done(tx, id, flow.refund_ref)
  if first == nil then return nil, e3 end
  if not first then return read(tx, order.id, id) end
  local p, e4 = payments.get(c.payment_id, tx)
  if not p then return nil, e4 end
  data.payment_id, data[cancellation_flow.name_of(c.id) .. "_id"] = p.id, c.part_of or c.id
  data.amount = flow.amount_back or c.refund_amount
  local ok
  if c.money == "void" and not payments.was_captured(p) then
    ok, e4 = book_void(tx, order, p, actor, data)
  else
    ok, e4 = book_refund(tx, order, p, c, flow, actor, data)
  end
  if ok and c.kind == "refund" then ok, e4 = end_refund(tx, c) end
  if ok and c.failed_at then
    ok, e4 = alerts.close(refund_failure.ALERT, c.id, tx)
    ok = ok ~= nil
  end
  if not ok then return nil, e4 end
  return read(tx, order.id, id)
end


-- What he gave back has come back to him meanwhile: it is for staff to say how it is given again.
local function came_back(data, env, e)
  local since, e2 = payment_events.last(nil, data.payment_id)
  if not since then return nil, e2 end
  local marked, e3 = sql.transaction(function(tx)
    return refund_failure.mark(tx, env.saga.aggregate, data.refund_ref)
  end)
  if not marked then return nil, e3 end
  data.since, env.saga.step, e.final = since, 0, true
  refund_failure.begin_again(data)
  return nil, e
end


local function book_step(data, env)
  local done, e = env.transaction(function(tx)
    local order, c = book(tx, env.saga.aggregate, nil, {}, data)
    if not order then return nil, c end
    local saved, e2 = sagas.save(env.saga, { step = env.steps, state = "done" }, tx)
    if saved == nil then return nil, e2 end
    if not saved then return nil, err.new("busy", "another worker books this cancellation") end
    return env.respond(order, c, tx)
  end)
  if not done then
    env.saga.step, env.saga.state = env.steps - 1, "running"
    if e.reason == "refund_failed" then return came_back(data, env, e) end
    return nil, e
  end
  env.answer = done
  fault.crash "cancellation.after_book"
  return true
end


local function parked(row, e)
  local name, root = cancellation_flow.name_of(row.aggregate), row.data.part_of or row.aggregate
  if name == "refund" and err.is(e, "payment_declined") then
    local set, e2 = refunds.set(nil, root, "refused")
    if not set then log.warn("refund.refused", { error = tostring(e2) }) end
  end
  local ok, why = orders.event(nil, row.data.order_id, name .. "_parked", "system",
    { [name .. "_id"] = root, payment_id = row.data.payment_id, error = e.message })
  if not ok then log.warn("cancellation.parked", { error = tostring(why) }) end
end


local flow = saga.define("cancellation", {
  forward_only = true, parked = parked,
  { name = "money", run = ask_for_money },
  { name = "book", run = book_step },
})


function cancellation_flow.enqueue(tx, rows)
  for _, row in ipairs(rows) do
    if row.state == "pending" then
      local since, e = payment_events.last(tx, row.payment_id)
      if not since then return nil, e end
      local ok, e2 = sagas.enqueue(tx, "cancellation", row.id, { order_id = row.order_id,
        since = since, payment_id = row.payment_id, amount = row.amount, money = row.money,
        part_of = row.part_of }, FIRST_LOOK_MS)
      if not ok then return nil, e2 end
    end
  end
  return true
end


function cancellation_flow.run(id, env)
  return flow:run(id, {}, env)
end


function cancellation_flow.resume(row)
  return flow:run(row.aggregate, row.data, { transaction = sql.transaction,
    respond = function() return true end })
end


function cancellation_flow.by_hand(tx, row, actor, reason)
  return book(tx, row.aggregate, actor, { by_hand = true, reason = reason }, row.data)
end


return cancellation_flow
