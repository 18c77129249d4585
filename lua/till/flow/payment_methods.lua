-- till/flow/payment_methods - how a cart can be paid: what each payment plugin says of itself,
-- where its capabilities allow it.
--
--   list(cart) -> { { provider, label, fields, saved_methods } } | nil, err
--                                         saved_methods: can one be kept with it?
--   list_for({ currency, country, amount }) -> the same
local capabilities = require "till.flow.capabilities"
local dispatch = require "till.plugin.dispatch"
local saved_methods = require "till.flow.saved_methods"

local payment_methods = {}


function payment_methods.list(cart)
  return payment_methods.list_for { currency = cart.currency, country = cart.country,
    amount = cart.priced.total }
end


function payment_methods.list_for(about)
  local answers, e = dispatch.ask("payment.describe", about)
  if not answers then return nil, e end
  local out = {}
  for _, answer in ipairs(answers) do
    local provider = answer.plugin:gsub("^payment%-", "")
    if capabilities.offers(provider, about) then
      out[#out + 1] = { provider = provider, label = answer.value.label,
        fields = answer.value.fields, saved_methods = saved_methods.are_kept(provider) }
    end
  end
  return out
end


return payment_methods
