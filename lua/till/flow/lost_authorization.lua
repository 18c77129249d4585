-- till/flow/lost_authorization - what was authorized is not held any more, and was not captured: by
-- the word of its provider, told by a webhook or heard by till.flow.authorizations.
--
--   raise(tx, payment, event) -> true | nil, err    of one with an order: the alert, in the
--                          transaction that books event { kind = "voided", amount, reference,
--                          reason }
--
-- The alert ends when the order is cancelled, paid anew, or came back (till.flow.authorizations),
-- for then nothing is owed.
local alerts = require "till.store.alerts"

local lost_authorization = { ALERT = "payment.lost_authorization" }


local function next_step(p)
  return ("order %s is not paid, and nothing can be captured for it: send nothing more; ask the"
    .. " shopper to pay it anew (POST /admin/v1/orders/%s/payment-request), or cancel it, or what"
    .. " of it was not sent"):format(p.order_id, p.order_id)
end


function lost_authorization.raise(tx, p, event)
  local raised, e = alerts.raise(tx, lost_authorization.ALERT, p.id, { detail = {
    payment_id = p.id, order_id = p.order_id, cart_id = p.cart_id, provider = p.provider,
    amount = event.amount or p.amount - (p.released_amount or 0), currency = p.currency,
    reference = event.reference or p.provider_ref, reason = event.reason,
    next_step = next_step(p) } })
  if raised == nil then return nil, e end
  return true
end


return lost_authorization
