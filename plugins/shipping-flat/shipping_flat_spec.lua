local t = require "till.test"

local OPTIONS = { options = {
  { id = "standard", label = "Standard", amounts = { GBP = 399 }, free_from = { GBP = 5000 },
    min_days = 2, max_days = 5, tax_class = "reduced" },
  { id = "island", label = "Islands", amounts = { GBP = 999 }, countries = { "GG", "JE" } },
} }


t.plugin("shipping-flat", OPTIONS, function(plugin)
  local function ids(about)
    local out = {}
    for i, option in ipairs(plugin:call("shipping.quote", about)) do
      out[i] = option.id .. "=" .. option.amount
    end
    return out
  end

  t.it("has options of its own where none are given", function()
    t.equal(plugin:with {}.config.options[1].id, "standard")
    t.equal(#plugin:with {}:call("shipping.quote",
      { currency = "EUR", subtotal = 0, address = { country = "FR" } }), 2)
  end)

  t.it("says of an option what the cart needs", function()
    t.same(plugin:call("shipping.quote",
      { currency = "GBP", subtotal = 100, address = { country = "GB" } }),
      { { id = "standard", label = "Standard", amount = 399, tax_class = "reduced", min_days = 2,
        max_days = 5 } })
  end)

  t.table({
    { why = "offers what has a price in the currency and goes to the country",
      about = { currency = "GBP", subtotal = 100, address = { country = "JE" } },
      expected = { "standard=399", "island=999" } },
    { why = "offers nothing in a currency without a price",
      about = { currency = "EUR", subtotal = 100, address = { country = "GB" } }, expected = {} },
    { why = "costs something right below the threshold",
      about = { currency = "GBP", subtotal = 4999, address = { country = "GB" } },
      expected = { "standard=399" } },
    { why = "is free from exactly the threshold on",
      about = { currency = "GBP", subtotal = 5000, address = { country = "GB" } },
      expected = { "standard=0" } },
  }, function(case) t.same(ids(case.about), case.expected) end)

  t.table({
    { why = "refuses an option without a price",
      given = { options = { { id = "a", label = "A" } } },
      message = "config.options[1].amounts: is needed. Minor units by currency; not offered in"
        .. " others." },
    { why = "refuses a price below nothing",
      given = { options = { { id = "a", label = "A", amounts = { GBP = -1 } } } },
      message = "config.options[1].amounts.GBP: at least 0" },
    { why = "refuses no options at all", given = { options = {} },
      message = "config.options: at least 1" },
    { why = "refuses a misspelt field",
      given = { options = { { id = "a", label = "A", amount = {} } } },
      message = "config.options[1].amount: there is no such option; was amounts meant?" },
  }, function(case) t.rejects(plugin, case.given, case.message) end)
end)
