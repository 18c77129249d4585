-- What became of a payment, by the word of staff.
local t = require "till.test"
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"


-- fn(shop, raw, cart, say): say[hook] is what the provider answers to it instead, until nil.
local function with(token, fn)
  return function()
    live.with(function(raw)
      local shop = make_shop(raw)
      local cart = shop.cart { { shop.product("TEA", 1000, 5), 1 } }
      shop.pay(cart, "test", token)
      local dispatch, say = raw.require "till.plugin.dispatch", {}
      local plugin, waits = dispatch.plugin, dispatch.waits
      dispatch.waits = function() return true end
      dispatch.plugin = function(name, hook, ...)
        if say[hook] then return { outcome = say[hook] } end
        return plugin(name, hook, ...)
      end
      local good, why = pcall(fn, shop, raw, cart, say)
      dispatch.plugin, dispatch.waits = plugin, waits
      if not good then error(why, 0) end
    end)
  end
end


local function only(raw)
  local row = raw.sql.one "SELECT id FROM payments"
  return "/admin/v1/payments/" .. raw.require("till.util.id").text("pay", row.id)
end


local function resolve(shop, raw, as, key)
  return raw.admin("POST", only(raw) .. "/resolve", { as = as, reason = "it is in their list" },
    key or shop.key())
end


local function balance(raw)
  local sum = raw.sql.one("SELECT COALESCE(SUM(amount), 0) AS n FROM ledger_entries")
  return tonumber(sum.n)
end


local function state(raw) return raw.sql.one("SELECT state FROM payments").state end


local function unknown(shop, cart, say)
  say["payment.authorize"], say["payment.lookup"] = "unknown", "unknown"
  t.equal((shop.complete(cart)), 202)
end


-- The outcome of its capture is open.
local function half_captured(shop, raw, cart, say)
  local order = shop.must(shop.complete(cart)).order
  say["payment.capture"], say["payment.lookup"] = "unknown", "unknown"
  t.equal((raw.admin("POST", only(raw) .. "/capture", {}, shop.key())), 503)
  return order
end


t.describe("the verdict of staff", function()
  t.it("makes an order of a payment whose provider is silent", with("tok_ok",
    function(shop, raw, cart, say)
      unknown(shop, cart, say)
      local seen = shop.must(resolve(shop, raw, "captured")).payment
      t.equal(seen.state, "captured")
      t.equal(select(2, shop.complete(cart)).type, "order")
      t.same({ shop.count("orders"), balance(raw) }, { 1, 0 })
      t.equal(shop.count("audit_entries", "action = 'payment.resolve'"), 1)
    end))

  t.it("opens the cart again where the provider never got it", with("tok_ok",
    function(shop, raw, cart, say)
      unknown(shop, cart, say)
      raw.clock.skip_ms = raw.clock.skip_ms + 60000
      shop.must(resolve(shop, raw, "not_found"))
      t.equal(state(raw), "failed")
      t.equal(select(2, shop.complete(cart)).error.code, "payment_declined")
      say["payment.authorize"], say["payment.lookup"] = nil, nil
      shop.pay(cart, "test", "tok_ok")
      t.equal(select(2, shop.complete(cart)).type, "order")
    end))

  t.it("is looked after where it never got there, and did", with("tok_timeout",
    function(shop, raw, cart, say)
      say["payment.lookup"] = "unknown"
      t.equal((shop.complete(cart)), 202)
      raw.clock.skip_ms = raw.clock.skip_ms + 60000
      shop.must(resolve(shop, raw, "not_found"))
      say["payment.lookup"] = nil
      raw.clock.skip_ms = raw.clock.skip_ms + 360000
      t.ok(raw.require("till.flow.sweep").run())
      t.same({ state(raw), shop.count("payment_test_attempts", "state = 'voided'"),
        shop.count("alerts", "kind = 'payment.given_back' AND state = 'open'") },
        { "failed", 1, 1 })
    end))

  t.it("does not stand against what the provider says", with("tok_ok",
    function(shop, raw, cart, say)
      unknown(shop, cart, say)
      raw.clock.skip_ms = raw.clock.skip_ms + 60000
      for said, as in pairs { authorized = "not_found", captured = "voided", declined = "captured",
        refunded = "captured" } do
        say["payment.lookup"] = said
        local status, body = resolve(shop, raw, as)
        t.same({ status, body.code, body.provider_says }, { 409, "conflict", said })
      end
      t.same({ state(raw), shop.count("audit_entries", "action = 'payment.resolve'") },
        { "unknown", 0 })
    end))

  t.it("waits where the request may still be on its way", with("tok_ok",
    function(shop, raw, cart, say)
      unknown(shop, cart, say)
      t.equal((resolve(shop, raw, "not_found")), 409)
      t.equal((resolve(shop, raw, "voided")), 409)
      raw.sql.exec("UPDATE payments SET state = 'sending', updated_at = NOW(3)")
      t.equal((resolve(shop, raw, "not_found")), 409)
      raw.clock.skip_ms = raw.clock.skip_ms + 60000
      t.equal((resolve(shop, raw, "not_found")), 200)
    end))

  t.it("books a capture once, and the order is paid", with("tok_ok",
    function(shop, raw, cart, say)
      local order = half_captured(shop, raw, cart, say)
      local key = shop.key()
      t.equal(shop.must(resolve(shop, raw, "captured", key)).payment.state, "captured")
      t.equal((resolve(shop, raw, "captured", key)), 200)
      t.equal((resolve(shop, raw, "captured")), 200)
      local seen = shop.must(raw.admin("GET", "/admin/v1/orders/" .. order.id)).order
      t.same({ seen.payment_status, balance(raw) }, { "captured", 0 })
      t.same({ shop.count("order_events", "type = 'captured'"),
        shop.count("payment_events", "kind = 'captured'"),
        shop.count("audit_entries", "action = 'payment.resolve'") }, { 1, 1, 1 })
    end))

  t.it("lets a capture that did not happen be asked for under another key", with("tok_ok",
    function(shop, raw, cart, say)
      half_captured(shop, raw, cart, say)
      t.equal((resolve(shop, raw, "not_captured")), 409, "it may be taken still")
      raw.clock.skip_ms = raw.clock.skip_ms + 60000
      t.equal(shop.must(resolve(shop, raw, "not_captured")).payment.state, "authorized")
      t.equal((resolve(shop, raw, "not_captured")), 409)
      say["payment.capture"], say["payment.lookup"] = nil, nil
      t.equal(shop.must(raw.admin("POST", only(raw) .. "/capture", {}, shop.key())).payment.state,
        "captured")
      t.equal(shop.count("order_events", "type = 'capture_refused'"), 1)
    end))

  t.it("books what went back in another way", with("tok_ok", function(shop, raw, cart, say)
    local order = half_captured(shop, raw, cart, say)
    t.equal((resolve(shop, raw, "refunded")), 409)
    shop.must(resolve(shop, raw, "captured"))
    t.equal(shop.must(resolve(shop, raw, "refunded")).payment.state, "refunded")
    local seen = shop.must(raw.admin("GET", "/admin/v1/orders/" .. order.id)).order
    t.same({ seen.payment_status, balance(raw) }, { "refunded", 0 })
    t.equal((resolve(shop, raw, "captured")), 409)
  end))

  -- 1399 were captured; of these the bank had `disputed` in question.
  for _, case in ipairs { { "won", disputed = 600, back = 1399, state = "refunded" },
    { "lost", disputed = 600, back = 799, state = "lost" },
    { "lost", disputed = 1399, back = 0, state = "lost" } } do
    t.it(("books what went back after a dispute of %d was %s"):format(case.disputed, case[1]),
      with("tok_ok", function(shop, raw, cart, say)
        shop.must(shop.complete(cart))
        shop.must(raw.admin("POST", only(raw) .. "/capture", {}, shop.key()))
        local booking = raw.require "till.flow.booking"
        for _, kind in ipairs { "disputed", case[1] } do
          assert(raw.sql.transaction(function(tx)
            return booking.book(tx, only(raw):match "pay_%w+", { kind = kind,
              amount = kind == "disputed" and case.disputed or nil, reference = "dp_one" })
          end))
        end
        say["payment.lookup"] = "unknown"
        local status, body = resolve(shop, raw, "refunded")
        local code = case.back == 0 and "conflict" or nil
        t.same({ status, state(raw), body.code }, { code and 409 or 200, case.state, code })
        t.equal(raw.sql.one("SELECT refunded_amount AS n FROM payments").n, case.back)
        t.equal(balance(raw), 0)
      end))
  end

  t.it("waits while a dispute goes on", with("tok_ok", function(shop, raw, cart, say)
    shop.must(shop.complete(cart))
    shop.must(raw.admin("POST", only(raw) .. "/capture", {}, shop.key()))
    assert(raw.sql.transaction(function(tx)
      return raw.require("till.flow.booking").book(tx, only(raw):match "pay_%w+",
        { kind = "disputed", amount = 600, reference = "dp_one" })
    end))
    say["payment.lookup"] = "unknown"
    t.equal((resolve(shop, raw, "refunded")), 409)
    t.equal(state(raw), "disputed")
  end))

  t.it("does not touch what a cancellation is giving back", with("tok_ok",
    function(shop, raw, cart, say)
      local order = half_captured(shop, raw, cart, say)
      shop.must(resolve(shop, raw, "captured"))
      say["payment.refund"] = "unknown"
      raw.admin("POST", "/admin/v1/orders/" .. order.id .. "/cancel", {}, shop.key())
      local status, body = resolve(shop, raw, "refunded")
      t.equal(status, 409)
      t.ok(body.detail:find("saga", 1, true), body.detail)
    end))

  t.it("needs a reason, a kind and a payment", with("tok_ok", function(shop, raw, cart, say)
    unknown(shop, cart, say)
    for _, body in ipairs { {}, { as = "captured" }, { as = "gone", reason = "x" },
      { as = "captured", reason = "" } } do
      t.equal((raw.admin("POST", only(raw) .. "/resolve", body, shop.key())), 422)
    end
    local another = only(raw):gsub(".$", function(last) return last == "7" and "8" or "7" end)
    t.equal((raw.admin("POST", another .. "/resolve",
      { as = "captured", reason = "x" }, shop.key())), 404)
  end))
end)
