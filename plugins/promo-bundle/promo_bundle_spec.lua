local t = require "till.test"
local plugin = dofile("tests/lua/support/plugin.lua")


t.describe("promo-bundle", function()
  local evaluate = plugin.handler("promo-bundle")["promo.evaluate"]
  local config = plugin.config("promo-bundle", { skus = { "tea", "pot" }, percent = 50 })

  local function off(lines)
    return plugin.discount(evaluate(config, { currency = "EUR", lines = lines }), lines)
  end

  t.it("takes half off the cheapest once the set is complete", function()
    t.equal(off { { id = "1", sku = "tea", quantity = 1, unit_price = 801 },
      { id = "2", sku = "pot", quantity = 1, unit_price = 3000 } }, 401)
  end)

  t.it("does so for every complete set", function()
    t.equal(off { { id = "1", sku = "tea", quantity = 3, unit_price = 800 },
      { id = "2", sku = "pot", quantity = 2, unit_price = 3000 } }, 800)
  end)

  t.it("says nothing while one is missing", function()
    t.equal(evaluate(config, { currency = "EUR", lines = {
      { id = "1", sku = "tea", quantity = 5, unit_price = 800 } } }), nil)
  end)

  t.it("refuses a set of one", function()
    t.equal(plugin.refusal("promo-bundle", { skus = { "tea" }, percent = 50 }),
      "config.skus: at least 2")
  end)
end)
