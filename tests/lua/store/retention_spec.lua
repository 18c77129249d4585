-- What nobody needs any more is cleaned away, and nothing else.
local t = require "till.test"
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"


local function with_shop(fn)
  return live.test(function(raw)
    local shop = make_shop(raw)
    fn(shop, raw, shop.product("TEA", 1000, 50))
  end)
end


-- As if all that there is had been left alone for so many days.
local function aged(raw, days)
  local by = (" - INTERVAL %d DAY"):format(days)
  for _, name in ipairs { "carts", "sagas", "payments" } do
    raw.sql.exec("UPDATE " .. name .. " SET created_at = created_at" .. by
      .. ", updated_at = updated_at" .. by)
  end
  raw.sql.exec("UPDATE reservations SET expires_at = expires_at" .. by)
end


local function purge(raw, rest_ms)
  return assert(raw.require("till.store.retention").run(60000, rest_ms or 0))
end


local function left(shop)
  return { shop.count "carts", shop.count "reservations", shop.count "sagas" }
end


local function bin(raw, cart)
  return raw.sql.bytes(raw.require("till.util.id").bin("cart", cart))
end


local function paid(shop, tea, token)
  local cart = shop.cart { { tea, 1 } }
  shop.pay(cart, "test", token or "tok_ok")
  return cart
end


local function customer(raw)
  raw.sql.exec("INSERT IGNORE INTO customers (id, email) VALUES (UNHEX(MD5('c')), 'c@example.org')")
  return "UNHEX(MD5('c'))"
end


t.describe("carts that nobody came back to", function()
  t.it("go when they are as old as they may get, a customer's later", with_shop(
    function(shop, raw, tea)
      shop.cart { { tea, 1 } }
      local his = shop.cart { { tea, 1 } }
      raw.sql.exec("UPDATE carts SET customer_id = " .. customer(raw) .. " WHERE id = ?",
        bin(raw, his))
      aged(raw, 29)
      t.equal(purge(raw).carts, 0)
      aged(raw, 2)
      t.equal(purge(raw).carts, 1)
      t.equal(shop.count("carts", "customer_id IS NOT NULL"), 1)
      aged(raw, 148)
      t.equal(purge(raw).carts, 0)
      aged(raw, 2)
      t.equal(purge(raw).carts, 1)
      t.equal(shop.count "carts", 0)
    end))

  t.it("stay for ever where the shop says so", with_shop(function(shop, raw, tea)
    local conf = raw.require "till.prim.conf"
    local get = conf.get
    conf.get = function(name) return name:find "^retention" and 0 or get(name) end
    shop.cart { { tea, 1 } }
    aged(raw, 10000)
    local n = purge(raw)
    conf.get = get
    t.same({ n.carts, n.reservations, n.flows }, { 0, 0, 0 })
  end))

  t.it("are old by the database's clock as well as by ours", with_shop(function(shop, raw, tea)
    shop.cart { { tea, 1 } }
    raw.clock.skip_ms = 400 * 86400000
    t.equal(purge(raw).carts, 0)
  end))

  t.it("go with a payment that was never sent, and what they held goes too", with_shop(
    function(shop, raw, tea)
      paid(shop, tea)
      raw.sql.exec "UPDATE reservations SET expires_at = '2020-01-01'"
      assert(raw.require("till.store.reservation_end").expire(10))
      aged(raw, 31)
      local n = purge(raw)
      t.same({ n.carts, n.reservations }, { 1, 1 })
      t.same({ left(shop)[1], left(shop)[2], shop.count "payments" }, { 0, 0, 1 })
    end))

  t.it("stay while a payment was begun not long ago", with_shop(function(shop, raw, tea)
    paid(shop, tea)
    raw.sql.exec "UPDATE reservations SET state = 'released'"
    aged(raw, 31)
    raw.sql.exec "UPDATE payments SET updated_at = NOW(3)"
    t.equal(purge(raw).carts, 0)
  end))

  for _, state in ipairs { "held", "backordered", "sold" } do
    t.it("stay while what they reserved is " .. state, with_shop(function(shop, raw, tea)
      paid(shop, tea)
      raw.sql.exec("UPDATE reservations SET state = ?", state)
      aged(raw, 400)
      local n = purge(raw)
      t.same({ n.carts, n.reservations }, { 0, 0 })
      t.same({ left(shop)[1], left(shop)[2] }, { 1, 1 })
    end))
  end

  for _, state in ipairs { "sending", "unknown", "requires_action", "authorized", "captured" } do
    t.it("stay while a payment is " .. state, with_shop(function(shop, raw, tea)
      paid(shop, tea)
      raw.sql.exec("UPDATE payments SET state = ?", state)
      raw.sql.exec "UPDATE reservations SET state = 'released'"
      aged(raw, 400)
      t.equal(purge(raw).carts, 0)
      raw.sql.exec "UPDATE payments SET state = 'voided'"
      aged(raw, 400)
      t.equal(purge(raw).carts, 1)
    end))
  end

  t.it("stay while a payment that failed is looked up still", with_shop(function(shop, raw, tea)
    paid(shop, tea)
    raw.sql.exec "UPDATE payments SET state = 'failed'"
    raw.sql.exec "INSERT INTO payment_doubts (payment_id, look_at) SELECT id, NOW(3) FROM payments"
    raw.sql.exec "UPDATE reservations SET state = 'released'"
    aged(raw, 400)
    t.equal(purge(raw).carts, 0)
    raw.sql.exec "DELETE FROM payment_doubts"
    t.equal(purge(raw).carts, 1)
  end))

  for _, state in ipairs { "running", "waiting", "parked" } do
    t.it("stay while their completion is " .. state, with_shop(function(shop, raw, tea)
      local cart = shop.cart { { tea, 1 } }
      raw.sql.exec("INSERT INTO sagas (name, aggregate, state, data)"
        .. " VALUES ('checkout', ?, ?, '{}')", cart, state)
      raw.sql.exec "UPDATE carts SET state = 'completing', claimed_until = '2020-01-01'"
      aged(raw, 400)
      local n = purge(raw)
      t.same({ n.carts, n.flows }, { 0, 0 })
      raw.sql.exec "UPDATE sagas SET state = 'undone'"
      aged(raw, 400)
      n = purge(raw)
      t.same({ n.carts, n.flows }, { 1, 1 })
    end))
  end

  t.it("stay while somebody completes them", with_shop(function(shop, raw, tea)
    shop.cart { { tea, 1 } }
    raw.sql.exec "UPDATE carts SET state = 'completing', claimed_until = NOW(3) + INTERVAL 1 MINUTE"
    aged(raw, 400)
    t.equal(purge(raw).carts, 0)
    raw.sql.exec "UPDATE carts SET claimed_until = '2020-01-01', updated_at = updated_at"
    t.equal(purge(raw).carts, 1)
  end))

  t.it("stay where somebody has one of them locked, and the others go", with_shop(
    function(shop, raw, tea)
      local one = shop.cart { { tea, 1 } }
      shop.cart { { tea, 1 } }
      aged(raw, 400)
      raw.require("till.prim.sql").transaction(function(tx)
        tx:one("SELECT 1 AS x FROM carts WHERE id = ? FOR UPDATE", bin(raw, one))
        t.equal(purge(raw).carts, 1)
        return true
      end)
      t.equal(purge(raw).carts, 1)
    end))

  t.it("go however many there are and whatever stays between them", with_shop(
    function(shop, raw, tea)
      shop.cart { { tea, 1 } }
      raw.sql.exec("INSERT INTO carts (id, currency, country, customer_id) SELECT"
        .. " UNHEX(LPAD(HEX(seq), 32, '0')), 'GBP', 'GB', IF(seq % 2, NULL, UNHEX(MD5('c')))"
        .. " FROM seq_1_to_900")
      aged(raw, 100)
      t.equal(purge(raw).carts, 451)
      t.equal(shop.count "carts", 450)
      t.equal(purge(raw, 3600000).carts, 0)
      aged(raw, 100)
      t.equal(purge(raw).carts, 0) -- a pass was over: it rests
    end))
end)


t.describe("what an order came from", function()
  t.it("goes after its time, and order, sale, payment and books stay", with_shop(
    function(shop, raw, tea)
      local cart = paid(shop, tea)
      local order = shop.must(shop.complete(cart)).order
      aged(raw, 89)
      local n = purge(raw)
      t.same({ n.carts, n.reservations, n.flows }, { 0, 0, 0 })
      t.equal(select(2, shop.complete(cart)).order.id, order.id) -- another key
      aged(raw, 2)
      n = purge(raw)
      t.same({ n.carts, n.reservations, n.flows }, { 1, 0, 1 })
      t.same({ shop.count "orders", shop.count("reservations", "state = 'sold'"),
        shop.count "payments" }, { 1, 1, 1 })
      t.equal((shop.complete(cart)), 404)
      t.equal(shop.count "orders", 1)
      local at = "/admin/v1/orders/" .. order.id
      t.equal(shop.must(raw.admin("GET", at)).order.id, order.id)
      shop.must(raw.admin("POST", at .. "/cancel", { reason = "x" }, shop.key()))
      t.same({ shop.inventory("TEA").on_hand, shop.inventory("TEA").reserved }, { 50, 0 })
      local pass = raw.require("till.store.stock_checks")
      local id = assert(pass.begin(true, "spec"))
      assert(raw.require("till.flow.reconcile").run(type(id) == "table" and id.id or id))
      t.equal(shop.count "stock_findings", 0)
    end))

  t.it("goes, and who it was is known by the order still", with_shop(function(shop, raw, tea)
    local cart = paid(shop, tea)
    raw.sql.exec("UPDATE carts SET customer_id = " .. customer(raw))
    shop.must(shop.complete(cart))
    raw.sql.exec("UPDATE orders SET customer_id = " .. customer(raw))
    aged(raw, 91)
    t.equal(purge(raw).carts, 1)
    local request, can = { data = { save = true } }, raw.require "till.flow.capabilities"
    can.can = function() return true end
    assert(raw.require("till.flow.saved_methods").add_to(request, { cart_id = cart,
      provider = "test" }))
    t.equal(request.customer.id, raw.require("till.util.id").text("cus",
      raw.sql.one("SELECT id FROM customers").id))
  end))

  t.it("stays where the order is not there", with_shop(function(shop, raw, tea)
    shop.cart { { tea, 1 } }
    raw.sql.exec "UPDATE carts SET state = 'completed'"
    aged(raw, 400)
    t.equal(purge(raw).carts, 0)
  end))

  t.it("stays as long as its completion is replayed", with_shop(function(shop, raw, tea)
    shop.must(shop.complete(paid(shop, tea)))
    local conf = raw.require "till.prim.conf"
    local get = conf.get
    conf.get = function(name) return name == "idem.keep_hours" and 200 * 24 or get(name) end
    aged(raw, 150)
    local before = purge(raw)
    aged(raw, 51)
    local after = purge(raw)
    conf.get = get
    t.same({ before.carts, before.flows, after.carts, after.flows }, { 0, 0, 1, 1 })
  end))
end)


t.describe("a flow that is over", function()
  local function flow(raw, state, name)
    raw.sql.exec("INSERT INTO sagas (name, aggregate, state, data) VALUES (?, ?, ?, '{}')",
      name or "checkout", raw.require("till.util.id").new "cart", state)
    return raw.sql.one("SELECT MAX(id) AS id FROM sagas").id
  end

  local function note(raw, id, kind)
    raw.sql.exec("INSERT INTO saga_events (saga_id, type, step, actor, data, at) VALUES"
      .. " (?, ?, 0, 'system', '{}', NOW(3))", id, kind)
  end

  t.it("goes with what was tried in vain, but stays with what staff did", with_shop(
    function(shop, raw)
      flow(raw, "done")
      note(raw, flow(raw, "undone"), "attempt")
      note(raw, flow(raw, "undone"), "resolved")
      note(raw, flow(raw, "failed"), "parked")
      note(raw, flow(raw, "done"), "attempt") -- the order's timeline shows it
      flow(raw, "done", "cancellation")
      for _, state in ipairs { "running", "waiting", "parked" } do flow(raw, state) end
      aged(raw, 400)
      t.equal(purge(raw).flows, 2)
      t.same({ shop.count "sagas", shop.count "saga_events" }, { 7, 3 })
    end))
end)
