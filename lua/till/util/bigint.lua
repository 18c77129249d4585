-- till/util/bigint - whole numbers >= 0 of any size, for the few products that leave 2^53.
--
-- A value is an array of limbs below BASE, least significant first, without leading zeros; zero is
-- the empty array. Values are never changed once made. The base is chosen so that a product of
-- two limbs plus carries stays an exact double, and so that decimal text is read digit by digit.
-- Callers use till.util.exact, which comes here only when plain numbers do not reach.
local bigint = {}

local floor = math.floor

local DIGITS = 7
local BASE = 10000000


local function trim(limbs)
  local n = #limbs
  while n > 0 and limbs[n] == 0 do
    limbs[n] = nil
    n = n - 1
  end
  return limbs
end


-- `value` is a whole double >= 0; above 2^53 it stands for the integer that it holds exactly.
function bigint.from_number(value)
  local limbs, n = {}, 0
  while value > 0 do
    local rest = value % BASE
    n = n + 1
    limbs[n] = rest
    value = (value - rest) / BASE
  end
  return limbs
end


function bigint.from_digits(text)
  local limbs, n = {}, 0
  for last = #text, 1, -DIGITS do
    n = n + 1
    limbs[n] = tonumber(text:sub(math.max(1, last - DIGITS + 1), last))
  end
  return trim(limbs)
end


-- Exact below 2^53, else the nearest double.
function bigint.to_number(a)
  local value = 0
  for i = #a, 1, -1 do value = value * BASE + a[i] end
  return value
end


function bigint.to_digits(a)
  if #a == 0 then return "0" end
  local parts = { string.format("%d", a[#a]) }
  for i = #a - 1, 1, -1 do parts[#parts + 1] = string.format("%07d", a[i]) end
  return table.concat(parts)
end


function bigint.compare(a, b)
  if #a ~= #b then return #a < #b and -1 or 1 end
  for i = #a, 1, -1 do
    if a[i] ~= b[i] then return a[i] < b[i] and -1 or 1 end
  end
  return 0
end


function bigint.add(a, b)
  local out, carry = {}, 0
  for i = 1, math.max(#a, #b) do
    local sum = (a[i] or 0) + (b[i] or 0) + carry
    carry = sum >= BASE and 1 or 0
    out[i] = sum - carry * BASE
  end
  if carry > 0 then out[#out + 1] = carry end
  return out
end


-- a >= b.
function bigint.subtract(a, b)
  local out, borrow = {}, 0
  for i = 1, #a do
    local left = a[i] - (b[i] or 0) - borrow
    borrow = left < 0 and 1 or 0
    out[i] = left + borrow * BASE
  end
  return trim(out)
end


function bigint.multiply(a, b)
  local out = {}
  for i = 1, #a + #b do out[i] = 0 end
  for i = 1, #a do
    local carry, factor = 0, a[i]
    for j = 1, #b do
      local sum = out[i + j - 1] + factor * b[j] + carry
      local limb = sum % BASE
      out[i + j - 1] = limb
      carry = (sum - limb) / BASE
    end
    out[i + #b] = out[i + #b] + carry
  end
  return trim(out)
end


local function divide_by_limb(a, limb)
  local out, rest = {}, 0
  for i = #a, 1, -1 do
    local part = rest * BASE + a[i]
    local digit = floor(part / limb)
    out[i] = digit
    rest = part - digit * limb
  end
  return trim(out), rest == 0 and {} or { rest }
end


-- rest := rest - b * digit, limbs shifted up by `shift`; true when it went below zero.
local function take(rest, b, digit, shift)
  local borrow = 0
  for i = 1, #b + 1 do
    local left = rest[i + shift] - (b[i] or 0) * digit - borrow
    local limb = left % BASE
    rest[i + shift] = limb
    borrow = (limb - left) / BASE
  end
  return borrow > 0
end


-- The reverse for one more `b`; true when it came back over zero.
local function put_back(rest, b, shift)
  local carry = 0
  for i = 1, #b + 1 do
    local sum = rest[i + shift] + (b[i] or 0) + carry
    carry = sum >= BASE and 1 or 0
    rest[i + shift] = sum - carry * BASE
  end
  return carry > 0
end


-- Knuth's algorithm D: after scaling so that the divisor's top limb is at least half the base, a
-- digit guessed from the top limbs is at most two too large.
local function divide_long(a, b)
  local scale = floor(BASE / (b[#b] + 1))
  local rest = bigint.multiply(a, { scale })
  local by = bigint.multiply(b, { scale })
  local n = #by
  for i = #rest + 1, #a + 1 do rest[i] = 0 end
  local out, top = {}, by[n]
  for shift = #rest - n - 1, 0, -1 do
    local high = rest[shift + n + 1] * BASE + rest[shift + n]
    local digit = math.min(floor(high / top), BASE - 1)
    local below = take(rest, by, digit, shift)
    while below do
      digit = digit - 1
      below = not put_back(rest, by, shift)
    end
    out[shift + 1] = digit
  end
  return trim(out), (divide_by_limb(trim(rest), scale))
end


-- -> quotient, remainder. b > 0.
function bigint.divide(a, b)
  if bigint.compare(a, b) < 0 then return {}, a end
  if #b == 1 then return divide_by_limb(a, b[1]) end
  return divide_long(a, b)
end


return bigint
