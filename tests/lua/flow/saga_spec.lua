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

  -- The provider takes longer than a claim lasts, and the shopper polls meanwhile.
  t.it("is not given up because each who ran it was slow", with_shop(function(_, raw)
    local flow, is_polled = nil, false
    flow = raw.require("till.flow.saga").define("spec", {
      { name = "ask", run = function()
        if is_polled then
          is_polled = false
          raw.clock.skip_ms = raw.clock.skip_ms + 31000
          t.equal((flow:run("it", {}, {})), "waiting")
        end
        return nil, raw.require("till.util.err").new("unknown_outcome", "no answer")
      end } })
    flow:run("it", {}, {})
    raw.sql.exec("UPDATE sagas SET next_at = '2099-01-01'")
    local tries = row(raw).tries
    for _ = 1, 15 do
      is_polled = true
      t.equal((flow:run("it", {}, {})), "busy")
    end
    t.same({ row(raw).state, row(raw).tries }, { "waiting", tries })
  end))

  t.it("is not parked before time has told, and is looked at then", with_shop(function(_, raw)
    local err, time = raw.require "till.util.err", raw.require "till.prim.time"
    local known_at_ms, is_told
    local flow = raw.require("till.flow.saga").define("spec", {
      { name = "ask", run = function()
        if is_told then return true end
        return nil, err.new("unknown_outcome", "too soon", { known_at_ms = known_at_ms })
      end } })
    flow:run("it", {}, {})
    local tries = raw.require("till.prim.conf").get "jobs.park_attempts" - 2
    raw.sql.exec("UPDATE sagas SET tries = ?, stuck_since = '2020-01-01', next_at = NULL", tries)
    known_at_ms = time.now_ms() + 40000
    t.equal((flow:run("it", {}, {})), "waiting")
    t.equal(time.parse(row(raw).next_at), known_at_ms)
    raw.clock.skip_ms = raw.clock.skip_ms + 41000
    is_told = true
    t.equal((flow:run("it", {}, {})), "done")
  end))
end)
