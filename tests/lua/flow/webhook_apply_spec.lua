local t = require "till.test"
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"
local several = require "tests.support.several"


local function buy(shop, cart)
  shop.pay(cart, "test", "tok_ok")
  shop.must(shop.complete(cart))
  shop.work()
end


-- It was paid when nobody came back for it.
local function give_back(shop, cart, raw)
  shop.pay(cart, "test", "tok_requires_action")
  shop.complete(cart)
  raw.sql.exec("UPDATE payment_test_attempts SET state = 'captured', captured_amount = amount")
  raw.sql.exec("UPDATE stock SET on_hand = 0, reserved = 0")
  raw.sql.exec("UPDATE reservations SET state = 'expired'")
  several.later(raw, 120)
  assert(raw.require("till.flow.sweep").run())
end


-- Staff said that it never got there.
local function give_up(shop, cart, raw)
  local dispatch = raw.require "till.plugin.dispatch"
  local plugin = dispatch.plugin
  dispatch.plugin = function(name, hook, ...)
    if hook == "payment.lookup" then return { outcome = "unknown" } end
    return plugin(name, hook, ...)
  end
  shop.pay(cart, "test", "tok_timeout")
  shop.complete(cart)
  several.later(raw, 1)
  local p = raw.require("till.store.payments").of_cart(cart)[1]
  shop.must(raw.admin("POST", "/admin/v1/payments/" .. p.id .. "/resolve",
    { as = "not_found", reason = "it is not in their list" }, shop.key()))
  dispatch.plugin = plugin
end


-- fn(s): an order that is captured, or what `pay` makes of its cart; s.tells(events): its provider
-- says so when it is asked
local function with_order(fn, pay)
  return live.test(function(raw)
    local shop = make_shop(raw)
    local cart = shop.cart { { shop.product("TEA", 999, 5), 3 } };
    (pay or buy)(shop, cart, raw)
    local p = raw.require("till.store.payments").of_cart(cart)[1]
    local dispatch, n = raw.require "till.plugin.dispatch", 0
    local was, events = dispatch.plugin, {}
    dispatch.plugin = function(name, hook, ...)
      if hook ~= "webhook.apply" then return was(name, hook, ...) end
      return { payment_id = p.id, cart_id = cart, provider_ref = p.provider_ref,
        currency = p.currency, amount = p.amount, state = "captured", events = events,
        failed = {} }
    end
    local s = { raw = raw, shop = shop, payment = p }
    function s.tells(list)
      events, n = list, n + 1
      assert(raw.require("till.store.webhooks").insert("payment-test", "webhook",
        { { id = "evt_" .. n, type = "x", subject = p.provider_ref or p.id, at_ms = 0,
          body = "{}" } }))
      assert(raw.require("till.flow.webhook_run").run())
      t.equal(shop.count("webhook_events", "state = 'applied'"), n)
    end
    function s.open() -- amounts of the disputes that are told of
      local out = {}
      for i, one in ipairs(shop.must(raw.admin("GET",
        "/admin/v1/alerts?kind=payment.disputed&state=open")).data) do
        out[i] = one.detail.amount
      end
      table.sort(out)
      return out
    end
    fn(s)
  end)
end


local function dispute(amount, id)
  return { kind = "disputed", amount = amount, reference = id, reason = "fraudulent" }
end


t.describe("disputes of one payment", function()
  -- What a provider says of a payment is all of it, also what is over.
  t.it("are told each, once, and end each for itself", with_order(function(s)
    local one, two = dispute(300, "dp_one"), dispute(400, "dp_two")
    local won = { kind = "won", reference = "dp_one" }
    local lost = { kind = "lost", reference = "dp_two" }
    s.tells { one }
    s.tells { one }
    t.same(s.open(), { 300 })
    for _ = 1, 2 do
      s.tells { one, won, two }
      t.same(s.open(), { 400 })
    end
    t.equal(s.shop.count("outbox", "type = 'payment.disputed'"), 2)
    t.equal(s.raw.sql.one("SELECT state FROM payments").state, "disputed")
    s.tells { one, won, two, lost }
    t.same(s.open(), {})
    t.equal(s.raw.sql.one("SELECT lost_amount AS n FROM payments").n, 400)
  end))

  t.it("end as well where a server from before told of them by the payment alone", with_order(
    function(s)
      s.tells { dispute(300, "dp_one") }
      s.raw.sql.exec("UPDATE alerts SET subject = ? WHERE kind = 'payment.disputed'",
        s.payment.id)
      s.tells { dispute(300, "dp_one"), { kind = "won", reference = "dp_one" } }
      t.same(s.open(), {})
    end))

  t.it("are told and booked of what went back without an order", with_order(function(s)
    local function state() return s.raw.sql.one("SELECT state FROM payments").state end
    local function sums()
      local out = {}
      for _, row in ipairs(s.raw.require("till.store.ledger").balance()) do
        if row.amount ~= 0 then out[row.account] = row.amount end
      end
      return out
    end
    local all = s.payment.amount
    local there = { kind = "captured", sum = all, reference = "ch_one" }
    local back = { kind = "refunded", amount = all, reference = "re_one" }
    local one, two = dispute(all, "dp_one"), dispute(all, "dp_two")
    local won, lost = { kind = "won", reference = "dp_one" }, { kind = "lost",
      reference = "dp_two" }
    t.same({ state(), s.payment.order_id }, { "refunded" })
    s.tells { there, back }
    t.same({ state(), sums() }, { "refunded", {} })
    for _ = 1, 2 do
      s.tells { there, back, one }
      t.same({ state(), s.open(), sums() }, { "disputed", { all },
        { ["disputed:test"] = all, ["cash:test"] = -all } })
    end
    s.tells { there, back, one, won }
    t.same({ state(), s.open(), sums() }, { "refunded", {}, {} })
    s.tells { there, back, one, won, two }
    for _ = 1, 2 do
      s.tells { there, back, one, won, two, lost }
      t.same({ state(), s.open(), sums() }, { "lost", {},
        { ["losses:test"] = all, ["cash:test"] = -all } })
    end
  end, give_back))
end)


t.describe("a refund that failed", function()
  t.it("is told of, once, where it was made at the provider", with_order(function(s)
    local failed = { kind = "refund_failed", amount = 400, reference = "re_there" }
    for _ = 1, 2 do
      s.tells { failed }
      t.equal(s.shop.count("alerts", "state = 'open'"), 1)
    end
  end))
end)


t.describe("a payment that staff have given up", function()
  t.it("is let go of when its provider tells of it, and staff hear of it", with_order(function(s)
    for _ = 1, 2 do
      s.tells {}
      s.shop.work()
      t.same({ s.raw.sql.one("SELECT state FROM payments").state,
        s.shop.count("payment_test_attempts", "state = 'voided'"),
        s.shop.count("alerts", "kind = 'payment.given_back' AND state = 'open'"),
        s.shop.count("outbox", "type = 'payment.too_late' AND state = 'pending'"),
        s.shop.count "orders" }, { "failed", 1, 1, 0, 0 })
    end
  end, give_up))
end)
