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
  author = s.string { doc = "Who wrote the version." },
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


local moved = s.object({
  variant_ids = s.array(s.id("var"), {}),
}, { additional = true, required = { "variant_ids" },
  doc = "Whose stock, at whatever location. How much there is then is asked for." })

local in_location = s.object({ location = s.string { doc = "Its code." } },
  { additional = true, required = { "location" } })


-- An alert is told once, when its condition begins, and again only after it ended.
local function alert(type_, summary, fields)
  fields.alert_id = s.integer { doc = "Of GET /admin/v1/alerts." }
  fields.subject = s.string { doc = "Public id of what it is about." }
  return told(type_, summary, s.object(fields, { additional = true,
    required = { "alert_id", "subject" } }))
end


local low = { sku = s.string {}, available = s.integer {},
  why = s.string { enum = { "low_at", "cover_days" } },
  low_at = s.integer { doc = "The threshold, in units." },
  cover_days = s.integer { doc = "The threshold, in days by the rate of sale." },
  sold = s.integer {}, sold_days = s.integer {} }

local attempt = { sku = s.string {}, available = s.integer {},
  times = s.integer { doc = "Shoppers refused, in the second that it began." },
  sample = s.any { doc = "One of them." } }

local difference = { check_id = s.integer {}, kind = s.string {}, repaired = s.boolean {},
  found = s.any { doc = "What was there, and what ought to be." } }

local unmoved = { quantity = s.integer {}, reason = s.string {}, cart_id = s.id("cart"),
  location_id = s.id("loc"), backordered = s.boolean { doc = "They are promised, not held." } }

local stuck = { saga = s.string {}, aggregate = s.string {}, attempts = s.integer {},
  reason = s.string {} }

local growing = { dead = s.integer {}, before = s.integer {} }


local webhook = { provider = s.string { doc = "The plugin." }, event_id = s.string {},
  reason = s.string {}, payment_id = s.id("pay") }

local of_payment = { provider = s.string {},
  payment_id = s.id("pay"), order_id = s.id("ord"), cart_id = s.id("cart"),
  amount = s.integer {}, currency = s.string {}, reason = s.string {},
  reference = s.string { doc = "As the provider names it." },
  authorization_expires_at = s.string { format = "date-time" },
  next_step = s.string { doc = "What to do about it." } }


local moved_there = { provider = s.string {}, kind = s.string {}, amount = s.integer {},
  currency = s.string {}, reference = s.string { doc = "As the provider names it." },
  payment_id = s.id("pay"), order_id = s.id("ord"), reason = s.string {} }


return {
  ["settlement.missing_here"] = alert("settlement.missing_here",
    "Money moved at a provider, and our books do not have it", moved_there),
  ["settlement.missing_there"] = alert("settlement.missing_there",
    "Our books have money that the provider does not know", moved_there),
  ["settlement.payout_differs"] = alert("settlement.payout_differs",
    "A payout is not the sum of the movements that it holds", moved_there),
  ["settlement.payout_failed"] = alert("settlement.payout_failed",
    "A payout did not reach the shop's bank", moved_there),
  ["settlement.without_order"] = alert("settlement.without_order",
    "A payment succeeded and had no order; reason: order, given_back or open", of_payment),
  ["webhook.parked"] = alert("webhook.parked", "A provider told of a payment that does not fit",
    webhook),
  ["webhook.failed"] = alert("webhook.failed",
    "What a provider told could not be applied", webhook),
  ["payment.disputed"] = alert("payment.disputed", "A payment is disputed", of_payment),
  ["payment.authorization_expires"] = alert("payment.authorization_expires",
    "What a provider holds for a payment is let go of soon, if nobody captures it", of_payment),
  ["payment.lost_authorization"] = alert("payment.lost_authorization",
    "The money of an order is not held any more, and was not captured", of_payment),
  ["payment.capture_refused"] = alert("payment.capture_refused",
    "Goods were sent, and a provider refuses to capture what they come to", of_payment),
  ["payment.capture_unbooked"] = alert("payment.capture_unbooked",
    "A provider has captured what does not fit the books", of_payment),
  ["payment.abandoned"] = alert("payment.abandoned",
    "A payment that nobody came back for was let go of", of_payment),
  ["payment.silent"] = alert("payment.silent",
    "A provider has said nothing about a payment for six hours", of_payment),
  ["payment.doubted"] = alert("payment.doubted",
    "A payment was given up, and nobody can say whether it got there", of_payment),
  ["refund.failed"] = alert("refund.failed",
    "A refund that a provider had taken did not get there: the money is back with him", of_payment),
  ["payment.given_back"] = alert("payment.given_back",
    "A payment was let go of, for its cart could not be bought", of_payment),
  ["stock.changed"] = told("stock.changed", "Stock of some variants was changed", moved),
  ["location.changed"] = told("location.changed", "A location was opened or shut", in_location),
  ["stock.low"] = alert("stock.low", "There is little left of a SKU", low),
  ["stock.oversell_attempt"] = alert("stock.oversell_attempt",
    "Shoppers want more of a SKU than there is", attempt),
  ["stock.differs"] = alert("stock.differs",
    "Stock, its log, reservations, orders or what is shown do not agree", difference),
  ["stock.blocked"] = alert("stock.blocked",
    "Units of a SKU can be neither given back nor allotted", unmoved),
  ["saga.stuck"] = alert("saga.stuck", "A flow does not end by itself", stuck),
  ["outbox.dead_growing"] = alert("outbox.dead_growing",
    "More events than before could not be delivered", growing),
  ["order.placed"] = event("order.placed", "An order was placed"),
  ["order.paid"] = event("order.paid", "An order was paid in full: once of each order"),
  ["order.paid_again"] = event("order.paid_again",
    "An order that had been paid in full before is so again, with another payment"),
  ["payment.captured_part"] = event("payment.captured_part",
    "A part of the money of an order was captured, and more may be"),
  ["payment.requested"] = event("payment.requested",
    "Staff ask the shopper to pay what is owed for an order"),
  ["order.payment_added"] = event("order.payment_added",
    "An order that was placed has a new payment"),
  ["order.fulfilled"] = event("order.fulfilled", "Everything of an order was sent"),
  ["order.cancelled"] = event("order.cancelled", "An order was cancelled"),
  ["rule.set_aside"] = told("rule.set_aside",
    "A merchant's rule had to be ended too often and is not called any more", rule),
}
