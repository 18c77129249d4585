-- till/flow/parked - flows that nobody goes on with until staff say so.
--
--   retry(tx, id, by)           -> saga | nil, err     it is due at once, with its tries anew
--   look_up(id [, must])        -> true | nil, err     outside of a transaction, before resolve:
--                               the providers of its payments are asked once more. `must`: one
--                               that cannot be asked for want of its plugin is refused
--   resolve(tx, id, wish, by)   -> saga | nil, err     it is over by the word of staff:
--       wish { as = "done" | "undone", order_id, payments = { { id, outcome } } }
--   data_of(saga)               what of its data may be shown
-- by { actor, reason, request_id }; both write the history, the audit and the order's timeline.
--
-- What the word of staff may not do is charge twice, sell twice or lose a paid order:
--
--   checkout as done     only with the order that is there for this cart, and where no other
--                        payment of the cart may still be money
--   checkout as undone   only where the cart has no order and none of its payments is or may be
--                        money. Of one whose outcome the provider does not tell staff say it
--                        (`not_found`, `voided`); of one that the provider says is authorized or
--                        captured they cannot: the flow is retried, and places the order or gives
--                        the money back itself
--   cancellation as done its money went back in another way: it is booked, and never asked for
--                        again. It cannot be undone: its units may be sold already
local audit = require "till.store.audit"
local cancellation_flow = require "till.flow.cancellation_flow"
local carts = require "till.store.carts"
local dispatch = require "till.plugin.dispatch"
local doubts = require "till.store.doubts"
local err = require "till.util.err"
local orders = require "till.store.orders"
local payment = require "till.flow.payment"
local payments = require "till.store.payments"
local reservations = require "till.store.reservations"
local sagas = require "till.store.sagas"

local parked = {}

local SHOWN = { "cart_id", "cart_version", "order_id", "payment_id", "payments", "currency",
  "total", "amount", "money", "items", "generation" }
-- Nothing is owed by, or to, anybody for a payment in one of these.
local DEAD = { declined = true, voided = true, failed = true, refunded = true }
local OPEN = { sending = true, unknown = true, requires_action = true }


-- Ids and figures; of a person only the first letter of the address and its domain.
function parked.data_of(saga)
  local out, data = {}, saga.data
  for _, name in ipairs(SHOWN) do out[name] = data[name] end
  local email = data.head and data.head.email
  if email then out.email = email:gsub("^(.)[^@]*", "%1***") end
  return out
end


local function conflict(message, fields)
  return nil, err.new("conflict", message, fields)
end


local function locked(tx, saga_id)
  local row, e = sagas.lock(tx, saga_id)
  if row == nil then return nil, e end
  if not row then return nil, err.new("not_found", "there is no such saga") end
  if row.state ~= "parked" then
    return conflict("the flow is " .. row.state .. "; only a parked one is retried or resolved")
  end
  return row
end


-- A cancellation belongs to an order; a checkout's history is read with the order's events.
local function tell_order(tx, row, kind, by, data)
  if row.name ~= "cancellation" then return true end
  local name = cancellation_flow.name_of(row.aggregate)
  data[name .. "_id"] = row.aggregate
  return orders.event(tx, row.data.order_id, name .. "_" .. kind, by.actor, data)
end


local function note(tx, row, kind, by, data)
  data.reason = by.reason
  local ok, e = sagas.note(row, kind, by.actor, data, tx)
  if ok then
    ok, e = audit.add({ actor = by.actor, action = kind == "retried" and "saga.retry"
      or "saga.resolve", subject = ("saga:%d"):format(row.id), request_id = by.request_id,
      detail = { name = row.name, aggregate = row.aggregate, reason = by.reason, as = data.as,
        payments = data.payments } }, tx)
  end
  if ok then ok, e = tell_order(tx, row, kind, by, data) end
  if not ok then return nil, e end
  return sagas.get(row.id, tx)
end


function parked.retry(tx, saga_id, by)
  local row, e = locked(tx, saga_id)
  if not row then return nil, e end
  local ok, e2 = sagas.release(tx, row)
  if not ok then return nil, e2 end
  return note(tx, row, "retried", by, {})
end


-- ---- a checkout -------------------------------------------------------------------------------


local function checkout_done(tx, row, wish)
  local order, e = orders.of_cart(row.aggregate, tx)
  if order == nil then return nil, e end
  if not order or order.id ~= wish.order_id then
    return conflict("this cart has not become that order: retry the flow, or resolve it as undone")
  end
  local list, e2 = payments.of_cart(row.aggregate, tx)
  if not list then return nil, e2 end
  for _, p in ipairs(list) do
    if not DEAD[p.state] and p.state ~= "created" and p.order_id ~= order.id then
      return conflict(("payment %s is %s and pays for no order: void it first")
        :format(p.id, p.state))
    end
  end
  return true
end


local EVENT = { not_found = "not_found", voided = "voided" }


local function bury(tx, p, said, by)
  if DEAD[p.state] then return true end
  if p.state == "created" then return payment.move(p, "void", {}, tx) end
  if not OPEN[p.state] then
    return conflict(("payment %s is %s at its provider: retry the flow, it places the order or"
      .. " gives the money back"):format(p.id, p.state))
  elseif not said then
    return conflict(("nobody knows whether payment %s was charged: look at its provider, and say"
      .. " what became of it in `payments`"):format(p.id))
  end
  local moved, e = payment.move(p, EVENT[said], { reason = "by the word of " .. by.actor }, tx)
  if moved and said == "not_found" then moved, e = doubts.add(tx, p.id) end
  return moved, e
end


local function bury_all(tx, cart_id, wish, by)
  local said = {}
  for _, given in ipairs(wish.payments or {}) do said[given.id] = given.outcome end
  local list, e = payments.of_cart(cart_id, tx)
  if not list then return nil, e end
  for _, p in ipairs(list) do
    local ok, e2 = bury(tx, p, said[p.id], by)
    if not ok then return nil, e2 end
  end
  return true
end


local function checkout_undone(tx, row, wish, by)
  local order, e = orders.of_cart(row.aggregate, tx)
  if order == nil then return nil, e end
  if order then return conflict("the cart has become order " .. order.id) end
  local ok, e2 = bury_all(tx, row.aggregate, wish, by)
  if not ok then return nil, e2 end
  local cart, e3 = carts.get(row.aggregate, tx)
  if cart == nil then return nil, e3 end
  ok = true
  if cart and cart.claim then ok, e3 = carts.unclaim(tx, cart.id, cart.claim) end
  if ok then ok, e3 = reservations.release(tx, row.aggregate) end
  return ok, e3
end


-- ---- a cancellation ---------------------------------------------------------------------------


local function cancellation_done(tx, row, _, by)
  return cancellation_flow.by_hand(tx, row, by.actor, by.reason)
end


local function cancellation_undone()
  return conflict("what was cancelled stays cancelled: retry the flow, or give the money back in"
    .. " another way and resolve it as done")
end


local RESOLVERS = {
  checkout = { done = checkout_done, undone = checkout_undone },
  cancellation = { done = cancellation_done, undone = cancellation_undone },
}


-- A plugin that is not loaded knows nothing, and that is no answer of its provider.
local function is_asked(p)
  return dispatch.has("payment.authorize", "payment-" .. p.provider)
end


function parked.look_up(saga_id, must)
  local row, e = sagas.get(saga_id)
  if not row then return row ~= nil, e end
  if row.name ~= "checkout" or row.state ~= "parked" then return true end
  local list, e2 = payments.of_cart(row.aggregate)
  if not list then return nil, e2 end
  for _, p in ipairs(list) do
    if OPEN[p.state] and must and not is_asked(p) then
      return conflict(("the provider of payment %s cannot be asked: its plugin payment-%s is not"
        .. " loaded here; give its folder with --plugins"):format(p.id, p.provider))
    end
    if OPEN[p.state] then payment.settle(p) end
  end
  return true
end


function parked.resolve(tx, saga_id, wish, by)
  local row, e = locked(tx, saga_id)
  if not row then return nil, e end
  local of_flow = RESOLVERS[row.name]
  if not of_flow then return conflict("flows of this kind are retried, not resolved") end
  local ok, e2 = of_flow[wish.as](tx, row, wish, by)
  if ok then ok, e2 = sagas.settle(tx, row, wish.as) end
  if not ok then return nil, e2 end
  return note(tx, row, "resolved", by, { as = wish.as, order_id = wish.order_id,
    payments = wish.payments })
end


return parked
