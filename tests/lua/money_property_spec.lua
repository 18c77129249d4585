-- What holds of money whatever the figures: a million random cases, the same ones each time.
local t = require "till.test"
local exact = require "till.util.exact"
local money = require "till.money"
local refund = require "till.rule.refund"
local time = require "till.prim.time"

local MAX = exact.MAX


-- Park and Miller; below(n) is 0 .. n - 1, up to 2^53 by two draws.
local function new_random(seed)
  local self = {}
  local function draw()
    seed = seed * 16807 % 2147483647
    return seed
  end
  function self.below(n)
    if n <= 2147483646 then return draw() % n end
    return (draw() * 4194304 + draw() % 4194304) % n
  end
  -- small ones, large ones, round ones, none
  function self.amount()
    local kind = draw() % 40
    if kind == 0 then return self.below(MAX) end
    if kind < 4 then return 0 end
    if kind < 10 then return self.below(1000) * 100 end
    return self.below(200000)
  end
  function self.shuffle(list)
    for i = #list, 2, -1 do
      local k = 1 + draw() % i
      list[i], list[k] = list[k], list[i]
    end
    return list
  end
  return self
end


-- t.ok a million times over would be slow; it says the case that fails.
local function must(holds, what, ...)
  if not holds then
    error(what .. ": " .. table.concat({ ... }, " "), 2)
  end
end


local function is_whole(value)
  return type(value) == "number" and value >= 0 and value <= MAX and value % 1 == 0
end


local function check_split(random)
  local weights, total = {}, 0
  for i = 1, 1 + random.below(8) do
    weights[i] = random.below(4) == 0 and 0 or random.amount()
    total = exact.add(total, weights[i])
  end
  local amount = random.amount()
  local shares, sum = money.split(amount, weights), 0
  must(#shares == #weights, "not a share each", amount)
  for i, share in ipairs(shares) do
    must(is_whole(share), "no amount", share, amount)
    must(weights[i] > 0 or share == 0, "a weight of zero is given something", share)
    sum = exact.add(sum, share)
  end
  if total == 0 then amount = 0 end
  must(exact.compare(sum, amount) == 0, "the shares are not the whole", amount,
    table.concat(weights, ","))
end


-- Off by half a unit at most, never more for less, and the two halves of a rate make the whole.
local function check_percent(random)
  local d = 10 ^ random.below(5)
  local n, amount = random.below(2 * d + 1), random.below(1e9)
  local rate = exact.fraction(n, d)
  local got = money.round(amount, rate)
  must(math.abs(got * d - amount * n) * 2 <= d, "off by more than half a unit", amount, n, d)
  must(got <= money.round(amount + 1, rate), "less of more", amount, n, d)
  if n <= d then
    local rest = money.round(amount, exact.fraction(d - n, d))
    must(math.abs(got + rest - amount) <= 1, "the halves are off by more than one", amount, n, d)
    must(got <= amount, "more than the whole", amount, n, d)
  end
end


-- There and back is off by what half a unit over there is worth here, and half a unit here.
local function check_convert(random)
  local n, d = 1 + random.below(30000), 1 + random.below(30000)
  local amount = random.below(1e7)
  local there = money.round(amount, exact.fraction(n, d))
  local back = money.round(there, exact.fraction(d, n))
  must(is_whole(there) and is_whole(back), "no amount", amount, n, d)
  must(math.abs(back - amount) * 2 * n <= d + n, "lost on the way", amount, n, d, back)
end


local function check_parts(random)
  local amount, count = random.amount(), 1 + random.below(20)
  local from, sum = 0, 0
  while from < count do
    local to = from + 1 + random.below(count - from)
    local part = money.even_part(amount, count, from, to)
    must(is_whole(part), "no amount", amount, count, from, to)
    from, sum = to, sum + part
  end
  must(sum == amount, "the parts are not the whole", amount, count, sum)
end


local function check_text(random)
  local decimals, amount = random.below(5), random.amount()
  must(money.parse(money.format(amount, decimals), decimals) == amount, "not read again", amount)
end


-- An order whose figures nobody worked out: whatever was frozen is what has to come back.
local function make_order(random)
  local lines, total, tax = {}, 0, 0
  for i = 1, 1 + random.below(5) do
    local amount, vat = random.below(100000), random.below(20000)
    local inside = random.below(2) == 0 and vat <= amount
    lines[i] = { id = "l" .. i, qty = 1 + random.below(6), discounted_amount = amount,
      taxes = { vat = vat }, total = inside and amount or amount + vat }
    total, tax = total + lines[i].total, tax + vat
  end
  local shipping = { total = random.below(5000), taxes = { vat = 0 } }
  shipping.taxes.vat = shipping.total > 0 and random.below(shipping.total) or 0
  total, tax = total + shipping.total, tax + shipping.taxes.vat
  local credit = random.below(3) == 0 and random.below(total + 1) or 0
  return { lines = lines, shipping = shipping,
    order = { grand_total = total, store_credit = credit } }, total, tax
end


-- Every unit in a refund of its own or together with others, shipping in two parts, in any order.
local function make_refunds(random, frozen)
  local units, refunds = {}, {}
  for _, line in ipairs(frozen.lines) do
    for _ = 1, line.qty do units[#units + 1] = line.id end
  end
  random.shuffle(units)
  for i = 1, #units do
    local last = refunds[#refunds]
    if not last or random.below(2) == 0 then
      last = { lines = {} }
      refunds[#refunds + 1] = last
    end
    table.insert(last.lines, { id = units[i], qty = 1 })
  end
  local first = random.below(frozen.shipping.total + 1)
  refunds[1 + random.below(#refunds)].shipping = first
  refunds[#refunds + 1] = { lines = {}, shipping = "all" }
  return refunds
end


local function check_refunds(random)
  local frozen, total, tax = make_order(random)
  local tender = random.below(3) == 0 and { increment = 100 } or {}
  local refunds = make_refunds(random, frozen)
  local list, code = refund.calculate(frozen, refunds, tender)
  must(list, "refused", tostring(code))
  local back, back_tax, to_credit = 0, 0, 0
  for _, one in ipairs(list) do
    must(is_whole(one.total) and is_whole(one.tax), "no amount", one.total, one.tax)
    back, back_tax = back + one.total, back_tax + one.tax
    to_credit = to_credit + (one.to_store_credit or 0)
  end
  must(back == total, "not what was paid", total, back)
  must(back_tax == tax, "not the tax that was paid", tax, back_tax)
  must(to_credit == frozen.order.store_credit, "not the credit that was spent", to_credit)
  refunds[#refunds + 1] = { lines = { { id = "l1", qty = 1 } } }
  must(not refund.calculate(frozen, refunds, tender), "a unit is refunded twice")
end


local CHECKS = {
  { "what is split is the whole", 250000, check_split },
  { "a percentage is off by half a unit at most", 250000, check_percent },
  { "what is converted there and back is off by what rounding allows", 150000, check_convert },
  { "the parts of an even split are the whole, however it is cut", 250000, check_parts },
  { "what is written is read again", 80000, check_text },
  { "refunds in any order and any parts give back what was paid, and no more", 20000,
    check_refunds },
}


t.describe("whatever the amounts", function()
  for seed, check in ipairs(CHECKS) do
    t.it(check[1], function()
      local random = new_random(20261130 + seed)
      for _ = 1, check[2] do check[3](random) end
      time.sleep(1) -- the loop has stood still: whoever comes next would count from its old time
    end)
  end
end)
