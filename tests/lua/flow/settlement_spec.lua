local t = require "till.test"
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"
local wait = require "tests.support.until"

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
        at_ms = now - 1000 })
    end
    function s.item(kind, amount, source, more)
      local item = { reference = "txn_" .. kind .. amount, kind = kind, source = source, fee = 0,
        payment_id = s.payment, currency = "GBP", amount = amount, at_ms = now - 1000 }
      for name, value in pairs(more or {}) do item[name] = value end
      return item
    end
    function s.judge(...)
      local judge = raw.require "till.flow.settlement_judge"
      for _, item in ipairs { ... } do t.ok(judge.one(s.run, item)) end
      t.ok(judge.rest(s.run, function() return true end))
    end
    function s.verdicts()
      local out = {}
      for i, row in ipairs(raw.sql.query("SELECT kind, verdict FROM settlement_items"
        .. " ORDER BY kind, amount")) do out[i] = row.kind .. " " .. row.verdict end
      return out
    end
    function s.told() return shop.count("alerts", "kind LIKE 'settlement.%'") end
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


t.describe("money of a payment that was given up", function()
  t.it("is told, and let go of", with_order(function(s)
    s.raw.sql.exec "UPDATE payments SET state = 'failed', order_id = NULL"
    s.judge(s.item("charge", s.total, "ch_1", { provider_ref = "pi_other" }))
    t.equal(s.shop.count("outbox", "type = 'payment.too_late'"), 0, "it is another one")
    s.judge(s.item("charge", s.total + 1, "ch_2"))
    t.same({ s.told(), s.shop.count("outbox", "type = 'payment.too_late'") }, { 2, 1 })
    s.shop.work()
    t.same({ s.shop.count("payment_test_attempts", "state = 'voided'"),
      s.shop.count("alerts", "kind = 'payment.given_back' AND state = 'open'") }, { 1, 1 })
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

  t.it("goes by the database's clock, whatever the worker's says", with_order(function(s)
    for _, skip_ms in ipairs { 600000, -600000 } do
      s.raw.clock.skip_ms = skip_ms
      t.same({ s.store.waiting(10), s.store.claim(s.run.id, 60000) }, { {}, false })
      t.equal(s.store.keep(s.run, 60000), true)
      t.equal(s.shop.count("settlements", "claimed_until BETWEEN NOW(3) AND NOW(3)"
        .. " + INTERVAL 61 SECOND"), 1)
      assert(s.store.put_off(s.run, "another one goes on"))
      s.run = s.store.claim(s.run.id, 60000)
      t.equal(s.shop.count("settlements", "claimed_until BETWEEN NOW(3) AND NOW(3)"
        .. " + INTERVAL 61 SECOND"), 1)
      s.raw.sql.exec "UPDATE settlements SET claimed_until = NOW(3) - INTERVAL 1 SECOND"
      t.same(s.store.waiting(10), { s.run.id })
      s.run = s.store.claim(s.run.id, 60000)
      t.ok(s.run)
    end
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


t.describe("movements", function()
  t.it("that were never heard of are booked in whatever order they are told, and nobody is alarmed",
    with_order(function(s)
      s.judge(s.item("dispute_reversal", 300, "dp_1"), s.item("dispute", -300, "dp_1"),
        s.item("refund", -100, "re_1"), s.item("charge", s.total, "ch_1"))
      t.same(s.verdicts(), { "charge matched", "dispute matched", "dispute_reversal matched",
        "refund matched" })
      t.same({ s.cash(), s.told(), s.shop.count("payments", "refunded_amount = 100") },
        { s.total - 100, 0, 1 })
    end))

  t.it("that only look like an event do not take it from the one that is it", with_order(
    function(s)
      s.raw.require("till.flow.order").capture(s.payment, "spec", s.raw.sql.transaction)
      s.judge(s.item("charge", 777, "ch_another"), s.item("charge", s.total, "ch_1"))
      t.same(s.verdicts(), { "charge missing_here", "charge matched" })
      t.equal(s.cash(), s.total)
    end))

  t.it("without a name of their own are booked once, also by all who read the same page",
    with_order(function(s)
      s.judge(s.item("charge", s.total, "ch_1"))
      local match = s.raw.require "till.flow.settlement_match"
      local function reader()
        for _, amount in ipairs { 10, 20, 30 } do
          t.equal(match.run(s.run, s.item("refund", -amount)), "matched")
        end
      end
      wait.together(reader, reader, reader, reader)
      t.same({ s.cash(), s.told(), s.shop.count("payments", "refunded_amount = 60"),
        s.shop.count("payment_events", "kind = 'refunded'") }, { s.total - 60, 0, 1, 3 })
    end))

  t.it("of a payment that is under way just now are left to the next run", with_order(function(s)
    s.raw.sql.exec "UPDATE payments SET order_id = NULL, state = 'sending'"
    local late = s.item("charge", s.total, "ch_1", { at_ms = s.run.to_ms })
    s.judge(late)
    t.same({ s.verdicts(), s.told() }, { {}, 0 })
    s.run.to_ms = s.run.to_ms + 1000
    s.judge(late)
    t.same({ s.verdicts(), s.told() }, { { "charge missing_here" }, 1 })
  end))

  t.it("in another currency are an event's by its name, or where it is the only one", with_order(
    function(s)
      s.judge(s.item("charge", s.total, "ch_1"))
      local booking = s.raw.require "till.flow.booking"
      for _, amount in ipairs { 127, 100 } do
        t.ok(s.raw.sql.transaction(function(tx)
          return booking.own(tx, s.payment, { kind = "refunded", amount = amount, actor = "spec" })
        end))
      end
      s.judge(s.item("refund", -127, "re_100", { currency = "USD" }))
      t.same({ s.verdicts()[2], s.shop.count("payment_events", "reference = 're_100'") },
        { "refund missing_here", 0 })
      s.raw.sql.exec("UPDATE payment_events SET reference = 're_127' WHERE amount = 127")
      s.judge(s.item("refund", -127, "re_100", { currency = "USD" }))
      t.same({ s.verdicts()[2], s.shop.count("payment_events",
        "reference = 're_100' AND amount = 100") }, { "refund other_currency", 1 })
    end))

  t.it("of nothing, or that come twice on a page, change nothing", with_order(function(s)
    local charge = s.item("charge", s.total, "ch_1", { fee = 59 })
    s.judge(charge, s.item("fee", 0), charge, s.item("fee", 0), charge)
    t.same({ s.cash(), s.verdicts() }, { s.total - 59, { "charge matched", "fee other" } })
  end))
end)


t.describe("what is booked while a reconciliation reads", function()
  t.it("is not missing there", with_order(function(s)
    s.judge(s.item("charge", s.total, "ch_1"))
    s.raw.sql.exec "DELETE FROM settlement_items"
    local items = s.raw.require "till.store.settlement_items"
    s.run.to_ms = s.time.now_ms() + 60000
    s.raw.sql.exec("UPDATE payment_events SET at = ? WHERE kind = 'captured'",
      s.raw.require("till.store.db").now())
    s.run.read_ms = s.time.now_ms() - 1000
    t.equal(#items.unmatched(s.run, 10), 0)
    s.run.read_ms = s.time.now_ms() + 1000
    t.equal(#items.unmatched(s.run, 10), 1)
  end))
end)


-- As a provider without an end, or with nothing to tell.
local function plugin_says(s, page)
  local dispatch = s.raw.require "till.plugin.dispatch"
  local has, n = dispatch.has, 0
  dispatch.has = function(hook, name)
    return hook == "payment.settlement" or hook ~= "payment.payout" and has(hook, name)
  end
  dispatch.names = function() return { "payment-test" } end
  dispatch.plugin = function()
    n = n + 1
    return page
  end
  return function() return n end
end


t.describe("pages that do not come to an end", function()
  t.it("are given up, and the run is tried again", with_order(function(s)
    local asked = plugin_says(s, { items = {}, after = "txn_1" })
    s.raw.sql.exec "UPDATE settlements SET claimed_until = NULL"
    local done, e = s.raw.require("till.flow.settlement").run(s.run.id)
    t.same({ done, e.code, asked() }, { nil, "unavailable", 2 })
    t.equal(s.store.get(s.run.id).state, "running")
  end))
end)


t.describe("the daily reconciliation", function()
  t.it("begins where the last one of its own has ended, whatever was asked for since", with_order(
    function(s)
      plugin_says(s, { items = {} })
      s.store.finish(s.run, "done")
      local now = s.time.now_ms()
      for _, run in ipairs { { 20, 12, nil }, { 2, 0, "staff_x" }, { 300, 299, "staff_x" } } do
        local id = assert(s.raw.sql.transaction(function(tx)
          return s.store.begin(tx, { provider = "test", from_ms = now - run[1] * DAY_MS,
            to_ms = now - run[2] * DAY_MS, actor = run[3] })
        end))
        s.store.finish(s.store.claim(id, 60000), "done")
      end
      t.ok(s.raw.require("till.flow.settlement").daily())
      local begun = s.store.list({})[1]
      local days = (now - s.time.parse(begun.from_at)) / DAY_MS
      t.ok(math.abs(days - 13) < 0.1, days)
    end))

  t.it("calls lost what a server of before has called won, as its events do", with_order(
    function(s)
      plugin_says(s, { items = {} })
      local booking = s.raw.require "till.flow.booking"
      for _, event in ipairs { { "captured" }, { "disputed", 300, "a" }, { "lost", nil, "a" },
        { "disputed", 200, "b" }, { "won", nil, "b" } } do
        assert(s.raw.sql.transaction(function(tx)
          return booking.book(tx, s.payment, { kind = event[1], amount = event[2],
            reference = event[3] })
        end))
      end
      local function state() return s.raw.sql.one("SELECT state FROM payments").state end
      s.raw.sql.exec "UPDATE payments SET state = 'won'"
      t.ok(s.raw.require("till.flow.settlement").daily())
      t.same({ state(), booking.amounts(s.payment).state }, { "lost", "lost" })
      s.raw.sql.exec "UPDATE payments SET state = 'won', lost_amount = 0"
      t.ok(s.raw.require("till.flow.settlement").daily())
      t.equal(state(), "won")
    end))
end)
