-- What goes back of an order with several payments, and of which of them.
local random = require "tests.support.random"
local several = require "tests.support.several"
local t = require "till.test"
local with_shop = require "tests.support.stock"

local TOTAL, states, at_provider = several.TOTAL, several.states, several.at_provider
local sums, of_order, later = several.sums, several.of_order, several.later


local function path_of(order, rest) return "/admin/v1/orders/" .. order.id .. rest end


-- Two payments, the first of 700; captured unless `open`.
local function make(shop, raw, open, ...)
  local cart = several.parts_of(shop, raw, ...)
  local order = shop.must(shop.complete(cart)).order
  if not open then shop.work() end
  return of_order(shop, raw, order)
end


local function refund(shop, raw, order, n, key)
  return raw.admin("POST", path_of(order, "/refunds"), { reason = "spec",
    amount = { amount = n, currency = "GBP" } }, key or shop.key())
end


local function cancel(shop, raw, order, n, key)
  local lines = n and { { line_id = order.lines[1].id, quantity = n } } or nil
  return raw.admin("POST", path_of(order, "/cancel"), { lines = lines, reason = "spec" },
    key or shop.key())
end


-- Of each payment, oldest first: what was given back.
local function refunded(raw)
  local out = {}
  for i, row in ipairs(raw.sql.query "SELECT refunded_amount AS n FROM payments ORDER BY id") do
    out[i] = row.n
  end
  return out
end


local function at_rest(shop, raw)
  for _, row in ipairs(raw.sql.query("SELECT p.id, p.refunded_amount AS ours,"
    .. " (SELECT COALESCE(SUM(r.amount), 0) FROM payment_test_refunds r"
    .. " WHERE r.idem_key = p.idem_key) + 0 AS theirs FROM payments p")) do
    t.equal(tonumber(row.theirs), row.ours)
  end
  t.equal(shop.count("cancellations", "state = 'pending'"), 0)
  t.equal(shop.count("sagas", "name = 'cancellation' AND state <> 'done'"), 0)
end


local function resume(raw)
  later(raw, 1)
  local flow = raw.require "till.flow.cancellation_flow"
  for _, row in ipairs(raw.require("till.store.sagas").stuck(20)) do flow.resume(row) end
end


-- Nothing comes of what is asked of this payment, until the returned function is called.
local function silence(raw, payment_id, hooks)
  local dispatch = raw.require "till.plugin.dispatch"
  local was = dispatch.plugin
  dispatch.plugin = function(name, hook, about, ...)
    if hooks[hook] and about.payment_id == payment_id then return { outcome = "unknown" } end
    return was(name, hook, about, ...)
  end
  return function() dispatch.plugin = was end
end


t.describe("money of several payments", function()
  t.it("goes back of the last one first, in parts, to the cent", with_shop(function(shop, raw)
    local order = make(shop, raw, false, 700, "tok_ok", false, "tok_ok")
    t.equal((refund(shop, raw, order, 1000)), 200)
    t.same(refunded(raw), { 0, 1000 })
    local status, body = refund(shop, raw, order, 900)
    t.same({ status, body.refund.amount.amount, body.refund.state }, { 200, 900, "done" })
    t.same(refunded(raw), { 201, 1699 })
    local now = of_order(shop, raw, order)
    t.same({ now.payment_status, #now.refunds, now.refunds[2].amount.amount,
      #now.refunds[2].parts, now.refunds[2].parts[1].amount.amount },
      { "partially_refunded", 2, 900, 2, 699 })
    status, body = refund(shop, raw, order, 500)
    t.same({ status, body.errors[1].detail }, { 409, "only 499 of what was captured is left" })
    t.equal((refund(shop, raw, order, 499)), 200)
    t.same({ refunded(raw), of_order(shop, raw, order).payment_status },
      { { 700, 1699 }, "refunded" })
    t.same({ sums(raw)["cash:test"], sums(raw).receivable }, {})
    at_rest(shop, raw)
  end))

  t.it("is voided where it was not captured, before anything is refunded", with_shop(
    function(shop, raw)
      local order = make(shop, raw, false, 700, "tok_capture_declined", false, "tok_ok")
      t.equal(order.payment_status, "partially_captured")
      t.equal((cancel(shop, raw, order, 1)), 200)
      t.same({ states(raw), refunded(raw) }, { { "voided", "captured" }, { 0, 300 } })
      local now = of_order(shop, raw, order)
      t.same({ now.payment_status, now.cancellations[1].amount.amount, now.cancellations[1].money },
        { "partially_refunded", 1000, "refund" })
      t.equal((cancel(shop, raw, order)), 200)
      t.same({ states(raw), refunded(raw) }, { { "voided", "refunded" }, { 0, 1699 } })
      t.same({ sums(raw), of_order(shop, raw, order).payment_status }, { {}, "refunded" })
      at_rest(shop, raw)
    end))

  t.it("is not captured where nothing was: less of the last one, then none", with_shop(
    function(shop, raw)
      local order = make(shop, raw, true, 700, "tok_ok", false, "tok_ok")
      local status, body = cancel(shop, raw, order, 1)
      t.same({ status, body.cancellation.money }, { 200, "lowered" })
      shop.work()
      t.same(states(raw), { "captured", "captured" })
      t.equal(sums(raw)["cash:test"], TOTAL - 1000)
      t.equal((cancel(shop, raw, order)), 200)
      t.same({ refunded(raw), sums(raw) }, { { 700, 699 }, {} })
      at_rest(shop, raw)
    end))

  t.it("is told apart from what was never paid", with_shop(function(shop, raw)
    local order = make(shop, raw, false, 700, "tok_ok", false, "tok_capture_declined")
    local lost = order.payments[1]
    raw.sql.exec("UPDATE payment_test_attempts SET state = 'voided' WHERE idem_key = ?", lost.id)
    assert(raw.sql.transaction(function(tx)
      return raw.require("till.flow.booking").book(tx, lost.id, { kind = "voided",
        actor = "provider:test" })
    end))
    local status, body = cancel(shop, raw, order)
    local c = body.cancellation
    t.same({ status, c.amount.amount, c.released_amount.amount, #c.parts },
      { 200, TOTAL, TOTAL - 700, 2 })
    t.same({ c.parts[1].amount.amount, c.parts[2].amount.amount, c.parts[2].payment_id },
      { 700, TOTAL - 700 })
    t.same({ refunded(raw), sums(raw) }, { { 700, 0 }, {} })
  end))

  t.it("is voided of all where the whole order is cancelled", with_shop(function(shop, raw)
    local order, key = make(shop, raw, true, 700, "tok_ok", false, "tok_ok"), shop.key()
    local status, body = cancel(shop, raw, order, nil, key)
    t.same({ status, body.cancellation.state, body.cancellation.money,
      body.cancellation.amount.amount, #body.cancellation.parts },
      { 200, "done", "void", TOTAL, 2 })
    t.same({ states(raw), at_provider(raw) }, { { "voided", "voided" }, { "voided", "voided" } })
    t.same(select(2, cancel(shop, raw, order, nil, key)), body)
    t.same({ sums(raw), of_order(shop, raw, order).payment_status }, { {}, "voided" })
    at_rest(shop, raw)
  end))

  t.it("waits for the one payment that has no answer, and not for the other", with_shop(
    function(shop, raw)
      local order, key = make(shop, raw, false, 700, "tok_ok", false, "tok_ok"), shop.key()
      local first = order.payments[2].id
      local speak = silence(raw, first, { ["payment.refund"] = true, ["payment.lookup"] = true })
      local status, body = cancel(shop, raw, order, nil, key)
      t.same({ status, body.cancellation.state, refunded(raw) }, { 202, "pending", { 0, 1699 } })
      t.equal(of_order(shop, raw, order).cancellations[1].state, "pending")
      t.equal((cancel(shop, raw, order, nil, key)), 202)
      speak()
      resume(raw)
      t.same(refunded(raw), { 700, 1699 })
      status, body = cancel(shop, raw, order, nil, key)
      t.same({ status, body.cancellation.state, body.order.payment_status },
        { 200, "done", "refunded" })
      t.equal(shop.count("payment_test_refunds"), 2)
      at_rest(shop, raw)
    end))

  t.it("of a refund is done with the last payment", with_shop(function(shop, raw)
    local order = make(shop, raw, false, 700, "tok_ok", false, "tok_ok")
    local speak = silence(raw, order.payments[1].id,
      { ["payment.refund"] = true, ["payment.lookup"] = true })
    local status, body = refund(shop, raw, order, TOTAL)
    t.same({ status, body.refund.state, refunded(raw) }, { 202, "pending", { 700, 0 } })
    speak()
    resume(raw)
    t.equal(select(2, raw.admin("GET", "/admin/v1/refunds/" .. body.refund.id)).refund.state,
      "done")
    t.same(refunded(raw), { 700, 1699 })
    at_rest(shop, raw)
  end))

  t.it("does not go back while a bank disputes one of them", with_shop(function(shop, raw)
    local order = make(shop, raw, false, 700, "tok_ok", false, "tok_ok")
    local booking, p = raw.require "till.flow.booking", order.payments[1]
    local function told(kind)
      assert(raw.sql.transaction(function(tx)
        return booking.book(tx, p.id, { kind = kind, reference = "dp_1" })
      end))
    end
    told "disputed"
    t.equal((refund(shop, raw, order, 100)), 409)
    told "lost"
    local status, body = cancel(shop, raw, order)
    t.same({ status, body.cancellation.amount.amount, refunded(raw) }, { 200, 700, { 700, 0 } })
    t.same(sums(raw), {})
    at_rest(shop, raw)
  end))

  t.it("comes to what was paid, in whatever parts and order it goes back", with_shop(
    function(shop, raw)
      local numbers = random.new(7)
      local function draw(n) return numbers.below(n) + 1 end
      for round = 1, 6 do
        local cart = shop.cart { { shop.product("ODD" .. round, 333 + round, 9), 5 } }
        local left = shop.must(raw.store("GET", "/store/v1/carts/" .. cart)).cart.total.amount
        local total = left
        for _ = 1, 1 + draw(3) do
          local n = draw(math.floor(left / 2))
          t.equal((several.session(shop, raw, cart, n)), 201)
          left = left - n
        end
        t.equal((several.session(shop, raw, cart)), 201)
        local order = shop.must(shop.complete(cart)).order
        if draw(2) == 1 then shop.work() end
        for _ = 1, 3 do
          if draw(2) == 1 then cancel(shop, raw, order, 1)
          else refund(shop, raw, order, draw(99)) end
          if draw(3) == 1 then shop.work() end
        end
        cancel(shop, raw, order)
        local found = raw.sql.one("SELECT CAST(SUM(IF(state = 'voided', amount, refunded_amount +"
          .. " amount - capture_amount)) AS SIGNED) AS back FROM payments WHERE order_id ="
          .. " (SELECT id FROM orders WHERE number = ?)", order.number)
        t.equal(found.back, total)
        t.same(sums(raw), {})
      end
      at_rest(shop, raw)
    end))
end)
