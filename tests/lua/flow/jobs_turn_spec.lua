local t = require "till.test"
local live = require "tests.support.live"


local function event(shop, aggregate, event_type, payload)
  return assert(shop.sql.exec("INSERT INTO outbox (aggregate, type, payload) VALUES (?, ?, ?)",
    aggregate, event_type, payload or "{}")).insert_id
end


-- `turn.take(ms)`: what is done takes so long, by the worker's clock alone. `turn.run(n)`: so many
-- claims of a worker who has all to do, `done` counts what was, by type, and `order` has the types.
local function with_turns(fn)
  return live.test(function(shop)
    local clock, skip = shop.require "till.prim.time", 0
    local now = clock.mono_ms() -- the machine may take long for anything
    clock.mono_ms = function() return now + skip end
    local handlers = shop.require "till.flow.job_handlers"
    local claim, batch = shop.require "till.flow.job_claim", shop.require "till.flow.job_batch"
    local turn = { handlers = handlers, claim = claim, done = {}, order = {} }
    function turn.take(ms) skip = skip + ms end
    function turn.note(event_type)
      turn.done[event_type] = (turn.done[event_type] or 0) + 1
      turn.order[#turn.order + 1] = event_type
    end
    function turn.slow(event_type, ms)
      handlers.together[event_type] = nil
      handlers.one[event_type] = function()
        turn.take(ms)
        turn.note(event_type)
        return true
      end
    end
    function turn.run(n)
      for _ = 1, n do batch.deliver(assert(claim.take())) end
    end
    fn(shop, turn)
  end)
end


-- Each capture takes 1.1 s, and for each that was done another order is there.
local function endless_captures(shop, turn)
  turn.handlers.one["payment.capture"] = function()
    turn.take(1100)
    turn.note "payment.capture"
    event(shop, "payment:new" .. turn.done["payment.capture"], "payment.capture")
    return true
  end
  for i = 1, 5 do event(shop, "payment:" .. i, "payment.capture") end
end


local OTHERS = { "job.run", "mail.send", "product.updated", "stock.changed" }


t.describe("behind what is more important, without an end of it,", function()
  t.it("each other type has its turn, after it", with_turns(function(shop, turn)
    endless_captures(shop, turn)
    for _, event_type in ipairs(OTHERS) do
      turn.slow(event_type, 1)
      event(shop, event_type .. ":1", event_type)
      event(shop, event_type .. ":2", event_type)
    end
    turn.run(1)
    t.same({ turn.order[1], turn.order[2], turn.order[3] },
      { "payment.capture", "payment.capture", "payment.capture" })
    for _, event_type in ipairs(OTHERS) do t.equal(turn.done[event_type], 1, event_type) end
    turn.run(1)
    for _, event_type in ipairs(OTHERS) do t.equal(turn.done[event_type], 2, event_type) end
    t.equal(turn.done["payment.capture"], 6)
  end))

  t.it("slow ones have a turn one after another, who waited longest first", with_turns(
    function(shop, turn)
      endless_captures(shop, turn)
      for _, event_type in ipairs(OTHERS) do
        turn.slow(event_type, 5000)
        for i = 1, 3 do event(shop, event_type .. ":" .. i, event_type) end
      end
      for round = 1, 2 do
        turn.run(#OTHERS)
        for _, event_type in ipairs(OTHERS) do t.equal(turn.done[event_type], round, event_type) end
      end
      t.equal(turn.done["payment.capture"], 3 * 2 * #OTHERS)
    end))

  t.it("what cannot be done together, and takes all of the turn, is tried alone", with_turns(
    function(shop, turn)
      turn.handlers.together["stock.changed"] = function()
        turn.take(5000)
        return nil, shop.require("till.util.err").new("timeout", "too slow")
      end
      turn.handlers.one["stock.changed"] = function()
        turn.note "stock.changed"
        return true
      end
      event(shop, "stock:1", "stock.changed")
      event(shop, "stock:2", "stock.changed")
      turn.run(1)
      t.equal(turn.done["stock.changed"], 1)
      turn.run(1)
      t.equal(turn.done["stock.changed"], 2)
    end))

  t.it("each type has its turn where a claim takes fewer events than there are types", with_turns(
    function(shop, turn)
      local conf, most = shop.require "till.prim.conf", nil
      local get = conf.get
      conf.get = function(name)
        if name == "jobs.batch" then return most end
        return get(name)
      end
      endless_captures(shop, turn)
      for _, event_type in ipairs(OTHERS) do
        turn.slow(event_type, 1)
        for i = 1, 2 do event(shop, event_type .. ":" .. i, event_type) end
      end
      local good, why = pcall(function()
        most = 2
        turn.run(#OTHERS)
        for _, event_type in ipairs(OTHERS) do t.equal(turn.done[event_type], 1, event_type) end
        most = 1
        turn.run(16 * #OTHERS)
        for _, event_type in ipairs(OTHERS) do t.equal(turn.done[event_type], 2, event_type) end
        t.equal(turn.done["payment.capture"], #OTHERS + 15 * #OTHERS, "what is important is first")
      end)
      conf.get = get
      if not good then error(why, 0) end
    end))
end)


-- A lease of a second, and a waiter that is signalled when one was made longer.
local function with_lease(fn)
  return live.test(function(shop)
    local conf, outbox = shop.require "till.prim.conf", shop.require "till.prim.outbox"
    local get, extend = conf.get, outbox.extend
    local extended = shop.require("till.prim.co").waiter()
    conf.get = function(name) return name == "jobs.lease_ms" and 1000 or get(name) end
    outbox.extend = function(...)
      local ok, e = extend(...)
      extended:signal(ok == true)
      return ok, e
    end
    local good, why = pcall(fn, shop, extended)
    conf.get, outbox.extend = get, extend
    if not good then error(why, 0) end
  end)
end


t.describe("the lease of events", function()
  t.it("that are done together is made longer meanwhile", with_lease(function(shop, extended)
    local handlers, is_extended = shop.require "till.flow.job_handlers", nil
    handlers.together["stock.changed"] = function()
      is_extended = extended:wait(5000, true)
      return true
    end
    event(shop, "stock:1", "stock.changed")
    event(shop, "stock:2", "stock.changed")
    local taking = shop.require("till.flow.job_claim").take()
    t.equal(shop.require("till.flow.job_batch").deliver(taking), 2)
    t.equal(is_extended, true)
  end))

  t.it("is made longer while they are handed on to plugins", with_lease(function(shop, extended)
    local publish, is_extended = shop.require "till.flow.publish", nil
    publish.hand_on = function()
      is_extended = extended:wait(5000, true)
      return true
    end
    event(shop, "stock:1", "mail.send")
    local taking = shop.require("till.flow.job_claim").take()
    t.equal(shop.require("till.flow.job_batch").deliver(taking), 1)
    t.equal(is_extended, true)
  end))
end)
