local t = require "till.test"
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"


-- fn(ask, raw, shop): ask(answer) captures once; the provider says that, and the key it was asked
-- under comes back with the answer to staff. A real one repeats under a key what it said before.
local function with_order(fn)
  return function()
    live.with(function(raw)
      local shop = make_shop(raw)
      local cart = shop.cart { { shop.product("TEA", 999, 5), 3 } }
      shop.pay(cart, "test", "tok_ok")
      shop.must(shop.complete(cart))
      local dispatch = raw.require "till.plugin.dispatch"
      local was, said = dispatch.plugin, {}
      local function ask(answer)
        local key
        dispatch.plugin = function(name, hook, request)
          if hook ~= "payment.capture" then return was(name, hook, request) end
          key = request.idem_key
          said[key] = said[key] or answer ~= "unknown" and answer or nil
          if said[key] == "captured" then return was(name, hook, request) end
          return { outcome = said[key] or "unknown", reason = "the card expired" }
        end
        local p = shop.must(raw.admin("GET", "/admin/v1/payments")).data[1]
        local status, body = raw.admin("POST", "/admin/v1/payments/" .. p.id .. "/capture", {},
          shop.key())
        dispatch.plugin = was
        return key, status, body
      end
      fn(ask, raw, shop)
    end)
  end
end


t.describe("a capture", function()
  t.it("that was declined is asked for under another key, and may then succeed", with_order(
    function(ask, raw, shop)
      local first, status, body = ask "declined"
      t.same({ status, body.code }, { 402, "payment_declined" })
      local second = ask "declined"
      local third, last = ask "captured"
      t.ok(first ~= second and second ~= third and first ~= third, first)
      t.equal(last, 200)
      t.equal(shop.count("orders", "payment_status = 'captured'"), 1)
      t.equal(raw.sql.one("SELECT capture_declines AS n FROM payments").n, 2)
    end))

  t.it("of no outcome is asked for under the same key until it has one", with_order(
    function(ask, raw)
      local first, status = ask "unknown"
      t.ok(status >= 500, status)
      local second = ask "unknown"
      t.equal(second, first)
      t.equal((ask "declined"), first)
      t.ok((ask "unknown") ~= first, "that one is over")
      t.equal(raw.sql.one("SELECT capture_declines AS n FROM payments").n, 1)
    end))
end)


t.describe("a capture that the shop asks for by itself", function()
  local OPEN = "kind = 'payment.capture_refused' AND state = 'open'"

  t.it("is told to staff where it is refused for good, until it is captured", live.test(
    function(raw)
      local shop = make_shop(raw)
      local cart = shop.cart { { shop.product("TEA", 999, 5), 3 } }
      shop.pay(cart, "test", "tok_capture_declined")
      local order = shop.must(shop.complete(cart)).order
      shop.work()
      t.equal(shop.count("alerts", OPEN), 1)
      local told = shop.must(raw.admin("GET", "/admin/v1/alerts?state=open")).data[1].detail
      t.same({ told.order_id, told.amount, told.reason ~= nil },
        { order.id, order.total.amount, true })
      raw.sql.exec "UPDATE payment_test_attempts SET token = 'tok_ok'"
      shop.must(raw.admin("POST", "/admin/v1/payments/" .. told.payment_id .. "/capture", {},
        shop.key()))
      assert(raw.require("till.flow.capture_alerts").close())
      t.equal(shop.count("alerts", OPEN), 0)
    end))

  t.it("is not, where the order was cancelled before", live.test(function(raw)
    local shop = make_shop(raw)
    local cart = shop.cart { { shop.product("TEA", 999, 5), 3 } }
    shop.pay(cart, "test", "tok_ok")
    local order = shop.must(shop.complete(cart)).order
    shop.must(raw.admin("POST", "/admin/v1/orders/" .. order.id .. "/cancel", { reason = "no" },
      shop.key()))
    shop.work()
    t.equal(shop.count("alerts"), 0)
  end))
end)
