local provider = require "tests.support.provider"
local t = require "till.test"


t.describe("a capture whose provider gives no answer", function()
  t.it("keeps nothing else of its order waiting", provider.with(function(shop, raw, say)
    local cart = shop.cart { { shop.product("TEA", 1000, 5), 1 } }
    shop.must(shop.pay(cart, "test", "tok_ok"))
    local order = shop.must(shop.complete(cart)).order
    say["payment.capture"], say["payment.lookup"] = { outcome = "unknown" }, { outcome = "unknown" }
    shop.work()
    t.equal(shop.count("outbox", "type = 'payment.capture' AND state = 'pending'"), 1)
    t.equal((raw.admin("POST", "/admin/v1/orders/" .. order.id .. "/fulfilments", {},
      shop.key())), 201)
    shop.work()
    t.equal(shop.count("outbox", "type = 'order.fulfilled' AND state = 'done'"), 1)
    t.equal(shop.count("outbox", "state = 'pending' AND type LIKE 'order.%'"), 0)
    say["payment.capture"], say["payment.lookup"] = nil, nil
    raw.sql.exec "UPDATE outbox SET available_at = NOW(3)"
    shop.work()
    t.equal(shop.order(order.id).payment_status, "captured")
  end, function(_, has) return has end))
end)
