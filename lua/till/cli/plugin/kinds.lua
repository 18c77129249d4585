-- till/cli/plugin/kinds - what `moontill plugin new` writes, by the first word of the name.
--
-- %NAME%, %TITLE%, %HOOKS% and %ROOT% are filled in. Each of them is made and tested by
-- tests/flow/plugin_tools.test.mjs: they load, and their specs pass, as they stand.
local kinds = { of = {}, names = {} }

kinds.README = [[
# %NAME%

%TITLE%. Say here what it does and for whom; the options are in `plugin.lua`, each with its `doc`.

```lua
plugins = {
  ["%NAME%"] = { enabled = true },
},
```
]]

kinds.LUARC = [[
{
  "runtime.version": "LuaJIT",
  "workspace.library": ["%ROOT%/lua/types"],
  "diagnostics.disable": ["lowercase-global"]
}
]]

local MANIFEST = [[
-- %TITLE%.
return {
  name    = "%NAME%",
  version = "0.1.0",
  api     = 1,
  hooks   = { %HOOKS% },
]]


local function kind(name, title, hooks, parts)
  kinds.names[#kinds.names + 1] = name
  kinds.of[name] = { title = title, hooks = hooks, handler = parts.handler, spec = parts.spec,
    manifest = MANIFEST .. parts.manifest .. "}\n" }
end


kind("promo", "A percentage off some products", { "promo.evaluate" }, {
  manifest = [[
  config  = {
    percent = { type = "decimal", default = "10", min = 0, max = 100, doc = "Off each of them." },
    tag     = { type = "string", default = "sale", doc = "The products that have it." },
  },
]],
  handler = [[
local handler = {}


--- Answers promotion terms, or nil where it has nothing to say about this cart.
handler["promo.evaluate"] = function(config, cart)
  if #cart.lines == 0 then return nil end
  return { {
    id = "off", level = "line", type = "percent", value = config.percent,
    filter = { tags = { config.tag } },
  } }
end


return handler
]],
  spec = [[
local t = require "till.test"

local EUR = t.money("EUR")


t.plugin("%NAME%", { percent = "25" }, function(plugin)
  t.it("takes a quarter off what has the tag, and nothing off the rest", function()
    local cart = t.cart { { sku = "tea", unit_price = EUR(8), tags = { "sale" } },
      { sku = "pot", unit_price = EUR(30) } }
    t.equal(t.discount(plugin:call("promo.evaluate", cart), cart), EUR(2))
  end)

  t.it("says nothing about an empty cart", function()
    t.equal(plugin:call("promo.evaluate", t.cart {}), nil)
  end)

  t.it("refuses more than all", function()
    t.rejects(plugin, { percent = "101" }, "config.percent: at most 100")
  end)
end)
]] })

kind("cart", "A limit on what one cart may hold", { "cart.validate" }, {
  manifest = [[
  config  = {
    max_units = { type = "integer", default = 100, min = 1, doc = "Of all products together." },
  },
]],
  handler = [[
local handler = {}


--- Answers nil where the cart may be ordered, or why it may not.
handler["cart.validate"] = function(config, cart)
  local units = 0
  for _, line in ipairs(cart.lines) do units = units + line.quantity end
  if units <= config.max_units then return nil end
  return { code = "too_many_units", message = ("at most %d units"):format(config.max_units),
    pointer = "/lines" }
end


return handler
]],
  spec = [[
local t = require "till.test"


t.plugin("%NAME%", { max_units = 3 }, function(plugin)
  t.it("lets three units pass", function()
    t.equal(plugin:call("cart.validate", t.cart { { sku = "tea", unit_price = 8, quantity = 3 } }),
      nil)
  end)

  t.it("refuses the fourth, and says where", function()
    local cart = t.cart { { sku = "tea", unit_price = 8, quantity = 4 } }
    t.same(plugin:call("cart.validate", cart),
      { code = "too_many_units", message = "at most 3 units", pointer = "/lines" })
  end)
end)
]] })

kind("shipping", "Shipping at one price by weight", { "shipping.quote" }, {
  manifest = [[
  waits   = false, -- nobody outside is asked
  config  = {
    label  = { type = "string", default = "By weight", min = 1, max = 120 },
    per_kg = { type = "map", of = { type = "integer", min = 0 }, default = { EUR = 150, GBP = 120 },
               doc = "Minor units by currency; not offered in others." },
  },
]],
  handler = [[
local handler = {}


--- Answers a list of options; an empty one where it does not deliver.
handler["shipping.quote"] = function(config, about)
  local rate = config.per_kg[about.currency]
  if not rate then return {} end
  local kilos = math.ceil((about.weight_g or 0) / 1000)
  return { { id = "by-weight", label = config.label, amount = rate * math.max(kilos, 1),
    min_days = 2, max_days = 5 } }
end


return handler
]],
  spec = [[
local t = require "till.test"


t.plugin("%NAME%", { per_kg = { EUR = 100 } }, function(plugin)
  local function amount(weight_g)
    return plugin:call("shipping.quote", { currency = "EUR", weight_g = weight_g, subtotal = 0,
      address = { country = "DE" } })[1].amount
  end

  t.it("counts each kilogram that is begun", function()
    t.equal(amount(200), 100)
    t.equal(amount(1000), 100)
    t.equal(amount(1001), 200)
  end)

  t.it("offers nothing in a currency without a price", function()
    t.same(plugin:call("shipping.quote", { currency = "USD", subtotal = 0,
      address = { country = "US" } }), {})
  end)
end)
]] })

kind("tax", "One rate for each country", { "tax.calculate" }, {
  manifest = [[
  waits   = false, -- nobody outside is asked
  config  = {
    rates = { type = "map", of = { type = "decimal", min = 0 }, default = { DE = "19", FR = "20" },
              doc = "Percent by country code; others are not taxed." },
  },
]],
  handler = [[
local handler = {}


--- One plugin answers for the shop: the one with the highest priority.
handler["tax.calculate"] = function(config, about)
  local rate = config.rates[about.country]
  if not rate then return { prices_include_tax = true, tax_rates = {} } end
  return { prices_include_tax = true, tax_level = "line", shipping_tax_class = "standard",
    tax_rates = { standard = { { code = "VAT", rate = rate } } } }
end


return handler
]],
  spec = [[
local t = require "till.test"


t.plugin("%NAME%", { rates = { DE = "19" } }, function(plugin)
  t.it("taxes a country that is in the table", function()
    t.same(plugin:call("tax.calculate", { country = "DE", currency = "EUR" }).tax_rates,
      { standard = { { code = "VAT", rate = "19" } } })
  end)

  t.it("taxes no other", function()
    t.same(plugin:call("tax.calculate", { country = "US", currency = "USD" }).tax_rates, {})
  end)

  t.it("refuses a rate that is no text", function()
    t.rejects(plugin, { rates = { DE = 19 } },
      'config.rates.DE: must be a decimal number in quotes, such as "9.975"')
  end)
end)
]] })

for name, parts in pairs(require "till.cli.plugin.kinds_waiting") do
  kind(name, parts.title, parts.hooks, parts)
end
table.sort(kinds.names)

return kinds
