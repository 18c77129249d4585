-- Shipping at one price an option, whatever is in the cart.
return {
  name     = "shipping-flat",
  version  = "1.0.0",
  api      = 1,
  priority = 200,
  hooks    = { "shipping.quote" },
  waits    = false,
  title    = "Flat-rate shipping",
  config   = {
    options = {
      type = "array", min = 1, max = 20, doc = "The options, in the order in which they are shown.",
      of = { type = "table", fields = {
        id        = { type = "string", required = true, min = 1, max = 40, doc = "Never changed." },
        label     = { type = "string", required = true, min = 1, max = 120 },
        amounts   = { type = "map", of = { type = "integer", min = 0 }, required = true,
                      doc = "Minor units by currency; not offered in others." },
        countries = { type = "array", of = "string", doc = "Only there; everywhere if absent." },
        free_from = { type = "map", of = { type = "integer", min = 0 },
                      doc = "By currency: free from this much goods on." },
        tax_class = { type = "string", doc = "Of the tax plugin; its own choice if absent." },
        min_days  = { type = "integer", min = 0, max = 365 },
        max_days  = { type = "integer", min = 0, max = 365 },
      } },
      default = {
        { id = "standard", label = "Standard delivery", min_days = 2, max_days = 5,
          amounts = { GBP = 399, EUR = 499, USD = 599, GYD = 150000 } },
        { id = "express", label = "Express delivery", min_days = 1, max_days = 2,
          amounts = { GBP = 899, EUR = 999, USD = 1299, GYD = 350000 } },
      },
    },
  },
}
