local t = require "till.test"
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"


-- `n` orders of one product each, placed and not yet told of.
local function with_orders(n, fn)
  return function()
    live.with(function(raw)
      local shop = make_shop(raw)
      local tea, made = shop.product("TEA", 1000, 50)
      raw.require("till.flow.search").index({ made.id })
      for _ = 1, n do
        local cart = shop.cart { { tea, 2 } }
        shop.pay(cart)
        t.equal((select(2, shop.complete(cart))).type, "order")
      end
      fn(shop, raw)
    end)
  end
end


local function popularity(raw)
  return raw.sql.one("SELECT CAST(SUM(popularity) AS SIGNED) AS n FROM search_documents").n
end


-- Calls of a function, by what the first argument is.
local function watch(raw, module, name)
  local m, calls = raw.require(module), {}
  local was = m[name]
  m[name] = function(...)
    calls[#calls + 1] = (...)
    return was(...)
  end
  return calls
end


t.describe("events of one claim", function()
  t.it("are done together where nobody asks for them", with_orders(5, function(shop, raw)
    local bought = watch(raw, "till.store.search", "bought")
    local marked = watch(raw, "till.prim.outbox", "done")
    shop.work()
    t.same({ #bought, #bought[1], popularity(raw) }, { 1, 5, 5 })
    t.equal(shop.count("outbox", "state <> 'done'"), 0)
    t.ok(#marked <= 2, #marked)
  end))

  t.it("come one by one where doing them together failed", with_orders(3, function(shop, raw)
    local store, calls = raw.require "till.store.search", 0
    local was = store.bought
    store.bought = function(ids)
      calls = calls + 1
      if #ids > 1 then return nil, raw.require("till.util.err").new("conn_lost", "gone") end
      return was(ids)
    end
    shop.work()
    t.same({ calls, popularity(raw) }, { 4, 3 })
    t.equal(shop.count("outbox", "state <> 'done'"), 0)
  end))

  t.it("are told to plugins one by one; what one refuses comes again, alone",
    with_orders(3, function(shop, raw)
      local dispatch, told = raw.require "till.plugin.dispatch", {}
      local has, ask = dispatch.has, dispatch.ask
      dispatch.has = function(hook, ...) return hook == "order.placed" or has(hook, ...) end
      dispatch.ask = function(hook, order)
        if hook ~= "order.placed" then return ask(hook, order) end
        told[#told + 1] = order.id
        if #told == 2 then return nil, raw.require("till.util.err").new("timeout", "too slow") end
        return {}
      end
      shop.work()
      t.equal(#told, 3)
      t.same({ shop.count("outbox", "state = 'pending'"), shop.count("outbox",
        "state = 'pending' AND last_error IS NOT NULL") }, { 1, 1 })
      raw.sql.exec("UPDATE outbox SET available_at = '2020-01-01' WHERE state = 'pending'")
      shop.work()
      t.same({ #told, told[4] }, { 4, told[2] })
      t.equal(shop.count("outbox", "state <> 'done'"), 0)
    end))

  t.it("that are taken over are done alone, or are dead letters", with_orders(0, function(shop, raw)
    raw.sql.exec("INSERT INTO outbox (aggregate, type, payload, claim, attempts, available_at)"
      .. " VALUES ('a', 'test.told', '{}', 0, 0, '2020-01-01'),"
      .. " ('b', 'test.told', '{}', 7, 2, '2020-01-02'),"
      .. " ('c', 'test.told', '{}', 7, 1, '2020-01-03')")
    local released = watch(raw, "till.prim.outbox", "release")
    local claim = raw.require "till.flow.job_claim"
    local deliver = raw.require("till.flow.job_batch").deliver
    t.equal(deliver(claim.take()), 1)
    t.equal(#released, 2) -- the others; and those that are suspects still
    t.equal(shop.count("outbox", "aggregate = 'b' AND state = 'done' AND attempts = 3"), 1)
    t.equal(shop.count("outbox", "aggregate = 'a' AND state = 'pending' AND attempts = 0"), 1)
    t.equal(shop.count("outbox", "aggregate = 'a' AND claim = 0"), 1)
    t.equal(shop.count("outbox", "aggregate = 'c' AND claim <> 0 AND attempts = 1"), 1)
    raw.sql.exec("UPDATE outbox SET claim = 7, attempts = 10 WHERE aggregate = 'a'")
    t.equal(deliver(claim.take()), 1)
    t.equal(shop.count("outbox", "aggregate = 'a' AND state = 'dead' AND last_error LIKE"
      .. " '%each time%'"), 1)
    shop.work()
    t.equal(shop.count("outbox", "type = 'test.told' AND state = 'done'"), 2)
  end))

  t.it("that cannot be done come again, the others are done",
    with_orders(2, function(shop, raw)
      raw.sql.exec("INSERT INTO outbox (aggregate, type, payload) VALUES"
        .. " ('a', 'order.placed', '{}'), ('b', 'payment.capture', ?)",
        '{"payment_id":"pay_x","order_id":"ord_x"}')
      shop.work()
      t.equal(popularity(raw), 2)
      t.equal(shop.count("outbox", "state = 'pending'"), 1)
    end))
end)


t.describe("the leases of a batch", function()
  -- While they are asked for, the main loop ends an event and marks it done.
  t.it("are not lost for what was settled while they were made longer", with_orders(0,
    function(shop, raw)
      local co, outbox = raw.require "till.prim.co", raw.require "till.prim.outbox"
      local conf, handlers = raw.require "till.prim.conf", raw.require "till.flow.job_handlers"
      local get, extend = conf.get, outbox.extend
      local asked, settled, extended = co.waiter(), co.waiter(), co.waiter()
      local extends, handled = {}, {}
      shop.work()
      conf.get = function(name) return name == "jobs.lease_ms" and 2999 or get(name) end
      handlers.one["test.told"] = function(_, event)
        handled[#handled + 1] = event.id
        if #handled == 1 then asked:wait(20000, true) end
        if #handled ~= 2 then return true end
        assert(outbox.done({ handled[1] }, event.claim))
        settled:signal(true)
        extended:wait(20000, true)
        return true
      end
      outbox.extend = function(ids, ...)
        if #extends == 0 then
          asked:signal(true)
          settled:wait(20000, true)
        end
        local ok, e = extend(ids, ...)
        extends[#extends + 1] = { #ids, e and e.code or "extended" }
        if ok then extended:signal(true) end
        return ok, e
      end
      raw.sql.exec("INSERT INTO outbox (aggregate, type, payload) VALUES ('a', 'test.told', '{}'),"
        .. " ('b', 'test.told', '{}'), ('c', 'test.told', '{}')")
      raw.require("till.flow.job_batch").deliver(raw.require("till.flow.job_claim").take())
      conf.get, outbox.extend, handlers.one["test.told"] = get, extend, nil
      t.same(extends, { { 3, "conflict" }, { 2, "extended" } })
      t.same({ #handled, shop.count("outbox", "type = 'test.told' AND state = 'done'") }, { 3, 3 })
    end))
end)


t.describe("a worker", function()
  t.it("applies what providers tell while a job takes its time", with_orders(0, function(_, raw)
    local co, redis = raw.require "till.prim.co", raw.require "till.prim.redis"
    local batch, webhooks = raw.require "till.flow.job_batch", raw.require "till.flow.webhook_run"
    local closing, deliver, run = co.closing, batch.deliver, webhooks.run
    local begun, job, applied, ended = co.waiter(), co.waiter(), co.waiter(), co.waiter()
    local is_over, is_busy, runs = false, false, 0
    co.closing = function() return is_over end
    batch.deliver = function()
      is_busy = true
      begun:signal(true)
      job:wait(20000, true)
      return 0
    end
    webhooks.run = function()
      runs = runs + (is_busy and 1 or 0)
      if runs == 2 then applied:signal(true) end
      return runs == 1 and 1 or 0 -- so there may be more
    end
    co.turn_end(function()
      raw.require("till.flow.jobs").run("jobs-1")
      ended:signal(true)
    end)
    begun:wait(20000, true)
    redis.publish("till:jobs", "webhooks")
    local is_applied = applied:wait(5000, true)
    is_over = true
    job:signal(true)
    ended:wait(20000, true)
    co.closing, batch.deliver, webhooks.run = closing, deliver, run
    t.equal(is_applied, true)
  end))
end)
