-- till/flow/order - what happens to an order after it was placed.
--
--   get(auth, id)                 the shopper's view, payments counted: of his key or himself, else
--                                 not found
--   capture(payment_id, actor, transaction) -> what transaction returned | nil, err
--                                 of all that is held: asks the provider, then books it. Where a
--                                 part has no outcome yet that is ended instead
--   go_on(payment_id) -> payment | false | nil, err    with one that was begun and has no outcome;
--                                 false: there is none
--   note(tx, id, text, actor)     staff's own words in the timeline
--   locked(tx, id) -> order | nil, err(not_found)    its row is ours until the end
--
-- What changes an order holds its row from the first statement on; what is to happen outside is
-- written down under that lock before anybody is asked. So nobody needs to wait for a provider's
-- answer, or for the lease of somebody who died.
--
-- Sending stands in till.flow.fulfilment, cancelling in till.flow.cancellation, capturing in parts
-- in till.flow.captures, and what may be done when in till.flow.order_states.
--
-- A capture, where it dies: what is to be captured is written down under the lock of the order
-- before the provider is asked; whoever comes next asks for the same amount under the same key, and
-- books it once, for the booking moves the payment on. A cancellation that finds an amount written
-- down has the capture ended first. A decline is final under its key, for providers repeat what
-- they answered: it is counted, and who asks again does so under the next key. While the outcome is
-- not known the key stays.
local captures = require "till.store.captures"
local err = require "till.util.err"
local fault = require "till.prim.fault"
local figures = require "till.flow.cancellation_figures"
local kept = require "till.flow.payment_kept"
local orders = require "till.store.orders"
local outbox = require "till.prim.outbox"
local payment = require "till.flow.payment"
local payment_status = require "till.flow.payment_status"
local payments = require "till.store.payments"
local sql = require "till.prim.sql"
local states = require "till.flow.order_states"

local order_flow = {}


local function missing()
  return nil, err.new("not_found", "there is no such order")
end


function order_flow.get(auth, order_id)
  local order, e = orders.get(order_id, nil, true)
  if order == nil then return nil, e end
  if not order then return missing() end
  local his = order.customer_id and order.customer_id == auth.customer_id
  local of_key = order.key_id and order.key_id == auth.key_id and not order.customer_id
  if not his and not of_key then return missing() end
  return order
end


function order_flow.locked(tx, order_id)
  local order, e = orders.lock(tx, order_id)
  if order == nil then return nil, e end
  if not order then return missing() end
  return order
end


function order_flow.note(tx, order_id, text, actor)
  local order, e = order_flow.locked(tx, order_id)
  if not order then return nil, e end
  return orders.event(tx, order_id, "note", actor, { text = text })
end


-- A dispute of it is about money that was taken; a rest that was not is no part of that.
local IS_TAKEN = { disputed = true, won = true, lost = true }


local function is_taken(p)
  return p.state == "captured" or IS_TAKEN[p.state] and payments.left(p) == 0
end


local FIRST_LOOK_MS = 5000


-- Nobody may come back for it: its caller is a person, and the worker may die.
local function go_on_later(tx, order_id, payment_id)
  return outbox.append(tx, { { aggregate = "capture:" .. payment_id, type = "payment.capture",
    payload = { payment_id = payment_id, order_id = order_id, goes_on = true },
    delay_ms = FIRST_LOOK_MS } })
end


local function begin(tx, p, amount, actor)
  local is_new = p.capture_amount == nil
  local ok, e = payments.intend(tx, p.id, amount)
  if ok and is_new and actor ~= "system" then ok, e = go_on_later(tx, p.order_id, p.id) end
  if not ok then return nil, e end
  p.capture_amount = amount
  return p
end


-- -> payment, the part of it that has no outcome | false: none was begun | nil, err
local function intend(tx, order_id, payment_id, actor, is_begun)
  local order, e = order_flow.locked(tx, order_id)
  if not order then return nil, e end
  local p, e2 = payments.get(payment_id, tx)
  if not p then return nil, e2 end
  if is_begun and (p.state ~= "authorized" or not p.capture_amount) then return false end
  if is_taken(p) then return p end
  if p.capture_amount then
    local part, e4 = captures.asked(payment_id, tx)
    if part == nil then return nil, e4 end
    if part then return p, part end
  end
  if order.status == "cancelled" then return states.refuse(order, "the order is cancelled") end
  local amount = payments.to_capture(p)
  if p.state ~= "authorized" or amount == 0 or kept.is_let_go(p) then
    return states.refuse(order, amount == 0 and "nothing is left to be captured"
      or ("a payment that is %s cannot be captured"):format(
        kept.is_let_go(p) and "let go of" or p.state))
  end
  return begin(tx, p, amount, actor)
end


local function find(list, payment_id)
  for _, p in ipairs(list) do
    if p.id == payment_id then return p end
  end
  error("the order has no payment " .. payment_id)
end


local function book(tx, payment_id, order_id, actor)
  local order, e = order_flow.locked(tx, order_id)
  if not order then return nil, e end
  local list, e2 = payments.of_order(order_id, tx)
  if not list then return nil, e2 end
  local p = find(list, payment_id)
  if payments.was_captured(p) then return p end
  local amount = payments.to_capture(p)
  local ok, e3 = payment.move(p, "captured", {}, tx)
  if ok then
    ok, e3 = orders.ledger(tx, order_id, p.id, p.currency, { { "cash:" .. p.provider, amount },
      { "receivable", -amount } })
  end
  local lost, e4 = figures.lost(tx, order, list)
  if not lost then return nil, e4 end
  local from, event = order.payment_status, payment_status.move(order, list, lost)
  if ok then ok, e3 = states.change(tx, order, event and { { "payment_status", event } } or {}) end
  if ok then
    ok, e3 = orders.event(tx, order_id, "captured", actor, { payment_id = p.id,
      amount = amount })
  end
  if ok then
    ok, e3 = outbox.append(tx, payment_status.told(order, p, amount, from, event))
  end
  if not ok then return nil, e3 end
  return payments.get(payment_id, tx)
end


local function ask(p)
  fault.crash "capture.before_ask"
  local answer, e = payment.ask_capture(p)
  fault.crash "capture.after_ask"
  -- The provider will never take this: a cancellation need not wait for it. Somebody else may have
  -- begun to ask for less meanwhile.
  if not answer and err.is(e, "payment_declined") then
    local ok, e2 = payments.decline(p)
    if not ok then return nil, e2 end
  end
  return answer, e
end


local function capture(payment_id, actor, transaction, is_begun)
  local p, e = payments.get(payment_id)
  if p == nil then return nil, e end
  if not p then return nil, err.new("not_found", "there is no such payment") end
  if not p.order_id then
    return nil, err.new("conflict", "the payment belongs to no order yet")
  end
  local order_id, part = p.order_id, nil
  p, e = sql.transaction(function(tx)
    local now, more = intend(tx, order_id, payment_id, actor, is_begun)
    part = now and more
    return now, more
  end)
  if not p then return p, e end
  if part then return require("till.flow.captures").go_on(part, transaction) end
  if not is_taken(p) then
    local answer, e2 = ask(p)
    if not answer then return nil, e2 end
  end
  return (transaction or sql.transaction)(function(tx)
    return book(tx, payment_id, order_id, actor)
  end)
end


function order_flow.capture(payment_id, actor, transaction)
  return capture(payment_id, actor, transaction, false)
end


function order_flow.go_on(payment_id)
  return capture(payment_id, "system", nil, true)
end


return order_flow
