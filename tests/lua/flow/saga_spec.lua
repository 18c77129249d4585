-- A flow that waits, and who runs it.
local t = require "till.test"
local with_shop = require "tests.support.stock"


local function silent(raw)
  local err = raw.require "till.util.err"
  return raw.require("till.flow.saga").define("spec", {
    { name = "ask", run = function() return nil, err.new("unknown_outcome", "no answer") end } })
end


local function row(raw)
  return raw.require("till.store.sagas").find("spec", "it")
end


t.describe("a flow that waits", function()
  t.it("is not given up, nor put off, by whoever polls it", with_shop(function(_, raw)
    local flow = silent(raw)
    t.equal((flow:run("it", {}, {})), "waiting")
    local first = row(raw)
    for _ = 1, 30 do t.equal((flow:run("it", {}, {})), "waiting") end
    local now = row(raw)
    t.same({ now.state, now.tries, now.next_at, now.stuck_since },
      { "waiting", first.tries, first.next_at, first.stuck_since })
    t.equal(#raw.require("till.store.sagas").history(now.id), 1)
  end))

  t.it("is parked after jobs.park_attempts that were due", with_shop(function(_, raw)
    local flow, runs = silent(raw), 0
    local state
    repeat
      state, runs = flow:run("it", {}, {}), runs + 1
      flow:run("it", {}, {})
      raw.clock.skip_ms = raw.clock.skip_ms + math.min(2 ^ runs, 600) * 1000 + 500
    until state == "parked" or runs > 20
    t.same({ state, runs }, { "parked", raw.require("till.prim.conf").get "jobs.park_attempts" })
  end))
end)
