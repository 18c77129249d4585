-- Our minor units and Stripe's: the same, but for currencies that Stripe counts otherwise than
-- ISO 4217 does. What cannot be told exactly is not told.
--
--   to_stripe(amount, currency) -> integer | nil      from_stripe(amount, currency) -> integer
--   charge(amount, currency) -> integer | nil, why    what a payment may begin with
--   limits(currencies | nil) -> min, max              by currency, in our minor units
local money = require "till.money"

local amounts = {}

local ZERO, THREE = {}, {}
for code in ("BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF"):gmatch "%a+" do
  ZERO[code] = true
end
for code in ("BHD JOD KWD OMR TND"):gmatch "%a+" do THREE[code] = true end

-- What Stripe charges at least, in its own units, where it says so; of all it takes eight digits.
local LEAST = { AED = 200, AUD = 50, BGN = 100, BRL = 50, CAD = 50, CHF = 50, CZK = 1500,
  DKK = 250, EUR = 50, GBP = 30, HKD = 400, HUF = 17500, INR = 50, JPY = 50, MXN = 1000, MYR = 200,
  NOK = 300, NZD = 50, PLN = 200, RON = 200, SEK = 300, SGD = 50, THB = 1000, USD = 50 }
local MOST = 99999999


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


function amounts.charge(amount, currency)
  local theirs = amounts.to_stripe(amount, currency)
  if not theirs then return nil, "Stripe does not take this amount" end
  if theirs < (LEAST[currency] or 1) then return nil, "Stripe does not take so small an amount" end
  if theirs > MOST then return nil, "Stripe does not take so large an amount" end
  return theirs
end


function amounts.limits(currencies)
  local least, most = {}, {}
  local function add(currency)
    if not money.exponent(currency) then return end
    least[currency] = amounts.from_stripe(LEAST[currency] or 1, currency)
    most[currency] = amounts.from_stripe(MOST, currency)
  end
  for currency in pairs(currencies and {} or LEAST) do add(currency) end
  for _, currency in ipairs(currencies or {}) do add(currency) end
  return least, most
end


return amounts
