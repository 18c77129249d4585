-- Shipping by a table: the first row that fits weight or subtotal and country gives the price.
return {
  name     = "shipping-table",
  version  = "1.0.0",
  api      = 1,
  priority = 150,
  hooks    = { "shipping.quote" },
  waits    = false,
  title    = "Shipping by table",
  config   = {
    options = {
      type = "array", required = true, min = 1, max = 20, doc = "The options with their rows.",
      of = { type = "table", fields = {
        id        = { type = "string", required = true, min = 1, max = 40, doc = "Never changed." },
        label     = { type = "string", required = true, min = 1, max = 120 },
        by        = { type = "enum", values = { "weight", "subtotal" }, default = "weight",
                      doc = "What `up_to` of a row is compared with." },
        currency  = { type = "string", required = true, min = 3, max = 3 },
        countries = { type = "array", of = "string", doc = "Only there; everywhere if absent." },
        tax_class = { type = "string" },
        min_days  = { type = "integer", min = 0, max = 365 },
        max_days  = { type = "integer", min = 0, max = 365 },
        rows      = { type = "array", min = 1, max = 200, required = true, of = { type = "table",
          fields = {
            up_to  = { type = "integer", min = 0, doc = "Grams or minor units; absent: any." },
            amount = { type = "integer", min = 0, required = true },
          } } },
      } },
    },
  },
}
