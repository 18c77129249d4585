-- Taxes from a table: countries, classes, dated rates.
return {
  name     = "tax-simple",
  version  = "1.0.0",
  api      = 1,
  priority = 100,
  hooks    = { "tax.calculate" },
  waits    = false,
  title    = "Taxes by table",
  config   = {
    countries = {
      type = "map", doc = "By country code. A country that is not there is not taxed.",
      of = { type = "table", fields = {
        prices_include_tax = { type = "boolean", default = true },
        tax_level = { type = "enum", values = { "line", "unit", "order" }, default = "line",
                      doc = "Where the tax is rounded." },
        shipping_tax_class = { type = "string", default = "standard",
                               doc = "A class, `proportional` or `highest`." },
        classes = { type = "map", required = true, of = { type = "array", of = { type = "table",
          fields = {
            code     = { type = "string", required = true, min = 1, max = 40 },
            rate     = { type = "decimal", required = true, min = 0, doc = "Percent." },
            compound = { type = "boolean" },
            from     = { type = "string", doc = "Date of its first day, 2017-02-01." },
            to       = { type = "string", doc = "Date of the first day after it." },
          } } } },
      } },
      default = {
        GB = { classes = {
          standard = { { code = "VAT", rate = "20" } },
          reduced = { { code = "VAT", rate = "5" } },
          zero = { { code = "VAT", rate = "0" } },
        } },
        GY = { classes = {
          standard = { { code = "VAT", rate = "16", to = "2017-02-01" },
                       { code = "VAT", rate = "14", from = "2017-02-01" } },
          ["digital-services"] = { { code = "VAT", rate = "12" } },
          zero = { { code = "VAT", rate = "0" } },
        } },
      },
    },
    prices_include_tax = { type = "boolean", default = true,
      doc = "In countries that are not in the table: are the prices of the shop gross?" },
  },
}
