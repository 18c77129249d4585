-- till/flow/checkout - from a cart to a placed order.
--
--   session(ctx, cart_id, provider, data, transaction) -> payment, cart | nil, err
--   complete(ctx, cart_id, env) -> { type = "order", order } | { type = "cart", cart, error }
--                                | { type = "processing" } | nil, err
--   resume(saga_row)            by the jobs worker
--
-- env.transaction(fn) runs `fn(tx) -> order` and, on a request, writes the idempotency record in
-- the same transaction; env.payment_data is what the shopper brought back from the provider.
--
-- reserve -> authorize -> place; capture follows from the outbox. The price is computed once more
-- before anything is taken: when it differs from what the cart showed, the shopper decides.
local carts = require "till.store.carts"
local cart_flow = require "till.flow.cart"
local co = require "till.prim.co"
local conf = require "till.prim.conf"
local dispatch = require "till.plugin.dispatch"
local err = require "till.util.err"
local orders = require "till.store.orders"
local payment = require "till.flow.payment"
local payments = require "till.store.payments"
local place = require "till.flow.place"
local pricing = require "till.flow.pricing"
local saga = require "till.flow.saga"
local sagas = require "till.store.sagas"
local sql = require "till.prim.sql"
local stock = require "till.store.stock"
local time = require "till.prim.time"

local checkout = {}

local PROVIDER_MS = 3600000
local TOTALS = { "subtotal", "discount_total", "shipping_total", "tax_total", "total" }
-- What the shopper can do something about: he gets his cart back, with the reason.
local FOR_SHOPPER = { payment_declined = true, payment_requires_action = true, sold_out = true,
  price_changed = true, promotion_refused = true, shipping_unavailable = true }


local function until_ms()
  return time.now_ms() + conf.get("cart.reservation_minutes") * 60000
end


local function items_of(cart)
  local out = {}
  for i, line in ipairs(cart.priced.lines) do
    out[i] = { variant_id = line.variant_id, sku = line.sku, quantity = line.quantity }
  end
  return out
end


local function missing(cart)
  local out = {}
  local function need(condition, pointer, detail)
    if condition then return end
    out[#out + 1] = { pointer = pointer, detail = detail, code = "missing" }
  end
  need(#cart.lines > 0, "/lines", "the cart is empty")
  need(cart.email, "/email", "an e-mail address is needed")
  need(cart.shipping_address, "/shipping_address", "an address is needed")
  need(cart.shipping_option_id or not dispatch.has("shipping.quote"), "/shipping_option_id",
    "a shipping option is needed")
  return out
end


-- Is everything there that an order needs, and does no plugin object?
local function check_cart(cart, quote)
  local errors = missing(cart)
  for _, item in pairs(quote.items) do
    if not item.variant.sellable then
      errors[#errors + 1] = { pointer = "/lines", code = "gone",
        detail = item.variant.sku .. " is not sold any more" }
    end
  end
  local answers, e = dispatch.ask("cart.validate", quote.summary)
  if not answers then return nil, e end
  for _, answer in ipairs(answers) do
    errors[#errors + 1] = { pointer = answer.value.pointer or "", detail = answer.value.message,
      code = answer.value.code }
  end
  if #errors == 0 then return true end
  return nil, err.new("cart_incomplete", errors[1].detail, { errors = errors })
end


local function is_changed(shown, priced)
  for _, name in ipairs(TOTALS) do
    if shown[name] ~= priced[name] then return true end
  end
  return false
end


--- A payment session holds the stock: who pays must get what he pays for.
function checkout.session(ctx, cart_id, provider, data, transaction)
  local cart, e = cart_flow.get(ctx.auth, cart_id)
  if not cart then return nil, e end
  local ok, e2 = cart_flow.check_open(cart)
  if not ok then return nil, e2 end
  if #cart.lines == 0 then return nil, err.new("cart_incomplete", "the cart is empty") end
  local offer = payment.describe(provider, { currency = cart.currency, country = cart.country,
    amount = cart.priced.total })
  if not offer then
    return nil, err.new("payment_provider_unknown", ("%s is not offered for this cart")
      :format(provider))
  end
  return transaction(function(tx)
    local still, held, e3
    still, e3 = carts.is_still(tx, cart)
    if still == nil then return nil, e3 end
    if not still then
      return nil, err.new("completion_in_progress", "the cart is being completed or was changed")
    end
    held, e3 = stock.hold(tx, cart.id, items_of(cart), until_ms())
    if not held then return nil, e3 end
    local p, e4 = payment.start(tx, cart, provider, data)
    if not p then return nil, e4 end
    p.expires_at = time.rfc3339(until_ms())
    return { payment = p, cart = cart }
  end)
end


-- Held for as long as a provider may take to answer.
local function reserve(data, env)
  local done, e = sql.transaction(function(tx)
    local held, why = stock.hold(tx, data.cart_id, data.items, time.now_ms() + PROVIDER_MS)
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
  return sql.transaction(function(tx) return stock.release(tx, data.cart_id) end)
end


local LIVE = { created = true, sending = true, unknown = true, requires_action = true,
  authorized = true, captured = true }


local REFUSED = { declined = true, failed = true }


-- The newest attempt that is for this amount; older ones and those for other amounts are let go.
-- Where all were refused it is the newest of those: who repeats a completion hears the same again.
local function pick(data)
  local list, e = payments.of_cart(data.cart_id)
  if not list then return nil, e end
  local found, refused = false, false
  for _, p in ipairs(list) do
    local fits = p.amount == data.total and p.currency == data.currency
    if LIVE[p.state] and fits and not found then
      found = p
    elseif LIVE[p.state] then
      local ok, e2 = payment.void(p)
      if not ok then return nil, e2 end
    elseif REFUSED[p.state] and fits then
      refused = refused or p
    end
  end
  return found or refused
end


local function authorize(data, env)
  if data.total == 0 then return true end
  local p, e = pick(data)
  if p == nil then return nil, e end
  if not p then
    return nil, err.new("cart_incomplete", "choose how to pay first", { errors = { {
      pointer = "/payment_session", detail = "a payment session is needed", code = "missing" } } })
  end
  if not env.is_held then stock.extend(data.cart_id, time.now_ms() + PROVIDER_MS) end
  local paid, e2 = payment.authorize(p, env)
  data.payment_id = p.id
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


local flow = saga.define("checkout", {
  { name = "reserve", run = reserve, undo = unreserve },
  { name = "authorize", run = authorize, undo = unauthorize },
  { name = "place", run = function(data, env) return place.run(data, env) end },
})


-- Everything that placing needs, frozen before the first step.
local function freeze(cart, quote)
  local head = {}
  for _, name in ipairs { "email", "shipping_address", "billing_address", "shipping_option_id",
    "customer_id", "key_id", "country" } do head[name] = cart[name] end
  return { cart_id = cart.id, cart_version = cart.version, currency = cart.currency,
    total = quote.priced.total, items = items_of({ priced = quote.priced }), given = quote.given,
    priced = quote.priced, head = head, generation = co.generation() }
end


local function show_new_price(cart, quote)
  cart.priced = quote.priced
  local saved, e = carts.save(nil, cart)
  if saved == nil then return nil, e end
  return { type = "cart", cart = cart, error = err.new("price_changed",
    "the price has changed; look at it and complete again") }
end


-- Who waits for an outcome keeps the cart: it may be paid already.
local function answer(cart, state, e, env)
  if state == "done" then
    if env.order then return { type = "order", order = env.order, response = env.response } end
    return { type = "order", order = orders.of_cart(cart.id) or nil }
  elseif state == "waiting" then
    return { type = "processing" }
  end
  carts.unclaim(nil, cart.id, env.claim)
  if e and FOR_SHOPPER[e.code] then
    return { type = "cart", cart = carts.get(cart.id), error = e }
  end
  return nil, e
end


local function in_progress()
  return nil, err.new("completion_in_progress", "the cart is being completed just now")
end


local function drive(cart, data, env, held)
  local until_claim = time.now_ms() + conf.get("cart.completion_claim_ms")
  local claim, e = carts.claim(nil, cart, until_claim, held)
  if claim == nil then return nil, e end
  if not claim then return in_progress() end
  env.claim = claim
  local state, e2 = flow:run(cart.id, data, env)
  if state == nil then return nil, e2 end
  if state == "busy" then
    -- The cart is not opened: whoever has the saga, or comes after him, buys what it froze.
    carts.lapse(cart.id, claim)
    return in_progress()
  end
  return answer(cart, state, e2, env)
end


local function already(cart)
  local order, e = orders.get(cart.order_id)
  if not order then return nil, e or err.new("internal", "the order of the cart is not there") end
  return { type = "order", order = order }
end


local UNFINISHED = { running = true, waiting = true }


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


local function fresh(cart, env)
  local ok, e2 = cart_flow.check_open(cart)
  if not ok then return nil, e2 end
  local quote, e3 = pricing.price(cart)
  if not quote then return nil, e3 end
  ok, e2 = check_cart(cart, quote)
  if not ok then return nil, e2 end
  if is_changed(cart.priced, quote.priced) then return show_new_price(cart, quote) end
  env.anew = true
  return drive(cart, freeze(cart, quote), env)
end


function checkout.complete(ctx, cart_id, env)
  local cart, e = cart_flow.get(ctx.auth, cart_id)
  if not cart then return nil, e end
  if cart.state == "completed" then return already(cart) end
  local row, e2 = unfinished(cart)
  if row == nil then return nil, e2 end
  if not row then return fresh(cart, env) end
  return drive(cart, row.data, env, row.state == "waiting" and cart.claim or nil)
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
  local env = { transaction = sql.transaction }
  if not is_of(row, cart) then return flow:abandon(cart.id, env) end
  return drive(cart, row.data, env, row.state == "waiting" and cart.claim or nil)
end


return checkout
