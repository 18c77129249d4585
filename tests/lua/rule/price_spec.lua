-- The worked examples of the rules, each also with its lines and promotions in other orders.
local t = require "till.test"
local file = require "till.prim.file"
local json = require "till.prim.json"
local price = require "till.rule.price"


-- An absent field is nil in the tables of the rules, null in the file of the examples.
local function without_nulls(value)
  for key, item in pairs(value) do
    if item == json.null then
      value[key] = nil
    elseif type(item) == "table" then
      without_nulls(item)
    end
  end
  return setmetatable(value, nil)
end


local examples = without_nulls(json.decode(file.read("tests/lua/rule/examples.json")))


-- The case's input with lines in the order of `ids` and promotions and codes reversed.
local function reordered(given, ids)
  local out, by_id = {}, {}
  for key, value in pairs(given) do out[key] = value end
  for _, line in ipairs(given.lines) do by_id[line.id] = line end
  out.lines, out.promotions = {}, {}
  for i, id in ipairs(ids) do out.lines[i] = by_id[id] end
  for i = #given.promotions, 1, -1 do
    out.promotions[#out.promotions + 1] = given.promotions[i]
  end
  return out
end


t.describe("worked examples", function()
  t.it("are all there", function() t.equal(#examples, 187) end)

  for _, case in ipairs(examples) do
    t.it(case.id .. " " .. case.title, function()
      t.same(price.calculate(case.given), case.expect)
      for _, ids in ipairs(case.also_line_orders) do
        t.same(price.calculate(reordered(case.given, ids)), case.expect, "reordered")
      end
    end)
  end
end)


t.describe("a promotion that a merchant's rule made", function()
  local RULE = { name = "ten", version = 2, hash = "abc" }
  local given = { currency = "GBP", exponent = 2, prices_include_tax = true, tax_rates = {},
    rounding = { mode = "half_up", tax_level = "line" }, shipping = { amount = 500 },
    lines = { { id = "a", sku = "A", qty = 1, unit_price = 1000 },
      { id = "b", sku = "B", qty = 1, unit_price = 1000 } },
    promotions = {
      { id = "rule:ten/1", level = "line", type = "percent", value = "10",
        filter = { skus = { "A" } }, rule = RULE },
      { id = "rule:ten/2", level = "shipping", type = "free", rule = RULE },
      { id = "P", level = "line", type = "percent", value = "5", filter = { skus = { "B" } } },
    } }

  t.it("is marked on the lines that it lowered, and on no others", function()
    local result = price.calculate(given)
    t.same(result.lines[1].rules, { ["rule:ten/1"] = RULE })
    t.equal(result.lines[2].rules, nil)
    t.same(result.shipping.rules, { ["rule:ten/2"] = RULE })
  end)
end)
