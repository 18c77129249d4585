-- till/http/store_api/payment_methods - what the shopper has let providers keep for him.
local render = require "till.http.render"
local route = require "till.http.route"
local s = require "till.util.schema"
local saved_methods = require "till.flow.saved_methods"
local shapes = require "till.http.shapes"
local views = require "till.http.views"


local function list(ctx)
  local rows, e = saved_methods.list(ctx.auth.customer_id)
  if not rows then return nil, e end
  for i, row in ipairs(rows) do rows[i] = views.saved_method(row) end
  return ctx:json(200, { data = render.list(rows), has_more = false })
end


local function delete(ctx)
  local done, e = saved_methods.delete(ctx, ctx.params.id)
  if not done then return nil, e end
  return ctx:empty()
end


return {
  route.get("/store/v1/customers/me/payment-methods", {
    summary = "Payment methods that are kept for the customer who is logged in", tag = "payments",
    auth = "customer", returns = { [200] = shapes.list(shapes.saved_method) }, handler = list,
  }),
  route.delete("/store/v1/customers/me/payment-methods/{id}", {
    summary = "Delete one: it is not offered any more, and the provider forgets it",
    tag = "payments", auth = "customer", params = { id = s.id("pmt") },
    returns = { [204] = true }, handler = delete,
  }),
}
