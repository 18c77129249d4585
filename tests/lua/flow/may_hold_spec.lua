-- Servers of before and of now on one database: what one of before reserves it does not note at the
-- cart (carts.may_hold). It is sold once, and comes back when its time is over.
local t = require "till.test"
local with_shop = require "tests.support.stock"

local HOLD_MS = 15 * 60000


-- As a server of before reserves for a cart: no column of the cart's is set.
local function reserve_as_before(raw, cart, variant, quantity)
  local db = raw.require "till.store.db"
  local bin, of = db.bin("cart", cart), db.bin("var", variant)
  local ends_at = db.at_ms(raw.require("till.prim.time").now_ms() + HOLD_MS)
  local was = raw.sql.one("SELECT may_hold FROM carts WHERE id = ?", bin).may_hold
  assert(raw.sql.transaction(function(tx)
    local main = assert(tx:one "SELECT id FROM locations WHERE code = 'main'").id
    local at = raw.sql.bytes(main)
    local taken = assert(tx:exec("UPDATE stock SET reserved = reserved + ? WHERE variant_id = ?"
      .. " AND location_id = ? AND on_hand - reserved >= ?", quantity, of, at, quantity))
    t.equal(taken.affected, 1)
    assert(tx:exec("INSERT INTO reservations (id, cart_id, variant_id, location_id, quantity,"
      .. " expires_at) VALUES (UNHEX(MD5(RAND())), ?, ?, ?, ?, ?)", bin, of, at, quantity, ends_at))
    return tx:exec("INSERT INTO stock_events (variant_id, location_id, type, quantity,"
      .. " on_hand_delta, reserved_delta, reference, reason, actor, at)"
      .. " VALUES (?, ?, 'reserved', ?, 0, ?, ?, '', '', ?)", of, at, quantity, quantity, cart,
      db.now())
  end))
  t.equal(raw.sql.one("SELECT may_hold FROM carts WHERE id = ?", bin).may_hold, was)
end


-- A cart of two TEA that this server has made, or one of before; fn(shop, raw, cart, tea)
local function with_cart(is_of_before, units, fn)
  return with_shop(function(shop, raw)
    local tea = shop.product("TEA", 1000, units)
    function shop.cart_of_two()
      local cart = shop.cart { { tea, 2 } }
      if is_of_before then raw.sql.exec "UPDATE carts SET may_hold = DEFAULT" end
      return cart
    end
    fn(shop, raw, shop.cart_of_two(), tea)
  end)
end


local function left(shop)
  local of = shop.inventory "TEA"
  return { of.on_hand, of.reserved }
end


local function expire(raw, ms)
  raw.clock.skip_ms = raw.clock.skip_ms + ms
  return assert(raw.require("till.store.reservations").expire(10, 0))
end


for _, is_of_before in ipairs { false, true } do
  t.describe(is_of_before and "a cart that a server of before has made" or "a cart of this server",
    function()
      t.it("and what one of before reserved for it are bought as one",
        with_cart(is_of_before, 5, function(shop, raw, cart, tea)
          reserve_as_before(raw, cart, tea, 2)
          shop.must(shop.pay(cart))
          if is_of_before then t.same(left(shop), { 5, 2 }, "it may hold some, and is asked") end
          t.equal(shop.must(shop.complete(cart)).type, "order")
          expire(raw, HOLD_MS + 1000)
          t.same(left(shop), { 3, 0 })
        end))

      t.it("has the last units that one of before reserved for it, and nobody else has",
        with_cart(is_of_before, 2, function(shop, raw, cart, tea)
          local other = shop.cart_of_two()
          reserve_as_before(raw, cart, tea, 2)
          t.equal((shop.pay(other)), 409)
          shop.must(shop.pay(cart))
          t.equal((shop.pay(other)), 409)
          t.equal(shop.must(shop.complete(cart)).type, "order")
          t.equal((shop.pay(other)), 409)
          t.same(left(shop), { 0, 0 })
        end))

      t.it("lets go of what one of before reserved, when its time is over and not before",
        with_cart(is_of_before, 2, function(shop, raw, cart, tea)
          reserve_as_before(raw, cart, tea, 2)
          t.equal(expire(raw, HOLD_MS / 2), 0)
          t.equal(expire(raw, HOLD_MS / 2 + 1000), 1)
          t.same(left(shop), { 2, 0 })
        end))

      t.it("that is paid for here sells what it holds, whatever one of before reserves besides",
        with_cart(is_of_before, 5, function(shop, raw, cart, tea)
          shop.must(shop.pay(cart))
          reserve_as_before(raw, cart, tea, 2)
          t.equal(shop.must(shop.complete(cart)).type, "order")
          t.equal(left(shop)[1], 3)
          expire(raw, HOLD_MS + 1000)
          t.same(left(shop), { 3, 0 })
        end))

      t.it("keeps nothing for ever that it holds twice, and is changed again and again",
        with_cart(is_of_before, 5, function(shop, raw, cart, tea)
          reserve_as_before(raw, cart, tea, 2)
          shop.must(shop.pay(cart))
          for i = 1, 3 do
            raw.clock.skip_ms = raw.clock.skip_ms + HOLD_MS / 2
            shop.must(raw.store("PATCH", "/store/v1/carts/" .. cart,
              { email = i .. "@example.org" }))
          end
          shop.must(shop.pay(cart))
          t.same(left(shop), { 5, 2 })
          t.ok(expire(raw, HOLD_MS + 1000) > 0)
          t.same(left(shop), { 5, 0 })
        end))
    end)
end
