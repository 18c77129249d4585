-- Paid outside of the shop: bank transfer, cash on delivery, invoice.
return {
  name     = "payment-manual",
  version  = "1.0.0",
  api      = 1,
  priority = 100,
  waits    = false, -- nobody is asked
  hooks    = { "payment.describe", "payment.authorize", "payment.capture", "payment.void",
               "payment.refund", "payment.lookup", "payment.capabilities" },
  title    = "Manual payment",
  config   = {
    label      = { type = "string", default = "Bank transfer", min = 1, max = 120 },
    currencies = { type = "array", of = "string", doc = "Only these; any if absent." },
    countries  = { type = "array", of = "string", doc = "Only there; everywhere if absent." },
  },
}
