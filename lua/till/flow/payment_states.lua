-- till/flow/payment_states - the states of an attempt to be paid, as till.flow.payment moves it.
--
--   over[state]    nothing is left to be done about its money. Beyond those that are final: what
--                  went back may be disputed still
local fsm = require "till.util.fsm"


local states = fsm.define("payment", {
  initial = "created", final = { "declined", "voided", "failed" },
  { from = "created", event = "send", to = "sending" },
  { from = "created", event = "void", to = "voided" },
  { from = "sending", event = "authorized", to = "authorized" },
  { from = "sending", event = "captured", to = "captured" },
  { from = "sending", event = "declined", to = "declined" },
  { from = "sending", event = "requires_action", to = "requires_action" },
  { from = "sending", event = "unknown", to = "unknown" },
  { from = "sending", event = "not_found", to = "failed" },
  { from = "sending", event = "failed", to = "failed" },
  { from = "sending", event = "voided", to = "voided" },
  { from = "unknown", event = "authorized", to = "authorized" },
  { from = "unknown", event = "captured", to = "captured" },
  { from = "unknown", event = "declined", to = "declined" },
  { from = "unknown", event = "requires_action", to = "requires_action" },
  { from = "unknown", event = "not_found", to = "failed" },
  { from = "unknown", event = "voided", to = "voided" },
  { from = "requires_action", event = "send", to = "sending" },
  { from = "requires_action", event = "authorized", to = "authorized" },
  { from = "requires_action", event = "captured", to = "captured" },
  { from = "requires_action", event = "declined", to = "declined" },
  { from = "requires_action", event = "voided", to = "voided" },
  { from = "requires_action", event = "not_found", to = "failed" },
  { from = "authorized", event = "captured", to = "captured" },
  { from = "authorized", event = "voided", to = "voided" },
  { from = "captured", event = "refunded", to = "refunded" },
  -- Of all that is held; parts are summed up by core/trade/attempt.h alone.
  { from = "captured", event = "disputed", to = "disputed" },
  { from = "refunded", event = "refund_failed", to = "captured" }, -- it did not get there
  { from = "refunded", event = "disputed", to = "disputed" }, -- it went back already
  { from = "disputed", event = "won", to = "won" },
  { from = "disputed", event = "lost", to = "lost" },
  { from = "disputed", event = "refunded", to = "disputed" }, -- told after it
  { from = "won", event = "refunded", to = "refunded" },
  { from = "won", event = "disputed", to = "disputed" },
  { from = "lost", event = "refunded", to = "lost" },
  { from = "lost", event = "disputed", to = "disputed" },
})

states.over = { refunded = true }
for state in pairs(states.final) do states.over[state] = true end


return states
