-- till/http/store_api/orders - the shopper's orders.
local order_flow = require "till.flow.order"
local order_payment = require "till.flow.order_payment"
local orders = require "till.store.orders"
local payments = require "till.store.payments"
local render = require "till.http.render"
local route = require "till.http.route"
local s = require "till.util.schema"
local shapes = require "till.http.shapes"
local views = require "till.http.views"


local function get(ctx)
  local order, e = order_flow.get(ctx.auth, ctx.params.id)
  if not order then return nil, e end
  local view = views.order(order)
  if order.payments_count > 1 then
    local paid, e2 = payments.of_order(order.id)
    if not paid then return nil, e2 end
    view.payments = render.list {}
    for i, p in ipairs(paid) do view.payments[i] = views.payment_session(p) end
  end
  local due, e3 = order_payment.due(order)
  if not due then return nil, e3 end
  view.amount_due = due > 0 and render.money(due, order.currency) or nil
  return ctx:json(200, { order = view }, { etag = order.version })
end


local function list_own(ctx)
  local page, e = ctx:page()
  if not page then return nil, e end
  local rows, e2 = orders.list { customer_id = ctx.auth.customer_id, limit = page.limit,
    after = page.after, before = page.before }
  if not rows then return nil, e2 end
  return ctx:json(200, ctx:list(rows, page, views.order_head, function(o)
    return { o.placed_at, o.id }
  end))
end


return {
  route.get("/store/v1/orders", {
    summary = "Orders of the customer who is logged in", tag = "orders", auth = "customer",
    page = true, returns = { [200] = shapes.list(shapes.order) }, handler = list_own,
  }),
  route.get("/store/v1/orders/{id}", {
    priority = "cart",
    summary = "One order", tag = "orders", auth = "store", params = { id = s.id("ord") },
    returns = { [200] = shapes.one("order", shapes.order) }, handler = get,
  }),
}
