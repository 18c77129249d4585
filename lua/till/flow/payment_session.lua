-- till/flow/payment_session - the shopper has chosen how to pay: what he pays for is held for him.
--
--   start(ctx, cart_id, { provider =, data =, amount = }, respond) -> response | nil, err
--       respond(payment, cart) -> what a client is answered. amount { amount, currency } or nil: a
--       part of the total, or the rest of it (till.flow.payment_parts)
--   list(ctx, cart_id) -> { set, left, cart } | nil, err     what pays for it, oldest first, and
--       minor units that nobody has chosen to pay yet, below zero where it is too much
--   remove(ctx, cart_id, payment_id) -> as list     it pays for nothing from then on; what is
--       held of it is let go of at once, or by till.flow.sweep where its provider does not answer;
--       the goods with the last one
--
-- Where the cart holds nothing yet and all of it is there, as nearly always, it is one
-- till.store.script. Everything else goes statement by statement: what was held is let go of, what
-- others held for too long gives way, and who is refused hears what is left. What was held and
-- begun in one piece stays with the cart that the worker remembers, for its completion.
local abandoned = require "till.store.abandoned"
local carts = require "till.store.carts"
local cart_flow = require "till.flow.cart"
local cart_hold = require "till.flow.cart_hold"
local channel = require "till.flow.channel"
local err = require "till.util.err"
local kept = require "till.flow.payment_kept"
local log = require "till.prim.log"
local parts = require "till.flow.payment_parts"
local payment = require "till.flow.payment"
local payment_offer = require "till.flow.payment_offer"
local payments = require "till.store.payments"
local reservations = require "till.store.reservations"
local saved_methods = require "till.flow.saved_methods"
local sagas = require "till.store.sagas"
local script = require "till.store.script"
local sql = require "till.prim.sql"
local stock = require "till.store.stock"
local time = require "till.prim.time"
local turns = require "till.flow.turns"

local payment_session = {}

local TURN_MS = 10000


local function begin(tx, cart, ask, ends_at)
  local p, e = payment.start(tx, cart, ask.provider, ask.data, ask.offer, ask.room)
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


-- The row of the cart is ours: whoever began another part meanwhile has done so.
local function is_room(tx, cart, ask)
  if not ask.room.part then return true end
  local list, e = payments.of_cart(cart.id, tx)
  if not list then return nil, e end
  local now, e2 = parts.room(list, cart, ask.amount)
  if not now then return nil, e2 end
  if now.amount == ask.room.amount and now.part == ask.room.part then
    return carts.holds(tx, cart.id)
  end
  return nil, err.new("busy", "another payment session was begun just now; try again")
end


-- Nothing within it asks the pool for another connection: those who wait for this one have them.
local function step_by_step(ctx, cart, ask)
  local until_ms, most_ms = channel.hold_until(cart)
  return ctx:transaction(function(tx)
    local still, e = carts.is_still(tx, cart)
    if still == nil then return nil, e end
    if not still then
      return nil, err.new("completion_in_progress", "the cart is being completed or was changed")
    end
    local room, e5 = is_room(tx, cart, ask)
    if not room then return nil, e5 end
    local held, e2 = reservations.hold(tx, cart.id, stock.items(cart.priced),
      until_ms, most_ms)
    if not held then return nil, e2 end
    local ends_at, e4 = reservations.ends_at(tx, cart.id)
    if not ends_at then return nil, e4 end
    local p, e3 = begin(tx, cart, ask, ends_at)
    if not p then return nil, e3 end
    return ask.respond(p, cart)
  end)
end


--- about { currency, country, amount }, data of the shopper's or nil -> what its plugin says of
--- itself | nil, err
function payment_session.offer(provider, about, data)
  local fit, e = kept.fits(data)
  if not fit then return nil, e end
  return payment_offer.of(provider, about)
end


local function check(cart, provider, data, amount)
  local ok, e = cart_flow.check_open(cart)
  if not ok then return nil, e end
  if #cart.lines == 0 then return nil, err.new("cart_incomplete", "the cart is empty") end
  if cart.priced.total == 0 then
    return nil, err.new("conflict", "nothing is to be paid for this cart: complete it as it is")
  end
  local offer, e3 = payment_session.offer(provider, { currency = cart.currency,
    country = cart.country, amount = amount or cart.priced.total }, data)
  if not offer then return nil, e3 end
  local may, e2 = saved_methods.check(cart, provider, data)
  if not may then return nil, e2 end
  return offer
end


-- What this worker remembers of the cart will do where nothing is refused.
local function recalled(ctx, cart_id, ask)
  local cart = not ask.amount and cart_flow.recall(ctx.auth, cart_id)
  if not cart then return false end
  ask.offer = check(cart, ask.provider, ask.data)
  if not ask.offer then return false end
  return at_once(ctx, cart, ask)
end


-- Beside what is there already, one way or the other.
local function one_of_several(ctx, cart, ask)
  local open, e0 = cart_flow.check_open(cart)
  if not open then return nil, e0 end
  local list, e = payments.of_cart(cart.id)
  if not list then return nil, e end
  ask.room, e = parts.room(list, cart, ask.amount)
  if not ask.room then return nil, e end
  if ask.amount or ask.room.part then
    ask.offer, e = check(cart, ask.provider, ask.data, ask.room.amount)
    if not ask.offer then return nil, e end
  end
  -- they would wait for the cart's row, each with a connection
  return turns.with(cart.id, TURN_MS, step_by_step, ctx, cart, ask)
end


function payment_session.start(ctx, cart_id, wish, respond)
  local ask = { provider = wish.provider, data = wish.data, amount = wish.amount,
    respond = respond }
  local response, e = recalled(ctx, cart_id, ask)
  if response ~= false then return response, e end
  local cart, e2 = cart_flow.get(ctx.auth, cart_id)
  if not cart then return nil, e2 end
  if ask.amount then return one_of_several(ctx, cart, ask) end
  local offer, e3 = check(cart, ask.provider, ask.data)
  if not offer then return nil, e3 end
  ask.offer = offer
  response, e = at_once(ctx, cart, ask)
  if response == false then return one_of_several(ctx, cart, ask) end
  return response, e
end


local function listed(cart)
  local list, e = payments.of_cart(cart.id)
  if not list then return nil, e end
  local set = parts.chosen(list, cart.priced.total, cart.currency)
  return { set = set, left = cart.priced.total - parts.sum(set), cart = cart }
end


function payment_session.list(ctx, cart_id)
  local cart, e = cart_flow.get(ctx.auth, cart_id)
  if not cart then return nil, e end
  return listed(cart)
end


local CLAIM_MS = 60000
local UNFINISHED = { running = true, waiting = true, parked = true }


local function find(cart, payment_id)
  local p, e = payments.get(payment_id)
  if p == nil then return nil, e end
  if not p or p.cart_id ~= cart.id or not parts.LIVE[p.state] or kept.is_let_go(p) then
    return nil, err.new("not_found", "the cart has no such payment session")
  end
  return p
end


-- From the mark on no order can be placed with it. Its money is gone when its provider says so.
local function let_go(p, claim)
  if p.state == "created" then return payment.move(p, "void") end
  local marked, e = sql.transaction(function(tx)
    return abandoned.let_go(tx, p, claim, "deleted")
  end)
  if not marked then
    return nil, e or err.new("busy", "the payment was changed just now; try again")
  end
  p.data.till = p.data.till or {}
  p.data.till.let_go = "deleted"
  local gone, e2 = payment.void(p)
  if not gone then
    log.warn("payment.deleted", { payment = p.id, provider = p.provider, error = tostring(e2),
      next_step = "it is tried again once the goods are not held any more" })
  end
  return true
end


-- Where nothing pays for the cart any more, nothing is held for it.
local function release(cart, claim)
  local list, e = payments.of_cart(cart.id)
  for _, p in ipairs(list or {}) do
    if parts.LIVE[p.state] and not kept.is_let_go(p) then return end
  end
  local ok
  if list then ok, e = cart_hold.release(cart.id, claim) end
  if not ok then log.warn("cart.release", { cart_id = cart.id, error = tostring(e) }) end
end


local function in_progress()
  return nil, err.new("completion_in_progress", "the cart is being completed, or was changed just"
    .. " now; wait for its end")
end


-- A flow that runs, waits or is parked has it in hand: the cart is left as it was found.
local function remove_claimed(cart, payment_id, claim)
  local row, e = sagas.find("checkout", cart.id)
  if row == nil then return nil, e end
  if row and UNFINISHED[row.state] then
    carts.lapse(cart.id, claim)
    return in_progress()
  end
  local p, e2 = find(cart, payment_id)
  if not p then return nil, e2 end
  local gone, e3 = let_go(p, claim)
  if not gone then return nil, e3 end
  release(cart, claim)
  return true
end


function payment_session.remove(ctx, cart_id, payment_id)
  local cart, e = cart_flow.get(ctx.auth, cart_id)
  if not cart then return nil, e end
  local open, e2 = cart_flow.check_open(cart)
  if not open then return nil, e2 end
  local claim, e3 = carts.claim(nil, cart, time.now_ms() + CLAIM_MS)
  if claim == nil then return nil, e3 end
  if not claim then return in_progress() end
  cart_flow.forget(cart_id)
  local good, done, why = xpcall(remove_claimed, debug.traceback, cart, payment_id, claim)
  if not err.is(why, "completion_in_progress") then carts.unclaim(nil, cart.id, claim) end
  if not good then error(done, 0) end
  if not done then return nil, why end
  return payment_session.list(ctx, cart_id)
end


return payment_session
