local t = require "till.test"
local with_shop = require "tests.support.stock"


t.describe("an Idempotency-Key of a guest", function()
  t.it("is of his cart: another guest may have the same", with_shop(function(shop)
    local tea = shop.product("TEA", 1000, 9)
    local a, b = shop.cart { { tea, 1 } }, shop.cart { { tea, 1 } }
    local key = { ["idempotency-key"] = "complete" }
    shop.must(shop.pay(a))
    shop.must(shop.pay(b))
    local status, first = shop.complete(a, key)
    t.same({ status, first.type }, { 200, "order" })
    local other, second = shop.complete(b, key)
    t.same({ other, second.type }, { 200, "order" })
    t.ok(first.order.id ~= second.order.id)
    local again, same, headers = shop.complete(a, key)
    t.same({ again, same.order.id, headers["idempotent-replayed"] },
      { 200, first.order.id, "true" })
    t.equal(shop.count "orders", 2)
  end))
end)
