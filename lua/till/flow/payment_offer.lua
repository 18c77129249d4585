-- till/flow/payment_offer - may this be paid with that provider? Its plugin and its capabilities
-- are asked: Lua alone, and nobody outside.
--
--   of(provider, about) -> what its plugin says of itself | nil, err(payment_provider_unknown)
--                    about { currency, country, amount in minor units, of = "order" or nil }
--   still(p, { currency =, country = }) -> true | nil, err     once more, before a payment that
--                    nobody was asked for is sent or placed: the cart may go to another country
--                    than when its session was begun. It is for the shopper, who chooses again
local capabilities = require "till.flow.capabilities"
local err = require "till.util.err"
local payment = require "till.flow.payment"

local payment_offer = {}


function payment_offer.of(provider, about)
  local offer, is_taken, why = payment.describe(provider, about), nil, nil
  if offer then is_taken, why = capabilities.offers(provider, about) end
  if is_taken then return offer end
  return nil, err.new("payment_provider_unknown", type(why) == "string" and why
    or ("%s is not offered for this %s"):format(provider, about.of or "cart"))
end


function payment_offer.still(p, cart)
  if p.state ~= "created" then return true end
  local offer, e = payment_offer.of(p.provider, { currency = cart.currency, country = cart.country,
    amount = p.amount })
  if offer then return true end
  return nil, err.new("payment_provider_unknown",
    e.message .. ", and nothing was taken; choose another way to pay", { for_shopper = true })
end


return payment_offer
