local t = require "till.test"
local kit = require "tests.support.captures"

local with_order, cash, at_provider = kit.with_order, kit.cash, kit.at_provider
local outbox, as, instead = kit.outbox, kit.as, kit.instead


t.describe("a payment captured in parts", function()
  t.it("says what is left, and is paid once all is captured", with_order(function(s)
    local first = s.shop.must(s.pay(1000))
    t.same({ first.payment.state, first.payment.capture_amount.amount,
      first.payment.left_amount.amount }, { "captured", 1000, s.total - 1000 })
    t.equal(s.now().payment_status, "partially_captured")
    t.same({ outbox(s, "order.paid"), outbox(s, "payment.captured_part") }, { 0, 1 })
    s.shop.must(s.pay(500))
    t.same({ cash(s), at_provider(s).state, at_provider(s).n }, { 1500, "authorized", 1500 })
    s.shop.must(s.pay())
    t.same({ cash(s), at_provider(s).state, at_provider(s).n }, { s.total, "captured", s.total })
    t.equal(s.now().payment_status, "captured")
    t.equal(outbox(s, "order.paid"), 1)
    local events = s.raw.sql.query("SELECT amount FROM payment_events WHERE kind = 'captured'"
      .. " ORDER BY seq")
    t.same({ events[1].amount, events[2].amount, events[3].amount },
      { 1000, 500, s.total - 1500 })
  end))

  t.it("is refused what is no amount of it, and nothing changes", with_order(function(s)
    for _, amount in ipairs { 0, -1, s.total + 1 } do
      local status, body = s.pay(amount)
      t.same({ status, body.errors[1].pointer }, { 422, "/amount/amount" }, tostring(amount))
    end
    local status, body = s.raw.admin("POST", "/admin/v1/payments/" .. s.id .. "/capture",
      { amount = { amount = 10, currency = "EUR" } }, s.shop.key())
    t.same({ status, body.errors[1].pointer }, { 422, "/amount/currency" })
    t.equal(s.pay(1.5), 422)
    s.shop.must(s.pay(s.total - 10))
    t.equal(s.pay(11), 422)
    t.same({ s.shop.count("captures"), cash(s) }, { 1, s.total - 10 })
    s.shop.must(s.pay(10))
    t.equal(s.pay(1), 409)
    t.equal(s.shop.count("captures"), 2)
  end))

  t.it("lets go of the rest with the last part", with_order(function(s)
    s.shop.must(s.pay(1000))
    local last = s.shop.must(s.pay(200, { final = true })).payment
    t.same({ last.state, last.capture_amount.amount, last.released_amount.amount,
      last.left_amount.amount }, { "captured", 1200, s.total - 1200, 0 })
    t.equal(s.now().payment_status, "captured")
    t.equal(s.pay(1), 409)
    t.same({ at_provider(s).state, at_provider(s).n }, { "captured", 1200 })
  end))

  t.table({
    { why = "no part where all is taken or nothing", name = "partial_capture", value = false,
      amount = 1000, words = "captures all of a payment or nothing" },
    { why = "no first part where a payment is captured once", name = "multiple_captures",
      value = false, amount = 1000, words = "say `final`" },
    { why = "no second part where a payment is captured once", name = "multiple_captures",
      value = false, amount = 10, before = 1000, words = "ask the shopper for another payment" },
  }, function(case)
    with_order(function(s)
      if case.before then s.shop.must(s.pay(case.before)) end
      as(s, case.name, case.value)
      local status, body = s.pay(case.amount)
      t.equal(status, 409)
      t.ok(body.detail:find(case.words, 1, true), body.detail)
      t.equal(cash(s), case.before or 0)
    end)()
  end)

  t.it("is captured once and less, where its provider captures once", with_order(function(s)
    as(s, "multiple_captures", false)
    local p = s.shop.must(s.pay(1000, { final = true })).payment
    t.same({ p.capture_amount.amount, p.left_amount.amount }, { 1000, 0 })
    t.same({ s.now().payment_status, at_provider(s).n }, { "captured", 1000 })
  end))

  t.it("is no part any more once it was voided", with_order(function(s)
    s.shop.must(s.raw.admin("POST", "/admin/v1/orders/" .. s.order.id .. "/cancel",
      { reason = "no" }, s.shop.key()))
    t.equal(s.pay(10), 409)
    t.equal(cash(s), 0)
  end))
end)


t.describe("a part of a capture", function()
  t.it("whose answer is lost is looked up, and booked once", with_order(function(s)
    s.shop.must(s.pay(1000))
    local mend = instead(s, "payment.capture", function(_, go_on)
      go_on()
      return { outcome = "unknown" }
    end)
    s.shop.must(s.pay(300))
    mend()
    t.same({ cash(s), at_provider(s).n }, { 1300, 1300 })
  end))

  t.it("that never came to the provider stays without an outcome, under one key", with_order(
    function(s)
      s.shop.must(s.pay(1000))
      local keys = {}
      local mend = instead(s, "payment.capture", function(request)
        keys[request.idem_key] = true
        return { outcome = "unknown" }
      end)
      local key = s.shop.key()
      t.equal(s.pay(300, nil, key), 503)
      t.equal(s.pay(400), 503, "another one has it ended first")
      local n = 0
      for _ in pairs(keys) do n = n + 1 end
      t.equal(n, 1)
      mend()
      s.shop.must(s.pay(400))
      t.same({ cash(s), at_provider(s).n }, { 1700, 1700 })
      s.shop.must(s.pay(300, nil, key))
      t.same({ cash(s), at_provider(s).n, s.shop.count("captures") }, { 1700, 1700, 3 })
    end))

  t.table({
    { why = "of which the provider says another sum is not booked", sum = 1299 },
    { why = "of which the provider has as much as before is not booked", sum = 1000 },
    { why = "of which the provider has the sum is booked", sum = 1300, is_booked = true },
  }, function(case)
    with_order(function(s)
      s.shop.must(s.pay(1000))
      local mend = instead(s, "payment.capture", function() return { outcome = "unknown" } end)
      local mend_lookup = instead(s, "payment.lookup", function()
        return { outcome = "authorized", captured_amount = case.sum }
      end)
      t.equal(s.pay(300), case.is_booked and 200 or 503)
      t.equal(cash(s), case.is_booked and 1300 or 1000)
      if case.is_booked then return end
      s.raw.clock.skip_ms = s.raw.clock.skip_ms + 24 * 3600000
      local asked = false
      local mend_more = instead(s, "payment.capture", function(_, go_on)
        asked = true
        return go_on()
      end)
      t.equal(s.pay(300), 503)
      t.equal(asked, false, "an old one is only looked up")
      mend_more()
      mend_lookup()
      mend()
      t.equal(cash(s), 1000)
    end)()
  end)

  t.it("is gone on with by the jobs workers", with_order(function(s)
    local mend = instead(s, "payment.capture", function() return { outcome = "unknown" } end)
    t.equal(s.pay(300), 503)
    mend()
    s.raw.sql.exec("UPDATE outbox SET available_at = '2020-01-01'")
    s.shop.work()
    t.same({ cash(s), at_provider(s).n }, { 300, 300 })
    t.equal(s.now().payment_status, "partially_captured")
  end))

  t.it("that was declined leaves the payment as it was, and may be asked for anew", with_order(
    function(s)
      local mend = instead(s, "payment.capture", function()
        return { outcome = "declined", reason = "the card expired" }
      end)
      local key = s.shop.key()
      t.equal(s.pay(300, nil, key), 402)
      mend()
      t.equal(s.pay(300, nil, key), 402, "the same request has the same answer")
      t.equal(s.payment().state, "authorized")
      s.shop.must(s.pay(500))
      t.same({ cash(s), at_provider(s).n }, { 500, 500 })
    end))

  t.it("of the same Idempotency-Key with another amount is refused", with_order(function(s)
    local mend = instead(s, "payment.capture", function() return { outcome = "unknown" } end)
    local key = s.shop.key()
    t.equal(s.pay(300, nil, key), 503)
    mend()
    local status, body = s.pay(301, nil, key)
    t.same({ status, body.code }, { 422, "idempotency_key_reused" })
    s.shop.must(s.pay(300, nil, key))
    t.equal(cash(s), 300)
  end))

  t.it("told by the provider before its answer came is booked once", with_order(function(s)
    local booking = s.raw.require "till.flow.booking"
    local sql = s.raw.require "till.prim.sql"
    s.shop.must(s.pay(1000))
    local mend = instead(s, "payment.capture", function(_, go_on)
      local answer = go_on()
      assert(sql.transaction(function(tx)
        return booking.book(tx, s.id, { kind = "captured", amount = 300, reference = "cap_x" })
      end))
      return answer
    end)
    s.shop.must(s.pay(300))
    mend()
    t.same({ cash(s), s.payment().capture_amount.amount }, { 1300, 1300 })
  end))

  t.table({
    { why = "that staff say was captured is booked once, the first", as = "captured", before = 0 },
    { why = "that staff say was captured is booked once", as = "captured", before = 100 },
    { why = "that staff say was not, is over, the first", as = "not_captured", before = 0 },
    { why = "that staff say was not, is over", as = "not_captured", before = 100 },
  }, function(case)
    with_order(function(s)
      if case.before > 0 then s.shop.must(s.pay(case.before)) end
      local mend = instead(s, "payment.capture", function() return { outcome = "unknown" } end)
      t.equal(s.pay(300), 503)
      local function resolve(verdict)
        return s.raw.admin("POST", "/admin/v1/payments/" .. s.id .. "/resolve",
          { as = verdict, reason = "seen there" }, s.shop.key())
      end
      t.equal((resolve "captured"), 409, "the provider has none of it")
      local mend_lookup = instead(s, "payment.lookup",
        function() return { outcome = "unknown" } end)
      if case.as == "not_captured" then
        t.equal((resolve(case.as)), 409, "it may be taken still")
        s.raw.clock.skip_ms = s.raw.clock.skip_ms + 60000
      end
      s.shop.must(resolve(case.as))
      mend_lookup()
      mend()
      s.raw.sql.exec("UPDATE outbox SET available_at = '2020-01-01'")
      s.shop.work()
      local sum = case.before + (case.as == "captured" and 300 or 0)
      t.equal(cash(s), sum)
      if case.as == "captured" then return t.equal(s.payment().capture_amount.amount, sum) end
      s.shop.must(s.pay(200))
      t.same({ cash(s), at_provider(s).n }, { sum + 200, sum + 200 })
    end)()
  end)
end)
