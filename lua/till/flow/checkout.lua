-- till/flow/checkout - from a cart to a placed order.
--
--   complete(ctx, cart_id, env) -> { type = "order", order }
--                                | { type = "cart", cart, error }
--                                | { type = "processing" } | { response } | nil, err
--   resume(saga_row)            by the jobs worker
--
-- env.once is the Idempotency-Key, not claimed yet; env.claim_key() -> response to send instead
-- | nil | nil, err claims it; env.answer(script, order) makes the answer of a placed order and has
-- it recorded with it (till.flow.place); env.payment_data is what the shopper brought back from
-- the provider. env.only_payment: the id of the one that is to pay (of a flow: with once.claim).
--
-- reserve -> authorize -> place; capture follows from the outbox. The price is computed once more
-- before anything is taken: when it differs from what the cart showed, the shopper decides.
--
-- At once, or as a flow. A flow is stored step by step because somebody outside is told of it: a
-- provider that was asked must be looked up or undone, whoever dies. Where nobody outside is asked
-- (the plugin says so, or nothing is owed), the stock is held by the payment session already and
-- nobody has begun a flow, everything that a completion does is one transaction of this database,
-- and there is nothing to resume or to undo:
--
--   dies before the transaction      nothing was written: the cart is open, its stock held, its
--                                    payment `created`, its key unused; asked again it begins again
--   dies in it                       the same: it is rolled back
--   dies after it, nobody was told   order and answer are there; under the same key the answer is
--                                    given again, under another one the order
--   two at a time                    the first statement takes the row of the cart under its
--                                    version: the second waits for the first, is refused, and finds
--                                    what the first left
--   the answer to it was lost        as when refused: the key is claimed; what has its record is
--                                    replayed, else the flow below takes over from what is stored
--
-- The flow, where it dies. Its first three lines are one transaction where they can be
-- (till.flow.checkout_begin): nothing, or a payment that was sent.
--
--   after the claim of key and cart  the key may be taken over after its time; the row of the flow,
--                                    with all that it froze, is resumed by whoever comes first
--   before the provider was asked    the payment is `created`, the step is done again
--   asked, or answered               the payment is `sending` or what was stored: it is looked up
--                                    under the key of its attempt, never asked for twice
--   in the placing transaction       rolled back; placed again with the same frozen price
--   after it                         flow, cart and key are done with the order, all or none
--   while it is taken back           it goes on going back, whoever resumes it
local begin = require "till.flow.checkout_begin"
local carts = require "till.store.carts"
local cart_flow = require "till.flow.cart"
local channel = require "till.flow.channel"
local check_cart = require "till.flow.checkout_check"
local checkouts = require "till.store.checkouts"
local confirmed = require "till.flow.payment_confirmed"
local co = require "till.prim.co"
local conf = require "till.prim.conf"
local flow = require "till.flow.checkout_flow"
local err = require "till.util.err"
local fault = require "till.prim.fault"
local orders = require "till.store.orders"
local payment = require "till.flow.payment"
local payment_offer = require "till.flow.payment_offer"
local place = require "till.flow.place"
local pricing = require "till.flow.pricing"
local reservations = require "till.store.reservations"
local sagas = require "till.store.sagas"
local stock = require "till.store.stock"
local time = require "till.prim.time"
local told = require "till.flow.checkout_told"

local checkout = {}

local TOTALS = { "subtotal", "discount_total", "shipping_total", "tax_total", "total" }


local function is_changed(shown, priced)
  for _, name in ipairs(TOTALS) do
    if shown[name] ~= priced[name] then return true end
  end
  return false
end


-- Everything that placing needs, frozen before the first step.
local function freeze(cart, quote)
  local head = {}
  for _, name in ipairs { "email", "shipping_address", "billing_address", "shipping_option_id",
    "customer_id", "key_id", "country" } do head[name] = cart[name] end
  return { cart_id = cart.id, cart_version = cart.version, currency = cart.currency,
    total = quote.priced.total, items = stock.items(quote.priced), given = quote.given,
    priced = quote.priced, head = head, generation = co.generation() }
end


local function show_new_price(cart, quote)
  cart.priced = quote.priced
  local saved, e = carts.save(nil, cart)
  if saved == nil then return nil, e end
  return { type = "cart", cart = cart, error = err.new("price_changed",
    "the price has changed; look at it and complete again") }
end


local function placed(cart, env)
  if env.order then return { type = "order", order = env.order } end
  local order, e = orders.of_cart(cart.id)
  if not order then return nil, e or err.new("internal", "the order of the cart is not there") end
  return { type = "order", order = order }
end


-- Who waits for an outcome keeps the cart: it may be paid already.
local function answer(cart, state, e, env)
  if state == "done" then
    return placed(cart, env)
  elseif state == "waiting" or state == "parked" then
    return { type = "processing" }
  end
  reservations.shorten(cart.id, channel.hold_until(cart)) -- it was held for the provider's answer
  carts.unclaim(nil, cart.id, env.claim)
  if not e or not told.FOR_SHOPPER[e.code] then return nil, e end
  local now, e2 = carts.get(cart.id)
  if not now then return nil, e2 or e end
  return { type = "cart", cart = now, error = e }
end


local function in_progress()
  return nil, err.new("completion_in_progress", "the cart is being completed just now")
end


-- The cart is ours.
local function run(cart, data, env, claim)
  env.claim = claim
  fault.crash "checkout.after_claim"
  local state, e2 = flow:run(cart.id, data, env)
  if state == nil then return nil, e2 end
  if state == "busy" then
    -- The cart is not opened: whoever has the saga, or comes after him, buys what it froze.
    carts.lapse(cart.id, claim)
    return in_progress()
  end
  return answer(cart, state, e2, env)
end


local function drive(cart, data, env, held)
  local until_claim = time.now_ms() + conf.get("cart.completion_claim_ms")
  local claim, e = carts.claim(nil, cart, until_claim, held)
  if claim == nil then return nil, e end
  if not claim then return in_progress() end
  return run(cart, data, env, claim)
end


local function already(cart)
  local order, e = orders.get(cart.order_id)
  if not order then return nil, e or err.new("internal", "the order of the cart is not there") end
  return { type = "order", order = order }
end


local UNFINISHED = { running = true, waiting = true, parked = true }


-- Does the flow buy what the cart holds now? A claim does not raise the version, a change does.
local function is_of(row, cart)
  return cart.state == "completing" and row.data.cart_version == cart.version
end


-- A completion that was dropped or waits goes on with what it froze.
local function unfinished(cart)
  if cart.state ~= "completing" then return false end
  local row, e = sagas.find("checkout", cart.id)
  if not row then return row, e end
  if not UNFINISHED[row.state] or not is_of(row, cart) then return false end
  return row
end


-- What pays for it without anybody outside: a payment, or nothing where nothing is owed (false).
-- One of nothing, or of what was owed before, pays for no order.
local function paid_at_once(cart, quote, state)
  local p, total = state.payments[1], quote.priced.total
  if total == 0 then return not p and false or nil end
  if not p or state.payments[2] then return nil end
  if p.amount ~= total or p.currency ~= cart.currency then return nil end
  return payment_offer.still(p, cart) and payment.at_once(p) or nil
end


-- What place.at_once needs; false where a flow is needed.
local function parts_at_once(cart, quote, env)
  if cart.state ~= "open" or env.once.claim or not env.state then return false end
  local held = env.state.held
  if not reservations.is_held(held, stock.items(quote.priced)) then return false end
  local p = paid_at_once(cart, quote, env.state)
  if p == nil then return false end
  return { held = held, payment = p, result = quote.result }
end


-- Runs what `fn` is once the key is claimed; its answer may be there already.
local function claimed(env, fn, ...)
  local instead, e = env.claim_key()
  if instead or e then return instead and { response = instead }, e end
  return fn(...)
end


-- Whoever resumes it may be of another generation, whose rules of price make something else of
-- `given`: what was shown and is paid for goes along.
local function frozen(cart, quote, env)
  local data = freeze(cart, quote)
  data.result, data.only_payment = quote.result, env.only_payment
  data.key = begin.name_of(env.once)
  return data
end


-- All that comes before the provider is asked, in one piece. -> as complete | false: step by step
local function begun(cart, quote, env)
  if not begin.can(cart, stock.items(quote.priced), quote.priced.total, env) then return false end
  local data = frozen(cart, quote, env)
  local claim, e = begin.begin(cart, data, env)
  if not claim then return claim, e end
  return run(cart, data, env, claim)
end


-- What the shopper has seen of his payments is in the row from its first moment.
local function as_flow(cart, quote, env)
  local data = frozen(cart, quote, env)
  if data.total > 0 then
    local seen, e = confirmed.of(cart.id, not env.is_tried and env.state or nil)
    if not seen then return nil, e end
    data.confirmed = seen
  end
  env.anew = true
  return drive(cart, data, env)
end


local complete


-- Who is refused had somebody in his way: all of it is read again, to see what that one has done.
local function at_once(ctx, cart, quote, parts, env)
  env.steps = flow:count()
  local done, e = place.at_once(freeze(cart, quote), env, parts)
  if done ~= false then return done and { type = "order", order = env.order }, e end
  env.state = nil -- it is old
  return claimed(env, complete, ctx, cart.id, env)
end


local function fresh(ctx, cart, env)
  if env.state and env.state.version ~= cart.version then env.state = nil end -- of another one
  local ok, e2 = cart_flow.check_open(cart)
  if not ok then return nil, e2 end
  local before, e4 = told.of(cart, env.once)
  if before ~= false then return before, e4 end
  local quote, e3 = pricing.price(cart)
  if not quote then return nil, e3 end
  ok, e2 = check_cart(cart, quote)
  if not ok then return nil, e2 end
  if is_changed(cart.priced, quote.priced) then return show_new_price(cart, quote) end
  local parts = parts_at_once(cart, quote, env)
  if parts then return at_once(ctx, cart, quote, parts, env) end
  local done, e = begun(cart, quote, env)
  if done ~= false then return done, e end
  return claimed(env, as_flow, cart, quote, env)
end


local function go_on(cart, row, env)
  env.left_at = row.updated_at
  return drive(cart, row.data, env, row.state == "waiting" and cart.claim or nil)
end


-- `seen`: the cart as it was read just now, if it was.
function complete(ctx, cart_id, env, seen)
  local cart, e = cart_flow.get(ctx.auth, cart_id, seen)
  if not cart then return nil, e end
  if cart.state == "completed" then return claimed(env, already, cart) end
  local row, e2 = unfinished(cart)
  if row == nil then return nil, e2 end
  if not row then return fresh(ctx, cart, env) end
  if row.state == "parked" then return { type = "processing" } end -- staff look after it
  return claimed(env, go_on, cart, row, env)
end


-- -> as complete | false: the cart has to be read
local function recalled(ctx, cart, env)
  local quote = pricing.price(cart)
  if not quote or not check_cart(cart, quote) or is_changed(cart.priced, quote.priced) then
    return false
  end
  local parts = parts_at_once(cart, quote, env)
  if not parts then return begun(cart, quote, env) end
  return at_once(ctx, cart, quote, parts, env)
end


-- Cart and state, in one statement.
local function unseen(ctx, cart_id, env)
  local state, e = checkouts.whole(cart_id, env.once)
  if not state then return nil, e end
  env.state = state
  if state.is_used then return claimed(env, complete, ctx, cart_id, env) end
  return complete(ctx, cart_id, env, state.cart)
end


-- What the payment session of this worker has left may be old: each of it stands in a condition of
-- the script that uses it.
function checkout.complete(ctx, cart_id, env)
  local kept = cart_flow.recall(ctx.auth, cart_id)
  local session = kept and kept.session
  if session and session.version == kept.version then
    env.state = session
    local result, e = recalled(ctx, cart_flow.copy(kept), env)
    if result ~= false then return result, e end
    kept.session = nil
  end
  return unseen(ctx, cart_id, env)
end


--- One that was dropped, or waited for an outcome. Nobody is there to answer to. A cart that was
-- opened again or changed meanwhile is not bought: what was begun is taken back.
function checkout.resume(row)
  local cart, e = carts.get(row.aggregate)
  if cart == nil then return nil, e end
  if not cart or cart.state == "completed" then
    local saved, e2 = sagas.save(row, { state = "done" })
    return saved ~= nil, e2
  end
  local env = {}
  if not is_of(row, cart) then return flow:abandon(row, env) end
  return go_on(cart, row, env)
end


return checkout
