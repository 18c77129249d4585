-- What is left of a payment when a part was refused or lost: what is kept is still to be captured,
-- and what was never paid does not go back.
local t = require "till.test"
local kit = require "tests.support.captures"

local with_order, cash, book = kit.with_order, kit.cash, kit.book


-- A last part that is declined has let go of the rest all the same.
local function declined_part(s, n)
  local mend = kit.instead(s, "payment.capture", function()
    return { outcome = "declined", reason = "no" }
  end)
  t.equal((s.pay(s.total - n, { final = true })), 402)
  mend()
end


local function cancel(s, n)
  return s.raw.admin("POST", "/admin/v1/orders/" .. s.order.id .. "/cancel",
    { reason = "no", lines = n and { { line_id = s.now().lines[1].id, quantity = n } } or nil },
    s.shop.key())
end


t.describe("a last part that was declined", function()
  t.it("leaves what is kept to be captured when a unit is cancelled", with_order(function(s)
    declined_part(s, 500)
    t.equal((cancel(s, 1)), 200)
    local p = s.payment()
    t.same({ p.released_amount.amount, p.left_amount.amount }, { 999, s.total - 999 })
    s.shop.must(s.pay())
    t.same({ cash(s), s.now().payment_status }, { s.total - 999, "captured" })
  end))

  t.it("leaves an order that is cancelled as it is until the provider has let go", with_order(
    function(s)
      declined_part(s, 500)
      local mend = kit.instead(s, "payment.void", function() return { outcome = "unknown" } end)
      local silent = kit.instead(s, "payment.lookup", function() return { outcome = "unknown" } end)
      t.equal((cancel(s)), 202)
      t.equal(s.now().payment_status, "authorized")
      silent()
      mend()
      s.raw.sql.exec "UPDATE sagas SET next_at = '2020-01-01', claimed_until = NULL"
      for _, row in ipairs(s.raw.require("till.store.sagas").stuck(20)) do
        s.raw.require("till.flow.cancellation_flow").resume(row)
      end
      t.equal(s.now().payment_status, "voided")
    end))

  t.it("does not stop the look at the ends of authorizations", with_order(function(s)
    local capabilities = s.raw.require "till.flow.capabilities"
    local of = capabilities.of
    capabilities.of = function(provider)
      local out = { authorization_days = 7 }
      for name, value in pairs(of(provider)) do out[name] = value end
      return out
    end
    s.raw.sql.exec("UPDATE payments SET authorization_expires_at = NULL,"
      .. " authorization_look_at = NULL")
    declined_part(s, 500)
    local done, e = s.raw.require("till.flow.authorizations").run()
    capabilities.of = of
    t.ok(done, tostring(e))
    t.equal(s.shop.count("payments", "authorization_expires_at IS NULL"), 0)
  end))
end)


t.describe("a refund of units that were never paid", function()
  t.it("is refused, for nothing of them goes back", with_order(function(s)
    s.shop.must(s.pay(s.total - 999))
    book(s, { kind = "voided", amount = 999, reference = "x", actor = "provider:test" })
    s.shop.must(s.raw.admin("POST", "/admin/v1/orders/" .. s.order.id .. "/fulfilments", {},
      s.shop.key()))
    local status, problem = s.raw.admin("POST", "/admin/v1/orders/" .. s.order.id .. "/refunds",
      { reason = "spec", lines = { { line_id = s.now().lines[1].id, quantity = 1 } } },
      s.shop.key())
    t.same({ status, problem.code, s.payment().refunded_amount.amount }, { 409, "conflict", 0 })
  end))
end)
