-- till/flow/payment_result - what an attempt is to whoever asked for it, as it stands now.
--
--   of(p) -> p | nil, err         the money is there, or payment_declined, unknown_outcome,
--                                 payment_requires_action, conflict
--   another(p, answer) -> sentence | nil    captured by hand, and another amount than ours
--   no_answer(p) -> err           unknown_outcome, and what staff can do where its plugin is gone
--   is_offered(p) -> boolean      can its provider be asked at all? Not without its plugin
local dispatch = require "till.plugin.dispatch"
local err = require "till.util.err"
local kept = require "till.flow.payment_kept"
local payments = require "till.store.payments"

local result = {}


function result.is_offered(p)
  return dispatch.has("payment.authorize", "payment-" .. p.provider)
end


-- Whoever asks again later is answered once the plugin is back: nothing is concluded meanwhile.
function result.no_answer(p)
  if result.is_offered(p) then
    return err.new("unknown_outcome", "the provider has not answered yet")
  end
  return err.new("unknown_outcome", ("the plugin payment-%s is not loaded, so %s cannot be asked:"
    .. " load it again, or look there and resolve the payment by hand"):format(p.provider,
    p.provider))
end


function result.of(p)
  if p.state == "authorized" or p.state == "captured" then return p end
  if p.state == "requires_action" then
    local e = err.new("payment_requires_action", "the payment has to be confirmed by the shopper",
      { action = p.action, payment_id = p.id })
    e.for_shopper = true
    return nil, e
  elseif p.state == "unknown" or p.state == "sending" then
    return nil, result.no_answer(p)
  elseif p.state == "created" then -- what was to be sent was not
    return nil, err.new("conflict", "another worker completes this cart", { retryable = true })
  elseif kept.is_let_go(p) then
    return nil, err.new("payment_declined", ("the payment was let go: %s; nothing is taken for it,"
      .. " or it goes back; pay again"):format(p.reason or "nobody came back for it"),
      { reason = "let_go" })
  end
  return nil, err.new("payment_declined", p.state == "failed"
    and "the provider never received the payment; try again"
    or "the payment was declined; try another way to pay", { reason = p.reason })
end


-- Captured by hand, and another amount than ours: no order is paid with it, and it is not given
-- back as if it were. What is to be done only staff can say: a flow is parked with this reason.
function result.another(p, answer)
  local told = answer.captured_amount
  if not told or told == payments.to_capture(p) then return nil end
  if answer.outcome ~= "captured" and answer.outcome ~= "refunded" then return nil end
  return ("payment %s was captured with %s at %s, and %d was to be captured: look there, and give"
    .. " back or capture what differs"):format(p.id, told, p.provider, payments.to_capture(p))
end


return result
