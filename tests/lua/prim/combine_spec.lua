local t = require "till.test"
local co = require "till.prim.co"
local combine = require "till.prim.combine"
local waiting = require "tests.support.until"


-- A kind whose flights stay in the air until the test lets them go; `batches` are what was run.
local function held(run)
  local gate, batches = co.waiter(), {}
  local kind = combine.kind { name = "spec", most = 4, run = function(values)
    batches[#batches + 1] = table.concat(values)
    if #batches == 1 then assert(gate:wait(10000)) end
    return run(values)
  end }
  return kind, batches, gate
end


local function doubled(values)
  for i, value in ipairs(values) do values[i] = value .. value end
  return values
end


-- Each letter comes as a call of its own, in order; -> what each was told
local function come(kind, letters, told)
  for letter in letters:gmatch(".") do
    co.turn_end(function()
      local answer, e = kind:go({ "row" }, letter)
      told[letter] = answer or e
    end)
  end
end


-- `first` flies until all of `letters` wait behind it.
local function behind(kind, gate, letters)
  local told = {}
  come(kind, "a" .. letters, told)
  waiting.eventually("all wait", function() return combine.stats().waiting == #letters end)
  gate:signal()
  waiting.eventually("all were told", function()
    for letter in letters:gmatch(".") do
      if told[letter] == nil then return false end
    end
    return told.a ~= nil
  end)
  return told
end


t.describe("till.prim.combine", function()
  t.it("lets a lone caller run at once", function()
    local kind = combine.kind { name = "spec", run = doubled }
    t.same(kind:go({ "row" }, "x"), "xx")
    t.same(kind:go({}, "y"), "yy")
  end)

  t.it("takes those together who wait, and gives each his own answer", function()
    local kind, batches, gate = held(doubled)
    local told = behind(kind, gate, "bcdef")
    t.same(batches, { "a", "bcde", "f" })
    t.same(told, { a = "aa", b = "bb", c = "cc", d = "dd", e = "ee", f = "ff" })
  end)

  t.it("keeps kinds apart that use the same key", function()
    local kind, _, gate = held(doubled)
    local told = {}
    come(kind, "a", told)
    local other = combine.kind { name = "other", run = doubled }
    t.same(other:go({ "row" }, "x"), "xx")
    gate:signal()
    waiting.eventually("it was told", function() return told.a end)
  end)

  t.it("goes in parts where not all of it goes: in halves, in the order of arrival", function()
    local left = 3 -- units, one is a's
    local kind, batches, gate = held(function(values)
      if left < #values and #values > 1 then return false end
      for i in ipairs(values) do
        values[i] = left > 0 and "has one" or "sold out"
        left = left - 1
      end
      return values
    end)
    local told = behind(kind, gate, "bcde")
    t.same(batches, { "a", "bcde", "bc", "de", "d", "e" })
    t.same(told, { a = "has one", b = "has one", c = "has one", d = "sold out", e = "sold out" })
  end)

  t.it("takes him out whose fault it was", function()
    local kind, batches, gate = held(function(values)
      local at = table.concat(values):find("d", 1, true)
      if at and #values > 1 then return false, at end
      return doubled(values)
    end)
    behind(kind, gate, "bcde")
    t.same(batches, { "a", "bcde", "bc", "d", "e" })
  end)

  t.it("tells all of them what failed", function()
    local lost = { code = "conn_lost", unknown_outcome = true }
    local kind, _, gate = held(function(values)
      if #values > 1 then return nil, lost end
      return values
    end)
    local told = behind(kind, gate, "bc")
    t.same({ told.b == lost, told.c == lost }, { true, true })
  end)

  t.it("throws at the leader what he ran into, and tells the others that nobody knows", function()
    local kind, _, gate = held(function(values)
      if #values > 1 then error("a bug", 0) end
      return values
    end)
    local thrown, told = nil, {}
    come(kind, "a", told)
    waiting.eventually("a flies", function() return combine.stats().waiting == 0 end)
    co.turn_end(function()
      local _, failure = pcall(kind.go, kind, { "row" }, "b")
      thrown = failure
    end)
    waiting.eventually("b waits", function() return combine.stats().waiting == 1 end)
    come(kind, "c", told)
    waiting.eventually("c waits", function() return combine.stats().waiting == 2 end)
    gate:signal()
    waiting.eventually("all were told", function() return thrown and told.c end)
    t.same({ thrown, told.c.code, told.c.unknown_outcome }, { "a bug", "internal", true })
    t.same(kind:go({ "row" }, "z"), "z")
  end)

  t.it("goes on without a leader whose call is over, and hears who left before", function()
    local kind, batches, gate = held(doubled)
    local told, tasks = {}, {}
    come(kind, "a", told)
    for _, letter in ipairs { "b", "c", "d" } do
      tasks[letter] = co.task(20000, function()
        local answer, e = kind:go({ "row" }, letter)
        told[letter] = answer or e.code
      end)
    end
    waiting.eventually("all wait", function() return combine.stats().waiting == 3 end)
    tasks.c:cancel()
    waiting.eventually("c left", function() return told.c end)
    gate:signal()
    waiting.eventually("all were told", function() return told.a and told.b and told.d end)
    t.same(told, { a = "aa", b = "bb", c = "cancelled", d = "dd" })
    t.same(batches, { "a", "bd" })
  end)

  t.it("gives the lead on where the leader's own time is up before anything was done", function()
    local gate, inside, batches = co.waiter(), co.waiter(), {}
    local kind = combine.kind { name = "spec", run = function(values)
      batches[#batches + 1] = table.concat(values)
      if batches[1] == "a" and not batches[2] then gate:wait(10000) end
      if values[1] == "b" then
        inside:signal()
        local ok, e = co.waiter():wait(10000) -- as a statement that is cancelled with its call
        if not ok then return nil, e end
      end
      return doubled(values)
    end }
    local told = {}
    come(kind, "a", told)
    local b = co.task(20000, function()
      local _, e = kind:go({ "row" }, "b")
      told.b = e.code
    end)
    waiting.eventually("b waits", function() return combine.stats().waiting == 1 end)
    come(kind, "cd", told)
    waiting.eventually("all wait", function() return combine.stats().waiting == 3 end)
    gate:signal()
    assert(inside:wait(10000))
    b:cancel()
    waiting.eventually("all were told", function() return told.b and told.c and told.d end)
    t.same(told, { a = "aa", b = "cancelled", c = "cc", d = "dd" })
    t.same(batches, { "a", "bcd", "cd" })
  end)

  t.it("refuses nobody for the leader's being refused as overload", function()
    local kind, batches, gate = held(function(values)
      if values[1] == "b" then return nil, { code = "overloaded" } end
      return doubled(values)
    end)
    local told = behind(kind, gate, "bcd")
    t.same({ told.b.code, told.c, told.d }, { "overloaded", "cc", "dd" })
    t.same(batches, { "a", "bcd", "cd" })
  end)

  t.it("refuses what it cannot run", function()
    t.throws(function() combine.kind { name = "spec" } end, "needs a name and what to run")
    local kind = combine.kind { name = "spec", run = function() return false end }
    t.throws(function() kind:go({ "row" }, 1) end, "one caller cannot be split")
    t.throws(function() kind:go({ {} }, 1) end, "concatenate")
  end)
end)
