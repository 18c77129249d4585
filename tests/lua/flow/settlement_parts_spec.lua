-- Captures in parts, and what reconciliation finds of them while they are asked for.
local t = require "till.test"
local kit = require "tests.support.captures"

local with_order, cash, instead = kit.with_order, kit.cash, kit.instead
local DAY_MS = 86400000


-- back: what of it goes back.
local function with_run(fn, back)
  return with_order(function(s)
    local time, n = s.raw.require "till.prim.time", 0
    local store, now = s.raw.require "till.store.settlements", time.now_ms()
    local run = store.claim(assert(s.raw.sql.transaction(function(tx)
      return store.begin(tx, { provider = "test", from_ms = now - DAY_MS, to_ms = now + DAY_MS })
    end)), 60000)
    s.run = run
    -- What a provider tells of one capture, with its name or without; fee and all.
    function s.charge(amount, source, of)
      n = of or n + 1
      local judge = s.raw.require "till.flow.settlement_judge"
      t.ok(judge.one(run, { reference = "txn_" .. (source or n), kind = "charge", amount = amount,
        source = source, payment_id = s.id, currency = "GBP", fee = 7, at_ms = time.now_ms() }))
      t.ok(judge.rest(run, function() return true end))
    end
    function s.found()
      local out = {}
      for i, row in ipairs(s.raw.sql.query("SELECT verdict FROM settlement_items"
        .. " ORDER BY id")) do out[i] = row.verdict end
      return table.concat(out, " ")
    end
    function s.parts()
      local out = {}
      for i, row in ipairs(s.raw.sql.query("SELECT amount FROM payment_events"
        .. " WHERE kind = 'captured' ORDER BY seq")) do out[i] = row.amount end
      return out
    end
    fn(s)
    t.equal(cash(s), s.payment().capture_amount.amount - 7 * #s.parts() - (back or 0))
  end)
end


t.describe("a part of a payment that reconciliation finds", function()
  for _, case in ipairs { { "with its name", "cap_a", "cap_b" }, { "without a name" } } do
    t.it("before its answer was heard is booked once, " .. case[1], with_run(function(s)
      local n = 0
      local mend = instead(s, "payment.capture", function(request, go_on)
        local answer = go_on()
        n = n + 1
        s.charge(request.amount, case[n + 1])
        return answer
      end)
      s.shop.must(s.pay(500))
      s.shop.must(s.pay(500))
      mend()
      for i = 1, 2 do s.charge(500, case[i + 1], i) end -- as the next run
      t.same({ s.parts(), s.found() }, { { 500, 500 }, "matched matched" })
      t.equal(s.shop.count("alerts", "kind LIKE 'settlement.%' AND state = 'open'"), 0)
      t.same({ s.payment().capture_amount.amount, s.now().payment_status,
        s.shop.count("captures", "state = 'done'") }, { 1000, "partially_captured", 2 })
    end))

    t.it("after it was booked is that one, " .. case[1], with_run(function(s)
      s.shop.must(s.pay(500))
      s.shop.must(s.pay(500))
      s.charge(500, case[2])
      s.charge(500, case[3])
      t.same({ s.parts(), s.found() }, { { 500, 500 }, "matched matched" })
    end))
  end

  t.it("whose answer was lost is booked once, whoever goes on with it", with_run(function(s)
    local mend = instead(s, "payment.capture", function(request, go_on)
      go_on()
      return { outcome = "unknown" }
    end)
    local mend_look = instead(s, "payment.lookup", function() return { outcome = "unknown" } end)
    t.equal((s.pay(500)), 503)
    s.charge(500, "cap_a")
    mend_look()
    mend()
    s.shop.must(s.pay(300))
    s.charge(300, "cap_b")
    t.same({ s.parts(), s.found() }, { { 500, 300 }, "matched matched" })
    t.same({ s.shop.count("captures", "state = 'done'"),
      s.shop.count("captures", "state = 'asked'") }, { 2, 0 })
  end))
end)


t.describe("a refund that bears no name", function()
  t.it("and that the shop asks for just now is booked by who asked, once", with_run(function(s)
    s.shop.must(s.pay(s.total))
    s.charge(s.total, "cap_a")
    local told, judge = 0, s.raw.require "till.flow.settlement_judge"
    local function refund()
      told = told + 1
      t.ok(judge.one(s.run, { reference = "txn_back", kind = "refund", amount = -100, fee = 0,
        payment_id = s.id, currency = "GBP", at_ms = s.run.from_ms + DAY_MS }))
      t.ok(judge.rest(s.run, function() return true end))
    end
    local mend = instead(s, "payment.refund", function(_, go_on)
      local answer = go_on()
      refund()
      answer.refund_ref = nil
      return answer
    end)
    s.shop.must(s.raw.admin("POST", "/admin/v1/orders/" .. s.order.id .. "/refunds",
      { amount = { amount = 100, currency = "GBP" }, reason = "spec" }, s.shop.key()))
    s.shop.work()
    mend()
    t.equal(told, 1)
    refund()
    t.same({ s.found(), s.shop.count("payment_events", "kind = 'refunded'"),
      s.shop.count("payments", "refunded_amount = 100") }, { "matched matched", 1, 1 })
  end, 100))
end)
