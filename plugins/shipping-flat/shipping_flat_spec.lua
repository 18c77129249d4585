local t = require "till.test"
local plugin = dofile("tests/lua/support/plugin.lua")


t.describe("shipping-flat", function()
  local config = plugin.config("shipping-flat", { options = {
    { id = "standard", label = "Standard", amounts = { GBP = 399 }, free_from = { GBP = 5000 } },
    { id = "island", label = "Islands", amounts = { GBP = 999 }, countries = { "GG", "JE" } },
  } })
  local quote = plugin.handler("shipping-flat")["shipping.quote"]

  local function ids(about)
    local out = {}
    for i, option in ipairs(quote(config, about)) do
      out[i] = option.id .. "=" .. option.amount
    end
    return out
  end

  t.it("offers what has a price in the currency and goes to the country", function()
    t.same(ids { currency = "GBP", subtotal = 100, address = { country = "GB" } },
      { "standard=399" })
    t.same(ids { currency = "GBP", subtotal = 100, address = { country = "JE" } },
      { "standard=399", "island=999" })
    t.same(ids { currency = "EUR", subtotal = 100, address = { country = "GB" } }, {})
  end)

  t.it("is free from exactly the threshold on", function()
    t.same(ids { currency = "GBP", subtotal = 4999, address = { country = "GB" } },
      { "standard=399" })
    t.same(ids { currency = "GBP", subtotal = 5000, address = { country = "GB" } },
      { "standard=0" })
  end)

  t.it("refuses an option without a price", function()
    t.equal(plugin.refusal("shipping-flat", { options = { { id = "a", label = "A" } } }),
      "config.options[1].amounts: is needed. Minor units by currency; not offered in others.")
  end)
end)
