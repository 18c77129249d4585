local t = require "till.test"
local with_shop = require "tests.support.stock"


-- At the provider, of a cart that never became an order.
local function authorized(raw, shop)
  local cart = shop.cart { { shop.product("TEA", 999, 5), 1 } }
  local p = assert(raw.require("till.store.payments").create(nil, { cart_id = cart.id,
    provider = "test", currency = "GBP", amount = 999, data = { token = "tok_ok" } }))
  return assert(raw.require("till.flow.payment").authorize(p, {}))
end


t.describe("payments for staff", function()
  t.it("are shown, looked up, and let go of", with_shop(function(shop, raw)
    local p = authorized(raw, shop)
    local at = "/admin/v1/payments/" .. p.id
    local seen = shop.must(raw.admin("GET", at)).payment
    t.equal(seen.state, "authorized")
    t.ok(#seen.events >= 2, "created, authorized")
    t.equal((raw.admin("POST", at .. "/lookup", {}, shop.key())), 409)
    raw.sql.exec("UPDATE payments SET state = 'unknown'")
    t.equal(shop.must(raw.admin("POST", at .. "/lookup", {}, shop.key())).payment.state,
      "authorized")
    t.equal((raw.admin("POST", at .. "/void", {}, shop.key())), 422)
    local body = { reason = "twice" }
    t.equal(shop.must(raw.admin("POST", at .. "/void", body, shop.key())).payment.state, "voided")
    t.equal(shop.must(raw.admin("POST", at .. "/void", body, shop.key())).payment.state, "voided")
    t.equal(shop.count("audit_entries", "action = 'payment.void'"), 2)
    t.equal((raw.admin("GET", at:sub(1, -2) .. (at:sub(-1) == "7" and "8" or "7"))), 404)
  end))

  t.it("of an order go with the order; its entries sum to zero", with_shop(function(shop, raw)
    local cart = shop.cart { { shop.product("TEA", 999, 5), 1 } }
    shop.pay(cart, "test", "tok_ok")
    local order = shop.must(shop.complete(cart)).order
    local seen = shop.order(order.id)
    local at = "/admin/v1/payments/" .. seen.payments[1].id
    t.equal((raw.admin("POST", at .. "/void", { reason = "no" }, shop.key())), 409)
    shop.work()
    t.equal((raw.admin("POST", at .. "/void", { reason = "no" }, shop.key())), 409)
    local sum, n = 0, 0
    for _, row in ipairs(shop.must(raw.admin("GET", "/admin/v1/ledger/balance")).balance) do
      sum, n = sum + row.amount, n + 1
    end
    t.same({ sum, n > 1 }, { 0, true })
    local list = shop.must(raw.admin("GET", "/admin/v1/orders/" .. order.id .. "/ledger")).entries
    t.ok(#list > 3, "sale and capture")
  end))

  -- fn(asked): how often the provider was asked to capture until then
  local function counting(raw, fn)
    local dispatch, n = raw.require "till.plugin.dispatch", 0
    local was = dispatch.plugin
    dispatch.plugin = function(name, hook, ...)
      if hook == "payment.capture" then n = n + 1 end
      return was(name, hook, ...)
    end
    fn(function() return n end)
    dispatch.plugin = was
  end

  t.it("that were voided are not captured, and nobody is asked to", with_shop(function(shop, raw)
    counting(raw, function(asked)
      local lone = authorized(raw, shop)
      shop.must(raw.admin("POST", "/admin/v1/payments/" .. lone.id .. "/void",
        { reason = "twice" }, shop.key()))
      local cart = shop.cart { { shop.product("POT", 999, 5), 1 } }
      shop.pay(cart, "test", "tok_ok")
      local order = shop.must(shop.complete(cart)).order
      shop.must(raw.admin("POST", "/admin/v1/orders/" .. order.id .. "/cancel", {}, shop.key()))
      local entries = shop.count "ledger_entries"
      shop.work() -- the capture that was asked for when it was placed
      for _, p in ipairs { lone, shop.order(order.id).payments[1] } do
        local status, body = raw.admin("POST", "/admin/v1/payments/" .. p.id .. "/capture", {},
          shop.key())
        t.same({ status, body.code }, { 409, "conflict" })
      end
      t.same({ asked(), shop.count("payments", "state = 'voided'"), shop.count "ledger_entries",
        shop.count("payment_test_attempts", "state = 'voided'"),
        shop.count("audit_entries", "action = 'payment.capture'") }, { 0, 2, entries, 2, 0 })
    end)
  end))
end)
