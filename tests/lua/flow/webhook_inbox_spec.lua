-- The inbox of webhooks: what comes in, and what never came.
local t = require "till.test"
local live = require "tests.support.live"

local PLUGIN = "payment-test"


-- fn(s): s.store of an empty inbox; s.tell(subject, id) puts an event into it
local function with_inbox(fn)
  return live.test(function(raw)
    local s = { raw = raw, store = raw.require "till.store.webhooks" }
    function s.tell(subject, id)
      return s.store.receive(PLUGIN, { id = id, type = "charge.captured",
        subject = tostring(subject), at_ms = 1000, body = "{}" })
    end
    function s.count(where)
      return raw.sql.one("SELECT COUNT(*) AS n FROM webhook_events WHERE " .. where).n
    end
    fn(s)
  end)
end


t.describe("what comes in at the same time", function()
  t.it("is written together, and each is told whether it is new", with_inbox(function(s)
    local co = s.raw.require "till.prim.co"
    t.equal(s.tell(1, "evt_old"), true)
    local ids = { "evt_first", "evt_old", "evt_a", "evt_b", "evt_a" }
    local left, waiter, new = #ids, co.waiter(), {}
    for i, id in ipairs(ids) do
      co.turn_end(function()
        new[i] = s.tell(1, id)
        left = left - 1
        if left == 0 then waiter:signal(true) end
      end)
    end
    waiter:wait(10000, true)
    t.same(new, { true, false, true, true, false })
    t.equal(s.count "1", 4)
  end))
end)


-- A provider with an event at each of `times`, in pages of 100, newest first.
local function provider_of(times)
  return function(wish)
    local out, after = {}, nil
    local from = wish.after and tonumber(wish.after) - 1 or #times
    for i = from, 1, -1 do
      if times[i] >= wish.since_ms and (not wish.until_ms or times[i] <= wish.until_ms) then
        if #out == 100 then break end
        out[#out + 1] = { id = "evt_" .. i, type = "x", subject = "x", at_ms = times[i],
          body = "{}", is_ignored = true }
        after = tostring(i)
      end
    end
    return { events = out, after = #out == 100 and after or nil }
  end
end


t.describe("a poll", function()
  t.it("writes what never came, and nothing of what has", with_inbox(function(s)
    local dispatch = s.raw.require "till.plugin.dispatch"
    local names, was, insert = dispatch.names, dispatch.plugin, s.store.insert
    local now_ms, written = s.raw.require("till.prim.time").now_ms(), {}
    local ask = provider_of { now_ms - 3000, now_ms - 2000, now_ms - 1000 }
    s.tell(1, "evt_1")
    s.tell(3, "evt_3")
    dispatch.names = function() return { PLUGIN } end
    dispatch.plugin = function(_, _, wish) return ask(wish) end
    s.store.insert = function(plugin, via, events)
      for _, event in ipairs(events) do written[#written + 1] = event.id end
      return insert(plugin, via, events)
    end
    local good, e = pcall(function()
      for _ = 1, 2 do assert(s.raw.require("till.flow.webhook_poll").run()) end
    end)
    dispatch.names, dispatch.plugin, s.store.insert = names, was, insert
    t.ok(good, e)
    t.same(written, { "evt_2" })
    t.equal(s.count("via = 'poll'"), 1)
  end))

  t.it("reads all of an hour that has more events than are read at a time", with_inbox(
    function(s)
      local dispatch = s.raw.require "till.plugin.dispatch"
      local names, was = dispatch.names, dispatch.plugin
      local now_ms = s.raw.require("till.prim.time").now_ms()
      local times = {}
      for i = 1, 2500 do times[i] = now_ms - 1800000 + 10 * i end
      local ask = provider_of(times)
      dispatch.names = function() return { PLUGIN } end
      dispatch.plugin = function(_, _, wish) return ask(wish) end
      local time = s.raw.require "till.prim.time"
      local mono_ms, at_ms = time.mono_ms, time.mono_ms()
      time.mono_ms = function() return at_ms end -- a slow machine reads on at the next poll
      local good, e = pcall(function()
        local done, why = s.raw.require("till.flow.webhook_poll").run()
        t.ok(done, tostring(why))
      end)
      dispatch.names, dispatch.plugin, time.mono_ms = names, was, mono_ms
      t.ok(good, e)
      t.equal(s.count("via = 'poll'"), 2500)
      t.ok(s.store.seen_ms(PLUGIN) >= now_ms - 1000, "up to now")
    end))

  t.it("reads what it has left out while its clock was ahead", with_inbox(function(s)
    local dispatch, time = s.raw.require "till.plugin.dispatch", s.raw.require "till.prim.time"
    local names, was, real = dispatch.names, dispatch.plugin, time.now_ms
    local start_ms, off = real(), 0
    time.now_ms = function() return real() + off end
    dispatch.names = function() return { PLUGIN } end
    local function poll(ahead_ms, times)
      local ask = provider_of(times)
      off, dispatch.plugin = ahead_ms, function(_, _, wish) return ask(wish) end
      return assert(s.raw.require("till.flow.webhook_poll").run())
    end
    local good, e = pcall(function()
      poll(3600000, { start_ms })
      poll(0, { start_ms })
      poll(1200000, { start_ms, start_ms + 600000 })
    end)
    time.now_ms, dispatch.names, dispatch.plugin = real, names, was
    t.ok(good, e)
    t.equal(s.count("via = 'poll'"), 2)
  end))
end)
