local t = require "till.test"
local co = require "till.prim.co"
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"
local waiting = require "tests.support.until"

-- Odd cents everywhere: 3 units share a discount and a tax that three does not divide.
local ODD = { promotion = { name = "Odd", terms = { level = "order", type = "amount", value = 101,
  currency = "GBP" } } }


-- fn(shop, raw, order, line): an order of three TEA at 9.99 with an odd discount, and shipping.
local function with_order(provider, fn, fields)
  return function()
    live.with(function(raw)
      local shop = make_shop(raw)
      shop.promotion(ODD.promotion)
      local cart = shop.cart { { shop.product("TEA", 999, 5, fields), 3 } }
      shop.pay(cart, provider, provider == "test" and "tok_ok" or nil)
      local _, body = shop.complete(cart)
      fn(shop, raw, body.order, body.order.lines[1].id)
    end)
  end
end


local function path_of(order, rest) return "/admin/v1/orders/" .. order.id .. rest end


local function cancel(raw, shop, order, line, n, key)
  local lines = line and { { line_id = line, quantity = n } } or nil
  return raw.admin("POST", path_of(order, "/cancel"), { lines = lines, reason = "spec" },
    key or shop.key())
end


local function of_order(raw, shop, order)
  return shop.must(raw.admin("GET", path_of(order, ""))).order
end


local function sums(raw)
  local out = {}
  for _, row in ipairs(raw.sql.query("SELECT account, CAST(SUM(amount) AS SIGNED) AS n"
    .. " FROM ledger_entries GROUP BY account")) do
    if row.n ~= 0 then out[row.account] = row.n end
  end
  return out
end


-- What a jobs worker does with flows that are due, so long after.
local function later(raw, ms)
  raw.clock.skip_ms = raw.clock.skip_ms + (ms or 60000)
  local flow, n = raw.require "till.flow.cancellation_flow", 0
  for _, row in ipairs(raw.require("till.store.sagas").stuck(20)) do
    flow.resume(row)
    n = n + 1
  end
  return n
end


local function once(raw, module, name, fn)
  local m = raw.require(module)
  local was = m[name]
  m[name] = function(...)
    m[name] = was
    return fn(was, ...)
  end
end


local function killed() error("killed", 0) end


t.describe("a cancellation of a part", function()
  t.it("lowers what will be captured, and gives the units back", with_order("test",
    function(shop, raw, order, line)
      local body = shop.must(cancel(raw, shop, order, line, 1))
      t.same({ body.cancellation.money, body.cancellation.state, body.order.status,
        body.order.payment_status }, { "lowered", "done", "placed", "authorized" })
      t.equal(shop.inventory("TEA").on_hand, 3)
      shop.work()
      local now = of_order(raw, shop, order)
      local amount = order.total.amount - body.cancellation.amount.amount
      t.same({ now.payment_status, now.payments[1].capture_amount.amount }, { "captured", amount })
      t.equal(raw.sql.one("SELECT captured_amount FROM payment_test_attempts").captured_amount,
        amount)
      t.equal(sums(raw).receivable, nil)
      t.equal(sums(raw)["cash:test"], amount)
    end))

  t.it("gives back the frozen amount of each unit, and to the cent all of it in the end",
    with_order("test", function(shop, raw, order, line)
      shop.work()
      local parts, given = {}, 0
      for i = 1, 3 do
        local body = shop.must(cancel(raw, shop, order, line, 1))
        parts[i] = body.cancellation
        given = given + parts[i].amount.amount
        t.equal(body.order.payment_status, i < 3 and "partially_refunded" or "refunded")
      end
      t.same({ parts[1].whole, parts[2].whole, parts[3].whole }, { false, false, true })
      t.equal(given, order.total.amount)
      t.same({ parts[1].lines[1].amount.amount - parts[2].lines[1].amount.amount,
        parts[1].shipping == nil, parts[3].shipping.amount }, { 1, true,
        order.shipping_total.amount })
      t.same(sums(raw), {})
      local now = of_order(raw, shop, order)
      t.same({ now.status, now.fulfilment_status, now.lines[1].cancelled_quantity },
        { "cancelled", "cancelled", 3 })
      t.equal(shop.inventory("TEA").on_hand, 5)
      t.equal(shop.count("promotions", "used = 0"), 1)
      t.equal(raw.sql.one("SELECT CAST(SUM(amount) AS SIGNED) AS n FROM payment_test_refunds").n,
        order.total.amount)
    end))

  t.it("ends an order whose other units were sent", with_order("test",
    function(shop, raw, order, line)
      shop.work()
      shop.must(raw.admin("POST", path_of(order, "/fulfilments"),
        { lines = { { line_id = line, quantity = 2 } } }, shop.key()))
      local status, problem = cancel(raw, shop, order)
      t.same({ status, problem.code, problem.possible }, { 409, "conflict",
        { "fulfil", "cancel_lines", "return_lines" } })
      status, problem = cancel(raw, shop, order, line, 2)
      t.same({ status, problem.errors[1].pointer }, { 409, "/lines/0" })
      local body = shop.must(cancel(raw, shop, order, line, 1))
      t.same({ body.order.status, body.order.fulfilment_status, body.order.payment_status,
        body.order.lines[1].fulfilment_status, body.cancellation.shipping },
        { "completed", "fulfilled", "partially_refunded", "fulfilled" })
      t.equal(shop.inventory("TEA").on_hand, 3)
      t.equal(shop.count("promotions", "used = 1"), 1)
    end))

  t.it("is made once for one key, whatever becomes of the answer", with_order("test",
    function(shop, raw, order, line)
      shop.work()
      local key = shop.key()
      shop.must(cancel(raw, shop, order, line, 1, key))
      raw.sql.exec("DELETE FROM idempotency_records")
      local body = shop.must(cancel(raw, shop, order, line, 1, key))
      t.equal(body.order.lines[1].cancelled_quantity, 1)
      t.same({ shop.count("cancellations"), shop.count("payment_test_refunds") }, { 1, 1 })
    end))

  t.it("wants lines of the order, and units that there are", with_order("manual",
    function(shop, raw, order, line)
      local other = "line_" .. ("0"):rep(26)
      for _, case in ipairs { { other, 1, 409 }, { line, 4, 409 }, { line, 0, 422 } } do
        t.equal((cancel(raw, shop, order, case[1], case[2])), case[3])
      end
      local twice = { { line_id = line, quantity = 2 }, { line_id = line, quantity = 2 } }
      t.equal((raw.admin("POST", path_of(order, "/cancel"), { lines = twice }, shop.key())), 409)
      t.same({ shop.count("cancellations"), shop.inventory("TEA").on_hand }, { 0, 2 })
    end))
end)


t.describe("a cancellation of the whole", function()
  t.it("voids what was not captured", with_order("manual", function(shop, raw, order)
    local body = shop.must(cancel(raw, shop, order))
    t.same({ body.order.status, body.order.payment_status, body.cancellation.money,
      body.cancellation.amount.amount }, { "cancelled", "voided", "void", order.total.amount })
    t.same(sums(raw), {})
    t.equal(shop.count("sagas", "name = 'cancellation' AND state = 'done'"), 1)
    local types = {}
    for i, e in ipairs(shop.must(raw.admin("GET", path_of(order, "/timeline"))).data) do
      types[i] = e.type .. " " .. e.actor_kind
    end
    t.same(types, { "placed shopper", "cancelled key", "voided provider" })
    local status, problem = cancel(raw, shop, order)
    t.same({ status, problem.detail }, { 409,
      "cancel is not possible while it is cancelled; possible now: nothing" })
  end))

  t.it("goes on after its decision when whoever decided it died", with_order("test",
    function(shop, raw, order)
      shop.work()
      once(raw, "till.flow.payment", "ask_refund", killed)
      t.equal((cancel(raw, shop, order)), 500)
      local now = of_order(raw, shop, order)
      t.same({ now.status, now.payment_status, now.cancellations[1].state },
        { "cancelled", "captured", "pending" })
      t.equal(shop.inventory("TEA").on_hand, 5)
      t.equal(later(raw), 1)
      t.equal(of_order(raw, shop, order).payment_status, "refunded")
      t.same({ sums(raw), later(raw) }, { {}, 0 })
    end))

  t.it("is booked once when the answer of the provider was lost", with_order("test",
    function(shop, raw, order)
      shop.work()
      once(raw, "till.flow.payment", "ask_refund", function(was, ...)
        was(...)
        error("killed", 0)
      end)
      t.equal((cancel(raw, shop, order)), 500)
      t.equal(later(raw), 1)
      t.same({ sums(raw), shop.count("payment_test_refunds") }, { {}, 1 })
    end))

  -- Nobody knows of the first; the rest goes back before it is looked up.
  t.it("is not taken for another that went back meanwhile", with_order("test",
    function(shop, raw, order, line)
      shop.work()
      local dispatch = raw.require "till.plugin.dispatch"
      local was = dispatch.plugin
      dispatch.plugin = function(name, hook, ...)
        if hook == "payment.refund" then return { outcome = "unknown" } end
        if hook == "payment.lookup" then
          dispatch.plugin = was
          shop.must(cancel(raw, shop, order, line, 2))
        end
        return was(name, hook, ...)
      end
      t.equal((cancel(raw, shop, order, line, 1)), 202)
      t.equal(later(raw), 1)
      t.same({ shop.count("payment_test_refunds"), of_order(raw, shop, order).payment_status,
        sums(raw) }, { 2, "refunded", {} })
    end))

  t.it("waits for a promotion before it takes who used it, as a sale does", with_order("test",
    function(shop, raw, order)
      local status
      local used, e = raw.sql.transaction(function(tx)
        assert(tx:one("SELECT id FROM promotions FOR UPDATE"))
        co.turn_end(function() status = cancel(raw, shop, order) end)
        waiting.eventually("it waits for the promotion", function()
          return raw.sql.one("SELECT id FROM information_schema.processlist WHERE time_ms > 20"
            .. " AND info LIKE 'UPDATE promotions %'")
        end)
        return tx:one("SELECT used FROM promotion_customers FOR UPDATE")
      end, { attempts = 1 })
      t.ok(used, e)
      waiting.eventually("it is cancelled", function() return status end)
      t.same({ status, shop.count("promotion_redemptions") }, { 200, 0 })
    end))

  t.it("ends a capture first that has no outcome yet", with_order("test",
    function(shop, raw, order)
      once(raw, "till.flow.payment", "ask_capture", function(was, ...)
        was(...)
        return nil, raw.require("till.util.err").new("unknown_outcome", "no answer")
      end)
      local payment = of_order(raw, shop, order).payments[1]
      local status = raw.admin("POST", "/admin/v1/payments/" .. payment.id .. "/capture", {},
        shop.key())
      t.ok(status >= 500)
      local body = shop.must(cancel(raw, shop, order))
      t.same({ body.order.payment_status, sums(raw) }, { "refunded", {} })
    end))

  t.it("does not pass over a capture that was begun when another was refused", with_order("test",
    function(shop, raw)
      once(raw, "till.flow.payment", "ask_capture", function()
        raw.sql.exec("UPDATE payments SET capture_amount = 60")
        return nil, raw.require("till.util.err").new("payment_declined", "no", { final = true })
      end)
      shop.work()
      t.equal(raw.sql.one("SELECT capture_amount AS n FROM payments").n, 60)
    end))

  t.it("keeps a capture away", with_order("test", function(shop, raw, order)
    once(raw, "till.flow.payment", "ask_void", killed)
    t.equal((cancel(raw, shop, order)), 500)
    local payment = of_order(raw, shop, order).payments[1]
    local status, problem = raw.admin("POST", "/admin/v1/payments/" .. payment.id .. "/capture", {},
      shop.key())
    t.same({ status, problem.code }, { 409, "conflict" })
    later(raw)
    t.same({ of_order(raw, shop, order).payment_status, sums(raw) }, { "voided", {} })
  end))
end)


t.describe("a refund that the provider refuses", function()
  local function refused(fn)
    return with_order("test", function(shop, raw, order)
      shop.work()
      raw.sql.exec("UPDATE payment_test_attempts SET state = 'voided'")
      local status, body = cancel(raw, shop, order)
      t.same({ status, body.cancellation.state, body.order.status },
        { 202, "pending", "cancelled" })
      local saga = shop.must(raw.admin("GET", "/admin/v1/sagas?state=parked")).data[1]
      t.same({ saga.name, saga.step, saga.aggregate }, { "cancellation", "money",
        body.cancellation.id })
      fn(shop, raw, order, saga)
    end)
  end

  local function act(raw, shop, saga, what, body)
    return raw.admin("POST", ("/admin/v1/sagas/%d/%s"):format(saga.id, what), body, shop.key())
  end

  t.it("is parked, told of, and goes on when staff say so", refused(
    function(shop, raw, order, saga)
      t.equal(later(raw), 0)
      raw.sql.exec("UPDATE payment_test_attempts SET state = 'captured'")
      t.equal((act(raw, shop, saga, "retry", {})), 422)
      shop.must(act(raw, shop, saga, "retry", { reason = "the account is covered again" }))
      t.equal((act(raw, shop, saga, "retry", { reason = "again" })), 409)
      t.equal(later(raw), 1)
      t.same({ of_order(raw, shop, order).payment_status, sums(raw) }, { "refunded", {} })
      local history = shop.must(raw.admin("GET", "/admin/v1/sagas/" .. saga.id)).saga.history
      t.same({ history[1].type, history[2].type, history[2].data.reason }, { "parked", "retried",
        "the account is covered again" })
      local types = {}
      for i, e in ipairs(shop.must(raw.admin("GET", path_of(order, "/timeline"))).data) do
        types[i] = e.type
      end
      t.same(types, { "placed", "captured", "cancelled", "cancellation_parked",
        "cancellation_retried", "refunded" })
      t.equal(shop.must(raw.admin("GET", "/admin/v1/audit")).data[1].action, "saga.retry")
    end))

  t.it("is resolved by hand once, as done alone", refused(function(shop, raw, order, saga)
    local status, problem = act(raw, shop, saga, "resolve", { as = "undone", reason = "no" })
    t.same({ status, problem.code }, { 409, "conflict" })
    shop.must(act(raw, shop, saga, "resolve", { as = "done", reason = "by bank transfer" }))
    t.same({ of_order(raw, shop, order).payment_status, sums(raw) }, { "refunded", {} })
    t.equal((act(raw, shop, saga, "resolve", { as = "done", reason = "again" })), 409)
    raw.sql.exec("UPDATE payment_test_attempts SET state = 'captured'")
    later(raw)
    t.equal(shop.count("payment_test_refunds"), 0)
    local entry = shop.must(raw.admin("GET", "/admin/v1/audit")).data[1]
    t.same({ entry.action, entry.detail.as, entry.detail.reason }, { "saga.resolve", "done",
      "by bank transfer" })
  end))

  t.it("is not asked for again under a key that the provider may have forgotten", refused(
    function(shop, raw, _, saga)
      raw.sql.exec("UPDATE payment_test_attempts SET state = 'captured'")
      raw.clock.skip_ms = 24 * 3600000
      shop.must(act(raw, shop, saga, "retry", { reason = "a day later" }))
      later(raw)
      t.equal(shop.count("payment_test_refunds"), 0)
      t.equal(shop.count("sagas", "state = 'parked'"), 1)
    end))
end)
