-- Alerts that staff end by hand.
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"
local refs = require "tests.support.refs"
local t = require "till.test"


-- fn(s): an order that is captured; a refund of it fails
local function with_order(fn)
  return live.test(function(raw)
    local shop = make_shop(raw)
    local cart = shop.cart { { shop.product("TEA", 999, 5), 3 } }
    shop.pay(cart, "test", "tok_ok")
    local s = { shop = shop, raw = raw, order = shop.must(shop.complete(cart)).order }
    shop.work()
    refs.named(raw)
    local p = raw.require("till.store.payments").of_cart(cart)[1]
    function s.fails(ref, amount)
      if ref:find "^re_%d" then refs.come_back(raw) end
      assert(raw.sql.transaction(function(tx)
        local done, e = raw.require("till.flow.booking").book(tx, p.id,
          { kind = "refund_failed", reference = ref, amount = amount })
        if done == nil then return nil, e end
        return true
      end))
    end
    function s.alert() return shop.must(raw.admin("GET", "/admin/v1/alerts")).data[1] end
    function s.open() return shop.count("alerts", "state = 'open'") end
    function s.close(id, reason)
      return raw.admin("POST", ("/admin/v1/alerts/%d/close"):format(id), { reason = reason },
        shop.key())
    end
    fn(s)
  end)
end


t.describe("an alert", function()
  t.it("of a refund that was made at the provider is ended by staff, who say why", with_order(
    function(s)
      s.fails("re_there", 400)
      local one = s.alert()
      t.ok(one.detail.next_step:find("/close", 1, true))
      t.same({ (s.close(one.id)), (s.close(one.id + 1000, "x")), s.open() }, { 422, 404, 1 })
      for _ = 1, 2 do
        t.equal(s.shop.must(s.close(one.id, "two bank transfers")).alert.state, "closed")
      end
      local now = s.alert().detail
      t.same({ s.open(), now.closed_because, now.amount,
        s.shop.count("audit_entries", "action = 'alert.close'") },
        { 0, "two bank transfers", 400, 1 })
      s.fails("re_there", 400)
      t.equal(s.open(), 0, "it is known")
    end))

  t.it("of money that is not the shop's is ended by staff", with_order(function(s)
    s.fails("re_there", 400)
    s.raw.sql.exec "UPDATE alerts SET kind = 'settlement.missing_here', subject = 'test:txn_1'"
    t.equal((s.close(s.alert().id, "of the other shop on this account")), 200)
    t.equal(s.open(), 0)
  end))

  t.it("that a row waits for, or that ends by itself, is not", with_order(function(s)
    s.shop.must(s.raw.admin("POST", "/admin/v1/orders/" .. s.order.id .. "/refunds",
      { amount = { amount = 300, currency = "GBP" }, reason = "x" }, s.shop.key()))
    s.fails("re_1", 300)
    local status, body = s.close(s.alert().id, "x")
    t.same({ status, body.code, s.open() }, { 409, "conflict", 1 })
    t.ok(body.detail:find("retry", 1, true), body.detail)
    s.raw.sql.exec "UPDATE alerts SET kind = 'stock.low'"
    t.equal((s.close(s.alert().id, "x")), 409)
    t.same({ s.open(), s.shop.count("audit_entries", "action = 'alert.close'") }, { 1, 0 })
  end))
end)
