-- till/http/payout_json - payouts and movements at providers, as staff see them.
--
--   of(payout), list(payouts)       amounts in minor units of `currency`; what is not known is
--                                   left out
--   item(item)                      of till.store.settlement_items
local render = require "till.http.render"

local payout_json = {}


local function flag(value)
  if value == nil then return nil end
  return value == 1
end


function payout_json.of(p)
  return { id = p.id, provider = p.provider, reference = p.reference, currency = p.currency,
    amount = p.amount, state = p.state, reason = p.reason, is_listed = flag(p.is_listed),
    movements = p.movements, movements_amount = p.movements_amount, difference = p.difference,
    at = p.at, arrives_at = p.arrives_at }
end


function payout_json.list(rows)
  local out = {}
  for i, p in ipairs(rows) do out[i] = payout_json.of(p) end
  return render.list(out)
end


function payout_json.item(i)
  return { reference = i.reference, kind = i.kind, source = i.source, payment_id = i.payment_id,
    currency = i.currency, amount = i.amount, fee = i.fee, verdict = i.verdict,
    payout = i.payout, detail = i.detail, at = i.at }
end


return payout_json
