local t = require "till.test"
local live = require "tests.support.live"
local wait = require "tests.support.until"

local DAY_MS = 86400000


-- fn(s): a reconciliation that is under way with a provider that says what s.pages have, by payout
local function with_run(fn)
  return live.test(function(raw)
    local s = { raw = raw, pages = {}, asked = 0 }
    s.time, s.store = raw.require "till.prim.time", raw.require "till.store.settlements"
    s.payouts, s.flow = raw.require "till.store.payouts", raw.require "till.flow.settlement_payouts"
    local dispatch, now = raw.require "till.plugin.dispatch", s.time.now_ms()
    s.run = s.store.claim(assert(raw.sql.transaction(function(tx)
      return s.store.begin(tx, { provider = "test", from_ms = now - DAY_MS, to_ms = now })
    end)), 60000)
    local has, plugin = dispatch.has, dispatch.plugin
    dispatch.has = function(hook, name) return hook == "payment.payout" or has(hook, name) end
    dispatch.plugin = function(name, hook, wish)
      if hook ~= "payment.payout" then return plugin(name, hook, wish) end
      s.asked = s.asked + 1
      return s.pages[wish.payout][wish.after or 1]
    end
    function s.move(kind, amount, reference, source, currency)
      return { reference = reference, kind = kind, source = source, fee = kind == "fee" and 0 or 3,
        currency = currency or "GBP", amount = amount, at_ms = s.time.now_ms() - 1000 }
    end
    function s.judge(item) return raw.require("till.flow.settlement_match").run(s.run, item) end
    function s.look(keep) return s.flow.look(s.run, keep or function() return true end) end
    function s.sum(account) return tonumber(raw.sql.one("SELECT COALESCE(SUM(amount), 0) AS n"
      .. " FROM ledger_entries WHERE account = ?", account .. ":test").n) end
    function s.one() return s.payouts.list({})[1] end
    function s.alerts(kind)
      return tonumber(raw.sql.one("SELECT COUNT(*) AS n FROM alerts WHERE kind = ?"
        .. " AND state = 'open'", "settlement.payout_" .. kind).n)
    end
    fn(s)
    t.same(raw.require("till.store.ledger").unbalanced(), {})
  end)
end


t.describe("a payout", function()
  t.it("goes from the account to the bank, with what it costs, once; and comes back by an entry of"
    .. " its own", with_run(function(s)
    for _ = 1, 2 do s.judge(s.move("payout", -500, "txn_1", "po_1")) end
    t.same({ s.sum "cash", s.sum "bank", s.sum "fees" }, { -503, 500, 3 })
    t.same({ s.one().state, s.one().amount }, { "created", 500 })
    for _ = 1, 2 do s.judge(s.move("payout_reversal", 500, "txn_2", "po_1")) end
    t.same({ s.sum "cash", s.sum "bank", s.sum "fees" }, { -6, 0, 6 })
    t.same({ s.one().state, #s.payouts.list {} }, { "failed", 1 })
  end))

  t.it("that the bank has to give is one too", with_run(function(s)
    s.judge(s.move("payout", 200, "txn_1", "po_1"))
    t.same({ s.sum "cash", s.sum "bank", s.one().amount }, { 197, -200, -200 })
  end))

  t.it("of nothing is known, and nothing is posted but its fee", with_run(function(s)
    s.judge(s.move("payout", 0, "txn_1", "po_1"))
    t.same({ s.sum "cash", s.sum "bank", s.one().amount }, { -3, 0, 0 })
  end))

  t.it("is booked once by all who read the same page", with_run(function(s)
    local function reader()
      for i = 1, 10 do s.judge(s.move("payout", -i, "txn_" .. i, "po_" .. i)) end
    end
    wait.together(reader, reader, reader, reader)
    t.same({ s.sum "bank", s.sum "cash", s.sum "fees" }, { 55, -85, 30 })
  end))
end)


t.describe("a fee by itself", function()
  t.it("is booked once by all who read the same page, and so is one that came back", with_run(
    function(s)
      local function reader()
        for i = 1, 10 do
          s.judge(s.move("fee", -i, "txn_" .. i))
          s.judge(s.move("fee", i, "back_" .. i))
        end
      end
      wait.together(reader, reader, reader, reader)
      t.same({ s.sum "cash", s.sum "fees", s.raw.sql.one("SELECT COUNT(*) AS n"
        .. " FROM ledger_entries WHERE account = 'fees:test'").n }, { 0, 0, 20 })
    end))
end)


t.describe("what a payout holds", function()
  local function paid(s, page, told)
    s.judge(s.move("payout", -500, "txn_own", "po_1"))
    s.pages.po_1 = page
    page[1].payout = told or { state = "paid", is_listed = true }
  end

  t.it("is summed up without its own, each movement once, however pages repeat them", with_run(
    function(s)
      local own, fee = s.move("payout", -500, "txn_own", "po_1"), s.move("fee", -97, "txn_fee")
      local other, back = s.move("payout_reversal", 603, "txn_back", "po_0"),
        s.move("fee", -3, "txn_fee2")
      paid(s, { { items = { own, fee, other }, after = 2 }, { items = { fee, own }, after = 3 },
        { items = {}, after = 4 }, [4] = { items = { back } } })
      t.ok(s.look())
      local one = s.payouts.named("po_1")[1]
      t.same({ one.state, one.movements, one.movements_amount, one.difference },
        { "paid", 3, 500, 0 })
      t.equal(s.sum "fees", 3 + 3 + 97 + 3, "what no run had seen was judged")
      t.equal(#s.payouts.items(one, { limit = 10 }), 4)
      t.same({ s.alerts "differs", s.alerts "failed" }, { 0, 0 })
      local asked = s.asked
      s.pages.po_0 = { { payout = { state = "failed", is_listed = false } } }
      t.ok(s.look())
      t.equal(s.asked, asked + 1, "of the two only the other one is open")
    end))

  t.it("is told where its sum is another, until it is right; another currency is no part of it",
    with_run(function(s)
      local page = { { items = { s.move("fee", -1, "txn_a"), s.move("fee", 501, "txn_b", nil,
        "USD") } } }
      paid(s, page, { state = "in_transit", is_listed = true })
      t.ok(s.look())
      t.same({ s.one().difference, s.one().state, s.alerts "differs" }, { 501, "in_transit", 1 })
      page[1].items[2] = s.move("fee", 501, "txn_c")
      page[1].payout.state = "paid"
      t.ok(s.look())
      t.same({ s.one().difference, s.alerts "differs" }, { 0, 0 })
    end))

  t.it("is asked for again where it is not told yet, and no more where it never is", with_run(
    function(s)
      local page = { {} }
      paid(s, page, { state = "paid" })
      for n = 1, 2 do
        t.ok(s.look())
        t.same({ s.asked, s.one().state, s.one().movements, s.one().difference },
          { n, "paid", nil, nil })
      end
      page[1].payout.is_listed = false
      for _ = 1, 2 do t.ok(s.look()) end
      t.equal(s.asked, 3)
    end))

  t.it("is asked for by who has the run alone, and what fails is tried again", with_run(
    function(s)
      paid(s, { { items = {} } })
      local done, e = s.look(function() return nil, "taken over" end)
      t.same({ done, e, s.asked, s.one().state }, { nil, "taken over", 0, "created" })
      s.pages.po_1 = {}
      t.ok(s.look()) -- it costs the run no more than that
      t.equal(s.one().movements, nil)
      s.pages.po_1 = { { payout = { state = "paid", is_listed = true }, items = {} } }
      t.ok(s.look())
      t.same({ s.one().movements, s.one().difference }, { 0, 500 })
    end))
end)


t.describe("a payout that failed", function()
  t.it("is told until a later one is paid", with_run(function(s)
    s.judge(s.move("payout", -500, "txn_1", "po_1"))
    s.judge(s.move("payout_reversal", 500, "txn_2", "po_1"))
    s.pages.po_1 = { { payout = { state = "failed", reason = "account_closed",
      is_listed = false } } }
    t.ok(s.look())
    t.same({ s.one().state, s.one().reason, s.alerts "failed" },
      { "failed", "account_closed", 1 })
    s.judge(s.move("payout", -400, "txn_3", "po_2"))
    s.pages.po_2 = { { payout = { state = "in_transit", is_listed = false } } }
    t.ok(s.look())
    t.equal(s.alerts "failed", 1)
    s.pages.po_2[1].payout.state = "paid"
    t.ok(s.look())
    t.equal(s.alerts "failed", 0)
  end))
end)


t.describe("a payout that was taken back before it arrived", function()
  t.it("is booked back, and is no failure", with_run(function(s)
    s.judge(s.move("payout", -500, "txn_1", "po_1"))
    s.judge(s.move("payout_reversal", 500, "txn_2", "po_1"))
    s.pages.po_1 = { { payout = { state = "canceled", is_listed = true }, items = {
      s.move("payout", -500, "txn_1", "po_1"), s.move("payout_reversal", 500, "txn_2", "po_1"),
      s.move("fee", -3, "txn_3"), s.move("fee", 503, "txn_4") } } }
    t.ok(s.look())
    t.same({ s.one().state, s.one().difference, s.sum "bank", s.alerts "failed",
      s.alerts "differs" }, { "canceled", 0, 0, 0, 0 })
    s.judge(s.move("payout_reversal", 500, "txn_2", "po_1"))
    t.same({ s.one().state, s.sum "bank" }, { "canceled", 0 })
  end))
end)


t.describe("who dies over a payout", function()
  t.it("leaves it to the next run, which books nothing twice", with_run(function(s)
    s.judge(s.move("payout", -500, "txn_1", "po_1"))
    s.pages.po_1 = { { items = { s.move("fee", -97, "txn_2") }, after = 2,
      payout = { state = "paid", is_listed = true } },
      { items = { s.move("fee", 597, "txn_3"), s.move("payout", -500, "txn_1", "po_1") } } }
    for _, name in ipairs { "hold", "told" } do
      local was = s.payouts[name]
      s.payouts[name] = function() error("killed", 0) end
      t.equal((pcall(s.look)), false)
      s.payouts[name] = was
      t.same({ s.one().state, s.one().movements }, { "created", nil })
    end
    local once = s.raw.require("till.store.alerts").raise
    s.raw.require("till.store.alerts").raise = function() error("killed", 0) end
    s.pages.po_1[2].items[3] = s.move("fee", -1, "txn_4")
    t.equal((pcall(s.look)), false)
    s.raw.require("till.store.alerts").raise = once
    t.same({ s.one().state, s.one().movements }, { "created", nil })
    t.ok(s.look())
    t.same({ s.one().state, s.one().movements, s.one().difference, s.sum "fees",
      s.sum "bank" }, { "paid", 3, 1, 97 - 597 + 1 + 3, 500 })
  end))
end)
