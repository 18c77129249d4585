local t = require "till.test"
local co = require "till.prim.co"
local time = require "till.prim.time"


t.describe("till.prim.co", function()
  t.it("wakes everybody who waits with the value", function()
    local w, got = co.waiter(), {}
    local all = co.waiter()
    for i = 1, 3 do
      co.spawn(function()
        got[i] = w:wait(5000)
        if got[1] and got[2] and got[3] then all:signal() end
      end)
    end
    time.sleep(1)
    w:signal("x")
    t.ok(all:wait(5000))
    t.same(got, { "x", "x", "x" })
  end)

  t.it("keeps a signal that met nobody", function()
    local w = co.waiter()
    w:signal(7)
    t.equal(w:wait(5000), 7)
  end)

  t.it("ends a wait at its limit", function()
    local value, err = co.waiter():wait(2)
    t.equal(value, nil)
    t.equal(err.code, "timeout")
  end)

  t.it("lets a coroutine of Lua's own wait", function()
    local step = coroutine.wrap(function()
      t.ok(time.sleep(1))
      coroutine.yield("mine")
      t.ok(time.sleep(1))
      return "end"
    end)
    t.equal(step(), "mine")
    t.equal(step(), "end")
  end)

  t.it("refuses to wait where it may not", function()
    t.throws(function() co.no_wait(time.sleep, 1) end, "cannot wait here")
    t.throws(function()
      table.sort({ 3, 2, 1 }, function(a, b) time.sleep(1) return a < b end)
    end, "cannot wait here")
    t.ok(time.sleep(1))
  end)
end)
