-- Who is slow between two steps of a completion, until the claim of the cart is over.
local provider = require "tests.support.provider"
local t = require "till.test"
local with_shop = require "tests.support.stock"


-- A cart of TEA and MUG whose first payment was declined, so that it is completed step by step, and
-- what its shopper does: MUG is taken out.
local function ready(shop, raw)
  local tea, mug = shop.product("TEA", 1000, 5), shop.product("MUG", 1000, 5)
  local cart = shop.cart { { tea, 2 }, { mug, 1 } }
  local path = "/store/v1/carts/" .. cart
  shop.must(shop.pay(cart, "test", "tok_declined"))
  t.equal(select(2, shop.complete(cart)).error.code, "payment_declined")
  shop.must(shop.pay(cart, "test", "tok_ok"))
  local line
  for _, l in ipairs(shop.must(raw.store("GET", path)).cart.lines) do
    if l.variant_id == mug then line = l.id end
  end
  return cart, function()
    raw.clock.skip_ms = raw.clock.skip_ms + 31000
    return (raw.store("DELETE", path .. "/lines/" .. line))
  end
end


-- The first call of a function: `before` runs before it, or `after` behind it.
local function at_first(m, name, before, after)
  local was = m[name]
  m[name] = function(...)
    m[name] = was
    if before then before() end
    local a, b, c = was(...)
    if after then after() end
    return a, b, c
  end
end


local function held(shop)
  return { shop.inventory("TEA").reserved, shop.inventory("MUG").reserved }
end


local function resumed(raw)
  for _ = 1, 3 do
    raw.clock.skip_ms = raw.clock.skip_ms + 60000
    for _, row in ipairs(raw.require("till.store.sagas").stuck(20)) do
      raw.require("till.flow.checkout").resume(row)
    end
  end
end


local function can_all(_, has) return has end


t.describe("a completion whose claim is over", function()
  t.it("holds nothing more", provider.with(function(shop, raw, _, asked)
    local cart, take_out = ready(shop, raw)
    local before, status = asked["payment.authorize"], nil
    at_first(raw.require "till.store.carts", "claim", nil, function() status = take_out() end)
    shop.complete(cart)
    t.equal(status, 200)
    t.same(held(shop), { 2, 0 })
    t.equal(asked["payment.authorize"], before, "nobody was asked for the old total")
    resumed(raw)
    t.same({ asked["payment.authorize"], shop.count("orders") }, { before, 0 })
    t.equal(#shop.must(raw.store("GET", "/store/v1/carts/" .. cart)).cart.lines, 1)
  end, can_all))

  t.it("asks for no money more", provider.with(function(shop, raw, _, asked)
    local cart, take_out = ready(shop, raw)
    local before, status = asked["payment.authorize"], nil
    at_first(raw.require "till.flow.payment", "authorize", function() status = take_out() end)
    shop.complete(cart)
    t.equal(status, 200)
    t.equal(asked["payment.authorize"], before, "nobody was asked for the old total")
    t.equal(shop.inventory("MUG").reserved, 0)
    resumed(raw)
    t.same({ asked["payment.authorize"], shop.count("orders") }, { before, 0 })
  end, can_all))

  t.it("is taken back before the changed cart may be an order", with_shop(function(shop, raw)
    local cart = shop.cart { { shop.product("TEA", 1000, 5), 2 } }
    shop.must(shop.pay(cart, "manual"))
    raw.clock.skip_ms = 16 * 60000
    raw.require("till.store.reservations").expire(100, 1000) -- so that it takes a flow
    at_first(raw.require "till.flow.payment", "authorize", function() error "killed" end)
    t.equal((shop.complete(cart)), 500)
    raw.clock.skip_ms = raw.clock.skip_ms + 40000
    shop.must(raw.store("PATCH", "/store/v1/carts/" .. cart, { email = "bob@example.org" }))
    local status, body
    at_first(raw.require "till.store.sagas", "begin", nil, function()
      status, body = shop.complete(cart)
    end)
    resumed(raw)
    t.same({ status, body.code }, { 409, "completion_in_progress" })
    t.equal(shop.count("orders"), 0)
    shop.must(shop.pay(cart, "manual"))
    t.equal(select(2, shop.complete(cart)).type, "order")
    t.equal(shop.count("payments", "state = 'authorized' AND order_id IS NOT NULL"), 1)
  end))
end)
