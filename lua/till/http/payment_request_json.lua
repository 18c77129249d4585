-- till/http/payment_request_json - what staff ask the shopper for, as the API shows it.
--
--   of(found, order) -> object      found of till.flow.amount_due, with a request
local render = require "till.http.render"

local payment_request_json = {}


function payment_request_json.of(found, order)
  local r = found.request
  return { order_id = order.id, reason = r.reason, actor = r.actor, instead_of = r.instead_of,
    asked_at = r.asked_at, amount = render.money(r.amount, order.currency),
    amount_due = render.money(found.due, order.currency) }
end


return payment_request_json
