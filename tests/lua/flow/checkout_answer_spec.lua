-- What a provider answers to a completion, and what becomes of it with the order and without.
local provider = require "tests.support.provider"
local t = require "till.test"
local dying = require "tests.support.dying"
local with_shop = require "tests.support.stock"

local ready, dies_in, resumed = dying.ready, dying.dies_in, dying.resumed


local function calls_of(raw, module, name, fn)
  local m, n = raw.require(module), 0
  local was = m[name]
  m[name] = function(...)
    n = n + 1
    return was(...)
  end
  local good, e = pcall(fn)
  m[name] = was
  if not good then error(e, 0) end
  return n
end


t.describe("what the provider answers", function()
  local function events(raw)
    local out = {}
    for i, row in ipairs(raw.sql.query "SELECT kind FROM payment_events ORDER BY seq") do
      out[i] = row.kind
    end
    return table.concat(out, " ")
  end

  -- Does something before the statements of the order are sent for the first time.
  local function before_order(raw, fn)
    local payments = raw.require "till.store.payments"
    local authorize = payments.authorize
    payments.authorize = function(...)
      payments.authorize = authorize
      fn()
      return authorize(...)
    end
  end

  t.it("is written down with the order", with_shop(function(shop, raw)
    local cart = ready(shop, 1)
    local n = calls_of(raw, "till.store.payments", "move", function()
      t.equal(select(2, shop.complete(cart)).type, "order")
    end)
    t.equal(n, 0)
    t.equal(events(raw), "created send authorized")
    local p = raw.sql.one "SELECT state, provider_ref, order_id FROM payments"
    t.equal(p.state, "authorized")
    t.ok(p.provider_ref and p.order_id)
  end))

  t.it("may have been told by himself before", with_shop(function(shop, raw)
    local cart = ready(shop, 1)
    before_order(raw, function() raw.sql.exec "UPDATE payments SET state = 'authorized'" end)
    t.equal(select(2, shop.complete(cart)).type, "order")
    t.same({ shop.count("orders"), shop.count("payments", "order_id IS NOT NULL"),
      shop.count("payment_test_attempts") }, { 1, 1, 1 })
  end))

  t.it("pays for nothing where it was let go of meanwhile", with_shop(function(shop, raw)
    local cart = ready(shop, 1)
    before_order(raw, function()
      raw.sql.exec "UPDATE payments SET data = JSON_SET(data, '$.till.let_go', 'spec')"
    end)
    t.equal(select(2, shop.complete(cart)).error.code, "payment_declined")
    t.same({ shop.count("orders"), shop.count("payment_test_attempts", "state = 'voided'") },
      { 0, 1 })
  end))

  t.it("is written down by itself where the order cannot be placed", with_shop(function(shop, raw)
    local cart = ready(shop, 1)
    before_order(raw, function()
      raw.sql.exec "UPDATE reservations SET expires_at = '2020-01-01'"
      raw.sql.exec "UPDATE carts SET state = 'open'"
      raw.require("till.store.reservations").expire(10, 1000)
      raw.sql.exec "UPDATE carts SET state = 'completing'"
      shop.must(raw.admin("POST", "/admin/v1/inventory/TEA/adjustments",
        { set_to = 0, reason = "damaged" }, { ["idempotency-key"] = "none" }))
    end)
    t.equal(select(2, shop.complete(cart)).error.code, "sold_out")
    t.equal(events(raw), "created send authorized voided")
    t.equal(shop.count("payment_test_attempts", "state = 'voided'"), 1)
  end))

  t.it("is looked up where its hearer died", with_shop(function(shop, raw)
    local cart = ready(shop, 1)
    dies_in(raw, "till.store.orders", "place", function() t.equal((shop.complete(cart)), 500) end)
    t.equal(events(raw), "created send")
    resumed(raw)
    t.equal(events(raw), "created send authorized")
    t.same({ shop.count("orders"), shop.count("payment_test_attempts") }, { 1, 1 })
  end))

  -- The order's script, and `more` after it, are not sent: nobody has got there.
  local function order_fails(raw, code, more, fn)
    local sql, err = raw.require "till.prim.sql", raw.require "till.util.err"
    local whole, left = sql.whole, more + 1
    before_order(raw, function()
      if fn then fn() end
      sql.whole = function()
        left = left - 1
        if left == 0 then sql.whole = whole end
        return nil, err.new(code, "spec", { retryable = true })
      end
    end)
  end

  t.it("is written down where the order's transaction fails", with_shop(function(shop, raw)
    local cart = ready(shop, 1)
    order_fails(raw, "deadlock", 0)
    t.equal((shop.complete(cart)), 202)
    t.same({ shop.count("sagas", "state = 'waiting' AND step = 1"), events(raw) },
      { 1, "created send authorized" })
    resumed(raw)
    t.equal(events(raw), "created send authorized")
    t.same({ shop.count("orders"), shop.count("payment_test_attempts") }, { 1, 1 })
  end))

  t.it("is looked up where nothing can be written", with_shop(function(shop, raw)
    local cart = ready(shop, 1)
    order_fails(raw, "conn_lost", 1)
    t.equal((shop.complete(cart)), 202)
    t.same({ shop.count("sagas", "state = 'waiting' AND step = 1"), events(raw) },
      { 1, "created send" })
    resumed(raw)
    t.equal(events(raw), "created send authorized")
    t.same({ shop.count("orders"), shop.count("payment_test_attempts") }, { 1, 1 })
  end))

  -- Somebody else goes on with the flow, and his provider knows of nothing, or has declined.
  local function given_up(shop, raw, as)
    local dispatch = raw.require "till.plugin.dispatch"
    local plugin = dispatch.plugin
    dispatch.plugin = function(name, hook, ...)
      if hook == "payment.lookup" then return { outcome = as or "not_found" } end
      return plugin(name, hook, ...)
    end
    raw.clock.skip_ms = raw.clock.skip_ms + 30000
    resumed(raw)
    dispatch.plugin = plugin
    t.equal(shop.count("payments", "state IN ('failed', 'declined')"), 1)
  end

  for _, case in ipairs { { "deadlock", 0 }, { "timeout", 0 }, { "deadlock", 1 }, { "timeout", 1 },
    { "rejected", 1 }, { "deadlock", 1, "declined" } } do
    t.it(("is let go of where it was given up (%s) and the order meets a %s, and %d more"):format(
      case[3] or "not_found", case[1], case[2]), with_shop(function(shop, raw)
        local cart = ready(shop, 1)
        order_fails(raw, case[1], case[2], function() given_up(shop, raw, case[3]) end)
        shop.complete(cart)
        t.same({ shop.count("orders"), shop.count("outbox", "type = 'payment.too_late'"),
          shop.count("payment_test_attempts", "state = 'authorized'"),
          shop.count("payment_test_attempts", "state = 'voided'"),
          shop.count("alerts", "kind = 'payment.given_back' AND state = 'open'") },
          { 0, 1, 0, 1, 1 })
      end))
  end

  -- -> what puts it right again
  local function nothing_works(raw)
    local sql, err, was = raw.require "till.prim.sql", raw.require "till.util.err", {}
    for _, name in ipairs { "whole", "transaction", "exec", "one", "query" } do
      was[name] = sql[name]
      sql[name] = function() return nil, err.new("conn_lost", "spec", { retryable = true }) end
    end
    return function()
      for name, fn in pairs(was) do sql[name] = fn end
    end
  end

  t.it("is found by the sweep, and let go of, where it was given up and nothing can be written",
    with_shop(function(shop, raw)
      local cart, dispatch = ready(shop, 1), raw.require "till.plugin.dispatch"
      local works, plugin, looks = nil, dispatch.plugin, 0
      before_order(raw, function()
        given_up(shop, raw)
        dispatch.plugin = function(name, hook, ...)
          if hook == "payment.void" then return { outcome = "unknown" } end
          return plugin(name, hook, ...)
        end
        works = nothing_works(raw)
      end)
      shop.complete(cart)
      works()
      dispatch.plugin = function(name, hook, ...)
        looks = looks + (hook == "payment.lookup" and 1 or 0)
        return plugin(name, hook, ...)
      end
      local sweep = raw.require "till.flow.sweep"
      local function seen(minutes)
        raw.clock.skip_ms = raw.clock.skip_ms + minutes * 60000
        t.ok(sweep.run())
        return { looks, shop.count("payment_test_attempts", "state = 'authorized'"),
          shop.count("payment_test_attempts", "state = 'voided'"),
          shop.count("alerts", "kind = 'payment.given_back' AND state = 'open'") }
      end
      t.same(seen(1), { 0, 1, 0, 0 })
      t.same({ shop.count("outbox", "type = 'payment.too_late'"),
        shop.count("payments", "state = 'failed'") }, { 0, 1 })
      t.same(seen(6), { 1, 0, 1, 1 })
      local after = {}
      for i, minutes in ipairs { 6, 61, 61, 1500, 61, 1500 } do after[i] = seen(minutes)[1] end
      t.same(after, { 1, 2, 2, 3, 3, 3 })
      t.equal(shop.count("payment_doubts"), 0)
      t.same({ shop.count("orders"), shop.count("payments", "state = 'failed'") }, { 0, 1 })
    end))

  t.it("is looked up again where its provider says nothing", with_shop(function(shop, raw)
    local cart, dispatch = ready(shop, 1), raw.require "till.plugin.dispatch"
    local plugin, works, says = dispatch.plugin, nil, "unknown"
    before_order(raw, function()
      given_up(shop, raw)
      works = nothing_works(raw)
      dispatch.plugin = function(name, hook, ...)
        if hook == "payment.lookup" or hook == "payment.void" then
          if says then return { outcome = says } end
        end
        return plugin(name, hook, ...)
      end
    end)
    shop.complete(cart)
    works()
    for i = 1, 4 do
      raw.clock.skip_ms = raw.clock.skip_ms + 6 * 60000
      if i == 4 then says = nil end
      t.ok(raw.require("till.flow.sweep").run())
      t.equal(shop.count("payment_test_attempts", "state = 'voided'"), i == 4 and 1 or 0)
    end
  end))

  t.it("holds no goods where another worker has placed the order", with_shop(function(shop, raw)
    local cart = ready(shop, 2)
    before_order(raw, function() resumed(raw) end)
    t.equal(select(2, shop.complete(cart)).type, "order")
    t.same({ shop.count("orders"), shop.count("reservations", "state = 'held'"),
      shop.count("reservations", "state = 'released'"), shop.inventory("TEA").on_hand },
      { 1, 0, 0, 3 })
  end))

  t.it("leaves what a changed cart holds to its shopper", with_shop(function(shop, raw)
    local cart, mug = ready(shop, 2), shop.product("MUG", 500, 1)
    before_order(raw, function()
      raw.clock.skip_ms = raw.clock.skip_ms + 31000
      shop.must(raw.store("POST", "/store/v1/carts/" .. cart .. "/lines",
        { variant_id = mug, quantity = 1 }))
      t.equal((shop.pay(cart, "test", "tok_ok")), 201)
    end)
    shop.complete(cart)
    t.same({ shop.inventory("TEA").reserved, shop.inventory("MUG").reserved }, { 2, 1 })
    resumed(raw)
    resumed(raw)
    t.same({ shop.inventory("TEA").reserved, shop.inventory("MUG").reserved,
      shop.count("sagas", "state = 'undone'"), shop.count("payments", "state = 'voided'") },
      { 2, 1, 1, 1 })
    t.equal(select(2, shop.complete(cart)).type, "order")
  end))

  t.it("leaves it for as long as any cart holds, no more", with_shop(function(shop, raw)
    local cart = ready(shop, 2)
    before_order(raw, function()
      raw.clock.skip_ms = raw.clock.skip_ms + 31000
      shop.must(raw.store("PATCH", "/store/v1/carts/" .. cart, { email = "b@example.org" }))
      t.equal((shop.pay(cart, "test", "tok_ok")), 201)
    end)
    shop.complete(cart)
    resumed(raw)
    resumed(raw)
    t.same({ shop.inventory("TEA").reserved, shop.count("sagas", "state = 'undone'"),
      shop.count("reservations", "state = 'held' AND expires_at > NOW(3) + INTERVAL 30 MINUTE") },
      { 2, 1, 0 })
  end))

  t.it("keeps the goods for as long as it is looked up in the last step", provider.with(
    function(shop, raw, say)
      local cart = ready(shop, 1)
      order_fails(raw, "conn_lost", 1)
      t.equal((shop.complete(cart)), 202)
      raw.sql.exec "UPDATE sagas SET step = 2" -- as a version before has left it
      raw.sql.exec "UPDATE reservations SET expires_at = NOW(3) + INTERVAL 1 MINUTE"
      say["payment.lookup"] = { outcome = "unknown" }
      resumed(raw)
      t.equal(shop.count("reservations", "state = 'held'"
        .. " AND expires_at > NOW(3) + INTERVAL 55 MINUTE"), 1)
      say["payment.lookup"] = nil
      raw.clock.skip_ms = raw.clock.skip_ms + 600000
      resumed(raw)
      t.same({ shop.count("orders"), shop.count("payment_test_attempts") }, { 1, 1 })
    end, function(_, has) return has end))
end)
