-- Buy a set of products together and the cheapest of the set is reduced.
return {
  name     = "promo-bundle",
  version  = "1.2.0",
  api      = 1,
  priority = 400,
  hooks    = { "promo.evaluate" },
  title    = "Bundle",
  config   = {
    skus    = { type = "array", of = "sku", min = 2, max = 20, required = true,
                doc = "The products that make the set." },
    percent = { type = "integer", min = 1, max = 100, required = true,
                doc = "Off the cheapest of them." },
    label   = { type = "string", default = "Bundle", min = 1, max = 120 },
  },
}
