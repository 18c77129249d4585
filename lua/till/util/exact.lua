-- till/util/exact - exact arithmetic on whole numbers >= 0 and on fractions of them.
--
-- A whole number is a plain Lua number while it is at most MAX (2^53 - 1), else a till.util.bigint
-- value; each function takes both and gives the plain form back whenever it fits. So ordinary
-- amounts and rates never leave plain numbers, and nothing is ever rounded unless `round` is asked.
-- No ffi: rules run where there is none.
--
--   add, subtract(a >= b), multiply(a, b), divide(a, b) -> quotient, remainder
--   compare(a, b) -> -1 | 0 | 1
--   fraction(n, d) -> reduced { n=, d= };  parse("9.975") -> fraction | nil
--   plus, times, over (fractions)
--   scale(a, n, d, mode) -> round(a * n / d), mode "half_up" (default) or "half_even"
local bigint = require "till.util.bigint"

local exact = {}

local floor = math.floor
local type = type

local MAX = 9007199254740991

exact.MAX = MAX


local function big(a)
  if type(a) == "number" then return bigint.from_number(a) end
  return a
end


-- Three limbs stay below 10^21, so the double is near enough to tell.
local function plain(limbs)
  if #limbs <= 3 then
    local value = bigint.to_number(limbs)
    if value <= MAX then return value end
  end
  return limbs
end


-- A sum or product of plain numbers that reads as at most MAX is exact: beyond MAX the nearest
-- double is beyond it, too.
function exact.add(a, b)
  if type(a) == "number" and type(b) == "number" then
    local sum = a + b
    if sum <= MAX then return sum end
  end
  return plain(bigint.add(big(a), big(b)))
end


function exact.subtract(a, b)
  if type(a) == "number" and type(b) == "number" then return a - b end
  return plain(bigint.subtract(big(a), big(b)))
end


function exact.multiply(a, b)
  if type(a) == "number" and type(b) == "number" then
    local product = a * b
    if product <= MAX then return product end
  end
  return plain(bigint.multiply(big(a), big(b)))
end


-- For plain numbers floor(a / b) is right as it stands: a quotient just below a whole number k
-- misses it by at least 1/b, and near k doubles are closer together than that while a <= MAX.
function exact.divide(a, b)
  if type(a) == "number" and type(b) == "number" then
    local quotient = floor(a / b)
    return quotient, a - quotient * b
  end
  local quotient, rest = bigint.divide(big(a), big(b))
  return plain(quotient), plain(rest)
end


function exact.compare(a, b)
  if type(a) == "number" and type(b) == "number" then
    if a == b then return 0 end
    return a < b and -1 or 1
  end
  return bigint.compare(big(a), big(b))
end


local function gcd(a, b)
  while b ~= 0 do
    local _, rest = exact.divide(a, b)
    a, b = b, rest
  end
  return a
end


exact.gcd = gcd


-- Reduced, so that small rates stay small however often they are combined.
local function fraction(n, d)
  local common = gcd(n, d)
  if common == 1 then return { n = n, d = d } end
  return { n = (exact.divide(n, common)), d = (exact.divide(d, common)) }
end


exact.fraction = fraction
exact.ZERO = { n = 0, d = 1 }
exact.ONE = { n = 1, d = 1 }


local function digits_to_whole(text)
  text = text:gsub("^0+", "")
  if text == "" then return 0 end
  if #text <= 15 then return tonumber(text) end
  return plain(bigint.from_digits(text))
end


-- A decimal string >= 0 as a fraction; nil when it is not one. A number is taken as the decimal
-- that it prints as, since that is what its author wrote.
function exact.parse(text)
  if type(text) == "number" then
    if text % 1 == 0 and text >= 0 and text <= MAX then return { n = text, d = 1 } end
    text = string.format("%.14g", text)
  end
  if type(text) ~= "string" then return nil end
  local whole, rest = text:match("^%+?(%d*)(.*)$")
  local decimals = rest:match("^%.?(%d*)$")
  if not decimals or whole .. decimals == "" then return nil end
  return fraction(digits_to_whole(whole .. decimals), digits_to_whole("1" .. ("0"):rep(#decimals)))
end


function exact.plus(x, y)
  if x.d == y.d then return fraction(exact.add(x.n, y.n), x.d) end
  local n = exact.add(exact.multiply(x.n, y.d), exact.multiply(y.n, x.d))
  return fraction(n, exact.multiply(x.d, y.d))
end


function exact.times(x, y)
  return fraction(exact.multiply(x.n, y.n), exact.multiply(x.d, y.d))
end


function exact.over(x, y)
  return fraction(exact.multiply(x.n, y.d), exact.multiply(x.d, y.n))
end


function exact.compare_fractions(x, y)
  return exact.compare(exact.multiply(x.n, y.d), exact.multiply(y.n, x.d))
end


local function is_odd(a)
  return (type(a) == "number" and a or a[1]) % 2 == 1
end


local function scale_big(a, n, d, mode)
  local quotient, rest = exact.divide(exact.multiply(a, n), d)
  local side = exact.compare(exact.add(rest, rest), d)
  if side > 0 or side == 0 and (mode ~= "half_even" or is_odd(quotient)) then
    return exact.add(quotient, 1)
  end
  return quotient
end


function exact.scale(a, n, d, mode)
  if type(a) == "number" and type(n) == "number" and type(d) == "number" then
    local product = a * n
    if product <= MAX then
      local quotient = floor(product / d)
      local twice = 2 * (product - quotient * d)
      if twice > d or twice == d and (mode ~= "half_even" or quotient % 2 == 1) then
        return quotient + 1
      end
      return quotient
    end
  end
  return scale_big(a, n, d, mode)
end


return exact
