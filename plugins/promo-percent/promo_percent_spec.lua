local t = require "till.test"
local plugin = dofile("tests/lua/support/plugin.lua")


t.describe("promo-percent", function()
  local evaluate = plugin.handler("promo-percent")["promo.evaluate"]

  local function off(options, lines, currency)
    local config = plugin.config("promo-percent", options)
    return plugin.discount(evaluate(config, { currency = currency or "GBP", lines = lines }), lines)
  end

  local CART = { { id = "1", sku = "tea", quantity = 2, unit_price = 1000, tags = {} },
    { id = "2", sku = "pot", quantity = 1, unit_price = 3000, tags = { "sale" } } }

  t.it("takes the percentage off the order", function()
    t.equal(off({ percent = "10" }, CART), 500)
  end)

  t.it("keeps to its products and tags", function()
    t.equal(off({ percent = "10", skus = { "tea" } }, CART), 200)
    t.equal(off({ percent = "10", tags = { "sale" }, level = "line" }, CART), 300)
  end)

  t.it("applies from exactly its minimum on, in the currencies that have one", function()
    t.equal(off({ percent = "10", min_subtotal = { GBP = 5000 } }, CART), 500)
    t.equal(off({ percent = "10", min_subtotal = { GBP = 5001 } }, CART), 0)
    t.equal(off({ percent = "10", min_subtotal = { GBP = 5000 } }, CART, "EUR"), 0)
  end)

  t.it("refuses a percentage that is no text or more than all", function()
    t.ok(plugin.refusal("promo-percent", { percent = 10 }):find("in quotes", 1, true))
    t.equal(plugin.refusal("promo-percent", { percent = "101" }), "config.percent: at most 100")
  end)
end)
