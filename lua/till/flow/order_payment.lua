-- till/flow/order_payment - the shopper pays what is due for an order that was placed
-- (till.flow.payment_request), with a new payment.
--
--   start(ctx, order_id, { provider, data, amount }, respond) -> response | nil, err
--       respond(payment, order, left): minor units that no session is of. Without an amount it is
--       of all that is due. What was begun before, and is not on its way, gives way to it where
--       both together would be too much
--   list(auth, order_id) -> { set, left, order, found } | nil, err     sessions, the oldest first
--   due(order) -> minor units | nil, err      order: of till.flow.order.get
--   about(order, amount) -> what providers are asked with
--   pay(auth, order_id, payment_id, data) -> { type = "order", order }
--                                          | { type = "payment", payment, order, error }
--                                          | { type = "processing" } | nil, err
--
-- A session is a payment with the order's cart and the order in its data, and not the order's own
-- before it succeeded. Where it dies:
--
--   before the provider was asked    it is `created`: it is paid again, or another one is begun
--   asked, or answered               it is looked up, by who pays again, a webhook or the sweep
--   authorized, not the order's yet  the same make it the order's (till.flow.order_attach)
--
-- So that a shopper with two tabs is not charged twice: under the lock of the order a payment is
-- moved to `sending` only where it and all that is on its way come to no more than is due. What
-- succeeds all the same and is too much goes back.
local abandoned = require "till.store.abandoned"
local amount_due = require "till.flow.amount_due"
local err = require "till.util.err"
local fault = require "till.prim.fault"
local kept = require "till.flow.payment_kept"
local order_flow = require "till.flow.order"
local orders = require "till.store.orders"
local parts = require "till.flow.payment_parts"
local payment = require "till.flow.payment"
local payments = require "till.store.payments"
local payment_session = require "till.flow.payment_session"
local saved_methods = require "till.flow.saved_methods"
local settled = require "till.flow.settled"

local order_payment = {}


local function conflict(message, fields)
  return nil, err.new("conflict", message, fields)
end


local function wrong(pointer, why, code)
  return nil, err.new("invalid_request", why, { errors = { { pointer = pointer, detail = why,
    code = code } } })
end


--- Where it is sent to says where it is bought, as for a cart.
function order_payment.about(order, amount)
  local address = order.shipping_address or order.billing_address or {}
  return { currency = order.currency, country = address.country, amount = amount,
    of = "order" }
end


--- Of nearly all orders nothing is asked for: the order itself says so, without a round trip.
function order_payment.due(order)
  if not order.is_asked then return 0 end
  local found, e = amount_due.of(order)
  if not found then return nil, e end
  return found.due
end


local function amount_of(order, wish, left)
  local amount = wish.amount
  if left <= 0 then
    return conflict("nothing is due for this order, or a payment of it is on its way")
  elseif not amount then
    return left
  elseif amount.currency ~= order.currency then
    return wrong("/amount/currency", "the order is in " .. order.currency,
      "currency")
  elseif amount.amount < 1 or amount.amount > left then
    return wrong("/amount/amount", ("from 1 to %d, which is due"):format(left),
      "range")
  end
  return amount.amount
end


-- Those that pay for it, or are asked for; `but` is another one.
local function is_room(found, sessions, but)
  local n = 0
  for _, p in ipairs(found.payments) do n = n + (parts.LIVE[p.state] and 1 or 0) end
  for _, p in ipairs(sessions) do
    n = n + (p.state ~= "created" and p.id ~= but and 1 or 0)
  end
  if n < parts.MOST then return true end
  return conflict(("an order takes %d payments, and has them"):format(parts.MOST))
end


local function may_begin(begun)
  if begun < parts.MOST_BEGUN then return true end
  return conflict(("%d payment sessions were begun for this order, no further one is: ask the shop"
    .. " how to pay"):format(begun))
end


local function offer_for(order, wish, amount)
  local offer, why = payment_session.offer(wish.provider, order_payment.about(order, amount),
    wish.data)
  if not offer then return nil, why end
  local may, e = saved_methods.check(order, wish.provider, wish.data)
  if not may then return nil, e end
  return offer
end


-- Those that are not on their way; at their provider they are let go of by till.flow.sweep.
local function give_way(tx, sessions, room)
  local open = 0
  for _, p in ipairs(sessions) do
    if p.state == "created" or p.state == "requires_action" then open = open + p.amount end
  end
  if open <= room then return true end
  for _, p in ipairs(sessions) do
    local ok, e = true, nil
    if p.state == "created" then ok, e = payment.move(p, "void", {}, tx) end
    if p.state == "requires_action" then ok, e = abandoned.let_go(tx, p, nil, "replaced") end
    if ok == false then e = err.new("busy", "the payment was changed just now; try again") end
    if not ok then return nil, e end
  end
  return true
end


local function state_of(order, tx)
  local found, e = amount_due.of(order, tx)
  if not found then return nil, e end
  local sessions, begun = amount_due.sessions(order, tx)
  if not sessions then return nil, begun end
  return found, sessions, begun
end


-- -> payment, left | nil, err    under the lock of the order
local function begin(tx, order, wish, read)
  local found, sessions, begun = state_of(order, tx)
  if not found then return nil, sessions end
  local room = found.due - amount_due.firm(sessions)
  local amount, e = amount_of(order, wish, room)
  if not amount then return nil, e end
  if amount ~= read.amount then
    return nil, err.new("busy", "what is due has changed just now; try again")
  end
  local ok, e2 = may_begin(begun)
  if ok then ok, e2 = is_room(found, sessions) end
  if ok then ok, e2 = give_way(tx, sessions, room - amount) end
  if not ok then return nil, e2 end
  local p, e3 = payments.create(tx, { cart_id = order.cart_id, provider = wish.provider,
    currency = order.currency, amount = amount,
    data = kept.begin(wish.data, read.offer, nil, order.id) })
  if not p then return nil, e3 end
  return p, room - amount
end


function order_payment.start(ctx, order_id, wish, respond)
  local order, e = order_flow.get(ctx.auth, order_id)
  if not order then return nil, e end
  local found, sessions = state_of(order)
  if not found then return nil, sessions end
  local amount, e2 = amount_of(order, wish, found.due - amount_due.firm(sessions))
  if not amount then return nil, e2 end
  local offer, e3 = offer_for(order, wish, amount)
  if not offer then return nil, e3 end
  return ctx:transaction(function(tx)
    local now, e4 = order_flow.locked(tx, order_id)
    if not now then return nil, e4 end
    local p, left = begin(tx, now, wish, { amount = amount, offer = offer })
    if not p then return nil, left end
    return respond(p, now, left)
  end)
end


function order_payment.list(auth, order_id)
  local order, e = order_flow.get(auth, order_id)
  if not order then return nil, e end
  local found, sessions = state_of(order)
  if not found then return nil, sessions end
  local set = {}
  for i, p in ipairs(sessions) do set[#sessions - i + 1] = p end
  return { set = set, left = found.due - parts.sum(sessions), order = order, found = found }
end


local function find(order, payment_id)
  local p, e = payments.get(payment_id)
  if p == nil then return nil, e end
  if not p or kept.order(p) ~= order.id then
    return nil, err.new("not_found", "the order has no such payment session")
  end
  return p
end


local REPLACED = "another payment session took the place of this one"


-- May it be sent now?
local function gate_of(order_id, p)
  return function(tx)
    local order, e = order_flow.locked(tx, order_id)
    if not order then return nil, e end
    local now, e2 = payments.lock(tx, p.id)
    if not now then return nil, e2 end
    if kept.is_let_go(now) then return conflict(REPLACED) end
    if now.state ~= p.state then
      return nil, err.new("conflict", "the payment was changed by another request",
        { is_moved = true })
    end
    local found, sessions = state_of(order, tx)
    if not found then return nil, sessions end
    if p.amount + amount_due.firm(sessions, p.id) <= found.due then
      return is_room(found, sessions, p.id)
    end
    return conflict(order.status == "cancelled" and "the order is cancelled: nothing is due for it"
      or "less is due for this order by now, or another payment of it is on its way: look at the"
      .. " order, then begin another payment session")
  end
end


local FOR_SHOPPER = { payment_declined = true, payment_requires_action = true }
local AGAIN = { unknown_outcome = true, busy = true }


local function refused(order, p, e)
  if FOR_SHOPPER[e.code] then
    return { type = "payment", payment = p, order = order, error = e }
  elseif AGAIN[e.code] and not e.final then
    return { type = "processing" }
  end
  return nil, e
end


local function let_go_of(order, p)
  local why = p.reason or payment.states.final[p.state] and "it is " .. p.state
    or "another one took its place, or nobody came back for it"
  return { type = "payment", payment = p, order = order, error = err.new("payment_declined",
    ("the payment was let go of: %s; nothing is taken for it, or it goes back"):format(why),
    { reason = "let_go" }) }
end


-- By whoever heard of it first; what came too much is on its way back.
local function ended(order_id, payment_id)
  local now, e = payments.get(payment_id)
  if not now then return nil, e end
  local order, e2 = orders.get(order_id)
  if not order then return nil, e2 end
  if now.order_id then return { type = "order", order = order } end
  return let_go_of(order, now)
end


function order_payment.pay(auth, order_id, payment_id, data)
  local order, e = order_flow.get(auth, order_id)
  if not order then return nil, e end
  local p, e2 = find(order, payment_id)
  if not p then return nil, e2 end
  local fit, e5 = kept.fits(p.data, data)
  if not fit then return nil, e5 end
  if p.order_id then return { type = "order", order = order } end
  if kept.is_let_go(p) then return let_go_of(order, p) end
  if p.state == "voided" then return conflict(REPLACED) end
  if p.state == "created" and not payment.is_offered(p) then
    return nil, err.new("payment_provider_unknown", p.provider .. " is not offered any more")
  end
  local paid, e3 = payment.authorize(p, { payment_data = data, gate = gate_of(order_id, p) })
  if not paid then return refused(order, p, e3) end
  fault.crash "order_payment.after_authorize"
  local done, e4 = settled.go_on(p)
  if not done then return refused(order, p, e4) end
  return ended(order_id, payment_id)
end


return order_payment
