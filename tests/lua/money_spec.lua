local t = require "till.test"
local exact = require "till.util.exact"
local money = require "till.money"


local function sum(list)
  local total = 0
  for _, value in ipairs(list) do total = total + value end
  return total
end


t.describe("money.exponent", function()
  t.table({
    { why = "the euro has cents", code = "EUR", want = 2 },
    { why = "the yen has none", code = "JPY", want = 0 },
    { why = "the Kuwaiti dinar has fils", code = "KWD", want = 3 },
    { why = "the Guyanese dollar has cents", code = "GYD", want = 2 },
    { why = "the unidad de fomento has four decimals", code = "CLF", want = 4 },
    { why = "an unknown code has nothing", code = "XYZ" },
  }, function(case) t.equal(money.exponent(case.code), case.want) end)
end)


-- The definition, one unit at a time.
local function slow_split(amount, weights, total)
  local shares, rests, given = {}, {}, 0
  for i, weight in ipairs(weights) do
    shares[i], rests[i] = exact.divide(exact.multiply(amount, weight), math.max(1, total))
    given = given + shares[i]
  end
  for _ = 1, amount - given do
    local best = 1
    for i = 2, #rests do
      if rests[i] > rests[best] then best = i end
    end
    shares[best], rests[best] = shares[best] + 1, -1
  end
  return shares
end


t.describe("money.split", function()
  t.table({
    { why = "the odd cent goes to the first of equals", amount = 100, weights = { 1, 1, 1 },
      want = { 34, 33, 33 } },
    { why = "the largest remainder comes before the first", amount = 1000,
      weights = { 1000, 5000 }, want = { 167, 833 } },
    { why = "a zero weight gets nothing and shifts nothing", amount = 101,
      weights = { 0, 500, 500 }, want = { 0, 51, 50 } },
    { why = "zero weights give zeros", amount = 5, weights = { 0, 0 }, want = { 0, 0 } },
    { why = "no weights give nothing", amount = 5, weights = {}, want = {} },
    { why = "many missing units go by remainder", amount = 14,
      weights = { 1, 1, 1, 1, 1, 1, 2 }, want = { 2, 2, 2, 2, 2, 1, 3 } },
    { why = "products beyond 2^53 stay exact", amount = 9007199254740991,
      weights = { 1, 1, 9007199254740988 }, want = { 1, 1, 9007199254740989 } },
    { why = "remainders that doubles cannot tell apart are told apart", amount = 3675001713940937,
      weights = { 239000609094160, 1354000532343024, 2083000572503747 },
      want = { 238935592636690, 1353632197223049, 2082433924081198 } },
  }, function(case) t.same(money.split(case.amount, case.weights), case.want) end)

  t.it("adds up, stays within a unit of the true share and below the weight", function()
    local seed = 5
    local function random(n)
      seed = seed * 16807 % 2147483647
      return seed % n
    end
    for round = 1, 2000 do
      local weights = {}
      local factor = round % 3 == 0 and 100000001 or 1
      for i = 1, 1 + random(12) do
        weights[i] = random(4) == 0 and 0 or random(5000) * factor + random(9)
      end
      local total = sum(weights)
      local amount = total == 0 and 0 or (random(1000) * factor + random(1000)) % (total + 1)
      local shares = money.split(amount, weights)
      t.equal(sum(shares), amount)
      t.same(shares, slow_split(amount, weights, total))
      for i, share in ipairs(shares) do
        t.ok(share <= weights[i], "share above its weight")
        local floor = total == 0 and 0
          or exact.divide(exact.multiply(amount, weights[i]), total)
        t.ok(share == floor or share == floor + 1, "share off by more than one")
      end
    end
  end)
end)


t.describe("money.even", function()
  t.it("gives the odd units to the first", function()
    t.same({ money.even(1000, 3) }, { 333, 1 })
    t.equal(money.even_part(1000, 3, 0, 1), 334)
    t.equal(money.even_part(1000, 3, 1, 3), 666)
    t.equal(money.even_part(1001, 3, 1, 2), 334)
  end)

  t.it("gives the whole whatever the steps", function()
    for cut = 0, 7 do
      t.equal(money.even_part(1212, 7, 0, cut) + money.even_part(1212, 7, cut, 7), 1212)
    end
  end)
end)


t.describe("rounding", function()
  t.it("rounds by an exact rate", function()
    local rate = exact.over(exact.parse("9.975"), exact.parse("100"))
    t.equal(money.round(333, rate), 33)
    t.equal(money.round(200000, rate), 19950)
  end)

  t.table({
    { why = "down to whole dollars", amount = 1002402, step = 100, want = 1002400 },
    { why = "up to five dollars", amount = 112300, step = 500, want = 112500 },
    { why = "a tie goes up", amount = 250, step = 500, want = 500 },
    { why = "one unit leaves it alone", amount = 123, step = 1, want = 123 },
  }, function(case) t.equal(money.round_to(case.amount, case.step), case.want) end)
end)


t.describe("text", function()
  t.table({
    { why = "two decimals", amount = 123450, what = "EUR", text = "1234.50" },
    { why = "less than one", amount = 5, what = "EUR", text = "0.05" },
    { why = "no decimals", amount = 893, what = "JPY", text = "893" },
    { why = "three decimals", amount = 20600, what = "KWD", text = "20.600" },
    { why = "an exponent in place of a code", amount = 7, what = 4, text = "0.0007" },
    { why = "the largest amount", amount = 9007199254740991, what = "EUR",
      text = "90071992547409.91" },
  }, function(case)
    t.equal(money.format(case.amount, case.what), case.text)
    t.equal(money.parse(case.text, case.what), case.amount)
  end)

  t.it("writes a negative difference with its sign", function()
    t.equal(money.format(-2, "GYD"), "-0.02")
  end)

  t.it("refuses what the currency cannot hold", function()
    for _, text in ipairs { "1.234", "-1", "1,00", "", ".", "1e3", "99999999999999999" } do
      t.equal(money.parse(text, "EUR"), nil, text)
    end
  end)

  t.it("takes an unknown currency for a bug", function()
    t.throws(function() money.format(1, "XYZ") end, "unknown currency XYZ")
  end)
end)
