-- A provider that moves no money: for tests, demos and the ways in which providers fail.
return {
  name         = "payment-test",
  version      = "1.0.0",
  api          = 1,
  opt_in       = true, -- whoever picks it pays nothing: `moontill dev` alone enables it by itself
  priority     = 10,
  hooks        = { "payment.describe", "payment.authorize", "payment.capture", "payment.void",
                   "payment.refund", "payment.lookup", "payment.capabilities",
                   "payment.check", "webhook.receive" },
  capabilities = { "sql" },
  title        = "Test payments",
  config       = {
    enabled_for = { type = "array", of = "string", doc = "Countries; everywhere if absent." },
    capture     = { type = "enum", values = { "now", "later", "fulfilment" }, default = "now",
                    doc = "Right after the order is there, by staff, or as goods are sent." },
    late_ms     = { type = "integer", default = 1500, min = 0, max = 60000,
                    doc = "How late tok_late answers." },
    silent_ms   = { type = "integer", default = 60000, min = 0, max = 600000,
                    doc = "How long tok_timeout says nothing." },
  },
}
