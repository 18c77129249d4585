local t = require "till.test"
local plugin = dofile("tests/lua/support/plugin.lua")
local price = require "till.rule.price"


t.describe("tax-simple", function()
  local config = plugin.config("tax-simple", {})
  local calculate = plugin.handler("tax-simple")["tax.calculate"]

  local function tax_of(country, date, class)
    local answer = calculate(config, { country = country, date = date, currency = "GBP" })
    local result = price.calculate { currency = "GBP", exponent = 2, date = date,
      prices_include_tax = answer.prices_include_tax, tax_rates = answer.tax_rates,
      rounding = { mode = "half_up", tax_level = answer.tax_level or "line" },
      promotions = {}, lines = { { id = "L", sku = "A", qty = 1, unit_price = 1200,
        tax_class = class } } }
    return result.order.tax_total, result.order.grand_total
  end

  t.it("takes VAT out of British prices", function()
    t.same({ tax_of("GB", "2026-01-01T00:00:00Z", "standard") }, { 200, 1200 })
    t.same({ tax_of("GB", "2026-01-01T00:00:00Z", "zero") }, { 0, 1200 })
  end)

  t.it("changes the rate on its day", function()
    t.same({ tax_of("GY", "2017-01-31T23:59:59Z", "standard") }, { 166, 1200 })
    t.same({ tax_of("GY", "2017-02-01T00:00:00Z", "standard") }, { 147, 1200 })
  end)

  t.it("does not tax where it knows no rate", function()
    t.same({ tax_of("FR", "2026-01-01T00:00:00Z", "standard") }, { 0, 1200 })
  end)

  t.it("refuses a rate that is not a decimal text", function()
    local why = plugin.refusal("tax-simple", { countries = { GB = { classes = {
      standard = { { code = "VAT", rate = 20 } } } } } })
    t.ok(why:find("rate: must be a decimal number in quotes", 1, true), why)
  end)
end)
