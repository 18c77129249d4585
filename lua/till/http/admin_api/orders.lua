-- till/http/admin_api/orders - orders, their fulfilment, cancellations and returns, for staff.
local actor = require "till.http.actor"
local amount_due = require "till.flow.amount_due"
local cancellation = require "till.flow.cancellation"
local cancellations = require "till.store.cancellations"
local err = require "till.util.err"
local fulfilment = require "till.flow.fulfilment"
local order_flow = require "till.flow.order"
local orders = require "till.store.orders"
local payment_request_json = require "till.http.payment_request_json"
local payments = require "till.store.payments"
local refund_limits = require "till.http.refund_limits"
local render = require "till.http.render"
local request_of = require "till.http.request_key"
local returns = require "till.flow.returns"
local route = require "till.http.route"
local s = require "till.util.schema"
local shapes = require "till.http.shapes"
local states = require "till.flow.order_states"
local views = require "till.http.views"

local PARAMS = { id = s.id("ord") }
local OF_ORDER = { id = s.id("ord"), fulfilment_id = s.id("ful") }
local TRACKING = { tracking_number = s.nullable(s.string { min = 1, max = 120 }),
  carrier = s.nullable(s.string { min = 1, max = 64 }) }
local LINES = s.array(s.object({ line_id = s.id("line"), quantity = s.integer { min = 1 } },
  { required = { "line_id", "quantity" } }), { min = 1, max = 1000 })
local RETURNED = s.array(s.object({ line_id = s.id("line"), quantity = s.integer { min = 1 },
  restock = s.boolean { default = true, doc = "Is it fit to be sold again?" },
  location = s.string { min = 1, max = 64, doc = "Where it came in; else where it was sold from." },
}, { required = { "line_id", "quantity" } }), { min = 1, max = 1000 })
local REASON = s.string { min = 1, max = 255 }
local DATE = s.string { format = "date-time" }


local function read(order_id)
  local order, e = orders.get(order_id)
  if order == nil then return nil, e end
  if not order then return nil, err.new("not_found", "there is no such order") end
  return order
end


local function map(list, fn)
  local out = {}
  for i, value in ipairs(list) do out[i] = fn(value) end
  return render.list(out)
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
  local all, e3 = cancellations.of_order(order.id)
  if not all then return nil, e3 end
  local view = views.order(order)
  local cancelled, returned, refunded = cancellations.split(all)
  view.payments, view.cancellations = map(paid, views.payment), map(cancelled, views.cancellation)
  view.returns = map(returned, views.returned)
  view.refunds = map(refunded, views.cancellation)
  local found, e4 = amount_due.of(order)
  if not found then return nil, e4 end
  view.payment_request = found.request and payment_request_json.of(found, order) or nil
  view.possible = render.list(states.possible(order))
  return ctx:json(200, { order = view }, { etag = order.version })
end


local function timeline(ctx)
  local page, e = ctx:page()
  if not page then return nil, e end
  local order, e2 = read(ctx.params.id)
  if not order then return nil, e2 end
  local rows, e3 = orders.events(order, page)
  if not rows then return nil, e3 end
  return ctx:json(200, ctx:list(rows, page, views.event, function(row)
    return { row.at, row.id }
  end))
end


local function note(ctx)
  return ctx:transaction(function(tx)
    local ok, e = order_flow.note(tx, ctx.params.id, ctx.body.text, actor.of(ctx))
    if not ok then return nil, e end
    return ctx:json(201, { note = { text = ctx.body.text, actor = actor.of(ctx) } })
  end)
end


local function trace(ctx)
  local found, e = orders.trace(ctx.params.id)
  if found == nil then return nil, e end
  if not found then return nil, err.new("not_found", "there is no such order") end
  return ctx:json(200, { price_trace = found })
end


-- In a transaction with its answer.
local function fulfilling(status, fn)
  return function(ctx)
    return ctx:transaction(function(tx)
      local order, f = fn(tx, ctx)
      if not order then return nil, f end
      return ctx:json(status, { fulfilment = views.fulfilment(f), order = views.order(order) },
        { etag = order.version })
    end)
  end
end


local fulfil = fulfilling(201, function(tx, ctx)
  return fulfilment.create(tx, ctx.params.id, ctx.body, actor.of(ctx))
end)


local function on_one(name)
  return fulfilling(200, function(tx, ctx)
    return fulfilment[name](tx, ctx.params.id, ctx.params.fulfilment_id, ctx.body, actor.of(ctx))
  end)
end


local function cancel(ctx)
  local limit, e = refund_limits.of(ctx.auth.roles)
  if not limit then return nil, e end
  local wish = { lines = ctx.body.lines, reason = ctx.body.reason, request = request_of(ctx),
    limit = limit }
  return cancellation.cancel(ctx.params.id, wish, actor.of(ctx), function(fn)
    return ctx:transaction(fn)
  end, function(order, c)
    return ctx:json(c.state == "done" and 200 or 202, { order = views.order(order),
      cancellation = views.cancellation(c) }, { etag = order.version })
  end)
end


local function take_back(ctx)
  local limit, e = refund_limits.of(ctx.auth.roles)
  if not limit then return nil, e end
  local wish = { lines = ctx.body.lines, reason = ctx.body.reason, request = request_of(ctx),
    limit = limit }
  return returns.take(ctx.params.id, wish, actor.of(ctx), function(fn)
    return ctx:transaction(fn)
  end, function(order, c)
    return ctx:json(c.state == "done" and 201 or 202, { order = views.order(order),
      ["return"] = views.returned(c) }, { etag = order.version })
  end)
end


return {
  route.get("/admin/v1/orders", {
    summary = "Orders, newest first", tag = "orders", auth = "admin", permission = "orders.read",
    page = true, query = { status = s.string { enum = { "placed", "completed", "cancelled" } },
      payment_status = s.string { max = 32 }, fulfilment_status = s.string { max = 32 },
      return_status = s.string { enum = { "none", "partial", "returned" } },
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
    summary = "What happened to it, and who did it; oldest first", tag = "orders", auth = "admin",
    permission = "orders.read", params = PARAMS, page = true,
    returns = { [200] = shapes.list(s.any {}) }, handler = timeline,
  }),
  route.post("/admin/v1/orders/{id}/notes", {
    summary = "A note in its timeline", tag = "orders", auth = "admin",
    permission = "orders.write", params = PARAMS, idempotency = "required",
    body = s.object({ text = s.string { min = 1, max = 2000 } }, { required = { "text" } }),
    returns = { [201] = true }, handler = note,
  }),
  route.get("/admin/v1/orders/{id}/price-trace", {
    summary = "How its price came about", tag = "orders", auth = "admin",
    permission = "orders.read", params = PARAMS, returns = { [200] = true }, handler = trace,
  }),
  route.post("/admin/v1/orders/{id}/fulfilments", {
    summary = "Send all that is there and left, or some lines", tag = "orders", auth = "admin",
    permission = "orders.write", params = PARAMS, idempotency = "required",
    doc = "As `pending` it is packed: its units are taken, and it is handed over later, or"
      .. " cancelled.",
    body = s.object { status = s.string { enum = { "pending", "shipped" }, default = "shipped" },
      tracking_number = s.string { min = 1, max = 120 }, carrier = s.string { min = 1, max = 64 },
      lines = LINES },
    returns = { [201] = true }, handler = fulfil, errors = { "conflict" },
  }),
  route.patch("/admin/v1/orders/{id}/fulfilments/{fulfilment_id}", {
    summary = "Another tracking number or carrier", tag = "orders", auth = "admin",
    permission = "orders.write", params = OF_ORDER, idempotency = "optional",
    body = s.object(TRACKING), returns = { [200] = true }, handler = on_one "track",
    errors = { "conflict" },
  }),
  route.post("/admin/v1/orders/{id}/fulfilments/{fulfilment_id}/ship", {
    summary = "Hand over what was packed", tag = "orders", auth = "admin",
    permission = "orders.write", params = OF_ORDER, idempotency = "required",
    body = s.object(TRACKING), returns = { [200] = true }, handler = on_one "ship",
    errors = { "conflict" },
  }),
  route.post("/admin/v1/orders/{id}/fulfilments/{fulfilment_id}/cancel", {
    summary = "Unpack it: its units are to be sent again", tag = "orders", auth = "admin",
    permission = "orders.write", params = OF_ORDER, idempotency = "required",
    body = s.object { reason = REASON }, returns = { [200] = true }, handler = on_one "cancel",
    errors = { "conflict" },
  }),
  route.post("/admin/v1/orders/{id}/cancel", {
    summary = "Cancel it before anything was sent, or lines of it that were not sent",
    tag = "orders", auth = "admin", permission = "orders.write", params = PARAMS,
    idempotency = "required",
    doc = "Its units go back into stock, its money is not captured or given back, in the very"
      .. " amounts of its price trace. 202: the provider has not given the money back yet; ask"
      .. " again under the same key.",
    body = s.object { lines = LINES, reason = REASON },
    returns = { [200] = shapes.one("order", shapes.order),
      [202] = shapes.one("order", shapes.order) }, handler = cancel, errors = { "conflict" },
  }),
  route.post("/admin/v1/orders/{id}/returns", {
    summary = "Units that were sent came back", tag = "orders", auth = "admin",
    permission = "refunds.write", params = PARAMS, idempotency = "required",
    doc = "What was charged for them is given back, in the very amounts of the price trace, and the"
      .. " shipping with the return after which nothing of the order is kept. Units that are fit"
      .. " to be sold again go into stock. 202: the provider has not given the money back yet; ask"
      .. " again under the same key.",
    body = s.object({ lines = RETURNED, reason = REASON }, { required = { "lines" } }),
    returns = { [201] = shapes.one("order", shapes.order),
      [202] = shapes.one("order", shapes.order) }, handler = take_back, errors = { "conflict" },
  }),
}
