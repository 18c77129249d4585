-- Which promotions may stand together, against the slow way of trying every subset; and how much
-- is tried at most.
local t = require "till.test"
local combine = require "till.rule.combine"
local new_random = require("tests.support.random").new
local price = require "till.rule.price"


local function bit_at(mask, i)
  return math.floor(mask / 2 ^ (i - 1)) % 2 == 1
end


local function is_free_of(mask, count, edges)
  for i = 1, count do
    for j = i + 1, count do
      if bit_at(mask, i) and bit_at(mask, j) and edges[i][j] then return false end
    end
  end
  return true
end


local function key_of(indexes)
  return table.concat(indexes, ",")
end


-- All subsets without a conflict that no further member fits into, the slow way.
local function brute_force(count, edges)
  local out = {}
  for mask = 0, 2 ^ count - 1 do
    local maximal, indexes = is_free_of(mask, count, edges), {}
    for i = 1, count do
      if bit_at(mask, i) then
        indexes[#indexes + 1] = i
      elseif maximal and is_free_of(mask + 2 ^ (i - 1), count, edges) then
        maximal = false
      end
    end
    if maximal then out[key_of(indexes)] = true end
  end
  return out
end


t.describe("combine.maximal_sets", function()
  t.it("finds each maximal set once", function()
    for seed = 1, 150 do
      local random = new_random(seed)
      local count, edges, list = random.below(8), {}, {}
      for i = 1, count do edges[i], list[i] = {}, { at = i } end
      for i = 1, count do
        for j = i + 1, count do
          edges[i][j] = random.chance(2)
          edges[j][i] = edges[i][j]
        end
      end
      local sets = combine.maximal_sets(list,
        function(a, b) return edges[a.at][b.at] end, combine.new_work())
      local found = {}
      for _, set in ipairs(sets) do
        t.ok(not found[key_of(set.indexes)], "twice")
        found[key_of(set.indexes)] = true
      end
      t.same(found, brute_force(count, edges), "seed " .. seed)
    end
  end)

  -- Pairs that exclude each other: 2^20 maximal sets.
  t.it("stops at its limit, says so, and starts with what comes first", function()
    local list = {}
    for i = 1, 40 do list[i] = { pair = math.ceil(i / 2), at = i } end
    local work = combine.new_work()
    local sets = combine.maximal_sets(list, function(a, b) return a.pair == b.pair end, work)
    t.equal(work.limited, true)
    t.equal(#sets, combine.LIMIT)
    for k, index in ipairs(sets[1].indexes) do t.equal(index, 2 * k - 1) end
  end)

  -- 2^10 sets for the order, and 2^10 on each of 30 lines in every one of them.
  t.it("bounds what all lines and sets cost together, and still gives a whole result", function()
    local given = { exponent = 2, lines = {}, promotions = {} }
    for i = 1, 30 do
      given.lines[i] = { id = "L" .. i, sku = "S" .. i, qty = 1, unit_price = 1000 + i }
    end
    for i = 1, 20 do
      local pair = tostring(math.ceil(i / 2))
      given.promotions[i] = { id = "O" .. i, level = "order", type = "percent",
        value = tostring(i), group = pair }
      given.promotions[20 + i] = { id = "P" .. i, level = "line", type = "percent",
        value = tostring(i), group = pair }
    end
    local result = price.calculate(given)
    t.equal(result.combination_limited, true)
    t.ok(result.order.discount_total > 0)
    t.equal(result.order.subtotal - result.order.discount_total, result.order.grand_total)
  end)
end)


local function random_lines(random)
  local lines = {}
  for k = 1, 1 + random.below(5) do
    lines[k] = { id = "L" .. k, sku = "S" .. k, qty = 1 + random.below(9),
      unit_price = random.pick { 100, 250, 250, 999, 1000 } }
  end
  return lines
end


local function subset(promotions, mask)
  local out = {}
  for i, promotion in ipairs(promotions) do
    if bit_at(mask, i) then out[#out + 1] = promotion end
  end
  return out
end


local function excludes(a, b)
  return a.exclusive or b.exclusive or a.group ~= nil and a.group == b.group
end


t.describe("the best set", function()
  t.it("is never dearer than any set that nothing can be added to", function()
    for seed = 1, 300 do
      local random = new_random(seed)
      local promotions, edges = {}, {}
      for k = 1, 1 + random.below(5) do
        local is_percent = random.chance(2)
        promotions[k] = {
          id = "P" .. k, level = "order", type = is_percent and "percent" or "amount",
          value = is_percent and tostring(random.below(60)) or random.below(3000),
          exclusive = random.chance(4),
          group = random.chance(3) and random.pick { "g", "h" } or nil,
        }
      end
      for i, a in ipairs(promotions) do
        edges[i] = {}
        for j, b in ipairs(promotions) do edges[i][j] = i ~= j and excludes(a, b) end
      end
      local given = { exponent = 2, lines = random_lines(random), promotions = promotions }
      local best, lowest = price.calculate(given).order.grand_total, math.huge
      for mask = 0, 2 ^ #promotions - 1 do
        local chosen = subset(promotions, mask)
        local indexes = {}
        for i = 1, #promotions do
          if bit_at(mask, i) then indexes[#indexes + 1] = i end
        end
        if brute_force(#promotions, edges)[key_of(indexes)] then
          given.promotions = chosen
          lowest = math.min(lowest, price.calculate(given).order.grand_total)
        end
      end
      t.equal(best, lowest, "seed " .. seed)
    end
  end)
end)
