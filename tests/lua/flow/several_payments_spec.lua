-- Several payments of one cart, and of the order that it becomes.
local several = require "tests.support.several"
local t = require "till.test"
local with_shop = require "tests.support.stock"

local TOTAL, session, sessions = several.TOTAL, several.session, several.sessions
local parts_of, states, at_provider = several.parts_of, several.states, several.at_provider
local sums, of_order, later = several.sums, several.of_order, several.later


t.describe("several payments of a cart", function()
  t.it("pay for one order, and each is captured", with_shop(function(shop, raw)
    local cart = parts_of(shop, raw, 700, "tok_ok", false, "tok_ok")
    t.same(sessions(raw, cart), { left = 0, 700, TOTAL - 700 })
    local status, body = shop.complete(cart)
    t.same({ status, body.type, body.order.payment_status }, { 200, "order", "authorized" })
    t.same(states(raw), { "authorized", "authorized" })
    t.equal(shop.count("outbox", "type = 'payment.capture'"), 2)
    shop.work()
    local order = of_order(shop, raw, body.order)
    t.same({ order.payment_status, #order.payments }, { "captured", 2 })
    t.same({ order.payments[1].amount.amount, order.payments[2].amount.amount },
      { TOTAL - 700, 700 })
    local found = sums(raw)
    t.same({ found["cash:test"], found.receivable }, { TOTAL, nil })
    t.equal(shop.count("outbox", "type = 'order.paid'"), 1)
    t.equal(shop.count("payments", "order_id IS NULL"), 0)
    local seen = shop.must(raw.store("GET", "/store/v1/orders/" .. order.id)).order.payments
    t.same({ #seen, seen[1].amount.amount, seen[2].state }, { 2, TOTAL - 700, "captured" })
  end))

  t.it("are captured one by one, and the order is paid with the last", with_shop(
    function(shop, raw)
      local cart = parts_of(shop, raw, 700, "tok_capture_declined", false, "tok_ok")
      local _, body = shop.complete(cart)
      shop.work()
      local order = of_order(shop, raw, body.order)
      t.equal(order.payment_status, "partially_captured")
      t.equal(shop.count("outbox", "type = 'order.paid'"), 0)
      raw.sql.exec "UPDATE payment_test_attempts SET token = 'tok_ok'"
      local status = raw.admin("POST", "/admin/v1/payments/" .. order.payments[2].id .. "/capture",
        {}, shop.key())
      t.same({ status, of_order(shop, raw, order).payment_status }, { 200, "captured" })
      t.equal(shop.count("outbox", "type = 'order.paid'"), 1)
    end))

  t.it("of a provider that is paid later leave the order waiting", with_shop(function(shop, raw)
    local cart = parts_of(shop, raw, 700, "tok_ok")
    t.equal((session(shop, raw, cart, nil, nil, "manual")), 201)
    local _, body = shop.complete(cart)
    t.equal(body.order.payment_status, "awaiting")
    shop.work()
    local order = of_order(shop, raw, body.order)
    t.same({ order.payment_status, states(raw) }, { "awaiting", { "captured", "authorized" } })
    shop.must(raw.admin("POST", "/admin/v1/payments/" .. order.payments[1].id .. "/capture", {},
      shop.key()))
    t.equal(of_order(shop, raw, order).payment_status, "captured")
    t.same({ sums(raw)["cash:test"], sums(raw)["cash:manual"] }, { 700, TOTAL - 700 })
  end))

  t.it("are authorized once, however often it is completed", with_shop(function(shop, raw)
    local cart, key = parts_of(shop, raw, 700, "tok_ok", false, "tok_ok"), shop.key()
    local _, one = shop.complete(cart, key)
    local _, again = shop.complete(cart, key)
    local _, other = shop.complete(cart)
    t.same({ again.order.id, other.order.id }, { one.order.id, one.order.id })
    t.same({ shop.count("orders"), shop.count("payment_test_attempts") }, { 1, 2 })
  end))
end)


t.describe("ways to pay", function()
  t.it("are those for what is left, or for the part that is asked about", with_shop(
    function(shop, raw)
      local cart = parts_of(shop, raw, 700, "tok_ok")
      local capabilities = raw.require "till.flow.capabilities"
      local offers, asked = capabilities.offers, {}
      capabilities.offers = function(provider, about)
        if provider == "test" then asked[#asked + 1] = about.amount end
        return offers(provider, about)
      end
      local path = "/store/v1/carts/" .. cart .. "/payment-methods"
      shop.must(raw.store("GET", path))
      shop.must(raw.store("GET", path .. "?amount=300"))
      capabilities.offers = offers
      t.same(asked, { TOTAL - 700, 300 })
    end))
end)


t.describe("the second of two", function()
  t.it("is declined: the first stays, and another one is chosen for the rest", with_shop(
    function(shop, raw)
      local cart = parts_of(shop, raw, 700, "tok_ok", false, "tok_declined")
      local status, body = shop.complete(cart)
      t.same({ status, body.type, body.error.code }, { 200, "cart", "payment_declined" })
      t.same(states(raw), { "authorized", "declined" })
      t.equal(select(2, shop.complete(cart)).error.code, "payment_declined")
      t.equal(shop.inventory("TEA").reserved, 2)
      t.same(sessions(raw, cart), { left = TOTAL - 700, 700 })
      local _, made = session(shop, raw, cart)
      t.equal(made.payment_session.amount.amount, TOTAL - 700)
      status, body = shop.complete(cart)
      t.same({ status, body.type }, { 200, "order" })
      t.same(states(raw), { "authorized", "declined", "authorized" })
      t.equal(#of_order(shop, raw, body.order).payments, 2)
    end))

  t.it("is not sent where the first is declined", with_shop(function(shop, raw)
    local cart = parts_of(shop, raw, 700, "tok_declined", false, "tok_ok")
    for _ = 1, 2 do t.equal(select(2, shop.complete(cart)).error.code, "payment_declined") end
    t.same(states(raw), { "declined", "created" })
    t.equal((session(shop, raw, cart, 700)), 201)
    local status, body = shop.complete(cart)
    -- it gave way to the part that was begun after it
    t.same({ status, body.errors[1].code }, { 422, "too_little" })
    t.equal((session(shop, raw, cart)), 201)
    t.equal(select(2, shop.complete(cart)).type, "order")
    t.same(states(raw), { "declined", "voided", "authorized", "authorized" })
  end))

  t.it("waits for the shopper: he comes back, and it is an order", with_shop(function(shop, raw)
    local cart = parts_of(shop, raw, 700, "tok_requires_action", 300, "tok_requires_action", false,
      "tok_ok")
    t.equal(select(2, shop.complete(cart)).error.code, "payment_requires_action")
    t.same(states(raw), { "requires_action", "created", "created" })
    t.equal(select(2, shop.complete(cart, nil, { data = { action_done = true } })).error.code,
      "payment_requires_action")
    t.same(states(raw), { "authorized", "requires_action", "created" })
    t.equal(select(2, shop.complete(cart)).error.code, "payment_requires_action")
    local _, body = shop.complete(cart, nil, { data = { action_done = true } })
    t.equal(body.type, "order")
    t.same(states(raw), { "authorized", "authorized", "authorized" })
    t.equal(#of_order(shop, raw, body.order).payments, 3)
  end))

  t.it("is looked up where its provider was silent", with_shop(function(shop, raw)
    local cart = parts_of(shop, raw, 700, "tok_ok", false, "tok_timeout")
    t.equal((shop.complete(cart)), 202)
    t.equal(states(raw)[1], "authorized")
    later(raw, 2)
    local flow = raw.require "till.flow.checkout"
    for _, row in ipairs(raw.require("till.store.sagas").stuck(20)) do flow.resume(row) end
    t.same({ shop.count("orders"), states(raw) }, { 1, { "authorized", "authorized" } })
    t.equal(shop.count("payments", "order_id IS NOT NULL"), 2)
  end))

  t.it("is given back with the first where the order cannot be placed", with_shop(
    function(shop, raw)
      local cart = parts_of(shop, raw, 700, "tok_ok", false, "tok_ok")
      local place = raw.require "till.flow.place"
      local was = place.run
      place.run = function() return nil, raw.require("till.util.err").new("sold_out", "spec") end
      t.equal(select(2, shop.complete(cart)).error.code, "sold_out")
      place.run = was
      t.same({ states(raw), at_provider(raw) }, { { "voided", "voided" }, { "voided", "voided" } })
      t.same({ shop.count("orders"), shop.inventory("TEA").reserved }, { 0, 0 })
      t.equal((session(shop, raw, cart)), 201)
      t.equal(select(2, shop.complete(cart)).order.total.amount, TOTAL)
    end))
end)


t.describe("payments of a cart that nobody comes back for", function()
  t.it("are given back, both", with_shop(function(shop, raw)
    local cart = parts_of(shop, raw, 700, "tok_ok", false, "tok_requires_action")
    shop.complete(cart)
    later(raw, 90)
    t.equal(raw.require("till.flow.sweep").run(), 2)
    t.same({ states(raw), at_provider(raw) }, { { "voided", "voided" }, { "voided", "voided" } })
    t.equal(shop.count("orders"), 0)
    t.equal(select(2, shop.complete(cart)).error.code, "payment_declined")
    later(raw, 90)
    raw.require("till.store.reservations").expire(100, 1000)
  end))

  t.it("become the order that they pay for, where the other is paid by then", with_shop(
    function(shop, raw)
      local cart = parts_of(shop, raw, 700, "tok_ok", false, "tok_requires_action")
      shop.complete(cart)
      raw.sql.exec "UPDATE payment_test_attempts SET state = 'authorized'"
      later(raw, 17)
      raw.require("till.flow.sweep").run()
      t.same({ shop.count("orders"), states(raw) }, { 1, { "authorized", "authorized" } })
      t.equal(shop.count("payments", "order_id IS NOT NULL"), 2)
    end))

  t.it("stay while nobody knows of one of them", with_shop(function(shop, raw)
    local cart = parts_of(shop, raw, 700, "tok_ok", false, "tok_requires_action")
    shop.complete(cart)
    local dispatch = raw.require "till.plugin.dispatch"
    local was = dispatch.plugin
    raw.sql.exec "UPDATE payments SET state = 'unknown' WHERE state = 'requires_action'"
    dispatch.plugin = function(name, hook, ...)
      if hook == "payment.lookup" then return { outcome = "unknown" } end
      return was(name, hook, ...)
    end
    later(raw, 17)
    t.equal(raw.require("till.flow.sweep").run(), 0)
    dispatch.plugin = was
    t.same(states(raw), { "authorized", "unknown" })
    raw.sql.exec "UPDATE payment_test_attempts SET state = 'authorized'"
    later(raw, 17)
    raw.require("till.flow.sweep").run()
    t.equal(shop.count("orders"), 1)
  end))

  t.it("by its provider's word alone are an order when all are paid", with_shop(
    function(shop, raw)
      local cart = parts_of(shop, raw, 700, "tok_requires_action", false, "tok_requires_action")
      local settled, store = raw.require "till.flow.settled", raw.require "till.store.payments"
      local function told(n)
        local p = store.of_cart(cart)[n]
        raw.sql.exec("UPDATE payment_test_attempts SET state = 'authorized' WHERE idem_key = ?",
          p.id)
        return settled.go_on(p)
      end
      t.equal(select(2, shop.complete(cart)).error.code, "payment_requires_action")
      t.same({ told(2), shop.count("orders"), states(raw) },
        { true, 0, { "authorized", "created" } })
      t.equal(select(2, shop.complete(cart)).error.code, "payment_requires_action")
      t.same({ told(1), shop.count("orders"), states(raw) },
        { true, 1, { "authorized", "authorized" } })
      t.same({ told(1), shop.count("orders") }, { true, 1 })
    end))

  t.it("make no order of less than its total, whoever asks for it", with_shop(function(shop, raw)
    local cart = parts_of(shop, raw, 700, "tok_ok", false, "tok_declined")
    shop.complete(cart)
    local list = raw.require("till.store.payments").of_cart(cart)
    local env = { once = { claim = true }, claim_key = function() return nil end,
      only_payment = list[2].id }
    local key_id = raw.require("till.store.carts").get(cart).key_id
    local result = raw.require("till.flow.checkout").complete(
      { auth = { kind = "provider", key_id = key_id } }, cart, env)
    t.same({ result.type, result.error.code }, { "cart", "payment_declined" })
    local done, e = raw.require("till.flow.place").run({ payments = { list[2].id },
      payment_id = list[2].id, total = TOTAL, currency = "GBP", head = {} }, {})
    t.same({ done, e.code }, { nil, "payment_declined" })
    t.same({ states(raw), shop.count("orders") }, { { "authorized", "declined" }, 0 })
  end))
end)
