-- box.lua - what rules in their box cost; run by tests/bench/box.mjs in the real VM: `moontill spec tests/bench/box.lua`.
local t = require "till.test"
local box = require "till.prim.box"
local term = require "till.prim.term"
local time = require "till.prim.time"

local ROUNDS = 2000

local RULE = [[
-- N off everything of a category once enough of it is in the cart
local function counted(lines, category)
  local n, total = 0, 0
  for _, line in ipairs(lines) do
    if line.category == category then
      n = n + line.quantity
      total = total + line.quantity * line.unit_price
    end
  end
  return n, total
end

return function(args, cart)
  local n, total = counted(cart.lines, args.category)
  if n < args.minimum or total < 1000 then return nil end
  local skus = {}
  for _, line in ipairs(cart.lines) do
    if line.category == args.category and #skus < 5 then skus[#skus + 1] = line.sku end
  end
  return { {
    id = "rule-" .. args.category, level = "line", type = "percent", value = args.percent,
    filter = { skus = skus }, label = ("%s%% off %s"):format(args.percent, args.category:upper()),
  } }
end
]]


local function cart(lines)
  local out = { id = "c1", currency = "GBP", country = "GB", email = "ada@example.com",
    channel = "web", codes = {}, lines = {} }
  for i = 1, lines do
    out.lines[i] = { id = "line-" .. i, sku = "sku-" .. i, variant_id = "variant-" .. i,
      quantity = i % 3 + 1, unit_price = 500 + i * 10, category = "cat-" .. i % 5,
      title = "A thing that is sold, number " .. i, tax_class = "standard" }
  end
  return out
end


local function rules(n)
  local out = {}
  for i = 1, n do
    out[i] = { name = "rule-" .. i, text = "-- " .. i .. "\n" .. RULE,
      args = { category = "cat-" .. i % 5, minimum = 1, percent = "10" } }
  end
  return out
end


local function quantile(sorted, q) return sorted[math.max(1, math.ceil(#sorted * q))] end


local function measure(name, n, lines, rounds)
  local list, input, took = rules(n), cart(lines), {}
  local inside = 0
  for i = 1, rounds do
    local began = time.mono_us()
    local answers = assert(box.evaluate { hook = "promo.evaluate", rules = list, input = input })
    took[i] = time.mono_us() - began
    for _, answer in ipairs(answers) do
      assert(not answer.failure, answer.failure and answer.failure.message)
      inside = inside + answer.us
    end
  end
  table.sort(took)
  term.write(("%s\t%.1f\t%.1f\t%.1f\n"):format(name, quantile(took, 0.5), quantile(took, 0.99),
    inside / rounds))
end


t.it("is measured", function()
  measure("warm-up", 1, 3, 200)
  measure("1 rule, 3 lines", 1, 3, ROUNDS)
  measure("1 rule, 10 lines", 1, 10, ROUNDS)
  measure("1 rule, 50 lines", 1, 50, ROUNDS)
  measure("10 rules, 10 lines", 10, 10, ROUNDS)
  measure("100 rules, 50 lines", 100, 50, ROUNDS / 4)
end)
