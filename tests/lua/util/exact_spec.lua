local t = require "till.test"
local bigint = require "till.util.bigint"
local exact = require "till.util.exact"

local MAX = 9007199254740991


local function whole(text)
  return bigint.from_digits(text)
end


local function text_of(value)
  if type(value) == "number" then return string.format("%.0f", value) end
  return bigint.to_digits(value)
end


-- Park and Miller: the same numbers on every machine.
local function new_random(seed)
  return function(n)
    seed = seed * 16807 % 2147483647
    return seed % n
  end
end


local function random_digits(random, length)
  local out = { tostring(1 + random(9)) }
  for i = 2, length do out[i] = tostring(random(10)) end
  return table.concat(out)
end


t.describe("bigint", function()
  t.table({
    { why = "carries through nines", op = "add",
      a = "99999999999999999999", b = "1", want = "100000000000000000000" },
    { why = "borrows through zeros", op = "subtract",
      a = "100000000000000000000", b = "1", want = "99999999999999999999" },
    { why = "squares 2^64", op = "multiply", a = "18446744073709551616",
      b = "18446744073709551616", want = "340282366920938463463374607431768211456" },
    { why = "divides 2^128 by 10^19", op = "divide",
      a = "340282366920938463463374607431768211456", b = "10000000000000000000",
      want = "34028236692093846346" },
    { why = "corrects a digit guessed too large", op = "divide",
      a = "50000000000000000000000", b = "50000009999999", want = "999999800" },
    { why = "divides by more digits than it has", op = "divide",
      a = "12345678901", b = "99999999999999999999", want = "0" },
  }, function(case)
    t.equal(bigint.to_digits((bigint[case.op](whole(case.a), whole(case.b)))), case.want)
  end)

  t.it("takes a quotient apart and puts it together again", function()
    local random = new_random(7)
    for _ = 1, 2000 do
      local a = whole(random_digits(random, 1 + random(60)))
      local b = whole(random_digits(random, 1 + random(40)))
      local quotient, rest = bigint.divide(a, b)
      t.equal(bigint.compare(rest, b), -1, "remainder below divisor")
      local back = bigint.add(bigint.multiply(quotient, b), rest)
      t.equal(bigint.to_digits(back), bigint.to_digits(a))
    end
  end)

  t.it("keeps divisors of nines and of one and zeros apart", function()
    for i = 8, 40 do
      for j = 8, 40 do
        local nines, one = ("9"):rep(i), "1" .. ("0"):rep(j)
        local quotient, rest = bigint.divide(whole(nines), whole(one))
        local back = bigint.add(bigint.multiply(quotient, whole(one)), rest)
        t.equal(bigint.to_digits(back), nines)
        quotient, rest = bigint.divide(whole(one), whole(nines))
        back = bigint.add(bigint.multiply(quotient, whole(nines)), rest)
        t.equal(bigint.to_digits(back), one)
      end
    end
  end)
end)


t.describe("exact", function()
  t.it("leaves plain numbers only beyond 2^53 and comes back", function()
    t.equal(exact.add(MAX - 1, 1), MAX)
    local over = exact.add(MAX, 1)
    t.equal(text_of(over), "9007199254740992")
    t.equal(type(over), "table")
    t.equal(exact.subtract(over, 1), MAX)
    t.equal(text_of(exact.multiply(MAX, MAX)), "81129638414606663681390495662081")
    t.equal(exact.divide(exact.multiply(MAX, MAX), MAX), MAX)
  end)

  t.it("divides plain numbers near 2^53 without an off by one", function()
    local random = new_random(11)
    for _ = 1, 5000 do
      local b = 1 + random(1000000) * (1 + random(1000))
      local k = math.floor(MAX / b) - random(50)
      local quotient, rest = exact.divide(k * b - 1, b)
      t.equal(quotient, b == 1 and k * b - 1 or k - 1)
      t.equal(rest, b == 1 and 0 or b - 1)
    end
  end)

  t.table({
    { why = "reads a rate", text = "9.975", n = "399", d = "40" },
    { why = "reads a whole rate", text = "20", n = "20", d = "1" },
    { why = "drops trailing zeros", text = "20.00", n = "20", d = "1" },
    { why = "reads without a leading zero", text = ".5", n = "1", d = "2" },
    { why = "reads zero", text = "0.0", n = "0", d = "1" },
    { why = "keeps more digits than a double has", text = "0.1234567890123456789",
      n = "1234567890123456789", d = "10000000000000000000" },
    { why = "takes a number as it prints", text = 9.975, n = "399", d = "40" },
  }, function(case)
    local value = t.ok(exact.parse(case.text))
    t.equal(text_of(value.n), case.n)
    t.equal(text_of(value.d), case.d)
  end)

  t.it("refuses what is not a decimal >= 0", function()
    for _, text in ipairs { "", ".", "-1", "1e3", "0x10", "1,5", " 1", "abc", "1.2.3" } do
      t.equal(exact.parse(text), nil, text)
    end
    t.equal(exact.parse(nil), nil)
    t.equal(exact.parse(-1), nil)
  end)

  t.it("adds, multiplies and divides fractions in lowest terms", function()
    local third, sixth = exact.fraction(1, 3), exact.fraction(1, 6)
    t.same(exact.plus(third, sixth), { n = 1, d = 2 })
    t.same(exact.times(third, sixth), { n = 1, d = 18 })
    t.same(exact.over(third, sixth), { n = 2, d = 1 })
    t.equal(exact.compare_fractions(third, sixth), 1)
    t.equal(exact.compare_fractions(exact.fraction(2, 6), third), 0)
  end)

  t.table({
    { why = "a tie goes up", a = 1, n = 1, d = 2, want = 1 },
    { why = "a tie goes to even below", a = 5, n = 1, d = 2, mode = "half_even", want = 2 },
    { why = "a tie goes to even above", a = 7, n = 1, d = 2, mode = "half_even", want = 4 },
    { why = "below the tie goes down", a = 49, n = 1, d = 100, want = 0 },
    { why = "above the tie goes up in half even", a = 251, n = 1, d = 100, mode = "half_even",
      want = 3 },
    { why = "a product beyond 2^53 is still exact", a = MAX, n = 9975, d = 114975,
      want = 781446510685291 },
    { why = "a tie beyond 2^53 goes up", a = 9007199254740990, n = 3, d = 4,
      want = 6755399441055743 },
    { why = "the same tie goes to even", a = 9007199254740990, n = 3, d = 4, mode = "half_even",
      want = 6755399441055742 },
  }, function(case)
    t.equal(text_of(exact.scale(case.a, case.n, case.d, case.mode)), text_of(case.want))
  end)

  t.it("scales plain numbers as the long way does", function()
    local random = new_random(3)
    for _ = 1, 3000 do
      local a, n, d = random(90000000), random(90000000), 1 + random(100000)
      for _, mode in ipairs { "half_up", "half_even" } do
        local product = bigint.multiply(bigint.from_number(a), bigint.from_number(n))
        local slow = exact.scale(product, whole("100000000000000000000"),
          bigint.multiply(bigint.from_number(d), whole("100000000000000000000")), mode)
        t.equal(text_of(exact.scale(a, n, d, mode)), text_of(slow))
      end
    end
  end)
end)
