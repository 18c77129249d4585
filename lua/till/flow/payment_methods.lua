-- till/flow/payment_methods - how a cart can be paid: what each payment plugin says of itself,
-- where its capabilities allow it.
--
--   list(cart, amount or nil) -> { { provider, label, fields, saved_methods } } | nil, err
--                                         saved_methods: can one be kept with it? amount: of the
--                                         part that is to be paid, in minor units; else the
--                                         rest. None where nothing is to be paid
--   list_for({ currency, country, amount }) -> the same
local capabilities = require "till.flow.capabilities"
local dispatch = require "till.plugin.dispatch"
local parts = require "till.flow.payment_parts"
local payments = require "till.store.payments"
local saved_methods = require "till.flow.saved_methods"

local payment_methods = {}


-- What a session without an amount would be of now: the rest, where there are others.
local function rest_of(cart)
  local list, e = payments.of_cart(cart.id)
  if not list then return nil, e end
  local room = parts.room(list, cart)
  return room and room.amount or cart.priced.total
end


function payment_methods.list(cart, amount)
  local e
  if cart.lines[1] and cart.priced.total == 0 then return {} end
  if not amount then amount, e = rest_of(cart) end
  if not amount then return nil, e end
  return payment_methods.list_for { currency = cart.currency, country = cart.country,
    amount = amount }
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
