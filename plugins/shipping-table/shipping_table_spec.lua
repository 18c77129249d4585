local t = require "till.test"
local plugin = dofile("tests/lua/support/plugin.lua")


t.describe("shipping-table", function()
  local config = plugin.config("shipping-table", { options = {
    { id = "post", label = "Post", currency = "GBP", countries = { "GB" },
      rows = { { up_to = 1000, amount = 300 }, { up_to = 5000, amount = 700 } } },
    { id = "van", label = "Van", by = "subtotal", currency = "GBP",
      rows = { { up_to = 9999, amount = 1500 }, { amount = 0 } } },
  } })
  local quote = plugin.handler("shipping-table")["shipping.quote"]

  local function amounts(weight, subtotal, country, currency)
    local out = {}
    for _, option in ipairs(quote(config, { weight_g = weight, subtotal = subtotal,
      currency = currency or "GBP", address = { country = country } })) do
      out[option.id] = option.amount
    end
    return out
  end

  t.it("takes the first row that is not exceeded", function()
    t.same(amounts(1000, 100, "GB"), { post = 300, van = 1500 })
    t.same(amounts(1001, 100, "GB"), { post = 700, van = 1500 })
  end)

  t.it("offers nothing beyond the last row, and a row without a limit fits all", function()
    t.same(amounts(5001, 10000, "GB"), { van = 0 })
  end)

  t.it("keeps to its countries and its currency", function()
    t.same(amounts(10, 10, "FR"), { van = 1500 })
    t.same(amounts(10, 10, "GB", "EUR"), {})
  end)

  t.it("refuses to be without options", function()
    t.equal(plugin.refusal("shipping-table", {}),
      "config.options: is needed. The options with their rows.")
  end)
end)
