local t = require "till.test"
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"

local DAY_MS = 86400000


-- fn(s): an order of three at 9.99 that is authorized, and a reconciliation that is under way
local function with_order(fn)
  return live.test(function(raw)
    local shop = make_shop(raw)
    local cart = shop.cart { { shop.product("TEA", 999, 5), 3 } }
    shop.pay(cart, "test", "tok_ok")
    local _, body = shop.complete(cart)
    local s = { raw = raw, shop = shop, total = body.order.total.amount }
    s.payment = shop.must(raw.admin("GET", "/admin/v1/payments")).data[1].id
    s.time, s.store = raw.require "till.prim.time", raw.require "till.store.settlements"
    local now = s.time.now_ms()
    s.run = s.store.claim(assert(raw.sql.transaction(function(tx)
      return s.store.begin(tx, { provider = "test", from_ms = now - DAY_MS, to_ms = now,
        actor = "spec" })
    end)), 60000)
    function s.charge(amount, ref, page)
      return raw.require("till.flow.settlement_match").run(s.run, { reference = "txn_" .. amount,
        kind = "charge", source = "ch_" .. amount, payment_id = s.payment, currency = "GBP",
        provider_ref = ref, page_prefix = page, amount = amount, fee = 59,
        at_ms = s.time.now_ms() })
    end
    function s.cash() return tonumber(raw.sql.one("SELECT COALESCE(SUM(amount), 0) AS n"
      .. " FROM ledger_entries WHERE account = 'cash:test'").n) end
    fn(s)
  end)
end


t.describe("a movement at a provider", function()
  t.it("that captured another amount than was to be is told, and pays no order", with_order(
    function(s)
      for _, amount in ipairs { s.total - 1, s.total + 1 } do
        t.equal(s.charge(amount), "missing_here")
      end
      t.same({ s.cash(), s.shop.count("payments", "state = 'authorized'"),
        s.shop.count("payment_events", "kind = 'captured'"),
        s.shop.count("orders", "payment_status = 'authorized'") }, { 0, 1, 0, 1 })
      local told = s.shop.must(s.raw.admin("GET",
        "/admin/v1/alerts?kind=settlement.missing_here&state=open")).data
      t.equal(#told, 2)
      for _, alert in ipairs(told) do
        t.ok(alert.detail.reason:find("the order is not paid by that", 1, true),
          alert.detail.reason)
      end
    end))

  t.it("that captured what was to be is booked, once", with_order(function(s)
    for _ = 1, 2 do t.equal(s.charge(s.total), "matched") end
    t.same({ s.cash(), s.shop.count("orders", "payment_status = 'captured'") },
      { s.total - 59, 1 })
  end))

  t.it("of something else that bears the payment's name is told, and pays no order", with_order(
    function(s)
      t.equal(s.charge(s.total, "pi_of_another"), "missing_here")
      t.equal(s.charge(s.total, "pi_of_another", "cs_"), "missing_here")
      t.same({ s.cash(), s.shop.count("payment_events", "kind = 'captured'"),
        s.shop.count("orders", "payment_status = 'authorized'") }, { 0, 0, 1 })
      local told = s.shop.must(s.raw.admin("GET",
        "/admin/v1/alerts?kind=settlement.missing_here&state=open")).data
      t.ok(told[1].detail.reason:find("another reference", 1, true), told[1].detail.reason)
      s.raw.sql.exec "UPDATE payments SET provider_ref = 'cs_his_page'"
      t.equal(s.charge(s.total, "pi_behind_it", "cs_"), "matched")
    end))
end)


t.describe("a reconciliation that cannot be", function()
  t.it("is refused with what is wrong, and nothing is begun", live.test(function(raw)
    local shop, dispatch = make_shop(raw), raw.require "till.plugin.dispatch"
    dispatch.has = function(_, plugin) return plugin == "payment-test" end
    local was = "2026-01-01T00:00:00Z"
    for i, case in ipairs {
      { "/provider", provider = "nobody", from = was, to = "2026-01-02T00:00:00Z" },
      { "/provider", provider = "Test!", from = was, to = "2026-01-02T00:00:00Z" },
      { "/from", provider = "test", from = was, to = was },
      { "/to", provider = "test", from = was, to = "2026-04-04T00:00:00Z" },
      { "/to", provider = "test", from = was, to = "2100-01-01T00:00:00Z" },
      { "/from", provider = "test", from = "yesterday", to = was },
    } do
      local status, body = raw.admin("POST", "/admin/v1/settlements", { provider = case.provider,
        from = case.from, to = case.to }, shop.key())
      t.same({ status, body.code, body.errors[1].pointer }, { 422, "invalid_request", case[1] },
        "case " .. i)
    end
    t.same({ shop.count "settlements", shop.count "audit_entries", shop.count "outbox" },
      { 0, 0, 0 })
  end))
end)


t.describe("the lease of a reconciliation", function()
  t.it("is its worker's however often it is renewed within a millisecond", with_order(function(s)
    local now = s.time.now_ms()
    s.time.now_ms = function() return now end
    for _ = 1, 3 do t.equal(s.store.keep(s.run, 60000), true) end
    s.raw.sql.exec("UPDATE settlements SET claim = claim + 1")
    t.equal(s.store.keep(s.run, 60000), false)
  end))
end)


t.describe("money that went back without an order", function()
  t.it("is told as a failure where the alert cannot be written", with_order(function(s)
    local alerts, settled = s.raw.require "till.store.alerts", s.raw.require "till.flow.settled"
    local err, raise = s.raw.require "till.util.err", alerts.raise
    alerts.raise = function() return nil, err.new("rejected", "as of a statement") end
    local p = s.raw.require("till.store.payments").get(s.payment)
    local done, e = settled.tell(p, "sold out")
    alerts.raise = raise
    t.same({ done, e and e.code }, { nil, "rejected" })
  end))
end)


t.describe("a payment that is being asked for just now", function()
  t.it("is left alone by a reconciliation, until nobody can be at it", with_order(function(s)
    s.raw.sql.exec("UPDATE payments SET state = 'sending', updated_at = ?",
      s.raw.require("till.store.db").now())
    local function found() return #s.store.to_resolve(s.run, nil, 10) end
    t.equal(found(), 0)
    s.raw.clock.skip_ms = 41000
    t.equal(found(), 1)
  end))
end)
