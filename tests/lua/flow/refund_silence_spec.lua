-- Refunds of which the provider says nothing, and those that staff make there meanwhile.
local provider = require "tests.support.provider"
local several = require "tests.support.several"
local t = require "till.test"

local UNKNOWN = { outcome = "unknown" }


local function with_order(fn)
  return provider.with(function(shop, raw, say)
    local cart = several.parts_of(shop, raw, false, "tok_ok")
    local s = { shop = shop, raw = raw, say = say }
    s.order = shop.must(shop.complete(cart)).order
    shop.work()
    s.payment = raw.require("till.store.payments").of_cart(cart)[1]
    function s.refund(amount)
      return raw.admin("POST", "/admin/v1/orders/" .. s.order.id .. "/refunds",
        { amount = { amount = amount, currency = "GBP" }, reason = "sorry" }, shop.key())
    end
    function s.book(ref, is_ours)
      local booking = raw.require "till.flow.booking"
      return assert(raw.sql.transaction(function(tx)
        return { booking.book(tx, s.payment.id, { kind = "refunded", amount = 300,
          reference = ref, is_ours = is_ours }) }
      end))[1] and true
    end
    -- It is the provider's, and no webhook has told of it.
    function s.by_hand()
      raw.sql.exec("INSERT INTO payment_test_refunds (refund_key, idem_key, amount)"
        .. " VALUES ('by hand', ?, 300)", s.payment.idem_key)
    end
    function s.later()
      several.later(raw, 1)
      for _, row in ipairs(raw.require("till.store.sagas").stuck(20)) do
        raw.require("till.flow.cancellation_flow").resume(row)
      end
    end
    function s.both()
      return { raw.sql.one("SELECT refunded_amount AS n FROM payments").n,
        raw.sql.one("SELECT CAST(COALESCE(SUM(amount), 0) AS SIGNED) AS n"
          .. " FROM payment_test_refunds").n }
    end
    fn(s)
  end, function(_, has) return has end)
end


t.describe("a refund without an answer", function()
  t.it("is not taken for one that was made at the provider", with_order(function(s)
    local plugin = s.raw.require("till.plugin.dispatch").plugin
    s.by_hand()
    s.say["payment.refund"] = UNKNOWN
    t.equal((s.refund(300)), 202)
    t.equal(s.book "re_by_hand", true)
    s.later()
    t.same(s.both(), { 300, 300 })
    s.say["payment.refund"] = function(about)
      s.say["payment.refund"] = nil
      local answer = plugin("payment-test", "payment.refund", about)
      answer.refund_ref = "re_own"
      return answer
    end
    s.later()
    t.same(s.both(), { 600, 600 })
    t.equal(s.shop.count("cancellations", "state = 'pending'"), 0)
  end))

  t.it("is asked for once more at once, where it may have been made", with_order(function(s)
    local plugin = s.raw.require("till.plugin.dispatch").plugin
    s.say["payment.refund"] = function(about)
      s.say["payment.refund"] = nil
      plugin("payment-test", "payment.refund", about)
      return UNKNOWN
    end
    t.equal((s.refund(300)), 200)
    t.same(s.both(), { 300, 300 })
  end))

  t.it("is left to staff once its key may be forgotten, whatever else went back", with_order(
    function(s)
      s.by_hand()
      s.say["payment.refund"] = UNKNOWN
      t.equal((s.refund(300)), 202)
      several.later(s.raw, 24 * 60)
      s.later()
      t.equal(s.shop.count("sagas", "name = 'cancellation' AND state = 'parked'"), 1)
      t.same(s.both(), { 0, 300 })
    end))
end)


t.describe("a refund that the provider knows as ours", function()
  t.it("is booked where another was taken for it", with_order(function(s)
    local payment = s.raw.require "till.flow.payment"
    local was = payment.ask_refund
    payment.ask_refund = function(...)
      payment.ask_refund = was
      local answer, e = was(...)
      s.by_hand()
      t.equal(s.book("re_own", true), false)
      t.equal(s.book "re_by_hand", true)
      return answer, e
    end
    t.equal((s.refund(300)), 200)
    t.same(s.both(), { 300, 600 })
    t.equal(s.book("re_own", true), true)
    t.equal(s.book("re_own", true), false)
    t.same(s.both(), { 600, 600 })
  end))
end)
