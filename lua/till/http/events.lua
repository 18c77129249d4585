-- till/http/events - the events that the shop sends out, for the documentation.
local s = require "till.util.schema"

local order = s.object({
  id = s.id("ord"), number = s.string {}, status = s.string {}, total = s.integer {},
  currency = s.string { format = "currency" },
}, { additional = true, required = { "id" },
  doc = "The order as GET /admin/v1/orders/{id} shows it, as it was then." })


local rule = s.object({
  rule_id = s.id("rule"), name = s.string {}, title = s.string {}, hook = s.string {},
  version = s.integer {}, hash = s.string {}, reason = s.string {},
}, { additional = true, required = { "rule_id", "name", "reason" } })


local function told(type_, summary, data)
  return { summary = summary, schema = s.object({
    type = s.const(type_),
    timestamp = s.string { format = "date-time" },
    data = data,
  }, { required = { "type", "timestamp", "data" } }) }
end


local function event(type_, summary)
  return told(type_, summary, s.object({ order = order }, { additional = true }))
end


return {
  ["order.placed"] = event("order.placed", "An order was placed"),
  ["order.paid"] = event("order.paid", "An order was paid in full"),
  ["order.fulfilled"] = event("order.fulfilled", "Everything of an order was sent"),
  ["order.cancelled"] = event("order.cancelled", "An order was cancelled"),
  ["rule.set_aside"] = told("rule.set_aside",
    "A merchant's rule had to be ended too often and is not called any more", rule),
}
