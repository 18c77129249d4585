-- till/prim/attempt - what the events of one attempt to be paid come to (core/trade/attempt.h).
--
--   fold(events) -> attempt [, refusal]
--
-- events is a list of { event = "captured", amount = 500 }, the first of them "created"; what has
-- no amount leaves it out. attempt is { state, is_final, amount, authorized, captured, voided,
-- refunded, disputed, lost, left (to capture or void), held (what may be asked for as a refund) },
-- summed up from the events alone. The first that does not fit is refused, and attempt is what
-- those before it say:
--   { at = its index, reason = "impossible" | "no_amount" | "too_much" }
-- An event of another name throws. So whether one more is possible is asked by appending it.
local c = require "till.c.attempt"

return c
