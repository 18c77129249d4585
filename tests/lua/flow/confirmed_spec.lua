-- Payments that the shopper has chosen and not confirmed, while a flow goes on without him.
local dying = require "tests.support.dying"
local provider = require "tests.support.provider"
local several = require "tests.support.several"
local t = require "till.test"

local dies_in = dying.dies_in


local function as_it_is(_, has) return has end


-- Whoever ran it died as he asked, and had named none.
local function drop(raw)
  raw.sql.exec("UPDATE sagas SET state = 'running', tries = 0, stuck_since = NULL, next_at = NULL,"
    .. " claimed_until = '2020-01-01', data = JSON_REMOVE(data, '$.payment_id', '$.payments')")
  several.later(raw, 10)
end


local function resume(raw)
  for _, row in ipairs(raw.require("till.store.sagas").stuck(20)) do
    raw.require("till.flow.checkout").resume(row)
  end
end


local function tell(raw, say, cart)
  local p = raw.require("till.store.payments").of_cart(cart)
  p = p[#p]
  say["webhook.apply"] = { payment_id = p.id, cart_id = cart, provider_ref = p.provider_ref or "x",
    currency = p.currency, amount = p.amount, state = "authorized", events = {}, failed = {} }
  assert(raw.require("till.store.webhooks").insert("payment-test", "webhook", { { id = "evt_one",
    type = "x", subject = "x", at_ms = 0, body = "{}" } }))
  raw.require("till.flow.webhook_run").run()
end


-- The first is asked for, its answer is lost, and so is the worker; the second is chosen since.
local function chosen_anew(shop, raw, say)
  local cart = several.parts_of(shop, raw, false, "tok_ok")
  local lost = { outcome = "unknown" }
  local plugin = raw.require("till.plugin.dispatch").plugin
  say["payment.authorize"] = function(about)
    say["payment.authorize"] = nil
    plugin("payment-test", "payment.authorize", about)
    return lost
  end
  say["payment.lookup"] = lost
  t.equal((shop.complete(cart)), 202)
  say["payment.lookup"] = nil
  drop(raw)
  t.equal((several.session(shop, raw, cart, nil, "tok_ok")), 201)
  return cart
end


local function pays(shop, raw, ...)
  t.same(several.states(raw), { ... })
  t.equal(shop.count("orders"), 1)
end


t.describe("a session that was begun and not confirmed", function()
  t.it("is not sent by who resumes the flow: the one that was confirmed pays", provider.with(
    function(shop, raw, say)
      chosen_anew(shop, raw, say)
      resume(raw)
      t.same(several.states(raw), { "authorized", "voided" })
      t.same(several.at_provider(raw), { "authorized" })
      t.equal(shop.count("orders"), 1)
    end, as_it_is))

  t.it("is not sent by the word of the provider", provider.with(function(shop, raw, say)
    local cart = chosen_anew(shop, raw, say)
    tell(raw, say, cart)
    t.same(several.states(raw), { "authorized", "voided" })
    t.same(several.at_provider(raw), { "authorized" })
    t.equal(shop.count("orders"), 1)
  end, as_it_is))

  t.it("stays as it is where the other one was declined: he completes with it", provider.with(
    function(shop, raw, say)
      local cart = chosen_anew(shop, raw, say)
      raw.sql.exec "UPDATE payment_test_attempts SET state = 'declined'"
      resume(raw)
      t.same({ several.at_provider(raw), shop.count "orders" }, { { "declined" }, 0 })
      t.equal((several.session(shop, raw, cart, nil, "tok_ok")), 201)
      t.equal((shop.complete(cart)), 200)
      t.equal(shop.count("orders"), 1)
    end, as_it_is))
end)


t.describe("what was there when he completed", function()
  t.it("is sent by who resumes the flow, each of several", provider.with(
    function(shop, raw, say)
      local cart = several.parts_of(shop, raw, 700, "tok_ok", 500, "tok_ok", false, "tok_ok")
      say["payment.authorize"], say["payment.lookup"] = { outcome = "unknown" },
        { outcome = "unknown" }
      t.equal((shop.complete(cart)), 202)
      t.same(several.states(raw), { "unknown", "created", "created" })
      say["payment.authorize"], say["payment.lookup"] = nil, { outcome = "not_found" }
      drop(raw)
      raw.sql.exec "UPDATE payments SET state = 'created' WHERE state = 'unknown'"
      say["payment.lookup"] = nil
      resume(raw)
      pays(shop, raw, "authorized", "authorized", "authorized")
    end, as_it_is))

  t.it("is sent by the shopper who comes back, and what he chose since", provider.with(
    function(shop, raw, say)
      local cart = chosen_anew(shop, raw, say)
      t.equal((shop.complete(cart)), 200)
      pays(shop, raw, "voided", "authorized")
    end, as_it_is))
end)


-- A flow was there before, so that the next one goes step by step.
local function after_a_decline(shop)
  local cart = shop.cart { { shop.product("TEA", 1000, 5), 1 } }
  shop.pay(cart, "test", "tok_declined")
  t.equal(select(2, shop.complete(cart)).error.code, "payment_declined")
  shop.pay(cart, "test", "tok_ok")
  return cart
end


-- What an older server leaves whose worker dies as it asks.
local function left_by_an_older_server(shop, raw)
  local cart = after_a_decline(shop)
  dies_in(raw, "till.flow.payment", "authorize", function()
    t.equal((shop.complete(cart)), 500)
  end)
  raw.sql.exec("UPDATE sagas SET updated_at = updated_at,"
    .. " data = JSON_REMOVE(data, '$.confirmed', '$.key')")
  several.later(raw, 1)
  return cart
end


t.describe("what he has confirmed", function()
  t.it("is known of a flow that was dropped before its first step", provider.with(
    function(shop, raw)
      local cart = after_a_decline(shop)
      dies_in(raw, "till.store.reservations", "hold", function()
        t.equal((shop.complete(cart)), 500)
      end)
      several.later(raw, 1)
      resume(raw)
      pays(shop, raw, "declined", "authorized")
    end, as_it_is))

  t.it("is read before anything is begun: where that fails nothing is", provider.with(
    function(shop, raw)
      local cart = after_a_decline(shop)
      local module, err = raw.require "till.flow.payment_confirmed", raw.require "till.util.err"
      local of = module.of
      module.of = function()
        module.of = of
        return nil, err.new("timeout", "spec")
      end
      local status = shop.complete(cart)
      t.ok(status >= 500, "status " .. status)
      t.same({ shop.count("sagas", "state = 'undone'"), shop.count("carts", "state = 'open'") },
        { 1, 1 })
      t.equal(select(2, shop.complete(cart)).type, "order")
      t.same(several.states(raw), { "declined", "authorized" })
    end, as_it_is))

  t.it("is what was there, of a flow that an older server has left", provider.with(
    function(shop, raw)
      left_by_an_older_server(shop, raw)
      resume(raw)
      pays(shop, raw, "declined", "authorized")
    end, as_it_is))

  t.it("is not what came after it, of such a flow", provider.with(function(shop, raw)
    shop.pay(left_by_an_older_server(shop, raw), "test", "tok_ok")
    resume(raw)
    pays(shop, raw, "declined", "authorized", "voided")
  end, as_it_is))
end)


t.describe("who completes again with another payment", function()
  t.it("is charged for that one by whoever goes on without him", provider.with(
    function(shop, raw, say)
      local cart = chosen_anew(shop, raw, say)
      say["payment.lookup"] = { outcome = "unknown" }
      t.equal((shop.complete(cart)), 202)
      say["payment.lookup"] = nil
      several.later(raw, 10)
      resume(raw)
      t.same(several.states(raw), { "voided", "authorized" })
      t.same(several.at_provider(raw), { "voided", "authorized" })
      t.equal(shop.count("orders"), 1)
    end, as_it_is))

  t.it("is so where that worker died before it let go of the first", provider.with(
    function(shop, raw, say)
      local cart = chosen_anew(shop, raw, say)
      dies_in(raw, "till.flow.payment", "void", function()
        t.equal((shop.complete(cart)), 500)
      end)
      several.later(raw, 10)
      resume(raw)
      pays(shop, raw, "voided", "authorized")
    end, as_it_is))
end)
