-- What must hold for every cart, on seeded random ones; and counting promotions against the
-- plainest way to work them out, unit by unit.
local t = require "till.test"
local carts = require "tests.support.carts"
local new_random = require("tests.support.random").new
local price = require "till.rule.price"
local refund = require "till.rule.refund"

local CARTS = 1500


local function each_cart(seed, check)
  for k = 1, CARTS do
    local random = new_random(seed * 100000 + k)
    local given = carts.new(random)
    check(given, price.calculate(given), random, "cart " .. seed * 100000 + k)
  end
end


local function sum_of(list, field)
  local sum = 0
  for _, item in ipairs(list) do sum = sum + item[field] end
  return sum
end


local function sum_values(map)
  local sum = 0
  for _, value in pairs(map) do sum = sum + value end
  return sum
end


local MAY_BE_NEGATIVE = { cash_rounding = true }


local function check_numbers(value, name, why)
  if type(value) == "table" then
    for key, inner in pairs(value) do check_numbers(inner, key, why) end
  elseif type(value) == "number" then
    t.ok(value % 1 == 0 and (value >= 0 or MAY_BE_NEGATIVE[name]),
      why .. ": " .. tostring(name) .. " = " .. tostring(value))
  end
end


local function check_part(part, inclusive, why)
  t.equal(part.net + part.tax, part.total, why .. " net + tax")
  t.equal(part.amount - part.discount_total, part.discounted_amount, why .. " discounted")
  t.equal(sum_values(part.discounts), part.discount_total, why .. " discounts")
  t.equal(sum_values(part.taxes), part.tax, why .. " taxes")
  t.equal(inclusive and part.total or part.net, part.discounted_amount, why .. " basis")
end


local function check_identities(given, result, _, why)
  t.equal(result.status, "ok", why)
  check_numbers(result, "result", why)
  local order = result.order
  for _, line in ipairs(result.lines) do
    check_part(line, given.prices_include_tax, why .. " " .. line.id)
    local unit = line.unit_discount
    t.equal(unit.each * line.qty + unit.extra_units, line.discount_total, why)
  end
  check_part(result.shipping, given.prices_include_tax, why .. " shipping")
  t.equal(sum_of(result.lines, "total") + result.shipping.total, order.grand_total, why)
  t.equal(order.net_total + order.tax_total, order.grand_total, why)
  t.equal(sum_of(result.tax_summary, "tax"), order.tax_total, why)
  t.equal(sum_values(result.applied), order.discount_total, why)
  t.equal(order.line_discount + order.order_discount + order.shipping_discount,
    order.discount_total, why)
  t.equal(order.grand_total - order.store_credit + order.cash_rounding, order.amount_due, why)
  for _, promotion in ipairs(given.promotions) do
    local applied, rejected = result.applied[promotion.id], result.rejected[promotion.id]
    t.ok((applied ~= nil) ~= (rejected ~= nil), why .. ": applied or rejected, never both")
    t.ok(not applied or applied <= (promotion.max_discount or applied), why .. ": cap")
    t.ok(not applied or applied <= (promotion.budget_remaining or applied), why .. ": budget")
  end
end


local function check_order(given, result, random, why)
  local other = {}
  for key, value in pairs(given) do other[key] = value end
  for _, key in ipairs { "lines", "promotions", "codes" } do
    other[key] = random.shuffle(given[key])
  end
  t.same(price.calculate(other), result, why)
end


-- Every unit and the whole of shipping in random steps.
local function all_refunds(result, random)
  local steps = {}
  for _, line in ipairs(result.lines) do
    local left = line.qty
    while left > 0 do
      local qty = 1 + random.below(left)
      steps[#steps + 1] = { lines = { { id = line.id, qty = qty } } }
      left = left - qty
    end
  end
  local part = random.below(result.shipping.total + 1)
  steps[#steps + 1] = { shipping = part }
  steps = random.shuffle(steps)
  steps[#steps + 1] = { shipping = "all" }
  return steps
end


local function check_refunds(given, result, random, why)
  local list = t.ok(refund.calculate(result, all_refunds(result, random), given.tender))
  local order = result.order
  check_numbers(list, "refunds", why)
  t.equal(sum_of(list, "total"), order.grand_total, why)
  t.equal(sum_of(list, "tax"), order.tax_total, why)
  local taxes = {}
  for _, one in ipairs(list) do
    for code, amount in pairs(one.taxes) do taxes[code] = (taxes[code] or 0) + amount end
  end
  for _, row in ipairs(result.tax_summary) do taxes[row.code] = taxes[row.code] - row.tax end
  t.equal(sum_values(taxes), 0, why)
  if order.store_credit > 0 then
    t.equal(sum_of(list, "to_store_credit"), order.store_credit, why)
    if not given.tender then t.equal(sum_of(list, "to_payment"), order.amount_due, why) end
  end
  if given.tender then t.equal(sum_of(list, "cash_paid_out"), order.amount_due, why) end
end


t.describe("for every cart", function()
  t.it("the sums agree", function() each_cart(1, check_identities) end)
  t.it("input order never matters", function() each_cart(2, check_order) end)
  t.it("full refunds give back exactly what was paid", function() each_cart(3, check_refunds) end)

  t.it("the input is left as it was", function()
    for k = 1, 200 do
      local given = carts.new(new_random(k))
      price.calculate(given)
      t.same(given, carts.new(new_random(k)))
    end
  end)
end)


local function random_lines(random)
  local lines, units = {}, {}
  for k = 1, 1 + random.below(5) do
    lines[k] = { id = "L" .. k, sku = "S" .. k, qty = 1 + random.below(9),
      unit_price = random.pick { 100, 250, 250, 999, 1000 } }
    for _ = 1, lines[k].qty do units[#units + 1] = lines[k].unit_price end
  end
  table.sort(units)
  return lines, units
end


local function discount_of(lines, promotion)
  promotion.id, promotion.level = "P", "line"
  local result = price.calculate { exponent = 2, lines = lines, promotions = { promotion } }
  return result.order.discount_total
end


local function sum_units(units, from, to)
  local sum = 0
  for i = from, to do sum = sum + units[i] end
  return sum
end


local function each_lines(seed, check)
  for k = 1, 500 do check(new_random(seed * 1000 + k)) end
end


t.describe("counted unit by unit", function()
  t.it("n for m gives the cheapest units overall", function()
    each_lines(1, function(random)
      local lines, units = random_lines(random)
      local m = 1 + random.below(3)
      local n = m + 1 + random.below(2)
      local free = math.floor(#units / n) * (n - m)
      t.equal(discount_of(lines, { type = "n_for_m", n = n, m = m }), sum_units(units, 1, free))
    end)
  end)

  t.it("any n for a price takes the dearest while that saves money", function()
    each_lines(2, function(random)
      local lines, units = random_lines(random)
      local n, cost = 1 + random.below(4), random.pick { 0, 300, 800, 2000 }
      local limit = random.pick { 1, 2, 1000 }
      local saving, last, sets = 0, #units, 0
      while last >= n and sets < limit and sum_units(units, last - n + 1, last) > cost do
        saving = saving + sum_units(units, last - n + 1, last) - cost
        last, sets = last - n, sets + 1
      end
      t.equal(discount_of(lines,
        { type = "multi_price", n = n, price = cost, max_applications = limit }), saving)
    end)
  end)

  t.it("buy x get y over all goods gives the cheapest, the last time perhaps fewer", function()
    each_lines(3, function(random)
      local lines, units = random_lines(random)
      local buy, get = 1 + random.below(3), 1 + random.below(3)
      local times = math.floor(#units / (buy + get))
      local rest = #units - times * (buy + get)
      local given = times * get + math.max(0, rest - buy)
      t.equal(discount_of(lines, { type = "buy_x_get_y", buy = { qty = buy },
        get = { qty = get, percent = "100" } }), sum_units(units, 1, given))
    end)
  end)
end)
