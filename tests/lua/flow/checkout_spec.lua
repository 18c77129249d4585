local t = require "till.test"
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"


local function with_shop(fn)
  return function()
    live.with(function(shop) fn(make_shop(shop), shop) end)
  end
end


t.describe("completing a cart", function()
  t.it("makes one order, takes the stock and writes what belongs to it", with_shop(function(shop)
    local tea = shop.product("TEA", 1000, 5)
    local cart = shop.cart { { tea, 2 } }
    t.equal((shop.pay(cart)), 201)
    t.equal(shop.inventory("TEA").reserved, 2)
    local status, body = shop.complete(cart)
    t.same({ status, body.type, body.order.total.amount }, { 200, "order", 2399 })
    local stock = shop.inventory("TEA")
    t.same({ stock.on_hand, stock.reserved }, { 3, 0 })
    local sum = shop.live.sql.one("SELECT CAST(SUM(amount) AS SIGNED) AS n FROM ledger_entries")
    t.equal(sum.n, 0)
    t.equal(shop.count("outbox", "type = 'order.placed'"), 1)
    t.equal(shop.count("sagas", "state = 'done'"), 1)
    t.equal(body.order.payment_status, "awaiting")
  end))

  t.it("answers the same order however often it is completed", with_shop(function(shop)
    local tea = shop.product("TEA", 1000, 5)
    local cart = shop.cart { { tea, 1 } }
    shop.pay(cart)
    local key = shop.key()
    local _, first = shop.complete(cart, key)
    local _, again, headers = shop.complete(cart, key)
    local _, other = shop.complete(cart)
    t.same({ again.order.id, other.order.id }, { first.order.id, first.order.id })
    t.equal(headers["idempotent-replayed"], "true")
    t.same({ shop.count("orders"), shop.inventory("TEA").on_hand }, { 1, 4 })
  end))

  t.it("needs an Idempotency-Key and a whole cart", with_shop(function(shop, raw)
    local cart = shop.cart { { shop.product("TEA", 1000, 5), 1 } }
    local status, body = shop.complete(cart, {})
    t.same({ status, body.code }, { 400, "idempotency_key_missing" })
    status, body = shop.complete(cart)
    t.same({ status, body.code, #body.errors }, { 422, "cart_incomplete", 1 })
    local bare = shop.must(raw.store("POST", "/store/v1/carts", {})).cart
    status, body = shop.complete(bare.id)
    t.same({ status, body.code, #body.errors }, { 422, "cart_incomplete", 4 })
    t.equal(shop.inventory("TEA").reserved, 0)
  end))

  t.it("gives the cart back when the price has changed, and then sells at the new one",
    with_shop(function(shop, raw)
      local tea = shop.product("TEA", 1000, 5)
      local cart = shop.cart { { tea, 1 } }
      shop.pay(cart)
      local target = "/admin/v1/variants/" .. tea .. "/prices"
      shop.must(raw.admin("PUT", target, { prices = { { currency = "GBP", amount = 1200 } } }))
      local _, body = shop.complete(cart)
      t.same({ body.error.code, body.cart.total.amount }, { "price_changed", 1599 })
      _, body = shop.complete(cart) -- as who has not heard it
      t.ok(body.detail:match("^the cart comes to another total"))
      shop.pay(cart)
      _, body = shop.complete(cart)
      t.equal(body.order.total.amount, 1599)
    end))

  t.it("holds nothing for a cart that became an order meanwhile", with_shop(function(shop, raw)
    local cart = shop.cart { { shop.product("TEA", 1000, 5), 1 } }
    shop.pay(cart)
    local payment = raw.require "till.flow.payment"
    local describe = payment.describe
    payment.describe = function(...)
      payment.describe = describe
      shop.complete(cart)
      return describe(...)
    end
    local status, body = shop.pay(cart)
    t.same({ status, body.code }, { 409, "cart_completed" })
    t.same({ shop.inventory("TEA").on_hand, shop.inventory("TEA").reserved }, { 4, 0 })
    t.equal(shop.count("payments"), 1)
  end))

  t.it("never sells the last unit twice", with_shop(function(shop)
    local tea = shop.product("TEA", 1000, 1)
    local a, b = shop.cart { { tea, 1 } }, shop.cart { { tea, 1 } }
    shop.pay(a)
    local status, body = shop.pay(b)
    t.same({ status, body.code }, { 409, "sold_out" })
    t.equal((select(2, shop.complete(a))).type, "order")
    t.equal(shop.inventory("TEA").available, 0)
  end))

  t.it("takes from a hold whose time is over", with_shop(function(shop, raw)
    local tea = shop.product("TEA", 1000, 1)
    local a, b = shop.cart { { tea, 1 } }, shop.cart { { tea, 1 } }
    shop.pay(a)
    raw.clock.skip_ms = 16 * 60000
    t.equal((shop.pay(b)), 201)
    local _, body = shop.complete(a)
    t.same({ body.type, body.error.code }, { "cart", "sold_out" })
    t.equal((select(2, shop.complete(b))).type, "order")
  end))
end)


t.describe("paying", function()
  t.it("captures from the outbox once the order is placed", with_shop(function(shop, raw)
    local cart = shop.cart { { shop.product("TEA", 1000, 5), 1 } }
    shop.pay(cart, "test", "tok_ok")
    local _, body = shop.complete(cart)
    t.equal(body.order.payment_status, "authorized")
    shop.work()
    local order = shop.must(raw.admin("GET", "/admin/v1/orders/" .. body.order.id)).order
    t.same({ order.payment_status, order.payments[1].state }, { "captured", "captured" })
    local sum = raw.sql.one("SELECT CAST(SUM(amount) AS SIGNED) AS n FROM ledger_entries"
      .. " WHERE account = 'receivable'")
    t.equal(sum.n, 0)
    t.equal(shop.count("outbox", "state = 'dead'"), 0)
  end))

  t.it("gives cart and stock back when the card is declined", with_shop(function(shop)
    local cart = shop.cart { { shop.product("TEA", 1000, 5), 2 } }
    shop.pay(cart, "test", "tok_declined")
    local status, body = shop.complete(cart)
    t.same({ status, body.type, body.error.code }, { 200, "cart", "payment_declined" })
    t.same({ body.cart.state, shop.inventory("TEA").reserved }, { "open", 0 })
    shop.pay(cart, "test", "tok_ok")
    t.equal((select(2, shop.complete(cart))).type, "order")
  end))

  t.it("waits for the shopper who has to confirm", with_shop(function(shop)
    local cart = shop.cart { { shop.product("TEA", 1000, 5), 1 } }
    shop.pay(cart, "test", "tok_requires_action")
    local _, body = shop.complete(cart)
    t.same({ body.type, body.error.code, body.error.action.type },
      { "cart", "payment_requires_action", "redirect" })
    t.equal(shop.inventory("TEA").reserved, 1)
    _, body = shop.complete(cart, nil, { data = { action_done = true } })
    t.equal(body.type, "order")
    t.equal(shop.count("payment_test_attempts"), 1)
  end))

  t.it("looks up what was never answered and charges once", with_shop(function(shop, raw)
    local cart = shop.cart { { shop.product("TEA", 1000, 5), 1 } }
    shop.pay(cart, "test", "tok_timeout")
    local key = shop.key()
    local status, body = shop.complete(cart, key)
    t.same({ status, body.type }, { 202, "processing" })
    status, body = raw.store("PATCH", "/store/v1/carts/" .. cart, { email = "b@example.org" })
    t.same({ status, body.code }, { 409, "completion_in_progress" })
    status, body = shop.complete(cart, key)
    t.same({ status, body.type }, { 200, "order" })
    t.same({ shop.count("payment_test_attempts"), shop.count("orders") }, { 1, 1 })
  end))

  t.it("lets go of a payment that never reached the provider", with_shop(function(shop, raw)
    local cart = shop.cart { { shop.product("TEA", 1000, 5), 1 } }
    shop.pay(cart, "test", "tok_unknown_lost")
    t.equal((shop.complete(cart)), 202)
    t.equal((shop.complete(cart)), 202, "it may be on its way still")
    raw.clock.skip_ms = 41000
    local status, body = shop.complete(cart)
    t.same({ status, body.type, body.error.code }, { 200, "cart", "payment_declined" })
    t.equal(shop.inventory("TEA").reserved, 0)
  end))

  t.it("resumes what a worker dropped after the payment", with_shop(function(shop, raw)
    local cart = shop.cart { { shop.product("TEA", 1000, 5), 1 } }
    shop.pay(cart, "test", "tok_ok")
    local place = raw.require "till.flow.place"
    local run = place.run
    place.run = function() error("killed", 0) end
    t.equal((shop.complete(cart)), 500)
    place.run = run
    t.equal((shop.complete(cart)), 409)
    raw.clock.skip_ms = 31000
    local checkout = raw.require "till.flow.checkout"
    for _, row in ipairs(raw.require("till.store.sagas").stuck(10)) do
      t.ok(checkout.resume(row))
    end
    t.same({ shop.count("orders"), shop.count("payment_test_attempts"),
      shop.inventory("TEA").on_hand }, { 1, 1, 4 })
    t.equal((select(2, shop.complete(cart))).type, "order")
  end))

  t.it("places what was paid for, whatever the code that resumes it would make of it",
    with_shop(function(shop, raw)
      local cart = shop.cart { { shop.product("TEA", 1000, 5), 1 } }
      shop.pay(cart, "test", "tok_ok")
      local place, price = raw.require "till.flow.place", raw.require "till.rule.price"
      local run, calculate = place.run, price.calculate
      place.run = function() error("killed", 0) end
      t.equal((shop.complete(cart)), 500)
      place.run = run
      price.calculate = function(given) -- of another generation
        given.lines[1].unit_price = given.lines[1].unit_price + 100
        return calculate(given)
      end
      raw.clock.skip_ms = 31000
      for _, row in ipairs(raw.require("till.store.sagas").stuck(10)) do
        t.ok(raw.require("till.flow.checkout").resume(row))
      end
      price.calculate = calculate
      local order = (select(2, shop.complete(cart))).order
      local owed = raw.sql.one("SELECT CAST(SUM(amount) AS SIGNED) AS n FROM ledger_entries"
        .. " WHERE account = 'receivable' AND amount > 0")
      t.equal(owed.n, order.total.amount)
      local kept = raw.sql.one("SELECT CAST(JSON_VALUE(trace, '$.total') AS SIGNED) AS total"
        .. " FROM order_lines")
      t.equal(kept.total, order.lines[1].total.amount)
    end))
end)


-- Runs what is stuck, as a jobs worker would, half a minute later.
local function half_a_minute_later(raw, fn)
  raw.clock.skip_ms = raw.clock.skip_ms + 31000
  if fn then fn() end
  for _, row in ipairs(raw.require("till.store.sagas").stuck(10)) do
    raw.require("till.flow.checkout").resume(row)
  end
end


-- Does what `fn` is given after the function of this name did its work.
local function after(raw, module, name, fn)
  local m = raw.require(module)
  local was = m[name]
  m[name] = function(...)
    local result, e = was(...)
    m[name] = was
    return fn(result, e, ...)
  end
end


local function killed() error("killed", 0) end


t.describe("a completion that is broken off", function()
  local function paid_cart(shop)
    local tea = shop.product("TEA", 1000, 5)
    local cart = shop.cart { { tea, 1 } }
    shop.pay(cart, "test", "tok_ok")
    return cart
  end

  t.it("believes its row when the answer to COMMIT is lost", with_shop(function(shop, raw)
    local cart = paid_cart(shop)
    after(raw, "till.flow.place", "run", function(_, _, _, env)
      env.saga.state, env.saga.step = "running", 2
      return nil, raw.require("till.util.err").new("conn_lost", "the answer was lost")
    end)
    local _, body = shop.complete(cart)
    t.equal(body.type, "order")
    t.equal(shop.count("sagas", "state <> 'done'"), 0)
  end))

  t.it("is over once the cart is an order", with_shop(function(shop, raw)
    local cart = paid_cart(shop)
    shop.complete(cart)
    raw.sql.exec("UPDATE sagas SET state = 'waiting', next_at = '2020-01-01'")
    half_a_minute_later(raw)
    t.equal(shop.count("sagas", "state = 'done'"), 1)
  end))

  t.it("gives the money back when the shopper changed the cart", with_shop(function(shop, raw)
    local cart = paid_cart(shop)
    after(raw, "till.flow.payment", "authorize", killed)
    t.equal((shop.complete(cart)), 500)
    half_a_minute_later(raw, function()
      shop.must(raw.store("PATCH", "/store/v1/carts/" .. cart, { email = "b@example.org" }))
    end)
    t.equal(raw.sql.one("SELECT state FROM payment_test_attempts").state, "voided")
    t.same({ shop.count("orders"), shop.inventory("TEA").reserved }, { 0, 0 })
  end))

  t.it("is not taken back because somebody asked while its runner held it",
    with_shop(function(shop, raw)
      local cart = paid_cart(shop)
      after(raw, "till.flow.payment", "authorize", killed)
      t.equal((shop.complete(cart)), 500)
      raw.sql.exec("UPDATE carts SET claimed_until = '2020-01-01'")
      local status, body = shop.complete(cart)
      t.same({ status, body.code }, { 409, "completion_in_progress" })
      half_a_minute_later(raw)
      t.same({ shop.count("orders"), shop.count("payment_test_attempts"),
        raw.sql.one("SELECT state FROM payment_test_attempts").state }, { 1, 1, "authorized" })
    end))

  t.it("says the same again when the payment was refused", with_shop(function(shop)
    local cart = shop.cart { { shop.product("TEA", 1000, 5), 1 } }
    shop.pay(cart, "test", "tok_declined")
    for _ = 1, 2 do
      local status, body = shop.complete(cart)
      t.same({ status, body.type, body.error.code }, { 200, "cart", "payment_declined" })
    end
  end))

  t.it("never buys what the cart held before it was changed", with_shop(function(shop, raw)
    local cart = paid_cart(shop)
    after(raw, "till.flow.payment", "authorize", killed)
    shop.complete(cart)
    half_a_minute_later(raw, function()
      shop.must(raw.store("PATCH", "/store/v1/carts/" .. cart, { email = "b@example.org" }))
      raw.sql.exec("UPDATE carts SET state = 'completing', claim = 1, claimed_until = '2020-01-01'")
    end)
    t.same({ shop.count("orders"), shop.count("sagas", "state = 'undone'") }, { 0, 1 })
  end))

  t.it("refunds what was captured with the authorization", with_shop(function(shop, raw)
    local cart = paid_cart(shop)
    after(raw, "till.flow.payment", "authorize", function(p)
      local payment = raw.require "till.flow.payment"
      assert(payment.ask_capture(p))
      return payment.move(p, "captured")
    end)
    raw.require("till.flow.place").run = function()
      return nil, raw.require("till.util.err").new("promotion_refused", "used up")
    end
    local _, body = shop.complete(cart)
    t.equal(body.error.code, "promotion_refused")
    t.equal(raw.sql.one("SELECT state FROM payment_test_attempts").state, "refunded")
    t.equal(raw.sql.one("SELECT state FROM payments").state, "refunded")
  end))

  t.it("tells staff when the provider refuses to capture", with_shop(function(shop, raw)
    local cart = shop.cart { { shop.product("TEA", 1000, 5), 1 } }
    shop.pay(cart, "test", "tok_capture_declined")
    local _, body = shop.complete(cart)
    shop.work()
    local target = "/admin/v1/orders/" .. body.order.id .. "/timeline"
    local events = shop.must(raw.admin("GET", target)).data
    t.equal(events[#events].type, "capture_refused")
  end))

  t.it("loses only what was held for too long", with_shop(function(shop, raw)
    local tea, cup = shop.product("TEA", 1000, 5), shop.product("CUP", 1000, 5)
    local cart = shop.cart { { tea, 1 }, { cup, 1 } }
    shop.pay(cart)
    raw.sql.exec("UPDATE reservations r JOIN variants v ON v.id = r.variant_id"
      .. " SET r.expires_at = '2020-01-01' WHERE v.sku = 'TEA'")
    t.equal(raw.require("till.store.reservations").expire(10, 1000), 1)
    t.same({ shop.inventory("TEA").reserved, shop.inventory("CUP").reserved }, { 0, 1 })
  end))
end)
