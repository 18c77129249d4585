-- What carts give back although the row of stock says that less is reserved: a hand in the
-- database.
local t = require "till.test"
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"
local passes = require "tests.support.passes"


-- fn(shop, raw, cart, tea, cup): a cart that holds 2 and 1 and is paid for by a token, and nothing
-- of the first is reserved, says its row.
local function spoilt(token, fn)
  return live.test(function(raw)
    local shop = make_shop(raw)
    local tea, cup = shop.product("TEA", 1000, 9), shop.product("CUP", 500, 9)
    local cart = shop.cart { { tea, 2 }, { cup, 1 } }
    shop.must(shop.pay(cart, "test", token or "tok_ok"))
    passes.exec(raw, "UPDATE stock SET reserved = 0 WHERE variant_id = ?",
      raw.sql.bytes(raw.require("till.util.id").bin("var", tea)))
    fn(shop, raw, cart, tea, cup)
  end)
end


local function reserved(shop)
  return { shop.inventory("TEA").reserved, shop.inventory("CUP").reserved }
end


local function told(shop, raw, tea, n)
  t.equal(shop.count("alerts", "kind = 'stock.blocked' AND state = 'open'"), 1)
  t.equal(raw.require("till.store.alerts").of("stock.blocked", tea).detail.quantity, n or 2)
end


-- A pass has no more to do than to say so in the log.
local function agrees(shop, raw, held)
  passes.pass(raw)
  raw.clock.skip_ms = raw.clock.skip_ms + 1000
  t.equal((passes.pass(raw)).differences, 0)
  t.same(reserved(shop), held)
end


local function change(shop, raw, cart, variant, quantity)
  local path = "/store/v1/carts/" .. cart
  for _, line in ipairs(shop.must(raw.store("GET", path)).cart.lines) do
    if line.variant_id == variant then
      shop.must(raw.store("PATCH", path .. "/lines/" .. line.id, { quantity = quantity }))
    end
  end
end


t.describe("a cart that holds more than is reserved", function()
  t.it("is taken back to its end when it cannot be placed, and bought then",
    spoilt(nil, function(shop, raw, cart, tea)
      local place = raw.require "till.flow.place"
      local run = place.run
      place.run = function()
        place.run = run
        return nil, raw.require("till.util.err").new("promotion_refused", "spec")
      end
      t.equal((select(2, shop.complete(cart))).error.code, "promotion_refused")
      t.same({ shop.count("sagas", "state = 'undone'"),
        shop.count("reservations", "state = 'held'") }, { 1, 0 })
      told(shop, raw, tea)
      agrees(shop, raw, { 0, 0 })
      shop.must(shop.pay(cart, "test", "tok_ok"))
      t.equal((select(2, shop.complete(cart))).type, "order")
      agrees(shop, raw, { 0, 0 })
    end))

  t.it("holds what it is changed to", spoilt(nil, function(shop, raw, cart, tea, cup)
    change(shop, raw, cart, tea, 3)
    change(shop, raw, cart, cup, 2)
    shop.must(shop.pay(cart, "test", "tok_ok"))
    told(shop, raw, tea)
    agrees(shop, raw, { 3, 2 })
    t.equal((select(2, shop.complete(cart))).type, "order")
  end))

  t.it("lets go of what it has no more", spoilt(nil, function(shop, raw, cart, tea)
    change(shop, raw, cart, tea, 0)
    t.equal(shop.count("reservations", "state = 'held'"), 1)
    told(shop, raw, tea)
    agrees(shop, raw, { 0, 1 })
  end))

  t.it("gives way to others when its time is over, with those of whom nothing is wrong",
    spoilt(nil, function(shop, raw, _, tea)
      shop.must(shop.pay(shop.cart { { tea, 8 } }))
      raw.clock.skip_ms = 3 * 3600000
      shop.must(shop.pay(shop.cart { { tea, 9 } }))
      told(shop, raw, tea, 10)
      t.equal(raw.require("till.store.reservations").expire(100, 10000), 1)
      agrees(shop, raw, { 9, 0 })
    end))

  t.it("is not sold, is told of, and bought by the next attempt",
    spoilt(nil, function(shop, raw, cart, tea)
      local body
      for _ = 1, 3 do
        _, body = shop.complete(cart)
        if body.type == "order" then break end
        shop.pay(cart, "test", "tok_ok")
      end
      t.equal(body.type, "order")
      told(shop, raw, tea)
      agrees(shop, raw, { 0, 0 })
    end))
end)
