local t = require "till.test"
local payment_status = require "till.flow.payment_status"
local states = require "till.flow.order_states"


local function sums(...)
  local out = {}
  for i, one in ipairs { ... } do
    out[i] = { authorized = one[1], captured = one[2], refunded = one[3] or 0 }
  end
  return out
end


t.describe("the payment status of an order", function()
  t.table({
    { why = "of no payment says nothing", of = sums() },
    { why = "of money that is held", of = sums({ 10, 0 }), is = "authorized" },
    { why = "of a part", of = sums({ 10, 3 }), is = "partially_captured" },
    { why = "of a part that went back", of = sums({ 10, 3, 3 }), is = "partially_captured" },
    { why = "of all", of = sums({ 10, 10 }), is = "captured" },
    { why = "of all that was not let go", of = sums({ 3, 3 }), is = "captured" },
    { why = "of all, and a part went back", of = sums({ 10, 10, 1 }), is = "partially_refunded" },
    { why = "of all that went back", of = sums({ 10, 10, 10 }), is = "refunded" },
    { why = "of nothing any more", of = sums({ 0, 0 }), is = "voided" },
    { why = "of two, one of them captured", of = sums({ 10, 10 }, { 5, 0 }),
      is = "partially_captured" },
    { why = "of two, one of them gone back", of = sums({ 10, 10, 10 }, { 5, 5 }),
      is = "partially_refunded" },
    { why = "of one, where another was voided", of = sums({ 0, 0 }, { 5, 5 }), is = "captured" },
  }, function(case) t.equal(payment_status.of(case.of), case.is) end)

  t.it("is of what is held besides, too, where a bank took back what was taken", function()
    local p = { state = "won", amount = 10, capture_amount = 4, released_amount = 0,
      refunded_amount = 0 }
    t.same(payment_status.amounts(p), { authorized = 10, captured = 4, refunded = 0 })
    p.released_amount = 6
    t.same(payment_status.amounts(p), { authorized = 4, captured = 4, refunded = 0 })
  end)

  t.it("moves along edges that there are", function()
    for _, from in ipairs(states.MACHINES.payment_status:states()) do
      for _, p in ipairs {
        { state = "authorized", amount = 10 },
        { state = "captured", amount = 10, capture_amount = 4 },
        { state = "captured", amount = 10, capture_amount = 10 },
        { state = "captured", amount = 10, capture_amount = 10, refunded_amount = 2 },
        { state = "refunded", amount = 10, capture_amount = 10, refunded_amount = 10 },
        { state = "voided", amount = 10, released_amount = 10 },
      } do
        local move = payment_status.move({ payment_status = from }, { p })
        if move then
          t.equal(states.MACHINES.payment_status:next(from, move),
            payment_status.of { payment_status.amounts(p) }, from)
        end
      end
    end
  end)
end)
