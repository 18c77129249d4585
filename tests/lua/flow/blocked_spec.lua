-- Rows of stock that contradict what is held or promised of them: a hand in the database.
local t = require "till.test"
local passes = require "tests.support.passes"
local waiting = require "tests.support.until"
local with_shop = require "tests.support.stock"


local function spoil(raw, text, variant)
  assert(raw.sql.exec(text, raw.sql.bytes(raw.require("till.util.id").bin("var", variant))))
end


-- Units that nobody allots at once, as those that expire.
local function arrive(raw, n)
  local events = {}
  for i, row in ipairs(raw.sql.query "SELECT variant_id, location_id FROM stock") do
    events[i] = { variant = row.variant_id, location = row.location_id, type = "received",
      quantity = n, on_hand = n }
  end
  assert(raw.sql.transaction(function(tx)
    local ok, e = raw.require("till.store.stock_log").add(tx, events)
    if not ok then return nil, e end
    return tx:exec("UPDATE stock SET on_hand = on_hand + ?", n)
  end))
end


local function open(shop)
  return shop.count("alerts", "kind = 'stock.blocked' AND state = 'open'")
end


t.describe("what cannot be given back", function()
  t.it("keeps no other reservation from ending, and is told of until it is over",
    with_shop(function(shop, raw)
      local tea, cup = shop.product("TEA", 1000, 10), shop.product("CUP", 1000, 20)
      for i = 1, 5 do
        shop.must(shop.pay(shop.cart { { cup, 1 } }))
        if i == 2 then shop.must(shop.pay(shop.cart { { tea, 2 } })) end
        raw.clock.skip_ms = i * 1000
      end
      spoil(raw, "UPDATE stock SET reserved = 0 WHERE variant_id = ?", tea)
      raw.clock.skip_ms = 4 * 3600000
      local expire, ended = raw.require("till.store.reservations").expire, 0
      waiting.eventually("five have ended", function() -- what is rolled back is locked for a moment
        ended = ended + expire(100, 10000)
        return ended == 5
      end)
      t.equal(shop.inventory("CUP").reserved, 0)
      t.equal(open(shop), 1)
      local detail = raw.require("till.store.alerts").of("stock.blocked", tea).detail
      t.same({ detail.quantity, detail.reason }, { 2, "rejected" })
      t.equal(expire(100, 10000), 0, "it is passed over")
      spoil(raw, "UPDATE stock SET reserved = 2 WHERE variant_id = ?", tea)
      raw.clock.skip_ms = raw.clock.skip_ms + 11 * 60000
      raw.require("till.flow.watch").sweep()
      t.equal(open(shop), 1)
      t.equal(expire(100, 10000), 1, "it is tried again")
      raw.clock.skip_ms = raw.clock.skip_ms + 20 * 60000
      raw.require("till.flow.watch").sweep()
      t.equal(open(shop), 0)
    end))
end)


t.describe("what cannot be allotted", function()
  t.it("keeps no other SKU from getting its units", with_shop(function(shop, raw)
    local wrong
    for _, sku in ipairs { "AAA", "BBB", "CCC" } do
      local variant = shop.product(sku, 1000, 0)
      shop.must(shop.policy(sku, { policy = "backorder", limit = 10 }))
      t.equal((select(2, shop.buy { { variant, 2 } })).type, "order")
      if not wrong or variant < wrong then wrong = variant end
    end
    arrive(raw, 5)
    spoil(raw, "UPDATE backorders SET promised = 1 WHERE variant_id = ?", wrong)
    local run = raw.require("till.store.allotment").run
    t.equal(run(100), 2)
    t.equal(shop.count("order_lines", "backordered_quantity > 0"), 1)
    t.equal(open(shop), 1)
    t.equal(run(100), 0)
    spoil(raw, "UPDATE backorders SET promised = 2 WHERE variant_id = ?", wrong)
  end))
end)


-- fn(shop, raw, orders, variants): each order lacks 2 of its SKU, and of `blocked` ones less is
-- promised.
local function with_waiting(skus, blocked, fn)
  return with_shop(function(shop, raw)
    local variants, orders = {}, {}
    for i, sku in ipairs(skus) do
      variants[i] = shop.product(sku, 1000, 0)
      shop.must(shop.policy(sku, { policy = "backorder", limit = 10 }))
      orders[variants[i]] = (select(2, shop.buy { { variants[i], 2 } })).order
    end
    table.sort(variants)
    for i = 1, blocked do
      spoil(raw, "UPDATE backorders SET promised = 1 WHERE variant_id = ?", variants[i])
    end
    fn(shop, raw, orders, variants)
    passes.pass(raw)
    raw.clock.skip_ms = raw.clock.skip_ms + 1000
    t.equal((passes.pass(raw)).differences, 0)
  end)
end


t.describe("more that cannot be allotted than are tried at once", function()
  t.it("keep nobody from getting his", with_waiting({ "AAA", "BBB", "CCC", "DDD", "EEE" }, 4,
    function(shop, raw, orders, variants)
      arrive(raw, 5)
      local run, got = raw.require("till.store.allotment").run, 0
      for _ = 1, 4 do got = got + run(2) end
      t.equal(got, 1)
      t.equal(shop.order(orders[variants[5]].id).lines[1].backordered_quantity, 0)
      t.equal(open(shop), 4)
    end))

  t.it("nor do those whose orders are changed by others each time", with_waiting(
    { "AAA", "BBB", "CCC" }, 0, function(shop, raw, orders, variants)
      arrive(raw, 5)
      local run, got = raw.require("till.store.allotment").run, 0
      raw.sql.transaction(function(tx)
        for i = 1, 2 do
          assert(tx:one("SELECT 1 AS yes FROM orders WHERE id = ? FOR UPDATE", raw.sql.bytes(
            raw.require("till.util.id").bin("ord", orders[variants[i]].id))))
        end
        for _ = 1, 3 do got = got + run(1) end
        return true
      end)
      t.equal(got, 1)
      t.equal(run(10), 2, "they get theirs afterwards")
    end))
end)


t.describe("what is promised less than waits", function()
  local function reason(raw, variant)
    return raw.require("till.store.alerts").of("stock.blocked", variant).detail.reason
  end

  t.it("keeps staff from counting the SKU as little as from moving it", with_waiting({ "AAA" }, 1,
    function(shop, raw, orders, variants)
      shop.stock("AAA", 7)
      t.equal(reason(raw, variants[1]), "rejected")
      shop.location("north", 200)
      t.equal((raw.admin("POST", "/admin/v1/inventory/AAA/transfers", { from = "main",
        to = "north", quantity = 3, reason = "spec" }, shop.key())), 201)
      t.same({ shop.at("AAA", "main"), shop.at("AAA", "north") }, { { 4, 0 }, { 3, 0 } })
      t.equal(shop.order(orders[variants[1]].id).lines[1].backordered_quantity, 2)
      passes.pass(raw)
      t.equal(raw.require("till.store.allotment").run(10), 1)
    end))

  t.it("keeps no order from being cancelled", with_waiting({ "AAA" }, 1,
    function(shop, raw, orders, variants)
      t.equal((shop.cancel(orders[variants[1]].id)), 200)
      t.equal(shop.promised("AAA"), 0)
      t.equal(reason(raw, variants[1]), "rejected")
    end))
end)
