-- What of an order that is to be paid anew is held still, was taken back, or goes back.
local again = require "tests.support.again"
local several = require "tests.support.several"
local t = require "till.test"
local with_shop = require "tests.support.stock"

local TOTAL, sums, states, of_order = several.TOTAL, several.sums, several.states, several.of_order
local at_provider = several.at_provider
local gbp, placed, ask, due = again.gbp, again.placed, again.ask, again.due
local session, pay, lost = again.session, again.pay, again.lost


t.describe("a payment that will never come", function()
  t.it("outside of the shop gives way to another one", with_shop(function(shop, raw)
    local order = placed(shop, "manual")
    t.equal((ask(shop, raw, order)), 409)
    local old = of_order(shop, raw, order).payments[1]
    local key = shop.key()
    for _ = 1, 2 do
      local status, body = ask(shop, raw, order, { instead_of = old.id }, key)
      t.same({ status, body.payment_request.amount_due.amount }, { 201, TOTAL })
    end
    t.same({ states(raw), of_order(shop, raw, order).payment_status }, { { "voided" }, "voided" })
    t.equal((raw.admin("POST", "/admin/v1/payments/" .. old.id .. "/capture", {}, shop.key())), 409)
    shop.must(pay(shop, raw, order, session(shop, raw, order)))
    shop.work()
    t.same({ of_order(shop, raw, order).payment_status, sums(raw)["cash:test"],
      sums(raw).receivable }, { "captured", TOTAL, nil })
  end))

  t.it("for its capture was refused is let go of first", with_shop(function(shop, raw)
    local order = placed(shop, "test", "tok_capture_declined")
    shop.work()
    local old = of_order(shop, raw, order).payments[1]
    t.equal((ask(shop, raw, order, { instead_of = old.id, amount = gbp(TOTAL + 1) })), 422)
    t.same(states(raw), { "authorized" })
    shop.must(ask(shop, raw, order, { instead_of = old.id }))
    t.same({ at_provider(raw), due(shop, raw, order) }, { { "voided" }, TOTAL })
    shop.must(pay(shop, raw, order, session(shop, raw, order)))
    shop.work()
    t.equal(of_order(shop, raw, order).payment_status, "captured")
  end))

  t.it("and came after all is booked, and nothing is due", with_shop(function(shop, raw)
    local order = placed(shop, "test", "tok_capture_declined")
    shop.work()
    local old = of_order(shop, raw, order).payments[1]
    raw.sql.exec("UPDATE payment_test_attempts SET state = 'captured', captured_amount = amount")
    t.equal((ask(shop, raw, order, { instead_of = old.id })), 409)
    t.same({ states(raw), due(shop, raw, order), sums(raw)["cash:test"] },
      { { "captured" }, 0, TOTAL })
  end))

  t.it("and whose provider is silent is let go of by a job", with_shop(function(shop, raw)
    local order = placed(shop, "test", "tok_capture_declined")
    shop.work()
    local old = of_order(shop, raw, order).payments[1]
    local dispatch = raw.require "till.plugin.dispatch"
    local plugin = dispatch.plugin
    dispatch.plugin = function(name, hook, ...)
      if hook == "payment.void" or hook == "payment.lookup" then return nil end
      return plugin(name, hook, ...)
    end
    local status = ask(shop, raw, order, { instead_of = old.id })
    local captured = raw.admin("POST", "/admin/v1/payments/" .. old.id .. "/capture", {},
      shop.key())
    dispatch.plugin = plugin
    t.same({ status, captured, states(raw) }, { 503, 409, { "authorized" } })
    raw.sql.exec "UPDATE outbox SET available_at = NOW(3) WHERE type = 'payment.replaced'"
    shop.work()
    t.same({ states(raw), at_provider(raw) }, { { "voided" }, { "voided" } })
    shop.must(ask(shop, raw, order, { instead_of = old.id }))
    t.equal(due(shop, raw, order), TOTAL)
  end))

  t.it("is let go of by who may void it alone, and it is written down", with_shop(
    function(shop, raw)
      local order = placed(shop, "test", "tok_capture_declined")
      shop.work()
      local old = of_order(shop, raw, order).payments[1]
      local permissions = raw.require "till.http.permissions"
      local allows = permissions.allows
      permissions.allows = function(_, what) return allows({ "support" }, what) end
      local status, body = ask(shop, raw, order, { instead_of = old.id })
      permissions.allows = allows
      t.same({ status, body.code, states(raw) }, { 403, "forbidden", { "authorized" } })
      local noted = "action = 'payment_request.let_go'"
      t.equal(shop.count("audit_entries", noted), 0)
      raw.sql.exec("UPDATE payment_test_attempts SET state = 'captured', captured_amount = amount")
      t.same({ (ask(shop, raw, order, { instead_of = old.id })),
        shop.count("audit_entries", noted) }, { 409, 1 })
    end))

  t.it("is none of another order", with_shop(function(shop, raw)
    local order = lost(shop, raw)
    local status, body = ask(shop, raw, order, { instead_of = order.id:gsub("ord", "pay") })
    t.same({ status, body.errors[1].pointer }, { 422, "/instead_of" })
  end))
end)


t.describe("an order whose dispute was lost", function()
  local function disputed(shop, raw)
    local order = placed(shop)
    shop.work()
    local p = of_order(shop, raw, order).payments[1]
    for _, kind in ipairs { "disputed", "lost" } do
      assert(raw.sql.transaction(function(tx)
        return raw.require("till.flow.booking").book(tx, p.id, { kind = kind,
          amount = kind == "disputed" and TOTAL or nil, reference = "dp_one" })
      end))
    end
    return order
  end

  t.it("is paid anew: the loss is made good", with_shop(function(shop, raw)
    local order = disputed(shop, raw)
    t.equal(sums(raw)["losses:test"], TOTAL)
    shop.must(ask(shop, raw, order))
    shop.must(pay(shop, raw, order, session(shop, raw, order)))
    shop.work()
    t.same({ sums(raw)["losses:test"], sums(raw)["cash:test"], sums(raw).receivable },
      { nil, TOTAL, nil })
    t.equal((ask(shop, raw, order)), 409)
    shop.must(shop.cancel(order.id))
    shop.work()
    t.same({ sums(raw), states(raw) }, { {}, { "lost", "refunded" } })
  end))

  t.it("and is cancelled while it is asked for is owed no more", with_shop(function(shop, raw)
    local order = disputed(shop, raw)
    shop.must(ask(shop, raw, order))
    shop.must(shop.cancel(order.id))
    t.same({ due(shop, raw, order), sums(raw) }, { 0, {} })
  end))
end)


t.describe("what goes back of an order that was paid anew", function()
  t.it("comes to what was paid, over the old payment and the new one", with_shop(
    function(shop, raw)
      local order = placed(shop)
      raw.sql.exec "DELETE FROM outbox WHERE type = 'payment.capture'"
      local old = of_order(shop, raw, order).payments[1]
      shop.must(raw.admin("POST", "/admin/v1/payments/" .. old.id .. "/capture",
        { amount = gbp(300) }, shop.key()))
      assert(raw.sql.transaction(function(tx)
        return raw.require("till.flow.booking").book(tx, old.id, { kind = "voided",
          amount = TOTAL - 300, reason = "expired", actor = "provider:test" })
      end))
      shop.must(ask(shop, raw, order))
      t.equal(due(shop, raw, order), TOTAL - 300)
      shop.must(pay(shop, raw, order, session(shop, raw, order)))
      shop.work()
      t.same({ of_order(shop, raw, order).payment_status, sums(raw)["cash:test"] },
        { "captured", TOTAL })
      shop.must(raw.admin("POST", "/admin/v1/orders/" .. order.id .. "/refunds",
        { amount = gbp(400), reason = "spec" }, shop.key()))
      shop.must(shop.cancel(order.id))
      shop.work()
      t.same({ sums(raw), states(raw) }, { {}, { "refunded", "refunded" } })
    end))
end)


t.describe("the shopper is asked for no more than staff said", function()
  t.it("once what was asked for is paid with less", with_shop(function(shop, raw)
    local order = again.asked(shop, raw)
    local line = of_order(shop, raw, order).lines[1].id
    shop.must(raw.admin("POST", "/admin/v1/orders/" .. order.id .. "/cancel",
      { lines = { { line_id = line, quantity = 1 } }, reason = "spec" }, shop.key()))
    local left = due(shop, raw, order)
    t.same({ left < TOTAL, raw.sql.one("SELECT amount FROM payment_requests").amount },
      { true, left })
    shop.must(pay(shop, raw, order, session(shop, raw, order)))
    again.lose(raw, order)
    t.same({ due(shop, raw, order), shop.count("payment_requests") }, { 0, 0 })
  end))

  t.it("where something of it was paid another way meanwhile", with_shop(function(shop, raw)
    local order = again.asked(shop, raw)
    raw.sql.exec("UPDATE payment_requests SET amount = amount + 700")
    shop.must(pay(shop, raw, order, session(shop, raw, order)))
    again.lose(raw, order)
    t.same({ due(shop, raw, order), shop.count("payment_requests") }, { 0, 0 })
  end))

  t.it("and an order that was cancelled asks for nothing", with_shop(function(shop, raw)
    local order = again.asked(shop, raw)
    shop.must(shop.cancel(order.id))
    t.equal(shop.count("payment_requests"), 0)
  end))
end)
