-- What a completion with somebody outside writes before it asks him, and what it leaves to the end.
local t = require "till.test"
local with_shop = require "tests.support.stock"


local function ready(shop, quantity)
  local cart = shop.cart { { shop.product("TEA", 1000, 5), quantity } }
  shop.pay(cart, "test", "tok_ok")
  return cart
end


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


local function dies_in(raw, module, name, fn)
  local m = raw.require(module)
  local was = m[name]
  m[name] = function() error("killed", 0) end
  fn()
  m[name] = was
end


local function resumed(raw)
  raw.clock.skip_ms = raw.clock.skip_ms + 31000
  for _, row in ipairs(raw.require("till.store.sagas").stuck(10)) do
    t.ok(raw.require("till.flow.checkout").resume(row))
  end
end


t.describe("a flow that is begun", function()
  t.it("has its cart, its row and its stock with one transaction", with_shop(function(shop, raw)
    local cart, n = ready(shop, 2), nil
    dies_in(raw, "till.flow.payment", "authorize", function()
      n = calls_of(raw, "till.store.reservations", "hold", function() shop.complete(cart) end)
    end)
    t.equal(n, 0, "it was done with the claim")
    t.equal(shop.count("sagas", "state = 'running' AND step = 1"), 1)
    t.equal(shop.count("carts", "state = 'completing'"), 1)
    t.equal(shop.count("reservations", "state = 'held'"
      .. " AND expires_at > NOW(3) + INTERVAL 55 MINUTE"), 1)
    resumed(raw)
    t.same({ shop.count("orders"), shop.inventory("TEA").on_hand, shop.inventory("TEA").reserved },
      { 1, 3, 0 })
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
    t.equal(shop.count("payments", "state = 'authorized'"), 1)
    resumed(raw)
    t.same({ shop.count("orders"), shop.count("payment_test_attempts"), shop.count("payments") },
      { 1, 1, 1 })
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
