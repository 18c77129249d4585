-- till/http/admin_api/orders - orders, their fulfilment and their payments, for staff.
local actor = require "till.http.actor"
local err = require "till.util.err"
local order_flow = require "till.flow.order"
local orders = require "till.store.orders"
local payments = require "till.store.payments"
local render = require "till.http.render"
local route = require "till.http.route"
local s = require "till.util.schema"
local shapes = require "till.http.shapes"
local views = require "till.http.views"

local PARAMS = { id = s.id("ord") }
local DATE = s.string { format = "date-time" }


local function read(order_id)
  local order, e = orders.get(order_id)
  if order == nil then return nil, e end
  if not order then return nil, err.new("not_found", "there is no such order") end
  return order
end


local function list(ctx)
  local page, e = ctx:page()
  if not page then return nil, e end
  local opts = { limit = page.limit, after = page.after, before = page.before }
  for name, value in pairs(ctx.query) do opts[name] = opts[name] or value end
  opts.after, opts.before = page.after, page.before
  local rows, e2 = orders.list(opts)
  if not rows then return nil, e2 end
  return ctx:json(200, ctx:list(rows, page, views.order_head, function(o)
    return { o.placed_at, o.id }
  end))
end


local function get(ctx)
  local order, e = read(ctx.params.id)
  if not order then return nil, e end
  local paid, e2 = payments.of_order(order.id)
  if not paid then return nil, e2 end
  local view, list_of = views.order(order), {}
  for i, p in ipairs(paid) do list_of[i] = views.payment(p) end
  view.payments = render.list(list_of)
  return ctx:json(200, { order = view }, { etag = order.version })
end


local function timeline(ctx)
  local events, e = orders.events(ctx.params.id)
  if not events then return nil, e end
  local out = {}
  for i, event in ipairs(events) do out[i] = views.event(event) end
  return ctx:json(200, { data = render.list(out), has_more = false })
end


local function trace(ctx)
  local found, e = orders.trace(ctx.params.id)
  if found == nil then return nil, e end
  if not found then return nil, err.new("not_found", "there is no such order") end
  return ctx:json(200, { price_trace = found })
end


local function fulfil(ctx)
  local function send(tx)
    local order, fulfilment_id = order_flow.fulfil(tx, ctx.params.id, ctx.body, actor.of(ctx))
    if not order then return nil, fulfilment_id end
    return ctx:json(201, { fulfilment = { id = fulfilment_id,
      tracking_number = ctx.body.tracking_number }, order = views.order(order) },
      { etag = order.version })
  end
  return order_flow.alone(ctx.params.id, function() return ctx:transaction(send) end)
end


local function cancel(ctx)
  return order_flow.cancel(ctx.params.id, actor.of(ctx), function(fn)
    return ctx:transaction(function(tx)
      local order, e = fn(tx)
      if not order then return nil, e end
      return ctx:json(200, { order = views.order(order) }, { etag = order.version })
    end)
  end)
end


local function list_payments(ctx)
  local page, e = ctx:page()
  if not page then return nil, e end
  local rows, e2 = payments.list { state = ctx.query.state, order_id = ctx.query.order_id,
    limit = page.limit, after = page.after, before = page.before }
  if not rows then return nil, e2 end
  return ctx:json(200, ctx:list(rows, page, views.payment, function(p) return { p.id } end))
end


local function capture(ctx)
  return order_flow.capture(ctx.params.id, actor.of(ctx), function(fn)
    return ctx:transaction(function(tx)
      local p, e = fn(tx)
      if not p then return nil, e end
      return ctx:json(200, { payment = views.payment(p) })
    end)
  end)
end


return {
  route.get("/admin/v1/orders", {
    summary = "Orders, newest first", tag = "orders", auth = "admin", permission = "orders.read",
    page = true, query = { status = s.string { enum = { "placed", "completed", "cancelled" } },
      payment_status = s.string { max = 32 }, fulfilment_status = s.string { max = 32 },
      email = s.string { max = 254 }, number = s.integer { min = 1 },
      customer_id = s.id("cus"), placed_after = DATE, placed_before = DATE },
    returns = { [200] = shapes.list(shapes.order) }, handler = list,
  }),
  route.get("/admin/v1/orders/{id}", {
    summary = "One order with its payments", tag = "orders", auth = "admin",
    permission = "orders.read", params = PARAMS,
    returns = { [200] = shapes.one("order", shapes.order) }, handler = get,
  }),
  route.get("/admin/v1/orders/{id}/timeline", {
    summary = "What happened to it", tag = "orders", auth = "admin", permission = "orders.read",
    params = PARAMS, returns = { [200] = shapes.list(s.any {}) }, handler = timeline,
  }),
  route.get("/admin/v1/orders/{id}/price-trace", {
    summary = "How its price came about", tag = "orders", auth = "admin",
    permission = "orders.read", params = PARAMS, returns = { [200] = true }, handler = trace,
  }),
  route.post("/admin/v1/orders/{id}/fulfilments", {
    summary = "Send all that is left, or some lines", tag = "orders", auth = "admin",
    permission = "orders.write", params = PARAMS, idempotency = "required",
    body = s.object { tracking_number = s.string { min = 1, max = 120 },
      carrier = s.string { min = 1, max = 64 },
      lines = s.array(s.object({ line_id = s.id("line"), quantity = s.integer { min = 1 } },
        { required = { "line_id", "quantity" } }), { max = 1000 }) },
    returns = { [201] = true }, handler = fulfil,
  }),
  route.post("/admin/v1/orders/{id}/cancel", {
    summary = "Cancel it before anything was sent", tag = "orders", auth = "admin",
    permission = "orders.write", params = PARAMS, idempotency = "required", body = s.object {},
    returns = { [200] = shapes.one("order", shapes.order) }, handler = cancel,
  }),
  route.get("/admin/v1/payments", {
    summary = "Attempts to be paid", tag = "payments", auth = "admin",
    permission = "payments.read", page = true,
    query = { state = s.string { max = 32 }, order_id = s.id("ord") },
    returns = { [200] = shapes.list(shapes.payment) }, handler = list_payments,
  }),
  route.post("/admin/v1/payments/{id}/capture", {
    summary = "Take the money", tag = "payments", auth = "admin", permission = "payments.write",
    params = { id = s.id("pay") }, idempotency = "required", body = s.object {},
    returns = { [200] = shapes.one("payment", shapes.payment) }, handler = capture,
  }),
}
