-- till/flow/payment_methods - how a cart can be paid: what each payment plugin says of itself.
--
--   list(cart) -> { { provider, label, … } } | nil, err
local dispatch = require "till.plugin.dispatch"

local payment_methods = {}


function payment_methods.list(cart)
  local answers, e = dispatch.ask("payment.describe", { currency = cart.currency,
    country = cart.country, amount = cart.priced.total })
  if not answers then return nil, e end
  local out = {}
  for i, answer in ipairs(answers) do
    out[i] = { provider = (answer.plugin:gsub("^payment%-", "")), label = answer.value.label,
      fields = answer.value.fields }
  end
  return out
end


return payment_methods
