local t = require "till.test"
local live = require "tests.support.live"

local WAIT_MS = 20000


-- A jobs worker at work. Its plugin `sync` has jobs that run until `worker.let_go()`; each time one
-- begins `worker.begun` is signalled, when test.told is delivered `worker.told` is.
local function with_worker(fn)
  return live.test(function(shop)
    local co, dispatch = shop.require "till.prim.co", shop.require "till.plugin.dispatch"
    local redis, plugins, closing = shop.require "till.prim.redis", dispatch.plugins(), co.closing
    local worker = { ran = {}, running = 0, most = 0, begun = co.waiter(), told = co.waiter(),
      ended = co.waiter(), shop = shop }
    local gate = co.waiter()
    local is_over, is_open = false, false
    co.closing = function() return is_over end
    dispatch.setup { { name = "sync", hooks = { "job.run" }, config = {}, waits = true,
      schedules = {}, handlers = { ["job.run"] = function(_, job)
        worker.ran[#worker.ran + 1] = job.job
        worker.running = worker.running + 1
        worker.most = math.max(worker.most, worker.running)
        worker.begun:signal(true)
        if job.job ~= "quick" and not is_open then gate:wait(WAIT_MS, true) end
        worker.running = worker.running - 1
        return true
      end } } }
    shop.require("till.flow.schedules").tick = function() return true end
    shop.require("till.flow.job_handlers").one["test.told"] = function()
      worker.told:signal(true)
      return true
    end
    function worker.add(aggregate, event_type, payload)
      assert(shop.sql.exec("INSERT INTO outbox (aggregate, type, payload) VALUES (?, ?, ?)",
        aggregate, event_type, payload or "{}"))
      redis.publish("till:jobs", "")
    end
    function worker.job(aggregate, name)
      worker.add(aggregate, "job.run", ('{"plugin":"sync","job":"%s"}'):format(name))
    end
    function worker.start()
      co.turn_end(function()
        shop.require("till.flow.jobs").run("jobs-1")
        worker.has_ended = true
        worker.ended:signal(true)
      end)
    end
    function worker.let_go()
      is_open = true
      gate:signal(true)
    end
    function worker.close()
      is_over = true
      redis.publish("till:jobs", "")
    end
    local good, why = pcall(fn, worker, shop)
    worker.let_go()
    worker.close()
    if not worker.has_ended then worker.ended:wait(WAIT_MS, true) end
    dispatch.setup(plugins)
    co.closing = closing
    if not good then error(why, 0) end
  end)
end


local function state(shop, aggregate)
  return shop.sql.one("SELECT state, attempts FROM outbox WHERE aggregate = ?", aggregate)
end


local function until_true(shop, fn)
  local waiter = shop.require("till.prim.co").waiter()
  for _ = 1, WAIT_MS / 50 do
    if fn() then return true end
    waiter:wait(50, true)
  end
  return false
end


t.describe("jobs of schedules", function()
  t.it("that take their time hold up nothing else", with_worker(function(worker)
    worker.job("schedule:a", "slow")
    worker.start()
    t.ok(worker.begun:wait(WAIT_MS, true))
    worker.add("payment:1", "test.told")
    t.equal(worker.told:wait(5000, true), true)
    t.equal(worker.running, 1)
  end))

  t.it("are two at a time, and one of each", with_worker(function(worker, shop)
    worker.job("schedule:a", "first")
    worker.start()
    t.ok(worker.begun:wait(WAIT_MS, true))
    worker.job("schedule:a", "first")
    worker.job("schedule:b", "second")
    t.ok(worker.begun:wait(WAIT_MS, true))
    worker.job("schedule:c", "third")
    for i = 1, 2 do -- so it has turned round
      worker.add("payment:" .. i, "test.told")
      t.equal(worker.told:wait(5000, true), true)
    end
    t.same(worker.ran, { "first", "second" })
    worker.let_go()
    t.ok(until_true(shop, function()
      return shop.sql.one("SELECT COUNT(*) AS n FROM outbox WHERE state <> 'done'").n == 0
    end))
    t.same({ #worker.ran, worker.most }, { 4, 2 })
  end))

  t.it("that were taken together with one that takes its time do not wait for it", with_worker(
    function(worker, shop)
      local clock, skip = shop.require "till.prim.time", 0
      local mono = clock.mono_ms
      clock.mono_ms = function() return mono() + skip end
      worker.job("schedule:a", "slow")
      worker.job("schedule:b", "quick")
      worker.start()
      t.ok(worker.begun:wait(WAIT_MS, true))
      t.same(worker.ran, { "slow" })
      skip = 5000 -- its turn is over
      t.ok(worker.begun:wait(WAIT_MS, true))
      t.same({ worker.ran[2], worker.running }, { "quick", 1 })
    end))

  t.it("are kept for whoever does them, however long it takes", with_worker(
    function(worker, shop)
      local conf, outbox = shop.require "till.prim.conf", shop.require "till.prim.outbox"
      local get, extend = conf.get, outbox.extend
      local extended = shop.require("till.prim.co").waiter()
      conf.get = function(name) return name == "jobs.lease_ms" and 1000 or get(name) end
      outbox.extend = function(...)
        local ok, e = extend(...)
        if ok then extended:signal(true) end
        return ok, e
      end
      worker.job("schedule:a", "slow")
      worker.start()
      local good, why = pcall(function()
        t.ok(worker.begun:wait(WAIT_MS, true))
        for _ = 1, 4 do t.ok(extended:wait(5000, true)) end
        t.same({ worker.ran, state(shop, "schedule:a").attempts }, { { "slow" }, 1 })
      end)
      conf.get, outbox.extend = get, extend
      if not good then error(why, 0) end
    end))

  t.it("are waited for when this generation ends, and none is begun", with_worker(
    function(worker, shop)
      worker.job("schedule:a", "slow")
      worker.job("schedule:b", "other")
      worker.start()
      t.ok(worker.begun:wait(WAIT_MS, true))
      worker.close()
      t.equal(worker.ended:wait(300, true), nil, "it is at work")
      worker.let_go()
      t.equal(worker.ended:wait(WAIT_MS, true), true)
      t.same(worker.ran, { "slow" })
      t.equal(state(shop, "schedule:a").state, "done")
      t.same(state(shop, "schedule:b"), { state = "pending", attempts = 0 })
    end))

  t.it("that may have ended their worker are done alone", with_worker(function(worker, shop)
    local batch, seen = shop.require "till.flow.job_batch", {}
    local deliver = batch.deliver
    batch.deliver = function(taking, is_beside)
      for _, one in ipairs(taking.events) do
        seen[#seen + 1] = one.aggregate .. (is_beside and " beside" or "")
      end
      return deliver(taking, is_beside)
    end
    worker.let_go()
    worker.job("schedule:a", "slow")
    shop.sql.exec("UPDATE outbox SET claim = 7, attempts = 1")
    worker.start()
    t.ok(worker.begun:wait(WAIT_MS, true))
    worker.job("schedule:b", "slow")
    t.ok(worker.begun:wait(WAIT_MS, true))
    t.same(seen, { "schedule:a", "schedule:b beside" })
  end))
end)
