-- till/http/shapes - schemas that several routes share, by the names that OpenAPI shows.
local s = require "till.util.schema"

local shapes = {}

local text = function(max) return s.nullable(s.string { max = max }) end

shapes.address = s.object({
  first_name = s.string { min = 1, max = 120 }, last_name = s.string { min = 1, max = 120 },
  address1 = s.string { min = 1, max = 255 }, address2 = text(255),
  city = s.string { min = 1, max = 120 }, region = text(120), postal_code = text(32),
  country = s.string { format = "country" }, phone = text(40),
}, { required = { "first_name", "last_name", "address1", "city", "country" }, name = "Address" })

local amount = s.nullable(s.money())

shapes.line = s.object({
  id = s.id("line"), sku = s.string {}, title = s.string {}, quantity = s.integer {},
  unit_price = amount, subtotal = amount, discount_total = amount, tax_total = amount,
  total = amount,
}, { additional = true, name = "Line" })

-- What goes to the provider and comes from it, in its own words.
shapes.payment_data = s.nullable(s.map(s.any {}, { doc = "An object of the provider's own words:"
  .. " what it needs to begin, or gave the shopper to bring back. 16 kB of JSON at most." }))

local totals = { subtotal = amount, discount_total = amount, shipping_total = amount,
  tax_total = amount, total = amount, currency = s.string { format = "currency" },
  lines = s.array(shapes.line), promotions = s.array(s.any {}) }


local function with_totals(fields)
  for name, schema in pairs(totals) do fields[name] = schema end
  return fields
end


shapes.cart = s.object(with_totals {
  id = s.id("cart"), version = s.integer {},
  state = s.string { enum = { "open", "completing", "completed" } },
}, { additional = true, name = "Cart" })

shapes.order = s.object(with_totals {
  id = s.id("ord"), number = s.integer { doc = "What people say on the telephone." },
  status = s.string { enum = { "placed", "completed", "cancelled" } },
  payment_status = s.string {}, fulfilment_status = s.string {},
  return_status = s.string { enum = { "none", "partial", "returned" },
    doc = "Of what was sent." },
  placed_at = s.string { format = "date-time" },
}, { additional = true, name = "Order" })

shapes.product = s.object({
  id = s.id("prod"), handle = s.string {}, title = s.string {}, description = s.string {},
  variants = s.array(s.any {}), version = s.integer {},
}, { additional = true, name = "Product" })

shapes.category = s.object({
  id = s.id("cat"), handle = s.string {}, title = s.string {},
}, { additional = true, name = "Category" })

shapes.promotion = s.object({
  id = s.id("promo"), code = s.nullable(s.string {}), name = s.string {}, terms = s.any {},
}, { additional = true, name = "Promotion" })

shapes.payment = s.object({
  id = s.id("pay"), provider = s.string {}, state = s.string {}, amount = s.money(),
  authorization_expires_at = s.string { format = "date-time",
    doc = "Of one that holds money still: until when its provider does." },
}, { additional = true, name = "Payment" })

shapes.payment_request = s.object({
  order_id = s.id("ord"), reason = s.string {}, actor = s.string {},
  amount = s.money { doc = "What is asked for still." },
  amount_due = s.money { doc = "What the shopper can pay of it now." },
  instead_of = s.nullable(s.id("pay")), asked_at = s.string { format = "date-time" },
}, { additional = true, name = "PaymentRequest" })

shapes.payment_sessions = s.object({
  payment_sessions = s.array(s.object({ id = s.id("pay"), provider = s.string {},
    state = s.string {}, amount = s.money() }, { additional = true, name = "PaymentSession" })),
  left = s.money(),
}, { required = { "payment_sessions", "left" } })

shapes.saved_method = s.object({
  id = s.id("pmt"), provider = s.string {}, brand = s.nullable(s.string {}),
  last4 = s.nullable(s.string {}), exp_month = s.nullable(s.integer {}),
  exp_year = s.nullable(s.integer {}), created_at = s.string {},
}, { additional = true, name = "SavedPaymentMethod" })


shapes.refund = s.object({
  id = s.id("rfnd"), order_id = s.id("ord"), amount = s.money(), reason = s.string {},
  state = s.string { enum = { "requested", "pending", "done", "refused", "rejected", "expired",
    "failed" } },
  requested_by = s.string {}, decided_by = s.nullable(s.string {}),
}, { additional = true, name = "Refund" })


--- { name = schema } in an object of that one name.
function shapes.one(name, schema)
  return s.object({ [name] = schema }, { required = { name }, additional = true })
end


function shapes.list(of)
  return s.object({ data = s.array(of), has_more = s.boolean {}, next_cursor = s.string {},
    prev_cursor = s.string {} }, { required = { "data", "has_more" } })
end


return shapes
