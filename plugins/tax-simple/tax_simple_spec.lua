local t = require "till.test"
local price = require "till.rule.price"


local function with_rate(component)
  return { countries = { GB = { classes = { standard = { component } } } } }
end


t.plugin("tax-simple", {}, function(plugin)
  local function tax_of(country, date, class)
    local answer = plugin:call("tax.calculate", { country = country, date = date,
      currency = "GBP" })
    local result = price.calculate { currency = "GBP", exponent = 2, date = date,
      prices_include_tax = answer.prices_include_tax, tax_rates = answer.tax_rates,
      rounding = { mode = "half_up", tax_level = answer.tax_level or "line" },
      promotions = {}, lines = { { id = "L", sku = "A", qty = 1, unit_price = 1200,
        tax_class = class } } }
    return { result.order.tax_total, result.order.grand_total }
  end

  t.it("answers rates, where they are rounded and how shipping is taxed", function()
    local answer = plugin:with(with_rate { code = "VAT", rate = "20", from = "2020-01-01" })
      :call("tax.calculate", { country = "GB", date = "2026-01-01T00:00:00Z", currency = "GBP" })
    t.same(answer, { prices_include_tax = true, tax_level = "line", shipping_tax_class = "standard",
      tax_rates = { standard = { { code = "VAT", rate = "20", from = "2020-01-01T00:00:00Z" } } } })
  end)

  t.table({
    { why = "takes VAT out of British prices", "GB", "2026-01-01T00:00:00Z", "standard", 200 },
    { why = "takes nothing of what is zero-rated", "GB", "2026-01-01T00:00:00Z", "zero", 0 },
    { why = "has the old rate until its last second", "GY", "2017-01-31T23:59:59Z", "standard",
      166 },
    { why = "has the new rate from its first day on", "GY", "2017-02-01T00:00:00Z", "standard",
      147 },
    { why = "does not tax where it knows no rate", "FR", "2026-01-01T00:00:00Z", "standard", 0 },
  }, function(case) t.same(tax_of(case[1], case[2], case[3]), { case[4], 1200 }) end)

  t.it("says of countries that it does not know whether prices are gross", function()
    local net = plugin:with { prices_include_tax = false }
    t.same(net:call("tax.calculate", { country = "FR", currency = "EUR" }),
      { prices_include_tax = false, tax_rates = {} })
  end)

  t.table({
    { why = "refuses a rate that is no decimal text", given = with_rate { code = "V", rate = 20 },
      message = "config.countries.GB.classes.standard[1].rate: must be a decimal number in quotes,"
        .. ' such as "9.975"' },
    { why = "refuses a rate below nothing", given = with_rate { code = "V", rate = "-1" },
      message = "config.countries.GB.classes.standard[1].rate: must be a decimal number in quotes,"
        .. ' such as "9.975"' },
    { why = "refuses a component without a code", given = with_rate { rate = "1" },
      message = "config.countries.GB.classes.standard[1].code: is needed" },
    { why = "refuses a country without classes", given = { countries = { GB = {} } },
      message = "config.countries.GB.classes: is needed" },
  }, function(case) t.rejects(plugin, case.given, case.message) end)
end)
