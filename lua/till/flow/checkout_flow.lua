-- till/flow/checkout_flow - the steps of a completion that somebody outside takes part in:
-- reserve, authorize, place. till.flow.checkout says when they are needed, and what holds where
-- they break off.
local carts = require "till.store.carts"
local channel = require "till.flow.channel"
local confirmed = require "till.flow.payment_confirmed"
local err = require "till.util.err"
local fault = require "till.prim.fault"
local kept = require "till.flow.payment_kept"
local parts = require "till.flow.payment_parts"
local payment = require "till.flow.payment"
local payment_offer = require "till.flow.payment_offer"
local payments = require "till.store.payments"
local place = require "till.flow.place"
local reservations = require "till.store.reservations"
local saga = require "till.flow.saga"
local sql = require "till.prim.sql"
local time = require "till.prim.time"

local PROVIDER_MS = require("till.flow.checkout_begin").PROVIDER_MS


-- Held for as long as a provider may take to answer. Whoever has lost his claim holds nothing: the
-- cart is its shopper's, who may have changed what it is to hold.
local function reserve(data, env)
  local done, e = sql.transaction(function(tx)
    local ours, e2 = carts.is_claimed(tx, data.cart_id, env.claim)
    if not ours then return nil, e2 or payment.taken_over() end
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


local LIVE = parts.LIVE


local function any_live(list)
  for _, p in ipairs(list) do
    if LIVE[p.state] then return true end
  end
  return false
end


-- Its shopper has changed it since and pays for it anew: what it holds is his, for as long as any.
local function is_his(tx, data, cart)
  if not cart or cart.state ~= "open" or cart.version == data.cart_version then return false end
  local list, e = payments.of_cart(data.cart_id, tx)
  if not list then return nil, e end
  return any_live(list)
end


local function unreserve(data)
  local cart, his
  local done, e = sql.transaction(function(tx)
    local e2
    cart, e2 = carts.get(data.cart_id, tx, true)
    if cart == nil then return nil, e2 end
    his, e2 = is_his(tx, data, cart)
    if his == nil then return nil, e2 end
    if his then return true end
    return reservations.release(tx, data.cart_id)
  end)
  if not done then return nil, e end
  if his then reservations.shorten(data.cart_id, channel.hold_until(cart)) end
  return true
end


local REFUSED = { declined = true, failed = true }


local function is_refused(p)
  return REFUSED[p.state] or kept.is_let_go(p)
end


-- What pays for an order is that order's: no flow of its cart gives it back, however late it is.
local function let_go(read)
  local p, e = payments.get(read.id)
  if not p then return p == false, e end
  if p.order_id or kept.order(p) or not LIVE[p.state] then return true end
  return payment.void(p)
end


local function let_go_of_others(list, set)
  local stays = {}
  for _, p in ipairs(set) do stays[p] = true end
  for _, p in ipairs(list) do
    if LIVE[p.state] and not stays[p] then
      local ok, e = let_go(p)
      if not ok then return nil, e end
    end
  end
  return set
end


local function pays_no_more(fields)
  return nil, err.new("payment_declined", "this payment does not pay for the cart any more", fields)
end


-- With the other parts that are paid. Where they do not come to the total nothing is taken back:
-- that is for who pays, or for till.flow.sweep.
local function pick_paid(data, list, only)
  local set, is_of = parts.paid(list, data.currency), false
  for _, p in ipairs(set) do is_of = is_of or p == only end
  if not is_of or parts.sum(set) ~= data.total then return pays_no_more { for_shopper = true } end
  return let_go_of_others(list, set)
end


-- That one was paid already, by its provider's word: it pays before any that the shopper has chosen
-- since, and they are let go. Where it cannot, they stay as they are.
local function pick_only(data, list)
  local only
  for _, p in ipairs(list) do
    if p.id == data.only_payment then only = p end
  end
  if only and kept.part(only) then return pick_paid(data, list, only) end
  if not only or only.state == "created" or only.amount ~= data.total
    or only.currency ~= data.currency or not LIVE[only.state] or kept.is_let_go(only) then
    return pays_no_more()
  end
  return let_go_of_others(list, { only })
end


-- Somebody's word came for a flow that was begun for others: it pays before them too, where it can
-- pay by itself.
local function told(data, list, env)
  if data.only_payment or not env.only_payment then return nil end
  for _, p in ipairs(list) do
    if p.id == env.only_payment and p.state ~= "created" and not kept.part(p) and LIVE[p.state]
      and p.amount == data.total and p.currency == data.currency and not kept.is_let_go(p) then
      return { p }
    end
  end
end


local function is_shopper(env)
  return env.once ~= nil and not env.only_payment
end


-- The newest of those that were refused, so that who repeats a completion hears the same again; of
-- a part the one that is missing. So he does of one that was let go because he did not come back,
-- or that came too late for the cart as it was then, whatever the cart comes to now.
local function refused(list, data, missing)
  for _, p in ipairs(list) do
    local fits = p.currency == data.currency and p.amount == missing
    if is_refused(p) and (fits or missing == data.total and kept.is_let_go(p)) then return p end
  end
end


-- What the shopper has before him when he asks is what he has confirmed, also where the flow was
-- begun for others. That is stored before any of those is let go of.
local function seen(all, data, env)
  if not is_shopper(env) then return confirmed.only(all, data, env.left_at) end
  if not confirmed.note(all, data) then return all end
  local saved, e = saga.note(nil, env, env.saga.step)
  if not saved then return nil, e end
  return all
end


-- The sessions that pay for it, oldest first; others are let go of. false: none was chosen, and
-- whether one was for another total. Where the shopper is not there, none that he has chosen since
-- is.
local function pick(data, env)
  local all, e = payments.of_cart(data.cart_id)
  if not all then return nil, e end
  if data.only_payment then return pick_only(data, all) end
  local only = told(data, all, env)
  if only then return let_go_of_others(all, only) end
  local list, e4 = seen(all, data, env)
  if not list then return nil, e4 end
  local set = parts.chosen(list, data.total, data.currency)
  local missing = data.total - parts.sum(set)
  local off = missing ~= 0 and refused(list, data, missing)
  if not set[1] then
    local gone, e2 = let_go_of_others(list, set)
    if not gone then return nil, e2 end
    return off and { off } or false, any_live(list)
  elseif off then
    return { off }
  end
  local ok, e3 = parts.check(set, data.total, data.currency)
  if not ok then return nil, e3 end
  return let_go_of_others(all, set)
end


local function fits(p, env)
  if p.state ~= "requires_action" or not env.payment_data then return true end
  local fit, e = kept.fits(p.data, env.payment_data)
  if not fit then e.for_shopper = true end
  return fit, e
end


-- Nothing was asked for yet: whose plugin is gone meanwhile will never take it, and where the cart
-- goes by now it may not be offered.
local function check_provider(p, data, env)
  local asks = p.state == "created" or p.state == "requires_action" and env.payment_data
  if not asks then return true end
  if payment.is_offered(p) then
    return payment_offer.still(p, { currency = data.currency, country = data.head.country })
  end
  return nil, err.new("payment_provider_unknown",
    p.provider .. " is not offered any more, and nothing was taken; choose another way to pay",
    { for_shopper = true })
end


-- What the shopper brought back is for the first that waits for him. One of several that is
-- declined takes nothing of the others back: they stay authorized while he chooses another for it.
local function authorize_one(p, env, is_part)
  local waits = p.state == "requires_action"
  local paid, e = payment.authorize(p, env)
  if waits then env.payment_data = nil end
  fault.crash "checkout.after_authorize"
  if paid then return true end
  if is_part and err.is(e, "payment_declined") then e.for_shopper = true end
  return nil, e
end


local function authorize_all(set, data, env)
  local is_part = parts.are(set)
  data.payments = is_part and {} or nil
  if is_part then
    for i, p in ipairs(set) do data.payments[i] = p.id end
  end
  data.payment_id = set[1].id
  for _, p in ipairs(set) do
    local paid, e = authorize_one(p, env, is_part)
    if not paid then return nil, e end
  end
  return true
end


-- The word that the price had changed may have been lost with who was to say it.
local function unpaid(was_for_other_total)
  return nil, err.new("cart_incomplete", was_for_other_total
    and "the cart comes to another total than its payment was for: look at it and choose how to pay"
    or "choose how to pay first", { errors = { { pointer = "/payment_session", code = "missing",
      detail = "a payment session is needed" } } })
end


local function authorize(data, env)
  if env.sent then return authorize_one(env.sent, env) end
  if data.total == 0 then return true end
  local set, e = pick(data, env)
  if set == nil then return nil, e end
  if not set then return unpaid(e) end
  for _, p in ipairs(set) do
    local ok, e3 = check_provider(p, data, env)
    if ok then ok, e3 = fits(p, env) end
    if not ok then return nil, e3 end
  end
  if not env.is_held then reservations.extend(data.cart_id, time.now_ms() + PROVIDER_MS) end
  return authorize_all(set, data, env)
end


-- Every attempt that a provider has heard of: a worker that died while it asked named none.
local function unauthorize(data)
  local list, e = payments.of_cart(data.cart_id)
  if not list then return nil, e end
  for _, p in ipairs(list) do
    if LIVE[p.state] and p.state ~= "created" then
      local ok, e2 = let_go(p)
      if not ok then return nil, e2 end
    end
  end
  return true
end


return saga.define("checkout", {
  { name = "reserve", run = reserve, undo = unreserve },
  -- what came of it stands in the payment: done again it asks for nothing twice
  { name = "authorize", run = authorize, undo = unauthorize, saved_by_next = true },
  { name = "place", run = function(data, env) return place.run(data, env) end },
})
