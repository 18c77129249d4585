-- till/flow/payment_request - staff ask the shopper to pay what is owed for an order that was
-- placed.
--
--   ask(order_id, wish, actor, transaction, respond) -> what transaction returned | nil, err
--       wish { amount or nil: all that is owed, currency, reason, instead_of = payment id or nil,
--       noted(tx) -> true | nil, err: instead_of is let go of from now on };
--       respond(order, found) makes the answer, found of till.flow.amount_due
--   withdraw(tx, order_id, actor) -> order | nil, err
--   go_on(payload) -> true | nil, err      the job: payload { payment_id, order_id, actor }
--
-- Owed is what no payment holds and none is to bring: an authorization was lost, say. `instead_of`
-- names one that holds money which will never come (its capture was refused for good, it is paid
-- outside and was not): that is let go of first. What a bank took back for good may be asked for as
-- well.
--
-- Letting go: the payment is marked, under the lock of the order, before its provider is asked;
-- nothing of it can be captured from then on. Nothing is due instead of it before the provider has
-- said that it holds nothing. Who dies in between leaves that to a job, and to who asks again.
-- Where the provider says that it was captured after all it is booked, and nothing is due.
local amount_due = require "till.flow.amount_due"
local booking = require "till.flow.booking"
local captures = require "till.flow.captures"
local err = require "till.util.err"
local kept = require "till.flow.payment_kept"
local order_flow = require "till.flow.order"
local orders = require "till.store.orders"
local outbox = require "till.prim.outbox"
local payment = require "till.flow.payment"
local payment_marks = require "till.store.payment_marks"
local payments = require "till.store.payments"
local requests = require "till.store.payment_requests"
local result = require "till.flow.payment_result"
local sql = require "till.prim.sql"
local states = require "till.flow.order_states"

local request = {}

local FIRST_LOOK_MS = 5000


local function invalid(pointer, why, code)
  return nil, err.new("invalid_request", why, { errors = { { pointer = pointer, detail = why,
    code = code } } })
end


local function locked(tx, order_id)
  local order, e = order_flow.locked(tx, order_id)
  if not order then return nil, e end
  if order.status == "cancelled" then
    return states.refuse(order, "the order is cancelled: nothing is owed for it")
  elseif not order.cart_id then
    return states.refuse(order, "the order was imported: it is paid where it was made")
  end
  return order
end


-- ---- what is held and will never come ------------------------------------------------------

-- -> payment | nil, err     that may be let go of; or was already
local function to_replace(tx, order, payment_id)
  local p, e = payments.lock(tx, payment_id)
  if p == nil then return nil, e end
  if not p or p.order_id ~= order.id then
    return invalid("/instead_of", "the order has no such payment", "not_found")
  elseif p.state == "voided" or kept.is_let_go(p) then
    return p
  elseif p.state ~= "authorized" then
    return states.refuse(order, ("a payment that is %s is not paid anew: it holds nothing that"
      .. " could be let go of"):format(p.state))
  end
  local busy, e2 = captures.is_busy(tx, p)
  if busy == nil then return nil, e2 end
  if not busy then return p end
  return states.refuse(order, "a capture of it has no outcome yet: wait for it, or resolve it")
end


local function mark(tx, order, p, wish, actor)
  if p.state == "voided" or kept.is_let_go(p) then return true end
  local ok, e = payment_marks.mark(tx, p.id, "replaced")
  if ok then ok, e = wish.noted(tx) end
  if not ok then return nil, e end
  return outbox.append(tx, { { aggregate = "payment:" .. p.id, type = "payment.replaced",
    payload = { payment_id = p.id, order_id = order.id, actor = actor },
    delay_ms = FIRST_LOOK_MS } })
end


local function book(p, kind, actor, why)
  return sql.transaction(function(tx)
    local ok, e = payment_marks.mark(tx, p.id, kind == "voided" and "replaced" or nil)
    if not ok then return nil, e end
    return booking.own(tx, p.id, { kind = kind, actor = actor, reason = why,
      amount = kind == "captured" and payments.to_capture(p) or nil })
  end)
end


-- A webhook may have been first.
local function booked_void(p, actor)
  local ok, e = book(p, "voided", actor, "paid anew")
  if ok then return true end
  local now, e2 = payments.get(p.id)
  if not now then return nil, e2 end
  if now.state == "voided" then return true end
  return nil, e
end


-- -> true: nothing is held | nil, err
local function let_go(payment_id, actor)
  local p, e = payments.get(payment_id)
  if not p then return nil, e end
  if p.state ~= "authorized" or not kept.is_let_go(p) then return true end
  local gone, e2, seen = payment.ask_void(p)
  if gone then
    return booked_void(p, actor)
  elseif seen and seen.outcome == "captured" and not result.another(p, seen) then
    local ok, e3 = book(p, "captured", "provider:" .. p.provider, "captured at the provider")
    if not ok then return nil, e3 end
  elseif err.is(e2, "payment_declined") then
    local ok, e3 = sql.transaction(function(tx) return payment_marks.mark(tx, p.id, nil) end)
    if not ok then return nil, e3 end
  else
    return nil, e2
  end
  return nil, err.new("conflict", ("payment %s was not let go of: %s"):format(p.id,
    seen and seen.outcome == "captured" and "its provider says that it was captured"
    or tostring(e2)))
end


function request.go_on(payload)
  local ok, e = let_go(payload.payment_id, payload.actor)
  if ok or err.is(e, "conflict") then return true end
  return nil, e
end


-- ---- what is asked for ---------------------------------------------------------------------

local function amount_of(order, wish, most)
  if most <= 0 then
    return states.refuse(order, "nothing is owed for it that no payment holds")
  elseif wish.currency and wish.currency ~= order.currency then
    return invalid("/amount/currency", "the order is in " .. order.currency, "currency")
  elseif wish.amount and (wish.amount < 1 or wish.amount > most) then
    return invalid("/amount/amount", ("from 1 to %d, which is owed"):format(most), "range")
  end
  return wish.amount or most
end


local function write(tx, order, wish, actor, found)
  local amount, e = amount_of(order, wish, amount_due.most(found))
  if not amount then return nil, e end
  local ok, e2 = requests.put(tx, order.id, { amount = amount, reason = wish.reason,
    instead_of = wish.instead_of, actor = actor })
  if ok then ok, e2 = states.change(tx, order, {}) end
  if ok then
    ok, e2 = orders.event(tx, order.id, "payment_requested", actor, { amount = amount,
      reason = wish.reason, instead_of = wish.instead_of })
  end
  if ok then
    ok, e2 = outbox.append(tx, { { aggregate = "order:" .. order.id, type = "payment.requested",
      payload = { order_id = order.id, amount = amount, currency = order.currency } } })
  end
  if not ok then return nil, e2 end
  return amount_due.of(order, tx)
end


-- Refused before anything is let go of: what is wrong with the amount.
local function begin_instead(order_id, wish, actor)
  return sql.transaction(function(tx)
    local order, e = locked(tx, order_id)
    if not order then return nil, e end
    local p, e2 = to_replace(tx, order, wish.instead_of)
    if not p then return nil, e2 end
    local found, e3 = amount_due.of(order, tx)
    if not found then return nil, e3 end
    local good, e4 = amount_of(order, wish, amount_due.most(found) + payments.left(p))
    if not good then return nil, e4 end
    return mark(tx, order, p, wish, actor)
  end)
end


function request.ask(order_id, wish, actor, transaction, respond)
  if wish.instead_of then
    local ok, e = begin_instead(order_id, wish, actor)
    if ok then ok, e = let_go(wish.instead_of, actor) end
    if not ok then return nil, e end
  end
  return transaction(function(tx)
    local order, e = locked(tx, order_id)
    if not order then return nil, e end
    local found, e2 = amount_due.of(order, tx)
    if found then found, e2 = write(tx, order, wish, actor, found) end
    if not found then return nil, e2 end
    return respond(order, found)
  end)
end


function request.withdraw(tx, order_id, actor)
  local order, e = order_flow.locked(tx, order_id)
  if not order then return nil, e end
  local was, e2 = requests.withdraw(tx, order_id)
  if was == nil then return nil, e2 end
  if not was then return nil, err.new("not_found", "nothing is asked for of this order") end
  local ok, e3 = states.change(tx, order, {})
  if ok then ok, e3 = orders.event(tx, order_id, "payment_request_withdrawn", actor, {}) end
  if not ok then return nil, e3 end
  return order
end


return request
