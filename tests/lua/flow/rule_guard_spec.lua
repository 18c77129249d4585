local t = require "till.test"
local live = require "tests.support.live"

local KILL = { code = "budget", message = "1000000 instructions", line = 4 }


local function manifest(version)
  return { name = "greedy", hook = "promo.evaluate", version = version, title = "Greedy",
    schema = {}, args = {}, when = {}, priority = 100 }
end


-- fn(shop, world): world.rule is what the generation would hold, world.row() what the tables do.
local function with_rule(fn)
  return live.test(function(shop)
    local store, plugin_rules = shop.require "till.store.rules", shop.require "till.plugin.rules"
    local text = "return function() while true do end end"
    local rule = plugin_rules.make(manifest(1), text)
    local id = assert(shop.sql.transaction(function(tx)
      return store.create(tx, { name = "greedy", hook = "promo.evaluate" }, {
        manifest = manifest(1), text = text, hash = rule.hash, author = "staff_x", reason = "new" })
    end))
    fn(shop, { rule = rule, store = store, id = id, guard = shop.require "till.flow.rule_guard",
      row = function() return assert(store.get(id)) end })
  end)
end


local function kill(world, n)
  local last
  for _ = 1, n do
    local e
    last, e = world.guard.count(world.rule, KILL)
    if last == nil then t.fail(tostring(e)) end
  end
  return last
end


t.describe("a rule that has to be killed", function()
  t.it("is set aside by the last kill that is allowed, and not before", with_rule(
    function(shop, world)
      t.equal(kill(world, 4), false)
      t.same({ world.guard.aside(), world.row().state }, { {}, "draft" })
      t.equal(kill(world, 1), true)
      t.equal(world.row().state, "set_aside")
      local reason = world.guard.aside()[world.rule.hash]
      t.ok(reason:find("5 kills within 600 s", 1, true) and reason:find("line 4", 1, true), reason)
    end))

  t.it("is told of once: in its events, and to its owner", with_rule(function(shop, world)
    kill(world, 8)
    local told = shop.sql.query("SELECT aggregate, payload FROM outbox"
      .. " WHERE type = 'rule.set_aside'")
    t.equal(#told, 1)
    t.equal(told[1].aggregate, "rule:" .. world.id)
    t.ok(told[1].payload:find('"name":"greedy"', 1, true), told[1].payload)
    local events = assert(world.store.events(world.id, {}))
    t.same({ #events, events[1].type, events[1].author, events[1].version },
      { 1, "set_aside", "system", 1 })
  end))

  t.it("is forgiven what is long ago", with_rule(function(shop, world)
    kill(world, 4)
    shop.clock.skip_ms = 600001
    t.equal(kill(world, 4), false)
    t.equal(world.row().state, "draft")
  end))

  t.it("begins anew when it is restored", with_rule(function(shop, world)
    local rules = shop.require "till.flow.rules"
    kill(world, 5)
    t.ok(shop.sql.transaction(function(tx)
      return rules.restore(tx, assert(world.store.lock(tx, world.id)), { author = "staff_x",
        reason = "the network was slow" })
    end))
    world.guard.forget()
    t.same(world.guard.aside(), {})
    t.equal(kill(world, 4), false)
    t.equal(kill(world, 1), true)
    local _, e = shop.sql.transaction(function(tx)
      assert(rules.restore(tx, assert(world.store.lock(tx, world.id)), { author = "x",
        reason = "y" }))
      return rules.restore(tx, assert(world.store.lock(tx, world.id)), { author = "x",
        reason = "y" })
    end)
    t.equal(e.code, "conflict")
  end))

  t.it("that nobody wrote here is counted against nobody", live.test(function(shop)
    local guard = shop.require "till.flow.rule_guard"
    local rule = shop.require("till.plugin.rules").make(manifest(1), "return 1")
    t.equal(guard.count(rule, KILL), false)
    t.same(guard.aside(), {})
  end))

  t.it("has a reason that fits its column, whatever was thrown", with_rule(function(shop, world)
    local long = { code = "crash", message = ("é"):rep(1500) }
    for _ = 1, 5 do world.guard.count(world.rule, long) end
    local reason = world.guard.aside()[world.rule.hash]
    t.ok(#reason <= 2000 and shop.require("till.util.text").valid(reason), reason)
  end))
end)
