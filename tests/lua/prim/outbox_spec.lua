local t = require "till.test"
local co = require "till.prim.co"
local json = require "till.prim.json"
local outbox = require "till.prim.outbox"
local sql = require "till.prim.sql"
local waiting = require "tests.support.until"

local KINDS = { "order.placed", "order.paid", "first", "other", "second", "x", "later" }
local TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


local function empty(fn)
  return function()
    t.empty_shop()
    fn()
  end
end


local function append(...)
  local events = { ... }
  return assert(sql.transaction(function(tx) return outbox.append(tx, events) end))
end


local function claim(most, lease_ms)
  local kinds = {}
  for i, name in ipairs(KINDS) do kinds[i] = { type = name } end
  return outbox.claim(kinds, most, lease_ms)
end


local function types(events)
  local out = {}
  for i, event in ipairs(assert(events)) do out[i] = event.type end
  return out
end


t.describe("till.prim.outbox", function()
  t.it("delivers what was committed, once while it is claimed", empty(function()
    append({ aggregate = "order:1", type = "order.placed", payload = { n = 1, s = "\195\164" } },
      { aggregate = "order:2", type = "order.paid", payload = '{"raw":true}' })
    local events = assert(claim(10, 30000))
    t.same(types(events), { "order.placed", "order.paid" })
    t.same(json.decode(events[1].payload), { n = 1, s = "\195\164" })
    t.equal(events[2].payload, '{"raw":true}')
    t.same({ events[1].aggregate, events[1].attempts }, { "order:1", 1 })
    t.same(claim(10, 30000), {})
    for _, event in ipairs(events) do t.ok(outbox.done(event.id, event.claim)) end
    t.same(claim(10, 30000), {})
  end))

  t.it("has nothing of what was rolled back", empty(function()
    sql.transaction(function(tx)
      t.ok(outbox.append(tx, { { aggregate = "a", type = "x" } }))
      return nil, "no"
    end)
    t.same(claim(10, 30000), {})
    t.ok(sql.transaction(function(tx) return outbox.append(tx, {}) end))
  end))

  t.it("keeps the order of an aggregate, also across a retry", empty(function()
    append({ aggregate = "a", type = "first" }, { aggregate = "a", type = "second" },
      { aggregate = "b", type = "other" })
    local events = claim(10, 30000)
    t.same(types(events), { "first", "other" })
    t.ok(outbox.retry(events[1].id, events[1].claim, 10, "away"))
    t.same(types(claim(10, 30000)), {}, "the second overtook the first")
    sql.exec("UPDATE outbox SET available_at = UTC_TIMESTAMP(3) WHERE type = 'first'")
    local again = claim(10, 30000)
    t.same({ again[1].type, again[1].attempts }, { "first", 2 })
    t.ok(outbox.done(again[1].id, again[1].claim))
    t.same(types(claim(10, 30000)), { "second" })
  end))

  t.it("buries what failed too often, and lets its aggregate go on", empty(function()
    append({ aggregate = "a", type = "first" }, { aggregate = "a", type = "second" })
    local event = claim(10, 30000)[1]
    t.ok(outbox.retry(event.id, event.claim, 1, ("why "):rep(500)))
    local row = sql.one("SELECT state, last_error FROM outbox WHERE id = ?", event.id)
    t.same({ row.state, row.last_error:sub(1, 4) }, { "dead", "why " })
    t.ok(#row.last_error <= 500)
    t.same(types(claim(10, 30000)), { "second" })
  end))

  t.it("is delivered again when its worker is gone, who then changes nothing", empty(function()
    append({ aggregate = "a", type = "x" })
    local first = claim(1, 1)[1]
    local second = waiting.eventually("the lease is over",
      function() return assert(claim(1, 30000))[1] end)
    t.same({ second.id, second.attempts }, { first.id, 2 })
    local good, failure = outbox.done(first.id, first.claim)
    t.same({ good, failure.code }, { nil, "conflict" })
    good, failure = outbox.retry(first.id, first.claim, 5, "late")
    t.same({ good, failure.code }, { nil, "conflict" })
    t.ok(outbox.done(second.id, second.claim))
  end))

  t.it("waits for its time", empty(function()
    append({ aggregate = "a", type = "later", delay_ms = 3600000 })
    t.same(claim(10, 30000), {})
  end))

  t.it("gives each event to one of two workers", empty(function()
    for i = 1, 20 do append({ aggregate = "a" .. i, type = "x" }) end
    local seen = {}
    local function worker()
      for _, event in ipairs(assert(claim(20, 30000))) do
        t.equal(seen[event.id], nil)
        seen[event.id] = true
      end
    end
    waiting.together(worker, worker, worker)
    worker()
    t.equal(sql.one("SELECT COUNT(*) AS n FROM outbox WHERE attempts = 1 AND claim <> 0").n, 20)
  end))

  t.it("carries the trace of the call", empty(function()
    waiting.together(function()
      co.adopt(TRACE)
      append({ aggregate = "a", type = "x" })
    end)
    local event = claim(1, 30000)[1]
    t.equal(event.traceparent:sub(4, 35), TRACE:sub(4, 35))
  end))

  t.it("gives of the kinds that are asked for, in this order", empty(function()
    append({ aggregate = "a", type = "x" }, { aggregate = "b", type = "x" },
      { aggregate = "c", type = "other" }, { aggregate = "d", type = "first" })
    t.same(types(outbox.claim({ { type = "x", leave = 1 }, { type = "other" } }, 2, 30000)),
      { "x", "other" })
    t.same(types(outbox.claim({ { type = "other" } }, 5, 30000)), {})
    t.throws(function() outbox.claim({}, 5, 1000) end, "1 to 32 kinds")
    t.throws(function() outbox.claim({ { type = "x", leave = -1 } }, 5, 1000) end, "between 0")
    t.throws(function() outbox.claim({ { leave = 1 } }, 5, 1000) end, "is no string")
  end))

  t.it("is leased anew, or given back untried, by who has it", empty(function()
    append({ aggregate = "a", type = "x" })
    local event = claim(1, 30000)[1]
    sql.exec("UPDATE outbox SET available_at = UTC_TIMESTAMP(3)")
    t.ok(outbox.extend({ event.id }, event.claim, 30000))
    t.same(claim(1, 30000), {})
    t.ok(outbox.release({ event.id }, event.claim))
    local again = claim(1, 30000)[1]
    t.equal(again.attempts, 1)
    local good, failure = outbox.extend({ event.id }, event.claim, 30000)
    t.same({ good, failure.code }, { nil, "conflict" })
  end))

  t.it("takes whole events alone", empty(function()
    t.throws(function() append({ aggregate = "a" }) end, "the type of an entry is no string")
    t.throws(function() append("x") end, "")
    t.equal(sql.one("SELECT COUNT(*) AS n FROM outbox").n, 0)
  end))
end)
