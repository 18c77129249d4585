local t = require "till.test"
local co = require "till.prim.co"
local prim = require "tests.support.prim"
local redis = require "till.prim.redis"
local sql = require "till.prim.sql"
local waiting = require "tests.support.until"


-- Two caches as two workers have them, each hearing the real Redis.
local function with_two(fn)
  return function()
    t.empty_shop()
    local over, caches, hears = false, {}, false
    local mine = setmetatable({ closing = function() return over end }, { __index = co })
    for i = 1, 2 do
      caches[i] = prim.world { ["till.prim.co"] = mine } "till.cache"
      caches[i].start()
    end
    -- It asks last, so when it listens both of the caches do.
    local last = redis.subscribe("till:invalidate", function(text) hears = hears or not text end)
    waiting.eventually("all of them listen", function() return hears end)
    fn(caches[1], caches[2])
    over = true
    last:close()
  end
end


local function counter()
  local loads = { n = 0 }
  return loads, function(id)
    loads.n = loads.n + 1
    return { id = id, n = loads.n }
  end
end


t.describe("two workers' caches", function()
  t.it("drop what one of them changed, and nothing else", with_two(function(a, b)
    local _, load = counter()
    for _, cache in ipairs { a, b } do
      cache.get("product", "p", load)
      cache.get("product", "q", load)
    end
    b.invalidate("product", "p")
    t.equal(b.peek("product", "p"), nil)
    waiting.eventually("the other hears of it", function() return not a.peek("product", "p") end)
    t.ok(a.peek("product", "q"))
    t.ok(b.peek("product", "q"))
  end))

  t.it("keep nothing that was read before the other changed it", with_two(function(a, b)
    local reading, read = co.waiter(), co.waiter()
    waiting.together(function()
      local old = a.get("product", "p", function()
        reading:signal()
        read:wait(10000)
        return { age = "old" }
      end)
      t.equal(old.age, "old")
    end, function()
      reading:wait(10000)
      a.get("product", "mark", function() return {} end)
      b.invalidate("product", { "p", "mark" })
      waiting.eventually("the word is there", function() return not a.peek("product", "mark") end)
      read:signal()
    end)
    t.equal(a.peek("product", "p"), nil)
  end))
end)


t.describe("the loader over the database", function()
  local function statement(keys)
    local rows, failure = sql.query("SELECT n FROM (SELECT 1 AS n UNION SELECT 2 UNION SELECT 3) x"
      .. " WHERE n IN (" .. sql.marks(#keys) .. ")", unpack(keys))
    if not rows then return nil, failure end
    local out = {}
    for _, row in ipairs(rows) do out[row.n] = row end
    return out
  end

  t.it("asks once for all that one turn wants", function()
    t.empty_shop()
    local asked = {}
    local loader = require("till.loader").new(function(keys)
      asked[#asked + 1] = #keys
      return statement(keys)
    end)
    local calls = {}
    for i = 1, 6 do
      calls[i] = function()
        local key = (i - 1) % 4 + 1
        local row, failure = loader:load(key)
        t.equal(failure, nil)
        t.same(row, key <= 3 and { n = key } or nil)
      end
    end
    waiting.together(unpack(calls))
    t.same(asked, { 4 })
    t.same(loader:load_many { 1, 3, 9 }, { { n = 1 }, [3] = { n = 3 } })
    t.same(asked, { 4, 3 })
  end)

  t.it("tells all of them when the database refuses", function()
    t.empty_shop()
    local loader = require("till.loader").new(function() return sql.query("SELECT nonsense") end)
    waiting.together(function()
      t.equal(select(2, loader:load(1)).code, "rejected")
    end, function()
      t.equal(select(2, loader:load(2)).code, "rejected")
    end)
  end)
end)
