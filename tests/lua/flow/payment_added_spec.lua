-- A payment that is made anew is captured, however the order stood before it.
local again = require "tests.support.again"
local provider = require "tests.support.provider"
local several = require "tests.support.several"
local t = require "till.test"
local with_shop = require "tests.support.stock"

local TOTAL, sums, states, of_order = several.TOTAL, several.sums, several.states, several.of_order
local gbp, placed, ask, asked = again.gbp, again.placed, again.ask, again.asked
local due, session, pay, count_events = again.due, again.session, again.pay, again.count_events


local function can_all(_, has) return has end


local function book(raw, id, event)
  assert(raw.sql.transaction(function(tx)
    return raw.require("till.flow.booking").book(tx, id, event)
  end))
end


-- captured, and a bank takes so much of it back for good
local function charged_back(shop, raw, amount)
  local order = placed(shop)
  shop.work()
  local p = of_order(shop, raw, order).payments[1]
  book(raw, p.id, { kind = "disputed", amount = amount, reference = "dp_1" })
  book(raw, p.id, { kind = "lost", reference = "dp_1" })
  return order
end


local function status_of(shop, raw, order)
  return of_order(shop, raw, order).payment_status
end


local function capture(shop, raw, payment_id)
  return (raw.admin("POST", "/admin/v1/payments/" .. payment_id .. "/capture", {}, shop.key()))
end


local function refund(shop, raw, order, amount)
  shop.must(raw.admin("POST", "/admin/v1/orders/" .. order.id .. "/refunds",
    { amount = gbp(amount), reason = "spec" }, shop.key()))
  shop.work()
end


-- All is given back, and then a bank takes all of it for good; staff ask for it.
local function given_and_taken(shop, raw)
  local order = placed(shop)
  shop.work()
  refund(shop, raw, order, TOTAL)
  local p = of_order(shop, raw, order).payments[1]
  book(raw, p.id, { kind = "disputed", amount = TOTAL, reference = "dp_1" })
  book(raw, p.id, { kind = "lost", reference = "dp_1" })
  shop.must(ask(shop, raw, order))
  return order
end


t.describe("a payment that is made anew is captured", function()
  t.it("beside one that was taken at once", provider.with(function(shop, raw, say)
    local order = asked(shop, raw)
    say["payment.authorize"] = function(about)
      return about.amount == 500 and { outcome = "captured", provider_ref = "ref_gift" } or nil
    end
    shop.must(pay(shop, raw, order, session(shop, raw, order, "tok_ok", 500)))
    t.equal(status_of(shop, raw, order), "partially_captured")
    shop.must(pay(shop, raw, order, session(shop, raw, order)))
    t.equal(status_of(shop, raw, order), "partially_captured")
    shop.work()
    t.same({ status_of(shop, raw, order), states(raw), sums(raw)["cash:test"], sums(raw).receivable,
      count_events(shop, "order.paid") },
      { "captured", { "voided", "captured", "captured" }, TOTAL, nil, 1 })
  end, can_all))

  t.it("where all was given back before a bank took it", with_shop(function(shop, raw)
    local order = given_and_taken(shop, raw)
    shop.must(pay(shop, raw, order, session(shop, raw, order)))
    t.equal(status_of(shop, raw, order), "partially_captured")
    shop.work()
    t.same({ status_of(shop, raw, order), states(raw), due(shop, raw, order),
      count_events(shop, "order.paid"), count_events(shop, "order.paid_again") },
      { "partially_refunded", { "lost", "captured" }, 0, 1, 1 })
  end))

  t.it("where all was given back, and it is taken at once", provider.with(
    function(shop, raw, say)
      local order = given_and_taken(shop, raw)
      say["payment.authorize"] = { outcome = "captured", provider_ref = "ref_gift" }
      shop.must(pay(shop, raw, order, session(shop, raw, order)))
      t.same({ status_of(shop, raw, order), states(raw) },
        { "partially_refunded", { "lost", "captured" } })
    end, can_all))

  -- Who sends goods for order.paid does so once.
  t.it("and is told as paid again, not as paid", with_shop(function(shop, raw)
    local order = charged_back(shop, raw)
    shop.must(ask(shop, raw, order))
    shop.must(pay(shop, raw, order, session(shop, raw, order)))
    t.equal(count_events(shop, "order.paid_again"), 0)
    shop.work()
    t.same({ status_of(shop, raw, order), count_events(shop, "order.paid"),
      count_events(shop, "order.paid_again"), count_events(shop, "order.payment_added") },
      { "captured", 1, 1, 1 })
    t.equal(shop.count("orders", "paid_at IS NULL"), 0)
  end))

  t.it("at once, and is told as paid again", provider.with(function(shop, raw, say)
    local order = charged_back(shop, raw)
    shop.must(ask(shop, raw, order))
    say["payment.authorize"] = { outcome = "captured", provider_ref = "ref_gift" }
    shop.must(pay(shop, raw, order, session(shop, raw, order)))
    t.same({ status_of(shop, raw, order), count_events(shop, "order.paid"),
      count_events(shop, "order.paid_again") }, { "captured", 1, 1 })
  end, can_all))

  t.it("outside of the shop, for what a bank took back", with_shop(function(shop, raw)
    local order = charged_back(shop, raw)
    shop.must(ask(shop, raw, order))
    local one = session(shop, raw, order, nil, nil, "manual")
    shop.must(pay(shop, raw, order, one))
    t.equal(status_of(shop, raw, order), "awaiting")
    t.same({ capture(shop, raw, one.id), status_of(shop, raw, order), sums(raw).receivable,
      sums(raw)["losses:test"] }, { 200, "captured" })
  end))

  t.it("by card beside one outside of the shop", with_shop(function(shop, raw)
    local order = charged_back(shop, raw, 1000)
    shop.must(ask(shop, raw, order))
    local card = session(shop, raw, order, "tok_ok", 500)
    local transfer = session(shop, raw, order, nil, 500, "manual")
    shop.must(pay(shop, raw, order, transfer))
    shop.must(pay(shop, raw, order, card))
    shop.work()
    t.same({ status_of(shop, raw, order), states(raw) },
      { "awaiting", { "lost", "captured", "authorized" } })
    t.same({ capture(shop, raw, transfer.id), status_of(shop, raw, order) }, { 200, "captured" })
  end))

  t.it("outside of the shop, for what staff let go of", with_shop(function(shop, raw)
    local order = placed(shop)
    raw.sql.exec "DELETE FROM outbox WHERE type = 'payment.capture'"
    local p = of_order(shop, raw, order).payments[1]
    shop.must(raw.admin("POST", "/admin/v1/payments/" .. p.id .. "/capture",
      { amount = gbp(1000), final = true }, shop.key()))
    shop.work()
    shop.must(ask(shop, raw, order))
    local one = session(shop, raw, order, nil, nil, "manual")
    shop.must(pay(shop, raw, order, one))
    t.equal(status_of(shop, raw, order), "awaiting")
    t.same({ capture(shop, raw, one.id), status_of(shop, raw, order) }, { 200, "captured" })
  end))

  t.it("outside of the shop, for the rest of one that was lost", with_shop(function(shop, raw)
    local order = placed(shop)
    raw.sql.exec "DELETE FROM outbox WHERE type = 'payment.capture'"
    local p = of_order(shop, raw, order).payments[1]
    shop.must(raw.admin("POST", "/admin/v1/payments/" .. p.id .. "/capture",
      { amount = gbp(1000) }, shop.key()))
    book(raw, p.id, { kind = "voided", reason = "expired", actor = "provider:test" })
    t.equal(status_of(shop, raw, order), "partially_captured")
    shop.must(ask(shop, raw, order))
    local one = session(shop, raw, order, nil, nil, "manual")
    shop.must(pay(shop, raw, order, one))
    t.equal(status_of(shop, raw, order), "awaiting")
    t.same({ capture(shop, raw, one.id), status_of(shop, raw, order),
      count_events(shop, "order.paid") }, { 200, "captured", 1 })
  end))
end)
