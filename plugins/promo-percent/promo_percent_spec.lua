local t = require "till.test"

local GBP = t.money("GBP")
local CART = { currency = "GBP", { sku = "tea", quantity = 2, unit_price = GBP(10) },
  { sku = "pot", unit_price = GBP(30), tags = { "sale" } } }


t.plugin("promo-percent", { percent = "10" }, function(plugin)
  local function off(options)
    local cart = t.cart(CART)
    return t.discount(plugin:with(options):call("promo.evaluate", cart), cart)
  end

  t.it("fills in label and level", function()
    t.same(plugin.config, { percent = "10", label = "Discount", level = "order" })
  end)

  t.it("takes the percentage off the order", function()
    t.same(plugin:call("promo.evaluate", t.cart(CART)),
      { { id = "percent", level = "order", type = "percent", value = "10", label = "Discount" } })
    t.equal(off { percent = "10" }, GBP(5))
    t.equal(off { percent = "12.5" }, GBP(6.25))
  end)

  t.it("keeps to its products and tags", function()
    t.equal(off { percent = "10", skus = { "tea" } }, GBP(2))
    t.equal(off { percent = "10", tags = { "sale" }, level = "line" }, GBP(3))
  end)

  t.it("applies from exactly its minimum on, in the currencies that have one", function()
    t.equal(off { percent = "10", min_subtotal = { GBP = GBP(50) } }, GBP(5))
    t.equal(off { percent = "10", min_subtotal = { GBP = 5001 } }, 0)
    t.equal(plugin:with { percent = "10", min_subtotal = { EUR = 1 } }:call("promo.evaluate",
      t.cart(CART)), nil)
  end)

  t.it("leaves its countries to the rules", function()
    local terms = plugin:with { percent = "10", countries = { "GB" } }:call("promo.evaluate",
      t.cart(CART))
    t.same(terms[1].conditions, { regions = { "GB" } })
  end)

  t.table({
    { why = "refuses a percentage that is no text", given = { percent = 10 },
      message = 'config.percent: must be a decimal number in quotes, such as "9.975"' },
    { why = "refuses more than all", given = { percent = "101" },
      message = "config.percent: at most 100" },
    { why = "refuses less than nothing", given = { percent = "-1" },
      message = 'config.percent: must be a decimal number in quotes, such as "9.975"' },
    { why = "refuses another level", given = { percent = "1", level = "shop" },
      message = 'config.level: must be line or order' },
    { why = "refuses to be without its percentage", given = {},
      message = 'config.percent: is needed. A text: "10" or "12.5".' },
  }, function(case) t.rejects(plugin, case.given, case.message) end)
end)
