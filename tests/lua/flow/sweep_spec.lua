-- Payments that were left, workers that are late, and providers that are gone.
local t = require "till.test"
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"


local function with_cart(token, fn)
  return function()
    live.with(function(raw)
      local shop = make_shop(raw)
      local cart = shop.cart { { shop.product("TEA", 1000, 5), 1 } }
      shop.pay(cart, "test", token)
      fn(shop, raw, cart)
    end)
  end
end


local function later(raw, minutes)
  raw.clock.skip_ms = raw.clock.skip_ms + minutes * 60000
end


local function states(raw)
  return { raw.sql.one("SELECT state FROM payments ORDER BY id LIMIT 1").state,
    raw.sql.one("SELECT state FROM payment_test_attempts ORDER BY idem_key LIMIT 1").state }
end


local function confirmed(raw)
  raw.sql.exec("UPDATE payment_test_attempts SET state = 'authorized'")
end


-- What is paid can be no order any more.
local function sold_out(raw)
  raw.sql.exec("UPDATE stock SET on_hand = 0, reserved = 0")
  raw.sql.exec("UPDATE reservations SET state = 'expired'")
end


local function open(shop, kind)
  return shop.count("alerts", ("kind = '%s' AND state = 'open'"):format(kind))
end


local function sweep(raw)
  return raw.require("till.flow.sweep").run()
end


t.describe("a payment that was left", function()
  t.it("becomes the order that was paid, where it can", with_cart("tok_requires_action",
    function(shop, raw, cart)
      shop.complete(cart)
      confirmed(raw)
      later(raw, 17)
      t.equal(sweep(raw), 1)
      t.same({ shop.count("orders"), states(raw)[1], states(raw)[2] },
        { 1, "authorized", "authorized" })
      t.equal(shop.count("outbox", "type = 'payment.abandoned'"), 0)
    end))

  t.it("is asked for again where its provider says nothing, and staff hear of it in the end",
    with_cart("tok_requires_action", function(shop, raw, cart)
      shop.complete(cart)
      local dispatch = raw.require "till.plugin.dispatch"
      local was = dispatch.plugin
      dispatch.plugin = function(name, hook, ...)
        if hook == "payment.lookup" then return { outcome = "unknown" } end
        return was(name, hook, ...)
      end
      later(raw, 17)
      t.equal(sweep(raw), 0)
      t.equal(shop.count("alerts", "kind = 'payment.silent'"), 0)
      later(raw, 400)
      t.equal(sweep(raw), 0)
      dispatch.plugin = was
      t.equal(states(raw)[1], "requires_action")
      t.equal(open(shop, "payment.silent"), 1)
      later(raw, 17)
      sold_out(raw)
      t.equal(sweep(raw), 1)
      later(raw, 1)
      sweep(raw)
      t.same({ states(raw)[1], open(shop, "payment.silent") }, { "voided", 0 })
    end))

  t.it("is voided once nothing is held for it, and staff are told once",
    with_cart("tok_requires_action", function(shop, raw, cart)
      t.equal(select(2, shop.complete(cart)).error.code, "payment_requires_action")
      confirmed(raw)
      later(raw, 10)
      t.equal(sweep(raw), 0)
      t.same(states(raw), { "requires_action", "authorized" })
      later(raw, 7)
      sold_out(raw)
      t.equal(sweep(raw), 1)
      t.same(states(raw), { "voided", "voided" })
      t.equal(shop.count("outbox", "type = 'payment.abandoned'"), 1)
      later(raw, 7)
      t.equal(sweep(raw), 0)
      t.same({ shop.count("alerts"), open(shop, "payment.abandoned") }, { 1, 0 })
      raw.sql.exec("UPDATE stock SET on_hand = 5")
      local _, body = shop.complete(cart)
      t.same({ body.type, body.error.code }, { "cart", "payment_declined" })
      t.ok(body.error.detail:find("pay again", 1, true), body.error.detail)
      shop.pay(cart, "test", "tok_ok")
      t.equal(select(2, shop.complete(cart)).type, "order")
    end))

  t.it("is left to the flow that waits for it", with_cart("tok_timeout", function(shop, raw, cart)
    local dispatch = raw.require "till.plugin.dispatch"
    local was = dispatch.plugin
    dispatch.plugin = function(name, hook, ...)
      if hook == "payment.lookup" then return { outcome = "unknown" } end
      return was(name, hook, ...)
    end
    t.equal((shop.complete(cart)), 202)
    dispatch.plugin = was
    later(raw, 90)
    t.equal(sweep(raw), 0)
    t.equal(states(raw)[2], "authorized")
  end))

  t.it("is not let go of by a pass that has lost the cart", with_cart("tok_requires_action",
    function(shop, raw, cart)
      shop.complete(cart)
      confirmed(raw)
      later(raw, 17)
      local payment = raw.require "till.flow.payment"
      local settle = payment.settle
      payment.settle = function(p, ...)
        payment.settle = settle
        local found, e = settle(p, ...)
        later(raw, 3)
        t.equal(select(2, shop.complete(cart)).type, "order")
        return found, e
      end
      t.equal(sweep(raw), 0)
      t.same(states(raw), { "authorized", "authorized" })
    end))

  t.it("keeps a completion away while it is let go of", with_cart("tok_requires_action",
    function(shop, raw, cart)
      shop.complete(cart)
      confirmed(raw)
      later(raw, 17)
      sold_out(raw)
      local payment = raw.require "till.flow.payment"
      local void, status, code = payment.void, nil, nil
      payment.void = function(...)
        payment.void = void
        local body
        status, body = shop.complete(cart)
        code = body.code
        return void(...)
      end
      t.equal(sweep(raw), 1)
      t.same({ status, code }, { 409, "completion_in_progress" })
      t.same({ shop.count("orders"), states(raw)[2] }, { 0, "voided" })
    end))

  t.it("is let go of by the next pass where the first died after it was marked",
    with_cart("tok_requires_action", function(shop, raw, cart)
      shop.complete(cart)
      confirmed(raw)
      later(raw, 17)
      sold_out(raw)
      local payment = raw.require "till.flow.payment"
      local void = payment.void
      payment.void = function()
        payment.void = void
        error("killed", 0)
      end
      pcall(sweep, raw)
      t.equal(states(raw)[2], "authorized")
      later(raw, 7)
      t.equal(sweep(raw), 1)
      t.same(states(raw), { "voided", "voided" })
      t.equal(shop.count("outbox", "type = 'payment.abandoned'"), 1)
    end))
end)


t.describe("a worker that lost its flow", function()
  t.it("sends nothing any more", with_cart("tok_late", function(shop, raw, cart)
    local payment = raw.require "till.flow.payment"
    local authorize = payment.authorize
    raw.require("till.flow.checkout_begin").can = function() return false end
    payment.authorize = function(...)
      payment.authorize = authorize
      raw.sql.exec("UPDATE sagas SET claim = claim + 1")
      return authorize(...)
    end
    shop.complete(cart)
    t.same({ raw.sql.one("SELECT state FROM payments").state,
      shop.count("payment_test_attempts") }, { "created", 0 })
  end))

  t.it("lets go of what it hears of too late, and writes that down before",
    with_cart("tok_late", function(shop, raw, cart)
      local dispatch = raw.require "till.plugin.dispatch"
      local was = dispatch.plugin
      local written
      dispatch.plugin = function(name, hook, about)
        if hook == "payment.void" then
          written = shop.count("outbox", "type = 'payment.too_late'")
        end
        local answer, e = was(name, hook, about)
        if hook == "payment.authorize" then
          raw.sql.exec("UPDATE payments SET state = 'failed'")
          return { outcome = "unknown" } -- and the answer is lost as well
        end
        return answer, e
      end
      shop.complete(cart)
      dispatch.plugin = was
      t.equal(written, 1)
      t.same(states(raw), { "failed", "voided" })
    end))

  -- What looks at it meanwhile and finds nothing puts nothing off.
  local function found_too_soon(state)
    return with_cart("tok_ok", function(shop, raw)
      local payment, store = raw.require "till.flow.payment", raw.require "till.store.payments"
      local payment_id = raw.require("till.util.id").text("pay",
        raw.sql.one("SELECT id FROM payments").id)
      store.move(nil, payment_id, "created", "sending")
      if state == "unknown" then store.move(nil, payment_id, "sending", "unknown") end
      local sent_ms = raw.require("till.prim.time").now_ms()
      local _, e = payment.settle(store.get(payment_id))
      t.same({ e.code, store.get(payment_id).state }, { "unknown_outcome", state })
      t.ok(math.abs(e.known_at_ms - sent_ms - 40000) < 10000, e.known_at_ms - sent_ms)
      raw.clock.skip_ms = raw.clock.skip_ms + 41000
      raw.require("till.store.abandoned").touch(payment_id)
      _, e = payment.settle(store.get(payment_id))
      t.same({ e.code, store.get(payment_id).state, shop.count("orders") },
        { "payment_declined", "failed", 0 })
    end)
  end

  t.it("is not overtaken by a look-up that finds nothing yet", found_too_soon "sending")

  t.it("is not either where its answer was lost", found_too_soon "unknown")
end)


-- As after a reload without it; -> the function that brings it back.
local function without_plugin(raw)
  local dispatch, err = raw.require "till.plugin.dispatch", raw.require "till.util.err"
  local has, waits, plugin = dispatch.has, dispatch.waits, dispatch.plugin
  dispatch.has = function(hook, name) return name ~= "payment-test" and has(hook, name) end
  dispatch.waits = function() return true end
  dispatch.plugin = function(name, ...)
    if name == "payment-test" then return nil, err.new("not_found", "there is no plugin") end
    return plugin(name, ...)
  end
  return function() dispatch.has, dispatch.waits, dispatch.plugin = has, waits, plugin end
end


t.describe("a provider between session and completion", function()
  t.it("that is gone is told of, and nothing is taken", with_cart("tok_ok",
    function(shop, raw, cart)
      local dispatch = raw.require "till.plugin.dispatch"
      local has, waits = dispatch.has, dispatch.waits
      dispatch.has = function(hook, name) return name ~= "payment-test" and has(hook, name) end
      dispatch.waits = function() return true end
      local _, body = shop.complete(cart)
      dispatch.has, dispatch.waits = has, waits
      t.same({ body.type, body.error and body.error.code }, { "cart", "payment_provider_unknown" })
      t.same({ shop.count("payment_test_attempts"), shop.count("orders") }, { 0, 0 })
    end))

  t.it("that is gone after it was asked leaves the outcome open until it is back",
    with_cart("tok_timeout", function(shop, raw, cart)
      t.equal((shop.complete(cart)), 202)
      local back = without_plugin(raw)
      t.equal((shop.complete(cart)), 202)
      t.equal(raw.sql.one("SELECT state FROM payments").state, "unknown")
      local saga = shop.must(raw.admin("GET", "/admin/v1/sagas?aggregate=" .. cart)).data[1]
      t.ok(saga.error:find("payment-test is not loaded", 1, true), saga.error)
      back()
      t.equal(select(2, shop.complete(cart)).type, "order")
    end))

  t.it("that is gone when staff capture is named, and nothing is changed", with_cart("tok_ok",
    function(shop, raw, cart)
      local order = shop.must(shop.complete(cart)).order
      local at = "/admin/v1/payments/" .. shop.must(raw.admin("GET", "/admin/v1/orders/"
        .. order.id)).order.payments[1].id
      local back = without_plugin(raw)
      local status, body = raw.admin("POST", at .. "/capture", {}, shop.key())
      t.equal(status, 503)
      t.ok(body.detail:find("payment-test is not loaded", 1, true), body.detail)
      t.equal(shop.must(raw.admin("GET", at)).payment.state, "authorized")
      back()
      t.equal(shop.must(raw.admin("POST", at .. "/capture", {}, shop.key())).payment.state,
        "captured")
    end))

  t.it("that offers nothing any more still has its order captured", with_cart("tok_ok",
    function(shop, raw, cart)
      local payment, place = raw.require "till.flow.payment", raw.require "till.flow.place"
      local describe, run = payment.describe, place.run
      function place.run(...) -- once it is authorized
        payment.describe = function() return nil end
        return run(...)
      end
      t.equal(select(2, shop.complete(cart)).type, "order")
      t.ok(payment.describe ~= describe)
      payment.describe, place.run = describe, run
      t.equal(shop.count("outbox", "type = 'payment.capture'"), 1)
    end))

  t.it("that captured another amount is looked at by staff", with_cart("tok_timeout",
    function(shop, raw, cart)
      local dispatch = raw.require "till.plugin.dispatch"
      local was = dispatch.plugin
      dispatch.plugin = function(name, hook, ...)
        if hook == "payment.authorize" then return { outcome = "unknown" } end
        if hook ~= "payment.lookup" then return was(name, hook, ...) end
        return { outcome = "captured", captured_amount = 1 }
      end
      shop.complete(cart)
      shop.complete(cart)
      dispatch.plugin = was
      local saga = shop.must(raw.admin("GET", "/admin/v1/sagas?state=parked")).data[1]
      t.ok(saga and saga.error:find("was captured with 1", 1, true), saga and saga.error)
      t.equal(shop.count("orders"), 0)
    end))
end)
