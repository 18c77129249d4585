-- Prices, currencies, taxes and refunds where the worked examples leave a sentence open.
local t = require "till.test"
local fx = require "till.rule.fx"
local price = require "till.rule.price"
local refund = require "till.rule.refund"

local MAX = 9007199254740991
local VAT = { standard = { { code = "VAT", rate = "20" } } }
local TWO_RATES = {
  standard = { { code = "VAT", rate = "19" } }, reduced = { { code = "VAT", rate = "7" } },
}

local ALL_OFF = { { id = "P", level = "order", type = "percent", value = "100" } }


local function calculate(given)
  given.currency, given.exponent = given.currency or "EUR", given.exponent or 2
  given.lines = given.lines or { { id = "L1", sku = "A", qty = 1, unit_price = 1000 } }
  return price.calculate(given)
end


local function with_prices(qty, prices)
  return { lines = { { id = "L1", sku = "A", qty = qty, unit_price = 1000, prices = prices } } }
end


t.describe("rates of tax that were read before", function()
  local function tax_on(list, date)
    return calculate { date = date, tax_rates = { standard = list } }.order.tax_total
  end

  t.it("are read again where their list has changed", function()
    local list = { { code = "VAT", rate = "20" } }
    t.equal(tax_on(list), 200)
    t.equal(tax_on(list), 200)
    list[1].rate = "10"
    t.equal(tax_on(list), 100)
    list[2] = { code = "ECO", rate = "10", compound = true }
    t.equal(tax_on(list), 210)
    list[2].compound = false
    t.equal(tax_on(list), 200)
    list[2] = nil
    t.equal(tax_on(list), 100)
    list[1] = nil
    t.equal(tax_on(list), 0)
  end)

  t.it("are of the day that is asked about", function()
    local list = { { code = "VAT", rate = "20", to = "2026-01-01T00:00:00Z" } }
    t.equal(tax_on(list, "2025-12-31T00:00:00Z"), 200)
    t.equal(tax_on(list, "2026-01-01T00:00:00Z"), 0)
    list[1].to = nil
    t.equal(tax_on(list, "2026-01-01T00:00:00Z"), 200)
    list[1].from = "2027-01-01T00:00:00Z"
    t.equal(tax_on(list, "2026-01-01T00:00:00Z"), 0)
  end)

  t.it("differ by whether prices include them", function()
    local list = { { code = "VAT", rate = "25" } }
    for _ = 1, 2 do
      t.equal(tax_on(list), 250)
      t.equal(calculate { prices_include_tax = true, tax_rates = { standard = list } }
        .order.tax_total, 200)
    end
  end)
end)


t.describe("shelf prices", function()
  t.table({
    { why = "the highest reached step counts, though a lower one is cheaper", want = 900,
      given = with_prices(10, {
        { list = "t", kind = "override", min_qty = 10, unit_price = 900 },
        { list = "t", kind = "override", min_qty = 1, unit_price = 800 } }) },
    { why = "an override counts though it is dearer", want = 1200,
      given = with_prices(1, { { list = "t", kind = "override", unit_price = 1200 } }) },
    { why = "a sale counts only when it is lower", want = 1000,
      given = with_prices(1, { { list = "s", kind = "sale", unit_price = 1100 } }) },
    { why = "the lowest of several lists", want = 700,
      given = with_prices(1, {
        { list = "a", kind = "sale", unit_price = 800 },
        { list = "b", kind = "sale", unit_price = 700 } }) },
    { why = "another group's price is not for everybody", want = 1000,
      given = with_prices(1, { { list = "a", kind = "sale", group = "vip", unit_price = 1 } }) },
  }, function(case) t.equal(calculate(case.given).lines[1].unit_price, case.want) end)
end)


t.describe("amounts beyond 2^53", function()
  local function line(qty, unit_price, id)
    return { id = id or "L1", sku = "A", qty = qty, unit_price = unit_price }
  end

  t.table({
    { why = "a price", lines = { line(1, MAX + 1) } },
    { why = "a price that is all given away", lines = { line(1, MAX + 1) }, promotions = ALL_OFF },
    { why = "a line", lines = { line(3, (MAX - 1) / 2) }, promotions = ALL_OFF },
    { why = "a subtotal", lines = { line(1, MAX), line(1, 1, "L2") }, promotions = ALL_OFF },
    { why = "a grand total by its shipping", lines = { line(1, MAX) }, shipping = { amount = 1 } },
    { why = "a grand total by its tax", lines = { line(1, MAX) }, tax_rates = VAT },
    { why = "a tax of more than all", lines = { line(1, MAX) },
      tax_rates = { standard = { { code = "D", rate = "300" } } } },
    { why = "a converted price", lines = { line(1, MAX) },
      fx = { rate = "1.1", direction = "multiply", from_exponent = 2 } },
  }, function(case)
    t.same(calculate(case), { status = "error", error = "amount_overflow" })
  end)

  t.it("are no trouble while the total fits, though the products do not", function()
    local result = calculate {
      prices_include_tax = true, tax_rates = VAT, lines = { line(1, MAX) },
      promotions = { { id = "P", level = "order", type = "percent", value = "33.333" } },
    }
    t.equal(result.applied.P, 3002369727582815)
    t.equal(result.order.tax_total, 1000804921193029)
  end)
end)


t.describe("currency conversion", function()
  t.it("converts every money value of a promotion", function()
    local function discount(promotion)
      promotion.id = "P"
      local result = calculate {
        lines = { { id = "L1", sku = "A", qty = 2, unit_price = 1000 } },
        promotions = { promotion },
        fx = { rate = "2", direction = "multiply", from_exponent = 2 },
      }
      return result.order.discount_total
    end
    t.equal(discount { level = "order", type = "amount", value = 100 }, 200)
    t.equal(discount { level = "line", type = "fixed_price", value = 900 }, 400)
    t.equal(discount { level = "line", type = "multi_price", n = 2, price = 1500 }, 1000)
    t.equal(discount { level = "line", type = "buy_x_get_y", buy = { qty = 1 },
      get = { qty = 1, fixed_price = 400 } }, 1200)
    t.equal(discount { level = "order", type = "percent", value = "50", max_discount = 300 }, 600)
    t.equal(discount { level = "order", type = "percent", value = "50", budget_remaining = 999 }, 0)
    t.equal(discount { level = "order", type = "percent", value = "50",
      conditions = { min_subtotal = 2001 } }, 0)
    t.equal(discount { level = "order", type = "amount",
      tiers = { { min_subtotal = 2000, value = 70 } } }, 140)
  end)

  t.it("refuses an amount that leaves the range", function()
    t.same(price.calculate { op = "fx", amount = MAX, from = { exponent = 0 },
      to = { exponent = 3 }, rate = "1", direction = "multiply" },
      { status = "error", error = "amount_overflow" })
  end)

  t.it("takes a rate of nothing for a bug", function()
    t.throws(function() fx.factor({ rate = "0", direction = "divide" }, 2, 2) end, "above 0")
  end)
end)


t.describe("taxes", function()
  t.it("prefer the region's rates", function()
    local rates = { US = { standard = { { code = "S", rate = "10" } } }, standard = VAT.standard }
    t.same(calculate({ region = "US", tax_rates = rates }).lines[1].taxes, { S = 100 })
    t.same(calculate({ region = "GB", tax_rates = rates }).lines[1].taxes, { VAT = 200 })
  end)

  t.it("are none for an exempt customer", function()
    local result = calculate { tax_rates = VAT, customer = { tax_exempt = true } }
    t.same(result.lines[1].taxes, {})
    t.same(result.tax_summary, {})
  end)

  -- 100 over 3 units is 34, 33, 33; at 1.5% that is 0.51, 0.495, 0.495.
  t.it("per unit are rounded on each unit's own amount", function()
    local result = calculate {
      tax_rates = { standard = { { code = "T", rate = "1.5" } } },
      rounding = { tax_level = "unit" },
      lines = { { id = "L1", sku = "A", qty = 3, unit_price = 40 } },
      promotions = { { id = "P", level = "order", type = "amount", value = 20 } },
    }
    t.equal(result.order.tax_total, 1)
  end)

  -- 5 over equal goods is 3 and 2: the odd unit belongs to VAT:19, which sorts before VAT:7.
  t.it("on shipping split it over signatures sorted as text", function()
    local result = calculate {
      tax_rates = TWO_RATES, shipping = { amount = 5, tax_class = "proportional" },
      lines = {
        { id = "L1", sku = "A", qty = 1, unit_price = 100, tax_class = "reduced" },
        { id = "L2", sku = "B", qty = 1, unit_price = 100 },
      },
    }
    t.equal(result.shipping.tax, 1)
  end)

  t.it("are none on proportional shipping of an empty cart or of goods without a price", function()
    local shipping = { amount = 500, tax_class = "proportional" }
    t.equal(calculate({ tax_rates = VAT, lines = {}, shipping = shipping }).shipping.total, 500)
    local free = { { id = "L1", sku = "A", qty = 1, unit_price = 0 } }
    t.equal(calculate({ tax_rates = VAT, lines = free, shipping = shipping }).shipping.total, 500)
  end)
end)


t.describe("refunds", function()
  local order = calculate {
    tax_rates = VAT, lines = { { id = "L1", sku = "A", qty = 3, unit_price = 411 } },
    shipping = { amount = 100 }, store_credits = { { id = "S", balance = 500 } },
    tender = { type = "cash", increment = 5 },
  }

  t.table({
    { why = "more shipping than was paid", asked = { { shipping = 60 }, { shipping = 41 } },
      code = "refund_exceeds_remaining" },
    { why = "a line that is not in the order", asked = { { lines = { { id = "X", qty = 1 } } } },
      code = "refund_exceeds_remaining" },
    { why = "more units than are left",
      asked = { { lines = { { id = "L1", qty = 2 } } }, { lines = { { id = "L1", qty = 2 } } } },
      code = "refund_exceeds_remaining" },
    { why = "part of a unit", asked = { { lines = { { id = "L1", qty = 0.5 } } } },
      code = "invalid_quantity" },
    { why = "negative shipping", asked = { { shipping = -1 } }, code = "invalid_price" },
  }, function(case)
    local list, code = refund.calculate(order, case.asked)
    t.equal(list, nil)
    t.equal(code, case.code)
  end)

  -- 1580 in all: 500 from store credit, 1080 due in cash.
  t.it("go back in cash up to what was paid in cash, then to store credit", function()
    local steps = { { lines = { { id = "L1", qty = 2 } } }, { lines = { { id = "L1", qty = 1 } } },
      { shipping = "all" } }
    local list = refund.calculate(order, steps, { type = "cash", increment = 5 })
    local paid = {}
    for i, one in ipairs(list) do
      paid[i] = { one.total, one.cash_paid_out, one.to_store_credit }
    end
    t.same(paid, { { 987, 985, 0 }, { 493, 95, 400 }, { 100, 0, 100 } })
  end)
end)
