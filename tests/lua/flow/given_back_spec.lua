-- A payment that was charged, pays for no order, and went back in part at its provider by itself.
local t = require "till.test"
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"
local several = require "tests.support.several"


-- fn(shop, raw): it waits for its shopper, who has paid there; what it pays for is sold out.
local function with_charged(fn)
  return function()
    live.with(function(raw)
      local shop = make_shop(raw)
      local cart = shop.cart { { shop.product("TEA", 1000, 5), 1 } }
      shop.pay(cart, "test", "tok_requires_action")
      shop.complete(cart)
      raw.sql.exec("UPDATE payment_test_attempts SET state = 'captured',"
        .. " captured_amount = amount")
      raw.sql.exec("INSERT INTO payment_test_refunds (refund_key, idem_key, amount)"
        .. " SELECT 'dash', idem_key, 300 FROM payment_test_attempts")
      raw.sql.exec("UPDATE stock SET on_hand = 0, reserved = 0")
      raw.sql.exec("UPDATE reservations SET state = 'expired'")
      fn(shop, raw)
    end)
  end
end


local function lose_first_answer(raw)
  local dispatch = raw.require "till.plugin.dispatch"
  local was, is_lost = dispatch.plugin, false
  dispatch.plugin = function(name, hook, ...)
    local answer, e = was(name, hook, ...)
    if is_lost or hook ~= "payment.refund" or answer.outcome ~= "refunded" then return answer, e end
    is_lost = true
    return { outcome = "unknown" }
  end
end


local function sweep_twice(raw)
  for _ = 1, 2 do
    several.later(raw, 120)
    raw.require("till.flow.sweep").run()
  end
end


local function amounts(raw, text)
  local out = {}
  for i, row in ipairs(raw.sql.query(text)) do out[i] = row.amount end
  return out
end


-- -> its amount, the amounts of its refunds in our books
local function given_back(shop, raw)
  local p = raw.sql.one "SELECT state, amount, refunded_amount FROM payments"
  t.same({ p.state, p.refunded_amount }, { "refunded", p.amount })
  t.same(amounts(raw, "SELECT amount FROM payment_test_refunds ORDER BY amount"),
    { 300, p.amount - 300 })
  t.equal(raw.sql.one("SELECT CAST(COALESCE(SUM(amount), 0) AS SIGNED) AS n FROM ledger_entries"
    .. " WHERE account LIKE 'suspense:%'").n, 0)
  t.equal(shop.count("orders"), 0)
  return p.amount, amounts(raw, "SELECT amount FROM payment_events WHERE kind = 'refunded'"
    .. " ORDER BY seq")
end


t.describe("a charge without an order of which a part went back", function()
  t.it("is refused as a whole, so its rest is given back", with_charged(function(shop, raw)
    sweep_twice(raw)
    local all, booked = given_back(shop, raw)
    t.same(booked, { 300, all - 300 })
  end))

  t.it("is given back once where the answer is lost", with_charged(function(shop, raw)
    lose_first_answer(raw)
    sweep_twice(raw)
    local all, booked = given_back(shop, raw)
    t.same(booked, { all })
  end))
end)
