-- till/flow/payment_offer - may this be paid with that provider? Its plugin and its capabilities
-- are asked: Lua alone, and nobody outside.
--
--   of(provider, about [, at_ms]) -> what its plugin says of itself | nil, err; err is
--                    payment_provider_unknown. about { currency, country, amount in minor units,
--                    of = "order" or nil }; at_ms of till.flow.capabilities
--   still(p, { currency =, country = }) -> true | nil, err     once more, before it is sent or
--                    placed, or confirmed: the cart may go to another country than when its session
--                    was begun. It is for the shopper, who chooses again
local capabilities = require "till.flow.capabilities"
local err = require "till.util.err"
local payment = require "till.flow.payment"

local payment_offer = {}


function payment_offer.of(provider, about, at_ms)
  local offer, is_taken, why = payment.describe(provider, about), nil, nil
  if offer then is_taken, why = capabilities.offers(provider, about, at_ms) end
  if is_taken then return offer end
  return nil, err.new("payment_provider_unknown", type(why) == "string" and why
    or ("%s is not offered for this %s"):format(provider, about.of or "cart"))
end


-- Who was at his bank when the hours were over has paid in time.
local AT = { requires_action = false }


function payment_offer.still(p, cart)
  if p.state ~= "created" and p.state ~= "requires_action" then return true end
  local offer, e = payment_offer.of(p.provider, { currency = cart.currency, country = cart.country,
    amount = p.amount }, AT[p.state])
  if offer then return true end
  local taken = p.state == "created" and ", and nothing was taken" or ""
  return nil, err.new("payment_provider_unknown",
    e.message .. taken .. "; choose another way to pay", { for_shopper = true })
end


return payment_offer
