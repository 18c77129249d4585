local t = require "till.test"

local EUR = t.money("EUR")


t.plugin("promo-bundle", { skus = { "tea", "pot" }, percent = 50 }, function(plugin)
  local function offer(lines)
    return plugin:call("promo.evaluate", t.cart(lines))
  end

  t.it("fills in its label", function()
    t.same(plugin.config, { skus = { "tea", "pot" }, percent = 50, label = "Bundle" })
  end)

  t.it("offers the set at a price, with half off the cheapest", function()
    t.same(offer { { sku = "tea", unit_price = EUR(8) }, { sku = "pot", unit_price = EUR(30) } }, {
      { id = "bundle", level = "line", type = "bundle_price", price = EUR(34), label = "Bundle",
        components = { { filter = { skus = { "tea" } }, qty = 1 },
          { filter = { skus = { "pot" } }, qty = 1 } } } })
  end)

  t.table({
    { why = "takes half off once the set is complete, an odd cent for the shopper", off = 4.01,
      lines = { { sku = "tea", unit_price = EUR(8.01) }, { sku = "pot", unit_price = EUR(30) } } },
    { why = "does so for every complete set", off = 8,
      lines = { { sku = "tea", quantity = 3, unit_price = EUR(8) },
        { sku = "pot", quantity = 2, unit_price = EUR(30) } } },
  }, function(case)
    t.equal(t.discount(offer(case.lines), t.cart(case.lines)), EUR(case.off))
  end)

  t.it("says nothing while one is missing", function()
    t.equal(offer { { sku = "tea", quantity = 5, unit_price = EUR(8) } }, nil)
    t.equal(offer {}, nil)
  end)

  t.table({
    { why = "refuses a set of one", given = { skus = { "tea" }, percent = 50 },
      message = "config.skus: at least 2" },
    { why = "refuses to take off nothing", given = { skus = { "tea", "pot" }, percent = 0 },
      message = "config.percent: at least 1" },
    { why = "refuses to take off more than all", given = { skus = { "tea", "pot" }, percent = 101 },
      message = "config.percent: at most 100" },
    { why = "refuses what is no SKU", given = { skus = { "tea", 7 }, percent = 5 },
      message = "config.skus[2]: must be a SKU" },
    { why = "refuses to be without its set", given = { percent = 5 },
      message = "config.skus: is needed. The products that make the set." },
    { why = "refuses an unknown option", given = { skuz = {} },
      message = "config.skuz: there is no such option; was skus meant?" },
  }, function(case) t.rejects(plugin, case.given, case.message) end)
end)
