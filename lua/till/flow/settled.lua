-- till/flow/settled - a payment that succeeded, by its provider's word, while its cart is no order:
-- the shopper has not come back from his bank, or not yet.
--
--   go_on(payment) -> true: there is an end | nil, err: not yet; ask again later
--   complete(payment) -> true: an order | false, reason: it cannot be one | nil, err
--                          its first half
--   tell(payment, reason)  its money went back, without an order
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
--                               dies after the provider has let go leaves neither word
local abandoned = require "till.store.abandoned"
local alerts = require "till.store.alerts"
local carts = require "till.store.carts"
local checkout = require "till.flow.checkout"
local err = require "till.util.err"
local kept = require "till.flow.payment_kept"
local log = require "till.prim.log"
local payment = require "till.flow.payment"
local payments = require "till.store.payments"
local sql = require "till.prim.sql"

local settled = {}

local ALERT = "payment.given_back"
local AGAIN = { completion_in_progress = true, busy = true, unknown_outcome = true,
  internal = true, conflict = true, payment_requires_action = true }


function settled.tell(p, reason)
  log.warn("payment.given_back", { payment_id = p.id, cart_id = p.cart_id, reason = reason })
  return sql.transaction(function(tx)
    local ok, e = abandoned.given_back(tx, p, reason)
    if not ok then return nil, e end
    return alerts.raise(tx, ALERT, p.id, { detail = { payment_id = p.id, cart_id = p.cart_id,
      amount = p.amount, currency = p.currency, reason = reason } }) ~= nil
  end)
end


-- From then on no order can be placed with it, however slow the provider is.
local function mark(p)
  if payment.states.final[p.state] or kept.is_let_go(p) then return true end
  local marked, e = sql.transaction(function(tx) return abandoned.let_go(tx, p) end)
  if marked then return true end
  return nil, e or err.new("busy", "the payment was changed just now")
end


-- The flow that went back has let go of it already.
local function let_go(p, reason)
  local now, e = payments.get(p.id)
  if not now then return nil, e end
  if now.order_id then return true end
  local marked, e3 = mark(now)
  if not marked then return nil, e3 end
  local gone, e2 = payment.void(now)
  if not gone then return nil, e2 end
  return settled.tell(now, reason)
end


-- Nobody is there who was asked under a key, or waits for an answer. Only this payment pays: one
-- that the shopper chose since, and has not confirmed, is never sent.
local function env_of(p)
  return { once = { claim = true }, claim_key = function() return nil end, only_payment = p.id }
end


local function bought(p, cart)
  if cart.priced.total ~= p.amount or cart.currency ~= p.currency then
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
  local cart, e = carts.get(p.cart_id)
  if cart == nil then return nil, e end
  if not cart then return false, "its cart is not there any more" end
  if cart.state == "completed" then return false, "the cart was bought with another payment" end
  return bought(p, cart)
end


function settled.go_on(p)
  local done, why = settled.complete(p)
  if done ~= false then return done, why end
  return let_go(p, why)
end


return settled
