-- till/flow/checkout_flow - the steps of a completion that somebody outside takes part in:
-- reserve, authorize, place. till.flow.checkout says when they are needed, and what holds where
-- they break off.
local err = require "till.util.err"
local fault = require "till.prim.fault"
local kept = require "till.flow.payment_kept"
local payment = require "till.flow.payment"
local payments = require "till.store.payments"
local place = require "till.flow.place"
local reservations = require "till.store.reservations"
local saga = require "till.flow.saga"
local sql = require "till.prim.sql"
local time = require "till.prim.time"

local PROVIDER_MS = 3600000


-- Held for as long as a provider may take to answer.
local function reserve(data, env)
  local done, e = sql.transaction(function(tx)
    local held, why = reservations.hold(tx, data.cart_id, data.items,
      time.now_ms() + PROVIDER_MS)
    if not held then return nil, why end
    return saga.note(tx, env, 1)
  end)
  if not done then
    env.saga.step = 0
    return nil, e
  end
  env.is_held = true
  return true
end


local function unreserve(data)
  return sql.transaction(function(tx) return reservations.release(tx, data.cart_id) end)
end


local LIVE = { created = true, sending = true, unknown = true, requires_action = true,
  authorized = true, captured = true, won = true }


local REFUSED = { declined = true, failed = true }


local function is_refused(p)
  return REFUSED[p.state] or kept.is_let_go(p)
end


-- That one was paid already, by its provider's word: it pays before any that the shopper has chosen
-- since, and they are let go. Where it cannot, they stay as they are.
local function pick_only(data, list)
  local only
  for _, p in ipairs(list) do
    if p.id == data.only_payment then only = p end
  end
  if not only or only.state == "created" or only.amount ~= data.total
    or only.currency ~= data.currency or not LIVE[only.state] or kept.is_let_go(only) then
    return nil, err.new("payment_declined", "this payment does not pay for the cart any more")
  end
  for _, p in ipairs(list) do
    if p ~= only and LIVE[p.state] then
      local ok, e = payment.void(p)
      if not ok then return nil, e end
    end
  end
  return only
end


-- The newest attempt that is for this amount; older ones and those for other amounts are let go.
-- Where all were refused it is the newest of those: who repeats a completion hears the same again;
-- so he does of one that was let go because he did not come back, or that came too late for the
-- cart as it was then, whatever the cart comes to now.
local function pick(data)
  local list, e = payments.of_cart(data.cart_id)
  if not list then return nil, e end
  if data.only_payment then return pick_only(data, list) end
  local found, refused = false, false
  for _, p in ipairs(list) do
    local fits = p.amount == data.total and p.currency == data.currency
    if LIVE[p.state] and fits and not found and not kept.is_let_go(p) then
      found = p
    elseif LIVE[p.state] then
      local ok, e2 = payment.void(p)
      if not ok then return nil, e2 end
    end
    if is_refused(p) and (fits or kept.is_let_go(p)) then refused = refused or p end
  end
  return found or refused
end


-- Nothing was asked for yet: whose plugin is gone meanwhile will never take it.
local function check_provider(p, env)
  local asks = p.state == "created" or p.state == "requires_action" and env.payment_data
  if not asks or payment.is_offered(p) then return true end
  return nil, err.new("payment_provider_unknown",
    p.provider .. " is not offered any more, and nothing was taken; choose another way to pay",
    { for_shopper = true })
end


local function authorize(data, env)
  if data.total == 0 then return true end
  local p, e = pick(data)
  if p == nil then return nil, e end
  if not p then
    return nil, err.new("cart_incomplete", "choose how to pay first", { errors = { {
      pointer = "/payment_session", detail = "a payment session is needed", code = "missing" } } })
  end
  local ok, e3 = check_provider(p, env)
  if not ok then return nil, e3 end
  if not env.is_held then reservations.extend(data.cart_id, time.now_ms() + PROVIDER_MS) end
  local paid, e2 = payment.authorize(p, env)
  data.payment_id = p.id
  fault.crash "checkout.after_authorize"
  if not paid then return nil, e2 end
  return true
end


-- Every attempt that a provider has heard of: a worker that died while it asked named none.
local function unauthorize(data)
  local list, e = payments.of_cart(data.cart_id)
  if not list then return nil, e end
  for _, p in ipairs(list) do
    if LIVE[p.state] and p.state ~= "created" then
      local ok, e2 = payment.void(p)
      if not ok then return nil, e2 end
    end
  end
  return true
end


return saga.define("checkout", {
  { name = "reserve", run = reserve, undo = unreserve },
  { name = "authorize", run = authorize, undo = unauthorize },
  { name = "place", run = function(data, env) return place.run(data, env) end },
})
