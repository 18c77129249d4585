-- A percentage off, for everybody, without a code.
return {
  name     = "promo-percent",
  version  = "1.0.0",
  api      = 1,
  priority = 300,
  hooks    = { "promo.evaluate" },
  title    = "Percentage off",
  config   = {
    percent      = { type = "decimal", required = true, min = 0, max = 100,
                     doc = "A text: \"10\" or \"12.5\"." },
    label        = { type = "string", default = "Discount", min = 1, max = 120 },
    level        = { type = "enum", values = { "line", "order" }, default = "order" },
    skus         = { type = "array", of = "sku", doc = "Only these; everything if absent." },
    tags         = { type = "array", of = "string", doc = "Or products with one of these tags." },
    min_subtotal = { type = "map", of = { type = "integer", min = 0 },
                     doc = "Minor units by currency; in others the promotion does not apply." },
    countries    = { type = "array", of = "string", doc = "Only there; everywhere if absent." },
  },
}
