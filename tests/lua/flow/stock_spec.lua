-- Reservations, and several locations.
local t = require "till.test"
local until_ = require "tests.support.until"
local with_shop = require "tests.support.stock"


t.describe("a reservation", function()
  t.it("lasts as long as the channel says", with_shop(function(shop, raw)
    local tea = shop.product("TEA", 1000, 5)
    local keys = shop.must(raw.admin("GET", "/admin/v1/keys")).data
    local store
    for _, key in ipairs(keys) do
      if key.kind == "publishable" then store = key end
    end
    local function minutes()
      local cart = shop.cart { { tea, 1 } }
      t.equal((shop.pay(cart)), 201)
      local row = raw.sql.one("SELECT TIMESTAMPDIFF(SECOND, ?, expires_at) AS s FROM reservations"
        .. " ORDER BY id DESC LIMIT 1", raw.require("till.store.db").now())
      return math.ceil(row.s / 60)
    end
    t.equal(minutes(), 15)
    local body = shop.must(raw.admin("PATCH", "/admin/v1/keys/" .. store.id,
      { reservation_minutes = 45 }))
    t.equal(body.key.reservation_minutes, 45)
    t.equal(minutes(), 45)
    local null = require("till.prim.json").null
    shop.must(raw.admin("PATCH", "/admin/v1/keys/" .. store.id, { reservation_minutes = null }))
    t.equal(minutes(), 15)
  end))

  t.it("is no matter of secret keys", with_shop(function(shop, raw)
    for _, key in ipairs(shop.must(raw.admin("GET", "/admin/v1/keys")).data) do
      local status = raw.admin("PATCH", "/admin/v1/keys/" .. key.id, { reservation_minutes = 5 })
      t.equal(status, key.kind == "publishable" and 200 or 404)
    end
    local status, body = raw.admin("POST", "/admin/v1/keys",
      { name = "x", kind = "secret", reservation_minutes = 5 })
    t.same({ status, body.code }, { 422, "invalid_request" })
  end))

  t.it("lasts longer while the shopper changes his cart, and the log says so",
    with_shop(function(shop, raw)
      local tea = shop.product("TEA", 1000, 1)
      local cart = shop.cart { { tea, 1 } }
      shop.pay(cart)
      local path = "/store/v1/carts/" .. cart
      raw.clock.skip_ms = 10 * 60000
      shop.must(raw.store("PATCH", path, { email = "other@example.org" }))
      t.equal(shop.count("stock_events", "type = 'extended' AND quantity = 1"
        .. " AND reserved_delta = 0 AND reference = '" .. cart .. "'"), 1)
      raw.clock.skip_ms = 10 * 60000 + 30000
      shop.must(raw.store("PATCH", path, { email = "third@example.org" }))
      t.equal(shop.count("stock_events", "type = 'extended'"), 1, "less than a minute is no event")
      raw.clock.skip_ms = 20 * 60000
      t.equal((shop.pay(shop.cart { { tea, 1 } })), 409)
      shop.must(raw.store("GET", path))
      raw.clock.skip_ms = 26 * 60000
      t.equal((shop.pay(shop.cart { { tea, 1 } })), 201, "looking at a cart keeps nothing")
    end))

  t.it("lasts while a payment is at the provider", with_shop(function(shop, raw)
    local cart = shop.cart { { shop.product("TEA", 1000, 1), 1 } }
    shop.pay(cart, "test", "tok_timeout")
    t.equal((select(2, shop.complete(cart))).type, "processing")
    raw.clock.skip_ms = 40 * 60000
    t.equal(raw.require("till.store.reservations").expire(100, 100), 0)
    t.equal(shop.inventory("TEA").reserved, 1)
    t.ok(shop.count("stock_events", "type = 'extended'") >= 1)
  end))

  t.it("ends in batches, and of each SKU once", with_shop(function(shop, raw)
    local tea, cup = shop.product("TEA", 1000, 50), shop.product("CUP", 1000, 50)
    for _ = 1, 7 do shop.pay(shop.cart { { tea, 2 }, { cup, 1 } }) end
    local before = raw.sql.one("SELECT version FROM stock s JOIN variants v ON v.id = s.variant_id"
      .. " WHERE v.sku = 'TEA'").version
    raw.clock.skip_ms = 16 * 60000
    local reservations = raw.require "till.store.reservations"
    t.equal(reservations.expire(5, 0), 5)
    t.equal(reservations.expire(5, 100000), 9)
    t.equal(reservations.expire(5, 0), 0)
    t.same({ shop.inventory("TEA").reserved, shop.inventory("CUP").reserved }, { 0, 0 })
    t.equal(shop.count("stock_events", "type = 'expired'"), 14)
    local after = raw.sql.one("SELECT version FROM stock s JOIN variants v ON v.id = s.variant_id"
      .. " WHERE v.sku = 'TEA'").version
    t.ok(after - before <= 3, "one change of the row for a batch")
  end))

  t.it("of others gives way only as far as is needed", with_shop(function(shop, raw)
    local tea = shop.product("TEA", 1000, 3)
    for _ = 1, 3 do shop.pay(shop.cart { { tea, 1 } }) end
    raw.clock.skip_ms = 16 * 60000
    t.equal((shop.pay(shop.cart { { tea, 2 } })), 201)
    t.equal(shop.count("reservations", "state = 'expired'"), 2)
    t.equal(shop.count("reservations", "state = 'held'"), 2)
  end))
end)


t.describe("several locations", function()
  t.it("give from one where one has all, by priority", with_shop(function(shop)
    shop.location("near", 50)
    shop.location("far", 200)
    local tea = shop.product("TEA", 1000, 4)
    shop.put("TEA", "near", 2)
    shop.put("TEA", "far", 9)
    t.equal((shop.pay(shop.cart { { tea, 2 } })), 201)
    t.same(shop.at("TEA", "near"), { 2, 2 })
    t.equal((shop.pay(shop.cart { { tea, 5 } })), 201)
    t.same({ shop.at("TEA", "main"), shop.at("TEA", "far") }, { { 4, 0 }, { 9, 5 } })
  end))

  t.it("keep for longer what they share while the shopper changes his cart",
    with_shop(function(shop, raw)
      shop.location("near", 50)
      local tea = shop.product("TEA", 1000, 1)
      shop.put("TEA", "near", 1)
      local cart = shop.cart { { tea, 2 } }
      t.equal((shop.pay(cart)), 201)
      raw.clock.skip_ms = 10 * 60000
      shop.must(raw.store("PATCH", "/store/v1/carts/" .. cart, { email = "other@example.org" }))
      t.equal(shop.count("stock_events", "type = 'extended' AND reference = '" .. cart .. "'"), 2)
    end))

  t.it("share a line that none of them has whole, to its sale and back", with_shop(function(shop)
    shop.location("near", 50)
    shop.location("far", 200)
    local tea = shop.product("TEA", 1000, 4)
    shop.put("TEA", "near", 2)
    shop.put("TEA", "far", 3)
    local status, body = shop.buy { { tea, 7 } }
    t.same({ status, body.type }, { 200, "order" })
    t.same({ shop.at("TEA", "near"), shop.at("TEA", "main"), shop.at("TEA", "far") },
      { { 0, 0 }, { 0, 0 }, { 2, 0 } })
    status, body = shop.pay(shop.cart { { tea, 3 } })
    t.same({ status, body.code, body.detail }, { 409, "sold_out", "only 2 of TEA are left" })
    local order = shop.order((select(2, shop.buy { { tea, 2 } })).order.id)
    t.equal(shop.inventory("TEA").available, 0)
    t.equal((shop.cancel(order.id)), 200)
    t.same(shop.at("TEA", "far"), { 2, 0 })
  end))

  t.it("are asked at once where the first has none, and in their order where it has some",
    with_shop(function(shop, raw)
      shop.location("near", 50)
      local tea = shop.product("TEA", 1000, 900)
      shop.put("TEA", "near", 1)
      local reservations, n = raw.require "till.store.reservations", 0
      local hold = reservations.hold
      reservations.hold = function(...)
        n = n + 1
        return hold(...)
      end
      shop.pay(shop.cart { { tea, 2 } })
      t.same({ n, shop.at("TEA", "main"), shop.at("TEA", "near") }, { 1, { 900, 2 }, { 1, 0 } })
      shop.pay(shop.cart { { tea, 1 } })
      t.same({ n, shop.at("TEA", "near") }, { 1, { 1, 1 } })
      until_.eventually("two that come within a second ask once", function()
        local carts, before = { shop.cart { { tea, 1 } }, shop.cart { { tea, 2 } } }, n
        for _, cart in ipairs(carts) do t.equal((shop.pay(cart)), 201) end
        return n < before + 2
      end)
      t.equal(shop.at("TEA", "near")[2], 1)
    end))

  t.it("that are shut give nothing", with_shop(function(shop, raw)
    shop.location("shut", 50, 0)
    local tea, product = shop.product("TEA", 1000, 1)
    shop.put("TEA", "shut", 9)
    t.equal((shop.pay(shop.cart { { tea, 2 } })), 409)
    t.equal((shop.pay(shop.cart { { tea, 1 } })), 201)
    t.same(shop.at("TEA", "shut"), { 9, 0 })
    local seen = shop.must(raw.store("GET", "/store/v1/products/" .. product.id)).product
    t.equal(seen.variants[1].available, 0)
  end))
end)


t.describe("a shopper who comes while reservations end", function()
  t.it("is not refused what somebody lets go of just then", with_shop(function(shop, raw)
    local tea = shop.product("TEA", 1000, 1)
    shop.pay(shop.cart { { tea, 1 } })
    raw.clock.skip_ms = 16 * 60000
    local cart, locked, done = shop.cart { { tea, 1 } }, false, false
    until_.together(function()
      raw.sql.transaction(function(tx)
        tx:query("SELECT id FROM reservations WHERE state = 'held' FOR UPDATE")
        locked = true
        return until_.eventually("the shopper has his answer", function() return done end)
      end)
    end, function()
      until_.eventually("they are locked", function() return locked end)
      local status, body = shop.pay(cart)
      done = true
      t.same({ status, body.code }, { 503, "deadlock" })
    end)
    t.equal((shop.pay(cart)), 201)
  end))

  -- `n` units of it at that place, each held by a cart of its own for too long.
  local function overdue(raw, sku, code, n)
    local at = " FROM variants v JOIN locations l WHERE v.sku = ? AND l.code = ?"
    raw.sql.exec("INSERT INTO reservations (id, cart_id, variant_id, location_id, quantity,"
      .. " expires_at) SELECT UNHEX(MD5(CONCAT(l.code, seq))), UNHEX(MD5(CONCAT('c', seq))), v.id,"
      .. " l.id, 1, '2020-01-01'" .. at:gsub("JOIN", "JOIN seq_1_to_" .. n .. " JOIN", 1),
      sku, code)
    raw.sql.exec("INSERT INTO stock_events (variant_id, location_id, type, quantity, on_hand_delta,"
      .. " reserved_delta) SELECT v.id, l.id, 'reserved', ?, 0, ?" .. at, n, n, sku, code)
    raw.sql.exec("UPDATE stock s JOIN (SELECT v.id AS v, l.id AS l" .. at .. ") x"
      .. " ON s.variant_id = x.v AND s.location_id = x.l SET s.reserved = s.reserved + ?", sku,
      code, n)
  end

  t.it("has as many units as he wants, however many carts hold them for too long",
    with_shop(function(shop, raw)
      local tea = shop.product("TEA", 1000, 250)
      overdue(raw, "TEA", "main", 250)
      t.equal((shop.pay(shop.cart { { tea, 120 } })), 201)
      t.equal(shop.count("reservations", "state = 'expired'"), 120)
    end))

  t.it("is served though many end that are of no use to him", with_shop(function(shop, raw)
    local tea = shop.product("TEA", 1000, 2)
    shop.location("shut", 1)
    shop.put("TEA", "shut", 150)
    overdue(raw, "TEA", "shut", 150)
    raw.sql.exec "UPDATE locations SET enabled = 0 WHERE code = 'shut'"
    shop.pay(shop.cart { { tea, 2 } })
    raw.clock.skip_ms = 16 * 60000
    t.equal((shop.pay(shop.cart { { tea, 2 } })), 201)
  end))

  t.it("is told that it is sold out where what ends is not enough", with_shop(function(shop, raw)
    local tea = shop.product("TEA", 1000, 110)
    overdue(raw, "TEA", "main", 110)
    local status, body = shop.pay(shop.cart { { tea, 111 } })
    t.same({ status, body.code }, { 409, "sold_out" })
    t.equal((shop.pay(shop.cart { { tea, 110 } })), 201)
  end))
end)


t.describe("staff who take units from carts", function()
  -- The job has locked what one cart holds and goes on to its stock, as staff come to that cart.
  t.it("never wait in a circle with the job that ends reservations", with_shop(function(shop, raw)
    local tea = shop.product("TEA", 1000, 2)
    local first, second = shop.cart { { tea, 1 } }, shop.cart { { tea, 1 } }
    shop.pay(first)
    shop.pay(second)
    local db = raw.require "till.store.db"
    local function number(text)
      return tonumber(raw.sql.one(text).n)
    end
    local deadlocks = "SELECT VARIABLE_VALUE AS n FROM information_schema.GLOBAL_STATUS"
      .. " WHERE VARIABLE_NAME = 'INNODB_DEADLOCKS'"
    local before, locked = number(deadlocks), false
    until_.together(function()
      assert(raw.sql.transaction(function(tx)
        if locked then return true end -- it is done again after a deadlock
        local reservations = raw.require "till.store.reservations"
        local rows = assert(tx:query("SELECT id, cart_id, variant_id, location_id, quantity"
          .. " FROM reservations WHERE cart_id = ? FOR UPDATE", db.bin("cart", first)))
        locked = true
        until_.eventually("staff wait", function()
          return number("SELECT COUNT(*) AS n FROM information_schema.PROCESSLIST WHERE INFO LIKE"
            .. " '%reservations_cart%FOR UPDATE' AND ID <> CONNECTION_ID() AND TIME_MS > 100") > 0
        end)
        return reservations.let_go(tx, rows, "expired")
      end))
    end, function()
      until_.eventually("it is locked", function() return locked end)
      local made = shop.must(raw.admin("POST", "/admin/v1/inventory/TEA/adjustments",
        { set_to = 0, reason = "burnt", override = true }, shop.key())).adjustment
      t.same(made.released, { second }, "what the job has ended is not let go of again")
    end)
    t.equal(number(deadlocks), before)
    t.same(shop.at("TEA", "main"), { 0, 0 })
  end))
end)


t.describe("a cart that is changed again and again", function()
  local MINUTE = 60000

  -- A cart with one TEA of two, of a channel that holds for 15 minutes and 40 at most.
  local function held(fn)
    return with_shop(function(shop, raw)
      local tea = shop.product("TEA", 1000, 2)
      for _, key in ipairs(shop.must(raw.admin("GET", "/admin/v1/keys")).data) do
        if key.kind == "publishable" then
          local body = shop.must(raw.admin("PATCH", "/admin/v1/keys/" .. key.id,
            { hold_minutes = 40 }))
          t.equal(body.key.hold_minutes, 40)
        end
      end
      local cart = shop.cart { { tea, 1 } }
      shop.pay(cart)
      fn(shop, raw, cart, function()
        local row = raw.sql.one("SELECT TIMESTAMPDIFF(SECOND, MIN(created_at), (SELECT expires_at"
          .. " FROM reservations WHERE state = 'held')) AS s FROM reservations")
        return math.ceil(row.s / 60)
      end)
    end)
  end

  local function touch(shop, raw, cart, n)
    shop.must(raw.store("PATCH", "/store/v1/carts/" .. cart, { email = n .. "@example.org" }))
  end

  t.it("holds what it has no longer than its channel says", held(function(shop, raw, cart, minutes)
    for i = 1, 5 do
      raw.clock.skip_ms = i * 7 * MINUTE
      touch(shop, raw, cart, i)
    end
    t.equal(minutes(), 40)
    local logged = shop.count("stock_events", "type = 'extended'")
    touch(shop, raw, cart, "x")
    t.equal(shop.count("stock_events", "type = 'extended'"), logged)
    raw.clock.skip_ms = 41 * MINUTE
    t.equal(raw.require("till.store.reservations").expire(10, 0), 1)
  end))

  t.it("holds another number of it no longer either, and says until when", held(
    function(shop, raw, cart, minutes)
      local line = shop.must(raw.store("GET", "/store/v1/carts/" .. cart)).cart.lines[1].id
      for i = 1, 3 do
        raw.clock.skip_ms = i * 12 * MINUTE
        shop.must(raw.store("PATCH", ("/store/v1/carts/%s/lines/%s"):format(cart, line),
          { quantity = 1 + i % 2 }))
        local body = shop.must(shop.pay(cart))
        t.equal(body.payment_session.expires_at, raw.sql.one("SELECT expires_at AS at"
          .. " FROM reservations WHERE state = 'held'").at)
      end
      t.equal(minutes(), 40)
      raw.clock.skip_ms = 41 * MINUTE
      shop.must(shop.pay(cart))
      t.ok(minutes() > 40, "its time is over, and nobody else has taken it: it begins anew")
    end))

  t.it("holds no longer because its payment waits for the shopper", with_shop(function(shop, raw)
    local cart = shop.cart { { shop.product("TEA", 1000, 2), 1 } }
    shop.pay(cart, "test", "tok_requires_action")
    local _, body = shop.complete(cart)
    t.equal(body.error.code, "payment_requires_action")
    t.equal(raw.require("till.store.reservations").expire(10, 0), 0)
    raw.clock.skip_ms = 16 * MINUTE
    t.equal(raw.require("till.store.reservations").expire(10, 0), 1)
  end))
end)
