local t = require "till.test"

local OPTIONS = { options = {
  { id = "post", label = "Post", currency = "GBP", countries = { "GB" },
    rows = { { up_to = 1000, amount = 300 }, { up_to = 5000, amount = 700 } } },
  { id = "van", label = "Van", by = "subtotal", currency = "GBP",
    rows = { { up_to = 9999, amount = 1500 }, { amount = 0 } } },
} }


t.plugin("shipping-table", OPTIONS, function(plugin)
  local function amounts(weight, subtotal, country, currency)
    local out = {}
    for _, option in ipairs(plugin:call("shipping.quote", { weight_g = weight,
      subtotal = subtotal, currency = currency or "GBP", address = { country = country } })) do
      out[option.id] = option.amount
    end
    return out
  end

  t.it("compares weights unless told otherwise", function()
    t.same({ plugin.config.options[1].by, plugin.config.options[2].by }, { "weight", "subtotal" })
  end)

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

  local function with_rows(rows)
    return { options = { { id = "a", label = "A", currency = "GBP", rows = rows } } }
  end

  t.table({
    { why = "refuses to be without options", given = {},
      message = "config.options: is needed. The options with their rows." },
    { why = "refuses an option without rows", given = with_rows {},
      message = "config.options[1].rows: at least 1" },
    { why = "refuses a row without an amount", given = with_rows { { up_to = 5 } },
      message = "config.options[1].rows[1].amount: is needed" },
    { why = "refuses half a penny", given = with_rows { { amount = 0.5 } },
      message = "config.options[1].rows[1].amount: must be a whole number" },
    { why = "refuses to go by anything else",
      given = { options = { { id = "a", label = "A", currency = "GBP", by = "size",
        rows = { { amount = 1 } } } } },
      message = "config.options[1].by: must be weight or subtotal" },
  }, function(case) t.rejects(plugin, case.given, case.message) end)
end)
