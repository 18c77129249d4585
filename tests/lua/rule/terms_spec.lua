local t = require "till.test"
local price = require "till.rule.price"
local terms = require "till.rule.terms"

local TEN = { level = "order", type = "percent", value = "10" }


local function with(more)
  local out = {}
  for key, value in pairs(TEN) do out[key] = value end
  for key, value in pairs(more) do out[key] = value end
  return out
end


t.describe("what a rule answers", function()
  t.it("may be nothing, one term or several", function()
    t.ok(terms.answer({}))
    t.ok(terms.answer({ TEN }))
    t.ok(terms.answer({ with { id = "a", label = "Ten off" }, with { id = "b" } }))
    t.ok(terms.answer({ { level = "line", type = "buy_x_get_y", buy = { qty = 1 },
      get = { qty = 1, percent = "100" } } }))
  end)

  t.table({
    { why = "no list", value = TEN, detail = "must be a list" },
    { why = "a text", value = "10 %", detail = "must be a list of terms, not a string" },
    { why = "a list of texts", value = { "10 %" }, detail = "/0 must be an object" },
    { why = "a field that nobody knows", value = { with { percent = "10" } },
      detail = "/0/percent" },
    { why = "a fraction of a penny", value = { { level = "order", type = "amount", value = 0.5 } },
      detail = "/0/value" },
    { why = "money that is given", value = { { level = "order", type = "amount", value = -5 } },
      detail = "/0/value" },
    { why = "more than everything", value = { with { value = "101" } }, detail = "/0: the rules" },
    { why = "a type that its level does not have", value = { { level = "order",
      type = "fixed_price", value = 1 } }, detail = "/0: the rules" },
    { why = "a filter that is no filter", value = { with { filter = 5 } },
      detail = "/0/filter must be" },
    { why = "a list of SKUs with a number", value = { with { filter = { skus = { 1 } } } },
      detail = "/0/filter/skus/0" },
    { why = "one id twice", value = { with { id = "a" }, with { id = "a" } },
      detail = "/1/id is there twice" },
    { why = "the id of another's place", value = { with { id = "1" }, with { id = "1" } },
      detail = "twice" },
    { why = "an id with a slash", value = { with { id = "a/b" } }, detail = "/0/id" },
    { why = "a code of its own making", value = { with { code = "FREE" } }, detail = "/0/code" },
    { why = "a label that is no text", value = { with { label = {} } }, detail = "/0/label" },
    { why = "a window of time", value = { with { starts_at = "2026-01-01T00:00:00Z" } },
      detail = "/0/starts_at" },
  }, function(case)
    local ok, why = terms.answer(case.value)
    t.equal(ok, nil)
    t.ok(why:find(case.detail, 1, true), why)
  end)

  t.it("has no more terms than a shopper could read", function()
    local many = {}
    for i = 1, 21 do many[i] = TEN end
    local ok, why = terms.answer(many)
    t.equal(ok, nil)
    t.ok(why:find("at most 20"), why)
  end)
end)


-- Terms of any kind that a rule may answer, by dice that fall the same each time.
local function new_dice(seed)
  local state = seed
  local dice = {}
  function dice.roll(n)
    state = (state * 16807) % 2147483647
    return state % n + 1
  end
  function dice.of(list) return list[dice.roll(#list)] end
  function dice.maybe(value) return dice.roll(3) == 1 and value or nil end
  return dice
end


local MONEYS = { 0, 1, 7, 499, 500, 100000, 9007199254740991 }
local PERCENTS = { "0", "0.0000000000001", "3.333", "50", "99.999999999999", "100" }
local COUNTS = { 1, 2, 3, 1000, 1000000 }


local function filter_of(dice)
  return dice.maybe { skus = dice.maybe { "A", "B" }, tags = dice.maybe { "tea" },
    exclude_skus = dice.maybe { "A" }, exclude_on_sale = dice.maybe(true) }
end


local function tiers_of(dice, value)
  local out = {}
  for i = 1, dice.roll(3) do out[i] = { min_subtotal = dice.of(MONEYS), value = value() } end
  return out
end


local function terms_by(dice)
  local function part()
    return { filter = filter_of(dice), qty = dice.of(COUNTS),
      percent = dice.maybe(dice.of(PERCENTS)), amount = dice.maybe(dice.of(MONEYS)),
      fixed_price = dice.maybe(dice.of(MONEYS)) }
  end
  local type_ = dice.of { "percent", "amount", "amount_per_unit", "fixed_price", "free",
    "buy_x_get_y", "n_for_m", "bundle_price", "multi_price" }
  local function value() return dice.of(type_ == "percent" and PERCENTS or MONEYS) end
  return { level = dice.of { "line", "order", "shipping" }, type = type_, value = value(),
    filter = filter_of(dice), priority = dice.maybe(dice.roll(9)), exclusive = dice.maybe(true),
    group = dice.maybe("g"), combines_with = dice.maybe { dice.of { "line", "order" } },
    stop = dice.maybe(true), basis = dice.maybe(dice.of { "original", "current" }),
    max_discount = dice.maybe(dice.of(MONEYS)), budget_remaining = dice.maybe(dice.of(MONEYS)),
    buy = dice.maybe(part()), get = dice.maybe(part()), n = dice.of(COUNTS), m = dice.of(COUNTS),
    price = dice.of(MONEYS), components = dice.maybe { part(), dice.maybe(part()) },
    max_applications = dice.maybe(dice.of(COUNTS)), tiers = dice.maybe(tiers_of(dice, value)),
    conditions = dice.maybe { min_subtotal = dice.maybe(dice.of(MONEYS)),
      min_qty = dice.maybe(dice.of(COUNTS)) } }
end


local function priced(promotions)
  return price.calculate { currency = "GBP", exponent = 2, prices_include_tax = false,
    date = "2026-01-01T00:00:00Z", rounding = { mode = "half_up", tax_level = "line" },
    tax_rates = { standard = { { code = "VAT", rate = "20" } } }, promotions = promotions,
    shipping = { amount = 499, tax_class = "standard" },
    lines = { { id = "1", sku = "A", qty = 3, unit_price = 500, tags = { "tea" },
        tax_class = "standard" },
      { id = "2", sku = "B", qty = 1000, unit_price = 7, tags = {}, tax_class = "standard" },
      { id = "3", sku = "C", qty = 1, unit_price = 0, tags = { "tea" } } } }
end


-- What was taken from lines and shipping, each of which keeps something or nothing.
local function taken_from(result)
  local off = result.shipping.discount_total
  t.ok(result.shipping.discounted_amount >= 0)
  for _, line in ipairs(result.lines) do
    t.ok(line.discounted_amount >= 0 and line.discounted_amount <= line.amount)
    off = off + line.discount_total
  end
  return off
end


t.describe("whatever a rule answers", function()
  t.it("a price that it is taken into is never below nothing, nor above that without it", function()
    local dice, most, tried = new_dice(20261129), priced({}).order.grand_total, 0
    for _ = 1, 4000 do
      local answer = {}
      for i = 1, dice.roll(4) do answer[i] = terms_by(dice) end
      if terms.answer(answer) then
        tried = tried + 1
        for i, one in ipairs(answer) do one.id = tostring(i) end
        local result, applied = priced(answer), 0
        t.equal(result.status, "ok", result.error)
        t.ok(result.order.grand_total >= 0 and result.order.grand_total <= most)
        for _, amount in pairs(result.applied) do
          t.ok(amount > 0 and amount % 1 == 0)
          applied = applied + amount
        end
        t.equal(applied, taken_from(result))
      end
    end
    t.ok(tried > 400, tried)
  end)

  t.it("long lists of what it is for are read as short ones are", function()
    local skus = {}
    for i = 1, 1000 do skus[i] = "S" .. i end
    local function off(filter)
      return priced({ { id = "1", level = "line", type = "percent", value = "50",
        filter = filter } }).order.discount_total
    end
    t.equal(off { skus = skus }, 0)
    local other = {}
    for i = 1, 1000 do other[i] = i == 1000 and "A" or skus[i] end
    t.equal(off { skus = other }, 750)
    t.equal(off { exclude_skus = other }, 3500)
    t.equal(off { tags = other }, 0)
  end)
end)
