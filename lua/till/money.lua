-- till/money - amounts of money as whole counts of a currency's minor unit.
--
-- An amount is a plain Lua number holding an integer 0 .. exact.MAX; its currency stands once on
-- the cart, order or price. Nothing here waits, and nothing rounds unless it is named for it.
--
--   exponent(code) -> decimals of an ISO 4217 currency, nil when unknown
--   split(amount, weights) -> shares that add up to it, by largest remainder
--   even(amount, count) -> each, extra: `extra` units carry one more than `each`
--   even_part(amount, count, from, to) -> what units from .. to-1 (from 0) carry together
--   round(amount, rate[, mode]) -> amount * rate as a whole number; rate is an exact fraction
--   round_to(amount, step) -> nearest multiple, a tie goes up
--   format(amount, code_or_exponent) -> "1234.50"
--   parse(text, code_or_exponent) -> amount | nil
local exact = require "till.util.exact"

local money = {}

local floor = math.floor

-- ISO 4217 list one, the currencies whose minor unit is not 1/100.
local UNUSUAL = {
  [0] = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
  [3] = "BHD IQD JOD KWD LYD OMR TND",
  [4] = "CLF UYW",
}

local USUAL = [[
AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD
CAD CDF CHE CHF CHW CNY COP COU CRC CUC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL
GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD
LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN
PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB
TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG]]

local EXPONENTS = {}


local function fill(codes, exponent)
  for code in codes:gmatch("%u+") do EXPONENTS[code] = exponent end
end


fill(USUAL, 2)
for exponent, codes in pairs(UNUSUAL) do fill(codes, exponent) end


function money.exponent(code)
  return EXPONENTS[code]
end


local function sum_of(weights)
  local sum = 0
  for i = 1, #weights do sum = exact.add(sum, weights[i]) end
  return sum
end


-- One unit each to the largest remainders, equal ones in the order given.
local function hand_out(shares, rests, missing)
  local order = {}
  for i = 1, #rests do order[i] = i end
  table.sort(order, function(a, b)
    local side = exact.compare(rests[a], rests[b])
    if side ~= 0 then return side > 0 end
    return a < b
  end)
  for i = 1, missing do shares[order[i]] = shares[order[i]] + 1 end
end


-- The usual cart misses one or two units: finding the largest is cheaper than sorting.
local function hand_out_few(shares, rests, missing)
  for _ = 1, missing do
    local best = 1
    for i = 2, #rests do
      if rests[i] > rests[best] then best = i end
    end
    shares[best] = shares[best] + 1
    rests[best] = -1
  end
end


local function split_big(amount, weights, total)
  local shares, rests, given = {}, {}, 0
  for i = 1, #weights do
    shares[i], rests[i] = exact.divide(exact.multiply(amount, weights[i]), total)
    given = given + shares[i]
  end
  hand_out(shares, rests, amount - given)
  return shares
end


-- Largest remainder. A weight of zero gets nothing; weights that are all zero give all zeros. As
-- the remainders add up to a multiple of the total, a missing unit always has a remainder > 0 to
-- go to, so no share exceeds its weight while amount <= the sum of weights.
function money.split(amount, weights)
  local count = #weights
  local total = sum_of(weights)
  local shares = {}
  if total == 0 then
    for i = 1, count do shares[i] = 0 end
    return shares
  end
  if type(total) ~= "number" or amount * total > exact.MAX then
    return split_big(amount, weights, total)
  end
  local rests, given = {}, 0
  for i = 1, count do
    local product = amount * weights[i]
    local share = floor(product / total)
    shares[i] = share
    rests[i] = product - share * total
    given = given + share
  end
  local missing = amount - given
  if missing > 4 then
    hand_out(shares, rests, missing)
  elseif missing > 0 then
    hand_out_few(shares, rests, missing)
  end
  return shares
end


function money.even(amount, count)
  local each = floor(amount / count)
  return each, amount - each * count
end


function money.even_part(amount, count, from, to)
  local each, extra = money.even(amount, count)
  return each * (to - from) + math.min(to, extra) - math.min(from, extra)
end


function money.round(amount, rate, mode)
  return exact.scale(amount, rate.n, rate.d, mode)
end


function money.round_to(amount, step)
  return exact.scale(amount, 1, step) * step
end


local function decimals_of(what)
  if type(what) == "number" then return what end
  return EXPONENTS[what] or error("unknown currency " .. tostring(what), 3)
end


function money.format(amount, what)
  local decimals = decimals_of(what)
  local sign = amount < 0 and "-" or ""
  local digits = string.format("%.0f", math.abs(amount))
  if decimals == 0 then return sign .. digits end
  if #digits <= decimals then digits = ("0"):rep(decimals + 1 - #digits) .. digits end
  return sign .. digits:sub(1, -decimals - 1) .. "." .. digits:sub(-decimals)
end


-- Only what the currency can hold exactly: more decimals than it has are refused, not rounded.
function money.parse(text, what)
  local decimals = decimals_of(what)
  local whole, rest = tostring(text):match("^(%d+)(.*)$")
  local part = whole and rest:match("^%.?(%d*)$")
  if not part or #part > decimals then return nil end
  local value = exact.parse(whole .. part .. ("0"):rep(decimals - #part))
  if type(value.n) ~= "number" then return nil end
  return value.n
end


return money
