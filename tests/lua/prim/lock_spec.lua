local t = require "till.test"
local co = require "till.prim.co"
local lock = require "till.prim.lock"
local waiting = require "tests.support.until"


local function empty(fn)
  return function()
    t.empty_shop()
    fn()
  end
end


t.describe("till.prim.lock", function()
  t.it("is held by one, whose fence only grows", empty(function()
    local first = assert(lock.acquire("spec"))
    local fence = first:fence()
    local none, failure = lock.acquire("spec", { wait_ms = 0 })
    t.same({ none, failure.code }, { nil, "busy" })
    t.ok(lock.acquire("another", { wait_ms = 0 })):release()
    first:release()
    first:release()
    t.throws(function() first:fence() end, "the lock was released")
    local second = waiting.eventually("it is free",
      function() return lock.acquire("spec", { wait_ms = 0 }) end)
    t.ok(second:fence() > fence)
    second:release()
  end))

  t.it("is handed to who waits for it", empty(function()
    local held, order = assert(lock.acquire("spec")), {}
    local started = co.waiter()
    waiting.together(function()
      started:signal()
      local mine = assert(lock.acquire("spec", { wait_ms = 10000 }))
      order[#order + 1] = "second"
      mine:release()
    end, function()
      started:wait(5000)
      order[#order + 1] = "first"
      held:release()
    end)
    t.same(order, { "first", "second" })
  end))

  t.it("is free again once its lease is over", empty(function()
    local first = assert(lock.acquire("spec", { lease_ms = 20 }))
    local second = assert(lock.acquire("spec", { wait_ms = 10000 }))
    t.ok(second:fence() > first:fence())
    first:release()
    local none, failure = lock.acquire("spec", { wait_ms = 0 })
    t.same({ none, failure.code }, { nil, "busy" }, "the first one's release freed the second's")
    second:release()
  end))

  t.it("ends with the call that held it", empty(function()
    local done = co.waiter()
    co.spawn(function()
      assert(lock.acquire("spec", { lease_ms = 60000 }))
      done:signal()
    end)
    t.ok(done:wait(10000))
    t.ok(lock.acquire("spec", { wait_ms = 10000 })):release()
  end))

  t.it("is held while a function runs, whatever becomes of that", empty(function()
    t.same({ lock.with("spec", nil, function(held)
      t.ok(held:fence() > 0)
      return 1, nil, 3
    end) }, { 1, nil, 3 })
    t.throws(function() lock.with("spec", nil, function() error("boom", 0) end) end, "^boom$")
    t.ok(lock.acquire("spec", { wait_ms = 10000 })):release()
  end))
end)
