-- till/http/store_api/order_payments - the shopper pays what staff ask for an order that is placed.
local kept = require "till.flow.payment_kept"
local order_flow = require "till.flow.order"
local order_payment = require "till.flow.order_payment"
local payment_methods = require "till.flow.payment_methods"
local render = require "till.http.render"
local route = require "till.http.route"
local s = require "till.util.schema"
local shapes = require "till.http.shapes"
local views = require "till.http.views"

local PARAMS = { id = s.id("ord") }
local SESSION = { id = s.id("ord"), session = s.id("pay") }
local POLL_MS = 1000


local function start(ctx)
  ctx.body.data = kept.given(ctx.body.data)
  return order_payment.start(ctx, ctx.params.id, ctx.body, function(payment, order, left)
    return ctx:json(201, { payment_session = views.payment_session(payment),
      left = render.money(left, order.currency) })
  end)
end


local function list(ctx)
  local found, e = order_payment.list(ctx.auth, ctx.params.id)
  if not found then return nil, e end
  local out, currency = {}, found.order.currency
  for i, p in ipairs(found.set) do out[i] = views.payment_session(p) end
  return ctx:json(200, { payment_sessions = render.list(out),
    amount_due = render.money(found.found.due, currency),
    left = render.money(found.left, currency) })
end


local function methods(ctx)
  local order, e = order_flow.get(ctx.auth, ctx.params.id)
  if not order then return nil, e end
  local due, e2 = order_payment.due(order)
  if not due then return nil, e2 end
  local out, e3 = payment_methods.list_for(order_payment.about(order, due))
  if not out then return nil, e3 end
  return ctx:json(200, { data = render.list(due > 0 and out or {}), has_more = false })
end


local function pay(ctx)
  local result, e = order_payment.pay(ctx.auth, ctx.params.id, ctx.params.session,
    ctx.body and kept.given(ctx.body.data))
  if not result then return nil, e end
  if result.type == "processing" then
    return ctx:json(202, { type = "processing", poll_after_ms = POLL_MS })
  end
  local out = { type = result.type, order = views.order(result.order) }
  if result.type == "payment" then
    out.payment_session, out.error = views.payment_session(result.payment),
      views.error(result.error)
  end
  return ctx:json(200, out, { etag = result.order.version })
end


return {
  route.get("/store/v1/orders/{id}/payment-methods", {
    priority = "cart",
    summary = "How what is due for it can be paid", tag = "orders", auth = "store",
    params = PARAMS, returns = { [200] = shapes.list(s.any {}) }, handler = methods,
  }),
  route.post("/store/v1/orders/{id}/payment-sessions", {
    priority = "checkout",
    summary = "Choose how to pay what is due for an order that was placed", tag = "orders",
    auth = "store", params = PARAMS, idempotency = "optional", returns = { [201] = true },
    doc = "Only where staff have asked for it (`amount_due` of the order). Without `amount` it is"
      .. " of all that is due; what was begun before and is not on its way gives way to it where"
      .. " both together would be too much. Nothing is taken before it is paid.",
    body = s.object({ provider = s.string { min = 1, max = 64, pattern = "^[%l%d-]+$" },
      amount = s.money(), data = shapes.payment_data }, { required = { "provider" } }),
    handler = start, errors = { "payment_provider_unknown", "conflict", "busy" },
  }),
  route.get("/store/v1/orders/{id}/payment-sessions", {
    priority = "cart",
    summary = "What was begun to pay what is due, oldest first, and what is left", tag = "orders",
    auth = "store", params = PARAMS, returns = { [200] = shapes.payment_sessions },
    handler = list,
  }),
  route.post("/store/v1/orders/{id}/payment-sessions/{session}/pay", {
    priority = "checkout",
    summary = "Pay it", tag = "orders", auth = "store", params = SESSION,
    idempotency = "optional", returns = { [200] = true, [202] = true },
    doc = "`type` is `order` where it is paid; `payment`, with `error`, where it was declined or"
      .. " the shopper has to confirm it (bring what the provider gave him as `data`). 202: its"
      .. " outcome is not known yet; ask again.",
    body = s.object { data = shapes.payment_data },
    handler = pay, errors = { "conflict", "payment_provider_unknown" },
  }),
}
