-- Stripe's signature of a webhook: `t=…,v1=…[,v1=…]`, HMAC-SHA256 of `t.body` in hex.
--
--   check(header, body, secrets, now_s) -> true | false, why
local crypto = require "till.prim.crypto"

local signature = {}

local TOLERANCE_S = 300


local function parse(header)
  local at, given = nil, {}
  for name, value in header:gmatch "([%w]+)=([^,%s]+)" do
    if name == "t" and #value <= 12 and value:find "^%d+$" then
      at = at or value
    elseif name == "v1" then
      given[#given + 1] = value
    end
  end
  return at, given
end


-- All are compared, whatever was found: how long it takes tells nothing.
local function matches(given, secrets, text)
  local found = false
  for _, secret in ipairs(secrets) do
    local wanted = crypto.hex(crypto.hmac_sha256(secret, text))
    for _, one in ipairs(given) do
      if crypto.equal(wanted, one) then found = true end
    end
  end
  return found
end


function signature.check(header, body, secrets, now_s)
  if type(header) ~= "string" or #header > 2000 then return false, "there is no signature" end
  local at, given = parse(header)
  if not at then return false, "the signature has no time" end
  if not matches(given, secrets, at .. "." .. body) then
    return false, "no signature is of a secret that is configured"
  end
  if math.abs(now_s - tonumber(at)) > TOLERANCE_S then
    return false, "it was signed too long ago, or the clocks differ"
  end
  return true
end


return signature
