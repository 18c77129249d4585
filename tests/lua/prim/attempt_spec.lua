local t = require "till.test"
local attempt = require "till.prim.attempt"
local payment = require "till.flow.payment"

-- How a list comes to each state that lua/till/flow/payment.lua has.
local TO = {
  created = {}, sending = { "send" }, unknown = { "send", "unknown" },
  requires_action = { "send", "requires_action" }, authorized = { "send", "authorized" },
  captured = { "send", "captured" }, declined = { "send", "declined" }, voided = { "voided" },
  failed = { "send", "failed" }, refunded = { "send", "captured", "refunded" },
  disputed = { "send", "captured", "disputed" }, won = { "send", "captured", "disputed", "won" },
  lost = { "send", "captured", { "disputed", 200 }, "lost" },
}
local WITH_AMOUNT = { created = true, authorized = true, captured = true, refunded = true,
  refund_failed = true, disputed = true }
local LEFT = { lost = 300 } -- of others all
local ALL = { "send", "authorized", "captured", "declined", "requires_action", "unknown",
  "not_found", "failed", "voided", "refunded", "refund_failed", "disputed", "won", "lost" }


-- Of 500, each in one piece.
local function events(names)
  local out = { { event = "created", amount = 500 } }
  for _, name in ipairs(names) do
    if type(name) == "table" then
      out[#out + 1] = { event = name[1], amount = name[2] }
    else
      out[#out + 1] = { event = name, amount = WITH_AMOUNT[name] and 500 or nil }
    end
  end
  return out
end


local function plus(names, name, amount)
  local out = events(names)
  out[#out + 1] = { event = name, amount = amount }
  return out
end


t.describe("till.prim.attempt", function()
  t.it("sums up what was captured, let go and given back", function()
    local seen, refusal = attempt.fold {
      { event = "created", amount = 1000 }, { event = "send" },
      { event = "authorized", amount = 900 }, { event = "captured", amount = 500 },
      { event = "captured", amount = 200 }, { event = "voided", amount = 100 },
      { event = "refunded", amount = 150 }, { event = "disputed", amount = 50 },
      { event = "lost" } }
    t.equal(refusal, nil)
    t.same(seen, { state = "lost", is_final = false, amount = 1000, authorized = 900,
      captured = 700, voided = 100, refunded = 150, disputed = 0, lost = 50, left = 100,
      held = 500 })
  end)

  t.it("takes what failed of a refund, and disputes by their own amounts", function()
    local seen, refusal = attempt.fold {
      { event = "created", amount = 1000 }, { event = "send" },
      { event = "captured", amount = 1000 }, { event = "refunded", amount = 300 },
      { event = "refund_failed", amount = 300 }, { event = "disputed", amount = 200 },
      { event = "disputed", amount = 400 }, { event = "lost", amount = 400 } }
    t.equal(refusal, nil)
    t.same({ seen.state, seen.refunded, seen.disputed, seen.lost, seen.held },
      { "disputed", 0, 200, 400, 400 })
  end)

  t.it("says of no events that there is nothing", function()
    t.equal(attempt.fold({}).state, "none")
  end)

  t.table({
    { why = "more than was authorized", names = { "send", "authorized" }, event = "captured",
      amount = 501, reason = "too_much", at = 4 },
    { why = "more than was captured", names = { "send", "captured" }, event = "refunded",
      amount = 501, reason = "too_much", at = 4 },
    { why = "a second time", names = { "send", "captured", "refunded" }, event = "refunded",
      amount = 1, reason = "impossible", at = 5 },
    { why = "a dispute of more than was captured", names = { "send", "captured", "refunded" },
      event = "disputed", amount = 501, reason = "too_much", at = 5 },
    { why = "sending what has no answer", names = { "send", "unknown" }, event = "send",
      reason = "impossible", at = 4 },
    { why = "a fraction", names = { "send" }, event = "captured", amount = 0.5,
      reason = "no_amount", at = 3 },
    { why = "nothing", names = { "send" }, event = "captured", reason = "no_amount", at = 3 },
    { why = "less than nothing", names = { "send" }, event = "captured", amount = -1,
      reason = "no_amount", at = 3 },
    { why = "a text", names = { "send" }, event = "captured", amount = "5",
      reason = "no_amount", at = 3 },
    { why = "what is no number", names = { "send" }, event = "captured", amount = 0 / 0,
      reason = "no_amount", at = 3 },
    { why = "more than is exact", names = { "send" }, event = "captured", amount = 2 ^ 53,
      reason = "no_amount", at = 3 },
    { why = "an amount where none belongs", names = {}, event = "send", amount = 5,
      reason = "no_amount", at = 2 },
  }, function(case)
    local seen, refusal = attempt.fold(plus(case.names, case.event, case.amount))
    t.same(refusal, { reason = case.reason, at = case.at })
    t.same(seen, attempt.fold(events(case.names)))
  end)

  t.it("throws at what is no event", function()
    t.throws(function() attempt.fold { { event = "paid" } } end, "no event paid")
    t.throws(function() attempt.fold { "created" } end, "no table")
    t.throws(function() attempt.fold { { amount = 5 } } end, "no name")
    t.throws(function() attempt.fold("created") end, "table expected")
  end)

  -- Both tables, edge by edge and in both directions.
  for state, names in pairs(TO) do
    t.it("agrees with the flow of payments about what is " .. state, function()
      t.equal(attempt.fold(events(names)).state, state)
      t.equal(attempt.fold(events(names)).is_final, payment.states.final[state] == true)
      for _, event in ipairs(ALL) do
        local known = payment.states:next(state, event)
          or event == "voided" and payment.states:next(state, "void")
        local in_full = (WITH_AMOUNT[event] or event == "voided" and state == "authorized")
          and (LEFT[state] or 500)
        local seen, refusal = attempt.fold(plus(names, event, in_full or nil))
        if known then
          t.same({ seen.state, refusal }, { known, nil }, event)
        else
          t.ok(refusal ~= nil, event .. " is possible here alone")
        end
      end
    end)
  end
end)
