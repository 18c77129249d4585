-- An order that was placed and is owed money is paid again, with a new payment.
local again = require "tests.support.again"
local with_provider = require("tests.support.provider").with
local several = require "tests.support.several"
local t = require "till.test"
local with_shop = require "tests.support.stock"

local TOTAL, sums, states, of_order = several.TOTAL, several.sums, several.states, several.of_order
local at_provider, later = several.at_provider, several.later
local gbp, ask, seen, due = again.gbp, again.ask, again.seen, again.due
local begin, session, pay, lose = again.begin, again.session, again.pay, again.lose
local lost, asked, sweep, count_events = again.lost, again.asked, again.sweep, again.count_events


local function say_yes(raw)
  raw.sql.exec("UPDATE payment_test_attempts SET state = 'authorized'"
    .. " WHERE token = 'tok_requires_action'")
end


t.describe("an order whose authorization was lost", function()
  t.it("is paid with a new payment once staff ask for it", with_shop(function(shop, raw)
    local order = lost(shop, raw)
    t.same({ due(shop, raw, order), of_order(shop, raw, order).payment_status }, { 0, "voided" })
    t.equal((begin(shop, raw, order)), 409)
    local status, body = ask(shop, raw, order)
    t.same({ status, body.payment_request.amount.amount, body.payment_request.amount_due.amount },
      { 201, TOTAL, TOTAL })
    t.same({ due(shop, raw, order), count_events(shop, "payment.requested") }, { TOTAL, 1 })
    local one = session(shop, raw, order)
    t.equal(one.amount.amount, TOTAL)
    status, body = pay(shop, raw, order, one)
    t.same({ status, body.type, body.order.payment_status }, { 200, "order", "authorized" })
    t.same({ due(shop, raw, order), count_events(shop, "order.payment_added") }, { 0, 1 })
    shop.work()
    local now = of_order(shop, raw, order)
    t.same({ now.payment_status, #now.payments, now.payment_request }, { "captured", 2 })
    t.same({ states(raw), at_provider(raw) }, { { "voided", "captured" },
      { "voided", "captured" } })
    t.same({ sums(raw)["cash:test"], sums(raw).receivable }, { TOTAL, nil })
    t.equal(count_events(shop, "order.paid"), 1)
    local told = shop.must(raw.admin("GET", "/admin/v1/orders/" .. order.id .. "/timeline")).data
    local kinds = {}
    for _, event in ipairs(told) do kinds[event.type] = (kinds[event.type] or 0) + 1 end
    t.same({ kinds.payment_requested, kinds.payment_added, kinds.captured }, { 1, 1, 1 })
  end))

  t.it("ends its alert with the new payment", with_shop(function(shop, raw)
    local order, p = lost(shop, raw)
    local lost_authorization = raw.require "till.flow.lost_authorization"
    p.order_id = order.id
    assert(raw.sql.transaction(function(tx)
      return lost_authorization.raise(tx, p, { kind = "voided" })
    end))
    shop.must(ask(shop, raw, order))
    shop.must(pay(shop, raw, order, session(shop, raw, order)))
    raw.require("till.flow.authorizations").run()
    t.equal(shop.count("alerts", "state = 'open'"), 1)
    shop.work()
    raw.require("till.flow.authorizations").run()
    t.equal(shop.count("alerts", "state = 'open'"), 0)
  end))

  t.it("is paid with two, and no more than is due", with_shop(function(shop, raw)
    local order = asked(shop, raw)
    local one = session(shop, raw, order, "tok_ok", 700)
    local two = session(shop, raw, order, "tok_ok", TOTAL - 700)
    local status, body = begin(shop, raw, order, "tok_ok", TOTAL + 1)
    t.same({ status, body.errors[1].pointer }, { 422, "/amount/amount" })
    t.same({ (shop.must(pay(shop, raw, order, one))).type, due(shop, raw, order) },
      { "order", TOTAL - 700 })
    shop.must(pay(shop, raw, order, two))
    t.equal(due(shop, raw, order), 0)
    t.equal((begin(shop, raw, order)), 409)
    shop.work()
    t.same({ of_order(shop, raw, order).payment_status, sums(raw)["cash:test"],
      #seen(shop, raw, order).payments }, { "captured", TOTAL, 3 })
  end))

  t.it("is paid with what was asked for, where that is less", with_shop(function(shop, raw)
    local order = lost(shop, raw)
    t.equal((ask(shop, raw, order, { amount = gbp(TOTAL + 1) })), 422)
    t.equal((ask(shop, raw, order, { amount = { amount = 5, currency = "EUR" } })), 422)
    shop.must(ask(shop, raw, order, { amount = gbp(500) }))
    shop.must(pay(shop, raw, order, session(shop, raw, order)))
    t.same({ due(shop, raw, order), shop.count("payment_requests") }, { 0, 0 })
    shop.work()
    t.same({ of_order(shop, raw, order).payment_status, sums(raw)["cash:test"],
      count_events(shop, "order.paid") }, { "partially_captured", 500, 0 })
    shop.must(ask(shop, raw, order))
    t.equal(due(shop, raw, order), TOTAL - 500)
    shop.must(pay(shop, raw, order, session(shop, raw, order)))
    shop.work()
    t.same({ of_order(shop, raw, order).payment_status, sums(raw)["cash:test"],
      count_events(shop, "order.paid") }, { "captured", TOTAL, 1 })
  end))

  t.it("is paid anew only as long as it stands, and is asked for", with_shop(function(shop, raw)
    local order = asked(shop, raw)
    local one = session(shop, raw, order)
    shop.must(raw.admin("DELETE", "/admin/v1/orders/" .. order.id .. "/payment-request"))
    t.equal((raw.admin("DELETE", "/admin/v1/orders/" .. order.id .. "/payment-request")), 404)
    t.same({ due(shop, raw, order), (pay(shop, raw, order, one)) }, { 0, 409 })
    shop.must(ask(shop, raw, order))
    shop.must(shop.cancel(order.id))
    t.same({ due(shop, raw, order), (pay(shop, raw, order, one)), (begin(shop, raw, order)),
      (ask(shop, raw, order)) }, { 0, 409, 409, 409 })
    t.equal(shop.count("payment_test_attempts"), 1)
  end))

  t.it("is paid outside of the shop", with_shop(function(shop, raw)
    local order = asked(shop, raw)
    shop.must(pay(shop, raw, order, session(shop, raw, order, nil, nil, "manual")))
    local now = of_order(shop, raw, order)
    t.same({ now.payment_status, due(shop, raw, order) }, { "awaiting", 0 })
    shop.must(raw.admin("POST", "/admin/v1/payments/" .. now.payments[1].id .. "/capture", {},
      shop.key()))
    t.equal(of_order(shop, raw, order).payment_status, "captured")
  end))

  t.it("that is lost again is owed again", with_shop(function(shop, raw)
    local order = asked(shop, raw)
    shop.must(pay(shop, raw, order, session(shop, raw, order)))
    lose(raw, order)
    t.equal(due(shop, raw, order), 0)
    shop.must(ask(shop, raw, order))
    t.equal(due(shop, raw, order), TOTAL)
  end))
end)


t.describe("who is asked for money of an order", function()
  t.it("is its owner alone, and only in its currency", with_shop(function(shop, raw)
    local order = asked(shop, raw)
    raw.sql.exec "UPDATE orders SET key_id = NULL"
    t.equal((begin(shop, raw, order)), 404)
    t.equal((raw.store("GET", "/store/v1/orders/" .. order.id .. "/payment-methods")), 404)
  end))

  t.it("is offered what its provider takes of this amount", with_shop(function(shop, raw)
    local order = asked(shop, raw)
    local capabilities = raw.require "till.flow.capabilities"
    local offers = capabilities.offers
    capabilities.offers = function(provider, about)
      if provider == "test" and about.amount > 1000 then return nil, "too large" end
      return offers(provider, about)
    end
    local path = "/store/v1/orders/" .. order.id .. "/payment-methods"
    local listed = shop.must(raw.store("GET", path)).data
    local status, body = begin(shop, raw, order)
    local small = begin(shop, raw, order, "tok_ok", 900)
    capabilities.offers = offers
    for _, one in ipairs(listed) do t.ok(one.provider ~= "test") end
    t.same({ status, body.code, small }, { 422, "payment_provider_unknown", 201 })
    t.equal(#shop.must(raw.store("GET", path)).data, #listed + 1)
  end))

  t.it("is told that it was declined, and pays another way", with_shop(function(shop, raw)
    local order = asked(shop, raw)
    local _, body = pay(shop, raw, order, session(shop, raw, order, "tok_declined"))
    t.same({ body.type, body.error.code, due(shop, raw, order) },
      { "payment", "payment_declined", TOTAL })
    t.equal(shop.must(pay(shop, raw, order, session(shop, raw, order))).type, "order")
  end))

  t.it("confirms it at his bank", with_shop(function(shop, raw)
    local order = asked(shop, raw)
    local one = session(shop, raw, order, "tok_requires_action")
    local _, body = pay(shop, raw, order, one)
    t.same({ body.type, body.error.code, body.payment_session.action.type },
      { "payment", "payment_requires_action", "redirect" })
    t.equal(select(2, pay(shop, raw, order, one)).error.code, "payment_requires_action")
    t.equal(shop.must(pay(shop, raw, order, one, { action_done = true })).type, "order")
    t.equal(due(shop, raw, order), 0)
  end))

  t.it("hears the same under the same key, and pays once", with_shop(function(shop, raw)
    local order = asked(shop, raw)
    local one, key = session(shop, raw, order), shop.key()
    for _ = 1, 2 do t.equal(shop.must(pay(shop, raw, order, one, nil, key)).type, "order") end
    t.equal(shop.must(pay(shop, raw, order, one)).type, "order")
    shop.work()
    t.same({ shop.count("payment_test_attempts"), sums(raw)["cash:test"] }, { 2, TOTAL })
  end))
end)


t.describe("two tabs", function()
  t.it("of which the later one's session counts", with_shop(function(shop, raw)
    local order = asked(shop, raw)
    local one, two = session(shop, raw, order), session(shop, raw, order)
    t.equal((pay(shop, raw, order, one)), 409)
    t.equal(shop.must(pay(shop, raw, order, two)).type, "order")
    t.equal(shop.count("payment_test_attempts"), 2)
  end))

  t.it("of which one's bank says yes when the other has paid: it goes back", with_shop(
    function(shop, raw)
      local order = asked(shop, raw)
      local one = session(shop, raw, order, "tok_requires_action")
      pay(shop, raw, order, one)
      local two = session(shop, raw, order)
      t.equal(shop.must(pay(shop, raw, order, two)).type, "order")
      say_yes(raw)
      t.equal(select(2, pay(shop, raw, order, one, { action_done = true })).error.code,
        "payment_declined")
      later(raw, 10)
      sweep(raw)
      shop.work()
      t.same({ states(raw), at_provider(raw) }, { { "voided", "voided", "captured" },
        { "voided", "voided", "captured" } })
      t.equal(sums(raw)["cash:test"], TOTAL)
    end))

  t.it("wait while a payment of one has no answer", with_shop(function(shop, raw)
    local order = asked(shop, raw)
    local one = session(shop, raw, order, "tok_timeout")
    t.equal((pay(shop, raw, order, one)), 202)
    t.equal((begin(shop, raw, order)), 409)
    t.equal(shop.must(pay(shop, raw, order, one)).type, "order")
    t.equal(#of_order(shop, raw, order).payments, 2)
  end))
end)


t.describe("who pays and does not come back", function()
  t.it("has his order paid by the sweep", with_shop(function(shop, raw)
    local order = asked(shop, raw)
    pay(shop, raw, order, session(shop, raw, order, "tok_requires_action"))
    later(raw, 10)
    sweep(raw)
    t.same(states(raw), { "voided", "requires_action" })
    say_yes(raw)
    later(raw, 10)
    sweep(raw)
    shop.work()
    t.same({ states(raw), of_order(shop, raw, order).payment_status, due(shop, raw, order) },
      { { "voided", "captured" }, "captured", 0 })
  end))

  t.it("is let go of after an hour at his bank", with_shop(function(shop, raw)
    local order = asked(shop, raw)
    pay(shop, raw, order, session(shop, raw, order, "tok_requires_action"))
    later(raw, 70)
    sweep(raw)
    t.same({ states(raw), at_provider(raw), due(shop, raw, order) },
      { { "voided", "voided" }, { "voided", "voided" }, TOTAL })
  end))

  t.it("gets it back where the order was cancelled meanwhile", with_shop(function(shop, raw)
    local order = asked(shop, raw)
    pay(shop, raw, order, session(shop, raw, order, "tok_requires_action"))
    shop.must(shop.cancel(order.id))
    say_yes(raw)
    later(raw, 10)
    sweep(raw)
    t.same({ states(raw), at_provider(raw) }, { { "voided", "voided" }, { "voided", "voided" } })
    t.equal(shop.count("alerts", "kind = 'payment.abandoned' AND state = 'open'"), 1)
  end))

  -- The provider is silent when it is let go of, so the sweep has to do it, which knows no reason.
  t.it("and staff are told why, where its provider gave no answer", with_provider(
    function(shop, raw, say)
      local order = asked(shop, raw)
      local one, is_silent = session(shop, raw, order, "tok_requires_action"), true
      pay(shop, raw, order, one)
      shop.must(raw.admin("DELETE", "/admin/v1/orders/" .. order.id .. "/payment-request"))
      say_yes(raw)
      say["payment.void"] = function() return is_silent and { outcome = "unknown" } or nil end
      local _, body = pay(shop, raw, order, one)
      t.same({ body.type, states(raw) }, { "processing", { "voided", "authorized" } })
      is_silent = false
      later(raw, 10)
      sweep(raw)
      t.same({ states(raw), at_provider(raw) }, { { "voided", "voided" }, { "voided", "voided" } })
      local told = shop.must(raw.admin("GET", "/admin/v1/alerts?kind=payment.given_back")).data
      t.same({ #told, told[1].detail.payment_id, told[1].times }, { 1, one.id, 1 })
      t.ok(told[1].detail.reason:find("owed 0 by now", 1, true), told[1].detail.reason)
    end, function(_, has) return has end))

  t.it("and staff are told once, where it answered", with_shop(function(shop, raw)
    local order = asked(shop, raw)
    local one = session(shop, raw, order, "tok_requires_action")
    pay(shop, raw, order, one)
    shop.must(raw.admin("DELETE", "/admin/v1/orders/" .. order.id .. "/payment-request"))
    say_yes(raw)
    pay(shop, raw, order, one)
    t.same(states(raw), { "voided", "voided" })
    t.equal(raw.sql.one("SELECT times FROM alerts WHERE kind = 'payment.given_back'").times, 1)
    t.equal(count_events(shop, "payment.given_back"), 1)
    sweep(raw)
    t.equal(shop.count("alerts", "state = 'open'"), 0, "it is over")
    t.ok(raw.require("till.store.payments").get(one.id).reason:find("owed 0 by now", 1, true))
  end))
end)


t.describe("who begins without an end", function()
  t.it("is not let begin for ever", with_shop(function(shop, raw)
    local order, begun = asked(shop, raw), {}
    for i = 1, 51 do begun[i] = begin(shop, raw, order, "tok_ok", 100) end
    t.same({ begun[50], begun[51], due(shop, raw, order) }, { 201, 409, TOTAL })
  end))

  t.it("pays with five and no more", with_shop(function(shop, raw)
    local order, ways, paid = asked(shop, raw), {}, {}
    for i = 1, 7 do ways[i] = session(shop, raw, order, "tok_ok", 200) end
    for i, one in ipairs(ways) do paid[i] = pay(shop, raw, order, one) end
    t.same({ paid, #of_order(shop, raw, order).payments, shop.count("payment_test_attempts") },
      { { 200, 200, 200, 200, 200, 409, 409 }, 6, 6 })
  end))

  t.it("brings back no more than is kept", with_shop(function(shop, raw)
    local order = asked(shop, raw)
    local one = session(shop, raw, order, "tok_requires_action")
    pay(shop, raw, order, one)
    local status, body = pay(shop, raw, order, one, { action_done = true, blob = ("x"):rep(20000) })
    t.same({ status, body.errors[1].pointer }, { 422, "/data" })
    local half = ("x"):rep(9000)
    t.equal((pay(shop, raw, order, one, { a = half })), 200)
    t.equal((pay(shop, raw, order, one, { b = half })), 422)
    t.equal(shop.must(pay(shop, raw, order, one, { action_done = true })).type, "order")
  end))

  t.it("nor for a cart", with_shop(function(shop, raw)
    local cart = several.cart_of(shop)
    shop.must(shop.pay(cart, "test", "tok_requires_action"))
    local path = "/store/v1/carts/" .. cart .. "/complete"
    local function complete(data) return raw.store("POST", path, { data = data }, shop.key()) end
    complete()
    local half = ("x"):rep(9000)
    t.equal((complete { a = half .. half }), 422)
    t.equal((complete { a = half }), 200)
    local _, body = complete { b = half }
    t.same({ body.code or body.error.code, states(raw) },
      { "invalid_request", { "requires_action" } })
    t.equal(shop.must(complete { action_done = true }).type, "order")
  end))
end)
