-- Parts that have no outcome while something else happens to their payment.
local t = require "till.test"
local kit = require "tests.support.captures"

local with_order, cash, book = kit.with_order, kit.cash, kit.book


-- A while after it was asked for: nobody believes earlier that it was not taken.
local function resolve(s, as)
  s.raw.clock.skip_ms = s.raw.clock.skip_ms + 60000
  return s.raw.admin("POST", "/admin/v1/payments/" .. s.id .. "/resolve",
    { as = as, reason = "their list says so" }, s.shop.key())
end


-- What goes on with a part by itself is due a while after it was asked for.
local function work_later(s)
  s.raw.sql.exec "UPDATE outbox SET available_at = '2020-01-01'"
  s.shop.work()
end


local function part_of(s)
  return s.raw.sql.one("SELECT state FROM captures ORDER BY id DESC").state
end


local function alert(s, kind)
  local row = s.raw.sql.one("SELECT state, detail FROM alerts WHERE kind = ?", kind)
  return row and row.state or nil,
    row and s.raw.require("till.prim.json").decode(row.detail) or nil
end


-- The provider takes it and his answer is lost; he cannot be asked either. -> mend
local function lose_answer(s, amount)
  local was = s.dispatch.plugin
  s.dispatch.plugin = function(name, what, ...)
    if what == "payment.capture" then was(name, what, ...) end
    if what == "payment.capture" or what == "payment.lookup" then return { outcome = "unknown" } end
    return was(name, what, ...)
  end
  t.equal((s.pay(amount)), 503)
  return function() s.dispatch.plugin = was end
end


local function resolved(s)
  local mend = lose_answer(s, 500)
  return { as = function(as) return resolve(s, as) end, mend = mend }
end


-- A dispute of 1000 of what was captured came while another 500 had no outcome.
local function disputed(fn)
  return with_order(function(s)
    s.shop.must(s.pay(1000))
    local verdict = resolved(s)
    book(s, { kind = "disputed", amount = 1000, reference = "dp_one" })
    fn(s, verdict)
  end)
end


t.describe("a part that has no outcome when a dispute comes", function()
  for _, ended in ipairs { "disputed", "won", "lost" } do
    t.it("is taken by the word of staff: " .. ended, disputed(function(s, verdict)
      if ended ~= "disputed" then book(s, { kind = ended, reference = "dp_one" }) end
      t.equal((verdict.as "captured"), 200)
      t.same({ part_of(s), s.payment().state }, { "done", ended })
      t.equal(cash(s), ended == "won" and 1500 or 500)
      verdict.mend()
    end))
  end

  t.it("is not taken by their word", disputed(function(s, verdict)
    t.equal((verdict.as "not_captured"), 200)
    t.same({ part_of(s), s.payment().state, cash(s) }, { "refused", "disputed", 0 })
    verdict.mend()
  end))

  t.it("is booked once the provider says so", disputed(function(s, verdict)
    verdict.mend()
    work_later(s)
    t.same({ part_of(s), s.payment().state, cash(s) }, { "done", "disputed", 500 })
  end))

  t.it("goes back with the rest when that was won and the order is cancelled",
    disputed(function(s, verdict)
      verdict.mend()
      book(s, { kind = "won", reference = "dp_one" })
      s.shop.must(s.raw.admin("POST", "/admin/v1/orders/" .. s.order.id .. "/cancel",
        { reason = "x" }, s.shop.key()))
      s.shop.work()
      t.same({ part_of(s), cash(s), s.payment().state }, { "done", 0, "refunded" })
      t.equal(kit.at_provider(s).n, 1500)
      local back = s.raw.sql.one("SELECT CAST(SUM(amount) AS SIGNED) AS n"
        .. " FROM payment_test_refunds").n
      t.equal(back, 1500)
    end))
end)


t.describe("a payment of which a part has no outcome", function()
  t.it("is not let go of by the word of staff before that has one", with_order(function(s)
    local verdict = resolved(s)
    local status, problem = verdict.as "voided"
    t.equal(status, 409)
    t.ok(problem.detail:find("not_captured first", 1, true), problem.detail)
    t.same({ s.payment().state, part_of(s) }, { "authorized", "asked" })
    t.equal((verdict.as "not_captured"), 200)
    t.equal((verdict.as "voided"), 200)
    t.equal(s.payment().state, "voided")
    verdict.mend()
  end))

  t.it("is not let go of while all of it has none, either", with_order(function(s)
    local verdict = { mend = lose_answer(s) }
    t.equal((resolve(s, "voided")), 409)
    t.equal((resolve(s, "captured")), 200)
    t.equal(cash(s), s.total)
    verdict.mend()
  end))

  t.it("tells staff of what was taken and does not fit, until they have seen to it",
    with_order(function(s)
      local verdict = resolved(s)
      book(s, { kind = "voided", reference = "gone" })
      verdict.mend()
      work_later(s)
      local state, detail = alert(s, "payment.capture_unbooked")
      t.same({ state, detail.payment_id, detail.amount }, { "open", s.id, 500 })
      t.same({ cash(s), part_of(s) }, { 0, "asked" })
      local run = s.raw.require("till.flow.authorizations").run
      t.ok(run())
      t.equal((alert(s, "payment.capture_unbooked")), "open")
      t.equal(kit.at_provider(s).n, 500)
      s.raw.sql.exec "UPDATE payment_test_attempts SET captured_amount = 0" -- given back there
      local as_said, problem = resolve(s, "not_captured")
      t.equal(as_said, 200, problem.detail)
      t.ok(run())
      t.same({ alert(s, "payment.capture_unbooked"), part_of(s) }, { "closed", "refused" })
    end))
end)


t.describe("a part that another has ended while its own request was slow", function()
  t.it("was taken, whatever the provider says to the second request", with_order(function(s)
    local is_slow, key = true, s.shop.key()
    local mend = kit.instead(s, "payment.capture", function(_, go_on)
      if not is_slow then return go_on() end
      is_slow = false
      s.shop.must(s.raw.admin("POST", "/admin/v1/orders/" .. s.order.id .. "/cancel", {},
        s.shop.key()))
      return { outcome = "declined", reason = "it is refunded" }
    end)
    local status, body = s.pay(500, nil, key)
    mend()
    t.same({ status, part_of(s), cash(s) }, { 200, "done", 0 })
    t.equal(body.payment.refunded_amount.amount, 500)
    local status2, body2 = s.pay(500, nil, key)
    t.same({ status2, body2 }, { status, body }, "the same under its key")
  end))
end)


t.describe("goods that are sent while a part of their payment was disputed", function()
  local function send(s, n)
    s.shop.must(s.raw.admin("POST", "/admin/v1/orders/" .. s.order.id .. "/fulfilments",
      { lines = { { line_id = s.now().lines[1].id, quantity = n } } }, s.shop.key()))
    s.shop.work()
  end

  -- fn(s) after a dispute of all that was captured: 1000
  local function with_dispute(fn)
    return with_order(function(s)
      s.shop.must(s.pay(1000))
      book(s, { kind = "disputed", amount = 1000, reference = "dp_one" })
      t.same({ s.now().payment_status, kit.outbox(s, "order.paid") }, { "partially_captured", 0 })
      t.equal(s.payment().left_amount.amount, s.total - 1000)
      fn(s)
    end, "fulfilment")
  end

  t.it("are captured once that was won", with_dispute(function(s)
    book(s, { kind = "won", reference = "dp_one" })
    send(s, 3)
    t.same({ cash(s), kit.at_provider(s).n, s.now().payment_status, s.payment().state },
      { s.total, s.total, "captured", "won" })
    t.equal(kit.outbox(s, "order.paid"), 1)
    t.equal((s.pay()), 200)
  end))

  for _, ended in ipairs { "disputed", "lost" } do
    t.it("are told to staff: " .. ended, with_dispute(function(s)
      if ended == "lost" then book(s, { kind = "lost", reference = "dp_one" }) end
      local status, problem = s.pay()
      t.equal(status, 409)
      t.ok(problem.detail:find("that is " .. ended .. " cannot be captured", 1, true),
        problem.detail)
      t.equal((s.pay(100)), 409)
      send(s, 3)
      local state, detail = alert(s, "payment.capture_refused")
      t.same({ state, detail.reason, detail.amount }, { "open", "the payment is " .. ended,
        s.total - 1000 })
      t.same({ cash(s), kit.at_provider(s).n, kit.outbox(s, "order.paid") }, { 0, 1000, 0 })
    end))
  end

  t.it("are captured by staff once that was won, and the alert ends", with_dispute(function(s)
    send(s, 3)
    book(s, { kind = "won", reference = "dp_one" })
    local run = s.raw.require("till.flow.authorizations").run
    t.ok(run())
    t.equal((alert(s, "payment.capture_refused")), "open")
    s.shop.must(s.pay())
    t.ok(run())
    t.same({ alert(s, "payment.capture_refused"), cash(s) }, { "closed", s.total })
  end))

  t.it("give back all that was won, and let go of the rest", with_dispute(function(s)
    book(s, { kind = "won", reference = "dp_one" })
    s.shop.must(s.raw.admin("POST", "/admin/v1/orders/" .. s.order.id .. "/cancel",
      { reason = "x" }, s.shop.key()))
    s.shop.work()
    t.same({ cash(s), s.payment().state, s.now().payment_status }, { 0, "refunded", "refunded" })
    local open = s.raw.sql.one("SELECT CAST(SUM(amount) AS SIGNED) AS n FROM ledger_entries"
      .. " WHERE account = 'receivable'")
    t.equal(open.n, 0)
  end))
end)


t.describe("the last goods that are sent while a capture has no outcome", function()
  local function send(s, n)
    s.shop.must(s.raw.admin("POST", "/admin/v1/orders/" .. s.order.id .. "/fulfilments",
      { lines = { { line_id = s.now().lines[1].id, quantity = n } } }, s.shop.key()))
  end

  local function unknown(s, amount)
    local mend = kit.instead(s, "payment.capture", function() return { outcome = "unknown" } end)
    t.equal((s.pay(amount)), 503)
    return mend
  end

  for _, case in ipairs { { why = "all of it" }, { why = "a part", amount = 500 } } do
    t.it("are captured once it has one: " .. case.why, with_order(function(s)
      local mend = unknown(s, case.amount)
      send(s, 3)
      s.shop.work()
      t.equal(cash(s), 0)
      mend()
      work_later(s)
      work_later(s)
      t.same({ cash(s), s.now().payment_status }, { s.total, "captured" })
      t.equal(kit.at_provider(s).n, s.total)
      t.equal(s.shop.count("captures", "state IN ('queued', 'asked')"), 0)
    end, "fulfilment"))

    t.it("are captured also where it is declined: " .. case.why, with_order(function(s)
      local mend = unknown(s, case.amount)
      send(s, 3)
      mend()
      local n = 0
      mend = kit.instead(s, "payment.capture", function(_, go_on)
        n = n + 1
        if n == 1 then return { outcome = "declined", reason = "busy" } end
        return go_on()
      end)
      for _ = 1, 3 do work_later(s) end
      mend()
      t.same({ cash(s), s.now().payment_status }, { s.total, "captured" })
      t.equal(s.shop.count("captures", "state IN ('queued', 'asked')"), 0)
    end, "fulfilment"))
  end
end)


t.describe("a capture of all that has no outcome", function()
  t.it("is gone on with by itself", with_order(function(s)
    local mend = lose_answer(s)
    mend()
    work_later(s)
    t.same({ cash(s), s.now().payment_status }, { s.total, "captured" })
  end))

  t.it("is not begun anew by that", with_order(function(s)
    local mend = kit.instead(s, "payment.capture", function()
      return { outcome = "declined", reason = "no" }
    end)
    t.equal((s.pay()), 402)
    mend()
    work_later(s)
    t.same({ cash(s), s.payment().state }, { 0, "authorized" })
  end))
end)


t.describe("a part that staff capture", function()
  t.it("before the job that captures all leaves the rest to that", with_order(function(s)
    s.shop.must(s.pay(500))
    local event = { payment_id = s.id, order_id = s.order.id }
    local capture = s.raw.require("till.flow.job_handlers").one["payment.capture"]
    t.ok(capture(event))
    t.same({ cash(s), s.now().payment_status }, { s.total, "captured" })
    t.ok(capture(event))
    t.equal(s.shop.count("captures"), 2)
  end))

  t.it("of all that is left has the provider let go of what was cancelled before",
    with_order(function(s)
      s.shop.must(s.pay(500))
      s.shop.must(s.raw.admin("POST", "/admin/v1/orders/" .. s.order.id .. "/cancel",
        { reason = "x", lines = { { line_id = s.now().lines[1].id, quantity = 1 } } },
        s.shop.key()))
      local queue = s.raw.require "till.store.captures"
      local outbox = s.raw.require "till.prim.outbox"
      assert(s.raw.sql.transaction(function(tx)
        local c = assert(queue.create(tx, { payment_id = s.id, order_id = s.order.id,
          request = "parcel", amount = s.total - 999 - 500, final = false, state = "queued",
          actor = "system" }))
        return outbox.append(tx, { { aggregate = "order:" .. s.order.id,
          type = "payment.capture_part", payload = { capture_id = c.id, payment_id = s.id,
            order_id = s.order.id } } })
      end))
      s.shop.work()
      t.same({ cash(s), s.now().payment_status }, { s.total - 999, "captured" })
      t.equal(kit.outbox(s, "payment.release"), 1)
      t.same({ kit.at_provider(s).state, kit.at_provider(s).n }, { "captured", s.total - 999 })
    end))
end)


t.describe("goods that were sent and whose capture is refused", function()
  t.it("are told to staff until nothing is left to be captured", with_order(function(s)
    local mend = kit.instead(s, "payment.capture", function()
      return { outcome = "declined", reason = "expired" }
    end)
    s.shop.must(s.raw.admin("POST", "/admin/v1/orders/" .. s.order.id .. "/fulfilments",
      { lines = { { line_id = s.now().lines[1].id, quantity = 3 } } }, s.shop.key()))
    s.shop.work()
    mend()
    local state, detail = alert(s, "payment.capture_refused")
    t.same({ state, detail.amount, detail.order_id }, { "open", s.total, s.order.id })
    s.shop.must(s.pay())
    t.ok(s.raw.require("till.flow.authorizations").run())
    t.equal((alert(s, "payment.capture_refused")), "closed")
  end, "fulfilment"))
end)
