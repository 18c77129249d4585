-- Sentences of the promotion rules that the worked examples leave open, worked out by hand.
local t = require "till.test"
local price = require "till.rule.price"

local ORDER_FIELDS = { "discount_total", "tax_total", "grand_total", "amount_due", "shipping" }


-- A case's `lines` are { sku, qty, unit price [, more fields] }; its other input is in `given`.
local function calculate(case)
  local given = { currency = "EUR", exponent = 2, lines = {}, promotions = case.promotions }
  for key, value in pairs(case.given or {}) do given[key] = value end
  for i, line in ipairs(case.lines or { { "A", 1, 10000 } }) do
    given.lines[i] = { id = "L" .. i, sku = line[1], qty = line[2], unit_price = line[3] }
    for key, value in pairs(line[4] or {}) do given.lines[i][key] = value end
  end
  for i, promotion in ipairs(case.promotions or {}) do
    promotion.level = promotion.level or "line"
    promotion.id = promotion.id or "P" .. i
  end
  return price.calculate(given)
end


local function check(case)
  local result = calculate(case)
  if case.fails then
    t.same(result, { status = "error", error = case.fails })
    return
  end
  t.equal(result.status, "ok")
  if case.applied then t.same(result.applied, case.applied) end
  if case.rejected then t.same(result.rejected, case.rejected) end
  if case.unknown then t.same(result.unknown_codes, case.unknown) end
  for _, field in ipairs(ORDER_FIELDS) do
    if case[field] then t.equal(result.order[field], case[field], field) end
  end
  for i, id in ipairs(case.on or {}) do
    t.same(result.lines[i].discounts, id, "line " .. i)
  end
end


local function percent(value, more)
  local out = { type = "percent", value = value }
  for key, field in pairs(more or {}) do out[key] = field end
  return out
end


local function only(...)
  return { skus = { ... } }
end


t.describe("multibuys", function()
  t.table({
    { why = "units needed for buying are not given away, though cheaper",
      lines = { { "B", 2, 300 }, { "C", 1, 500 } },
      promotions = { { type = "buy_x_get_y", buy = { filter = only("B"), qty = 2 },
        get = { filter = only("B", "C"), qty = 1, percent = "100" } } },
      on = { {}, { P1 = 500 } } },
    { why = "a partial application needs all its bought units",
      lines = { { "A", 2, 300 }, { "C", 5, 500 } },
      promotions = { { type = "buy_x_get_y", buy = { filter = only("A"), qty = 3 },
        get = { filter = only("C"), qty = 2, percent = "100" } } },
      rejected = { P1 = "no_effect" } },
    { why = "of equal prices a line outside the buy filter is given first",
      lines = { { "A", 2, 500 }, { "B", 1, 500 } },
      promotions = { { type = "buy_x_get_y", buy = { filter = only("A"), qty = 1 },
        get = { qty = 1, percent = "100" } } },
      on = { {}, { P1 = 500 } } },
    { why = "the most expensive is given when it says so",
      lines = { { "A", 1, 2000 }, { "B", 1, 1500 } },
      promotions = { { type = "buy_x_get_y", buy = { qty = 1 },
        get = { qty = 1, percent = "100" }, selection = "most_expensive" } },
      on = { { P1 = 2000 }, {} } },
    { why = "an amount off a given unit stops at its price",
      lines = { { "A", 1, 2000 }, { "B", 1, 300 } },
      promotions = { { type = "buy_x_get_y", buy = { qty = 1 }, get = { qty = 1, amount = 500 } } },
      on = { {}, { P1 = 300 } } },
    { why = "at its limit no partial application follows",
      lines = { { "A", 9, 100 } },
      promotions = { { type = "buy_x_get_y", buy = { qty = 2 },
        get = { qty = 2, percent = "100" }, max_applications = 2 } },
      applied = { P1 = 400 } },
    { why = "a limit of none gives nothing",
      lines = { { "A", 9, 100 } },
      promotions = { { type = "n_for_m", n = 3, m = 2, max_applications = 0 } },
      rejected = { P1 = "no_effect" } },
    { why = "a capped gift is not entirely free, so its unit still pays and is reduced",
      lines = { { "A", 3, 1000 } },
      promotions = { { type = "n_for_m", n = 3, m = 2, max_discount = 600 },
        { type = "amount_per_unit", value = 100 } },
      applied = { P1 = 600, P2 = 300 } },
    { why = "a fixed price is asked for the units that are not free",
      lines = { { "A", 3, 1000 } },
      promotions = { { type = "n_for_m", n = 3, m = 2 }, { type = "fixed_price", value = 800 } },
      applied = { P1 = 1000, P2 = 400 } },
    { why = "one that breaks its budget takes no units from the next",
      lines = { { "A", 3, 1000 } },
      promotions = { { type = "n_for_m", n = 3, m = 2, budget_remaining = 999 },
        { type = "multi_price", n = 2, price = 1500 } },
      applied = { P2 = 500 }, rejected = { P1 = "budget_exceeded" } },
    { why = "sets are formed from the dearest until one saves nothing",
      lines = { { "A", 3, 900 }, { "B", 3, 200 } },
      promotions = { { type = "multi_price", n = 2, price = 1000 } },
      applied = { P1 = 900 }, on = { { P1 = 838 }, { P1 = 62 } } },
    { why = "a component takes what an earlier one of the set left",
      lines = { { "A", 3, 900 }, { "B", 1, 200 } },
      promotions = { { type = "bundle_price", price = 1500, components = {
        { filter = only("A"), qty = 1 }, { qty = 1 } } } },
      applied = { P1 = 300 }, on = { { P1 = 300 }, {} } },
    { why = "its own filter narrows both sides",
      lines = { { "A", 1, 300 }, { "B", 2, 500 } },
      promotions = { { type = "buy_x_get_y", filter = only("B"), buy = { qty = 1 },
        get = { qty = 1, percent = "100" } } },
      on = { {}, { P1 = 500 } } },
    { why = "a line's condition looks at the shelf, not at what a multibuy left",
      lines = { { "A", 3, 1000 } },
      promotions = { { type = "n_for_m", n = 3, m = 2 },
        percent("10", { conditions = { min_subtotal = 3000 } }) },
      applied = { P1 = 1000, P2 = 200 } },
  }, check)
end)


t.describe("simple line promotions", function()
  t.table({
    { why = "a percentage of the original ignores what came before",
      promotions = { percent("10"), percent("20", { basis = "original" }) },
      applied = { P1 = 1000, P2 = 2000 } },
    { why = "the choice knows that a stop keeps the later ones out",
      promotions = { percent("30", { stop = true, group = "g", priority = 1 }),
        percent("20", { group = "g", priority = 1 }), percent("50", { priority = 2 }) },
      applied = { P2 = 2000, P3 = 4000 }, rejected = { P1 = "no_effect" } },
    { why = "of equal choices the one with fewer promotions stays",
      promotions = { percent("10", { exclusive = true, priority = 200 }),
        { type = "amount_per_unit", value = 600 }, { type = "amount_per_unit", value = 400 } },
      applied = { P1 = 1000 }, rejected = { P2 = "no_effect", P3 = "no_effect" } },
    { why = "a choice is not taken back when its budget fails",
      promotions = { percent("30", { group = "g", budget_remaining = 10 }),
        percent("20", { group = "g" }) },
      applied = {}, rejected = { P1 = "budget_exceeded", P2 = "no_effect" } },
    { why = "excluded tags stay out", lines = { { "A", 1, 1000, { tags = { "new", "x" } } } },
      promotions = { percent("10", { filter = { tags = { "x" }, exclude_tags = { "new" } } }) },
      rejected = { P1 = "no_effect" } },
    { why = "a sku or a tag is enough",
      lines = { { "A", 1, 1000 }, { "B", 1, 1000, { tags = { "x" } } }, { "C", 1, 1000 } },
      promotions = { percent("10", { filter = { skus = { "A" }, tags = { "x" } } }) },
      on = { { P1 = 100 }, { P1 = 100 }, {} } },
    { why = "an empty filter list restricts nothing",
      promotions = { percent("10", { filter = { skus = {}, tags = {} } }) },
      applied = { P1 = 1000 } },
    { why = "what is not discountable counts for no condition",
      lines = { { "A", 1, 1000 }, { "B", 1, 9000, { discountable = false } } },
      promotions = { percent("10", { conditions = { min_subtotal = 1001 } }) },
      rejected = { P1 = "min_subtotal" } },
  }, check)
end)


t.describe("order and shipping promotions", function()
  t.table({
    { why = "a percentage of the shipping's full price",
      given = { shipping = { amount = 1000 } },
      promotions = { percent("50", { level = "shipping" }),
        percent("30", { level = "shipping", basis = "original" }) },
      applied = { P1 = 500, P2 = 300 }, shipping = 200 },
    { why = "a shipping condition counts all goods, whatever its filter",
      lines = { { "A", 1, 1000 }, { "B", 1, 4000 } }, given = { shipping = { amount = 700 } },
      promotions = { { level = "shipping", type = "free", filter = only("A"),
        conditions = { min_subtotal = 5000 } } },
      applied = { P1 = 700 } },
    { why = "of equally cheap sets the one with fewer discounts",
      promotions = { { level = "order", type = "amount", value = 1000, exclusive = true,
        priority = 200 }, { level = "order", type = "amount", value = 600 },
        { level = "order", type = "amount", value = 400 } },
      applied = { P1 = 1000 }, rejected = { P2 = "not_combinable", P3 = "not_combinable" } },
    { why = "levels combine only when each names the other",
      given = { shipping = { amount = 700 } },
      promotions = { percent("5", { level = "order" }),
        { level = "shipping", type = "free", combines_with = { "line", "shipping" } } },
      applied = { P2 = 700 }, rejected = { P1 = "not_combinable" } },
    { why = "an amount never takes more than there is, and shipping stays",
      given = { shipping = { amount = 700 } },
      promotions = { { level = "order", type = "amount", value = 99999 } },
      applied = { P1 = 10000 }, grand_total = 700 },
    { why = "a cap below its tier's percentage",
      promotions = { percent(nil, { level = "order", max_discount = 900,
        tiers = { { min_subtotal = 5000, value = "5" }, { min_subtotal = 10000, value = "10" } } }),
      }, applied = { P1 = 900 } },
    { why = "no tier reached", lines = { { "A", 1, 4999 } },
      promotions = { { level = "order", type = "amount",
        tiers = { { min_subtotal = 5000, value = 500 } } } },
      rejected = { P1 = "min_subtotal" } },
    { why = "a tier is found whatever the order they are listed in",
      promotions = { { level = "order", type = "amount", tiers = {
        { min_subtotal = 10000, value = 900 }, { min_subtotal = 5000, value = 300 } } } },
      applied = { P1 = 900 } },
  }, check)
end)


local TODAY = { date = "2026-06-01T00:00:00Z" }


t.describe("what decides before the cart is looked at", function()
  t.table({
    { why = "a window includes its start", given = TODAY,
      promotions = { percent("10", { starts_at = "2026-06-01T00:00:00Z" }) },
      applied = { P1 = 1000 } },
    { why = "a day alone means its midnight", given = TODAY,
      promotions = { percent("10", { starts_at = "2026-06-01", ends_at = "2026-06-02" }) },
      applied = { P1 = 1000 } },
    { why = "fractions of a second compare as time does", given = TODAY,
      promotions = { percent("10", { starts_at = "2026-06-01T00:00:00.5Z" }) },
      rejected = { P1 = "not_started" } },
    { why = "the code comes before the window", given = TODAY,
      promotions = { percent("10", { code = "X", ends_at = "2026-01-01" }) },
      rejected = { P1 = "code_not_entered" } },
    { why = "codes are trimmed, compared without case and listed once",
      given = { codes = { " x ", "zz", "b", " B" } },
      promotions = { percent("10", { code = "X" }) },
      applied = { P1 = 1000 }, unknown = { "B", "ZZ" } },
    { why = "the code of an expired promotion is a known one",
      given = { codes = { "x" }, date = TODAY.date },
      promotions = { percent("10", { code = "X", ends_at = "2026-01-01" }) },
      rejected = { P1 = "expired" }, unknown = {} },
    { why = "a customer of another group", given = { customer = { group = "retail" } },
      promotions = { percent("10", { conditions = { customer_groups = { "wholesale" } } }) },
      rejected = { P1 = "customer_group" } },
    { why = "no customer at all", promotions = { percent("10", { conditions = {
      customer_group = "wholesale" } }) }, rejected = { P1 = "customer_group" } },
    { why = "another region", given = { region = "GY" },
      promotions = { percent("10", { conditions = { regions = { "US", "CA" } } }) },
      rejected = { P1 = "region" } },
    { why = "the right group and region", given = { region = "GY", customer = { group = "vip" } },
      promotions = { percent("10", { conditions = {
        regions = { "GY" }, customer_group = "vip" } }) },
      applied = { P1 = 1000 } },
  }, check)

  t.it("takes a window without a date for a bug", function()
    t.throws(function()
      calculate { promotions = { percent("10", { starts_at = "2026-01-01" }) } }
    end, "date is needed")
  end)
end)


t.describe("what is refused", function()
  local function refused(why, promotion)
    return { why = why, promotions = { promotion }, fails = "invalid_promotion" }
  end

  t.table({
    refused("a percentage above 100", percent("100.001")),
    refused("a negative percentage", percent("-1")),
    refused("a percentage that is no decimal", percent("ten")),
    refused("a percentage that is missing", percent(nil)),
    refused("an amount with decimals", { type = "amount_per_unit", value = 1.5 }),
    refused("free outside shipping", { level = "order", type = "free" }),
    refused("an unknown type", { type = "gift" }),
    refused("an unknown level", { level = "cart", type = "percent", value = "1" }),
    refused("nothing to get", { type = "buy_x_get_y", buy = { qty = 1 }, get = { qty = 1 } }),
    refused("two things to get", { type = "buy_x_get_y", buy = { qty = 1 },
      get = { qty = 1, percent = "10", amount = 5 } }),
    refused("a component of none", { type = "bundle_price", price = 1,
      components = { { qty = 0 } } }),
    refused("a negative cap", percent("1", { max_discount = -1 })),
    refused("a bad percentage in a tier", percent(nil, { level = "order",
      tiers = { { min_subtotal = 1, value = "101" } } })),
    { why = "two promotions of one id", fails = "invalid_promotion",
      promotions = { percent("1", { id = "X" }), percent("2", { id = "X" }) } },
    { why = "half a unit", lines = { { "A", 0.5, 100 } }, fails = "invalid_quantity" },
    { why = "a price with decimals", lines = { { "A", 1, 1.5 } }, fails = "invalid_price" },
    { why = "a negative price in a list", fails = "invalid_price",
      lines = { { "A", 1, 100, { prices = { { kind = "sale", unit_price = -1 } } } } } },
    { why = "negative shipping", given = { shipping = { amount = -1 } }, fails = "invalid_price" },
    { why = "two lines of one id", lines = { { "A", 1, 1 }, { "B", 1, 1, { id = "L1" } } },
      fails = "duplicate_line_id" },
    { why = "an unknown rounding", given = { rounding = { mode = "down" } },
      fails = "invalid_rounding" },
    { why = "an unknown tax level", given = { rounding = { tax_level = "row" } },
      fails = "invalid_rounding" },
  }, check)
end)
