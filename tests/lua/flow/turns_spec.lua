-- See till/flow/turns.
local t = require "till.test"
local co = require "till.prim.co"
local err = require "till.util.err"
local turns = require "till.flow.turns"
local time = require "till.prim.time"
local until_true = require("tests.support.until").eventually


t.it("comes one after the other, in the order of arrival", function()
  local log, running = {}, 0
  for i = 1, 5 do
    co.turn_end(function()
      turns.with("a", 5000, function()
        running = running + 1
        t.equal(running, 1)
        time.sleep(2)
        log[#log + 1] = i
        running = running - 1
      end)
    end)
  end
  until_true("all had their turn", function() return #log == 5 end)
  t.same(log, { 1, 2, 3, 4, 5 })
end)


t.it("keys do not wait for each other", function()
  local function inner() return turns.with("b", 1, function() return 1, 2 end) end
  t.same({ turns.with("a", 1, inner) }, { 1, 2 })
end)


t.it("is given back by who throws", function()
  t.same(pcall(turns.with, "a", 1, function() error("oh", 0) end), false)
  t.same(turns.with("a", 1, function() return "again" end), "again")
end)


t.it("refuses who would make the line longer than may be, at once, and nobody else", function()
  local done, refused, may_go = 0, {}, false
  local function ask()
    co.turn_end(function()
      local ok, e = turns.with("a", 5000, function()
        until_true("all have come", function() return may_go end)
        done = done + 1
        return true
      end)
      if not ok then refused[#refused + 1] = e end
    end)
  end
  for _ = 1, 1 + turns.WAITING_MOST + 3 do ask() end
  until_true("the last ones are refused", function() return #refused == 3 end)
  for _, e in ipairs(refused) do
    t.ok(err.is(e, "busy") and e.retry_after_ms >= 1000, tostring(e))
  end
  t.same({ turns.with("b", 1, function() return "free" end) }, { "free" })
  may_go = true
  until_true("all others had their turn", function() return done == 1 + turns.WAITING_MOST end)
  t.same(#refused, 3)
  t.same(turns.with("a", 1, function() return "again" end), "again")
end)


t.it("has room again where one gave up", function()
  local is_on, has_asked, has_come, may_go = false, false, false, false
  local gave_up = 0
  co.turn_end(function()
    turns.with("a", 5000, function()
      is_on = true
      until_true("he may go", function() return may_go end)
    end)
  end)
  until_true("one has the turn", function() return is_on end)
  for _ = 1, turns.WAITING_MOST do
    co.turn_end(function()
      local _, e = turns.with("a", 5, function() error("not his turn") end)
      if err.is(e, "timeout") then gave_up = gave_up + 1 end
    end)
  end
  until_true("they gave up", function() return gave_up == turns.WAITING_MOST end)
  co.turn_end(function()
    has_asked = true
    has_come = turns.with("a", 5000, function() return true end)
  end)
  until_true("the next one waits", function() return has_asked end)
  may_go = true
  until_true("the next one had his turn", function() return has_come end)
end)


t.it("passes over who has waited for too long", function()
  local late, last
  co.turn_end(function()
    turns.with("a", 5000, function() until_true("he gave up", function() return late end) end)
  end)
  time.sleep(1)
  co.turn_end(function() last = turns.with("a", 5000, function() return "done" end) end)
  local got, e = turns.with("a", 5, function() error("not his turn") end)
  t.same(got, nil)
  t.ok(err.is(e, "timeout"), tostring(e))
  late = true
  until_true("the last one had his", function() return last end)
  t.same(last, "done")
end)
