-- till/http/events - the events that the shop sends out, for the documentation.
local s = require "till.util.schema"

local order = s.object({
  id = s.id("ord"), number = s.string {}, status = s.string {}, total = s.integer {},
  currency = s.string { format = "currency" },
}, { additional = true, required = { "id" },
  doc = "The order as GET /admin/v1/orders/{id} shows it, as it was then." })


local function event(type_, summary)
  return { summary = summary, schema = s.object({
    type = s.const(type_),
    timestamp = s.string { format = "date-time" },
    data = s.object({ order = order }, { additional = true }),
  }, { required = { "type", "timestamp", "data" } }) }
end


return {
  ["order.placed"] = event("order.placed", "An order was placed"),
  ["order.paid"] = event("order.paid", "An order was paid in full"),
  ["order.fulfilled"] = event("order.fulfilled", "Everything of an order was sent"),
  ["order.cancelled"] = event("order.cancelled", "An order was cancelled"),
}
