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
