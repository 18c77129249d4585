local attempt = require "till.prim.attempt"
local payment_status = require "till.flow.payment_status"
local payments = require "till.store.payments"
local random = require "tests.support.random"
local states = require "till.flow.order_states"
local t = require "till.test"


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

  local KINDS = { "captured", "captured", "voided", "refunded", "refunded" }


  -- One more event of it, or nothing where that does not fit.
  local function go_on(one, numbers)
    local kind, amount = KINDS[numbers.below(#KINDS) + 1], numbers.below(10) + 1
    if numbers.below(3) == 0 then amount = kind == "refunded" and one.now.held or one.now.left end
    one.events[#one.events + 1] = { event = kind, amount = amount }
    local now, refusal = attempt.fold(one.events)
    if refusal or amount == 0 then table.remove(one.events) return end
    one.now, one.p = now, payments.projected(one.p, now)
  end


  local function begin(offline)
    local events = { { event = "created", amount = 10 }, { event = "send" },
      { event = "authorized", amount = 10 } }
    local p = { amount = 10, state = "authorized", released_amount = 0, refunded_amount = 0,
      data = { till = { policy = { offline = offline } } } }
    return { events = events, now = attempt.fold(events), p = p }
  end


  local function rows(list)
    local out, sums_of = {}, {}
    for i, one in ipairs(list) do
      out[i] = one.p
      sums_of[#sums_of + 1] = payment_status.amounts(one.p)
    end
    return out, payment_status.of(sums_of)
  end


  t.it("moves wherever the sums go to, whatever happens to its payments", function()
    local numbers, seen, machine = random.new(11), {}, states.MACHINES.payment_status
    for _ = 1, 3000 do
      local list = {}
      for i = 1, numbers.below(3) + 1 do list[i] = begin(numbers.below(3) == 0) end
      local order = {}
      order.payment_status = select(2, rows(list))
      for _ = 1, 8 do
        go_on(list[numbers.below(#list) + 1], numbers)
        local all, is = rows(list)
        local from, move = order.payment_status, payment_status.move(order, all)
        if move then
          order.payment_status = machine:next(from, move)
          seen[from .. " > " .. order.payment_status] = true
        end
        t.equal(order.payment_status, is, "from " .. from)
      end
    end
    t.ok(seen["awaiting > partially_refunded"] and seen["awaiting > authorized"])
  end)

  -- what was lost of it is owed still
  t.table({
    { why = "of a part", from = "authorized", captured = 4, is = "capture_part" },
    { why = "of a part, where it waited", from = "awaiting", captured = 4, is = "capture_part" },
    { why = "of a part, as before", from = "partially_captured", captured = 4 },
    { why = "of a part, less a refund", from = "partially_captured", captured = 4, refunded = 1 },
    { why = "of a part that went back", from = "partially_captured", captured = 4, refunded = 4 },
    { why = "of one that was paid before", from = "captured", captured = 4, refunded = 1,
      is = "refund_part" },
    { why = "of nothing", from = "authorized", captured = 0, is = "void" },
  }, function(case)
    local p = { state = case.captured > 0 and "captured" or "voided", amount = 10,
      released_amount = 10 - case.captured, capture_amount = case.captured,
      refunded_amount = case.refunded or 0 }
    t.equal(payment_status.move({ payment_status = case.from }, { p }, 6), case.is)
  end)
end)
