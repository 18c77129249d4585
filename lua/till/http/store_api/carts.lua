-- till/http/store_api/carts - the shopper's cart, to its completion.
local cart_codes = require "till.flow.cart_codes"
local cart_flow = require "till.flow.cart"
local cart_merge = require "till.flow.cart_merge"
local catalog = require "till.flow.catalog"
local checkout = require "till.flow.checkout"
local kept = require "till.flow.payment_kept"
local live_hints = require "till.flow.live_hints"
local orders = require "till.store.orders"
local payment_methods = require "till.flow.payment_methods"
local payment_session = require "till.flow.payment_session"
local pricing = require "till.flow.pricing"
local refusals = require "till.flow.refusals"
local render = require "till.http.render"
local around = require("till.http.respond").around
local route = require "till.http.route"
local s = require "till.util.schema"
local shapes = require "till.http.shapes"
local views = require "till.http.views"

local CART = { id = s.id("cart") }
local LINE = { id = s.id("cart"), line = s.id("line") }
local SESSION = { id = s.id("cart"), session = s.id("pay") }
local POLL_MS = 1000


local function show(ctx, status, cart)
  return ctx:json(status, { cart = views.cart(cart) }, { etag = cart.version })
end


local function change(ctx, fn)
  local function respond(cart) return show(ctx, 200, cart) end
  local cart, e = cart_flow.change(ctx, ctx.params.id, fn, respond)
  if not cart then return nil, e end
  return respond(cart)
end


local function create(ctx)
  local cart, e = cart_flow.create(ctx.auth, ctx.body or {})
  if not cart then return nil, e end
  return ctx:json(201, { cart = views.cart(cart) }, { etag = cart.version,
    headers = { location = "/store/v1/carts/" .. cart.id } })
end


local function get(ctx)
  local cart, e = cart_flow.get(ctx.auth, ctx.params.id)
  if not cart then return nil, e end
  return show(ctx, 200, cart)
end


local function get_options(ctx)
  local cart, e = cart_flow.get(ctx.auth, ctx.params.id)
  if not cart then return nil, e end
  local options, e2 = pricing.options(cart)
  if not options then return nil, e2 end
  local out = {}
  for i, o in ipairs(options) do
    out[i] = { id = o.id, label = o.label, price = render.money(o.amount, cart.currency),
      min_days = o.min_days, max_days = o.max_days }
  end
  return ctx:json(200, { data = render.list(out), has_more = false })
end


local function get_methods(ctx)
  local cart, e = cart_flow.get(ctx.auth, ctx.params.id)
  if not cart then return nil, e end
  local list, e2 = payment_methods.list(cart, ctx.query.amount)
  if not list then return nil, e2 end
  return ctx:json(200, { data = render.list(list), has_more = false })
end


local function moved(cart)
  local ids = {}
  for i, line in ipairs(cart.lines) do ids[i] = line.variant_id end
  catalog.moved(ids)
end


local function start_payment(ctx)
  local seen
  ctx.body.data = kept.given(ctx.body.data)
  local response, e = payment_session.start(ctx, ctx.params.id, ctx.body,
    function(payment, cart)
      seen = cart
      return ctx:json(201, { payment_session = views.payment_session(payment),
        cart = views.cart(cart) })
    end)
  if not response then
    refusals.note(e, ctx.params.id)
    return nil, e
  end
  moved(seen)
  return response
end


local function show_sessions(ctx, found, e)
  if not found then return nil, e end
  local out = {}
  for i, p in ipairs(found.set) do out[i] = views.payment_session(p) end
  return ctx:json(200, { payment_sessions = render.list(out),
    left = render.money(found.left, found.cart.currency) }, { etag = found.cart.version })
end


local function list_payments(ctx)
  return show_sessions(ctx, payment_session.list(ctx, ctx.params.id))
end


local function remove_payment(ctx)
  return show_sessions(ctx, payment_session.remove(ctx, ctx.params.id, ctx.params.session))
end


-- The number of the order is known to the database alone, and only once the order is there: the
-- answer that is recorded with it leaves its place open. No text of a client can look like the
-- mark, for quotes inside of texts are escaped.
local NUMBER = '"number":'
local MARK = NUMBER .. ("%.0f"):format(orders.UNNUMBERED)


local function completion(ctx)
  local env = { payment_data = ctx.body and ctx.body.data, once = ctx.idem }
  function env.claim_key() return ctx:claim() end
  function env.claim_with(script) return ctx:claim_in(script) end
  function env.answer(script, order)
    local response = ctx:json(200, { type = "order", order = views.order(order) },
      { etag = order.version })
    local before, after = around(response, MARK)
    before = before .. NUMBER
    ctx:record(script, response, { before, orders.NUMBER, after })
    function env.finish()
      ctx:committed()
      response.body = before .. ("%.0f"):format(env.order.number) .. after
      return response
    end
  end
  return env
end


local function complete(ctx)
  if ctx.body then ctx.body.data = kept.given(ctx.body.data) end
  local fit, why = kept.fits(ctx.body and ctx.body.data)
  if not fit then return nil, why end
  local env = completion(ctx)
  local result, e = checkout.complete(ctx, ctx.params.id, env)
  live_hints.cart(ctx.params.id)
  if not result then
    refusals.note(e, ctx.params.id)
    return nil, e
  end
  if result.response then return result.response end
  if result.type == "order" then
    if env.order then return env.finish() end
    return ctx:json(200, { type = "order", order = views.order(result.order) },
      { etag = result.order.version })
  elseif result.type == "cart" then
    moved(result.cart)
    refusals.note(result.error, ctx.params.id)
    return ctx:json(200, { type = "cart", cart = views.cart(result.cart),
      error = views.error(result.error) }, { etag = result.cart.version })
  end
  return ctx:json(202, { type = "processing", poll_after_ms = POLL_MS })
end


local function merge(ctx)
  local cart, more = cart_merge.merge(ctx.auth, ctx.params.id)
  if not cart then return nil, more end
  return ctx:json(200, { cart = views.cart(cart), left_out = render.list(more) },
    { etag = cart.version })
end


local returns_cart = { [200] = shapes.one("cart", shapes.cart) }
local QUANTITY = s.integer { min = 1, max = 1000000 }

return {
  route.post("/store/v1/carts", {
    summary = "Begin a cart", tag = "carts", auth = "store",
    body = s.object { currency = s.nullable(s.string { max = 3, min = 3 }),
      country = s.nullable(s.string { min = 2, max = 2 }) },
    returns = { [201] = shapes.one("cart", shapes.cart) }, handler = create,
    errors = { "unknown_currency", "unknown_country" },
  }),
  route.get("/store/v1/carts/{id}", {
    priority = "cart",
    summary = "The cart as it was last priced", tag = "carts", auth = "store", params = CART,
    returns = returns_cart, handler = get,
  }),
  route.patch("/store/v1/carts/{id}", {
    summary = "Say who buys, where it goes and how", tag = "carts", auth = "store", params = CART,
    if_match = "optional", returns = returns_cart,
    body = s.object { email = s.nullable(s.string { format = "email", max = 254 }),
      shipping_address = s.nullable(shapes.address), billing_address = s.nullable(shapes.address),
      shipping_option_id = s.nullable(s.string { min = 1, max = 120 }) },
    handler = function(ctx) return change(ctx, cart_flow.set_fields(ctx.body)) end,
    errors = { "shipping_unavailable", "completion_in_progress", "cart_completed" },
  }),
  route.post("/store/v1/carts/{id}/lines", {
    summary = "Put something into the cart", tag = "carts", auth = "store", params = CART,
    if_match = "optional", idempotency = "optional", returns = returns_cart,
    body = s.object({ variant_id = s.id("var"), quantity = QUANTITY },
      { required = { "variant_id", "quantity" } }),
    handler = function(ctx)
      return change(ctx, cart_flow.add(ctx.body.variant_id, ctx.body.quantity))
    end,
    errors = { "no_price", "invalid_quantity", "completion_in_progress" },
  }),
  route.patch("/store/v1/carts/{id}/lines/{line}", {
    summary = "How many of it", tag = "carts", auth = "store", params = LINE,
    if_match = "optional", returns = returns_cart,
    body = s.object({ quantity = s.integer { min = 0, max = 1000000 } },
      { required = { "quantity" } }),
    handler = function(ctx)
      return change(ctx, cart_flow.set_quantity(ctx.params.line, ctx.body.quantity))
    end,
  }),
  route.delete("/store/v1/carts/{id}/lines/{line}", {
    summary = "Take it out again", tag = "carts", auth = "store", params = LINE,
    if_match = "optional", returns = returns_cart,
    handler = function(ctx) return change(ctx, cart_flow.remove(ctx.params.line)) end,
  }),
  route.get("/store/v1/carts/{id}/shipping-options", {
    priority = "cart",
    summary = "How it can be sent", tag = "carts", auth = "store", params = CART,
    returns = { [200] = shapes.list(s.any {}) }, handler = get_options,
  }),
  route.get("/store/v1/carts/{id}/payment-methods", {
    priority = "cart",
    summary = "How it can be paid", tag = "carts", auth = "store", params = CART,
    doc = "What takes all that is left to be paid; or the `amount`, in minor units, of a part.",
    query = { amount = s.integer { min = 1 } },
    returns = { [200] = shapes.list(s.any {}) }, handler = get_methods,
  }),
  route.post("/store/v1/carts/{id}/promotions", {
    summary = "Enter a promotion code", tag = "carts", auth = "store", params = CART,
    if_match = "optional", returns = returns_cart,
    body = s.object({ code = s.string { min = 1, max = 64 } }, { required = { "code" } }),
    handler = function(ctx) return change(ctx, cart_codes.add(ctx.body.code)) end,
    errors = { "promotion_unknown", "promotion_refused" },
  }),
  route.delete("/store/v1/carts/{id}/promotions/{code}", {
    summary = "Take a promotion code back", tag = "carts", auth = "store",
    params = { id = s.id("cart"), code = s.string { min = 1, max = 64 } }, if_match = "optional",
    returns = returns_cart,
    handler = function(ctx) return change(ctx, cart_codes.remove(ctx.params.code)) end,
  }),
  route.post("/store/v1/carts/{id}/merge", {
    summary = "A guest's cart becomes the customer's, or goes into his", tag = "carts",
    auth = "customer", params = CART, returns = returns_cart, handler = merge,
    errors = { "completion_in_progress", "cart_completed", "busy" },
  }),
  route.post("/store/v1/carts/{id}/payment-sessions", {
    priority = "checkout",
    summary = "Choose how to pay; stock is held from now on", tag = "carts", auth = "store",
    params = CART, idempotency = "optional", returns = { [201] = true },
    doc = "Without `amount` it is of all that is owed, and takes the place of the one before. With"
      .. " an `amount` below the total it is one of several, 5 at most, that have to come to the"
      .. " total; one without it is then of what the others leave.",
    body = s.object({ provider = s.string { min = 1, max = 64, pattern = "^[%l%d-]+$" },
      amount = s.money(), data = shapes.payment_data }, { required = { "provider" } }),
    handler = start_payment, errors = { "payment_provider_unknown", "sold_out" },
  }),
  route.get("/store/v1/carts/{id}/payment-sessions", {
    priority = "cart",
    summary = "What pays for it, oldest first, and what is left to be paid", tag = "carts",
    doc = "`left` is below zero where they come to more than the total.", auth = "store",
    params = CART, returns = { [200] = shapes.payment_sessions }, handler = list_payments,
  }),
  route.delete("/store/v1/carts/{id}/payment-sessions/{session}", {
    priority = "checkout",
    summary = "Do not pay with it; what is held of it is let go of", tag = "carts", auth = "store",
    params = SESSION, returns = { [200] = shapes.payment_sessions }, handler = remove_payment,
    errors = { "completion_in_progress", "cart_completed" },
  }),
  route.post("/store/v1/carts/{id}/complete", {
    priority = "checkout",
    summary = "Buy it", tag = "carts", auth = "store", params = CART, idempotency = "late",
    body = s.object { data = shapes.payment_data },
    returns = { [200] = true, [202] = true }, handler = complete,
    errors = { "cart_incomplete", "completion_in_progress" },
  }),
}
