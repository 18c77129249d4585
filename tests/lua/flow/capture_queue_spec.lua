local t = require "till.test"
local kit = require "tests.support.captures"

local with_order, cash, at_provider = kit.with_order, kit.cash, kit.at_provider
local outbox, as = kit.outbox, kit.as


local function cancel(s, n)
  return s.shop.must(s.raw.admin("POST", "/admin/v1/orders/" .. s.order.id .. "/cancel",
    { reason = "no", lines = n and { { line_id = s.now().lines[1].id, quantity = n } } or nil },
    s.shop.key()))
end


local function send(s, n)
  return s.shop.must(s.raw.admin("POST", "/admin/v1/orders/" .. s.order.id .. "/fulfilments",
    { lines = { { line_id = s.now().lines[1].id, quantity = n } } }, s.shop.key()))
end


t.describe("an order that was captured in part", function()
  t.it("gives back what was captured and lets go of the rest when it is cancelled", with_order(
    function(s)
      s.shop.must(s.pay(1000))
      cancel(s)
      s.shop.work()
      local p = s.payment()
      t.same({ p.state, p.refunded_amount.amount, p.released_amount.amount },
        { "refunded", 1000, s.total - 1000 })
      t.same({ s.now().payment_status, cash(s), outbox(s, "order.paid") }, { "refunded", 0, 0 })
      t.same({ at_provider(s).n, s.shop.count("payment_test_refunds") }, { 1000, 1 })
    end))

  t.it("lets go of units that are cancelled, and refunds none of them", with_order(function(s)
    s.shop.must(s.pay(1000))
    cancel(s, 1)
    local p = s.payment()
    t.same({ p.released_amount.amount, p.refunded_amount.amount, p.left_amount.amount },
      { 999, 0, s.total - 1999 })
    t.equal(s.now().payment_status, "partially_captured")
    s.shop.must(s.pay())
    t.same({ cash(s), s.now().payment_status }, { s.total - 999, "captured" })
    local open = s.raw.sql.one("SELECT CAST(SUM(amount) AS SIGNED) AS n FROM ledger_entries"
      .. " WHERE account = 'receivable'")
    t.equal(open.n, 0)
  end))
end)


t.describe("what is captured as goods are sent", function()
  t.it("is what the units come to, the shipping with the first, the rest with the last",
    with_order(function(s)
      t.equal(s.now().payment_status, "authorized")
      send(s, 1)
      s.shop.work()
      t.same({ cash(s), s.now().payment_status }, { s.total - 2 * 999, "partially_captured" })
      send(s, 1)
      s.shop.work()
      t.equal(cash(s), s.total - 999)
      send(s, 1)
      s.shop.work()
      t.same({ cash(s), s.now().payment_status, s.now().status },
        { s.total, "captured", "completed" })
      t.same({ at_provider(s).state, outbox(s, "order.paid") }, { "captured", 1 })
    end, "fulfilment"))

  t.it("is never what was cancelled, and the provider is told of that", with_order(function(s)
    send(s, 1)
    s.shop.work()
    cancel(s, 2)
    s.shop.work()
    t.same({ cash(s), s.now().payment_status, s.now().status },
      { s.total - 2 * 999, "captured", "completed" })
    t.same({ at_provider(s).state, at_provider(s).n }, { "captured", s.total - 2 * 999 })
    t.equal(s.shop.count("payment_test_refunds"), 0)
  end, "fulfilment"))

  t.it("waits for the last unit where a payment is captured once", with_order(function(s)
    as(s, "multiple_captures", false)
    send(s, 2)
    s.shop.work()
    t.equal(cash(s), 0)
    cancel(s, 1)
    s.shop.work()
    t.equal(s.now().status, "completed")
    t.same({ cash(s), s.now().payment_status }, { s.total - 999, "captured" })
  end, "fulfilment"))

  t.it("is all of it with the first where a provider takes all or nothing", with_order(function(s)
    as(s, "partial_capture", false)
    as(s, "multiple_captures", false)
    send(s, 1)
    s.shop.work()
    t.same({ cash(s), s.now().payment_status }, { s.total, "captured" })
  end, "fulfilment"))

  t.it("comes after what is packed was handed over", with_order(function(s)
    local made = s.shop.must(s.raw.admin("POST", "/admin/v1/orders/" .. s.order.id
      .. "/fulfilments", { status = "pending" }, s.shop.key()))
    s.shop.work()
    t.equal(cash(s), 0)
    local key = s.shop.key()
    local path = "/admin/v1/orders/" .. s.order.id .. "/fulfilments/" .. made.fulfilment.id
    s.shop.must(s.raw.admin("POST", path .. "/ship", {}, key))
    s.shop.work()
    t.equal(cash(s), s.total)
  end, "fulfilment"))
end)


t.describe("an order with two payments", function()
  t.it("is captured as it is sent, of the first-made one first", with_order(function(s)
    local function taken()
      local out = {}
      for i, row in ipairs(s.raw.sql.query("SELECT captured_amount AS n FROM"
        .. " payment_test_attempts ORDER BY amount")) do
        out[i] = row.n
      end
      return out
    end
    send(s, 1)
    s.shop.work()
    t.same({ cash(s), taken() }, { s.total - 1998, { 1000, s.total - 2998 } })
    t.equal(s.now().payment_status, "partially_captured")
    cancel(s, 1)
    send(s, 1)
    s.shop.work()
    t.same({ cash(s), taken() }, { s.total - 999, { 1000, s.total - 1999 } })
    t.same({ s.now().payment_status, outbox(s, "order.paid") }, { "captured", 1 })
  end, "fulfilment", 1000))
end)


t.describe("an order of which the rest was lost", function()
  local function lose(s, amount)
    local booking = s.raw.require "till.flow.booking"
    s.raw.sql.transaction(function(tx)
      return assert(booking.book(tx, s.id, { kind = "voided", amount = amount, reference = "x",
        actor = "provider:test" }))
    end)
  end

  t.it("gives nothing back for what was never paid", with_order(function(s)
    s.shop.must(s.pay(s.total - 1998))
    lose(s, 1998)
    t.same({ s.now().payment_status, outbox(s, "order.paid") }, { "partially_captured", 0 })
    cancel(s, 1)
    t.same({ s.now().payment_status, outbox(s, "order.paid") }, { "partially_captured", 0 })
    cancel(s, 1)
    s.shop.work()
    t.same({ s.now().payment_status, outbox(s, "order.paid") }, { "captured", 1 })
    t.same({ cash(s), s.shop.count("payment_test_refunds") }, { s.total - 1998, 0 })
    local open = s.raw.sql.one("SELECT CAST(SUM(amount) AS SIGNED) AS n FROM ledger_entries"
      .. " WHERE account = 'receivable'")
    t.equal(open.n, 0)
    cancel(s)
    s.shop.work()
    t.same({ cash(s), s.now().payment_status }, { 0, "refunded" })
  end))
end)
