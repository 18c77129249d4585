-- Sessions of a cart that is paid for in parts.
local several = require "tests.support.several"
local t = require "till.test"
local with_shop = require "tests.support.stock"

local TOTAL, session, sessions = several.TOTAL, several.session, several.sessions
local drop, cart_of, parts_of = several.drop, several.cart_of, several.parts_of
local states, at_provider, later = several.states, several.at_provider, several.later


t.describe("sessions of a cart", function()
  t.it("are refused where they do not fit, and nothing is changed", with_shop(function(shop, raw)
    local cart = cart_of(shop)
    local eur = { amount = 100, currency = "EUR" }
    for _, case in ipairs { { 0, 422, "/amount/amount" }, { -1, 422, "/amount/amount" },
      { TOTAL + 1, 422, "/amount/amount" }, { eur, 422, "/amount/currency" },
      { "700", 422, "/amount" }, { { amount = 1 }, 422, "/amount/currency" },
      { { amount = 1.5, currency = "GBP" }, 422, "/amount/amount" } } do
      local status, body = session(shop, raw, cart, case[1])
      t.same({ status, body.code, body.errors[1].pointer }, { case[2], "invalid_request", case[3] })
    end
    t.same({ shop.count("payments"), shop.count("reservations") }, { 0, 0 })
    t.equal((session(shop, raw, cart, 700)), 201)
    local status, body = session(shop, raw, cart, TOTAL - 699)
    t.same({ status, body.errors[1].detail }, { 422, "only 1699 of 2399 is left to be paid" })
  end))

  t.it("have to come to the total", with_shop(function(shop, raw)
    local cart = parts_of(shop, raw, 700, "tok_ok")
    local status, body = shop.complete(cart)
    t.same({ status, body.code, body.errors[1].pointer, body.errors[1].code },
      { 422, "cart_incomplete", "/payment_sessions", "too_little" })
    t.same({ states(raw), shop.count("payment_test_attempts") }, { { "created" }, 0 })
    session(shop, raw, cart)
    local line = select(2, raw.store("GET", "/store/v1/carts/" .. cart)).cart.lines[1].id
    shop.must(raw.store("PATCH", "/store/v1/carts/" .. cart .. "/lines/" .. line,
      { quantity = 1 }))
    t.same(sessions(raw, cart).left, -1000)
    status, body = shop.complete(cart)
    t.same({ status, body.errors[1].code }, { 422, "too_much" })
    t.same(states(raw), { "created", "created" })
    session(shop, raw, cart)
    t.equal(select(2, shop.complete(cart)).order.total.amount, TOTAL - 1000)
    t.same(states(raw), { "authorized", "voided", "authorized" })
  end))

  t.it("are five at most", with_shop(function(shop, raw)
    local cart = parts_of(shop, raw, 1, "a", 2, "a", 3, "a", 4, "a", 5, "a")
    for _ = 1, 15 do
      local status, body = session(shop, raw, cart, 6)
      t.same({ status, body.code }, { 409, "conflict" })
    end
    t.same({ session(shop, raw, cart) == 409, shop.count("payments") }, { true, 5 })
  end))

  t.it("are fifty in all, whatever became of them", with_shop(function(shop, raw)
    local cart = cart_of(shop)
    for _ = 1, 50 do t.equal((session(shop, raw, cart)), 201) end
    local status, body = session(shop, raw, cart)
    t.same({ status, body.code, shop.count("payments") }, { 409, "conflict", 50 })
    t.equal((session(shop, raw, cart, 700)), 409)
    t.equal(shop.must(shop.complete(cart)).type, "order")
  end))

  t.it("take no more data than a completion should read", with_shop(function(shop, raw)
    local cart = cart_of(shop)
    local ask = { provider = "test", data = { pad = ("x"):rep(17000) } }
    local status, body = raw.store("POST", "/store/v1/carts/" .. cart .. "/payment-sessions", ask)
    t.same({ status, body.code, body.errors[1].pointer }, { 422, "invalid_request", "/data" })
    t.equal(shop.count("payments"), 0)
    ask.data.pad = ("x"):rep(16000)
    t.equal((raw.store("POST", "/store/v1/carts/" .. cart .. "/payment-sessions", ask)), 201)
  end))

  t.it("without an amount are of the rest, and the newest of them counts", with_shop(
    function(shop, raw)
      local cart = parts_of(shop, raw, 700, "tok_ok", false, "tok_declined", false, "tok_ok")
      t.same(sessions(raw, cart), { left = 0, 700, TOTAL - 700 })
      session(shop, raw, cart, 100)
      t.same(sessions(raw, cart), { left = TOTAL - 800, 700, 100 })
      session(shop, raw, cart)
      t.equal(select(2, shop.complete(cart)).type, "order")
      t.same(states(raw), { "authorized", "voided", "voided", "authorized", "authorized" })
    end))

  t.it("are of the rest also where the goods are not held any more", with_shop(
    function(shop, raw)
      local cart = parts_of(shop, raw, 700, "tok_ok", false, "tok_declined")
      shop.complete(cart)
      later(raw, 16)
      raw.require("till.store.reservations").expire(100, 1000)
      t.equal(shop.inventory("TEA").reserved, 0)
      t.equal(select(2, session(shop, raw, cart)).payment_session.amount.amount, TOTAL - 700)
      t.equal(select(2, shop.complete(cart)).type, "order")
    end))

  t.it("of all of it take the place of parts, and parts that of one", with_shop(
    function(shop, raw)
      local cart = cart_of(shop)
      session(shop, raw, cart)
      session(shop, raw, cart, 700)
      t.same(sessions(raw, cart), { left = TOTAL - 700, 700 })
      session(shop, raw, cart, TOTAL)
      t.same(sessions(raw, cart), { left = 0, TOTAL })
      t.equal(select(2, shop.complete(cart)).type, "order")
      t.same(states(raw), { "voided", "voided", "authorized" })
    end))

  t.it("can be deleted: what is held goes back at once", with_shop(function(shop, raw)
    local cart = parts_of(shop, raw, 700, "tok_ok", false, "tok_declined")
    shop.complete(cart)
    local _, list = sessions(raw, cart)
    local other = cart_of(shop, "JAM")
    t.equal((drop(raw, other, list[1].id)), 404)
    local status, body = drop(raw, cart, list[1].id)
    t.same({ status, body.left.amount, #body.payment_sessions }, { 200, TOTAL, 0 })
    t.same({ states(raw)[1], at_provider(raw)[1] }, { "voided", "voided" })
    t.equal((drop(raw, cart, list[1].id)), 404)
    t.equal(shop.count("alerts"), 0)
    session(shop, raw, cart)
    t.equal(select(2, shop.complete(cart)).order.total.amount, TOTAL)
    t.equal((drop(raw, cart, list[1].id)), 409)
  end))

  t.it("that are deleted pay for nothing, where their provider does not answer", with_shop(
    function(shop, raw)
      local cart = parts_of(shop, raw, 700, "tok_ok", false, "tok_declined")
      shop.complete(cart)
      local _, list = sessions(raw, cart)
      local dispatch = raw.require "till.plugin.dispatch"
      local was = dispatch.plugin
      dispatch.plugin = function(name, hook, ...)
        if hook == "payment.void" or hook == "payment.lookup" then
          return { outcome = "unknown" }
        end
        return was(name, hook, ...)
      end
      t.same({ drop(raw, cart, list[1].id) == 200, sessions(raw, cart).left }, { true, TOTAL })
      dispatch.plugin = was
      t.equal(states(raw)[1], "authorized")
      later(raw, 90)
      raw.require("till.store.reservations").expire(100, 1000)
      t.equal(raw.require("till.flow.sweep").run(), 1)
      t.same({ states(raw)[1], at_provider(raw)[1] }, { "voided", "voided" })
    end))
end)
