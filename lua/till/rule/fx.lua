-- till/rule/fx - amounts from one currency to another, by the rate as it is quoted.
--
-- The quoted rate is multiplied or divided by; it is never inverted, since the inverse of a decimal
-- is in general none and rounding it would move money.
local exact = require "till.util.exact"

local fx = {}


local function power_of_ten(count)
  local value = { n = 1, d = 1 }
  local step = count < 0 and exact.fraction(1, 10) or exact.fraction(10, 1)
  for _ = 1, math.abs(count) do value = exact.times(value, step) end
  return value
end


-- spec = { rate=, direction="multiply"|"divide" } -> the fraction that an amount in minor units
-- of the first currency is multiplied by.
function fx.factor(spec, from_exponent, to_exponent)
  local rate = exact.parse(spec.rate)
  if not rate or rate.n == 0 then error("fx.rate must be a decimal above 0", 0) end
  local shift = power_of_ten(to_exponent - from_exponent)
  if spec.direction == "multiply" then return exact.times(rate, shift) end
  if spec.direction == "divide" then return exact.over(shift, rate) end
  error("fx.direction must be multiply or divide", 0)
end


-- May be beyond exact.MAX: the caller decides whether that is an error.
function fx.convert(amount, factor, mode)
  local value = exact.scale(amount, factor.n, factor.d, mode)
  return type(value) == "number" and value or exact.MAX + 1
end


-- A case { op="fx", amount=, from={exponent=}, to={exponent=}, rate=, direction= }.
function fx.calculate(given)
  local amount = given.amount
  if type(amount) ~= "number" or amount < 0 or amount % 1 ~= 0 then
    return { status = "error", error = "invalid_price" }
  end
  local mode = given.rounding and given.rounding.mode
  local factor = fx.factor(given, given.from.exponent, given.to.exponent)
  local value = fx.convert(amount, factor, mode)
  if amount > exact.MAX or value > exact.MAX then
    return { status = "error", error = "amount_overflow" }
  end
  return { status = "ok", amount = value }
end


return fx
