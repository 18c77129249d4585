-- What a completion with somebody outside writes before it asks him.
local t = require "till.test"
local dying = require "tests.support.dying"
local with_shop = require "tests.support.stock"

local ready, dies_in, resumed = dying.ready, dying.dies_in, dying.resumed


-- Calls of one function of a module while fn runs.
local function calls_of(raw, module, name, fn)
  local m, n = raw.require(module), 0
  local was = m[name]
  m[name] = function(...)
    n = n + 1
    return was(...)
  end
  local good, e = pcall(fn)
  m[name] = was
  if not good then error(e, 0) end
  return n
end


t.describe("a flow that is begun", function()
  t.it("has key, cart, row, payment and stock with one transaction", with_shop(function(shop, raw)
    local cart, n = ready(shop, 2), nil
    dies_in(raw, "till.flow.payment", "authorize", function()
      n = calls_of(raw, "till.store.reservations", "hold", function()
        shop.complete(cart, { ["idempotency-key"] = "K" })
      end)
    end)
    t.equal(n, 0, "it was done with the claim")
    t.same({ shop.count("payments", "state = 'sending'"),
      shop.count("payment_events", "kind = 'send'"),
      shop.count("idempotency_records", "idem_key = 'K'") }, { 1, 1, 1 })
    t.equal(shop.count("sagas", "state = 'running' AND step = 1"), 1)
    t.equal(shop.count("carts", "state = 'completing'"), 1)
    t.equal(shop.count("reservations", "state = 'held'"
      .. " AND expires_at > NOW(3) + INTERVAL 55 MINUTE"), 1)
    raw.clock.skip_ms = raw.clock.skip_ms + 10000
    resumed(raw)
    t.same({ shop.count("orders"), shop.count("payments", "state = 'failed'"),
      shop.count("payment_test_attempts"), shop.inventory("TEA").reserved }, { 0, 1, 0, 0 },
      "it was sent for all that is known, and is looked up")
  end))

  t.it("is so by a worker that does not remember the cart", with_shop(function(shop, raw)
    local cart = ready(shop, 2)
    raw.require("till.flow.cart").forget(cart)
    local n = calls_of(raw, "till.store.carts", "claim", function()
      t.equal(select(2, shop.complete(cart)).type, "order")
    end)
    t.equal(n, 0)
  end))

  t.it("goes step by step where what was held is not any more", with_shop(function(shop, raw)
    local cart = ready(shop, 2)
    local n = calls_of(raw, "till.store.reservations", "hold", function()
      local hold_time = raw.require "till.store.hold_time"
      local reservations = raw.require "till.store.reservations"
      local was = reservations.extend_with
      reservations.extend_with = function(...) -- just before it is written
        raw.sql.exec "UPDATE reservations SET expires_at = '2020-01-01'"
        reservations.expire(10, 1000)
        return hold_time.extend_with(...)
      end
      local payment, held = raw.require "till.flow.payment", nil
      local authorize = payment.authorize
      payment.authorize = function(...)
        held = shop.count("reservations", "state = 'held'")
        return authorize(...)
      end
      t.equal(select(2, shop.complete(cart)).type, "order")
      reservations.extend_with, payment.authorize = was, authorize
      t.equal(held, 1, "before the provider was asked")
    end)
    t.equal(n, 1)
    t.equal(shop.count("sagas", "state = 'done'"), 1)
    t.same({ shop.inventory("TEA").on_hand, shop.inventory("TEA").reserved }, { 3, 0 })
  end))

  t.it("is none where another payment was begun meanwhile", with_shop(function(shop, raw)
    local cart, payments = ready(shop, 1), raw.require "till.store.payments"
    local send, step = payments.send, nil
    payments.send = function(...)
      payments.send = send
      shop.pay(cart, "test", "tok_ok")
      return send(...)
    end
    local payment = raw.require "till.flow.payment"
    local authorize = payment.authorize
    payment.authorize = function(p, env)
      step = p.state
      return authorize(p, env)
    end
    t.equal(select(2, shop.complete(cart)).type, "order")
    t.equal(step, "created", "it is the newer one, and was not sent with the claim")
    t.same({ shop.count("payments", "state = 'authorized'"),
      shop.count("payments", "state = 'voided'") }, { 1, 1 })
  end))

  t.it("is none where the key has a record", with_shop(function(shop, raw)
    local cart, records = ready(shop, 1), raw.require "till.store.records"
    local claim = records.claim
    records.claim = function(script, once, ms)
      records.claim = claim
      raw.require("till.prim.idem").claim(once.scope, once.key, once.print, 60000)
      return claim(script, once, ms)
    end
    local status, body = shop.complete(cart)
    t.same({ status, body.code }, { 409, "idempotency_in_flight" })
    t.same({ shop.count("sagas"), shop.count("payments", "state = 'created'"),
      shop.count("carts", "state = 'open'") }, { 0, 1, 1 })
  end))

  t.it("is begun once, whoever was there before", with_shop(function(shop, raw)
    local cart = ready(shop, 1)
    shop.pay(cart, "test", "tok_declined")
    t.equal(select(2, shop.complete(cart)).error.code, "payment_declined")
    shop.pay(cart, "test", "tok_ok")
    t.equal(select(2, shop.complete(cart)).type, "order")
    t.equal(shop.count "sagas", 1)
    t.equal(shop.count("payment_test_attempts", "state = 'authorized'"), 1)
    t.ok(raw)
  end))
end)


t.describe("a step that is saved by the next", function()
  t.it("is done again by who resumes it, and asks for nothing twice", with_shop(function(shop, raw)
    local cart = ready(shop, 1)
    dies_in(raw, "till.flow.place", "run", function() shop.complete(cart) end)
    t.equal(shop.count("sagas", "state = 'running' AND step = 1"), 1)
    t.equal(shop.count("payments", "state = 'sending'"), 1)
    resumed(raw)
    t.same({ shop.count("orders"), shop.count("payment_test_attempts"), shop.count("payments"),
      shop.count("payments", "state = 'authorized'") }, { 1, 1, 1, 1 })
  end))

  t.it("is saved where the next one fails, and is taken back", with_shop(function(shop, raw)
    local cart = ready(shop, 1)
    local place, err = raw.require "till.flow.place", raw.require "till.util.err"
    local run = place.run
    place.run = function() return nil, err.new("unknown_outcome", "spec") end
    t.equal((shop.complete(cart)), 202)
    t.equal(shop.count("sagas", "state = 'waiting' AND step = 2"), 1)
    place.run = function() return nil, err.new("promotion_refused", "spec") end
    raw.clock.skip_ms = raw.clock.skip_ms + 31000
    shop.complete(cart)
    place.run = run
    t.equal(shop.count("payments", "state = 'voided'"), 1)
    t.equal(shop.inventory("TEA").reserved, 0)
  end))
end)


t.describe("who asks again under his key, and was not told how it ended", function()
  local function undone_with(shop, raw, code)
    local cart, key = ready(shop, 1), { ["idempotency-key"] = "again" }
    local place, err = raw.require "till.flow.place", raw.require "till.util.err"
    local run = place.run
    place.run = function() return nil, err.new(code, "spec") end
    t.equal(select(2, shop.complete(cart, key)).error.code, code)
    place.run = run
    raw.sql.exec "DELETE FROM idempotency_records"
    return cart, key
  end

  t.it("hears it, though it might go well now", with_shop(function(shop, raw)
    local cart, key = undone_with(shop, raw, "sold_out")
    for _ = 1, 2 do
      local status, body = shop.complete(cart, key)
      t.same({ status, body.type, body.error.code, body.error.detail },
        { 200, "cart", "sold_out", "spec" })
    end
    t.same({ shop.count("orders"), shop.inventory("TEA").reserved }, { 0, 0 })
  end))

  t.it("buys with the payment that he has chosen since", with_shop(function(shop, raw)
    local cart, key = undone_with(shop, raw, "sold_out")
    raw.clock.skip_ms = raw.clock.skip_ms + 1000
    shop.pay(cart, "test", "tok_ok")
    t.equal(select(2, shop.complete(cart, key)).type, "order")
  end))

  t.it("is not kept from trying again under another", with_shop(function(shop, raw)
    local cart = undone_with(shop, raw, "sold_out")
    shop.pay(cart, "test", "tok_ok")
    t.equal(select(2, shop.complete(cart)).type, "order")
  end))

  t.it("hears of the cart as it is once he has changed it", with_shop(function(shop, raw)
    local cart, key = undone_with(shop, raw, "sold_out")
    shop.must(raw.store("PATCH", "/store/v1/carts/" .. cart, { email = "b@example.org" }))
    shop.pay(cart, "test", "tok_ok")
    t.equal(select(2, shop.complete(cart, key)).type, "order")
  end))
end)
