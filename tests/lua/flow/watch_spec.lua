local t = require "till.test"
local json = require "till.prim.json"
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"


local function with_shop(fn)
  return live.test(function(raw)
    local shop = make_shop(raw)
    shop.sweep = function() assert(raw.require("till.flow.watch").sweep()) end
    shop.open = function(kind)
      return shop.must(raw.admin("GET", "/admin/v1/alerts?state=open&kind=" .. kind)).data
    end
    shop.told = function(kind) return shop.count("outbox", "type = '" .. kind .. "'") end
    fn(shop, raw)
  end)
end


local function set_thresholds(shop, raw, sku, body)
  return shop.must(raw.admin("PUT", "/admin/v1/inventory/" .. sku .. "/thresholds", body))
end


t.describe("stock.low", function()
  t.it("ends where nobody wants to be told any more, and begins anew", with_shop(function(shop, raw)
    shop.product("TEA", 1000, 2)
    set_thresholds(shop, raw, "TEA", { low_at = 3 })
    shop.sweep()
    t.equal(#shop.open "stock.low", 1)
    set_thresholds(shop, raw, "TEA", { low_at = json.null, cover_days = json.null })
    shop.sweep()
    t.equal(#shop.open "stock.low", 0)
    set_thresholds(shop, raw, "TEA", { low_at = 3 })
    shop.sweep()
    t.equal(shop.told "stock.low", 2)
  end))

  t.it("is told of all others where one cannot be judged", with_shop(function(shop, raw)
    local thresholds = raw.require "till.store.thresholds"
    local bad, sold = shop.product("TEA1", 1000, 2), thresholds.sold
    for _, sku in ipairs { "TEA2", "TEA3" } do shop.product(sku, 1000, 2) end
    for _, sku in ipairs { "TEA1", "TEA2", "TEA3" } do
      set_thresholds(shop, raw, sku, { low_at = 3, cover_days = 5 })
    end
    function thresholds.sold(variant, days)
      if variant ~= raw.require("till.util.id").bin("var", bad) then return sold(variant, days) end
      return nil, raw.require("till.util.err").new("timeout", "it took too long")
    end
    t.equal(raw.require("till.flow.watch").sweep(), nil)
    thresholds.sold = sold
    t.equal(#shop.open "stock.low", 2)
  end))

  t.it("is told once when it comes down to the threshold, until it is well above again",
    with_shop(function(shop, raw)
      shop.product("TEA", 1000, 20)
      set_thresholds(shop, raw, "TEA", { low_at = 10 })
      shop.work()
      t.equal(shop.told "stock.low", 0)
      shop.stock("TEA", 10)
      shop.work()
      shop.sweep()
      t.equal(shop.told "stock.low", 1)
      local alert = shop.open("stock.low")[1]
      t.same({ alert.detail.sku, alert.detail.available, alert.detail.why, alert.level },
        { "TEA", 10, "low_at", 10 })
      for _, units in ipairs { 11, 10, 12, 9 } do
        shop.stock("TEA", units)
        shop.work()
        shop.sweep()
      end
      t.equal(shop.told "stock.low", 1, "up and down around the threshold")
      shop.stock("TEA", 13)
      shop.work()
      shop.sweep()
      t.equal(#shop.open "stock.low", 0)
      shop.stock("TEA", 8)
      shop.work()
      t.equal(shop.told "stock.low", 2)
    end))

  t.it("goes by the rate of sale where that is asked for", with_shop(function(shop, raw)
    local tea = shop.product("TEA", 1000, 100)
    set_thresholds(shop, raw, "TEA", { cover_days = 14 })
    shop.sweep()
    t.equal(#shop.open "stock.low", 0, "nothing is sold")
    local cart = shop.cart { { tea, 40 } }
    shop.must(shop.pay(cart))
    shop.must(shop.complete(cart))
    shop.sweep()
    local alert = shop.open("stock.low")[1]
    t.same({ alert.detail.why, alert.detail.sold, alert.detail.available },
      { "cover_days", 40, 60 }, "80 would be sold in 14 days")
    shop.stock("TEA", 95)
    shop.sweep()
    t.equal(#shop.open "stock.low", 1, "within the margin")
    shop.stock("TEA", 97)
    shop.sweep()
    t.equal(#shop.open "stock.low", 0)
  end))

  t.it("counts what was sold before it was there", with_shop(function(shop, raw)
    local tea = shop.product("TEA", 1000, 0)
    shop.must(raw.admin("PUT", "/admin/v1/inventory/TEA/backorders",
      { policy = "backorder", limit = 20 }))
    local cart = shop.cart { { tea, 14 } }
    shop.must(shop.pay(cart))
    t.equal(select(2, shop.complete(cart)).type, "order")
    shop.stock("TEA", 20)
    t.equal(shop.inventory("TEA").available, 6)
    t.equal(raw.require("till.store.thresholds").sold(raw.require("till.util.id").bin("var", tea),
      7), 14)
  end))

  t.it("has no threshold unless somebody sets one", with_shop(function(shop, raw)
    shop.product("TEA", 1000, 1)
    shop.sweep()
    t.equal(#shop.open "stock.low", 0)
    t.same(set_thresholds(shop, raw, "TEA", { low_at = 3, cover_days = 5 }).thresholds,
      { low_at = 3, cover_days = 5 })
    set_thresholds(shop, raw, "TEA", {})
    t.equal(shop.count "stock_thresholds", 0)
    t.equal(raw.admin("PUT", "/admin/v1/inventory/TEA/thresholds", { low_at = -1 }), 422)
    t.equal(raw.admin("PUT", "/admin/v1/inventory/NONE/thresholds", { low_at = 1 }), 404)
  end))
end)


t.describe("stock.oversell_attempt", function()
  t.it("counts the refused, tells once, and ends when nobody is refused any more",
    with_shop(function(shop, raw)
      local tea = shop.product("TEA", 1000, 1)
      local refusals = raw.require "till.flow.refusals"
      local last
      for _ = 1, 5 do
        last = shop.cart { { tea, 2 } }
        t.equal(shop.pay(last), 409)
      end
      assert(refusals.flush())
      local alert = shop.open("stock.oversell_attempt")[1]
      t.same({ alert.times, alert.level, alert.detail.sku, alert.detail.sample.cart_id },
        { 5, 1, "TEA", last })
      t.equal(shop.pay(last), 409)
      assert(refusals.flush())
      t.equal(shop.open("stock.oversell_attempt")[1].times, 6)
      shop.sweep()
      t.equal(shop.told "stock.oversell_attempt", 1)
      raw.clock.skip_ms = 3600000 + 1000
      shop.sweep()
      t.equal(#shop.open "stock.oversell_attempt", 0)
    end))
end)


t.describe("saga.stuck", function()
  t.it("is told of all, however many are parked", with_shop(function(shop, raw)
    for i = 1, 130 do
      assert(raw.sql.exec("INSERT INTO sagas (name, aggregate, state, data, created_at, updated_at,"
        .. " parked_at) VALUES ('checkout', ?, 'parked', '{}', NOW(3), NOW(3), NOW(3))",
        "cart_x" .. i))
    end
    local function open()
      return shop.count("alerts", "kind = 'saga.stuck' AND state = 'open'")
    end
    shop.sweep()
    shop.sweep()
    t.equal(open(), 130)
    raw.sql.exec "DELETE FROM sagas WHERE aggregate <> 'cart_x130'"
    shop.sweep()
    t.equal(open(), 1)
    raw.sql.exec "DELETE FROM sagas"
    shop.sweep()
    t.same({ open(), shop.told "saga.stuck" }, { 0, 130 })
  end))

  t.it("is told once for each flow that somebody has to look at", with_shop(function(shop, raw)
    local function flow(aggregate, state)
      assert(raw.sql.exec("INSERT INTO sagas (name, aggregate, data, state, error)"
        .. " VALUES ('checkout', ?, '{}', ?, 'no answer')", aggregate, state))
    end
    flow("cart_1", "waiting")
    flow("cart_2", "parked")
    shop.sweep()
    shop.sweep()
    local open = shop.open "saga.stuck"
    t.same({ #open, open[1].subject, open[1].detail.reason }, { 1, "checkout:cart_2",
      "no answer" })
    t.equal(shop.told "saga.stuck", 1)
    raw.sql.exec("UPDATE sagas SET state = 'done' WHERE aggregate = 'cart_2'")
    shop.sweep()
    t.equal(#shop.open "saga.stuck", 0)
  end))
end)


t.describe("outbox.dead_growing", function()
  local function die(raw, n)
    for _ = 1, n do
      assert(raw.sql.exec("INSERT INTO outbox (aggregate, type, payload, state) VALUES"
        .. " ('spec:1', 'spec.dead', '{}', 'dead')"))
    end
  end

  t.it("is told once while they grow", with_shop(function(shop, raw)
    shop.sweep()
    t.equal(shop.told "outbox.dead_growing", 0)
    die(raw, 2)
    shop.sweep()
    t.same(shop.open("outbox.dead_growing")[1].detail, { dead = 2, before = 0 })
    die(raw, 1)
    shop.sweep()
    shop.sweep()
    t.equal(shop.told "outbox.dead_growing", 1)
    t.equal(shop.open("outbox.dead_growing")[1].level, 3)
    raw.clock.skip_ms = 3600000 + 1000
    shop.sweep()
    t.equal(#shop.open "outbox.dead_growing", 0, "they are many, but do not grow")
    die(raw, 1)
    shop.sweep()
    t.equal(shop.told "outbox.dead_growing", 2)
    raw.sql.exec("DELETE FROM outbox WHERE state = 'dead'")
    shop.sweep()
    t.equal(#shop.open "outbox.dead_growing", 0)
    die(raw, 1)
    shop.sweep()
    t.equal(shop.told "outbox.dead_growing", 3, "one after none is growing")
  end))

  t.it("is told where one dies while another one goes", with_shop(function(shop, raw)
    die(raw, 2)
    shop.sweep()
    raw.clock.skip_ms = 3600000 + 1000
    shop.sweep()
    t.equal(#shop.open "outbox.dead_growing", 0)
    raw.sql.exec("DELETE FROM outbox WHERE state = 'dead' LIMIT 1")
    die(raw, 1)
    shop.sweep()
    t.same(shop.open("outbox.dead_growing")[1].detail, { dead = 2, before = 2 })
    t.equal(shop.told "outbox.dead_growing", 2)
    raw.sql.exec("DELETE FROM outbox WHERE state = 'dead' LIMIT 1")
    shop.sweep()
    raw.clock.skip_ms = 2 * raw.clock.skip_ms
    shop.sweep()
    t.equal(#shop.open "outbox.dead_growing", 0, "fewer are not growing")
  end))

  t.it("stays while there are more than are counted", with_shop(function(shop, raw)
    local function many(n)
      assert(raw.sql.exec("INSERT INTO outbox (aggregate, type, payload, state) SELECT"
        .. " CONCAT('a:', seq), 'mail.send', '{}', 'dead' FROM seq_1_to_10000 LIMIT ?", n))
    end
    many(10000)
    shop.sweep()
    for i = 1, 3 do
      many(20)
      raw.clock.skip_ms = i * 30 * 60000
      shop.sweep()
      t.equal(#shop.open "outbox.dead_growing", 1)
    end
    t.equal(shop.told "outbox.dead_growing", 1)
    raw.sql.exec("UPDATE alerts SET state = 'closed'") -- as a server of before has left it
    shop.sweep()
    t.equal(#shop.open "outbox.dead_growing", 1)
    raw.sql.exec("DELETE FROM outbox WHERE state = 'dead' ORDER BY id DESC LIMIT 1000")
    shop.sweep()
    raw.clock.skip_ms = 2 * raw.clock.skip_ms
    shop.sweep()
    t.equal(#shop.open "outbox.dead_growing", 0)
  end))
end)
