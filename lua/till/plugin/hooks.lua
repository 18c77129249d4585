-- till/plugin/hooks - the places where a plugin may speak, and the terms of each.
--
-- This table is the contract: the loader checks a plugin against it and the dispatcher obeys it.
-- docs/hooks.md tells of each in words, and is written from this and till.plugin.hooks_doc.
--
--   many      every plugin that has it is asked, by priority (false: one is, by name or the first)
--   may_yield the handler may wait for I/O
--   budget_ms the time after which nobody waits for it any longer
--   on_error  what its failure means: "skip" it, "stop" the caller, or "retry": the others are
--             asked all the same, then the caller is told (events: they come again)
--   answer    what it must return, if anything: "list" or "table"
--   outcomes  what `outcome` of the answer may be; anything else is a failure
--   at_load   asked once while the generation is loaded
--   rule      merchants' rules may answer it too, in their box (till.flow.rulebook); a failure of
--             one means what on_error says
--
local EVENT = { many = true, may_yield = true, budget_ms = 30000, on_error = "retry" }


local function money_moving(...)
  local outcomes = {}
  for _, name in ipairs { ... } do outcomes[name] = true end
  return { many = false, may_yield = true, budget_ms = 20000, on_error = "stop", answer = "table",
    outcomes = outcomes }
end


local HOOKS = {
  ["promo.evaluate"] = { many = true, may_yield = false, budget_ms = 5, on_error = "skip",
    answer = "list", rule = true },
  ["cart.validate"] = { many = true, may_yield = false, budget_ms = 5, on_error = "stop",
    answer = "table", rule = true },
  ["shipping.quote"] = { many = true, may_yield = true, budget_ms = 1500, on_error = "skip",
    answer = "list" },
  ["tax.calculate"] = { many = false, may_yield = true, budget_ms = 1500, on_error = "stop",
    answer = "table" },

  ["payment.describe"] = { many = true, may_yield = false, budget_ms = 5, on_error = "skip",
    answer = "table" },
  ["payment.capabilities"] = { many = false, may_yield = false, budget_ms = 100,
    on_error = "stop", answer = "table", at_load = true },
  ["payment.check"] = { many = false, may_yield = true, budget_ms = 7000, on_error = "stop",
    answer = "table" },
  ["payment.authorize"] = money_moving("authorized", "captured", "declined", "requires_action",
    "failed", "unknown"),
  ["payment.capture"] = money_moving("captured", "declined", "unknown"),
  ["payment.void"] = money_moving("voided", "declined", "unknown"),
  ["payment.refund"] = money_moving("refunded", "declined", "unknown"),
  ["payment.lookup"] = money_moving("captured", "voided", "refunded", "authorized", "declined",
    "requires_action", "not_found", "unknown"),
  ["payment.forget"] = money_moving("forgotten", "unknown"),

  ["payment.settlement"] = { many = false, may_yield = true, budget_ms = 20000, on_error = "stop",
    answer = "table" },
  ["payment.payout"] = { many = false, may_yield = true, budget_ms = 20000, on_error = "stop",
    answer = "table" },
  ["payment.balance"] = { many = false, may_yield = true, budget_ms = 20000, on_error = "stop",
    answer = "table" },

  ["order.placed"] = EVENT,
  ["order.paid"] = EVENT,
  ["order.paid_again"] = EVENT,
  ["order.payment_added"] = EVENT,
  ["payment.requested"] = EVENT,
  ["order.fulfilled"] = EVENT,
  ["order.cancelled"] = EVENT,

  ["event.publish"] = { many = true, may_yield = true, budget_ms = 30000, on_error = "retry",
    answer = "table" },
  ["job.run"] = { many = false, may_yield = true, budget_ms = 60000, on_error = "stop" },
  ["webhook.receive"] = { many = false, may_yield = true, budget_ms = 3000, on_error = "stop",
    answer = "table" },
  ["webhook.apply"] = { many = false, may_yield = true, budget_ms = 20000, on_error = "stop",
    answer = "table" },
  ["webhook.poll"] = { many = false, may_yield = true, budget_ms = 20000, on_error = "stop",
    answer = "table" },
  ["plugin.check"] = { many = true, may_yield = false, budget_ms = 100, on_error = "stop",
    at_load = true },
  ["http.route"] = { many = true, may_yield = false, budget_ms = 100, on_error = "stop",
    answer = "list", at_load = true },
}

return HOOKS
