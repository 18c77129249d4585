-- till/flow/settled - a payment that succeeded, by its provider's word, while its cart is no order:
-- the shopper has not come back from his bank, or not yet.
--
--   go_on(payment) -> true: there is an end | nil, err: not yet; ask again later
--   complete(payment) -> true: an order | false, reason, waits: it cannot be one | nil, err
--                          its first half. waits: it is one of several that pay for the cart, and
--                          the others are not paid, or not yet
--   partners(payment) -> true | false: of one of them nobody knows | nil, err    the other parts
--                          are looked up
--   tell(payment, reason)  its money went back, without an order
--
-- One of several is an order only when the parts that are paid come to the total. Until then it
-- stays as it is: the shopper goes on, the word of another one comes, or till.flow.sweep gives all
-- back.
--
-- One that was begun for an order that is placed already (till.flow.order_payment) becomes one of
-- its payments, or goes back where less is due by now.
--
-- The cart is completed as if he had come back: by the same flow, under the same claim of the cart,
-- with its look at the stock and the prices. So it does not matter who of both is first, and each
-- step's crash is the flow's (till.flow.checkout). The end is
--
--   an order                    with this payment or another one
--   the money is let go of      the cart cannot be bought any more: sold out, another price, left
--                               incomplete. It is voided or given back, staff are told, and the
--                               shopper finds his cart open; payments.reason says why, and so does
--                               the answer to his next completion until he has paid otherwise. Who
--                               dies, or hears nothing of the provider, leaves the word to staff
local abandoned = require "till.store.abandoned"
local alerts = require "till.store.alerts"
local carts = require "till.store.carts"
local checkout = require "till.flow.checkout"
local err = require "till.util.err"
local kept = require "till.flow.payment_kept"
local log = require "till.prim.log"
local order_attach = require "till.flow.order_attach"
local parts = require "till.flow.payment_parts"
local payment = require "till.flow.payment"
local payments = require "till.store.payments"
local sql = require "till.prim.sql"

local ALERT = "payment.given_back"
local settled = { ALERT = ALERT }

local AGAIN = { completion_in_progress = true, busy = true, unknown_outcome = true,
  internal = true, conflict = true, payment_requires_action = true }


local function raise(tx, p, reason)
  local opened, e = alerts.raise(tx, ALERT, p.id, { detail = { payment_id = p.id,
    cart_id = p.cart_id, amount = p.amount, currency = p.currency, reason = reason } })
  return opened ~= nil, e
end


-- is_raised: staff were told when it was decided.
local function tell(p, reason, is_raised)
  log.warn("payment.given_back", { payment_id = p.id, cart_id = p.cart_id, reason = reason })
  return sql.transaction(function(tx)
    local ok, e = abandoned.given_back(tx, p, reason)
    if ok and not is_raised then ok, e = raise(tx, p, reason) end
    if not ok then return nil, e end
    return true
  end)
end


function settled.tell(p, reason) return tell(p, reason, false) end


-- From then on no order can be placed with it, however slow the provider is. Staff are told with
-- it: where he gives no answer, till.flow.sweep lets go of it, and does not know why.
-- -> true, were they told? | nil, err
local function mark(p, reason)
  if payment.states.over[p.state] or kept.is_let_go(p) then return true, false end
  local marked, e = sql.transaction(function(tx)
    local ok, e = abandoned.let_go(tx, p)
    if ok then ok, e = raise(tx, p, reason) end
    if not ok then return nil, e or err.new("busy", "the payment was changed just now") end
    return true
  end)
  if not marked then return nil, e end
  return true, true
end


-- The flow that went back has let go of it already.
local function let_go(p, reason)
  local now, e = payments.get(p.id)
  if not now then return nil, e end
  if now.order_id then return true end
  local marked, is_told = mark(now, reason)
  if not marked then return nil, is_told end
  local gone, e2 = payment.void(now)
  if not gone then return nil, e2 end
  return tell(now, reason, is_told)
end


-- Of several none pays for anything without the others.
local function let_go_all(p, reason)
  local done, e = let_go(p, reason)
  if not done or not kept.part(p) then return done, e end
  local list, e2 = payments.of_cart(p.cart_id)
  if not list then return nil, e2 end
  for _, other in ipairs(parts.paid(list, p.currency)) do
    if not other.order_id then
      done, e = let_go(other, reason)
      if not done then return nil, e end
    end
  end
  return true
end


-- Nobody is there who was asked under a key, or waits for an answer. Only this payment pays: one
-- that the shopper chose since, and has not confirmed, is never sent.
local function env_of(p)
  return { once = { claim = true }, claim_key = function() return nil end, only_payment = p.id }
end


local WAITS = { requires_action = true, sending = true, unknown = true }


function settled.partners(p)
  local list, e = payments.of_cart(p.cart_id)
  if not list then return nil, e end
  local known = true
  for _, other in ipairs(list) do
    if other.id ~= p.id and kept.part(other) and WAITS[other.state] then
      payment.settle(other)
      known = known and other.state ~= "sending" and other.state ~= "unknown"
    end
  end
  return known
end


-- -> true | false, reason | nil, err
local function is_whole(p, cart)
  local seen, e0 = true, nil
  if WAITS[p.state] then seen, e0 = payment.settle(p) end
  if not seen and WAITS[p.state] then return nil, e0 end
  local list, e = payments.of_cart(cart.id)
  if not list then return nil, e end
  if parts.sum(parts.paid(list, cart.currency)) == cart.priced.total then return true end
  return false, "the other payments of the cart are not paid"
end


local function bought(p, cart)
  if kept.part(p) then
    local whole, why = is_whole(p, cart)
    if not whole then return whole, why, true end
  elseif cart.priced.total ~= p.amount or cart.currency ~= p.currency then
    return false, "the cart was changed after it had been paid"
  end
  local auth = { kind = "provider", key_id = cart.key_id, customer_id = cart.customer_id }
  local result, e = checkout.complete({ auth = auth }, cart.id, env_of(p))
  if result and result.type == "order" then return true end
  if result and result.type == "processing" then
    return nil, err.new("busy", "the cart is being completed")
  end
  local why = result and result.error or e
  if why.retryable or AGAIN[why.code] then return nil, why end
  return false, why.message
end


function settled.complete(p)
  if kept.order(p) then return order_attach.run(p) end
  local cart, e = carts.get(p.cart_id)
  if cart == nil then return nil, e end
  if not cart then return false, "its cart is not there any more" end
  if cart.state == "completed" then return false, "the cart was bought with another payment" end
  return bought(p, cart)
end


function settled.go_on(p)
  local done, why, waits = settled.complete(p)
  if waits and done == false then return true end
  if done ~= false then return done, why end
  return let_go_all(p, why)
end


return settled
