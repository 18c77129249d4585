-- till/flow/payment_session - the shopper has chosen how to pay: what he pays for is held for him.
--
--   start(ctx, cart_id, provider, data, respond) -> response | nil, err
--       respond(payment, cart) -> what a client is answered
--
-- Where the cart holds nothing yet and all of it is there, as nearly always, it is one
-- till.store.script. Everything else goes statement by statement: what was held is let go of, what
-- others held for too long gives way, and who is refused hears what is left. What was held and
-- begun in one piece stays with the cart that the worker remembers, for its completion.
local capabilities = require "till.flow.capabilities"
local carts = require "till.store.carts"
local cart_flow = require "till.flow.cart"
local channel = require "till.flow.channel"
local err = require "till.util.err"
local payment = require "till.flow.payment"
local reservations = require "till.store.reservations"
local saved_methods = require "till.flow.saved_methods"
local script = require "till.store.script"
local stock = require "till.store.stock"
local time = require "till.prim.time"

local payment_session = {}


local function begin(tx, cart, ask, ends_at)
  local p, e = payment.start(tx, cart, ask.provider, ask.data, ask.offer)
  if not p then return nil, e end
  p.expires_at = ends_at
  return p
end


-- -> response | false: not so simple | nil, err
local function at_once(ctx, cart, ask)
  local s, version = script.new(), cart.version -- which may be another's when the script has run
  carts.lock(s, cart)
  local until_ms = channel.hold_until(cart)
  local rows, e = stock.reserve(s, cart.id, stock.items(cart.priced), until_ms)
  if not rows then return rows, e end
  local p = begin(s, cart, ask, time.rfc3339(until_ms))
  local response = ask.respond(p, cart)
  ctx:record(s, response)
  stock.reserve_last(s, rows)
  local done, e2 = s:run()
  if not done then return done, e2 end
  ctx:committed()
  cart.session = { version = version, held = rows, payments = { p } }
  return response
end


local function step_by_step(ctx, cart, ask)
  return ctx:transaction(function(tx)
    local still, e = carts.is_still(tx, cart)
    if still == nil then return nil, e end
    if not still then
      return nil, err.new("completion_in_progress", "the cart is being completed or was changed")
    end
    local held, e2 = reservations.hold(tx, cart.id, stock.items(cart.priced),
      channel.hold_until(cart))
    if not held then return nil, e2 end
    local ends_at, e4 = reservations.ends_at(tx, cart.id)
    if not ends_at then return nil, e4 end
    local p, e3 = begin(tx, cart, ask, ends_at)
    if not p then return nil, e3 end
    return ask.respond(p, cart)
  end)
end


local function check(cart, provider, data)
  local ok, e = cart_flow.check_open(cart)
  if not ok then return nil, e end
  if #cart.lines == 0 then return nil, err.new("cart_incomplete", "the cart is empty") end
  local about = { currency = cart.currency, country = cart.country, amount = cart.priced.total }
  local offer, is_taken, why = payment.describe(provider, about), nil, nil
  if offer then is_taken, why = capabilities.offers(provider, about) end
  if not is_taken then
    return nil, err.new("payment_provider_unknown", type(why) == "string" and why
      or ("%s is not offered for this cart"):format(provider))
  end
  local may, e2 = saved_methods.check(cart, provider, data)
  if not may then return nil, e2 end
  return offer
end


-- What this worker remembers of the cart will do where nothing is refused.
local function recalled(ctx, cart_id, ask)
  local cart = cart_flow.recall(ctx.auth, cart_id)
  if not cart then return false end
  ask.offer = check(cart, ask.provider, ask.data)
  if not ask.offer then return false end
  return at_once(ctx, cart, ask)
end


function payment_session.start(ctx, cart_id, provider, data, respond)
  local ask = { provider = provider, data = data, respond = respond }
  local response, e = recalled(ctx, cart_id, ask)
  if response ~= false then return response, e end
  local cart, e2 = cart_flow.get(ctx.auth, cart_id)
  if not cart then return nil, e2 end
  local offer, e3 = check(cart, provider, data)
  if not offer then return nil, e3 end
  ask.offer = offer
  response, e = at_once(ctx, cart, ask)
  if response == false then return step_by_step(ctx, cart, ask) end
  return response, e
end


return payment_session
