-- Orders of which nothing is to be paid.
local t = require "till.test"
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"


local function with_shop(fn)
  return function()
    live.with(function(shop) fn(make_shop(shop), shop) end)
  end
end


t.describe("an order of nothing", function()
  -- All of it is taken off by a code; where a session was begun, it was before that.
  local function free(fn, provider)
    return with_shop(function(shop, raw)
      shop.promotion { code = "FREE", name = "free", terms = { level = "order", type = "percent",
        value = "100" } }
      shop.promotion { name = "ship", terms = { level = "shipping", type = "free" } }
      local cart = shop.cart { { (shop.product("TEA", 1000, 5)), 2 } }
      if provider then shop.must(shop.pay(cart, provider, "tok_ok")) end
      local body = shop.must(raw.store("POST", "/store/v1/carts/" .. cart .. "/promotions",
        { code = "FREE" }))
      t.equal(body.cart.total.amount, 0)
      fn(shop, raw, cart)
    end)
  end

  -- Before a version that begins no session of nothing it was begun like this.
  local function with_session_of_nothing(provider)
    return free(function(shop, raw, cart)
      local payment = raw.require "till.flow.payment"
      local offer = payment.describe(provider, { currency = "GBP", country = "GB", amount = 0 })
      assert(raw.sql.transaction(function(tx)
        return payment.start(tx, { id = cart, currency = "GBP", priced = { total = 0 } }, provider,
          { token = "tok_ok" }, offer)
      end))
      local carts, stock = raw.require "till.store.carts", raw.require "till.store.stock"
      local reservations, time = raw.require "till.store.reservations", raw.require "till.prim.time"
      assert(raw.sql.transaction(function(tx)
        return reservations.hold(tx, cart, stock.items(carts.get(cart).priced),
          time.now_ms() + 60000)
      end))
      local body = shop.must(shop.complete(cart))
      t.same({ body.type, body.order and body.order.payment_status }, { "order", "captured" })
      t.equal(shop.count("outbox", "type = 'order.paid'"), 1)
    end)
  end

  local function ends(shop, raw, cart)
    local order = shop.must(shop.complete(cart)).order
    t.equal(order.payment_status, "captured")
    t.equal(shop.count("outbox", "type = 'order.paid'"), 1)
    order = shop.must(raw.admin("POST", "/admin/v1/orders/" .. order.id .. "/fulfilments", {},
      shop.key())).order
    t.equal(order.status, "completed")
  end

  t.it("is paid, and ends when it is sent", free(ends))

  t.it("asks for no payment session, and says so", free(function(shop, raw, cart)
    local path = "/store/v1/carts/" .. cart
    t.same(#shop.must(raw.store("GET", path .. "/payment-methods")).data, 0)
    for _, provider in ipairs { "manual", "test" } do
      local status, body = shop.pay(cart, provider, "tok_ok")
      t.same({ status, body.code }, { 409, "conflict" })
      t.ok(body.detail:find("complete it", 1, true), body.detail)
    end
    t.same({ shop.count "payments", shop.inventory("TEA").reserved }, { 0, 0 })
    ends(shop, raw, cart)
  end))

  for _, provider in ipairs { "manual", "test" } do
    t.it("ends where a session was begun before: " .. provider, free(ends, provider))
    t.it("is placed with a session of nothing: " .. provider, with_session_of_nothing(provider))
  end
end)
