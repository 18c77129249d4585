-- Completions that are taken back, and what if that is broken off.
local t = require "till.test"
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"


-- fn(shop, raw, cart): a cart whose placing is refused the first time, with this error.
local function with_refused(code, fn)
  return function()
    live.with(function(raw)
      local shop = make_shop(raw)
      local cart = shop.cart { { shop.product("TEA", 1000, 5), 1 } }
      shop.pay(cart, "test", "tok_ok")
      local place = raw.require "till.flow.place"
      local run = place.run
      place.run = function()
        place.run = run
        return nil, raw.require("till.util.err").new(code, "spec")
      end
      fn(shop, raw, cart)
    end)
  end
end


-- Does what `fn` is given after the function of this name did its work, once.
local function after(raw, module, name, fn)
  local m = raw.require(module)
  local was = m[name]
  m[name] = function(...)
    local result, e = was(...)
    m[name] = was
    return fn(result, e)
  end
end


local function killed() error("killed", 0) end


local function resumed(raw)
  raw.clock.skip_ms = raw.clock.skip_ms + 31000
  for _, row in ipairs(raw.require("till.store.sagas").stuck(10)) do
    raw.require("till.flow.checkout").resume(row)
  end
end


local function payment_states(raw)
  return { raw.sql.one("SELECT state FROM payments").state,
    raw.sql.one("SELECT state FROM payment_test_attempts").state }
end


-- Afterwards nothing is in the way of placing it, but that its money was given back.
local function dies_after(module, name)
  return with_refused("busy", function(shop, raw, cart)
    after(raw, module, name, killed)
    shop.complete(cart)
    t.equal(payment_states(raw)[2], "voided")
    resumed(raw)
    t.same({ shop.count("orders"), shop.count("sagas", "state = 'undone'"),
      shop.inventory("TEA").reserved }, { 0, 1, 0 })
    t.same(payment_states(raw), { "voided", "voided" })
    shop.pay(cart, "test", "tok_ok")
    t.equal((select(2, shop.complete(cart))).type, "order")
  end)
end


t.describe("a completion that is taken back", function()
  t.it("is not placed after all when its worker has died: its payment is voided",
    dies_after("till.flow.payment", "void"))

  t.it("is not placed after all when only the provider knows that it is voided",
    dies_after("till.flow.payment", "ask_void"))

  t.it("is taken back to its end before the cart, changed meanwhile, is bought anew",
    with_refused("busy", function(shop, raw, cart)
      after(raw, "till.flow.payment", "ask_void", killed)
      shop.complete(cart)
      raw.clock.skip_ms = raw.clock.skip_ms + 31000
      shop.must(raw.store("PATCH", "/store/v1/carts/" .. cart, { email = "b@example.org" }))
      local _, body = shop.complete(cart)
      t.equal(body.order, nil)
      t.same(payment_states(raw), { "voided", "voided" })
      shop.pay(cart, "test", "tok_ok")
      t.equal((select(2, shop.complete(cart))).type, "order")
    end))

  -- A jobs worker has read the flow, and is slow with those before it; meanwhile that one was taken
  -- back, and the shopper's next completion has begun and waits.
  t.it("is not the one that was begun since it was read", live.test(function(raw)
    local shop = make_shop(raw)
    local cart = shop.cart { { shop.product("TEA", 1000, 5), 1 } }
    shop.pay(cart, "test", "tok_unknown_lost")
    t.equal((shop.complete(cart)), 202)
    raw.clock.skip_ms = raw.clock.skip_ms + 31000
    local read = raw.require("till.store.sagas").stuck(10)
    t.equal(#read, 1)
    raw.clock.skip_ms = raw.clock.skip_ms + 31000
    t.equal((select(2, shop.complete(cart))).error.code, "payment_declined")
    shop.pay(cart, "test", "tok_timeout")
    t.equal((shop.complete(cart)), 202)
    raw.require("till.flow.checkout").resume(read[1])
    t.equal(payment_states(raw)[2], "authorized")
    t.equal((select(2, shop.complete(cart))).type, "order")
  end))

  -- The worker holds an authorisation; staff, at the provider, do as `state` says.
  local function done_there(state)
    return function(shop, raw, cart)
      after(raw, "till.flow.payment", "authorize", function(p)
        raw.sql.exec("UPDATE payment_test_attempts SET captured_amount = amount, state = ?", state)
        return p
      end)
      return shop.complete(cart)
    end
  end

  local function given_back(raw)
    return raw.sql.one("SELECT CAST(COALESCE(SUM(amount), 0) AS SIGNED) AS n"
      .. " FROM payment_test_refunds").n
  end

  t.it("finds that its money was captured at the provider, and gives it back",
    with_refused("promotion_refused", function(shop, raw, cart)
      local _, body = done_there "captured"(shop, raw, cart)
      t.equal(body.error.code, "promotion_refused")
      t.same(payment_states(raw), { "refunded", "refunded" })
      local p = raw.sql.one("SELECT amount, refunded_amount FROM payments")
      t.same({ given_back(raw), p.refunded_amount }, { p.amount, p.amount })
      t.same({ shop.count("orders"), shop.count("sagas", "state = 'undone'"),
        shop.inventory("TEA").reserved }, { 0, 1, 0 })
    end))

  t.it("finds that its money went back at the provider already, and asks for no more",
    with_refused("promotion_refused", function(shop, raw, cart)
      local _, body = done_there "refunded"(shop, raw, cart)
      t.equal(body.error.code, "promotion_refused")
      t.same(payment_states(raw), { "refunded", "refunded" })
      t.same({ given_back(raw), shop.count("sagas", "state = 'undone'") }, { 0, 1 })
    end))

  t.it("gives such money back once, whoever dies on the way",
    with_refused("promotion_refused", function(shop, raw, cart)
      after(raw, "till.flow.payment", "ask_refund", killed)
      done_there "captured"(shop, raw, cart)
      t.same(payment_states(raw), { "captured", "refunded" })
      resumed(raw)
      t.same(payment_states(raw), { "refunded", "refunded" })
      t.same({ given_back(raw), shop.count("sagas", "state = 'undone'") },
        { raw.sql.one("SELECT amount FROM payments").amount, 1 })
    end))

  t.it("of no outcome, and refunded at the provider, ends where it is asked for again",
    live.test(function(raw)
      local shop = make_shop(raw)
      local cart = shop.cart { { shop.product("TEA", 1000, 5), 1 } }
      shop.pay(cart, "test", "tok_timeout")
      after(raw, "till.flow.payment", "authorize", function(p, e)
        raw.sql.exec("UPDATE payment_test_attempts SET state = 'refunded'")
        return p, e
      end)
      t.equal((shop.complete(cart)), 202)
      resumed(raw)
      t.same(payment_states(raw), { "refunded", "refunded" })
      t.equal(shop.count("orders"), 0)
    end))

  t.it("sees that staff have refunded its payment at the provider",
    with_refused("promotion_refused", function(shop, raw, cart)
      after(raw, "till.flow.payment", "authorize", function(p)
        local payment = raw.require "till.flow.payment"
        assert(payment.ask_capture(p))
        raw.sql.exec("UPDATE payment_test_attempts SET state = 'refunded'")
        return payment.move(p, "captured")
      end)
      local _, body = shop.complete(cart)
      t.equal(body.error.code, "promotion_refused")
      t.same(payment_states(raw), { "refunded", "refunded" })
    end))
end)


t.describe("a flow whose cart is an order already", function()
  -- A completion at once was there before it: its payment is the order's.
  local function bought(raw, provider, token)
    local shop = make_shop(raw)
    local cart = shop.cart { { shop.product("TEA", 1000, 5), 1 } }
    shop.pay(cart, provider, token)
    local order = shop.must(shop.complete(cart)).order
    raw.sql.exec("INSERT INTO sagas (name, aggregate, state, step, data, claim, claimed_until,"
      .. " created_at, updated_at) VALUES ('checkout', ?, 'running', 1, JSON_OBJECT('cart_id', ?,"
      .. " 'cart_version', 0), 7, '2026-01-01', NOW(3), NOW(3)) ON DUPLICATE KEY UPDATE"
      .. " state = 'running', step = 1, data = VALUES(data), claim = 7,"
      .. " claimed_until = '2026-01-01'", cart, cart)
    return shop, cart, order, raw.require("till.store.sagas").find("checkout", cart)
  end

  for provider, token in pairs { manual = false, test = "tok_ok" } do
    t.it("leaves the order its money when it goes back: " .. provider, live.test(function(raw)
      local shop, _, order, row = bought(raw, provider, token or nil)
      t.ok(raw.require("till.flow.checkout_flow"):abandon(row, {}))
      t.equal(raw.sql.one("SELECT state FROM payments").state, "authorized")
      local p = shop.must(raw.admin("GET", "/admin/v1/orders/" .. order.id)).order.payments[1]
      t.equal((raw.admin("POST", "/admin/v1/payments/" .. p.id .. "/capture", {}, shop.key())), 200)
    end))
  end

  t.it("leaves the order its money where another one was begun since", live.test(function(raw)
    local shop, cart, order, row = bought(raw, "manual")
    local payment = raw.require "till.flow.payment"
    local paid = raw.sql.one("SELECT amount FROM payments").amount
    local other = assert(raw.sql.transaction(function(tx)
      return payment.start(tx, { id = cart, currency = "GBP", priced = { total = paid } },
        "manual", nil, {})
    end))
    row.data = { cart_id = cart, cart_version = 0, currency = "GBP", total = paid,
      head = { country = "GB" }, confirmed = { other.id } }
    raw.require("till.flow.checkout_flow"):run(cart, row.data, { begun = row })
    t.equal(raw.sql.one("SELECT state FROM payments WHERE order_id IS NOT NULL").state,
      "authorized")
    t.equal(shop.must(raw.admin("GET", "/admin/v1/orders/" .. order.id)).order.payments[1].state,
      "authorized")
  end))
end)
