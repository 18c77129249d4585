-- When an order says that it is paid: as soon as nothing of it is owed any more, not before, once.
local kit = require "tests.support.captures"
local several = require "tests.support.several"
local t = require "till.test"
local with_shop = require "tests.support.stock"

local TOTAL, states, sums = several.TOTAL, several.states, several.sums


local function book(raw, payment_id, event)
  local booking = raw.require "till.flow.booking"
  t.ok(raw.sql.transaction(function(tx) return booking.book(tx, payment_id, event) end))
end


local function make(shop, raw, ...)
  local order = shop.must(shop.complete(several.parts_of(shop, raw, ...))).order
  return order, function() return several.of_order(shop, raw, order) end
end


-- 17.00 by card, captured, and 6.99 that is paid outside of the shop.
local function awaiting(shop, raw)
  local cart = several.parts_of(shop, raw, 1700, "tok_ok")
  shop.must(several.session(shop, raw, cart, nil, nil, "manual"))
  local order = shop.must(shop.complete(cart)).order
  shop.work()
  return order, function() return several.of_order(shop, raw, order) end
end


local function ids(order)
  return order.payments[2].id, order.payments[1].id -- the first-made first
end


local function paid(shop)
  shop.work()
  return shop.count("outbox", "type = 'order.paid'")
end


local function cancel(shop, raw, order, n)
  return raw.admin("POST", "/admin/v1/orders/" .. order.id .. "/cancel", { reason = "spec",
    lines = n and { { line_id = order.lines[1].id, quantity = n } } or nil }, shop.key())
end


local function refund(shop, raw, order, n)
  t.equal((raw.admin("POST", "/admin/v1/orders/" .. order.id .. "/refunds", { reason = "spec",
    amount = { amount = n, currency = "GBP" } }, shop.key())), 200)
end


local function capture(shop, raw, payment_id)
  t.equal((raw.admin("POST", "/admin/v1/payments/" .. payment_id .. "/capture", {}, shop.key())),
    200)
end


local LOST = { kind = "voided", reason = "expired", reference = "pi_x" }


t.describe("an order of which a payment was lost", function()
  t.it("is not paid by a refund of another", with_shop(function(shop, raw)
    local order, now = make(shop, raw, 700, "tok_ok", false, "tok_capture_declined")
    shop.work()
    local _, second = ids(now())
    book(raw, second, LOST)
    refund(shop, raw, order, 1)
    t.same({ now().payment_status, paid(shop) }, { "partially_captured", 0 })
    t.equal(sums(raw).receivable, TOTAL - 700)
    refund(shop, raw, order, 699)
    t.same({ now().payment_status, paid(shop) }, { "partially_captured", 0 })
  end))

  t.it("is not, whichever came first", with_shop(function(shop, raw)
    local _, now = make(shop, raw, 700, "tok_ok", false, "tok_capture_declined")
    shop.work()
    local first, second = ids(now())
    book(raw, first, { kind = "refunded", amount = 10, reference = "re_x" })
    book(raw, second, LOST)
    t.same({ now().payment_status, paid(shop) }, { "partially_captured", 0 })
  end))

  t.it("is paid in part by the capture of another", with_shop(function(shop, raw)
    local order, now = make(shop, raw, 700, "tok_ok", false, "tok_ok")
    book(raw, (ids(now())), LOST)
    shop.work()
    t.same({ states(raw), now().payment_status, paid(shop) },
      { { "voided", "captured" }, "partially_captured", 0 })
    t.equal((cancel(shop, raw, now(), 1)), 200)
    t.same({ now().payment_status, paid(shop) }, { "partially_refunded", 1 })
    t.equal((cancel(shop, raw, order)), 200)
    t.same({ now().payment_status, sums(raw) }, { "refunded", {} })
  end))

  t.it("is not by what else its provider tells, one by one or together", kit.with_order(
    function(s)
      s.shop.must(s.pay(1000))
      book(s.raw, s.id, LOST)
      local seen = s.raw.sql.transaction(function(tx)
        return s.raw.require("till.flow.booking_batch").read(tx, { s.id })
      end)
      t.equal(seen[s.id].now, nil) -- the careful way
      book(s.raw, s.id, { kind = "refunded", amount = 1, reference = "re_x" })
      t.same({ s.now().payment_status, kit.outbox(s, "order.paid") }, { "partially_captured", 0 })
    end))

  t.it("is paid where staff let go of it themselves", kit.with_order(function(s)
    s.shop.must(s.pay(1000, { final = true }))
    t.same({ s.now().payment_status, kit.outbox(s, "order.paid") }, { "captured", 1 })
    book(s.raw, s.id, { kind = "refunded", amount = 1, reference = "re_x" })
    t.equal(s.now().payment_status, "partially_refunded")
  end))
end)


t.describe("an order of which a part is disputed", function()
  t.it("is not paid by that", kit.with_order(function(s)
    s.shop.must(s.pay(1000))
    for _, kind in ipairs { "disputed", "won" } do
      book(s.raw, s.id, { kind = kind, reference = "dp_1" })
      t.same({ s.now().payment_status, kit.outbox(s, "order.paid") }, { "partially_captured", 0 })
    end
  end))
end)


t.describe("an order that waits to be paid outside of the shop", function()
  t.it("is paid where something of another payment went back before", with_shop(
    function(shop, raw)
      local _, now = awaiting(shop, raw)
      local card, manual = ids(now())
      book(raw, card, { kind = "refunded", amount = 10, reference = "re_x" })
      t.same({ now().payment_status, paid(shop) }, { "awaiting", 0 })
      capture(shop, raw, manual)
      t.same({ now().payment_status, paid(shop) }, { "partially_refunded", 1 })
    end))

  t.it("is paid where what it waits for is let go of", with_shop(function(shop, raw)
    local _, now = awaiting(shop, raw)
    t.equal((cancel(shop, raw, now(), 1)), 200)
    t.same({ states(raw), now().payment_status, paid(shop) },
      { { "captured", "voided" }, "partially_refunded", 1 })
  end))

  t.it("is, whichever of both comes first", with_shop(function(shop, raw)
    local _, now = awaiting(shop, raw)
    local flow = raw.require "till.flow.cancellation_flow"
    local was = flow.run
    flow.run = function() return "waiting" end -- dies after the decision
    t.equal((cancel(shop, raw, now(), 1)), 202)
    flow.run = was
    several.later(raw, 1)
    local rows = raw.require("till.store.sagas").stuck(20)
    table.sort(rows, function(a) return a.data.money == "refund" end)
    t.equal(rows[1].data.money, "refund")
    flow.resume(rows[1]) -- the other is decided: nothing is waited for
    t.same({ states(raw)[2], now().payment_status, paid(shop) },
      { "authorized", "partially_refunded", 1 })
    flow.resume(rows[2])
    t.same({ states(raw), now().payment_status, paid(shop) },
      { { "captured", "voided" }, "partially_refunded", 1 })
  end))

  t.it("is authorized where only what is held is left", with_shop(function(shop, raw)
    local cart = several.parts_of(shop, raw, 1700, "tok_capture_declined")
    shop.must(several.session(shop, raw, cart, nil, nil, "manual"))
    local order = shop.must(shop.complete(cart)).order
    local now = several.of_order(shop, raw, order)
    t.equal(now.payment_status, "awaiting")
    book(raw, now.payments[1].id, { kind = "voided", reference = "bank" })
    t.same({ several.of_order(shop, raw, order).payment_status, paid(shop) }, { "authorized", 0 })
  end))
end)


t.describe("an order with a payment that is captured and one that is held", function()
  local function held(shop, raw)
    local order, now = make(shop, raw, 1399, "tok_ok", false, "tok_capture_declined")
    shop.work()
    t.equal(now().payment_status, "partially_captured")
    return order, now
  end

  t.it("is paid when the one that is held is cancelled", with_shop(function(shop, raw)
    local _, now = held(shop, raw)
    t.equal((cancel(shop, raw, now(), 1)), 200)
    t.same({ states(raw), now().payment_status, paid(shop) },
      { { "captured", "voided" }, "captured", 1 })
  end))

  t.it("is paid once where its provider tells of that first", with_shop(function(shop, raw)
    local _, now = held(shop, raw)
    local _, second = ids(now())
    local payment = raw.require "till.flow.payment"
    local was = payment.ask_void
    payment.ask_void = function(p, ...)
      local answer, e, seen = was(p, ...)
      book(raw, second, { kind = "voided", reference = "pi_void" })
      return answer, e, seen
    end
    local status = cancel(shop, raw, now(), 1)
    payment.ask_void = was
    t.same({ status, states(raw), now().payment_status, paid(shop) },
      { 200, { "captured", "voided" }, "captured", 1 })
  end))

  t.it("is not told of as paid where all of it is cancelled", with_shop(function(shop, raw)
    local order, now = held(shop, raw)
    t.equal((cancel(shop, raw, order)), 200)
    t.same({ now().payment_status, paid(shop), sums(raw) }, { "refunded", 0, {} })
  end))
end)
