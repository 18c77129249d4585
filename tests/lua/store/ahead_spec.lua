-- What was written while the clock was far ahead, and what is as it should be.
local t = require "till.test"
local with_shop = require "tests.support.stock"

local YEAR_MS, MINUTE_MS = 365 * 86400000, 60000


local function ends(raw)
  local row = raw.sql.one "SELECT MAX(expires_at) AS at FROM reservations WHERE state = 'held'"
  return (raw.require("till.prim.time").parse(row.at) - raw.require("till.prim.time").now_ms())
    / MINUTE_MS
end


t.describe("a clock that was a year ahead", function()
  t.it("leaves no goods held for a year", with_shop(function(shop, raw)
    local ahead, tea = raw.require "till.store.ahead", shop.product("TEA", 1000, 5)
    raw.clock.skip_ms = YEAR_MS
    shop.must(shop.pay(shop.cart { { tea, 5 } }))
    raw.clock.skip_ms = 0
    t.equal(assert(ahead.pull_back()), 1)
    t.ok(ends(raw) <= 15, "as long as goods are held for")
    t.equal(assert(ahead.pull_back()), 0)
    raw.clock.skip_ms = 16 * MINUTE_MS
    t.equal(assert(raw.require("till.store.reservations").expire(10, 0)), 1)
    t.equal(shop.inventory("TEA").reserved, 0)
  end))

  t.it("leaves no cart claimed for a year, and no flow that waits for it", with_shop(
    function(shop, raw)
      local ahead, tea = raw.require "till.store.ahead", shop.product("TEA", 1000, 5)
      local waits, runs = shop.cart { { tea, 1 } }, shop.cart { { tea, 1 } }
      raw.clock.skip_ms = YEAR_MS
      for _, cart in ipairs { waits, runs } do
        shop.pay(cart, "test", "tok_timeout")
        t.equal((shop.complete(cart)), 202)
      end
      raw.sql.exec("UPDATE sagas SET state = 'running', next_at = NULL, claimed_until ="
        .. " UTC_TIMESTAMP(3) + INTERVAL 365 DAY WHERE aggregate = ?", runs)
      raw.clock.skip_ms = 0
      t.equal(#raw.require("till.store.sagas").stuck(10), 0)
      assert(ahead.pull_back())
      raw.clock.skip_ms = MINUTE_MS
      for _, row in ipairs(raw.require("till.store.sagas").stuck(10)) do
        raw.require("till.flow.checkout").resume(row)
      end
      t.equal(shop.count("orders"), 2)
    end))

  t.it("leaves no cart shut of which nothing is held, and no payment that is on its way", with_shop(
    function(shop, raw)
      local cart = shop.cart { { shop.product("TEA", 1000, 5), 1 } }
      raw.clock.skip_ms = YEAR_MS
      shop.pay(cart, "test", "tok_unknown_lost")
      t.equal((shop.complete(cart)), 202)
      raw.sql.exec("UPDATE sagas SET state = 'running', next_at = NULL, claimed_until ="
        .. " UTC_TIMESTAMP(3) + INTERVAL 365 DAY")
      raw.sql.exec "UPDATE carts SET claimed_until = UTC_TIMESTAMP(3) + INTERVAL 365 DAY"
      raw.sql.exec "UPDATE reservations SET expires_at = UTC_TIMESTAMP(3) + INTERVAL 10 MINUTE"
      raw.clock.skip_ms = 0
      t.equal(assert(raw.require("till.store.ahead").pull_back()), 1)
      raw.clock.skip_ms = MINUTE_MS
      for _, row in ipairs(raw.require("till.store.sagas").stuck(10)) do
        raw.require("till.flow.checkout").resume(row)
      end
      t.same({ shop.count("sagas", "state = 'undone'"), shop.count("payments", "state = 'failed'"),
        shop.count("carts", "state = 'open' OR claimed_until < UTC_TIMESTAMP(3)") }, { 1, 1, 1 })
    end))

  -- Nothing but its claim says so of such a cart: no goods, no flow.
  t.it("leaves no cart shut that somebody had only looked at", with_shop(function(shop, raw)
    local carts, tea = raw.require "till.store.carts", shop.product("TEA", 1000, 9)
    local function claimed(ahead_ms)
      local cart_id = shop.cart { { tea, 1 } }
      shop.must(shop.pay(cart_id))
      raw.clock.skip_ms = ahead_ms
      t.ok(carts.claim(nil, carts.get(cart_id), raw.require("till.prim.time").now_ms() + 120000))
      raw.clock.skip_ms = 0
      return cart_id
    end
    local function patch(cart_id)
      return (raw.store("PATCH", "/store/v1/carts/" .. cart_id, { email = "ada@example.org" }))
    end
    t.equal(patch(claimed(YEAR_MS)), 200)
    t.equal((shop.complete(claimed(YEAR_MS))), 200)
    t.equal((shop.pay(claimed(YEAR_MS))), 201)
    local dropped = claimed(YEAR_MS)
    assert(raw.sql.exec("UPDATE reservations SET expires_at = '2020-01-01' WHERE cart_id = ?",
      raw.require("till.store.db").bin("cart", dropped)))
    t.equal(assert(raw.require("till.store.reservations").expire(10, 0)), 1)
    local firm, soon = claimed(0), claimed(59 * MINUTE_MS)
    for _, cart_id in ipairs { firm, soon } do
      t.equal(patch(cart_id), 409)
      t.equal((shop.complete(cart_id)), 409)
    end
    t.equal(assert(raw.require("till.store.ahead").pull_back()), 0)
  end))

  t.it("is not seen in what is as it should be", with_shop(function(shop, raw)
    local cart = shop.cart { { shop.product("TEA", 1000, 5), 1 } }
    shop.pay(cart, "test", "tok_timeout")
    t.equal((shop.complete(cart)), 202)
    raw.sql.exec "UPDATE api_keys SET hold_minutes = 10080"
    raw.sql.exec "UPDATE reservations SET expires_at = UTC_TIMESTAMP(3) + INTERVAL 10080 MINUTE"
    t.equal(assert(raw.require("till.store.ahead").pull_back()), 0)
    t.ok(ends(raw) > 10000)
  end))
end)
