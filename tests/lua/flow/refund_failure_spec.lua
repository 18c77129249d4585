local t = require "till.test"
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"
local refs = require "tests.support.refs"
local several = require "tests.support.several"


local function path_of(order, rest) return "/admin/v1/orders/" .. order.id .. rest end


local function buy(shop)
  local cart = shop.cart { { shop.product("TEA", 999, 5), 3 } }
  shop.pay(cart, "test", "tok_ok")
  local _, body = shop.complete(cart)
  shop.work()
  return body.order, cart
end


-- fn(s): an order of three at 9.99 that is captured, and what can be done with it
local function with_order(fn)
  return live.test(function(raw)
    local shop = make_shop(raw)
    local order = buy(shop)
    local s = { raw = raw, shop = shop, order = order, total = order.total.amount,
      asked = refs.named(raw), payment = shop.must(raw.admin("GET",
        "/admin/v1/payments")).data[1].id }
    function s.told(event)
      local done, e = raw.sql.transaction(function(tx)
        local booked, why = raw.require("till.flow.booking").book(tx, s.payment, event)
        if booked == nil then return nil, why end
        return { booked } -- false is no failure
      end)
      if not done then return nil, e end
      return done[1]
    end
    function s.fails(ref, amount, more)
      if ref:find "^re_%d" then refs.come_back(raw) end
      local event = { kind = "refund_failed", reference = ref, amount = amount,
        reason = "the refund did not get there" }
      for name, value in pairs(more or {}) do event[name] = value end
      return s.told(event)
    end
    function s.refund(amount) return raw.admin("POST", path_of(order, "/refunds"),
      { amount = { amount = amount, currency = "GBP" }, reason = "x" }, shop.key()) end
    function s.cancel() return raw.admin("POST", path_of(order, "/cancel"), { reason = "x" },
      shop.key()) end
    function s.now() return shop.must(raw.admin("GET", "/admin/v1/orders/" .. order.id)).order end
    function s.row()
      local p = raw.sql.one "SELECT state, refunded_amount AS n FROM payments"
      return p.state .. " " .. p.n
    end
    function s.open() return #shop.must(raw.admin("GET",
      "/admin/v1/alerts?kind=refund.failed&state=open")).data end
    function s.parked() return shop.must(raw.admin("GET", "/admin/v1/sagas?state=parked")).data end
    function s.act(what, body)
      return shop.must(raw.admin("POST", ("/admin/v1/sagas/%d/%s"):format(s.parked()[1].id, what),
        body, shop.key()))
    end
    function s.work()
      several.later(raw, 60)
      for _, row in ipairs(raw.require("till.store.sagas").stuck(20)) do
        raw.require("till.flow.cancellation_flow").resume(row)
      end
    end
    function s.give_again()
      s.act("retry", { reason = "the account is open again" })
      s.work()
    end
    function s.timeline()
      local out = {}
      for i, e in ipairs(shop.must(raw.admin("GET", path_of(order, "/timeline"))).data) do
        out[i] = e.type
      end
      return table.concat(out, " ")
    end
    function s.sums() return several.sums(raw) end
    fn(s)
    t.equal(#raw.require("till.store.ledger").unbalanced(), 0)
  end)
end


t.describe("a refund that failed after it was booked", function()
  t.it("is taken back in the books, once, and its row waits for staff", with_order(function(s)
    local refund = s.shop.must(s.refund(300)).refund
    local before = s.sums()
    t.same({ s.row(), s.now().payment_status }, { "captured 300", "partially_refunded" })
    for _ = 1, 3 do s.fails("re_1", 300) end
    t.same({ s.row(), s.now().payment_status, s.open(), #s.parked() },
      { "captured 0", "captured", 1, 1 })
    local sums = s.sums()
    t.same({ sums["cash:test"], sums.goodwill, sums.receivable },
      { before["cash:test"] + 300, 300, -300 })
    t.equal(s.shop.must(s.raw.admin("GET", "/admin/v1/refunds/" .. refund.id)).refund.state,
      "failed")
    local shown = s.now().refunds[1]
    t.same({ shown.state, shown.failure.reference, shown.failure.reason }, { "pending", "re_1",
      "the refund did not get there" })
    t.ok(shown.failure.next_step:find(refund.id, 1, true), shown.failure.next_step)
    t.equal(s.timeline(), "placed captured refund_created refunded refund_failed")
    t.equal(s.shop.count("outbox", "type = 'refund.failed'"), 1)
    t.equal(s.shop.count("payment_events", "kind = 'refund_failed'"), 1)
  end))

  t.it("is given again under a key of its own, and once", with_order(function(s)
    local refund = s.shop.must(s.refund(300)).refund
    local before = s.sums()
    s.fails("re_1", 300)
    s.give_again()
    t.same({ #s.asked, s.asked[1] ~= s.asked[2] }, { 2, true })
    t.same({ s.row(), s.now().payment_status, s.open(), #s.parked(), s.sums() },
      { "captured 300", "partially_refunded", 0, 0, before })
    local now = s.shop.must(s.raw.admin("GET", "/admin/v1/refunds/" .. refund.id)).refund
    t.same({ now.state, s.now().refunds[1].state, s.now().refunds[1].failure }, { "done", "done" })
    s.fails("re_1", 300) -- that is known
    t.same({ s.row(), s.open() }, { "captured 300", 0 })
    s.fails("re_2", 300) -- and so did this one
    t.same({ s.row(), s.open(), #s.parked() }, { "captured 0", 1, 1 })
    s.give_again()
    t.same({ #s.asked, s.row(), s.open(), s.sums() }, { 3, "captured 300", 0, before })
  end))

  t.it("is given again however late that is", with_order(function(s)
    s.shop.must(s.refund(300))
    s.raw.clock.skip_ms = 9 * 86400000
    s.fails("re_1", 300)
    s.raw.clock.skip_ms = 19 * 86400000
    s.give_again()
    t.same({ #s.asked, s.row(), s.open() }, { 2, "captured 300", 0 })
  end))

  t.it("is settled by hand", with_order(function(s)
    s.shop.must(s.cancel())
    t.same({ s.row(), s.now().payment_status, s.sums() }, { "refunded " .. s.total, "refunded",
      {} })
    s.fails("re_1", s.total)
    t.same({ s.row(), s.now().payment_status, s.sums() }, { "captured 0", "captured",
      { ["cash:test"] = s.total, receivable = -s.total } })
    t.equal((s.refund(100)), 409) -- what is to go back already is not given twice
    s.act("resolve", { as = "done", reason = "by bank transfer" })
    t.same({ s.row(), s.now().payment_status, s.sums(), s.open() }, { "refunded " .. s.total,
      "refunded", {}, 0 })
    t.equal(#s.asked, 1)
    s.fails("re_1", s.total)
    t.equal(s.row(), "refunded " .. s.total)
  end))

  t.it("goes back to the part that is with the shopper", with_order(function(s)
    s.shop.must(s.refund(300))
    s.shop.must(s.cancel())
    s.fails("re_2", s.total - 300)
    t.same({ s.row(), s.now().payment_status }, { "captured 300", "partially_refunded" })
    t.equal(s.now().cancellations[1].failure.reference, "re_2")
    t.equal(s.now().refunds[1].failure, nil)
  end))

  t.it("is no more than that refund gave back", with_order(function(s)
    s.shop.must(s.refund(300))
    s.shop.must(s.refund(400))
    local done, e = s.fails("re_1", 301)
    t.same({ done, e.code, e.reason }, { nil, "conflict", "too_much" })
    done, e = s.fails("re_9")
    t.same({ done, e.code, e.reason }, { nil, "conflict", "impossible" })
    t.equal(s.row(), "captured 700")
    t.ok(s.fails("re_1")) -- of that refund, whatever it was
    t.equal(s.row(), "captured 400")
  end))

  t.it("leaves a dispute what it is", with_order(function(s)
    s.shop.must(s.refund(300))
    s.told { kind = "disputed", amount = s.total, reference = "dp_one" }
    s.fails("re_1", 300)
    t.equal(s.row(), "disputed 0")
    s.told { kind = "lost", reference = "dp_one" }
    t.equal(s.row(), "lost 0")
    local sums = s.sums()
    t.same({ sums["cash:test"], sums["losses:test"], sums.receivable }, { nil, s.total, -300 })
    s.act("resolve", { as = "done", reason = "his bank gave it to him" })
    t.same({ s.row(), s.sums().receivable, s.open() }, { "lost 0", nil, 0 })
  end))
end)


t.describe("a refund that failed before it was booked", function()
  -- fn is called between the provider's answer and what its flow writes down
  local function between(s, fn)
    local payment = s.raw.require "till.flow.payment"
    local was = payment.ask_refund
    payment.ask_refund = function(...)
      local answer, e = was(...)
      payment.ask_refund = was
      fn(answer)
      return answer, e
    end
  end

  t.it("is not booked as given back by its own flow", with_order(function(s)
    local before = s.sums()
    between(s, function()
      s.fails("re_1", 300, { key = s.asked[1], is_ours = true })
    end)
    local status, body = s.refund(300)
    t.same({ status, body.refund.state }, { 202, "failed" })
    t.same({ s.row(), s.now().payment_status, s.open(), #s.parked() },
      { "captured 0", "captured", 1, 1 })
    t.equal(s.sums()["cash:test"], before["cash:test"])
    s.give_again()
    t.same({ #s.asked, s.row(), s.open(), s.sums()["cash:test"] }, { 2, "captured 300", 0,
      before["cash:test"] - 300 })
  end))

  t.it("is not taken for another one of that amount", with_order(function(s)
    s.shop.must(s.refund(300)) -- it has no name yet
    s.raw.sql.exec("UPDATE payment_events SET reference = NULL WHERE kind = 'refunded'")
    between(s, function()
      s.fails("re_2", 300, { key = s.asked[2], is_ours = true })
    end)
    t.equal((s.refund(300)), 202)
    s.told { kind = "refunded", amount = 300, reference = "re_1", is_ours = true }
    t.same({ s.row(), s.open() }, { "captured 300", 1 })
    s.give_again()
    t.same({ s.row(), s.open() }, { "captured 600", 0 })
  end))

  t.it("is settled by hand where its flow was parked before", with_order(function(s)
    local sagas = s.raw.require "till.store.sagas"
    between(s, function(answer)
      s.fails("re_1", 300, { key = s.asked[1], is_ours = true })
      for name in pairs(answer) do answer[name] = nil end
      answer.refund_ref = "re_1"
    end)
    t.equal((s.refund(300)), 202)
    t.equal(sagas.list({ limit = 5, state = "parked" })[1].data.refund_ref, nil)
    s.act("resolve", { as = "done", reason = "in cash" })
    t.same({ s.row(), s.open() }, { "captured 300", 0 })
  end))

  t.it("is none of a refund that was declined at once and given by hand", with_order(function(s)
    local dispatch, key = s.raw.require "till.plugin.dispatch", nil
    function dispatch.plugin(_, _, about)
      key = about.idem_key or key
      return { outcome = "declined", reason = "the bank is closed" }
    end
    t.equal((s.refund(300)), 202)
    s.act("resolve", { as = "done", reason = "in cash" })
    t.same({ s.fails("re_1", 300, { key = key, is_ours = true }), s.row(), s.open(), #s.parked() },
      { false, "captured 300", 0, 0 })
  end))
  t.it("is no news where staff were told by a server of before", with_order(function(s)
    s.shop.must(s.refund(300))
    s.raw.sql.exec("INSERT INTO alerts (kind, subject, state, detail, opened_at, seen_at) VALUES"
      .. " ('webhook.parked', 'test:re_1', 'closed', '{}', NOW(3), NOW(3))")
    t.same({ s.fails("re_1", 300), s.row(), s.open() }, { false, "captured 300", 0 })
  end))

  t.it("that was made at the provider alone leaves nothing but an alert", with_order(function(s)
    local before = s.sums()
    for _ = 1, 2 do s.fails("re_there", 400) end
    t.same({ s.row(), s.now().payment_status, s.open(), #s.parked(), s.sums() },
      { "captured 0", "captured", 1, 0, before })
    t.equal(s.told { kind = "refunded", amount = 400, reference = "re_there" }, false)
    s.told { kind = "refunded", amount = 399, reference = "re_less" }
    t.equal(s.open(), 1)
    s.told { kind = "refunded", amount = 400, reference = "re_again" }
    t.same({ s.open(), s.row() }, { 0, "captured 799" })
  end))

  -- Whatever comes first, and however often: the same books in the end.
  t.it("comes to the same in any order", with_order(function(s)
    local all = { { kind = "refunded", amount = 200, reference = "re_a" },
      { kind = "refund_failed", amount = 200, reference = "re_a" },
      { kind = "refunded", amount = 500, reference = "re_b" },
      { kind = "disputed", amount = 700, reference = "dp_a" },
      { kind = "refund_failed", amount = 500, reference = "re_b" },
      { kind = "refunded", amount = 600, reference = "re_c" } }
    local seen
    for round = 1, 12 do
      s.raw.sql.exec("DELETE FROM payment_events WHERE seq > 4")
      s.raw.sql.exec("DELETE FROM ledger_entries")
      s.raw.sql.exec("UPDATE payments SET state = 'captured', refunded_amount = 0,"
        .. " disputed_amount = 0")
      s.raw.sql.exec("UPDATE orders SET payment_status = 'captured'")
      local list, x = {}, round
      for _ = 1, 2 do
        for _, event in ipairs(all) do table.insert(list, x % (#list + 1) + 1, event) end
        x = x * 7 + 3
      end
      for _, event in ipairs(list) do
        local copy = {}
        for name, value in pairs(event) do copy[name] = value end
        s.told(copy)
      end
      local sums = s.sums()
      local now = { s.row(), s.now().payment_status, sums["cash:test"], sums["disputed:test"] }
      seen = seen or now
      t.same(now, seen, "round " .. round)
    end
    t.same(seen, { "disputed 600", "partially_refunded", -1300, 700 })
  end))
end)


t.describe("the money of a cart that went back without an order", function()
  local function given_back(fn)
    return live.test(function(raw)
      local shop = make_shop(raw)
      local asked = refs.named(raw)
      local cart = shop.cart { { shop.product("TEA", 999, 5), 3 } }
      shop.pay(cart, "test", "tok_requires_action")
      shop.complete(cart)
      raw.sql.exec("UPDATE payment_test_attempts SET state = 'captured', captured_amount = amount")
      raw.sql.exec("UPDATE stock SET on_hand = 0, reserved = 0")
      raw.sql.exec("UPDATE reservations SET state = 'expired'")
      several.later(raw, 120)
      assert(raw.require("till.flow.sweep").run())
      fn(raw, shop, asked, raw.require("till.store.payments").of_cart(cart)[1])
    end)
  end

  t.it("is given again by the sweep, under other keys, and not for ever", given_back(
    function(raw, shop, asked, p)
      local function state() return raw.sql.one("SELECT state FROM payments").state end
      local function fails()
        refs.come_back(raw)
        assert(raw.sql.transaction(function(tx)
          return raw.require("till.flow.booking").book(tx, p.id, { kind = "refund_failed",
            reference = "re_" .. #asked, amount = p.amount })
        end))
      end
      t.same({ state(), #asked, p.order_id }, { "refunded", 1 })
      for n = 1, 3 do
        fails()
        t.same({ state(), shop.count("alerts", "kind = 'refund.failed' AND state = 'open'"),
          several.sums(raw)["cash:test"] }, { "captured", 1, p.amount })
        several.later(raw, 120 + n)
        raw.require("till.flow.sweep").run()
        if n < 3 then
          t.same({ state(), #asked }, { "refunded", n + 1 })
          t.equal(shop.count("alerts", "kind = 'refund.failed' AND state = 'open'"), 0)
        end
      end
      t.same({ state(), #asked }, { "captured", 3 })
      raw.sql.exec("UPDATE payment_test_attempts SET state = 'refunded'") -- by hand, there
      shop.must(raw.admin("POST", "/admin/v1/payments/" .. p.id .. "/resolve",
        { as = "refunded", reason = "by bank transfer" }, shop.key()))
      t.same({ state(), several.sums(raw),
        shop.count("alerts", "kind = 'refund.failed' AND state = 'open'") }, { "refunded", {}, 0 })
    end))
end)
