-- Our minor units and Stripe's: the same, but for currencies that Stripe counts otherwise than
-- ISO 4217 does. What cannot be told exactly is not told.
--
--   to_stripe(amount, currency) -> integer | nil      from_stripe(amount, currency) -> integer
local money = require "till.money"

local amounts = {}

local ZERO, THREE = {}, {}
for code in ("BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF"):gmatch "%a+" do
  ZERO[code] = true
end
for code in ("BHD JOD KWD OMR TND"):gmatch "%a+" do THREE[code] = true end


local function decimals(currency)
  return ZERO[currency] and 0 or THREE[currency] and 3 or 2
end


function amounts.to_stripe(amount, currency)
  local ours = money.exponent(currency)
  if not ours or amount <= 0 then return nil end
  local theirs = amount * 10 ^ (decimals(currency) - ours)
  if theirs % 1 ~= 0 or THREE[currency] and theirs % 10 ~= 0 then return nil end
  return theirs
end


function amounts.from_stripe(amount, currency)
  return math.floor(amount * 10 ^ (money.exponent(currency) - decimals(currency)))
end


return amounts
