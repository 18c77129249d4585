-- An order that cannot be read when its cancellation was booked, its money being back already.
local err = require "till.util.err"
local t = require "till.test"
local with_shop = require "tests.support.stock"

local KEY = { ["idempotency-key"] = "the-key" }


local function captured(shop)
  local cart = shop.cart { { shop.product("TEA", 1000, 5), 2 } }
  shop.must(shop.pay(cart, "test", "tok_ok"))
  local _, body = shop.complete(cart)
  shop.work()
  return body.order.id
end


-- The next read within a transaction fails.
local function fail_read(orders)
  local get = orders.get
  orders.get = function(id, tx)
    if not tx then return get(id) end
    orders.get = get
    return nil, err.new("conn_lost", "spec")
  end
end


t.describe("a cancellation whose order cannot be read again", function()
  t.it("is under way, and done once under the same key", with_shop(function(shop, raw)
    local target = "/admin/v1/orders/" .. captured(shop) .. "/cancel"
    local orders = raw.require "till.store.orders"
    fail_read(orders)
    local status = raw.admin("POST", target, { reason = "spec" }, KEY)
    t.equal(status, 202)
    status = raw.admin("POST", target, { reason = "spec" }, KEY)
    t.equal(status, 200)
    t.same({ shop.inventory("TEA").on_hand, shop.count("payment_test_refunds"),
      shop.count("payment_events", "kind = 'refunded'") }, { 5, 1, 1 })
  end))
end)
